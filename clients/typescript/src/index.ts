// The messages and what their answers mean; `@seqstep/client/grpc-js` and `@seqstep/client/connect` make the calls.
export * from "./answer.js";
export * from "./gen/engagement/v1/envelope_pb.js";
export * from "./gen/engagement/v1/sequence_step_service_pb.js";
export * from "./gen/engagement/v1/connection_service_pb.js";
