//! Retries as the service config of other gRPC libraries has them, which tonic has none of.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tonic::codegen::{Service, StdError};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status, TimeoutExpired};

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
                let ended = match ended {
                    Ok(response) => Ok(readable(response)?),
                    Err(status) => Err(status),
                };
                let (code, pushback) = match &ended {
                    // Only a status in the place of a response comes with the headers.
                    Ok(response) => match Status::from_header_map(response.headers()) {
                        Some(status) => (status.code(), Pushback::of(response.headers())),
                        None => (Code::Ok, Pushback::Absent),
                    },
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
                    backed_off(&mut backoff, LONGEST_BACKOFF)
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
    ended.map_err(|error| status_of(error.into()))
}

/// A status for a call that ended without an answer. tonic does not tell a connection that went away from other errors; gRPC
/// calls that unavailable.
fn status_of(error: StdError) -> Status {
    let mut source: Option<&(dyn Error + 'static)> = Some(&*error);
    let mut went_away = false;
    while let Some(each) = source {
        if each.is::<TimeoutExpired>() {
            return Status::deadline_exceeded("the deadline came before an answer");
        }
        went_away |= each.downcast_ref::<h2::Error>().is_some_and(|error| error.is_go_away() || error.is_io());
        source = each.source();
    }
    let status = Status::from_error(error);
    if went_away || status.code() == Code::Unknown { Status::unavailable(status.message()) } else { status }
}

/// How long to wait this time; the next time it is twice as long, and no longer than the longest.
pub(crate) fn backed_off(backoff: &mut Duration, longest: Duration) -> Duration {
    let wait = backoff.mul_f64(0.8 + 0.4 * fastrand::f64());
    *backoff = (*backoff * 2).min(longest);
    wait
}

/// Makes of a response what tonic can read: it takes the page of a proxy for messages, and panics by details that are no base64.
pub(crate) fn readable(response: Response<Body>) -> Result<Response<Body>, Status> {
    let (mut head, body) = response.into_parts();
    if !head.headers.contains_key("grpc-status") && head.status != StatusCode::OK {
        let code = match head.status.as_u16() {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502..=504 => Code::Unavailable,
            _ => Code::Unknown,
        };
        return Err(Status::new(code, format!("HTTP status {}", head.status)));
    }
    without_malformed_details(&mut head.headers);
    let body = body.map_frame(|mut frame| {
        if let Some(trailers) = frame.trailers_mut() {
            without_malformed_details(trailers);
        }
        frame
    });
    Ok(Response::from_parts(head, Body::new(body)))
}

fn without_malformed_details(headers: &mut HeaderMap) {
    let Some(details) = headers.get("grpc-status-details-bin") else {
        return;
    };
    let mut alone = HeaderMap::new();
    alone.insert("grpc-status-details-bin", details.clone());
    let alone = MetadataMap::from_headers(alone);
    if alone.get_bin("grpc-status-details-bin").is_none_or(|details| details.to_bytes().is_err()) {
        headers.remove("grpc-status-details-bin");
    }
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
