//! Retries as the service config of other gRPC libraries has them, which tonic has none of.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response};
use tonic::codegen::{Service, StdError};
use tonic::{Code, Status};

use crate::DEFAULT_TIMEOUT;

const ATTEMPTS: u32 = 4;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
const MOST_TOKENS: f64 = 10.0;
const TOKENS_OF_A_SUCCESS: f64 = 0.1;

/// Sends a call again whose replica went away, within the one deadline of its `grpc-timeout`. Every method may be repeated:
/// updates set absolute values. `Cancelled` is how a call ends that was on its way to a replica when that replica said that it
/// stops. A response that has begun is never given up.
#[derive(Clone, Debug)]
pub struct Retry<S> {
    inner: S,
    budget: Arc<Budget>,
}

impl<S> Retry<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, budget: Arc::default() }
    }
}

impl<S> Service<Request<Body>> for Retry<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Error: Into<StdError> + Send,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(())) // Each attempt waits for itself.
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (inner, budget) = (self.inner.clone(), Arc::clone(&self.budget));
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let deadline = Instant::now() + timeout_of(&head.headers).unwrap_or(DEFAULT_TIMEOUT);
            let mut backoff = FIRST_BACKOFF;
            for attempt in 0.. {
                if attempt > 0 {
                    head.headers.insert("grpc-previous-rpc-attempts", HeaderValue::from(attempt));
                }
                let left = deadline.saturating_duration_since(Instant::now()).as_millis();
                head.headers.insert("grpc-timeout", HeaderValue::from_str(&format!("{}m", left.min(99_999_999)))?);
                let request = Request::from_parts(head.clone(), Body::new(Full::new(body.clone())));
                let Ok(ended) = timeout_at(deadline, send(inner.clone(), request)).await else {
                    return Err(deadline_exceeded());
                };
                let (code, pushback) = match &ended {
                    // Only a status in the place of a response comes with the headers.
                    Ok(response) => match Status::from_header_map(response.headers()) {
                        Some(status) => (status.code(), Pushback::of(response.headers())),
                        None => (Code::Ok, Pushback::Absent),
                    },
                    // The channel ends an attempt by the same clock, and calls that cancelled.
                    Err(_) if Instant::now() >= deadline => return Err(deadline_exceeded()),
                    Err(status) => (status.code(), Pushback::Absent),
                };
                let again = matches!(code, Code::Unavailable | Code::Cancelled);
                let allowed = budget.after(again || pushback == Pushback::Never);
                if !again || !allowed || attempt + 1 == ATTEMPTS || pushback == Pushback::Never {
                    return ended.map_err(Into::into);
                }
                let wait = if let Pushback::After(wait) = pushback {
                    backoff = FIRST_BACKOFF;
                    wait
                } else {
                    let wait = backoff.mul_f64(0.8 + 0.4 * fastrand::f64());
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                    wait
                };
                if Instant::now() + wait >= deadline {
                    return ended.map_err(Into::into);
                }
                sleep(wait).await;
            }
            unreachable!("the last attempt returns")
        })
    }
}

async fn send<S>(mut service: S, request: Request<Body>) -> Result<Response<Body>, Status>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Into<StdError>,
{
    let ended = match poll_fn(|context| service.poll_ready(context)).await {
        Ok(()) => service.call(request).await,
        Err(error) => Err(error),
    };
    ended.map_err(|error| {
        let status = Status::from_error(error.into());
        // tonic does not know a connection that broke from other errors; gRPC calls it unavailable.
        match status.code() {
            Code::Unknown => Status::unavailable(status.message()),
            _ => status,
        }
    })
}

fn deadline_exceeded() -> StdError {
    Status::deadline_exceeded("the deadline came before an answer").into()
}

/// What a call may take, by its `grpc-timeout`.
fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// What a server says of the next attempt.
#[derive(Debug, PartialEq, Eq)]
enum Pushback {
    Absent,
    Never,
    After(Duration),
}

impl Pushback {
    fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get("grpc-retry-pushback-ms") else {
            return Self::Absent;
        };
        let milliseconds = value.to_str().ok().and_then(|text| text.parse::<u32>().ok());
        milliseconds.map_or(Self::Never, |wait| Self::After(Duration::from_millis(wait.into())))
    }
}

/// Keeps the retries of a channel from becoming most of its calls.
#[derive(Debug)]
struct Budget(Mutex<f64>);

impl Default for Budget {
    fn default() -> Self {
        Self(Mutex::new(MOST_TOKENS))
    }
}

impl Budget {
    /// Counts an attempt, and says whether there may be another one.
    fn after(&self, failed: bool) -> bool {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *tokens += if failed { -1.0 } else { TOKENS_OF_A_SUCCESS };
        *tokens = tokens.clamp(0.0, MOST_TOKENS);
        *tokens > MOST_TOKENS / 2.0
    }
}
