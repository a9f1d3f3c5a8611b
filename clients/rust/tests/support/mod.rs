//! Servers that answer as a test says.
#![allow(dead_code)] // Each test uses a part.

use std::convert::Infallible;
use std::fs;
use std::future::{pending, ready};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use prost::Message;
use seqstep_client::stubs::{SequenceStepRecord, StepTemplate, UpdateStepRequest, UpdateStepResponse};
use seqstep_client::{Call, Client};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::codegen::{Bytes, Service};
use tonic::server::NamedService;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Code, Status};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

pub type Answer = Arc<dyn Fn(usize) -> Option<Response<Body>> + Send + Sync>;

/// Answers attempts by their number, from 1, or never, and keeps the headers of each, with the authority as `host`
/// and the method as `path`.
#[derive(Clone)]
pub struct Scripted {
    answer: Answer,
    attempts: Arc<Mutex<Vec<HeaderMap>>>,
}

impl NamedService for Scripted {
    const NAME: &'static str = "engagement.v1.SequenceStepService";
}

impl Service<Request<Body>> for Scripted {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut attempts = self.attempts.lock().unwrap();
        let mut headers = request.headers().clone();
        if let Some(authority) = request.uri().authority() {
            headers.insert("host", authority.as_str().parse().unwrap());
        }
        headers.insert("path", request.uri().path().parse().unwrap());
        attempts.push(headers);
        match (self.answer)(attempts.len()) {
            Some(response) => Box::pin(ready(Ok(response))),
            None => Box::pin(pending()),
        }
    }
}

impl Scripted {
    pub fn new(answer: impl Fn(usize) -> Option<Response<Body>> + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), attempts: Arc::default() }
    }

    /// Serves on a port of this machine, with health checks if a reporter says what they answer.
    pub async fn serve_with(&self, tls: Option<ServerTlsConfig>, health: Option<&HealthReporter>) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let health = health.map(|health| HealthServer::new(HealthService::from_health_reporter(health.clone())));
        let router =
            server.add_service(self.clone()).add_service(OnConnections(self.clone())).add_optional_service(health);
        tokio::spawn(router.serve_with_incoming(incoming));
        address
    }

    pub async fn serve(&self, tls: Option<ServerTlsConfig>) -> SocketAddr {
        self.serve_with(tls, None).await
    }

    pub fn attempts(&self) -> Vec<HeaderMap> {
        self.attempts.lock().unwrap().clone()
    }

    pub async fn plaintext_client(&self) -> Client {
        Client::builder(self.serve(None).await.to_string()).plaintext().api_key("secret").connect().unwrap()
    }
}

/// The same for calls on connections.
#[derive(Clone)]
pub struct OnConnections(pub Scripted);

impl NamedService for OnConnections {
    const NAME: &'static str = "engagement.v1.ConnectionService";
}

impl Service<Request<Body>> for OnConnections {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <Scripted as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.call(request)
    }
}

/// An answer with status OK.
pub fn applied() -> Response<Body> {
    let message = UpdateStepResponse::default().encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let frames = http_body_util::Full::new(Bytes::from(frame));
    let body = http_body_util::BodyExt::with_trailers(frames, ready(Some(Ok(trailers))));
    Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap()
}

/// A status in the place of an answer.
pub fn refused(code: Code) -> Response<Body> {
    Status::new(code, "no").into_http()
}

pub fn call() -> Call {
    Call::new("acme", "outreach").unwrap()
}

pub fn change(bytes: usize) -> UpdateStepRequest {
    let template = StepTemplate { subject: None, body: Some("x".repeat(bytes)) };
    let record = SequenceStepRecord { template: Some(template), custom_fields: None };
    UpdateStepRequest { record: Some(record), ..UpdateStepRequest::default() }
}

/// A folder for the files of one test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}
