// How a call fails, and what became of the step.
import { fromBinary, type DescMessage, type DescMethod, type Message, type MessageShape } from "@bufbuild/protobuf";
import { anyUnpack, type Any } from "@bufbuild/protobuf/wkt";

import { ErrorOutcome, type Error as EnvelopeError } from "./gen/engagement/v1/envelope_pb.js";
import { StatusSchema } from "./gen/google/rpc/status_pb.js";

/** What became of the step; UNKNOWN where that cannot be said. Repeating the call is safe, and settles it. */
export type Outcome = "UNKNOWN" | "NOT_APPLIED" | "PARTIALLY_APPLIED" | "APPLIED";

/** The names of gRPC's statuses, by their numbers. */
const STATUSES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

export type StatusName = (typeof STATUSES)[number];

/** The name of a status; UNKNOWN for a number that is none. */
export function statusName(code: number): StatusName {
  return STATUSES[code] ?? "UNKNOWN";
}

/** How a call ended, before anything is made of it. */
export interface Answer {
  status: StatusName;
  message: string;
  /** The response of a call that ended with OK. */
  response?: Message | undefined;
  /** `grpc-status-details-bin`, as it came. */
  details?: Uint8Array | undefined;
  trailers: ReadonlyMap<string, string>;
  cause?: unknown;
}

/** A call that did not succeed: by errors in its response, or by a status other than OK. */
export class SeqstepError extends Error {
  /** The gRPC status; OK where the response has errors. */
  readonly status: StatusName;
  /** The text of the status; empty with OK. */
  readonly statusMessage: string;
  /** What became of the step. A read that failed never changed it, whatever this says. */
  readonly outcome: Outcome;
  /** The errors of the envelope; none if there is no envelope. */
  readonly errors: readonly EnvelopeError[];
  /** The envelope, of the type of the method's response: from the response, or from the details of the status. */
  readonly response: Message | undefined;
  /** The trailing metadata, such as `x-error-code`. */
  readonly trailers: ReadonlyMap<string, string>;
  /** What to quote when asking about the call, and to look for in the history, also where no answer came. */
  readonly requestId: string;
  readonly #details: readonly Any[];

  constructor(method: DescMethod, answer: Answer, requestId: string) {
    const details = detailsOf(answer);
    const response = answer.response ?? find(details, method.output);
    const errors = errorsOf(response);
    const [first] = errors;
    super(first ? `${first.code}: ${first.detail}` : `${answer.status}: ${answer.message}`, { cause: answer.cause });
    this.name = "SeqstepError";
    this.status = answer.status;
    this.statusMessage = answer.message;
    this.outcome = outcomeOf(errors);
    this.errors = errors;
    this.response = response;
    this.trailers = answer.trailers;
    this.requestId = requestId;
    this.#details = details;
  }

  /** One of the details of the status, such as google.rpc.RetryInfo. */
  detail<Desc extends DescMessage>(schema: Desc): MessageShape<Desc> | undefined {
    return find(this.#details, schema);
  }
}

/** The errors of a response; none for one whose type has no such field. */
export function errorsOf(response: Message | undefined): readonly EnvelopeError[] {
  return (response as { errors?: EnvelopeError[] } | undefined)?.errors ?? [];
}

/** By the errors of a failed call; one without any did not come from the service as it is meant. */
export function outcomeOf(errors: readonly EnvelopeError[]): Outcome {
  const outcomes = new Set(errors.map(({ meta }) => meta?.outcome));
  const partially = outcomes.delete(ErrorOutcome.PARTIALLY_APPLIED);
  const notApplied = outcomes.delete(ErrorOutcome.NOT_APPLIED);
  // What is left is unknown, or nothing that this version of the client knows.
  if (outcomes.size > 0) {
    return "UNKNOWN";
  }
  return partially ? "PARTIALLY_APPLIED" : notApplied ? "NOT_APPLIED" : "UNKNOWN";
}

/** Of a status with the same code; what does not parse is as if it were not there. */
function detailsOf({ status, details }: Answer): readonly Any[] {
  if (!details) {
    return [];
  }
  try {
    const parsed = fromBinary(StatusSchema, details);
    return STATUSES[parsed.code] === status ? parsed.details : [];
  } catch {
    return [];
  }
}

function find<Desc extends DescMessage>(details: readonly Any[], schema: Desc): MessageShape<Desc> | undefined {
  for (const detail of details) {
    try {
      const message = anyUnpack(detail, schema);
      if (message) {
        return message;
      }
    } catch {
      // As if it were not there.
    }
  }
  return undefined;
}
