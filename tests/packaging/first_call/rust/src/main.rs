//! A program elsewhere that depends on seqstep-client.

use std::env;
use std::error::Error;

use seqstep_client::stubs::{SequenceStepRecord, StepTemplate, UpdateStepRequest};
use seqstep_client::{Call, Client};

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
    let client = Client::builder(env::var("SEQSTEP_ADDRESS")?)
        .plaintext()
        .api_key(env::var("SEQSTEP_API_KEY")?)
        .connect()?;
    let response = client.update_step(&Call::new("acme", "outreach")?, message).await?;
    for change in &response.get_ref().changes {
        println!("Changed {}.", change.field);
    }
    Ok(())
}
