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
} from "@grpc/grpc-js";

import { SeqstepClient, tlsOf, USER_AGENT, type Call, type ClientOptions } from "./client.js";
import { STATUSES, type Answer } from "./failure.js";
import {
  BACKOFF_MULTIPLIER,
  INITIAL_BACKOFF_MS,
  MAX_ATTEMPTS,
  MAX_BACKOFF_MS,
  MAX_TOKENS,
  RETRYABLE,
  TOKEN_RATIO,
} from "./retry.js";

export interface GrpcJsOptions extends ClientOptions {
  /** Interceptors of all calls, such as for tracing. */
  interceptors?: Interceptor[] | undefined;
}

const SERVICE_CONFIG = {
  methodConfig: [
    {
      name: [{}],
      retryPolicy: {
        maxAttempts: MAX_ATTEMPTS,
        initialBackoff: `${INITIAL_BACKOFF_MS / 1000}s`,
        maxBackoff: `${MAX_BACKOFF_MS / 1000}s`,
        backoffMultiplier: BACKOFF_MULTIPLIER,
        retryableStatusCodes: RETRYABLE,
      },
    },
  ],
  retryThrottling: { maxTokens: MAX_TOKENS, tokenRatio: TOKEN_RATIO },
  loadBalancingConfig: [{ round_robin: {} }],
};

const CHANNEL_OPTIONS = {
  "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
  "grpc.service_config_disable_resolution": 1,
  // A body may have 5 MiB. A call that does not fit is made, but not repeated.
  "grpc.per_rpc_retry_buffer_size": 8 * 2 ** 20,
  "grpc.retry_buffer_size": 64 * 2 ** 20,
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

  protected async send({ method, request, metadata: pairs, apiKey, timeoutMs, signal }: Call): Promise<Answer> {
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
    let call: ClientUnaryCall | undefined;
    const cancel = () => call?.cancel();
    signal?.addEventListener("abort", cancel);
    try {
      return await new Promise<Answer>((resolve) => {
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
              status: error ? (STATUSES.at(error.code) ?? "UNKNOWN") : "OK",
              message: error?.details ?? "",
              response: error ? undefined : response,
              details: detailsIn(error?.metadata),
              trailers,
              cause: error ?? undefined,
            });
          },
        );
        // Comes right after the callback, and before anybody sees the answer.
        call.on("status", ({ metadata: received }) => {
          for (const [name, value] of Object.entries(received.getMap())) {
            trailers.set(name, value.toString());
          }
        });
      });
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  close(): void {
    this.#client.close();
  }
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
