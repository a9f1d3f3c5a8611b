//! Changes the subject of a step and tells what became of it:
//! `SEQSTEP_API_KEY=… update-step CUSTOMER PROVIDER SEQUENCE STEP SUBJECT`

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use seqstep_client::stubs::{SequenceStepRecord, StepTemplate, UpdateStepRequest};
use seqstep_client::{Outcome, channel, envelope, outcome};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [customer, provider, sequence, step, subject] = arguments.as_slice() else {
        eprintln!("usage: update-step CUSTOMER PROVIDER SEQUENCE STEP SUBJECT");
        return Ok(ExitCode::from(2));
    };
    let target = env::var("SEQSTEP_ADDRESS").unwrap_or_else(|_| "127.0.0.1:50051".into());
    let ca = env::var("SEQSTEP_CA").ok().map(std::fs::read_to_string).transpose()?;
    let metadata = [
        ("x-customer-id", customer.clone()),
        ("x-provider-name", provider.clone()),
        ("x-api-key", env::var("SEQSTEP_API_KEY")?),
    ];
    let message = UpdateStepRequest {
        sequence_id: sequence.clone(),
        sequence_step_id: step.clone(),
        record: Some(SequenceStepRecord {
            template: Some(StepTemplate {
                subject: Some(subject.clone()),
                body: None,
            }),
            custom_fields: None,
        }),
        ..UpdateStepRequest::default()
    };

    let channel = channel(&target, ca.as_deref())?;
    let ended = seqstep_client::update_step(&channel, &message, &metadata, Duration::from_secs(30)).await;
    if let Err(status) = &ended {
        println!("{:?}: {}", status.code(), status.message());
    }
    let response = envelope(&ended).unwrap_or_default();
    for change in &response.changes {
        println!("Changed {}.", change.field);
    }
    for warning in &response.warnings {
        println!("{}: {}", warning.problem_type, warning.detail);
    }
    for error in &response.errors {
        println!("{}: {}", error.code, error.detail);
        if let Some(wait) = error.meta.as_ref().and_then(|meta| meta.retry_after) {
            println!("  repeat the call in {wait}");
        }
    }
    Ok(match outcome(&ended) {
        Outcome::Applied => ExitCode::SUCCESS,
        Outcome::NotApplied => ExitCode::from(1),
        Outcome::Unknown => ExitCode::from(3),
        Outcome::PartiallyApplied => ExitCode::from(4),
    })
}
