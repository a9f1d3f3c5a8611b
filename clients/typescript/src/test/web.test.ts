// What the client for browsers may be made of; the vectors call with it.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";

import { SeqstepError } from "../failure.js";
import { WebClient } from "../web.js";

const REQUEST = { sequenceId: "7", sequenceStepId: "101" };

test("a URL has TLS, or plaintext that was asked for", () => {
  for (const [url, plaintext] of [
    ["https://seqstep.example.com", undefined],
    ["https://seqstep.example.com/below", undefined],
    ["http://localhost:8080", "loopback"],
    ["http://example.com", "anywhere"],
  ] as const) {
    new WebClient(url, { plaintext }).close();
  }
  for (const [url, plaintext] of [
    ["http://localhost:8080", undefined],
    ["http://example.com", "loopback"],
    ["http://localhost.example.com", "loopback"],
    ["https://localhost", "loopback"],
    ["ftp://localhost", undefined],
    ["seqstep.example.com", undefined],
  ] as const) {
    assert.throws(() => new WebClient(url, { plaintext }), TypeError, url);
  }
});

test("the path of a URL is kept", async () => {
  const server = createServer((request, response) => {
    response.writeHead(request.url === "/below/engagement.v1.SequenceStepService/UpdateStep" ? 503 : 404).end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  using client = new WebClient(`http://127.0.0.1:${port}/below`, { plaintext: "loopback" });
  await assert.rejects(client.updateStep(REQUEST, {}), (error) => {
    assert.ok(error instanceof SeqstepError);
    assert.equal(error.status, "UNAVAILABLE");
    assert.equal(error.outcome, "UNKNOWN");
    return true;
  });
  server.close();
  server.closeAllConnections();
});
