// What Connect's transports do not show of an answer.
import { base64Decode } from "@bufbuild/protobuf/wire";

import { statusName, type StatusName } from "./failure.js";

/**
 * What a server answered to one attempt, beside the message.
 *
 * Connect believes the code in `grpc-status-details-bin` more than `grpc-status`, and where it cannot parse the details it
 * forgets the status. So it does not get to see them.
 */
export class Received {
  /** Whether a response of gRPC has begun. */
  headersCame = false;
  /** Other than OK. */
  status: StatusName | undefined;
  details: Uint8Array | undefined;
  readonly trailers = new Map<string, string>();

  /** Takes note of headers, and removes the details from them. */
  take(httpStatus: number, header: Headers): void {
    if (header.has("grpc-status")) {
      this.takeTrailer(header);
    } else {
      this.headersCame = httpStatus === 200 && (header.get("content-type")?.startsWith("application/grpc") ?? false);
    }
  }

  /** Takes note of trailers, and removes the details from them. */
  takeTrailer(trailer: Headers): void {
    const details = trailer.get("grpc-status-details-bin");
    if (details !== null) {
      this.details = bytesOf(details);
      trailer.delete("grpc-status-details-bin");
    }
    const status = trailer.get("grpc-status");
    if (status !== null && status !== "0") {
      this.status = statusName(Number(status));
    }
    trailer.forEach((value, name) => this.trailers.set(name, value));
  }
}

/** The bytes of a binary value; none where it is none. */
function bytesOf(value: string): Uint8Array | undefined {
  try {
    return base64Decode(value);
  } catch {
    return undefined;
  }
}
