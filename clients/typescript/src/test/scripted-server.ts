// A server that answers the attempts of calls as it was told, and with the last answer from then on.
import { setTimeout as sleep } from "node:timers/promises";

import { create, toBinary, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { Metadata, Server, ServerCredentials, status, type sendUnaryData, type ServerUnaryCall } from "@grpc/grpc-js";

import { UpdateStepResponseSchema } from "../gen/engagement/v1/sequence_step_service_pb.js";
import { StatusSchema } from "../gen/google/rpc/status_pb.js";

type Caller = sendUnaryData<Buffer>;
export type Script = (answer: Caller, call: ServerUnaryCall<Buffer, Buffer>) => void;

export class ScriptedServer implements AsyncDisposable {
  /** The metadata of each attempt. */
  readonly attempts: Metadata[] = [];
  readonly #server = new Server({ "grpc.max_receive_message_length": 8 * 2 ** 20 });
  address = "";

  static async start(...scripts: Script[]): Promise<ScriptedServer> {
    const scripted = new ScriptedServer();
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
    scripted.#server.addService(
      { updateStep: method },
      {
        updateStep: (call: ServerUnaryCall<Buffer, Buffer>, answer: Caller) => {
          scripted.attempts.push(call.metadata);
          const script = scripts.length > 1 ? scripts.shift() : scripts[0];
          script?.(answer, call);
        },
      },
    );
    const port = await new Promise<number>((resolve, reject) => {
      scripted.#server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
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
