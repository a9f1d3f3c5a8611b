// Calling the service with Connect-ES, over the gRPC protocol.
import { setTimeout as sleep } from "node:timers/promises";

import { ConnectError, type Interceptor, type Transport } from "@connectrpc/connect";
import { compressionGzip, createNodeHttpClient, Http2SessionManager } from "@connectrpc/connect-node";
import type { CommonTransportOptions, UniversalClientFn } from "@connectrpc/connect/protocol";
import { createTransport } from "@connectrpc/connect/protocol-grpc";

import { SeqstepClient, tlsOf, USER_AGENT, type Call, type ClientOptions } from "./client.js";
import { STATUSES, type Answer } from "./failure.js";
import { Retries, Throttle } from "./retry.js";

export interface ConnectOptions extends ClientOptions {
  /** Interceptors of all attempts, such as for tracing. */
  interceptors?: Interceptor[] | undefined;
}

/** Calls the service at HOST:PORT, by TLS unless its options say otherwise. */
export class ConnectClient extends SeqstepClient {
  protected readonly session: Http2SessionManager;
  readonly #http: UniversalClientFn;
  readonly #options: Omit<CommonTransportOptions, "httpClient">;
  readonly #throttle = new Throttle();

  constructor(address: string, options: ConnectOptions = {}, Session = Http2SessionManager) {
    super(options);
    const tls = tlsOf(address, options);
    const baseUrl = `${tls ? "https" : "http"}://${address}`;
    this.session = new Session(baseUrl, { pingIntervalMs: 30_000, pingTimeoutMs: 5_000 }, tls);
    this.#http = createNodeHttpClient({ httpVersion: "2", sessionProvider: () => this.session });
    this.#options = {
      baseUrl,
      useBinaryFormat: true,
      interceptors: options.interceptors ?? [],
      acceptCompression: [compressionGzip],
      sendCompression: null,
      compressMinBytes: 0,
      readMaxBytes: 4 * 2 ** 20,
      writeMaxBytes: 2 ** 32 - 1,
    };
  }

  /** Connect does not repeat calls, so this does, within one deadline. */
  protected async send(call: Call): Promise<Answer> {
    const deadline = performance.now() + call.timeoutMs;
    const retries = new Retries(this.#throttle);
    for (let attempts = 1; ; attempts++) {
      const { answer, committed } = await this.#attempt(call, attempts - 1, deadline - performance.now());
      const waitMs = call.signal?.aborted ? undefined : retries.after(answer, attempts, committed);
      if (waitMs === undefined) {
        return answer;
      }
      const leftMs = Math.max(0, deadline - performance.now());
      try {
        await sleep(Math.min(waitMs, leftMs), undefined, call.signal && { signal: call.signal });
      } catch (cause) {
        return { ...answer, status: "CANCELLED", message: "cancelled between two attempts", cause };
      }
      if (waitMs >= leftMs) {
        return { ...answer, status: "DEADLINE_EXCEEDED", message: `the last attempt: ${answer.status}` };
      }
    }
  }

  async #attempt(
    call: Call,
    previousAttempts: number,
    leftMs: number,
  ): Promise<{ answer: Answer; committed: boolean }> {
    const received = new Received();
    const transport: Transport = createTransport({ ...this.#options, httpClient: received.by(this.#http) });
    const header = new Headers(call.metadata.map(([name, value]): [string, string] => [name, value]));
    header.set("user-agent", USER_AGENT);
    if (call.apiKey !== undefined) {
      header.set("x-api-key", call.apiKey);
    }
    if (previousAttempts > 0) {
      header.set("grpc-previous-rpc-attempts", `${previousAttempts}`);
    }
    let answer: Answer;
    try {
      // Nought would be no deadline at all.
      const timeoutMs = Math.max(1, Math.floor(leftMs));
      const { message } = await transport.unary(call.method, call.signal, timeoutMs, header, call.request);
      answer = { status: "OK", message: "", response: message, trailers: received.trailers };
    } catch (failure) {
      const error = ConnectError.from(failure);
      answer = {
        status: received.status ?? STATUSES.at(error.code) ?? "UNKNOWN",
        message: error.rawMessage,
        details: received.details,
        trailers: received.trailers,
        cause: failure,
      };
    }
    return { answer, committed: received.headersCame };
  }

  close(): void {
    this.session.abort();
  }
}

/**
 * What a server answered to one attempt, beside the message.
 *
 * Connect believes the code in `grpc-status-details-bin` more than `grpc-status`, and where it cannot parse the details it
 * forgets the status. So it does not get to see them.
 */
class Received {
  headersCame = false;
  status: Answer["status"] | undefined;
  details: Uint8Array | undefined;
  trailers = new Map<string, string>();

  by(http: UniversalClientFn): UniversalClientFn {
    return async (request) => {
      const response = await http(request);
      const isGrpc = response.status === 200 && response.header.get("content-type")?.startsWith("application/grpc");
      if (response.header.has("grpc-status")) {
        this.#take(response.header);
      } else {
        this.headersCame = isGrpc ?? false;
      }
      return { ...response, body: this.#bodyOf(response.body, response.trailer) };
    };
  }

  async *#bodyOf(body: AsyncIterable<Uint8Array>, trailer: Headers): AsyncIterable<Uint8Array> {
    yield* body;
    this.#take(trailer);
  }

  #take(trailer: Headers): void {
    const details = trailer.get("grpc-status-details-bin");
    if (details !== null) {
      this.details = Buffer.from(details, "base64");
      trailer.delete("grpc-status-details-bin");
    }
    const status = trailer.get("grpc-status");
    if (status !== null && status !== "0") {
      this.status = STATUSES.at(Number(status)) ?? "UNKNOWN";
    }
    for (const [name, value] of trailer) {
      this.trailers.set(name, value);
    }
  }
}
