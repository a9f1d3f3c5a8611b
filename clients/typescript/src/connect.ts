// Calling the service with Connect-ES, over the gRPC protocol.
import { readFileSync } from "node:fs";

import { create, type Message, type MessageInitShape } from "@bufbuild/protobuf";
import { ConnectError, type Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import type { Answer, Method } from "./answer.js";
import { SequenceStepService, UpdateStepRequestSchema } from "./gen/engagement/v1/sequence_step_service_pb.js";

/** A way to HOST:PORT, with TLS if a file with the authority's certificate is given. Keep one for all calls. */
export function open(address: string, caFile?: string): Transport {
  return caFile
    ? createGrpcTransport({ baseUrl: `https://${address}`, nodeOptions: { ca: readFileSync(caFile) } })
    : createGrpcTransport({ baseUrl: `http://${address}` });
}

export async function updateStep(
  transport: Transport,
  request: MessageInitShape<typeof UpdateStepRequestSchema>,
  metadata: [string, string][],
  timeoutMs = 30_000,
): Promise<Answer> {
  const { updateStep } = SequenceStepService.method;
  const answer = await call(transport, updateStep, create(UpdateStepRequestSchema, request), metadata, timeoutMs);
  return answer as Answer;
}

/** Calls any method of the service. */
export async function call(
  transport: Transport,
  method: Method,
  request: Message,
  metadata: [string, string][],
  timeoutMs = 30_000,
  onTrailers: (trailers: Headers) => void = () => {},
): Promise<Answer<Message>> {
  try {
    const { message, trailer } = await transport.unary(method, undefined, timeoutMs, metadata, request);
    onTrailers(trailer);
    return { code: 0, message: "", envelope: message, detail: () => undefined };
  } catch (failure) {
    const error = ConnectError.from(failure);
    onTrailers(error.metadata);
    return {
      code: error.code,
      message: error.rawMessage,
      envelope: error.findDetails(method.output)[0],
      detail: (schema) => error.findDetails(schema)[0],
    };
  }
}
