// Makes the calls of the vectors with the variant that is named, grpc-js, connect or web, and prints what is observed, as
// tests/vectors/README.md says.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { argv, env } from "node:process";

import { fromJson, toJson, type JsonValue, type Message } from "@bufbuild/protobuf";

import type { CallOptions, Method, SeqstepClient } from "../client.js";
import { ConnectClient, Session } from "../connect.js";
import { SeqstepError, type Outcome } from "../failure.js";
import { ConnectionService } from "../gen/engagement/v1/connection_service_pb.js";
import { SequenceStepService } from "../gen/engagement/v1/sequence_step_service_pb.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.js";
import { GrpcJsClient } from "../grpc-js.js";
import type { NodeClientOptions } from "../tls.js";
import { WebClient } from "../web.js";

interface JsonObject {
  [name: string]: JsonValue;
}

interface Call {
  method?: string;
  metadata?: [string, string][];
  request: JsonObject;
  repeat?: Record<string, { text: string; times: number }>;
  deadline_seconds?: number;
  cancel_after_seconds?: number;
  times?: number;
  capture?: Record<string, string>;
}

interface Vector extends Call {
  name: string;
  sandbox?: { method: string; path: string; body?: unknown }[];
  calls?: Call[];
}

/** Those whose outcome is observed. */
const CHANGES = ["UpdateStep", "RevertStepChange"];

const methods = new Map(
  [...SequenceStepService.methods, ...ConnectionService.methods].map((method): [string, Method] => [
    method.name,
    method as Method,
  ]),
);
// Sends a key that is given twice as two headers, where Connect's own Headers make one of them.
let exactMetadata: [string, string][] = [];

async function main(client: SeqstepClient): Promise<void> {
  for (const file of readdirSync(setting("VECTORS")).sort()) {
    if (file.endsWith(".json") && file !== "customers.json") {
      const topic = JSON.parse(readFileSync(join(setting("VECTORS"), file), "utf-8")) as { vectors: Vector[] };
      for (const vector of topic.vectors) {
        console.log(JSON.stringify({ vector: vector.name, observations: await observe(client, vector) }));
      }
    }
  }
  client.close();
}

function open(variant: string | undefined): SeqstepClient {
  const options: NodeClientOptions = {
    apiKey: setting("API_KEY"),
    caFile: env.CA,
    certificateFile: env.CLIENT_CERTIFICATE,
    keyFile: env.CLIENT_KEY,
    plaintext: env.CA === undefined ? "loopback" : undefined,
  };
  switch (variant) {
    case "grpc-js":
      return new GrpcJsClient(setting("TARGET"), options);
    case "connect":
      return new ConnectClient(setting("TARGET"), options, ExactMetadata);
    case "web": {
      // Whom to trust is up to the browser; run-vectors.sh says it to Node.js.
      const { apiKey, plaintext } = options;
      return new WebClient(`${plaintext ? "http" : "https"}://${setting("TARGET")}`, { apiKey, plaintext });
    }
    default:
      throw new Error("the variants are grpc-js, connect and web");
  }
}

function setting(name: string): string {
  const value = env[name];
  if (!value) {
    throw new Error(`${name} is not set`);
  }
  return value;
}

async function observe(client: SeqstepClient, vector: Vector): Promise<JsonObject[]> {
  await control("POST", "/reset");
  for (const order of vector.sandbox ?? []) {
    await control(order.method, order.path, order.body);
  }
  const all: JsonObject[] = [];
  const captured = new Map<string, JsonValue>();
  for (const call of vector.calls ?? [vector]) {
    const { times = 1, capture = {} } = call;
    const filled = {
      ...call,
      ...(replaced({ request: call.request, metadata: call.metadata ?? [] }, captured) as object),
    };
    const observed = await Promise.all(Array.from({ length: times }, () => observeOnce(client, filled)));
    const made = (await control("GET", "/calls")) as unknown[];
    all.push(...observed.map((each) => ({ ...each, provider_calls: made.length })));
    for (const [name, path] of Object.entries(capture)) {
      captured.set(name, at(observed[0] ?? null, path.split(".")));
    }
  }
  return all;
}

async function observeOnce(client: SeqstepClient, call: Call): Promise<JsonObject> {
  const method = methods.get(call.method ?? "UpdateStep");
  if (!method) {
    throw new Error(`there is no method ${String(call.method)}`);
  }
  const request = fromJson(method.input, requestOf(call));
  exactMetadata = call.metadata ?? [];
  const seen: JsonObject = {};
  const options: CallOptions = {
    metadata: call.metadata,
    timeoutMs: (call.deadline_seconds ?? 10) * 1000,
    signal: call.cancel_after_seconds === undefined ? undefined : AbortSignal.timeout(call.cancel_after_seconds * 1000),
    onTrailers: (trailers) => {
      seen.trailers = Object.fromEntries([...trailers].filter(([name]) => name.startsWith("x-")));
    },
  };
  const began = performance.now();
  let outcome: Outcome = "APPLIED";
  try {
    const response = await client.call(method, request, options);
    Object.assign(seen, { status: "OK", message: "", response: json(method, response) });
  } catch (error) {
    if (!(error instanceof SeqstepError)) {
      console.error(error);
      return { crashed: String(error) };
    }
    Object.assign(seen, failed(method, error));
    outcome = error.outcome;
  }
  seen.seconds = (performance.now() - began) / 1000;
  if (CHANGES.includes(method.name)) {
    seen.outcome = outcome;
  }
  return seen;
}

function failed(method: Method, error: SeqstepError): JsonObject {
  const seen: JsonObject = { status: error.status, message: error.statusMessage };
  if (error.response) {
    seen.response = json(method, error.response);
  }
  const badRequest = error.detail(BadRequestSchema);
  if (badRequest) {
    seen.violations = Object.fromEntries(badRequest.fieldViolations.map((each) => [each.field, each.description]));
  }
  const delay = error.detail(RetryInfoSchema)?.retryDelay;
  if (delay) {
    seen.retry_delay = Number(delay.seconds) + delay.nanos / 1e9;
  }
  const errorInfo = error.detail(ErrorInfoSchema);
  if (errorInfo) {
    seen.reason = errorInfo.reason;
  }
  return seen;
}

function json(method: Method, message: Message): JsonValue {
  return toJson(method.output, message, { useProtoFieldName: true, alwaysEmitImplicit: true });
}

function requestOf({ request, repeat = {} }: Call): JsonObject {
  const whole = structuredClone(request);
  for (const [path, { text, times }] of Object.entries(repeat)) {
    put(whole, ["record", ...path.split(".")], text.repeat(times));
  }
  return whole;
}

/** Puts a text below `parent`, at a path. */
function put(parent: JsonObject, [name, ...rest]: string[], text: string): void {
  if (name !== undefined && rest.length > 0) {
    put((parent[name] ??= {}) as JsonObject, rest, text);
  } else if (name !== undefined) {
    parent[name] = text;
  }
}

/** The same with what was captured in the place of each `${NAME}`. */
function replaced(value: JsonValue, captured: ReadonlyMap<string, JsonValue>): JsonValue {
  if (typeof value === "string") {
    const [, name] = /^\$\{(.*)\}$/.exec(value) ?? [];
    return (name !== undefined ? captured.get(name) : undefined) ?? value;
  }
  if (Array.isArray(value)) {
    return value.map((item) => replaced(item, captured));
  }
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, replaced(item, captured)]));
  }
  return value;
}

/** What is at a path; an empty text where nothing is. */
function at(value: JsonValue, path: string[]): JsonValue {
  let found: unknown = value;
  for (const name of path) {
    found = typeof found === "object" && found !== null && Object.hasOwn(found, name) ? Reflect.get(found, name) : "";
  }
  return found as JsonValue;
}

/** Calls the control API of the sandbox. */
async function control(method: string, path: string, body?: unknown): Promise<unknown> {
  const response = await fetch(`${setting("SANDBOX")}/_sandbox${path}`, {
    method,
    body: body === undefined ? null : JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) {
    throw new Error(`the sandbox answered ${method} ${path} with ${text}`);
  }
  return text === "" ? undefined : JSON.parse(text);
}

class ExactMetadata extends Session {
  override request(...[method, path, headers, options]: Parameters<Session["request"]>) {
    const exact = { ...headers };
    for (const [name] of exactMetadata) {
      const values = exactMetadata.filter(([other]) => other === name).map(([, value]) => value);
      if (values.length > 1) {
        exact[name] = values;
      }
    }
    return super.request(method, path, exact, options);
  }
}

await main(open(argv[2]));
