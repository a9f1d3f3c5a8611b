// The exit status of the program.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";

import { status } from "@grpc/grpc-js";

import { ErrorOutcome } from "../gen/engagement/v1/envelope_pb.js";
import { fails, ok, ScriptedServer, type Script } from "./scripted-server.js";

const PROGRAM = fileURLToPath(new URL("../update-step.js", import.meta.url));
const STEP = ["acme", "outreach", "7", "101", "Hello"];

async function run(args: string[], environment: Record<string, string>): Promise<unknown> {
  const env = { ...process.env, SEQSTEP_API_KEY: "the-key", ...environment };
  const child = spawn(process.execPath, [PROGRAM, ...args], { env, stdio: "ignore", timeout: 20_000 });
  const [exitCode] = (await once(child, "exit")) as [unknown];
  return exitCode;
}

suite("the exit status", { concurrency: true }, () => {
  for (const [variant, script, expected] of [
    ["grpc-js", ok({}), 0],
    ["connect", ok({}), 0],
    ["grpc-js", failed(ErrorOutcome.NOT_APPLIED), 1],
    ["connect", failed(99 as ErrorOutcome), 3],
    ["grpc-js", fails(status.INTERNAL, { "grpc-status-details-bin": Buffer.from([1]) }), 3],
    ["connect", failed(ErrorOutcome.PARTIALLY_APPLIED), 4],
  ] as [string, Script, number][]) {
    test(`${variant} ends with ${expected}`, async () => {
      await using server = await ScriptedServer.start(script);
      assert.equal(await run([variant, "--plaintext", ...STEP], { SEQSTEP_ADDRESS: server.address }), expected);
    });
  }

  test("wrong usage has one of its own", async () => {
    assert.equal(await run(["grpc-js", "acme"], {}), 2);
    assert.equal(await run(["connect", "--plaintext", ...STEP], { SEQSTEP_ADDRESS: "example.com:443" }), 2);
    assert.equal(await run(["grpc-js", ...STEP], { SEQSTEP_CA: "/there/is/no/such.pem" }), 2);
  });
});

function failed(outcome: ErrorOutcome): Script {
  return ok({ errors: [{ code: "A_CODE", meta: { outcome } }] });
}
