//! Changes the subject of a step and says what became of it:
//! `SEQSTEP_API_KEY=… update-step [--plaintext] CUSTOMER PROVIDER SEQUENCE STEP SUBJECT`
//!
//! The exit status is 0 if the step is as asked, 1 if it was not changed, 2 for wrong usage, 3 if it is not known what became of
//! the step, 4 if it was changed in part.

use std::env;
use std::error::Error;
use std::process::ExitCode;

use seqstep_client::stubs::{SequenceStepRecord, StepTemplate, UpdateStepRequest, UpdateStepResponse};
use seqstep_client::{Call, Client, Outcome, outcome};

const USAGE: &str = "usage: update-step [--plaintext] CUSTOMER PROVIDER SEQUENCE STEP SUBJECT";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = tokio::select! {
        result = run(env::args().skip(1).collect()) => result,
        _ = tokio::signal::ctrl_c() => Ok(Outcome::Unknown),
    };
    match result {
        Ok(outcome) => ExitCode::from(exit_status(outcome)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Makes the call. An error is one before it was sent.
async fn run(mut arguments: Vec<String>) -> Result<Outcome, Box<dyn Error>> {
    let plaintext = arguments.first().is_some_and(|first| first == "--plaintext");
    if plaintext {
        arguments.remove(0);
    }
    let Ok([customer, provider, sequence, step, subject]) = <[String; 5]>::try_from(arguments) else {
        return Err(USAGE.into());
    };
    let client = client(plaintext)?;
    let call = Call::new(&customer, &provider)?;
    let template = StepTemplate { subject: Some(subject), body: None };
    let message = UpdateStepRequest {
        sequence_id: sequence,
        sequence_step_id: step,
        record: Some(SequenceStepRecord { template: Some(template), custom_fields: None }),
        ..UpdateStepRequest::default()
    };
    let ended = client.update_step(&call, message).await;
    match &ended {
        Ok(response) => print(response.get_ref()),
        // What failed may have changed something, and may say so.
        Err(failure) => {
            failure.response.iter().for_each(print);
            eprintln!("{failure}");
        }
    }
    Ok(outcome(&ended))
}

fn client(plaintext: bool) -> Result<Client, Box<dyn Error>> {
    let target = env::var("SEQSTEP_ADDRESS").unwrap_or_else(|_| "127.0.0.1:50051".into());
    let mut builder = Client::builder(target);
    if plaintext {
        builder = builder.plaintext();
    }
    if let Ok(key) = env::var("SEQSTEP_API_KEY") {
        builder = builder.api_key(key);
    }
    if let Ok(ca) = env::var("SEQSTEP_CA") {
        builder = builder.ca_file(ca);
    }
    if let Ok(certificate) = env::var("SEQSTEP_CLIENT_CERTIFICATE") {
        builder = builder.client_certificate(certificate, env::var("SEQSTEP_CLIENT_KEY")?);
    }
    Ok(builder.connect()?)
}

fn print(response: &UpdateStepResponse) {
    for change in &response.changes {
        println!("Changed {}.", change.field);
    }
    for warning in &response.warnings {
        println!("{}: {}", warning.problem_type, warning.detail);
    }
    for wait in response.errors.iter().filter_map(|error| error.meta.as_ref()?.retry_after) {
        eprintln!("Repeat the call in {wait}.");
    }
}

fn exit_status(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Applied => 0,
        Outcome::NotApplied => 1,
        Outcome::Unknown => 3,
        Outcome::PartiallyApplied => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_exit_status() {
        let outcomes = [Outcome::Applied, Outcome::NotApplied, Outcome::Unknown, Outcome::PartiallyApplied];
        assert_eq!(outcomes.map(exit_status), [0, 1, 3, 4]);
    }

    #[tokio::test]
    async fn wrong_usage_is_an_error() {
        assert_eq!(run(vec![]).await.unwrap_err().to_string(), USAGE);
    }
}
