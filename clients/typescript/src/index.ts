// The messages and what failures mean; `@seqstep/client/grpc-js`, `connect` and `web` beside it make the calls.
export { SeqstepClient, type CallOptions, type ClientOptions } from "./client.js";
export { SeqstepError, type Outcome, type StatusName } from "./failure.js";
export * from "./gen/engagement/v1/envelope_pb.js";
export * from "./gen/engagement/v1/sequence_step_service_pb.js";
export * from "./gen/engagement/v1/connection_service_pb.js";
