//! Spreads calls over the servers that a name stands for, and leaves out those that say that they are not serving, as the
//! service config of other gRPC libraries has it (`round_robin`, `healthCheckConfig`) and tonic does not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, Uri};
use tonic::codegen::{Service, StdError};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceExt;

use crate::retry::{backed_off, readable};

/// The service whose health servers are asked for.
const SERVICE_NAME: &str = "engagement.v1.SequenceStepService";

/// After how long a name is resolved again, and how soon at the earliest where a server went away.
const RESOLVE_AFTER: Duration = Duration::from_secs(60);
const RESOLVE_AGAIN: Duration = Duration::from_secs(1);

/// How long a server that could not be reached, or not be asked, is left alone; a server that was restarted is found again
/// within the time that the retries take.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// Finds the addresses of the service.
pub(crate) type Resolve =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> + Send + Sync>;

/// Sends each call to the next server that is serving. It connects by the first call, and ends with its last clone.
///
/// While no server is known to serve or to fail, a call waits, as long as its deadline allows; where all have failed, it is
/// `Unavailable` at once. Each connection has a stream of its server's health beside the calls (gRFC A17).
#[derive(Clone)]
pub struct Replicas {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: Endpoint,
    resolve: Resolve,
    only_here: bool,
    runtime: Handle,
    running: OnceLock<(watch::Receiver<Servers>, Task)>,
    next: AtomicUsize,
}

/// What is known of the servers.
#[derive(Default)]
struct Servers {
    /// By address; none before the name was resolved.
    states: BTreeMap<SocketAddr, State>,
    /// Why the name could not be resolved.
    unresolved: Option<String>,
}

enum State {
    Connecting,
    Serving(Channel),
    Failed(String),
}

/// A task that ends with its owner.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Replicas {
    /// Prepares connections by an endpoint whose URI has the authority that calls are for and that TLS asks for.
    ///
    /// With `only_here` nothing leaves this machine. Panics outside of a Tokio runtime.
    pub(crate) fn new(endpoint: Endpoint, resolve: Resolve, only_here: bool) -> Self {
        // Clients do not all begin with the same server.
        let next = AtomicUsize::new(fastrand::usize(..));
        let shared =
            Shared { endpoint, resolve, only_here, runtime: Handle::current(), running: OnceLock::new(), next };
        Self { shared: Arc::new(shared) }
    }
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicas").field("endpoint", &self.shared.endpoint).finish_non_exhaustive()
    }
}

impl Service<Request<Body>> for Replicas {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(())) // Each call waits for a server.
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let channel = shared.serving().await?;
            Ok(channel.oneshot(request).await?)
        })
    }
}

impl Shared {
    /// The connection of the next server that is serving.
    async fn serving(&self) -> Result<Channel, Status> {
        let (servers, _) = self.running.get_or_init(|| {
            let (sender, receiver) = watch::channel(Servers::default());
            let following = follow(self.endpoint.clone(), Arc::clone(&self.resolve), self.only_here, sender);
            (receiver, Task(self.runtime.spawn(following).abort_handle()))
        });
        let mut servers = servers.clone();
        let Ok(servers) = servers.wait_for(Servers::is_decided).await else {
            return Err(Status::unavailable("the runtime that the client was made in has ended"));
        };
        servers.pick(&self.next).ok_or_else(|| Status::unavailable(servers.failures()))
    }
}

impl Servers {
    /// Whether a call need not wait.
    fn is_decided(&self) -> bool {
        let has = |wanted: fn(&State) -> bool| self.states.values().any(wanted);
        has(|state| matches!(state, State::Serving(_)))
            || self.unresolved.is_some()
            || !(self.states.is_empty() || has(|state| matches!(state, State::Connecting)))
    }

    fn pick(&self, next: &AtomicUsize) -> Option<Channel> {
        let serving = || {
            self.states.values().filter_map(|state| match state {
                State::Serving(channel) => Some(channel),
                _ => None,
            })
        };
        match serving().count() {
            0 => None,
            count => serving().nth(next.fetch_add(1, Ordering::Relaxed) % count).cloned(),
        }
    }

    fn failures(&self) -> String {
        let failed = self.states.iter().filter_map(|(address, state)| match state {
            State::Failed(why) => Some(format!("{address}: {why}")),
            _ => None,
        });
        let all: Vec<_> = self.unresolved.iter().cloned().chain(failed).collect();
        format!("no server is serving: {}", all.join("; "))
    }
}

/// Resolves the name, again and again, and watches each server that it stands for.
async fn follow(endpoint: Endpoint, resolve: Resolve, only_here: bool, servers: watch::Sender<Servers>) {
    let servers = Arc::new(servers);
    let lost = Arc::new(Notify::new());
    let mut watched = HashMap::new();
    let mut backoff = FIRST_BACKOFF;
    loop {
        let found = match resolve().await {
            Ok(found) if found.is_empty() => Err("the name has no address".to_owned()),
            Ok(found) if only_here && !found.iter().all(|address| address.ip().is_loopback()) => {
                Err("the name is not of this machine, and plaintext would show the API key on the way".to_owned())
            }
            Ok(found) => Ok(found.into_iter().collect::<BTreeSet<_>>()),
            Err(error) => Err(format!("the name could not be resolved: {error}")),
        };
        match found {
            Ok(found) => {
                watched.retain(|address, _| found.contains(address));
                servers.send_modify(|servers| {
                    servers.unresolved = None;
                    servers.states.retain(|address, _| found.contains(address));
                    for &address in &found {
                        servers.states.entry(address).or_insert(State::Connecting);
                    }
                });
                for address in found {
                    watched.entry(address).or_insert_with(|| {
                        let (servers, lost) = (Arc::clone(&servers), Arc::clone(&lost));
                        Task(tokio::spawn(watch_one(endpoint.clone(), address, servers, lost)).abort_handle())
                    });
                }
                backoff = FIRST_BACKOFF;
                sleep(RESOLVE_AGAIN).await;
                let _ = timeout(RESOLVE_AFTER, lost.notified()).await;
            }
            Err(why) => {
                // What was known goes on.
                if watched.is_empty() {
                    servers.send_modify(|servers| servers.unresolved = Some(why));
                }
                sleep(backed_off(&mut backoff, LONGEST_BACKOFF)).await;
            }
        }
    }
}

/// Keeps the state of one server.
async fn watch_one(endpoint: Endpoint, address: SocketAddr, servers: Arc<watch::Sender<Servers>>, lost: Arc<Notify>) {
    let set = |state| {
        servers.send_modify(|servers| {
            if let Some(known) = servers.states.get_mut(&address) {
                *known = state;
            }
        });
    };
    let mut backoff = FIRST_BACKOFF;
    let mut channel = connect(&endpoint, address);
    loop {
        let asked = Instant::now();
        let mut answered = false;
        let ended = health(channel.clone(), |status| {
            answered = true;
            set(match status {
                ServingStatus::Serving => State::Serving(channel.clone()),
                other => State::Failed(format!("it says {}", other.as_str_name())),
            });
        })
        .await;
        if ended.code() == Code::Unimplemented {
            // It has no health checks, so it serves whenever it can be reached; the channel connects again by itself.
            set(State::Serving(channel));
            return;
        }
        lost.notify_one();
        // One that was there a moment ago is asked again at once, and calls wait for that; the connection may be there still.
        if answered {
            backoff = FIRST_BACKOFF;
            set(State::Connecting);
        } else {
            set(State::Failed(reason(&ended)));
            channel = connect(&endpoint, address);
        }
        if !answered || asked.elapsed() < FIRST_BACKOFF {
            sleep(backed_off(&mut backoff, LONGEST_BACKOFF)).await;
        }
    }
}

/// Makes a connection when it is first used.
fn connect(endpoint: &Endpoint, address: SocketAddr) -> Channel {
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| async move {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok::<_, io::Error>(TokioIo::new(stream))
    }))
}

/// Passes on what a server says of its health, until that ends.
async fn health(channel: Channel, mut say: impl FnMut(ServingStatus)) -> Status {
    let channel = tower::service_fn(move |request: Request<Body>| {
        let sent = channel.clone().oneshot(request);
        async { sent.await.map_err(|error| Status::from_error(error.into())).and_then(readable) }
    });
    let request = HealthCheckRequest { service: SERVICE_NAME.to_owned() };
    let mut stream = match HealthClient::new(channel).watch(request).await {
        Ok(response) => response.into_inner(),
        Err(status) => return status,
    };
    loop {
        match stream.message().await {
            Ok(Some(answer)) => say(answer.status()),
            Ok(None) => return Status::unavailable("its health check ended"),
            Err(status) => return status,
        }
    }
}

/// What a status says, down to the first cause.
fn reason(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(each) = source {
        let more = each.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = each.source();
    }
    text
}
