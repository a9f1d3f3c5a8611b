//! The channel, and calls over it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tonic::codegen::http::Uri;
use tonic::metadata::errors::InvalidMetadataValue;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Response, Status};

use crate::failure::{Answer, Result, judged};
use crate::replicas::{Replicas, Resolve};
use crate::retry::Retry;
use crate::stubs;
use crate::stubs::connection_service_client::ConnectionServiceClient;
use crate::stubs::sequence_step_service_client::SequenceStepServiceClient;

/// What a call may take unless it says something else. It is the service's own default; its longest is 60 s.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// As good as none; tonic panics by what gRPC has no digits for.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(99_999_999);

/// What generated clients call over: the connections with their retries and credentials.
pub type Transport = InterceptedService<Retry<Replicas>, Credentials>;

/// Calls the service. Cloning is cheap, and all clones share their connections, which end with the last of them.
///
/// A call ends when its future is dropped; what became of the step is then unknown.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
}

impl Client {
    /// Prepares a client of the service at HOST:PORT.
    pub fn builder(target: impl Into<String>) -> Builder {
        Builder {
            target: target.into(),
            api_key: None,
            ca_file: None,
            client_certificate: None,
            plaintext: None,
            hook: None,
            resolve: None,
        }
    }

    /// The generated client of steps, for [`Client::call`].
    #[must_use]
    pub fn steps(&self) -> SequenceStepServiceClient<Transport> {
        SequenceStepServiceClient::new(self.transport.clone())
    }

    /// The generated client of connections, for [`Client::call`].
    #[must_use]
    pub fn connections(&self) -> ConnectionServiceClient<Transport> {
        ConnectionServiceClient::new(self.transport.clone())
    }

    /// Makes any call: within its time, and with a failure that says what became of the step.
    ///
    /// # Errors
    ///
    /// It did not do what it was asked for.
    pub async fn call<M, R, F, Sent>(&self, call: &Call, message: M, send: F) -> Result<R>
    where
        R: Answer,
        F: FnOnce(Request<M>) -> Sent,
        Sent: Future<Output = std::result::Result<Response<R>, Status>>,
    {
        let mut request = Request::new(message);
        *request.metadata_mut() = call.metadata.clone();
        request.set_timeout(call.timeout);
        // tonic's own clock stops when a response begins.
        let ended = tokio::time::timeout(call.timeout, send(request)).await;
        judged(ended.unwrap_or_else(|_| Err(Status::deadline_exceeded("the deadline came before the whole answer"))))
    }
}

macro_rules! methods {
    ($($(#[$attribute:meta])* $service:ident.$name:ident($request:ident) -> $response:ident;)*) => {
        impl Client {
            $($(#[$attribute])*
            ///
            /// # Errors
            ///
            /// It was not done, or it is not known whether it was.
            pub async fn $name(&self, call: &Call, message: stubs::$request) -> Result<stubs::$response> {
                let mut stub = self.$service();
                self.call(call, message, |request| async move { stub.$name(request).await }).await
            })*
        }
    };
}

methods! {
    /// Changes one step.
    steps.update_step(UpdateStepRequest) -> UpdateStepResponse;
    /// Reads one step.
    steps.get_step(GetStepRequest) -> GetStepResponse;
    /// Reads a sequence with all of its steps.
    steps.list_steps(ListStepsRequest) -> ListStepsResponse;
    /// Lists what updates wrote to the customer's steps, where the service keeps a history.
    steps.list_step_changes(ListStepChangesRequest) -> ListStepChangesResponse;
    /// Reads one such change with its texts.
    steps.get_step_change(GetStepChangeRequest) -> GetStepChangeResponse;
    /// Sets the values that a change replaced back; an update like any other.
    steps.revert_step_change(RevertStepChangeRequest) -> RevertStepChangeResponse;
    /// Stores a customer's credentials; this and the methods below take `Call::default()`.
    connections.set_connection(SetConnectionRequest) -> SetConnectionResponse;
    /// Reads one connection, without its credentials.
    connections.get_connection(GetConnectionRequest) -> GetConnectionResponse;
    /// Lists connections, without their credentials.
    connections.list_connections(ListConnectionsRequest) -> ListConnectionsResponse;
    /// Tries a connection at its provider.
    connections.check_connection(CheckConnectionRequest) -> CheckConnectionResponse;
    /// Deletes a connection with its credentials.
    connections.delete_connection(DeleteConnectionRequest) -> DeleteConnectionResponse;
    /// Deletes the history of a customer who leaves.
    connections.delete_step_changes(DeleteStepChangesRequest) -> DeleteStepChangesResponse;
}

/// Whose customer a call is for, at which provider, and how long it may take.
#[derive(Clone, Debug)]
pub struct Call {
    metadata: MetadataMap,
    timeout: Duration,
}

impl Default for Call {
    /// A call without metadata, as those on connections are.
    fn default() -> Self {
        Self { metadata: MetadataMap::new(), timeout: DEFAULT_TIMEOUT }
    }
}

impl Call {
    /// A call for a customer at a provider.
    ///
    /// # Errors
    ///
    /// Metadata cannot have such a value.
    pub fn new(customer: &str, provider: &str) -> std::result::Result<Self, InvalidMetadataValue> {
        let mut call = Self::default();
        call.metadata.insert("x-customer-id", customer.parse()?);
        call.metadata.insert("x-provider-name", provider.parse()?);
        Ok(call)
    }

    /// Gives the call an id of your own, by which it is found in the service's log.
    ///
    /// # Errors
    ///
    /// Metadata cannot have such a value.
    pub fn request_id(mut self, id: &str) -> std::result::Result<Self, InvalidMetadataValue> {
        self.metadata.insert("x-request-id", id.parse()?);
        Ok(self)
    }

    /// Bounds the call with all of its attempts.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(LONGEST_TIMEOUT);
        self
    }

    /// What else is sent with it; an `x-api-key` here stands in the place of the client's.
    pub fn metadata_mut(&mut self) -> &mut MetadataMap {
        &mut self.metadata
    }
}

type Hook = Arc<dyn Fn(&mut MetadataMap) + Send + Sync>;

/// Adds the API key to each call.
#[derive(Clone)]
pub struct Credentials {
    api_key: Option<AsciiMetadataValue>,
    hook: Option<Hook>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        if let Some(key) = &self.api_key
            && !metadata.contains_key("x-api-key")
        {
            metadata.insert("x-api-key", key.clone());
        }
        if let Some(hook) = &self.hook {
            hook(metadata);
        }
        Ok(request)
    }
}

#[derive(Clone, Copy, Debug)]
enum Plaintext {
    OnThisMachine,
    Anywhere,
}

/// Says how a [`Client`] connects. It has TLS and trusts the authorities of the system unless told otherwise.
pub struct Builder {
    target: String,
    api_key: Option<String>,
    ca_file: Option<PathBuf>,
    client_certificate: Option<(PathBuf, PathBuf)>,
    plaintext: Option<Plaintext>,
    hook: Option<Hook>,
    resolve: Option<Resolve>,
}

impl Builder {
    /// Sends the key of the application with every call that does not bring an `x-api-key` of its own.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// Trusts the authorities in a PEM file, in the place of those of the system.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Shows a certificate, for a service that asks for one. Both are PEM files.
    #[must_use]
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client_certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Does without TLS, to a service on this machine: an address such as 127.0.0.1 or `[::1]`, or localhost.
    #[must_use]
    pub fn plaintext(mut self) -> Self {
        self.plaintext = Some(Plaintext::OnThisMachine);
        self
    }

    /// Does without TLS to any host. Whoever sees the network sees the API key.
    #[must_use]
    pub fn plaintext_beyond_this_machine(mut self) -> Self {
        self.plaintext = Some(Plaintext::Anywhere);
        self
    }

    /// Sees the metadata of each call before it is sent: the place to add the context of a trace.
    #[must_use]
    pub fn on_call(mut self, hook: impl Fn(&mut MetadataMap) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// Finds the addresses of the service by something else than the system's resolver. Calls, and certificates, are still for
    /// the host of the target.
    #[must_use]
    pub fn resolver<F, Found>(mut self, resolve: F) -> Self
    where
        F: Fn() -> Found + Send + Sync + 'static,
        Found: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        self.resolve = Some(Arc::new(move || Box::pin(resolve())));
        self
    }

    /// Makes the client, inside a Tokio runtime. Nothing is sent before the first call.
    ///
    /// # Errors
    ///
    /// What was said above cannot be done.
    pub fn connect(self) -> std::result::Result<Client, ConnectError> {
        let scheme = if self.plaintext.is_some() { "http" } else { "https" };
        let uri = Uri::try_from(format!("{scheme}://{}", self.target))
            .map_err(|_| ConnectError::Target(self.target.clone()))?;
        let host = uri.host().ok_or_else(|| ConnectError::Target(self.target.clone()))?.to_owned();
        let address = format!("{host}:{}", uri.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 }));
        let endpoint = Endpoint::from(uri)
            .user_agent(concat!("seqstep-rust/", env!("CARGO_PKG_VERSION")))?
            .connect_timeout(Duration::from_secs(5))
            // The server allows one ping every ten seconds.
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(false);
        let endpoint = match self.plaintext {
            Some(_) if self.ca_file.is_some() || self.client_certificate.is_some() => {
                return Err(ConnectError::PlaintextWithCertificates);
            }
            Some(Plaintext::OnThisMachine) if !is_on_this_machine(&host) => {
                return Err(ConnectError::PlaintextElsewhere(self.target));
            }
            Some(_) => endpoint,
            None => endpoint.tls_config(self.tls()?)?,
        };
        let api_key = match self.api_key {
            Some(key) => {
                let mut value: AsciiMetadataValue = key.parse().map_err(|_| ConnectError::ApiKey)?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let credentials = Credentials { api_key, hook: self.hook };
        let resolve = self.resolve.unwrap_or_else(|| {
            Arc::new(move || {
                let address = address.clone();
                Box::pin(async move { Ok(lookup_host(address).await?.collect()) })
            })
        });
        let only_here = matches!(self.plaintext, Some(Plaintext::OnThisMachine));
        let replicas = Replicas::new(endpoint, resolve, only_here);
        Ok(Client { transport: InterceptedService::new(Retry::new(replicas), credentials) })
    }

    fn tls(&self) -> std::result::Result<ClientTlsConfig, ConnectError> {
        let mut tls = ClientTlsConfig::new();
        tls = match &self.ca_file {
            Some(path) => tls.ca_certificate(Certificate::from_pem(read_pem(path)?)),
            None => tls.with_native_roots(),
        };
        if let Some((certificate, key)) = &self.client_certificate {
            tls = tls.identity(Identity::from_pem(read_pem(certificate)?, read_pem(key)?));
        }
        Ok(tls)
    }
}

fn read_pem(path: &Path) -> std::result::Result<String, ConnectError> {
    let unreadable = |error| ConnectError::Unreadable(path.to_owned(), error);
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    if text.contains("-----BEGIN ") {
        Ok(text)
    } else {
        Err(unreadable(io::Error::new(io::ErrorKind::InvalidData, "it is not in PEM format")))
    }
}

fn is_on_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Why a client cannot be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The target is not HOST:PORT.
    Target(String),
    /// A file cannot be read, or has nothing that it should have.
    Unreadable(PathBuf, io::Error),
    /// The service is not on this machine, and plaintext would show the API key on the way.
    PlaintextElsewhere(String),
    /// Plaintext has no use for certificates.
    PlaintextWithCertificates,
    /// Metadata cannot have this API key.
    ApiKey,
    /// The certificates cannot be used.
    Transport(tonic::transport::Error),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(target) => write!(f, "{target} is not HOST:PORT"),
            Self::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Self::PlaintextElsewhere(target) => {
                write!(f, "{target} is not on this machine, and plaintext would show the API key on the way")
            }
            Self::PlaintextWithCertificates => f.write_str("plaintext has no use for certificates"),
            Self::ApiKey => f.write_str("the API key has characters that cannot be sent"),
            Self::Transport(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(_, error) => Some(error),
            Self::Transport(error) => Some(error),
            _ => None,
        }
    }
}

impl From<tonic::transport::Error> for ConnectError {
    fn from(error: tonic::transport::Error) -> Self {
        Self::Transport(error)
    }
}
