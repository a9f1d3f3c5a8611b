// Calling the service with Connect-ES, over the gRPC protocol.
import { constants } from "node:http2";

import { Code, ConnectError, type Interceptor, type Transport } from "@connectrpc/connect";
import { compressionGzip, createNodeHttpClient, Http2SessionManager } from "@connectrpc/connect-node";
import type { CommonTransportOptions, UniversalClientFn } from "@connectrpc/connect/protocol";
import { createTransport } from "@connectrpc/connect/protocol-grpc";

import { SeqstepClient, USER_AGENT, type Attempt } from "./client.js";
import { statusName, type Answer, type StatusName } from "./failure.js";
import { Received } from "./received.js";
import { tlsOf, type NodeClientOptions } from "./tls.js";

export interface ConnectOptions extends NodeClientOptions {
  /** Interceptors of all attempts, such as for tracing. */
  interceptors?: Interceptor[] | undefined;
}

/**
 * Ends a call whose stream was closed without an answer. Where a connection breaks after GOAWAY, Node may close its streams
 * without an error, and Connect would wait until the deadline.
 */
export class Session extends Http2SessionManager {
  override async request(...given: Parameters<Http2SessionManager["request"]>) {
    const stream = await super.request(...given);
    const { session } = stream;
    let hasAnswer = false;
    stream.once("response", () => {
      hasAnswer = true;
    });
    stream.once("close", () => {
      if (!hasAnswer && stream.rstCode === constants.NGHTTP2_NO_ERROR) {
        const code = session?.closed === false ? Code.Internal : Code.Unavailable;
        stream.emit("error", new ConnectError("the stream was closed before an answer came", code));
      }
    });
    return stream;
  }
}

/** Calls the service at HOST:PORT, by TLS unless its options say otherwise. */
export class ConnectClient extends SeqstepClient {
  protected readonly session: Http2SessionManager;
  readonly #http: UniversalClientFn;
  readonly #options: Omit<CommonTransportOptions, "httpClient">;

  constructor(address: string, options: ConnectOptions = {}, Manager: typeof Http2SessionManager = Session) {
    super(options);
    const tls = tlsOf(address, options);
    const baseUrl = `${tls ? "https" : "http"}://${address}`;
    this.session = new Manager(baseUrl, { pingIntervalMs: 30_000, pingTimeoutMs: 5_000 }, tls);
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

  protected async attempt({ method, request, metadata, apiKey, timeoutMs, signal }: Attempt) {
    const received = new Received();
    const transport: Transport = createTransport({ ...this.#options, httpClient: observed(this.#http, received) });
    const header = new Headers(metadata.map(([name, value]): [string, string] => [name, value]));
    header.set("user-agent", USER_AGENT);
    if (apiKey !== undefined) {
      header.set("x-api-key", apiKey);
    }
    let answer: Answer;
    try {
      const { message } = await transport.unary(method, signal, Math.ceil(timeoutMs), header, request);
      answer = { status: "OK", message: "", response: message, trailers: received.trailers };
    } catch (failure) {
      const error = ConnectError.from(failure);
      answer = {
        status: received.status ?? (signal?.aborted ? "CANCELLED" : this.#statusOf(error)),
        message: error.rawMessage,
        details: received.details,
        trailers: received.trailers,
        cause: failure,
      };
    }
    return { answer, committed: received.headersCame };
  }

  /** Of a call that ended without one. Connect has other codes where a connection breaks or a server refuses a stream. */
  #statusOf(error: ConnectError): StatusName {
    const isLost = ["closed", "error"].includes(this.session.state()) || error.message.includes("REFUSED_STREAM");
    return isLost && error.code !== Code.DeadlineExceeded ? "UNAVAILABLE" : statusName(error.code);
  }

  close(): void {
    this.session.abort();
  }
}

/** Shows `received` what comes, without its details. */
function observed(http: UniversalClientFn, received: Received): UniversalClientFn {
  return async (request) => {
    const response = await http(request);
    received.take(response.status, response.header);
    return { ...response, body: bodyOf(response.body, response.trailer, received) };
  };
}

async function* bodyOf(body: AsyncIterable<Uint8Array>, trailer: Headers, received: Received) {
  yield* body;
  received.takeTrailer(trailer);
}
