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

import { isLoopback, SeqstepClient, USER_AGENT, type Attempt } from "./client.js";
import { statusName, type Answer, type StatusName } from "./failure.js";
import { SequenceStepService } from "./gen/engagement/v1/sequence_step_service_pb.js";
import { withHealthChecks } from "./health-checks.js";
import { tlsOf, type NodeClientOptions } from "./tls.js";

export interface GrpcJsOptions extends NodeClientOptions {
  /** Interceptors of all attempts, such as for tracing. */
  interceptors?: Interceptor[] | undefined;
}

const CHANNEL_OPTIONS = {
  "grpc.service_config": JSON.stringify({
    loadBalancingConfig: [withHealthChecks(SequenceStepService.typeName, { round_robin: {} })],
  }),
  "grpc.service_config_disable_resolution": 1,
  // A server that was restarted is found again within the time that the retries take.
  "grpc.initial_reconnect_backoff_ms": 200,
  "grpc.max_reconnect_backoff_ms": 5_000,
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
      {
        ...CHANNEL_OPTIONS,
        // A service on this machine is not called through a proxy, which would see the key.
        "grpc.enable_http_proxy": isLoopback(address) ? 0 : 1,
        interceptors: options.interceptors ?? [],
      },
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
  const status = statusName(code);
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
