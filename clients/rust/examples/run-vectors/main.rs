//! Runs the vectors as tests/vectors/README.md tells.

mod matcher;

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Map, Value, json};
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;
use seqstep_client::channel;
use seqstep_client::stubs::FILE_DESCRIPTOR_SET;
use seqstep_client::stubs::sequence_step_service_client::SequenceStepServiceClient;

type Failure = Box<dyn Error>;

struct Runner {
    channel: Channel,
    api_key: String,
    sandbox: String,
    http: ureq::Agent,
    types: DescriptorPool,
}

/// How a call ended, its response as gRPC sends it.
type Ended = Result<Response<Vec<u8>>, Status>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Failure> {
    let ca = env::var("CA").ok().map(fs::read_to_string).transpose()?;
    // It has the well-known types already, which the stubs' own descriptors do without.
    let mut types = DescriptorPool::global();
    types.decode_file_descriptor_set(FILE_DESCRIPTOR_SET)?;
    let runner = Runner {
        channel: channel(&env::var("TARGET")?, ca.as_deref())?,
        api_key: env::var("API_KEY")?,
        sandbox: env::var("SANDBOX")?,
        http: ureq::Agent::config_builder().http_status_as_error(false).build().into(),
        types,
    };
    let mut files: Vec<PathBuf> = fs::read_dir(env::var("VECTORS")?)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|kind| kind == "json") && !file.ends_with("customers.json"));
    files.sort();
    let mut all = true;
    for file in files {
        let topic: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
        for vector in list(&topic["vectors"]) {
            all &= runner.passes(vector).await;
        }
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Runner {
    async fn passes(&self, vector: &Value) -> bool {
        let name = vector["name"].as_str().unwrap_or_default();
        let fault = match self.observe(vector).await {
            Ok(seen) => matcher::mismatch("the observation", &vector["expect"], Some(&seen)),
            Err(error) => Some(error.to_string()),
        };
        match &fault {
            None => println!("passed {name}"),
            Some(why) => println!("failed {name}: {}", why.replace('\n', " ")),
        }
        fault.is_none()
    }

    async fn observe(&self, vector: &Value) -> Result<Value, Failure> {
        self.control("POST", "/reset", &Value::Null)?;
        for order in list(&vector["sandbox"]) {
            self.control(text(&order["method"]), text(&order["path"]), &order["body"])?;
        }
        let mut metadata = MetadataMap::new();
        for pair in list(&vector["metadata"]) {
            metadata.append(
                tonic::metadata::AsciiMetadataKey::from_bytes(text(&pair[0]).as_bytes())?,
                text(&pair[1]).parse()?,
            );
        }
        if !metadata.contains_key("x-api-key") {
            metadata.insert("x-api-key", self.api_key.parse()?);
        }
        let method = vector["method"].as_str().unwrap_or("UpdateStep");
        let mut client = SequenceStepServiceClient::new(self.channel.clone());
        let ended = match method {
            "GetStep" => encoded(client.get_step(self.call(vector, method, &metadata)?).await),
            "ListSteps" => encoded(client.list_steps(self.call(vector, method, &metadata)?).await),
            _ => encoded(client.update_step(self.call(vector, method, &metadata)?).await),
        };
        let mut seen = self.observed(&ended, method)?;
        seen["provider_calls"] = json!(list(&self.control("GET", "/calls", &Value::Null)?).len());
        Ok(seen)
    }

    fn call<M: Message + Default>(
        &self,
        vector: &Value,
        method: &str,
        metadata: &MetadataMap,
    ) -> Result<Request<M>, Failure> {
        let seconds = vector["deadline_seconds"].as_u64().unwrap_or(10);
        let mut call = seqstep_client::request(self.message(vector, method)?, &[], Duration::from_secs(seconds))?;
        // The deadline is among the metadata already.
        for entry in metadata.iter() {
            if let KeyAndValueRef::Ascii(key, value) = entry {
                call.metadata_mut().append(key, value.clone());
            }
        }
        Ok(call)
    }

    fn message<M: Message + Default>(&self, vector: &Value, method: &str) -> Result<M, Failure> {
        let mut request = vector["request"].clone();
        for (path, repeat) in vector["repeat"].as_object().into_iter().flatten() {
            let times = repeat["times"].as_u64().unwrap_or_default() as usize;
            let pointed = path
                .split('.')
                .fold(&mut request["record"], |parent, name| &mut parent[name]);
            *pointed = Value::String(text(&repeat["text"]).repeat(times));
        }
        Ok(DynamicMessage::deserialize(self.named(&format!("{method}Request"))?, request)?.transcode_to()?)
    }

    /// All that a call's end tells.
    fn observed(&self, ended: &Ended, method: &str) -> Result<Value, Failure> {
        let response = self.named(&format!("{method}Response"))?;
        let mut seen = Map::new();
        let (code, message, trailers) = match ended {
            Ok(response) => (Code::Ok, "", response.metadata()),
            Err(status) => (status.code(), status.message(), status.metadata()),
        };
        seen.insert("status".into(), json!(upper_snake(&format!("{code:?}"))));
        seen.insert("message".into(), json!(message));
        if let Some(envelope) = envelope(ended, response.full_name()) {
            seen.insert("response".into(), json_of(response, &envelope)?);
        }
        let shown: Map<String, Value> = trailers
            .iter()
            .filter_map(|entry| match entry {
                KeyAndValueRef::Ascii(key, value) if key.as_str().starts_with("x-") => {
                    Some((key.to_string(), json!(value.to_str().ok()?)))
                }
                _ => None,
            })
            .collect();
        seen.insert("trailers".into(), Value::Object(shown));
        if let Err(status) = ended {
            if let Some(bad) = status.get_details_bad_request() {
                let violations: Map<String, Value> = bad
                    .field_violations
                    .into_iter()
                    .map(|each| (each.field, json!(each.description)))
                    .collect();
                seen.insert("violations".into(), Value::Object(violations));
            }
            if let Some(delay) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
                seen.insert("retry_delay".into(), json!(delay.as_secs_f64()));
            }
            if let Some(info) = status.get_details_error_info() {
                seen.insert("reason".into(), json!(info.reason));
            }
        }
        Ok(Value::Object(seen))
    }

    fn named(&self, name: &str) -> Result<MessageDescriptor, Failure> {
        Ok(self
            .types
            .get_message_by_name(&format!("engagement.v1.{name}"))
            .ok_or("the stubs describe no such message")?)
    }

    /// Calls the sandbox's control API.
    fn control(&self, method: &str, path: &str, body: &Value) -> Result<Value, Failure> {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let call = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}/_sandbox{path}", self.sandbox))
            .body(text)?;
        let mut answer = self.http.run(call)?;
        let said = answer.body_mut().read_to_string()?;
        if !answer.status().is_success() {
            return Err(format!("the sandbox answered {method} {path} with {said}").into());
        }
        Ok(if said.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&said)?
        })
    }
}

fn encoded<M: Message>(ended: Result<Response<M>, Status>) -> Ended {
    ended.map(|response| response.map(|message| message.encode_to_vec()))
}

/// The response of a call, or the one in the details of its status.
fn envelope(ended: &Ended, name: &str) -> Option<Vec<u8>> {
    match ended {
        Ok(response) => Some(response.get_ref().clone()),
        Err(status) => tonic_types::pb::Status::decode(status.details())
            .ok()?
            .details
            .into_iter()
            .find(|detail| detail.type_url.ends_with(&format!("/{name}")))
            .map(|detail| detail.value),
    }
}

fn json_of(kind: MessageDescriptor, message: &[u8]) -> Result<Value, Failure> {
    let message = DynamicMessage::decode(kind, message)?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(false);
    Ok(message.serialize_with_options(serde_json::value::Serializer, &options)?)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `InvalidArgument` as `INVALID_ARGUMENT`.
fn upper_snake(name: &str) -> String {
    let mut spelled = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !spelled.is_empty() {
            spelled.push('_');
        }
        spelled.push(letter.to_ascii_uppercase());
    }
    spelled
}
