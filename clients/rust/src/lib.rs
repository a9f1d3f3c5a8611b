//! Calls `SequenceStepService.UpdateStep`: a channel, metadata and a deadline, the call, the envelope
//! wherever it comes, and what became of the step.

use std::time::Duration;

use prost::Message;
use tonic::metadata::errors::InvalidMetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error};
use tonic::{Code, Request, Response, Status};

pub mod stubs {
    include!("gen/engagement/v1/engagement.v1.rs");
}

use stubs::sequence_step_service_client::SequenceStepServiceClient;
use stubs::{ErrorOutcome, UpdateStepRequest, UpdateStepResponse};

/// How often a call is made at most when the replica that had it went away.
const ATTEMPTS: u32 = 4;

/// Opens a channel: with TLS that trusts the authorities of a PEM text, or in plaintext if there is none.
pub fn channel(target: &str, ca_pem: Option<&str>) -> Result<Channel, Error> {
    match ca_pem {
        None => Ok(Endpoint::from_shared(format!("http://{target}"))?.connect_lazy()),
        Some(pem) => {
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
            Ok(Endpoint::from_shared(format!("https://{target}"))?
                .tls_config(tls)?
                .connect_lazy())
        }
    }
}

/// A call with its metadata and its deadline.
pub fn request<M>(
    message: M,
    metadata: &[(&'static str, String)],
    deadline: Duration,
) -> Result<Request<M>, InvalidMetadataValue> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    for (key, value) in metadata {
        request.metadata_mut().append(*key, value.parse()?);
    }
    Ok(request)
}

/// Makes a call, and makes it again if its replica went away: updates set absolute values, so that is safe. CANCELLED is
/// how a call ends that was on its way to a replica when that replica said that it stops.
pub async fn update_step(
    channel: &Channel,
    message: &UpdateStepRequest,
    metadata: &[(&'static str, String)],
    deadline: Duration,
) -> Result<Response<UpdateStepResponse>, Status> {
    let mut client = SequenceStepServiceClient::new(channel.clone());
    let mut attempt = 1;
    loop {
        let call = request(message.clone(), metadata, deadline)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        match client.update_step(call).await {
            Err(status) if attempt < ATTEMPTS && matches!(status.code(), Code::Unavailable | Code::Cancelled) => {
                tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
                attempt += 1;
            }
            ended => return ended,
        }
    }
}

/// The envelope of a call: the response itself, or the one in the details of a status other than OK. There is none if the
/// service did not say anything, because the connection broke or the deadline came first.
pub fn envelope(ended: &Result<Response<UpdateStepResponse>, Status>) -> Option<UpdateStepResponse> {
    match ended {
        Ok(response) => Some(response.get_ref().clone()),
        Err(status) => tonic_types::pb::Status::decode(status.details())
            .ok()?
            .details
            .iter()
            .find(|detail| detail.type_url.ends_with("/engagement.v1.UpdateStepResponse"))
            .and_then(|detail| UpdateStepResponse::decode(detail.value.as_slice()).ok()),
    }
}

/// What a call did to the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The step is as asked for.
    Applied,
    /// Nothing was changed.
    NotApplied,
    /// It may have been changed; repeating the call is safe and settles it.
    Unknown,
    /// What `changes` lists was changed; once the error is dealt with, repeating the call does the rest.
    PartiallyApplied,
}

/// Tells what a call did to the step.
pub fn outcome(ended: &Result<Response<UpdateStepResponse>, Status>) -> Outcome {
    let Some(envelope) = envelope(ended) else {
        return Outcome::Unknown;
    };
    let Some(error) = envelope.errors.first() else {
        return Outcome::Applied;
    };
    match error.meta.as_ref().map(|meta| meta.outcome()) {
        Some(ErrorOutcome::NotApplied) => Outcome::NotApplied,
        Some(ErrorOutcome::PartiallyApplied) => Outcome::PartiallyApplied,
        _ => Outcome::Unknown,
    }
}
