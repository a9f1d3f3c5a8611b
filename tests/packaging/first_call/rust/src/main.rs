//! A program elsewhere that depends on seqstep-client.

use std::env;
use std::error::Error;
use std::time::Duration;

use seqstep_client::stubs::{SequenceStepRecord, StepTemplate, UpdateStepRequest};
use seqstep_client::{channel, envelope, update_step};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let message = UpdateStepRequest {
        sequence_id: "7".into(),
        sequence_step_id: "101".into(),
        record: Some(SequenceStepRecord {
            template: Some(StepTemplate {
                subject: env::args().nth(1),
                ..StepTemplate::default()
            }),
            ..SequenceStepRecord::default()
        }),
        ..UpdateStepRequest::default()
    };
    let metadata = [
        ("x-customer-id", "acme".to_owned()),
        ("x-provider-name", "outreach".to_owned()),
        ("x-api-key", env::var("SEQSTEP_API_KEY")?),
    ];
    let channel = channel(&env::var("SEQSTEP_ADDRESS")?, None)?;
    let ended = update_step(&channel, &message, &metadata, Duration::from_secs(30)).await;
    for change in envelope(&ended).unwrap_or_default().changes {
        println!("Changed {}.", change.field);
    }
    ended?;
    Ok(())
}
