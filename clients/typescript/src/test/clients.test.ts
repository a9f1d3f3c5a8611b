// Both clients against a server that does as it is told.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { constants, createServer as createHttp2Server } from "node:http2";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";

import { anyPack } from "@bufbuild/protobuf/wkt";
import { create, toBinary } from "@bufbuild/protobuf";
import { Metadata, status } from "@grpc/grpc-js";

import type { CallOptions, SeqstepClient } from "../client.js";
import { ConnectClient } from "../connect.js";
import { SeqstepError } from "../failure.js";
import { ErrorOutcome } from "../gen/engagement/v1/envelope_pb.js";
import { GetStepResponseSchema, UpdateStepResponseSchema } from "../gen/engagement/v1/sequence_step_service_pb.js";
import { StatusSchema } from "../gen/google/rpc/status_pb.js";
import { GrpcJsClient } from "../grpc-js.js";
import type { NodeClientOptions } from "../tls.js";
import { fails, failsWith, ok, ScriptedServer, type Script } from "./scripted-server.js";

const REQUEST = { sequenceId: "7", sequenceStepId: "101" };
const CUSTOMER = { customerId: "acme", provider: "outreach" };
const CHANGED = { changes: [{ field: "template.subject" }] };
const NOT_APPLIED = { errors: [{ code: "A_CODE", meta: { outcome: ErrorOutcome.NOT_APPLIED } }] };

const CLIENTS = [
  ["grpc-js", (address: string, options: NodeClientOptions) => new GrpcJsClient(address, options)],
  ["connect", (address: string, options: NodeClientOptions) => new ConnectClient(address, options)],
] as const;

for (const [name, open] of CLIENTS) {
  suite(name, { timeout: 60_000 }, () => {
    /** How one call to a server with these answers fails, after how many attempts. */
    async function failureAfter(scripts: Script[], options: CallOptions = {}) {
      await using server = await ScriptedServer.start(...scripts);
      using client = open(server.address, { plaintext: "loopback" });
      return { failure: await failureOf(client, options), attempts: server.attempts.length };
    }

    test("a call carries its metadata", async () => {
      await using server = await ScriptedServer.start(ok(CHANGED));
      using client = open(server.address, { apiKey: "the-key", plaintext: "loopback" });
      const response = await client.updateStep(REQUEST, { ...CUSTOMER, requestId: "mine" });
      assert.equal(response.changes[0]?.field, "template.subject");
      const [sent] = server.attempts;
      assert.deepEqual(sent?.get("x-customer-id"), ["acme"]);
      assert.deepEqual(sent.get("x-provider-name"), ["outreach"]);
      assert.deepEqual(sent.get("x-api-key"), ["the-key"]);
      assert.deepEqual(sent.get("x-request-id"), ["mine"]);
      assert.match(String(sent.get("user-agent")), /^seqstep-typescript\//);
    });

    test("all attempts of a call have one id, which its failure names", async () => {
      await using server = await ScriptedServer.start(fails(status.UNAVAILABLE));
      using client = open(server.address, { plaintext: "loopback" });
      const first = await failureOf(client);
      const ids = server.attempts.map((sent) => String(sent.get("x-request-id")));
      assert.equal(ids.length, 4);
      assert.deepEqual([...new Set(ids)], [first.requestId]);
      assert.match(first.requestId, /^[0-9a-f]{32}$/);
      assert.notEqual((await failureOf(client)).requestId, first.requestId);
      const named = await failureOf(client, { metadata: [["X-Request-Id", "mine"]] });
      assert.equal(named.requestId, "mine");
      assert.deepEqual(server.attempts.at(-1)?.get("x-request-id"), ["mine"]);
    });

    test("errors in a response are thrown", async () => {
      const { failure } = await failureAfter([ok(NOT_APPLIED)]);
      assert.equal(failure.outcome, "NOT_APPLIED");
      assert.equal(failure.status, "OK");
      assert.equal(failure.errors[0]?.code, "A_CODE");
    });

    test("the envelope in details counts", async () => {
      const { INTERNAL } = status;
      const { failure } = await failureAfter([failsWith(INTERNAL, INTERNAL, UpdateStepResponseSchema, NOT_APPLIED)]);
      assert.equal(failure.outcome, "NOT_APPLIED");
      assert.equal(failure.status, "INTERNAL");
      assert.equal(failure.response?.$typeName, "engagement.v1.UpdateStepResponse");
    });

    const { INTERNAL, INVALID_ARGUMENT, OK } = status;
    const malformedAny = toBinary(
      StatusSchema,
      create(StatusSchema, {
        code: INTERNAL,
        details: [
          { ...anyPack(UpdateStepResponseSchema, create(UpdateStepResponseSchema)), value: Buffer.from([255, 1]) },
        ],
      }),
    );
    for (const [what, script] of [
      ["no details", fails(INTERNAL)],
      ["details of another code", failsWith(INTERNAL, INVALID_ARGUMENT, UpdateStepResponseSchema, NOT_APPLIED)],
      ["details of OK", failsWith(INTERNAL, OK, UpdateStepResponseSchema, NOT_APPLIED)],
      ["details of another type", failsWith(INTERNAL, INTERNAL, GetStepResponseSchema, NOT_APPLIED)],
      ["an envelope without errors", failsWith(INTERNAL, INTERNAL, UpdateStepResponseSchema, {})],
      ["malformed details", fails(INTERNAL, { "grpc-status-details-bin": Buffer.from([255, 1, 2]) })],
      ["a malformed detail", fails(INTERNAL, { "grpc-status-details-bin": Buffer.from(malformedAny) })],
    ] as const) {
      test(`with ${what} the outcome is unknown`, async () => {
        const { failure } = await failureAfter([script]);
        assert.equal(failure.status, "INTERNAL");
        assert.equal(failure.outcome, "UNKNOWN");
        assert.equal(failure.statusMessage, "no");
      });
    }

    test("a response that does not parse is unknown", async () => {
      const { failure } = await failureAfter([
        (answer) => {
          answer(null, Buffer.from([255]));
        },
      ]);
      assert.equal(failure.outcome, "UNKNOWN");
    });

    for (const bytes of [2 ** 10, 300 * 2 ** 10, 5 * 2 ** 20]) {
      test(`unavailable is repeated with a body of ${bytes} bytes`, async () => {
        await using server = await ScriptedServer.start(
          fails(status.UNAVAILABLE),
          fails(status.CANCELLED),
          ok(CHANGED),
        );
        using client = open(server.address, { plaintext: "loopback" });
        await client.updateStep({ ...REQUEST, record: { template: { body: "x".repeat(bytes) } } }, CUSTOMER);
        assert.equal(server.attempts.length, 3);
        assert.deepEqual(server.attempts[2]?.get("grpc-previous-rpc-attempts"), ["2"]);
      });
    }

    test("there are four attempts at most, and other statuses are not repeated", async () => {
      const { failure, attempts } = await failureAfter([fails(status.UNAVAILABLE)]);
      assert.equal(attempts, 4);
      assert.equal(failure.outcome, "UNKNOWN");
      assert.equal((await failureAfter([fails(status.INTERNAL)])).attempts, 1);
    });

    test("a call is not repeated after its response has begun", async () => {
      const { failure, attempts } = await failureAfter([
        (answer, call) => {
          call.sendMetadata(new Metadata());
          fails(status.UNAVAILABLE)(answer, call);
        },
      ]);
      assert.equal(failure.status, "UNAVAILABLE");
      assert.equal(attempts, 1);
    });

    for (const pushback of ["-1", "soon"]) {
      test(`the service can refuse a retry by ${pushback}`, async () => {
        const { attempts } = await failureAfter([fails(status.UNAVAILABLE, { "grpc-retry-pushback-ms": pushback })]);
        assert.equal(attempts, 1);
      });
    }

    test("a service in trouble is spared", async () => {
      await using server = await ScriptedServer.start(fails(status.UNAVAILABLE));
      using client = open(server.address, { plaintext: "loopback" });
      for (let calls = 0; calls < 3; calls++) {
        await failureOf(client);
      }
      // Ten tokens, one less with each failure; more than half of them have to be left.
      assert.equal(server.attempts.length, 6);
    });

    test("all attempts share one deadline", async () => {
      const script = fails(status.UNAVAILABLE, { "grpc-retry-pushback-ms": "600" });
      const began = performance.now();
      const { failure, attempts } = await failureAfter([script], { timeoutMs: 1_000 });
      assert.equal(failure.status, "DEADLINE_EXCEEDED");
      assert.equal(attempts, 2);
      assert.ok(performance.now() - began < 5_000);
    });

    test("a signal cancels a call, which is not repeated", async () => {
      const controller = new AbortController();
      const { failure, attempts } = await failureAfter(
        [
          () => {
            controller.abort();
          },
        ],
        { signal: controller.signal },
      );
      assert.equal(failure.status, "CANCELLED");
      assert.equal(failure.outcome, "UNKNOWN");
      assert.equal(attempts, 1);
    });

    test("a signal that was given before keeps a call from being made", async () => {
      const { failure, attempts } = await failureAfter([ok(CHANGED)], { signal: AbortSignal.abort() });
      assert.equal(failure.status, "CANCELLED");
      assert.equal(attempts, 0);
    });

    test("a signal ends the wait for the next attempt", async () => {
      const controller = new AbortController();
      const { failure, attempts } = await failureAfter(
        [
          (answer, call) => {
            fails(status.UNAVAILABLE, { "grpc-retry-pushback-ms": "20000" })(answer, call);
            setTimeout(() => {
              controller.abort();
            }, 100);
          },
        ],
        { signal: controller.signal },
      );
      assert.equal(failure.status, "CANCELLED");
      assert.equal(attempts, 1);
    });

    test("half a character is refused, and nothing is sent", async () => {
      await using server = await ScriptedServer.start(ok(CHANGED));
      using client = open(server.address, { plaintext: "loopback" });
      const half = "👋".slice(0, 1);
      for (const [record, message] of [
        [{ template: { subject: `Hello ${half}` } }, /^request\.record\.template\.subject has half/],
        [{ customFields: { note: half } }, /customFields\.note/],
        [{ customFields: { [half]: true } }, /a name in/],
      ] as const) {
        await assert.rejects(client.updateStep({ ...REQUEST, record }, CUSTOMER), { name: "TypeError", message });
      }
      await client.updateStep({ ...REQUEST, record: { template: { subject: "Hello 👋" } } }, CUSTOMER);
      assert.equal(server.attempts.length, 1);
    });

    test("a stream that is closed without an answer does not last until the deadline", async () => {
      const server = createHttp2Server().listen(0, "127.0.0.1");
      await once(server, "listening");
      server.on("stream", (stream) => {
        stream.close(constants.NGHTTP2_NO_ERROR);
      });
      using client = open(`127.0.0.1:${(server.address() as AddressInfo).port}`, { plaintext: "loopback" });
      const failure = await failureOf(client, { timeoutMs: 20_000 });
      server.close();
      assert.deepEqual([failure.status === "DEADLINE_EXCEEDED", failure.outcome], [false, "UNKNOWN"]);
    });

    test("the key leaves this machine by TLS alone", async () => {
      const listener = createServer().listen(0, "127.0.0.1");
      await once(listener, "listening");
      const { port } = listener.address() as AddressInfo;
      using client = open(`127.0.0.1:${port}`, { apiKey: "the-key" });
      const connected = once(listener, "connection") as Promise<[Socket]>;
      const failing = failureOf(client, { timeoutMs: 3_000 });
      const [socket] = await connected;
      const [first] = (await once(socket, "data")) as [Buffer];
      assert.equal(first[0], 22, "the first record of a TLS handshake");
      assert.ok(!first.includes("the-key"));
      socket.destroy();
      listener.close();
      assert.equal((await failing).outcome, "UNKNOWN");
    });

    test("no proxy sees a call to this machine", async () => {
      const proxy = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
      await once(proxy, "listening");
      let wasAsked = false;
      proxy.on("connection", () => (wasAsked = true));
      process.env.http_proxy = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
      try {
        await using server = await ScriptedServer.start(ok(CHANGED));
        using client = open(server.address, { apiKey: "the-key", plaintext: "loopback" });
        await client.updateStep(REQUEST, CUSTOMER);
      } finally {
        delete process.env.http_proxy;
        proxy.close();
      }
      assert.equal(wasAsked, false);
    });

    test("plaintext beyond this machine wants a word of its own", () => {
      for (const address of ["example.com:443", "10.0.0.1:50051", "127.0.0.1.example.com:1", "localhost.x:1"]) {
        assert.throws(() => open(address, { plaintext: "loopback" }), /would leave this machine/);
        open(address, { plaintext: "anywhere" }).close();
      }
    });

    test("files that cannot be read are errors", () => {
      const garbage = join(mkdtempSync(join(tmpdir(), "seqstep-")), "garbage.pem");
      writeFileSync(garbage, "no certificate");
      for (const caFile of ["/there/is/no/such.pem", garbage, "/dev/null", ""]) {
        assert.throws(() => open("localhost:1", { caFile }));
      }
      assert.throws(() => open("localhost:1", { certificateFile: garbage }), /a chain and a key/);
      assert.throws(() => open("localhost:1", { caFile: garbage, plaintext: "loopback" }), /no use for certificates/);
    });
  });
}

async function failureOf(client: SeqstepClient, options: CallOptions = {}): Promise<SeqstepError> {
  try {
    await client.updateStep(REQUEST, { ...CUSTOMER, ...options });
  } catch (error) {
    assert.ok(error instanceof SeqstepError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: "the call succeeded" });
}
