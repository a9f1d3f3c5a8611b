// A program elsewhere that depends on @seqstep/client and @grpc/grpc-js.
import { argv, env } from "node:process";

import { outcomeOf } from "@seqstep/client";
import { open, updateStep } from "@seqstep/client/grpc-js";

const channel = open(env.SEQSTEP_ADDRESS ?? "");
const answer = await updateStep(
  channel,
  { sequenceId: "7", sequenceStepId: "101", record: { template: { subject: argv[2] ?? "" } } },
  [
    ["x-api-key", env.SEQSTEP_API_KEY ?? ""],
    ["x-customer-id", "acme"],
    ["x-provider-name", "outreach"],
  ],
);
channel.close();
if (outcomeOf(answer) !== "changed") {
  throw new Error(`${answer.code}: ${answer.message}`);
}
for (const change of answer.envelope?.changes ?? []) {
  console.log(`Changed ${change.field}.`);
}
