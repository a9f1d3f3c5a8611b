//! Calls the services of `engagement.v1`: channels with TLS, retries, round robin, health checks and keepalive, the metadata of a
//! call, and failures that say what became of the step.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use seqstep_client::stubs::{GetStepRequest, UpdateStepRequest};
//! use seqstep_client::{Call, Client, Outcome};
//!
//! let client = Client::builder("seqstep.example.com:443").api_key("…").connect()?;
//! let call = Call::new("acme", "outreach")?;
//! let step = GetStepRequest { sequence_id: "7".into(), sequence_step_id: "101".into(), ..Default::default() };
//! let read = client.get_step(&call, step).await?.into_inner();
//! let etag = read.step.unwrap_or_default().etag;
//! match client.update_step(&call, UpdateStepRequest { etag, ..Default::default() }).await {
//!     Ok(response) => println!("{:?}", response.get_ref().changes),
//!     Err(failure) if failure.outcome == Outcome::Unknown => println!("repeat the call: {failure}"),
//!     Err(failure) => println!("{failure}"),
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod failure;
mod replicas;
mod retry;

#[rustfmt::skip]
#[allow(missing_docs, clippy::all, clippy::pedantic)]
#[path = "gen/engagement/v1/engagement.v1.rs"]
pub mod stubs;

pub use client::{Builder, Call, Client, ConnectError, DEFAULT_TIMEOUT, Transport};
pub use failure::{Answer, Failure, Outcome, Result, outcome};
