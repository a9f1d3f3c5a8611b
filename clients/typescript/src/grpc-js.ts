// Calling the service with @grpc/grpc-js.
import { readFileSync } from "node:fs";

import { create, fromBinary, toBinary, type Message, type MessageInitShape } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";

import type { Answer, FindDetail, Method } from "./answer.js";
import { SequenceStepService, UpdateStepRequestSchema } from "./gen/engagement/v1/sequence_step_service_pb.js";
import { StatusSchema } from "./gen/google/rpc/status_pb.js";

/** A channel to HOST:PORT, with TLS if a file with the authority's certificate is given. Keep one for all calls. */
export function open(address: string, caFile?: string): Client {
  return new Client(address, caFile ? credentials.createSsl(readFileSync(caFile)) : credentials.createInsecure());
}

export function updateStep(
  channel: Client,
  request: MessageInitShape<typeof UpdateStepRequestSchema>,
  pairs: [string, string][],
  timeoutMs = 30_000,
): Promise<Answer> {
  const { updateStep } = SequenceStepService.method;
  return call(channel, updateStep, create(UpdateStepRequestSchema, request), pairs, timeoutMs) as Promise<Answer>;
}

/** Calls any method of the service. */
export function call(
  channel: Client,
  method: Method,
  request: Message,
  pairs: [string, string][],
  timeoutMs = 30_000,
  onTrailers: (trailers: Metadata) => void = () => {},
): Promise<Answer<Message>> {
  const metadata = new Metadata();
  for (const [name, value] of pairs) {
    metadata.add(name, value);
  }
  return new Promise((resolve) => {
    channel
      .makeUnaryRequest(
        `/${SequenceStepService.typeName}/${method.name}`,
        (message: Message) => Buffer.from(toBinary(method.input, message)),
        (bytes: Buffer) => fromBinary(method.output, bytes),
        request,
        metadata,
        { deadline: Date.now() + timeoutMs },
        (error, envelope) => resolve(error ? failed(error, method) : succeeded(envelope)),
      )
      .on("status", (status) => onTrailers(status.metadata));
  });
}

function succeeded(envelope: Message | undefined): Answer<Message> {
  return { code: 0, message: "", envelope, detail: () => undefined };
}

function failed(error: ServiceError, method: Method): Answer<Message> {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  const status = bytes instanceof Buffer ? fromBinary(StatusSchema, bytes) : undefined;
  const detail: FindDetail = (schema) =>
    status?.details.map((packed) => anyUnpack(packed, schema)).find((message) => message !== undefined);
  return { code: error.code, message: error.details, envelope: detail(method.output), detail };
}
