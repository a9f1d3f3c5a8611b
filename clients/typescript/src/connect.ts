// Calling the service with Connect-ES, over the gRPC protocol.
import { Code, ConnectError, type Interceptor, type Transport } from "@connectrpc/connect";
import { compressionGzip, createNodeHttpClient, Http2SessionManager } from "@connectrpc/connect-node";
import type { CommonTransportOptions, UniversalClientFn } from "@connectrpc/connect/protocol";
import { createTransport } from "@connectrpc/connect/protocol-grpc";

import { SeqstepClient, tlsOf, USER_AGENT, type Attempt, type ClientOptions } from "./client.js";
import { STATUSES, type Answer, type StatusName } from "./failure.js";

export interface ConnectOptions extends ClientOptions {
  /** Interceptors of all attempts, such as for tracing. */
  interceptors?: Interceptor[] | undefined;
}

/** Calls the service at HOST:PORT, by TLS unless its options say otherwise. */
export class ConnectClient extends SeqstepClient {
  protected readonly session: Http2SessionManager;
  readonly #http: UniversalClientFn;
  readonly #options: Omit<CommonTransportOptions, "httpClient">;

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

  protected async attempt({ method, request, metadata, apiKey, timeoutMs, signal }: Attempt) {
    const received = new Received();
    const transport: Transport = createTransport({ ...this.#options, httpClient: received.by(this.#http) });
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
    return isLost && error.code !== Code.DeadlineExceeded ? "UNAVAILABLE" : (STATUSES.at(error.code) ?? "UNKNOWN");
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
