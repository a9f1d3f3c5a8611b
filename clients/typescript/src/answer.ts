// What both clients answer, and how to tell from it what became of the step.
import type { DescMessage, DescMethodUnary, Message, MessageShape } from "@bufbuild/protobuf";

import { ErrorOutcome } from "./gen/engagement/v1/envelope_pb.js";
import type { UpdateStepResponse } from "./gen/engagement/v1/sequence_step_service_pb.js";

/** A method of the service. */
export type Method = DescMethodUnary<DescMessage, DescMessage>;

export interface Answer<Envelope extends Message = UpdateStepResponse> {
  /** The gRPC status. */
  code: number;
  message: string;
  /** Comes with OK, and in the details of other statuses; none if the answer is not the service's. */
  envelope: Envelope | undefined;
  /** What else is in the details of a status: google.rpc.BadRequest, RetryInfo, ErrorInfo. */
  detail: FindDetail;
}

export type FindDetail = <Desc extends DescMessage>(schema: Desc) => MessageShape<Desc> | undefined;

export type Outcome = "changed" | "nothing to change" | "not applied" | "unknown" | "partially applied";

export function outcomeOf({ envelope }: Answer): Outcome {
  if (envelope?.errors.length === 0) {
    return envelope.changes.length === 0 ? "nothing to change" : "changed";
  }
  switch (envelope?.errors[0]?.meta?.outcome) {
    case ErrorOutcome.NOT_APPLIED:
      return "not applied";
    case ErrorOutcome.PARTIALLY_APPLIED:
      return "partially applied";
    default:
      // Also without an envelope: the service was not reached, the connection broke, the deadline passed.
      return "unknown";
  }
}
