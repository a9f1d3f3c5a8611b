// Calling the service with @grpc/grpc-js.
import { fromBinary, toBinary, type Message } from "@bufbuild/protobuf";
import {
  Client,
  credentials,
  Metadata,
  type CallCredentials,
  type CallOptions,
  type ClientUnaryCall,
  type Interceptor,
  type ServiceError,
} from "@grpc/grpc-js";

import { SeqstepClient, tlsOf, USER_AGENT, type Attempt, type ClientOptions } from "./client.js";
import { STATUSES, type Answer, type StatusName } from "./failure.js";

export interface GrpcJsOptions extends ClientOptions {
  /** Interceptors of all attempts, such as for tracing. */
  interceptors?: Interceptor[] | undefined;
}

const CHANNEL_OPTIONS = {
  "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  "grpc.service_config_disable_resolution": 1,
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 5_000,
  "grpc.primary_user_agent": USER_AGENT,
};

/** Calls the service at HOST:PORT, by TLS unless its options say otherwise. */
export class GrpcJsClient extends SeqstepClient {
  readonly #client: Client;
  readonly #isSecure: boolean;

  constructor(address: string, options: GrpcJsOptions = {}) {
    super(options);
    const tls = tlsOf(address, options);
    this.#isSecure = tls !== undefined;
    this.#client = new Client(
      address,
      tls ? credentials.createSsl(tls.ca, tls.key, tls.cert) : credentials.createInsecure(),
      { ...CHANNEL_OPTIONS, interceptors: options.interceptors ?? [] },
    );
  }

  protected async attempt({ method, request, metadata: pairs, apiKey, timeoutMs, signal }: Attempt) {
    const metadata = new Metadata();
    for (const [name, value] of pairs) {
      metadata.add(name, value);
    }
    const options: CallOptions = { deadline: Date.now() + timeoutMs };
    if (apiKey !== undefined && this.#isSecure) {
      options.credentials = keyCredentials(apiKey);
    } else if (apiKey !== undefined) {
      metadata.set("x-api-key", apiKey);
    }
    const trailers = new Map<string, string>();
    let committed = false;
    let call: ClientUnaryCall | undefined;
    const cancel = () => call?.cancel();
    signal?.addEventListener("abort", cancel);
    try {
      const answer = await new Promise<Answer>((resolve) => {
        call = this.#client.makeUnaryRequest<Message, Message>(
          `/${method.parent.typeName}/${method.name}`,
          (message) => Buffer.from(toBinary(method.input, message)),
          (bytes) => fromBinary(method.output, bytes),
          request,
          metadata,
          options,
          (error, response) => {
            // What is thrown here would be nobody's to catch.
            resolve({
              status: error ? statusOf(error) : "OK",
              message: error?.details ?? "",
              response: error ? undefined : response,
              details: detailsIn(error?.metadata),
              trailers,
              cause: error ?? undefined,
            });
          },
        );
        call.on("metadata", () => {
          committed = true;
        });
        // Comes right after the callback, and before anybody sees the answer.
        call.on("status", ({ metadata: received }) => {
          for (const [name, value] of Object.entries(received.getMap())) {
            trailers.set(name, value.toString());
          }
        });
      });
      return { answer, committed };
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  close(): void {
    this.#client.close();
  }
}

/**
 * The status of a failed call. One whose connection the server closed is UNAVAILABLE, and comes as INTERNAL where the stream
 * was seen to end before the connection was.
 */
function statusOf({ code, details }: ServiceError): StatusName {
  const status = STATUSES.at(code) ?? "UNKNOWN";
  return status === "INTERNAL" && details.startsWith("Received RST_STREAM with code 0 ") ? "UNAVAILABLE" : status;
}

function detailsIn(trailers: Metadata | undefined): Uint8Array | undefined {
  const [details] = trailers?.get("grpc-status-details-bin") ?? [];
  return details instanceof Buffer ? details : undefined;
}

function keyCredentials(apiKey: string): CallCredentials {
  return credentials.createFromMetadataGenerator((_, callback) => {
    const metadata = new Metadata();
    metadata.set("x-api-key", apiKey);
    callback(null, metadata);
  });
}
