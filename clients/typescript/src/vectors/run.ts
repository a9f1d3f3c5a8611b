// Runs the vectors as tests/vectors/README.md tells, with the variant that is named: grpc-js or connect.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { argv, env, exit } from "node:process";

import { fromJson, toJson, type JsonValue } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";

import type { Method } from "../answer.js";
import { SequenceStepService } from "../gen/engagement/v1/sequence_step_service_pb.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.js";
import { mismatch, type Json } from "./match.js";
import { caller, type Metadata } from "./variants.js";

interface Vector {
  name: string;
  method?: "UpdateStep" | "GetStep" | "ListSteps";
  sandbox?: { method: string; path: string; body?: unknown }[];
  metadata: Metadata;
  request: { record?: JsonObject };
  repeat?: Record<string, { text: string; times: number }>;
  deadline_seconds?: number;
  expect: Json;
}

type JsonObject = { [name: string]: JsonValue };

const folder = setting("VECTORS");
const sandbox = setting("SANDBOX");
const apiKey = setting("API_KEY");
const call = caller(argv[2] ?? "", setting("TARGET"), env.CA);

let allPassed = true;
for (const file of readdirSync(folder).sort()) {
  if (file.endsWith(".json") && file !== "customers.json") {
    const topic = JSON.parse(readFileSync(join(folder, file), "utf-8")) as { vectors: Vector[] };
    for (const vector of topic.vectors) {
      const fault = await run(vector).catch(String);
      console.log(fault === undefined ? `passed ${vector.name}` : `failed ${vector.name}: ${fault.replaceAll("\n", " ")}`);
      allPassed &&= fault === undefined;
    }
  }
}
exit(allPassed ? 0 : 1);

function setting(name: string): string {
  const value = env[name];
  if (!value) {
    throw new Error(`${name} is not set`);
  }
  return value;
}

async function run(vector: Vector): Promise<string | undefined> {
  await control("POST", "/reset");
  for (const order of vector.sandbox ?? []) {
    await control(order.method, order.path, order.body);
  }
  return mismatch(vector.expect, await observe(vector));
}

async function observe(vector: Vector): Promise<Json> {
  for (const [path, { text, times }] of Object.entries(vector.repeat ?? {})) {
    put((vector.request.record ??= {}), path.split("."), text.repeat(times));
  }
  const { updateStep, getStep, listSteps } = SequenceStepService.method;
  const method: Method = { UpdateStep: updateStep, GetStep: getStep, ListSteps: listSteps }[vector.method ?? "UpdateStep"];
  const request = fromJson(method.input, vector.request);
  const metadata: Metadata = vector.metadata.some(([name]) => name.toLowerCase() === "x-api-key")
    ? vector.metadata
    : [...vector.metadata, ["x-api-key", apiKey]];
  const { answer, trailers } = await call(method, request, metadata, (vector.deadline_seconds ?? 10) * 1000);

  const seen: { [name: string]: Json } = {
    status: status[answer.code],
    message: answer.message,
    trailers: Object.fromEntries(trailers.filter(([name]) => name.startsWith("x-"))),
    provider_calls: ((await control("GET", "/calls")) as unknown[]).length,
  };
  if (answer.envelope) {
    seen.response = toJson(method.output, answer.envelope, {
      useProtoFieldName: true,
      alwaysEmitImplicit: true,
    });
  }
  const badRequest = answer.detail(BadRequestSchema);
  if (badRequest) {
    seen.violations = Object.fromEntries(badRequest.fieldViolations.map((each) => [each.field, each.description]));
  }
  const delay = answer.detail(RetryInfoSchema)?.retryDelay;
  if (delay) {
    seen.retry_delay = Number(delay.seconds) + delay.nanos / 1e9;
  }
  const errorInfo = answer.detail(ErrorInfoSchema);
  if (errorInfo) {
    seen.reason = errorInfo.reason;
  }
  return seen;
}

/** Puts a text below `parent`, at a path such as `template.body`. */
function put(parent: JsonObject, [name, ...rest]: string[], text: string): void {
  if (name !== undefined && rest.length > 0) {
    put((parent[name] ??= {}) as JsonObject, rest, text);
  } else if (name !== undefined) {
    parent[name] = text;
  }
}

/** Calls the sandbox's control API. */
async function control(method: string, path: string, body?: unknown): Promise<unknown> {
  const response = await fetch(`${sandbox}/_sandbox${path}`, { method, body: body === undefined ? null : JSON.stringify(body) });
  const text = await response.text();
  if (!response.ok) {
    throw new Error(`the sandbox answered ${method} ${path} with ${text}`);
  }
  return text === "" ? undefined : JSON.parse(text);
}
