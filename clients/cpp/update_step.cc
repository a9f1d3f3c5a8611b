#include "seqstep/update_step.h"

namespace seqstep {
namespace {

using engagement::v1::SequenceStepService;

// Updates set absolute values, so any call may be repeated. CANCELLED is how a call ends that was on its way to a replica
// when that replica said that it stops.
constexpr char kServiceConfig[] = R"({"methodConfig": [{
  "name": [{"service": "engagement.v1.SequenceStepService"}],
  "retryPolicy": {
    "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "2s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"]
  }
}]})";

}  // namespace

std::shared_ptr<grpc::Channel> Channel(const std::string& target, const std::string& ca_pem, bool retries) {
  grpc::ChannelArguments arguments;
  if (retries) {
    arguments.SetServiceConfigJSON(kServiceConfig);
  } else {
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  }
  if (ca_pem.empty()) return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = ca_pem;
  return grpc::CreateCustomChannel(target, grpc::SslCredentials(options), arguments);
}

Ended Call(const std::shared_ptr<grpc::Channel>& channel, const engagement::v1::UpdateStepRequest& request,
           const Metadata& metadata, std::chrono::milliseconds deadline) {
  return CallMethod(channel, &SequenceStepService::Stub::UpdateStep, request, metadata, deadline);
}

google::rpc::Status Details(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  return details;
}

Outcome OutcomeOf(const Ended& ended) {
  const auto envelope = Envelope(ended);
  if (!envelope) return Outcome::kUnknown;
  if (envelope->errors().empty()) return Outcome::kApplied;
  switch (envelope->errors(0).meta().outcome()) {
    case engagement::v1::ERROR_OUTCOME_NOT_APPLIED:
      return Outcome::kNotApplied;
    case engagement::v1::ERROR_OUTCOME_PARTIALLY_APPLIED:
      return Outcome::kPartiallyApplied;
    default:
      return Outcome::kUnknown;
  }
}

}  // namespace seqstep
