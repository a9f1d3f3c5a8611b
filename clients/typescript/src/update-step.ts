// Sets the subject of one step of a sequence, and tells what became of it.
import { argv, env, exit } from "node:process";

import { outcomeOf, type Answer } from "./answer.js";
import * as connect from "./connect.js";
import * as grpcJs from "./grpc-js.js";

const [variant, customer, provider, sequence, step, subject] = argv.slice(2);
if (!customer || !provider || !sequence || !step || subject === undefined) {
  console.error("Arguments: CUSTOMER PROVIDER SEQUENCE STEP SUBJECT");
  exit(2);
}

const address = env.SEQSTEP_ADDRESS ?? "127.0.0.1:50051";
const metadata: [string, string][] = [
  ["x-api-key", env.SEQSTEP_API_KEY ?? ""],
  ["x-customer-id", customer],
  ["x-provider-name", provider],
];
const request = {
  sequenceId: sequence,
  sequenceStepId: step,
  // What is not given stays as it is; an empty string is a value.
  record: { template: { subject } },
};
const answer =
  variant === "connect"
    ? await connect.updateStep(connect.open(address, env.SEQSTEP_CA), request, metadata)
    : await grpcJs.updateStep(grpcJs.open(address, env.SEQSTEP_CA), request, metadata);
exit(tell(answer));

/** Says what happened, and returns an exit status for it. */
function tell(answer: Answer): number {
  for (const warning of answer.envelope?.warnings ?? []) {
    console.log(`Note: ${warning.detail}`);
  }
  for (const change of answer.envelope?.changes ?? []) {
    console.log(`Changed ${change.field}.`);
  }
  for (const error of answer.envelope?.errors ?? []) {
    console.log(`${error.code}: ${error.detail}`);
    const wait = error.meta?.retryAfter;
    if (wait) {
      console.log(`The same call can succeed after ${Number(wait.seconds) + wait.nanos / 1e9} seconds.`);
    }
  }
  if (!answer.envelope) {
    console.log(`Status ${answer.code}: ${answer.message}`);
  }
  switch (outcomeOf(answer)) {
    case "changed":
      return 0;
    case "nothing to change":
      console.log("Nothing to change: the step is like that already.");
      return 0;
    case "not applied":
      console.log("The step was not changed.");
      return 1;
    case "unknown":
      console.log("The step may have been changed. Repeat the call: that is always safe.");
      return 3;
    case "partially applied":
      console.log("Not all was changed. Deal with the error and repeat the call: it does the rest.");
      return 4;
  }
}
