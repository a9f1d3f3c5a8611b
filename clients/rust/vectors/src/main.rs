//! Calls what the vectors say, and prints what it observes, as tests/vectors/README.md describes.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use prost::Name;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use seqstep_client::stubs::{self, FILE_DESCRIPTOR_SET};
use seqstep_client::{Answer, Call, Client, Outcome, Result as Ended, outcome};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tonic::metadata::{AsciiMetadataKey, KeyAndValueRef, MetadataMap};
use tonic::{Code, Status};
use tonic_types::StatusExt;

type Failure = Box<dyn Error>;
type Captured = Map<String, Value>;

struct Runner {
    client: Client,
    sandbox: String,
    http: ureq::Agent,
    types: DescriptorPool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    // It has the well-known types already, which the stubs' own descriptors do without.
    let mut types = DescriptorPool::global();
    types.decode_file_descriptor_set(FILE_DESCRIPTOR_SET)?;
    let http = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let runner = Runner { client: client()?, sandbox: env::var("SANDBOX")?, http, types };
    let mut files: Vec<PathBuf> =
        fs::read_dir(env::var("VECTORS")?)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|kind| kind == "json") && !file.ends_with("customers.json"));
    files.sort();
    for file in files {
        let topic: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
        for vector in list(&topic["vectors"]) {
            let seen = runner.observe(vector).await?;
            println!("{}", json!({"vector": vector["name"], "observations": seen}));
        }
    }
    Ok(())
}

fn client() -> Result<Client, Failure> {
    let mut builder = Client::builder(env::var("TARGET")?).api_key(env::var("API_KEY")?);
    builder = match env::var("CA") {
        Ok(ca) => builder.ca_file(ca),
        Err(_) => builder.plaintext(),
    };
    if let Ok(certificate) = env::var("CLIENT_CERTIFICATE") {
        builder = builder.client_certificate(certificate, env::var("CLIENT_KEY")?);
    }
    Ok(builder.connect()?)
}

/// How a call ended, its response in the protobuf JSON mapping.
struct Seen {
    status: Status,
    trailers: MetadataMap,
    response: Option<Value>,
    outcome: Outcome,
    seconds: f64,
}

/// Makes a call of the method whose name the vector has.
macro_rules! methods {
    ($($name:literal $service:ident.$method:ident $request:ident;)*) => {
        async fn send(client: Client, types: DescriptorPool, method: String, request: Value, call: Call) -> Seen {
            match method.as_str() {
                $($name => {
                    let mut stub = client.$service();
                    let message: stubs::$request = DynamicMessage::deserialize(named(&types, stubs::$request::NAME), request)
                        .expect("the request is of the method")
                        .transcode_to()
                        .expect("the stubs are of one contract");
                    let started = Instant::now();
                    let ended = client.call(&call, message, |request| async move { stub.$method(request).await }).await;
                    seen(ended, &types, started)
                })*
                _ => panic!("the contract has no method {method}"),
            }
        }
    };
}

methods! {
    "UpdateStep" steps.update_step UpdateStepRequest;
    "GetStep" steps.get_step GetStepRequest;
    "ListSteps" steps.list_steps ListStepsRequest;
    "ListStepChanges" steps.list_step_changes ListStepChangesRequest;
    "GetStepChange" steps.get_step_change GetStepChangeRequest;
    "RevertStepChange" steps.revert_step_change RevertStepChangeRequest;
    "SetConnection" connections.set_connection SetConnectionRequest;
    "GetConnection" connections.get_connection GetConnectionRequest;
    "ListConnections" connections.list_connections ListConnectionsRequest;
    "CheckConnection" connections.check_connection CheckConnectionRequest;
    "DeleteConnection" connections.delete_connection DeleteConnectionRequest;
    "DeleteStepChanges" connections.delete_step_changes DeleteStepChangesRequest;
}

fn seen<R: Answer>(ended: Ended<R>, types: &DescriptorPool, started: Instant) -> Seen {
    let (seconds, outcome) = (started.elapsed().as_secs_f64(), outcome(&ended));
    let (status, response) = match ended {
        Ok(response) => {
            let (metadata, message, _) = response.into_parts();
            (Status::with_metadata(Code::Ok, "", metadata), Some(message))
        }
        Err(failure) => (failure.status, failure.response),
    };
    let response = response.map(|message| {
        let mut dynamic = DynamicMessage::new(named(types, R::NAME));
        dynamic.transcode_from(&message).expect("the stubs are of one contract");
        let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
        dynamic.serialize_with_options(serde_json::value::Serializer, &options).expect("any message is JSON")
    });
    Seen { trailers: status.metadata().clone(), status, response, outcome, seconds }
}

fn named(types: &DescriptorPool, name: &str) -> MessageDescriptor {
    types.get_message_by_name(&format!("engagement.v1.{name}")).expect("the stubs describe their messages")
}

impl Runner {
    /// Makes the calls of a vector and returns one observation for each.
    async fn observe(&self, vector: &Value) -> Result<Vec<Value>, Failure> {
        self.control("POST", "/reset", &Value::Null)?;
        for order in list(&vector["sandbox"]) {
            self.control(text(&order["method"]), text(&order["path"]), &order["body"])?;
        }
        let mut captured = Captured::new();
        let mut all = Vec::new();
        let itself = std::slice::from_ref(vector);
        for call in vector["calls"].as_array().map_or(itself, Vec::as_slice) {
            let seen = self.calls(call, &captured).await?;
            for (name, path) in call["capture"].as_object().into_iter().flatten() {
                captured.insert(name.clone(), at(&seen[0], text(path)));
            }
            all.extend(seen);
        }
        Ok(all)
    }

    /// Makes a call as many times at once as it says.
    async fn calls(&self, call: &Value, captured: &Captured) -> Result<Vec<Value>, Failure> {
        let method = call["method"].as_str().unwrap_or("UpdateStep");
        let mut request = filled(&call["request"], captured);
        for (path, repeat) in call["repeat"].as_object().into_iter().flatten() {
            let times = usize::try_from(repeat["times"].as_u64().unwrap_or_default())?;
            let pointed = path.split('.').fold(&mut request["record"], |parent, name| &mut parent[name]);
            *pointed = Value::String(text(&repeat["text"]).repeat(times));
        }
        let cancel_after = call["cancel_after_seconds"].as_f64().map(Duration::from_secs_f64);
        let mut running = JoinSet::new();
        for _ in 0..call["times"].as_u64().unwrap_or(1) {
            let sent = send(
                self.client.clone(),
                self.types.clone(),
                method.to_owned(),
                request.clone(),
                prepared(call, captured)?,
            );
            running.spawn(async move {
                let Some(limit) = cancel_after else {
                    return sent.await;
                };
                let started = Instant::now();
                tokio::time::timeout(limit, sent).await.unwrap_or_else(|_| Seen {
                    status: Status::cancelled("the caller dropped the call"),
                    trailers: MetadataMap::new(),
                    response: None,
                    outcome: Outcome::default(),
                    seconds: started.elapsed().as_secs_f64(),
                })
            });
        }
        let mut all = Vec::new();
        while let Some(ended) = running.join_next().await {
            all.push(match ended {
                Ok(seen) => observation(&seen, method),
                Err(panic) => json!({"crashed": panic.to_string()}),
            });
        }
        let received = list(&self.control("GET", "/calls", &Value::Null)?).len();
        for each in all.iter_mut().filter(|each| each["crashed"].is_null()) {
            each["provider_calls"] = json!(received);
        }
        Ok(all)
    }

    /// Calls the control API of the sandbox.
    fn control(&self, method: &str, path: &str, body: &Value) -> Result<Value, Failure> {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let call =
            ureq::http::Request::builder().method(method).uri(format!("{}/_sandbox{path}", self.sandbox)).body(text)?;
        let mut answer = self.http.run(call)?;
        let said = answer.body_mut().read_to_string()?;
        if !answer.status().is_success() {
            return Err(format!("the sandbox answered {method} {path} with {said}").into());
        }
        Ok(if said.is_empty() { Value::Null } else { serde_json::from_str(&said)? })
    }
}

fn prepared(call: &Value, captured: &Captured) -> Result<Call, Failure> {
    let seconds = call["deadline_seconds"].as_f64().unwrap_or(10.0);
    let mut prepared = Call::default().timeout(Duration::from_secs_f64(seconds));
    for pair in list(&call["metadata"]) {
        let key = AsciiMetadataKey::from_bytes(text(&pair[0]).as_bytes())?;
        prepared.metadata_mut().append(key, text(&filled(&pair[1], captured)).parse()?);
    }
    Ok(prepared)
}

/// All that the end of a call says.
fn observation(ended: &Seen, method: &str) -> Value {
    let mut seen = Map::new();
    let status = &ended.status;
    seen.insert("status".into(), json!(upper_snake(&format!("{:?}", status.code()))));
    seen.insert("message".into(), json!(if status.code() == Code::Ok { "" } else { status.message() }));
    seen.insert("seconds".into(), json!(ended.seconds));
    if let Some(response) = &ended.response {
        seen.insert("response".into(), response.clone());
    }
    if matches!(method, "UpdateStep" | "RevertStepChange") {
        seen.insert("outcome".into(), json!(upper_snake(&format!("{:?}", ended.outcome))));
    }
    let shown: Map<String, Value> = ended
        .trailers
        .iter()
        .filter_map(|entry| match entry {
            KeyAndValueRef::Ascii(key, value) if key.as_str().starts_with("x-") => {
                Some((key.to_string(), json!(value.to_str().ok()?)))
            }
            _ => None,
        })
        .collect();
    seen.insert("trailers".into(), Value::Object(shown));
    if let Some(bad) = status.get_details_bad_request() {
        let violations: Map<String, Value> =
            bad.field_violations.into_iter().map(|each| (each.field, json!(each.description))).collect();
        seen.insert("violations".into(), Value::Object(violations));
    }
    if let Some(delay) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
        seen.insert("retry_delay".into(), json!(delay.as_secs_f64()));
    }
    if let Some(info) = status.get_details_error_info() {
        seen.insert("reason".into(), json!(info.reason));
    }
    Value::Object(seen)
}

/// A value with what was captured in the place of each `${NAME}`.
fn filled(value: &Value, captured: &Captured) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => captured.get(name).cloned().unwrap_or_default(),
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(|item| filled(item, captured)).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, member)| (name.clone(), filled(member, captured))).collect()
        }
        _ => value.clone(),
    }
}

/// What stands at a path of names and indexes; null if nothing does.
fn at(value: &Value, path: &str) -> Value {
    value.pointer(&format!("/{}", path.replace('.', "/"))).cloned().unwrap_or_default()
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
