//! Calls of a server that answers as a test says.

mod support;

use std::future::{pending, ready};
use std::time::{Duration, Instant};

use seqstep_client::stubs::{
    CheckConnectionRequest, DeleteConnectionRequest, DeleteStepChangesRequest, GetConnectionRequest,
    GetStepChangeRequest, GetStepRequest, ListConnectionsRequest, ListStepChangesRequest, ListStepsRequest,
    RevertStepChangeRequest, SetConnectionRequest, UpdateStepRequest,
};
use seqstep_client::{Builder, Call, Client, ConnectError, Outcome, outcome};
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::{HeaderMap, Response};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use support::{Folder, Scripted, applied, call, change, refused};

fn pushed_back(value: &str) -> Response<Body> {
    let mut response = refused(Code::Unavailable);
    response.headers_mut().insert("grpc-retry-pushback-ms", value.parse().unwrap());
    response
}

#[tokio::test]
async fn bodies_of_any_allowed_length_are_sent_again() {
    for bytes in [1 << 10, 300 << 10, 5 << 20] {
        let server = Scripted::new(|attempt| Some(if attempt < 3 { refused(Code::Cancelled) } else { applied() }));
        let ended = server.plaintext_client().await.update_step(&call(), change(bytes)).await;
        assert_eq!(outcome(&ended), Outcome::Applied, "{bytes} bytes: {ended:?}");
        let counts: Vec<_> =
            server.attempts().iter().map(|sent| sent.get("grpc-previous-rpc-attempts").cloned()).collect();
        assert_eq!(counts, [None, Some("1".parse().unwrap()), Some("2".parse().unwrap())]);
    }
}

#[tokio::test]
async fn four_attempts_are_the_most() {
    let server = Scripted::new(|_| Some(refused(Code::Unavailable)));
    let failure = server.plaintext_client().await.update_step(&call(), change(1)).await.unwrap_err();
    assert_eq!((failure.status.code(), failure.outcome), (Code::Unavailable, Outcome::Unknown));
    assert_eq!(server.attempts().len(), 4);
}

#[tokio::test]
async fn all_attempts_share_one_deadline() {
    let server = Scripted::new(|attempt| (attempt == 1).then(|| refused(Code::Unavailable)));
    let client = server.plaintext_client().await;
    let started = Instant::now();
    let failure = client.update_step(&call().timeout(Duration::from_secs(1)), change(1)).await.unwrap_err();
    assert_eq!((failure.status.code(), failure.outcome), (Code::DeadlineExceeded, Outcome::Unknown));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let attempts = server.attempts();
    assert_eq!(attempts.len(), 2);
    let left = |sent: &HeaderMap| sent["grpc-timeout"].to_str().unwrap().trim_end_matches('m').parse::<u32>().unwrap();
    assert!(left(&attempts[1]) < left(&attempts[0]));
}

#[tokio::test]
async fn an_answer_that_stops_in_the_middle_ends_by_the_deadline() {
    let server = Scripted::new(|_| {
        let nothing = http_body_util::Empty::<Bytes>::new();
        let body = Body::new(http_body_util::BodyExt::with_trailers(nothing, pending()));
        Some(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
    });
    let client = server.plaintext_client().await;
    let failure = client.update_step(&call().timeout(Duration::from_millis(300)), change(1)).await.unwrap_err();
    assert_eq!(failure.status.code(), Code::DeadlineExceeded);
    assert_eq!(server.attempts().len(), 1);
}

#[tokio::test]
async fn a_server_that_pushes_back_is_obeyed() {
    for (value, expected) in [("-1", 1), ("later", 1), ("0", 2)] {
        let server = Scripted::new(move |attempt| Some(if attempt == 1 { pushed_back(value) } else { applied() }));
        let ended = server.plaintext_client().await.update_step(&call(), change(1)).await;
        assert_eq!(server.attempts().len(), expected, "{value}");
        assert_eq!(ended.is_ok(), expected == 2, "{value}");
    }
}

#[tokio::test]
async fn a_response_that_has_begun_is_not_given_up() {
    let server = Scripted::new(|_| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "14".parse().unwrap());
        let nothing = http_body_util::Empty::<Bytes>::new();
        let body = http_body_util::BodyExt::with_trailers(nothing, ready(Some(Ok(trailers))));
        Some(Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap())
    });
    let failure = server.plaintext_client().await.update_step(&call(), change(1)).await.unwrap_err();
    assert_eq!((failure.status.code(), server.attempts().len()), (Code::Unavailable, 1));
}

#[tokio::test]
async fn the_page_of_a_proxy_is_no_answer() {
    for (http, expected) in [(502, Code::Unavailable), (404, Code::Unimplemented), (500, Code::Unknown)] {
        let server = Scripted::new(move |_| {
            let page = Body::new(http_body_util::Full::new(Bytes::from_static(b"<html>Bad Gateway</html>")));
            Some(Response::builder().status(http).header("content-type", "text/html").body(page).unwrap())
        });
        let failure = server.plaintext_client().await.update_step(&call(), change(1)).await.unwrap_err();
        assert_eq!((failure.status.code(), failure.outcome), (expected, Outcome::Unknown));
        assert_eq!(server.attempts().len(), 1);
    }
}

#[tokio::test]
async fn details_that_are_no_base64_are_none() {
    let malformed = |headers: &mut HeaderMap| {
        headers.insert("grpc-status", "10".parse().unwrap());
        headers.insert("grpc-status-details-bin", "%%%".parse().unwrap());
    };
    let in_headers = Scripted::new(move |_| {
        let mut response = refused(Code::Aborted);
        malformed(response.headers_mut());
        Some(response)
    });
    let in_trailers = Scripted::new(move |_| {
        let mut trailers = HeaderMap::new();
        malformed(&mut trailers);
        let nothing = http_body_util::Empty::<Bytes>::new();
        let body = http_body_util::BodyExt::with_trailers(nothing, ready(Some(Ok(trailers))));
        Some(Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap())
    });
    for server in [in_headers, in_trailers] {
        let failure = server.plaintext_client().await.update_step(&call(), change(1)).await.unwrap_err();
        assert_eq!((failure.status.code(), failure.outcome), (Code::Aborted, Outcome::Unknown));
    }
}

#[tokio::test]
async fn retries_stop_while_most_calls_fail() {
    let server = Scripted::new(|_| Some(refused(Code::Unavailable)));
    let client = server.plaintext_client().await;
    for _ in 0..4 {
        client.update_step(&call(), change(1)).await.unwrap_err();
    }
    assert_eq!(server.attempts().len(), 4 + 1 + 1 + 1);
}

#[tokio::test]
async fn a_call_that_is_dropped_is_not_sent_again() {
    let server = Scripted::new(|_| None);
    let client = server.plaintext_client().await;
    let limit = Duration::from_millis(300);
    assert!(tokio::time::timeout(limit, client.update_step(&call(), change(1))).await.is_err());
    assert_eq!(server.attempts().len(), 1);
}

#[tokio::test]
async fn a_call_has_its_metadata() {
    let server = Scripted::new(|_| Some(applied()));
    let target = server.serve(None).await.to_string();
    let traced = |metadata: &mut tonic::metadata::MetadataMap| {
        metadata.insert("traceparent", "00-1-2-01".parse().unwrap());
    };
    let client = Client::builder(target).plaintext().api_key("secret").on_call(traced).connect().unwrap();
    client.update_step(&call().request_id("r-1").unwrap(), change(1)).await.unwrap();
    let mut own = call();
    own.metadata_mut().insert("x-api-key", "own".parse().unwrap());
    client.update_step(&own, change(1)).await.unwrap();
    let attempts = server.attempts();
    for (key, value) in [
        ("x-customer-id", "acme"),
        ("x-provider-name", "outreach"),
        ("x-request-id", "r-1"),
        ("x-api-key", "secret"),
        ("traceparent", "00-1-2-01"),
    ] {
        assert_eq!(attempts[0][key], value);
    }
    assert!(attempts[0]["user-agent"].to_str().unwrap().starts_with("seqstep-rust/"));
    assert_eq!(attempts[1].get_all("x-api-key").iter().collect::<Vec<_>>(), ["own"]);
    assert!(!format!("{client:?}").contains("secret"));
}

#[tokio::test]
async fn a_call_may_take_any_time() {
    let client = Scripted::new(|_| Some(applied())).plaintext_client().await;
    client.update_step(&call().timeout(Duration::MAX), change(1)).await.unwrap();
}

#[tokio::test]
async fn each_method_has_a_function() {
    let server = Scripted::new(|_| Some(applied()));
    let (client, call) = (server.plaintext_client().await, Call::default());
    client.update_step(&call, UpdateStepRequest::default()).await.unwrap();
    client.get_step(&call, GetStepRequest::default()).await.unwrap();
    client.list_steps(&call, ListStepsRequest::default()).await.unwrap();
    client.list_step_changes(&call, ListStepChangesRequest::default()).await.unwrap();
    client.get_step_change(&call, GetStepChangeRequest::default()).await.unwrap();
    client.revert_step_change(&call, RevertStepChangeRequest::default()).await.unwrap();
    client.set_connection(&call, SetConnectionRequest::default()).await.unwrap();
    client.get_connection(&call, GetConnectionRequest::default()).await.unwrap();
    client.list_connections(&call, ListConnectionsRequest::default()).await.unwrap();
    client.check_connection(&call, CheckConnectionRequest::default()).await.unwrap();
    client.delete_connection(&call, DeleteConnectionRequest::default()).await.unwrap();
    client.delete_step_changes(&call, DeleteStepChangesRequest::default()).await.unwrap();
    let attempts = server.attempts();
    let called: Vec<_> =
        attempts.iter().map(|sent| sent["path"].to_str().unwrap().trim_start_matches("/engagement.v1.")).collect();
    let of_steps = ["UpdateStep", "GetStep", "ListSteps", "ListStepChanges", "GetStepChange", "RevertStepChange"];
    let of_connections = [
        "SetConnection",
        "GetConnection",
        "ListConnections",
        "CheckConnection",
        "DeleteConnection",
        "DeleteStepChanges",
    ];
    let steps = of_steps.map(|name| format!("SequenceStepService/{name}"));
    let connections = of_connections.map(|name| format!("ConnectionService/{name}"));
    assert_eq!(called, [steps.as_slice(), &connections].concat());
}

#[tokio::test]
async fn nothing_leads_to_plaintext_by_accident() {
    let elsewhere = || Client::builder("seqstep.example.com:443");
    let empty = Folder::new("empty").file("ca.pem", "");
    for builder in [elsewhere().ca_file("/nowhere/ca.pem"), elsewhere().ca_file(""), elsewhere().ca_file(&empty)] {
        assert!(matches!(builder.connect(), Err(ConnectError::Unreadable(..))));
    }
    let nowhere = elsewhere().client_certificate("/nowhere/tls.crt", "/nowhere/tls.key");
    assert!(matches!(nowhere.connect(), Err(ConnectError::Unreadable(..))));
    assert!(matches!(elsewhere().plaintext().connect(), Err(ConnectError::PlaintextElsewhere(_))));
    let both = elsewhere().plaintext().ca_file(&empty);
    assert!(matches!(both.connect(), Err(ConnectError::PlaintextWithCertificates)));
    assert!(elsewhere().plaintext_beyond_this_machine().connect().is_ok());
    for target in ["localhost:1", "127.0.0.2:1", "[::1]:1"] {
        assert!(Client::builder(target).plaintext().connect().is_ok(), "{target}");
    }

    let server = Scripted::new(|_| Some(applied()));
    let client = Client::builder(server.serve(None).await.to_string()).api_key("secret").connect().unwrap();
    let ended = client.update_step(&call().timeout(Duration::from_secs(1)), change(1)).await;
    assert_eq!((outcome(&ended), server.attempts().len()), (Outcome::Unknown, 0));
}

#[tokio::test]
async fn both_sides_show_certificates() {
    let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let folder = Folder::new("mutual");
    let certificate = folder.file("tls.crt", &pair.cert.pem());
    let key = folder.file("tls.key", &pair.signing_key.serialize_pem());
    let server = Scripted::new(|_| Some(applied()));
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(pair.cert.pem(), pair.signing_key.serialize_pem()))
        .client_ca_root(Certificate::from_pem(pair.cert.pem()));
    let target = server.serve(Some(tls)).await.to_string();
    let builder = || Client::builder(&target).api_key("secret");
    let brief = call().timeout(Duration::from_secs(2));
    let known = builder().ca_file(&certificate).client_certificate(&certificate, &key);
    let update = |builder: Builder| {
        let brief = &brief;
        async move { outcome(&builder.connect().unwrap().update_step(brief, change(1)).await) }
    };
    assert_eq!(update(known).await, Outcome::Applied);
    assert_eq!(server.attempts()[0]["x-api-key"], "secret");
    assert_eq!(update(builder().ca_file(&certificate)).await, Outcome::Unknown);
    assert_eq!(update(builder()).await, Outcome::Unknown);
    assert_eq!(server.attempts().len(), 1);
}
