// Which servers @grpc/grpc-js gives calls to.
import assert from "node:assert/strict";
import { once } from "node:events";
import { suite, test } from "node:test";

import { fromBinary } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";

import { SeqstepError } from "../failure.js";
import {
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus as Health,
} from "../gen/grpc/health/v1/health_pb.js";
import { GrpcJsClient } from "../grpc-js.js";
import { end, ok, say, ScriptedServer, type Watch } from "./scripted-server.js";

const REQUEST = { sequenceId: "7", sequenceStepId: "101" };
const CUSTOMER = { customerId: "acme", provider: "outreach" };

function serving(watch: Watch): void {
  say(watch, Health.SERVING);
}

function clientOf(...servers: ScriptedServer[]): GrpcJsClient {
  return new GrpcJsClient(`ipv4:${servers.map(({ address }) => address).join(",")}`, { plaintext: "anywhere" });
}

/** Returns when each server gets its share of ten calls; the suite's time limits that. */
async function waitForShares(client: GrpcJsClient, servers: ScriptedServer[], shares: number[]): Promise<void> {
  let seen: number[];
  do {
    const before = servers.map(({ attempts }) => attempts.length);
    for (let calls = 0; calls < 10; calls++) {
      await client.updateStep(REQUEST, CUSTOMER);
    }
    seen = servers.map(({ attempts }, index) => attempts.length - (before[index] ?? 0));
  } while (seen.join() !== shares.join());
}

/** Returns when so many have watched the health of a server. */
async function waitForWatch(server: ScriptedServer, number: number): Promise<Watch> {
  for (;;) {
    const watch = server.watches[number - 1];
    if (watch) {
      return watch;
    }
    await new Promise(setImmediate);
  }
}

suite("health checks", { timeout: 30_000 }, () => {
  test("only servers that serve take turns", async () => {
    await using first = await ScriptedServer.startWith({ health: serving }, ok({}));
    await using second = await ScriptedServer.startWith({ health: serving }, ok({}));
    const servers = [first, second];
    using client = clientOf(...servers);
    await waitForShares(client, servers, [5, 5]);
    const watch = await waitForWatch(first, 1);
    assert.equal(fromBinary(HealthCheckRequestSchema, watch.request).service, "engagement.v1.SequenceStepService");
    say(watch, Health.NOT_SERVING);
    await waitForShares(client, servers, [0, 10]);
    say(watch, Health.SERVING);
    await waitForShares(client, servers, [5, 5]);
    assert.equal(first.watches.length, 1);
  });

  test("a server that does not serve gets no calls", async () => {
    await using server = await ScriptedServer.startWith(
      {
        health: (watch) => {
          say(watch, Health.NOT_SERVING);
        },
      },
      ok({}),
    );
    using client = clientOf(server);
    await assert.rejects(client.updateStep(REQUEST, CUSTOMER), (error) => {
      assert.ok(error instanceof SeqstepError);
      assert.equal(error.status, "UNAVAILABLE");
      return true;
    });
    assert.equal(server.attempts.length, 0);
  });

  test("a call waits until a server says how it is", async () => {
    await using server = await ScriptedServer.startWith({ health: () => undefined }, ok({}));
    using client = clientOf(server);
    const calling = client.updateStep(REQUEST, CUSTOMER);
    const watch = await waitForWatch(server, 1);
    assert.equal(server.attempts.length, 0);
    serving(watch);
    await calling;
  });

  test("a server that ends the watch is asked again, and gets no calls until it answers", async () => {
    await using first = await ScriptedServer.startWith({ health: () => undefined }, ok({}));
    await using second = await ScriptedServer.startWith({ health: serving }, ok({}));
    const servers = [first, second];
    using client = clientOf(...servers);
    await client.updateStep(REQUEST, CUSTOMER);
    const watch = await waitForWatch(first, 1);
    serving(watch);
    await waitForShares(client, servers, [5, 5]);
    end(watch, status.INTERNAL);
    await waitForShares(client, servers, [0, 10]);
    serving(await waitForWatch(first, 2));
    await waitForShares(client, servers, [5, 5]);
  });

  test("a server that has no health checks gets calls", async () => {
    await using server = await ScriptedServer.start(ok({}));
    using client = clientOf(server);
    await client.updateStep(REQUEST, CUSTOMER);
    await client.updateStep(REQUEST, CUSTOMER);
  });

  test("a server that was restarted is found within the retries of a call", async () => {
    const first = await ScriptedServer.startWith({ health: serving }, ok({}));
    using client = clientOf(first);
    await client.updateStep(REQUEST, CUSTOMER);
    await first[Symbol.asyncDispose]();
    const port = Number(first.address.split(":")[1]);
    await using second = await ScriptedServer.startWith({ port, health: serving }, ok({}));
    await client.updateStep(REQUEST, CUSTOMER);
    assert.equal(second.watches.length, 1);
  });

  test("closing the client ends the watch", async () => {
    await using server = await ScriptedServer.startWith({ health: serving }, ok({}));
    const client = clientOf(server);
    await client.updateStep(REQUEST, CUSTOMER);
    const ended = once(await waitForWatch(server, 1), "cancelled");
    client.close();
    await ended;
  });
});
