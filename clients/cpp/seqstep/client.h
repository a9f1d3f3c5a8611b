// Calls the services of engagement.v1: a channel with TLS, retries, keepalive and health checks, the metadata of a
// call, and results that say what became of the step.
//
//   seqstep::Options options;
//   options.api_key = key;
//   const seqstep::Client client("seqstep.example.com:443", options);
//   const auto context = client.NewContext({"acme", "outreach"});
//   const auto result = client.UpdateStep(*context, request);
//   if (result.outcome != seqstep::Outcome::kApplied) …
//
// Nothing here throws for what a server sends. A Client may be used by several threads at once.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_interceptor.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engagement/v1/connection_service.grpc.pb.h"
#include "engagement/v1/sequence_step_service.grpc.pb.h"
#include "google/rpc/status.pb.h"

namespace seqstep {

// What a call may take unless it says something else. It is the service's own default; its longest is 60 s.
inline constexpr std::chrono::seconds kDefaultTimeout{30};

// What a call did to the step.
enum class Outcome {
  kUnknown,           // It may have been changed; repeating the call is safe and settles it.
  kApplied,           // The step is as asked for.
  kNotApplied,        // Nothing was changed.
  kPartiallyApplied,  // What `changes` lists was changed; once the error is dealt with, repeating the call does the
                      // rest.
};

enum class Transport {
  kTls,
  kPlaintext,                   // To a service on this machine: 127.0.0.1, [::1], localhost, a Unix socket.
  kPlaintextBeyondThisMachine,  // To any host. Whoever sees the network sees the API key.
};

// How a client connects.
struct Options {
  std::string api_key;  // Sent with every call that does not bring a key of its own; none if empty.
  Transport transport = Transport::kTls;
  std::optional<std::string> ca_file;  // PEM, in the place of the authorities of the system.
  // PEM, for a service that asks for a certificate; both or none.
  std::optional<std::string> client_certificate_file;
  std::optional<std::string> client_key_file;
};

using Interceptors = std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>;

// Whose customer a call is for, at which provider, and how long it may take.
struct Call {
  std::string customer_id;
  std::string provider_name;
  std::string request_id = {};  // An id of your own, by which the call is found in the service's log.
  std::optional<std::string> api_key = std::nullopt;    // In the place of the client's; none if empty.
  std::chrono::milliseconds timeout = kDefaultTimeout;  // Of the call with all of its attempts.
};

// How a call ended.
template <typename Response>
struct Result {
  Outcome outcome = Outcome::kUnknown;
  grpc::Status status;  // OK also where the response itself has errors.
  // The response, from the details of the status where that is not OK. None where the service did not send one, as when
  // the connection broke or the deadline came first.
  std::optional<Response> response;
};

// The details of a status; nothing if they do not parse or are about another code.
google::rpc::Status Details(const grpc::Status& status);

// The first detail of a type.
template <typename Message>
std::optional<Message> Detail(const google::rpc::Status& details) {
  for (const auto& detail : details.details()) {
    if (!detail.Is<Message>()) continue;
    if (Message message; detail.UnpackTo(&message)) return message;
    return std::nullopt;
  }
  return std::nullopt;
}

// What errors say became of the step: by the one that leaves most open. Without errors nothing is known of a failure.
Outcome OutcomeOf(const google::protobuf::RepeatedPtrField<engagement::v1::Error>& errors);

class Client {
 public:
  // Connects to HOST:PORT when the first call is made. Interceptors are the place for tracing.
  //
  // Throws std::runtime_error if the options cannot be followed: a file cannot be read, or plaintext would leave this
  // machine; and std::invalid_argument for an API key that cannot be sent.
  explicit Client(const std::string& target, const Options& options = {}, Interceptors interceptors = {});

  // The context of one call. Its TryCancel, from any thread, ends the call.
  //
  // Throws std::invalid_argument for what metadata cannot have: anything but printable ASCII.
  std::unique_ptr<grpc::ClientContext> NewContext(const Call& call) const;

  // Steps: changing one, and reading.
  Result<engagement::v1::UpdateStepResponse> UpdateStep(grpc::ClientContext& context,
                                                        const engagement::v1::UpdateStepRequest& request) const {
    return Invoke(*steps_, &engagement::v1::SequenceStepService::Stub::UpdateStep, context, request);
  }
  Result<engagement::v1::GetStepResponse> GetStep(grpc::ClientContext& context,
                                                  const engagement::v1::GetStepRequest& request) const {
    return Invoke(*steps_, &engagement::v1::SequenceStepService::Stub::GetStep, context, request);
  }
  Result<engagement::v1::ListStepsResponse> ListSteps(grpc::ClientContext& context,
                                                      const engagement::v1::ListStepsRequest& request) const {
    return Invoke(*steps_, &engagement::v1::SequenceStepService::Stub::ListSteps, context, request);
  }

  // What updates wrote, where the service keeps a history, and setting it back.
  Result<engagement::v1::ListStepChangesResponse> ListStepChanges(
      grpc::ClientContext& context, const engagement::v1::ListStepChangesRequest& request) const {
    return Invoke(*steps_, &engagement::v1::SequenceStepService::Stub::ListStepChanges, context, request);
  }
  Result<engagement::v1::GetStepChangeResponse> GetStepChange(
      grpc::ClientContext& context, const engagement::v1::GetStepChangeRequest& request) const {
    return Invoke(*steps_, &engagement::v1::SequenceStepService::Stub::GetStepChange, context, request);
  }
  Result<engagement::v1::RevertStepChangeResponse> RevertStepChange(
      grpc::ClientContext& context, const engagement::v1::RevertStepChangeRequest& request) const {
    return Invoke(*steps_, &engagement::v1::SequenceStepService::Stub::RevertStepChange, context, request);
  }

  // Customers' connections, and deleting their history; the metadata of these calls is `NewContext({})`.
  Result<engagement::v1::SetConnectionResponse> SetConnection(
      grpc::ClientContext& context, const engagement::v1::SetConnectionRequest& request) const {
    return Invoke(*connections_, &engagement::v1::ConnectionService::Stub::SetConnection, context, request);
  }
  Result<engagement::v1::GetConnectionResponse> GetConnection(
      grpc::ClientContext& context, const engagement::v1::GetConnectionRequest& request) const {
    return Invoke(*connections_, &engagement::v1::ConnectionService::Stub::GetConnection, context, request);
  }
  Result<engagement::v1::ListConnectionsResponse> ListConnections(
      grpc::ClientContext& context, const engagement::v1::ListConnectionsRequest& request) const {
    return Invoke(*connections_, &engagement::v1::ConnectionService::Stub::ListConnections, context, request);
  }
  Result<engagement::v1::CheckConnectionResponse> CheckConnection(
      grpc::ClientContext& context, const engagement::v1::CheckConnectionRequest& request) const {
    return Invoke(*connections_, &engagement::v1::ConnectionService::Stub::CheckConnection, context, request);
  }
  Result<engagement::v1::DeleteConnectionResponse> DeleteConnection(
      grpc::ClientContext& context, const engagement::v1::DeleteConnectionRequest& request) const {
    return Invoke(*connections_, &engagement::v1::ConnectionService::Stub::DeleteConnection, context, request);
  }
  Result<engagement::v1::DeleteStepChangesResponse> DeleteStepChanges(
      grpc::ClientContext& context, const engagement::v1::DeleteStepChangesRequest& request) const {
    return Invoke(*connections_, &engagement::v1::ConnectionService::Stub::DeleteStepChanges, context, request);
  }

  // The stubs, for `Invoke` and for asynchronous calls.
  engagement::v1::SequenceStepService::Stub& Steps() const { return *steps_; }
  engagement::v1::ConnectionService::Stub& Connections() const { return *connections_; }

  // Makes a call of any method: `client.Invoke(client.Steps(), &SequenceStepService::Stub::GetStep, context, request)`.
  // While no server is serving, it waits for one first, a second at most.
  template <typename Stub, typename Request, typename Response>
  Result<Response> Invoke(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                          grpc::ClientContext& context, const Request& request) const {
    AwaitServer(context);
    Result<Response> result;
    Response response;
    result.status = (stub.*method)(&context, request, &response);
    if (result.status.ok()) {
      result.response = std::move(response);
    } else {
      result.response = Detail<Response>(Details(result.status));
    }
    result.outcome = JudgedOutcome(result, 0);
    return result;
  }

 private:
  // Waits a moment while gRPC would fail every call since it has no server.
  void AwaitServer(const grpc::ClientContext& context) const;

  template <typename Response>
  static auto JudgedOutcome(const Result<Response>& result, int /*preferred*/)
      -> decltype(result.response->errors(), Outcome()) {
    if (!result.response) return Outcome::kUnknown;
    if (result.status.ok() && result.response->errors().empty()) return Outcome::kApplied;
    return OutcomeOf(result.response->errors());
  }

  // Of a response that has no errors of its own.
  template <typename Response>
  static Outcome JudgedOutcome(const Result<Response>& result, ...) {
    return result.status.ok() ? Outcome::kApplied : Outcome::kUnknown;
  }

  std::string api_key_;
  bool plaintext_;
  std::shared_ptr<grpc::CallCredentials> credentials_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<engagement::v1::SequenceStepService::Stub> steps_;
  std::unique_ptr<engagement::v1::ConnectionService::Stub> connections_;
};

}  // namespace seqstep
