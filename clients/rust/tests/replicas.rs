//! Calls of several servers, some of which say that they are not serving.

mod support;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use seqstep_client::stubs::UpdateStepResponse;
use seqstep_client::{Builder, Client, Outcome, Result, outcome};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::{Identity, ServerTlsConfig};
use tonic_health::server::HealthReporter;

use support::{Folder, Scripted, applied, call, change};

/// A server with health checks.
struct Replica {
    server: Scripted,
    health: HealthReporter,
    address: SocketAddr,
}

impl Replica {
    async fn new() -> Self {
        let (server, health) = (Scripted::new(|_| Some(applied())), HealthReporter::new());
        health.set_serving::<Scripted>().await;
        let address = server.serve_with(None, Some(&health)).await;
        Self { server, health, address }
    }

    fn calls(&self) -> usize {
        self.server.attempts().len()
    }
}

/// A name, and what it stands for.
type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

fn named(addresses: &Addresses) -> Builder {
    let addresses = Arc::clone(addresses);
    let resolve = move || std::future::ready(Ok(addresses.lock().unwrap().clone()));
    Client::builder("localhost:1").plaintext().resolver(resolve)
}

fn client_of(replicas: &[&Replica]) -> Client {
    named(&Arc::new(Mutex::new(replicas.iter().map(|each| each.address).collect()))).connect().unwrap()
}

async fn update(client: &Client) -> Result<UpdateStepResponse> {
    client.update_step(&call(), change(1)).await
}

/// Makes calls until what is expected is so after one of them.
async fn until(client: &Client, mut expected: impl FnMut(Result<UpdateStepResponse>) -> bool) {
    let calls = async {
        while !expected(update(client).await) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), calls).await.expect("it becomes so");
}

/// Makes calls until so many in a row leave a server alone.
async fn until_left_alone(client: &Client, replica: &Replica) {
    let (mut seen, mut alone) = (replica.calls(), 0);
    until(client, |_| {
        alone = if replica.calls() == seen { alone + 1 } else { 0 };
        seen = replica.calls();
        alone == 4
    })
    .await;
}

#[tokio::test]
async fn calls_go_to_the_servers_that_serve_in_turn() {
    let (one, other) = (Replica::new().await, Replica::new().await);
    let client = client_of(&[&one, &other]);
    until(&client, |_| one.calls() > 0 && other.calls() > 0).await;
    let before = (one.calls(), other.calls());
    for _ in 0..10 {
        update(&client).await.unwrap();
    }
    assert_eq!((one.calls(), other.calls()), (before.0 + 5, before.1 + 5));

    one.health.set_not_serving::<Scripted>().await;
    until_left_alone(&client, &one).await;
    let before = (one.calls(), other.calls());
    for _ in 0..10 {
        update(&client).await.unwrap();
    }
    assert_eq!((one.calls(), other.calls()), (before.0, before.1 + 10));

    one.health.set_serving::<Scripted>().await;
    until(&client, |_| one.calls() > before.0).await;
}

#[tokio::test]
async fn nothing_is_sent_while_no_server_serves() {
    let (one, other) = (Replica::new().await, Replica::new().await);
    let client = client_of(&[&one, &other]);
    update(&client).await.unwrap();
    one.health.set_not_serving::<Scripted>().await;
    other.health.set_not_serving::<Scripted>().await;
    until(&client, |ended| ended.is_err()).await;
    let before = (one.calls(), other.calls());
    let failure = update(&client).await.unwrap_err();
    assert_eq!((failure.status.code(), failure.outcome), (Code::Unavailable, Outcome::Unknown));
    assert!(failure.to_string().contains(&format!("{}: it says NOT_SERVING", one.address)), "{failure}");
    assert_eq!((one.calls(), other.calls()), before);

    one.health.set_serving::<Scripted>().await;
    other.health.set_serving::<Scripted>().await;
    until(&client, |ended| ended.is_ok()).await;
}

#[tokio::test]
async fn the_deadline_ends_the_wait_for_a_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::builder(listener.local_addr().unwrap().to_string()).plaintext().connect().unwrap();
    let started = Instant::now();
    let brief = call().timeout(Duration::from_millis(300));
    let failure = client.update_step(&brief, change(1)).await.unwrap_err();
    assert_eq!((failure.status.code(), failure.outcome), (Code::DeadlineExceeded, Outcome::Unknown));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn connections_end_with_the_last_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::builder(listener.local_addr().unwrap().to_string()).plaintext().connect().unwrap();
    let brief = call().timeout(Duration::from_millis(300));
    client.clone().update_step(&brief, change(1)).await.unwrap_err();
    let (mut connection, _) = listener.accept().await.unwrap();
    drop(client);
    let end = async { while connection.read(&mut [0; 1024]).await.is_ok_and(|length| length > 0) {} };
    timeout(Duration::from_secs(30), end).await.expect("the connection ends");
    let again = timeout(Duration::from_millis(300), listener.accept()).await;
    assert!(again.is_err(), "nobody connects again");
}

#[tokio::test]
async fn a_server_that_went_away_is_looked_for_by_name_again() {
    let (gone, new) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Replica::new().await);
    let addresses = Arc::new(Mutex::new(vec![gone.local_addr().unwrap()]));
    drop(gone);
    let client = named(&addresses).connect().unwrap();
    let failure = update(&client).await.unwrap_err();
    assert_eq!((failure.status.code(), failure.outcome), (Code::Unavailable, Outcome::Unknown));
    assert!(failure.to_string().contains("refused"), "{failure}");
    *addresses.lock().unwrap() = vec![new.address];
    until(&client, |ended| ended.is_ok()).await;
}

#[tokio::test]
async fn a_server_that_left_the_name_is_let_go() {
    let (one, other) = (Replica::new().await, Replica::new().await);
    let left = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broken = gone.local_addr().unwrap(); // The name is resolved again since this one cannot be reached.
    drop(gone);
    let addresses = Arc::new(Mutex::new(vec![one.address, other.address, left.local_addr().unwrap(), broken]));
    let client = named(&addresses).connect().unwrap();
    until(&client, |_| one.calls() > 0 && other.calls() > 0).await;
    let (mut connection, _) = left.accept().await.unwrap();
    *addresses.lock().unwrap() = vec![other.address, broken];
    let end = async { while connection.read(&mut [0; 1024]).await.is_ok_and(|length| length > 0) {} };
    timeout(Duration::from_secs(30), end).await.expect("the connection ends");
    let before = one.calls();
    for _ in 0..4 {
        update(&client).await.unwrap();
    }
    assert_eq!(one.calls(), before);
}

#[tokio::test]
async fn a_name_that_cannot_be_resolved_is_tried_again() {
    let replica = Replica::new().await;
    let found = Arc::new(Mutex::new(None));
    let resolve = {
        let found = Arc::clone(&found);
        move || {
            std::future::ready(
                found.lock().unwrap().ok_or_else(|| io::Error::other("no such name")).map(|one| vec![one]),
            )
        }
    };
    let client = Client::builder("localhost:1").plaintext().resolver(resolve).connect().unwrap();
    let failure = update(&client).await.unwrap_err();
    assert_eq!((failure.status.code(), failure.outcome), (Code::Unavailable, Outcome::Unknown));
    assert!(failure.to_string().contains("no such name"), "{failure}");
    *found.lock().unwrap() = Some(replica.address);
    until(&client, |ended| ended.is_ok()).await;
}

#[tokio::test]
async fn certificates_and_calls_are_for_the_name() {
    let pair = rcgen::generate_simple_self_signed(["seqstep.test".to_owned()]).unwrap();
    let certificate = Folder::new("named").file("tls.crt", &pair.cert.pem());
    let server = Scripted::new(|_| Some(applied()));
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(pair.cert.pem(), pair.signing_key.serialize_pem()));
    let (health, brief) = (HealthReporter::new(), call().timeout(Duration::from_secs(2)));
    health.set_serving::<Scripted>().await;
    let address = server.serve_with(Some(tls), Some(&health)).await;
    let client = |host: &str| {
        let resolve = move || std::future::ready(Ok(vec![address]));
        Client::builder(format!("{host}:443")).ca_file(&certificate).resolver(resolve).connect().unwrap()
    };
    client("seqstep.test").update_step(&brief, change(1)).await.unwrap();
    assert_eq!(server.attempts()[0]["host"], "seqstep.test:443");
    let ended = client("other.test").update_step(&brief, change(1)).await;
    assert_eq!((outcome(&ended), server.attempts().len()), (Outcome::Unknown, 1));
}

#[tokio::test]
async fn plaintext_does_not_leave_this_machine_by_its_name() {
    let elsewhere = Arc::new(Mutex::new(vec!["192.0.2.1:443".parse().unwrap()]));
    let failure = update(&named(&elsewhere).connect().unwrap()).await.unwrap_err();
    assert!(failure.to_string().contains("not of this machine"), "{failure}");
}
