// A server that answers the attempts of calls as it was told, and with the last answer from then on.
import { setTimeout as sleep } from "node:timers/promises";

import { create, toBinary, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import {
  Metadata,
  Server,
  ServerCredentials,
  status,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServerWritableStream,
} from "@grpc/grpc-js";

import { UpdateStepResponseSchema } from "../gen/engagement/v1/sequence_step_service_pb.js";
import { StatusSchema } from "../gen/google/rpc/status_pb.js";
import { HealthCheckResponseSchema, type HealthCheckResponse_ServingStatus } from "../gen/grpc/health/v1/health_pb.js";

type Caller = sendUnaryData<Buffer>;
export type Script = (answer: Caller, call: ServerUnaryCall<Buffer, Buffer>) => void;
export type Watch = ServerWritableStream<Buffer, Buffer>;
export type Health = (watch: Watch) => void;

export class ScriptedServer implements AsyncDisposable {
  /** The metadata of each attempt. */
  readonly attempts: Metadata[] = [];
  readonly #server = new Server({ "grpc.max_receive_message_length": 8 * 2 ** 20 });
  readonly #health: Health | undefined;
  /** Those that watch its health. */
  readonly watches: Watch[] = [];
  address = "";

  private constructor(health: Health | undefined) {
    this.#health = health;
  }

  static start(...scripts: Script[]): Promise<ScriptedServer> {
    return ScriptedServer.startWith({}, ...scripts);
  }

  /** One on a port, and with health checks; what `health` does with each that watches. */
  static async startWith(
    { port: wanted = 0, health }: { port?: number; health?: Health },
    ...scripts: Script[]
  ): Promise<ScriptedServer> {
    const scripted = new ScriptedServer(health);
    const bytes = (message: Buffer) => message;
    const method = {
      path: "/engagement.v1.SequenceStepService/UpdateStep",
      requestStream: false as const,
      responseStream: false as const,
      requestSerialize: bytes,
      requestDeserialize: bytes,
      responseSerialize: bytes,
      responseDeserialize: bytes,
    };
    const watch = { ...method, path: "/grpc.health.v1.Health/Watch", responseStream: true as const };
    scripted.#server.addService(
      { updateStep: method, watch },
      {
        watch: (call: Watch) => {
          if (scripted.#health) {
            scripted.watches.push(call);
            scripted.#health(call);
          } else {
            end(call, status.UNIMPLEMENTED);
          }
        },
        updateStep: (call: ServerUnaryCall<Buffer, Buffer>, answer: Caller) => {
          scripted.attempts.push(call.metadata);
          const script = scripts.length > 1 ? scripts.shift() : scripts[0];
          script?.(answer, call);
        },
      },
    );
    const port = await new Promise<number>((resolve, reject) => {
      scripted.#server.bindAsync(`127.0.0.1:${wanted}`, ServerCredentials.createInsecure(), (error, bound) => {
        if (error) {
          reject(error);
        } else {
          resolve(bound);
        }
      });
    });
    scripted.address = `127.0.0.1:${port}`;
    return scripted;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
    await sleep(0);
  }
}

/** Says how healthy the server is. */
export function say(watch: Watch, servingStatus: HealthCheckResponse_ServingStatus): void {
  watch.write(
    Buffer.from(toBinary(HealthCheckResponseSchema, create(HealthCheckResponseSchema, { status: servingStatus }))),
  );
}

/** Ends it with a status. */
export function end(watch: Watch, code: status): void {
  watch.emit("error", { code, details: "no" });
}

export function ok(response: MessageInitShape<typeof UpdateStepResponseSchema>): Script {
  return (answer) => {
    answer(null, Buffer.from(toBinary(UpdateStepResponseSchema, create(UpdateStepResponseSchema, response))));
  };
}

export function fails(code: status, trailers: Record<string, string | Buffer> = {}): Script {
  return (answer) => {
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(trailers)) {
      metadata.set(name, value);
    }
    answer({ code, details: "no", metadata });
  };
}

/** A status with details of a code, which can be another one. */
export function failsWith<Desc extends DescMessage>(
  code: status,
  detailsCode: status,
  schema: Desc,
  detail: MessageInitShape<Desc>,
): Script {
  const details = create(StatusSchema, { code: detailsCode, details: [anyPack(schema, create(schema, detail))] });
  return fails(code, { "grpc-status-details-bin": Buffer.from(toBinary(StatusSchema, details)) });
}
