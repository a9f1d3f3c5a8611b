// Sets the subject of one step of a sequence, and says what became of it.
import { argv, env } from "node:process";

import type { UpdateStepResponse } from "./index.js";
import { SeqstepError, type Outcome, type SeqstepClient } from "./index.js";

const USAGE = 2;
const STATUS: Record<Outcome, number> = { APPLIED: 0, NOT_APPLIED: 1, UNKNOWN: 3, PARTIALLY_APPLIED: 4 };

// Node's own status for what nobody catches is 1, which says that nothing was changed.
process.exitCode = STATUS.UNKNOWN;
try {
  process.exitCode = await main(argv.slice(2));
} catch (error) {
  console.error(error);
}

async function main(args: string[]): Promise<number> {
  const isPlaintext = args.includes("--plaintext");
  const words = args.filter((word) => word !== "--plaintext");
  const [variant, customerId, provider, sequenceId, sequenceStepId, subject] = words;
  if (words.length !== 6 || subject === undefined || (variant !== "grpc-js" && variant !== "connect")) {
    console.error("Arguments: grpc-js|connect [--plaintext] CUSTOMER PROVIDER SEQUENCE STEP SUBJECT");
    return USAGE;
  }
  let client: SeqstepClient;
  try {
    client = await open(variant, isPlaintext);
  } catch (error) {
    console.error(`This cannot be a connection: ${String(error)}`);
    return USAGE;
  }
  try {
    const response = await client.updateStep(
      {
        ...{ sequenceId: sequenceId ?? "", sequenceStepId: sequenceStepId ?? "" },
        // What is not given stays as it is; an empty string is a value.
        record: { template: { subject } },
      },
      { customerId, provider },
    );
    describe(response);
    if (response.changes.length === 0) {
      console.log("Nothing to change: the step is like that already.");
    }
    return STATUS.APPLIED;
  } catch (error) {
    if (!(error instanceof SeqstepError)) {
      throw error;
    }
    if (error.response) {
      describe(error.response as UpdateStepResponse);
    }
    if (error.errors.length === 0) {
      // The service was not reached, the connection broke, the deadline passed.
      console.log(error.message);
    }
    switch (error.outcome) {
      case "NOT_APPLIED":
        console.log("The step was not changed.");
        break;
      case "PARTIALLY_APPLIED":
        console.log("Not all was changed. Deal with the error and repeat the call: it does the rest.");
        break;
      default:
        console.log("The step may have been changed. Repeat the call: that is always safe.");
    }
    return STATUS[error.outcome];
  } finally {
    client.close();
  }
}

async function open(variant: "grpc-js" | "connect", isPlaintext: boolean): Promise<SeqstepClient> {
  const address = env.SEQSTEP_ADDRESS ?? "127.0.0.1:50051";
  const options = {
    apiKey: env.SEQSTEP_API_KEY,
    caFile: env.SEQSTEP_CA,
    certificateFile: env.SEQSTEP_CLIENT_CERTIFICATE,
    keyFile: env.SEQSTEP_CLIENT_KEY,
    plaintext: isPlaintext ? ("loopback" as const) : undefined,
  };
  if (variant === "connect") {
    const { ConnectClient } = await import("./connect.js");
    return new ConnectClient(address, options);
  }
  const { GrpcJsClient } = await import("./grpc-js.js");
  return new GrpcJsClient(address, options);
}

function describe(response: UpdateStepResponse): void {
  for (const warning of response.warnings) {
    console.log(`Note: ${warning.detail}`);
  }
  for (const change of response.changes) {
    console.log(`Changed ${change.field}.`);
  }
  for (const error of response.errors) {
    console.log(`${error.code}: ${error.detail}`);
    const wait = error.meta?.retryAfter;
    if (wait) {
      console.log(`The same call can succeed after ${Number(wait.seconds) + wait.nanos / 1e9} seconds.`);
    }
  }
}
