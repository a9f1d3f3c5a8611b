//! Why a call did not do what it was asked for, and what became of the step.

use std::error::Error;
use std::fmt;

use prost::{Message, Name};
use tonic::{Code, Response, Status};

use crate::stubs::{self, ErrorOutcome};

/// What a call did to the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It may have been changed; repeating the call is safe and settles it.
    #[default]
    Unknown,
    /// The step is as asked for.
    Applied,
    /// Nothing was changed.
    NotApplied,
    /// What `changes` lists was changed; once the error is dealt with, repeating the call does the rest.
    PartiallyApplied,
}

/// The response of a method.
pub trait Answer: Message + Name + Default + fmt::Debug {
    /// What the response itself says went wrong; empty where only a status can.
    fn errors(&self) -> &[stubs::Error] {
        &[]
    }
}

macro_rules! envelopes {
    ($($name:ident)*) => {
        $(impl Answer for stubs::$name {
            fn errors(&self) -> &[stubs::Error] {
                &self.errors
            }
        })*
    };
}

envelopes! {
    UpdateStepResponse GetStepResponse ListStepsResponse
    ListStepChangesResponse GetStepChangeResponse RevertStepChangeResponse
    CheckConnectionResponse
}

impl Answer for stubs::SetConnectionResponse {}
impl Answer for stubs::GetConnectionResponse {}
impl Answer for stubs::ListConnectionsResponse {}
impl Answer for stubs::DeleteConnectionResponse {}
impl Answer for stubs::DeleteStepChangesResponse {}

/// Why a call did not do what it was asked for.
#[derive(Debug)]
pub struct Failure<R> {
    /// What became of the step.
    pub outcome: Outcome,
    /// How the call ended: `Ok` where the response itself has errors.
    pub status: Status,
    /// The response, from the details of the status where that is not `Ok`. None where the service did not send one, as when
    /// the connection broke or the deadline came first.
    pub response: Option<R>,
}

impl<R: Answer> fmt::Display for Failure<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.response.as_ref().and_then(|response| response.errors().first()) {
            Some(error) => write!(f, "{:?}: {}: {}", self.outcome, error.code, error.detail),
            None => write!(f, "{:?}: {:?}: {}", self.outcome, self.status.code(), self.status.message()),
        }
    }
}

impl<R: Answer> Error for Failure<R> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        (self.status.code() != Code::Ok).then_some(&self.status)
    }
}

/// How a call ended.
pub type Result<R> = std::result::Result<Response<R>, Box<Failure<R>>>;

/// Tells what a call did to the step.
pub fn outcome<R>(ended: &Result<R>) -> Outcome {
    match ended {
        Ok(_) => Outcome::Applied,
        Err(failure) => failure.outcome,
    }
}

/// Makes a failure of whatever a call did not succeed by.
pub(crate) fn judged<R: Answer>(ended: std::result::Result<Response<R>, Status>) -> Result<R> {
    match ended {
        Ok(response) if response.get_ref().errors().is_empty() => Ok(response),
        Ok(response) => {
            let (metadata, message, _) = response.into_parts();
            Err(Box::new(Failure {
                outcome: worst(message.errors()),
                status: Status::with_metadata(Code::Ok, "", metadata),
                response: Some(message),
            }))
        }
        Err(status) => {
            let response: Option<R> = from_details(&status);
            Err(Box::new(Failure {
                outcome: response.as_ref().map_or(Outcome::Unknown, |found| worst(found.errors())),
                status,
                response,
            }))
        }
    }
}

/// The response in the details of a status; details of another code are not about this call.
fn from_details<R: Answer>(status: &Status) -> Option<R> {
    let details = tonic_types::pb::Status::decode(status.details()).ok()?;
    if details.code != status.code() as i32 {
        return None;
    }
    let detail =
        details.details.into_iter().find(|detail| detail.type_url.rsplit('/').next() == Some(&R::full_name()))?;
    R::decode(detail.value.as_slice()).ok()
}

/// Goes by the error that leaves most open. Without errors nothing is known of a failure.
fn worst(errors: &[stubs::Error]) -> Outcome {
    let mut outcome = if errors.is_empty() { Outcome::Unknown } else { Outcome::NotApplied };
    for error in errors {
        match error.meta.as_ref().map(stubs::ErrorMeta::outcome) {
            Some(ErrorOutcome::NotApplied) => {}
            Some(ErrorOutcome::PartiallyApplied) => outcome = Outcome::PartiallyApplied,
            _ => return Outcome::Unknown,
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use prost_types::Any;

    use super::*;
    use crate::stubs::{ErrorMeta, GetStepResponse, UpdateStepResponse};

    const NOT_APPLIED: i32 = ErrorOutcome::NotApplied as i32;
    const PARTIALLY: i32 = ErrorOutcome::PartiallyApplied as i32;
    const UNKNOWN: i32 = ErrorOutcome::Unknown as i32;

    fn errors(outcomes: &[i32]) -> Vec<stubs::Error> {
        let error = |&outcome| stubs::Error {
            meta: Some(ErrorMeta { outcome, ..ErrorMeta::default() }),
            ..stubs::Error::default()
        };
        outcomes.iter().map(error).collect()
    }

    fn update(outcomes: &[i32]) -> UpdateStepResponse {
        UpdateStepResponse { errors: errors(outcomes), ..UpdateStepResponse::default() }
    }

    fn detail<R: Answer>(message: &R) -> Any {
        Any { type_url: format!("type.googleapis.com/{}", R::full_name()), value: message.encode_to_vec() }
    }

    fn status(code: Code, details: Vec<Any>) -> std::result::Result<Response<UpdateStepResponse>, Status> {
        let details = tonic_types::pb::Status { code: Code::Aborted as i32, message: String::new(), details };
        Err(Status::with_details(code, "no", details.encode_to_vec().into()))
    }

    #[test]
    fn the_outcome_is_the_least_known_of_all_errors() {
        for (outcomes, expected) in [
            (&[][..], Outcome::Applied),
            (&[NOT_APPLIED], Outcome::NotApplied),
            (&[PARTIALLY, NOT_APPLIED], Outcome::PartiallyApplied),
            (&[UNKNOWN, PARTIALLY], Outcome::Unknown),
            (&[NOT_APPLIED, UNKNOWN], Outcome::Unknown),
            (&[NOT_APPLIED, 0], Outcome::Unknown),
            (&[NOT_APPLIED, 99], Outcome::Unknown),
        ] {
            assert_eq!(outcome(&judged(Ok(Response::new(update(outcomes))))), expected, "{outcomes:?}");
        }
        let mut bare = update(&[NOT_APPLIED]);
        bare.errors[0].meta = None;
        assert_eq!(outcome(&judged(Ok(Response::new(bare)))), Outcome::Unknown);
        assert_eq!(Outcome::default(), Outcome::Unknown);
    }

    #[test]
    fn what_is_not_understood_is_unknown() {
        let refused = detail(&update(&[NOT_APPLIED]));
        let malformed = Any { value: vec![0xff], ..refused.clone() };
        let read = GetStepResponse { errors: errors(&[NOT_APPLIED]), ..GetStepResponse::default() };
        for (ended, expected) in [
            (status(Code::Aborted, vec![refused.clone()]), Outcome::NotApplied),
            (status(Code::Aborted, vec![detail(&read), refused.clone()]), Outcome::NotApplied),
            (status(Code::Unavailable, vec![refused]), Outcome::Unknown),
            (status(Code::Aborted, vec![malformed]), Outcome::Unknown),
            (status(Code::Aborted, vec![detail(&read)]), Outcome::Unknown),
            (status(Code::Aborted, vec![detail(&update(&[]))]), Outcome::Unknown),
            (status(Code::Aborted, vec![]), Outcome::Unknown),
            (Err(Status::with_details(Code::Aborted, "no", vec![0xff].into())), Outcome::Unknown),
        ] {
            let ended = judged(ended);
            assert_eq!(outcome(&ended), expected, "{ended:?}");
        }
    }

    #[test]
    fn a_failure_says_the_first_error_and_has_the_status_as_its_source() {
        let mut response = update(&[NOT_APPLIED]);
        response.errors[0].code = "NOT_FOUND_ERROR".into();
        let failure = judged(Ok(Response::new(response))).unwrap_err();
        assert_eq!(failure.to_string(), "NotApplied: NOT_FOUND_ERROR: ");
        assert!(failure.source().is_none());
        let failure = judged(status(Code::Aborted, vec![])).unwrap_err();
        assert_eq!(failure.to_string(), "Unknown: Aborted: no");
        assert!(failure.source().is_some_and(<dyn Error>::is::<Status>));
    }
}
