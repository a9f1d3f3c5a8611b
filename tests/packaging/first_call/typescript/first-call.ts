// A program elsewhere that depends on @seqstep/client and @grpc/grpc-js.
import { argv, env } from "node:process";

import { GrpcJsClient } from "@seqstep/client/grpc-js";

const client = new GrpcJsClient(env.SEQSTEP_ADDRESS ?? "", {
  apiKey: env.SEQSTEP_API_KEY,
  plaintext: "loopback",
});
try {
  const response = await client.updateStep(
    { sequenceId: "7", sequenceStepId: "101", record: { template: { subject: argv[2] ?? "" } } },
    { customerId: "acme", provider: "outreach" },
  );
  for (const change of response.changes) {
    console.log(`Changed ${change.field}.`);
  }
} finally {
  client.close();
}
