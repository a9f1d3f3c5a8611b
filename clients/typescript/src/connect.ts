// Calling the service with Connect-ES, over the gRPC protocol.
import { readFileSync } from "node:fs";

import type { MessageInitShape } from "@bufbuild/protobuf";
import { ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import type { Answer } from "./answer.js";
import {
  SequenceStepService,
  UpdateStepResponseSchema,
  type UpdateStepRequestSchema,
} from "./gen/engagement/v1/sequence_step_service_pb.js";

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
  onTrailers: (trailers: Headers) => void = () => {},
): Promise<Answer> {
  const client = createClient(SequenceStepService, transport);
  try {
    const envelope = await client.updateStep(request, { headers: metadata, timeoutMs, onTrailer: onTrailers });
    return { code: 0, message: "", envelope, detail: () => undefined };
  } catch (failure) {
    const error = ConnectError.from(failure);
    onTrailers(error.metadata);
    return {
      code: error.code,
      message: error.rawMessage,
      envelope: error.findDetails(UpdateStepResponseSchema)[0],
      detail: (schema) => error.findDetails(schema)[0],
    };
  }
}
