// Calls SequenceStepService.UpdateStep: a channel, metadata and a deadline, the call,
// the envelope wherever it comes, and what became of the step.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engagement/v1/sequence_step_service.grpc.pb.h"
#include "google/rpc/status.pb.h"

namespace seqstep {

using Metadata = std::vector<std::pair<std::string, std::string>>;

// Opens a channel: with TLS that trusts the authorities of a PEM text, or in plaintext if it is empty. Calls whose replica
// went away are made again, unless that is switched off.
std::shared_ptr<grpc::Channel> Channel(const std::string& target, const std::string& ca_pem, bool retries = true);

// How a call ended.
template <typename Response>
struct EndedWith {
  grpc::Status status;
  Response response;
  std::multimap<std::string, std::string> trailers;
};

using Ended = EndedWith<engagement::v1::UpdateStepResponse>;

// Makes a call of a method, such as `&SequenceStepService::Stub::GetStep`.
template <typename Request, typename Response>
EndedWith<Response> CallMethod(const std::shared_ptr<grpc::Channel>& channel,
                               grpc::Status (engagement::v1::SequenceStepService::Stub::*method)(grpc::ClientContext*,
                                                                                                 const Request&,
                                                                                                 Response*),
                               const Request& request, const Metadata& metadata, std::chrono::milliseconds deadline) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + deadline);
  for (const auto& [key, value] : metadata) context.AddMetadata(key, value);
  EndedWith<Response> ended;
  const auto stub = engagement::v1::SequenceStepService::NewStub(channel);
  ended.status = (stub.get()->*method)(&context, request, &ended.response);
  for (const auto& [key, value] : context.GetServerTrailingMetadata()) {
    ended.trailers.emplace(std::string(key.data(), key.size()), std::string(value.data(), value.size()));
  }
  return ended;
}

// Updates a step.
Ended Call(const std::shared_ptr<grpc::Channel>& channel, const engagement::v1::UpdateStepRequest& request,
           const Metadata& metadata, std::chrono::milliseconds deadline);

// The details of a status other than OK.
google::rpc::Status Details(const grpc::Status& status);

// One of the details, by its type.
template <typename Message>
std::optional<Message> Detail(const google::rpc::Status& details) {
  for (const auto& detail : details.details()) {
    if (Message message; detail.UnpackTo(&message)) return message;
  }
  return std::nullopt;
}

// The envelope of a call: the response itself, or the one in the details of a status other than OK. There is none if the
// service did not say anything, because the connection broke or the deadline came first.
template <typename Response>
std::optional<Response> Envelope(const EndedWith<Response>& ended) {
  if (ended.status.ok()) return ended.response;
  return Detail<Response>(Details(ended.status));
}

// What a call did to the step.
enum class Outcome {
  kApplied,           // The step is as asked for.
  kNotApplied,        // Nothing was changed.
  kUnknown,           // It may have been changed; repeating the call is safe and settles it.
  kPartiallyApplied,  // What `changes` lists was changed; once the error is dealt with, repeating the call does the rest.
};

// Tells what a call did to the step.
Outcome OutcomeOf(const Ended& ended);

}  // namespace seqstep
