// Calls of a server that answers as a test says.
#include "seqstep/client.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/health_check_service_interface.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>

namespace {

using engagement::v1::Error;
using engagement::v1::ErrorOutcome;
using engagement::v1::GetStepResponse;
using engagement::v1::UpdateStepRequest;
using engagement::v1::UpdateStepResponse;
using seqstep::Outcome;
using Clock = std::chrono::steady_clock;
using Sent = std::multimap<std::string, std::string>;

constexpr auto kNotApplied = engagement::v1::ERROR_OUTCOME_NOT_APPLIED;
constexpr auto kPartially = engagement::v1::ERROR_OUTCOME_PARTIALLY_APPLIED;
constexpr auto kUnknown = engagement::v1::ERROR_OUTCOME_UNKNOWN;

UpdateStepResponse Response(const std::vector<ErrorOutcome>& outcomes) {
  UpdateStepResponse response;
  for (const auto outcome : outcomes) response.add_errors()->mutable_meta()->set_outcome(outcome);
  return response;
}

// A status whose details are of a code that need not be its own.
grpc::Status Refused(const std::vector<const google::protobuf::Message*>& messages,
                     grpc::StatusCode in_details = grpc::StatusCode::ABORTED) {
  google::rpc::Status details;
  details.set_code(in_details);
  for (const auto* message : messages) details.add_details()->PackFrom(*message);
  return {grpc::StatusCode::ABORTED, "no", details.SerializeAsString()};
}

// Answers attempts by their number, from 1, and keeps the metadata of each.
class Server final : public engagement::v1::SequenceStepService::Service {
 public:
  using Answer = std::function<grpc::Status(int attempt, grpc::ServerContext&, UpdateStepResponse&)>;

  explicit Server(Answer answer,
                  const std::shared_ptr<grpc::ServerCredentials>& credentials = grpc::InsecureServerCredentials())
      : answer_(std::move(answer)) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("localhost:0", credentials, &port);
    builder.RegisterService(this);
    builder.SetMaxReceiveMessageSize(8 << 20);
    server_ = builder.BuildAndStart();
    target_ = "localhost:" + std::to_string(port);
    address_ = "127.0.0.1:" + std::to_string(port);
    SetServing(true);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() override { server_->Shutdown(std::chrono::system_clock::now()); }

  grpc::Status UpdateStep(grpc::ServerContext* context, const UpdateStepRequest* /*request*/,
                          UpdateStepResponse* response) override {
    Sent sent;
    for (const auto& [key, value] : context->client_metadata()) {
      sent.emplace(std::string(key.data(), key.size()), std::string(value.data(), value.size()));
    }
    int attempt = 0;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      attempts_.push_back(std::move(sent));
      attempt = static_cast<int>(attempts_.size());
    }
    return answer_(attempt, *context, *response);
  }

  std::vector<Sent> Attempts() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return attempts_;
  }

  // Where gRPC's own service answers health checks.
  void SetServing(bool serving) {
    if (auto* health = server_->GetHealthCheckService()) {
      health->SetServingStatus("engagement.v1.SequenceStepService", serving);
    }
  }

  const std::string& Target() const { return target_; }
  const std::string& Address() const { return address_; }

 private:
  Answer answer_;
  std::mutex mutex_;
  std::vector<Sent> attempts_;
  std::string target_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

grpc::Status Applied(int /*attempt*/, grpc::ServerContext& /*context*/, UpdateStepResponse& /*response*/) {
  return grpc::Status::OK;
}

Server::Answer UnavailableUntil(int attempt) {
  return [=](int number, grpc::ServerContext&, UpdateStepResponse&) {
    return number < attempt ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "away") : grpc::Status::OK;
  };
}

Server::Answer Always(const grpc::Status& status, const UpdateStepResponse& answer = {}) {
  return [=](int, grpc::ServerContext&, UpdateStepResponse& response) {
    response = answer;
    return status;
  };
}

seqstep::Options Plaintext() {
  seqstep::Options options;
  options.api_key = "secret";
  options.transport = seqstep::Transport::kPlaintext;
  return options;
}

seqstep::Call Within(std::chrono::milliseconds timeout) {
  seqstep::Call call{"acme", "outreach"};
  call.timeout = timeout;
  return call;
}

UpdateStepRequest Change(size_t bytes) {
  UpdateStepRequest request;
  request.mutable_record()->mutable_template_()->set_body(std::string(bytes, 'x'));
  return request;
}

seqstep::Result<UpdateStepResponse> Update(const seqstep::Client& client, size_t bytes = 1,
                                           std::chrono::milliseconds timeout = std::chrono::seconds(30)) {
  return client.UpdateStep(*client.NewContext(Within(timeout)), Change(bytes));
}

std::string Value(const Sent& sent, const std::string& key) {
  const auto found = sent.find(key);
  return found == sent.end() || sent.count(key) != 1 ? "" : found->second;
}

TEST(Outcome, IsTheLeastKnownOfAllErrors) {
  const std::pair<std::vector<ErrorOutcome>, Outcome> cases[] = {
      {{}, Outcome::kApplied},
      {{kNotApplied}, Outcome::kNotApplied},
      {{kPartially, kNotApplied}, Outcome::kPartiallyApplied},
      {{kUnknown, kPartially}, Outcome::kUnknown},
      {{kNotApplied, kUnknown}, Outcome::kUnknown},
      {{kNotApplied, engagement::v1::ERROR_OUTCOME_UNSPECIFIED}, Outcome::kUnknown},
      {{kNotApplied, static_cast<ErrorOutcome>(99)}, Outcome::kUnknown},
  };
  for (const auto& [outcomes, expected] : cases) {
    Server server(Always(grpc::Status::OK, Response(outcomes)));
    EXPECT_EQ(Update(seqstep::Client(server.Target(), Plaintext())).outcome, expected) << outcomes.size();
  }
  EXPECT_EQ(Outcome{}, Outcome::kUnknown);
}

TEST(Outcome, OfWhatIsNotUnderstoodIsUnknown) {
  const auto refused = Response({kNotApplied});
  const auto empty = Response({});
  GetStepResponse read;
  *read.add_errors() = refused.errors(0);
  google::rpc::Status malformed;
  malformed.set_code(grpc::StatusCode::ABORTED);
  malformed.add_details()->PackFrom(refused);
  malformed.mutable_details(0)->set_value("\xff");
  const std::pair<grpc::Status, Outcome> cases[] = {
      {Refused({&refused}), Outcome::kNotApplied},
      {Refused({&read, &refused}), Outcome::kNotApplied},
      {Refused({&refused}, grpc::StatusCode::NOT_FOUND), Outcome::kUnknown},
      {Refused({&read}), Outcome::kUnknown},
      {Refused({&empty}), Outcome::kUnknown},
      {Refused({}), Outcome::kUnknown},
      {{grpc::StatusCode::ABORTED, "no"}, Outcome::kUnknown},
      {{grpc::StatusCode::ABORTED, "no", "\xff"}, Outcome::kUnknown},
      {{grpc::StatusCode::ABORTED, "no", malformed.SerializeAsString()}, Outcome::kUnknown},
  };
  int number = 0;
  for (const auto& [status, expected] : cases) {
    Server server(Always(status));
    EXPECT_EQ(Update(seqstep::Client(server.Target(), Plaintext())).outcome, expected) << number;
    ++number;
  }
}

TEST(Retries, SendBodiesOfAnyAllowedLengthAgain) {
  for (const size_t bytes : {size_t{1} << 10, size_t{300} << 10, size_t{5} << 20}) {
    Server server(UnavailableUntil(3));
    EXPECT_EQ(Update(seqstep::Client(server.Target(), Plaintext()), bytes).outcome, Outcome::kApplied) << bytes;
    const auto attempts = server.Attempts();
    ASSERT_EQ(attempts.size(), 3U) << bytes;
    EXPECT_EQ(Value(attempts[2], "grpc-previous-rpc-attempts"), "2");
  }
}

TEST(Retries, AreThreeAtMost) {
  Server server(UnavailableUntil(100));
  const auto result = Update(seqstep::Client(server.Target(), Plaintext()));
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(result.outcome, Outcome::kUnknown);
  EXPECT_EQ(server.Attempts().size(), 4U);
}

TEST(Retries, ShareOneDeadline) {
  Server server([](int attempt, grpc::ServerContext& context, UpdateStepResponse&) {
    if (attempt > 1) std::this_thread::sleep_until(context.deadline());
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "away");
  });
  const auto started = Clock::now();
  const auto result = Update(seqstep::Client(server.Target(), Plaintext()), 1, std::chrono::seconds(1));
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(result.outcome, Outcome::kUnknown);
  EXPECT_LT(Clock::now() - started, std::chrono::seconds(3));
  EXPECT_EQ(server.Attempts().size(), 2U);
}

TEST(Retries, AreNotMadeWhereTheServerPushesBack) {
  Server server([](int, grpc::ServerContext& context, UpdateStepResponse&) {
    context.AddTrailingMetadata("grpc-retry-pushback-ms", "-1");
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "away");
  });
  Update(seqstep::Client(server.Target(), Plaintext()));
  EXPECT_EQ(server.Attempts().size(), 1U);
}

TEST(Retries, AreNotMadeOfWhatTheCallerCancels) {
  grpc::ClientContext* calling = nullptr;
  Server server([&](int, grpc::ServerContext&, UpdateStepResponse&) {
    calling->TryCancel();
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "away");
  });
  const seqstep::Client client(server.Target(), Plaintext());
  const auto context = client.NewContext(Within(std::chrono::seconds(30)));
  calling = context.get();
  const auto result = client.UpdateStep(*context, Change(1));
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(result.outcome, Outcome::kUnknown);
  EXPECT_EQ(server.Attempts().size(), 1U);
}

// Servers that answer health checks, and a client of both.
class HealthChecks : public testing::Test {
 protected:
  static void SetUpTestSuite() { grpc::EnableDefaultHealthCheckService(true); }
  static void TearDownTestSuite() { grpc::EnableDefaultHealthCheckService(false); }

  static seqstep::Client ClientOf(const Server& one, const Server& other) {
    auto options = Plaintext();
    options.transport = seqstep::Transport::kPlaintextBeyondThisMachine;
    return seqstep::Client("ipv4:" + one.Address() + "," + other.Address(), options);
  }

  // Makes calls until one of them shows what is expected.
  static bool Becomes(const seqstep::Client& client,
                      const std::function<bool(const seqstep::Result<UpdateStepResponse>&)>& expected) {
    const auto limit = Clock::now() + std::chrono::seconds(30);
    while (Clock::now() < limit) {
      if (expected(Update(client))) return true;
    }
    return false;
  }

  Server one_{Applied};
  Server other_{Applied};
};

TEST_F(HealthChecks, KeepCallsFromAServerThatDoesNotServe) {
  const auto client = ClientOf(one_, other_);
  EXPECT_TRUE(Becomes(client, [&](const auto&) { return !one_.Attempts().empty() && !other_.Attempts().empty(); }));

  one_.SetServing(false);
  size_t received = 0;
  EXPECT_TRUE(Becomes(client, [&](const auto&) {
    const size_t before = std::exchange(received, one_.Attempts().size());
    for (int call = 0; call < 4; ++call) Update(client);
    return one_.Attempts().size() == before;
  }));
  received = one_.Attempts().size();
  for (int call = 0; call < 10; ++call) EXPECT_EQ(Update(client).outcome, Outcome::kApplied);
  EXPECT_EQ(one_.Attempts().size(), received);

  one_.SetServing(true);
  EXPECT_TRUE(Becomes(client, [&](const auto&) { return one_.Attempts().size() > received; }));
}

TEST_F(HealthChecks, FailCallsInTimeWhileNoServerServes) {
  const auto client = ClientOf(one_, other_);
  one_.SetServing(false);
  other_.SetServing(false);
  EXPECT_TRUE(Becomes(client, [](const auto& result) { return !result.status.ok(); }));
  const size_t received = one_.Attempts().size() + other_.Attempts().size();
  const auto started = Clock::now();
  const auto result = Update(client, 1, std::chrono::milliseconds(500));
  EXPECT_LT(Clock::now() - started, std::chrono::seconds(3));
  EXPECT_FALSE(result.status.ok());
  EXPECT_EQ(result.outcome, Outcome::kUnknown);
  const auto patient = Clock::now();
  EXPECT_EQ(Update(client).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_GE(Clock::now() - patient, std::chrono::seconds(1));
  EXPECT_EQ(one_.Attempts().size() + other_.Attempts().size(), received);

  one_.SetServing(true);
  other_.SetServing(true);
  EXPECT_TRUE(Becomes(client, [](const auto& result) { return result.outcome == Outcome::kApplied; }));
}

// Answers every method of the contract with an empty message, and keeps their names.
class AnyService final : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    const bool known = context->method().rfind("/engagement.v1.", 0) == 0;
    if (known) called_.push_back(context->method());
    return new Reactor(known ? grpc::Status::OK : grpc::Status(grpc::StatusCode::UNIMPLEMENTED, ""));
  }

  const std::vector<std::string>& Called() const { return called_; }

 private:
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    explicit Reactor(const grpc::Status& status) {
      if (status.ok()) {
        StartWriteAndFinish(&response_, {}, status);
      } else {
        Finish(status);
      }
    }
    void OnDone() override { delete this; }

   private:
    grpc::Slice nothing_;
    grpc::ByteBuffer response_{&nothing_, 1};
  };

  std::vector<std::string> called_;
};

TEST(Call, IsOfTheMethodThatTheFunctionIsNamedFor) {
  AnyService service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("localhost:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&service);
  const auto server = builder.BuildAndStart();
  const seqstep::Client client("localhost:" + std::to_string(port), Plaintext());
  const auto call = [&](auto method, const auto& request) {
    EXPECT_EQ((client.*method)(*client.NewContext({}), request).outcome, Outcome::kApplied);
    const auto name = service.Called().back();
    return name.substr(name.rfind('.') + 1);
  };
  using namespace engagement::v1;
  using seqstep::Client;
  EXPECT_EQ(call(&Client::UpdateStep, UpdateStepRequest()), "SequenceStepService/UpdateStep");
  EXPECT_EQ(call(&Client::GetStep, GetStepRequest()), "SequenceStepService/GetStep");
  EXPECT_EQ(call(&Client::ListSteps, ListStepsRequest()), "SequenceStepService/ListSteps");
  EXPECT_EQ(call(&Client::ListStepChanges, ListStepChangesRequest()), "SequenceStepService/ListStepChanges");
  EXPECT_EQ(call(&Client::GetStepChange, GetStepChangeRequest()), "SequenceStepService/GetStepChange");
  EXPECT_EQ(call(&Client::RevertStepChange, RevertStepChangeRequest()), "SequenceStepService/RevertStepChange");
  EXPECT_EQ(call(&Client::SetConnection, SetConnectionRequest()), "ConnectionService/SetConnection");
  EXPECT_EQ(call(&Client::GetConnection, GetConnectionRequest()), "ConnectionService/GetConnection");
  EXPECT_EQ(call(&Client::ListConnections, ListConnectionsRequest()), "ConnectionService/ListConnections");
  EXPECT_EQ(call(&Client::CheckConnection, CheckConnectionRequest()), "ConnectionService/CheckConnection");
  EXPECT_EQ(call(&Client::DeleteConnection, DeleteConnectionRequest()), "ConnectionService/DeleteConnection");
  EXPECT_EQ(call(&Client::DeleteStepChanges, DeleteStepChangesRequest()), "ConnectionService/DeleteStepChanges");
}

TEST(Call, HasItsMetadata) {
  Server server(Applied);
  const seqstep::Client client(server.Target(), Plaintext());
  auto call = Within(std::chrono::seconds(10));
  call.request_id = "r-1";
  client.UpdateStep(*client.NewContext(call), Change(1));
  call.api_key = "own";
  client.UpdateStep(*client.NewContext(call), Change(1));
  const auto attempts = server.Attempts();
  ASSERT_EQ(attempts.size(), 2U);
  EXPECT_EQ(Value(attempts[0], "x-customer-id"), "acme");
  EXPECT_EQ(Value(attempts[0], "x-provider-name"), "outreach");
  EXPECT_EQ(Value(attempts[0], "x-request-id"), "r-1");
  EXPECT_EQ(Value(attempts[0], "x-api-key"), "secret");
  EXPECT_EQ(Value(attempts[0], "user-agent").rfind("seqstep-cpp/", 0), 0U);
  EXPECT_EQ(Value(attempts[1], "x-api-key"), "own");
}

TEST(Call, HasNoMetadataThatCannotBeSent) {
  const seqstep::Client client("localhost:1", Plaintext());
  for (const std::string value : {"a\nb", "\xc3\xbc", "\x7f"}) {
    EXPECT_THROW(client.NewContext({value, "outreach"}), std::invalid_argument);
    EXPECT_THROW(client.NewContext({"acme", value}), std::invalid_argument);
    EXPECT_THROW(client.NewContext({"acme", "outreach", value}), std::invalid_argument);
    EXPECT_THROW(client.NewContext({"acme", "outreach", "", value}), std::invalid_argument);
    seqstep::Options options;
    options.api_key = value;
    EXPECT_THROW(seqstep::Client("localhost:1", options), std::invalid_argument);
    const seqstep::Client secure("localhost:1");
    EXPECT_THROW(secure.NewContext({"acme", "outreach", "", value}), std::invalid_argument);
  }
}

TEST(Call, MayTakeAnyTime) {
  Server server(Applied);
  const seqstep::Client client(server.Target(), Plaintext());
  EXPECT_EQ(Update(client, 1, std::chrono::milliseconds::max()).outcome, Outcome::kApplied);
}

TEST(Plaintext, IsNothingThatHappensByAccident) {
  const std::string elsewhere = "seqstep.example.com:443";
  seqstep::Options unreadable;
  unreadable.ca_file = "/nowhere/ca.pem";
  EXPECT_THROW(seqstep::Client(elsewhere, unreadable), std::runtime_error);
  unreadable.ca_file = "";
  EXPECT_THROW(seqstep::Client(elsewhere, unreadable), std::runtime_error);
  seqstep::Options half;
  half.client_certificate_file = "/nowhere/tls.crt";
  EXPECT_THROW(seqstep::Client(elsewhere, half), std::runtime_error);
  EXPECT_THROW(seqstep::Client(elsewhere, Plaintext()), std::runtime_error);
  EXPECT_THROW(seqstep::Client("127.example.com:443", Plaintext()), std::runtime_error);
  auto both = Plaintext();
  both.ca_file = "/nowhere/ca.pem";
  EXPECT_THROW(seqstep::Client("localhost:1", both), std::runtime_error);
  for (const auto* target : {"localhost:1", "127.0.0.2:1", "[::1]:1", "unix:/tmp/seqstep.sock"}) {
    EXPECT_NO_THROW(seqstep::Client(target, Plaintext())) << target;
  }
  auto anywhere = Plaintext();
  anywhere.transport = seqstep::Transport::kPlaintextBeyondThisMachine;
  EXPECT_NO_THROW(seqstep::Client(elsewhere, anywhere));

  Server server(Applied);
  seqstep::Options options;
  options.api_key = "secret";
  EXPECT_EQ(Update(seqstep::Client(server.Target(), options), 1, std::chrono::seconds(1)).outcome, Outcome::kUnknown);
  EXPECT_TRUE(server.Attempts().empty());
}

// A certificate for localhost that vouches for itself.
class MutualTls : public testing::Test {
 protected:
  void SetUp() override {
    const std::string command =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -keyout " + key_ + " -out " +
        certificate_ + " -subj /CN=test -addext subjectAltName=DNS:localhost 2> /dev/null";
    ASSERT_EQ(std::system(command.c_str()), 0);
  }

  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string certificate_ = testing::TempDir() + "seqstep-tls.crt";
  std::string key_ = testing::TempDir() + "seqstep-tls.key";
};

TEST_F(MutualTls, BothSidesShowCertificates) {
  grpc::SslServerCredentialsOptions tls(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  tls.pem_key_cert_pairs.push_back({Read(key_), Read(certificate_)});
  tls.pem_root_certs = Read(certificate_);
  Server server(Applied, grpc::SslServerCredentials(tls));
  seqstep::Options options;
  options.api_key = "secret";
  const auto brief = std::chrono::seconds(1);
  EXPECT_EQ(Update(seqstep::Client(server.Target(), options), 1, brief).outcome, Outcome::kUnknown);
  options.ca_file = certificate_;
  EXPECT_EQ(Update(seqstep::Client(server.Target(), options), 1, brief).outcome, Outcome::kUnknown);
  EXPECT_TRUE(server.Attempts().empty());
  options.client_certificate_file = certificate_;
  options.client_key_file = key_;
  const seqstep::Client client(server.Target(), options);
  EXPECT_EQ(Update(client).outcome, Outcome::kApplied);
  auto call = Within(std::chrono::seconds(10));
  call.api_key = "own";
  EXPECT_EQ(client.UpdateStep(*client.NewContext(call), Change(1)).outcome, Outcome::kApplied);
  const auto attempts = server.Attempts();
  ASSERT_EQ(attempts.size(), 2U);
  EXPECT_EQ(Value(attempts[0], "x-api-key"), "secret");
  EXPECT_EQ(Value(attempts[1], "x-api-key"), "own");
}

int StatusOf(const std::string& environment, const std::string& arguments) {
  const std::string command = environment + " " UPDATE_STEP " " + arguments + " > /dev/null 2>&1";
  return WEXITSTATUS(std::system(command.c_str()));
}

TEST(Command, EndsWithTheStatusOfTheOutcome) {
  const std::string call = "acme outreach 7 101 Hello";
  const std::pair<Server::Answer, int> cases[] = {
      {Applied, 0},
      {Always(grpc::Status::OK, Response({kNotApplied})), 1},
      {Always(grpc::Status::OK, Response({kUnknown})), 3},
      {Always(grpc::Status::OK, Response({kPartially})), 4},
      {Always({grpc::StatusCode::INTERNAL, "broken", "\xff"}), 3},
  };
  for (const auto& [answer, expected] : cases) {
    Server server(answer);
    EXPECT_EQ(StatusOf("SEQSTEP_ADDRESS=" + server.Target(), "--plaintext " + call), expected);
  }
  EXPECT_EQ(StatusOf("", ""), 2);
  EXPECT_EQ(StatusOf("SEQSTEP_CA=/nowhere/ca.pem", call), 2);
  EXPECT_EQ(StatusOf("", "--plaintext \xc3\xbc outreach 7 101 Hello"), 2);
  EXPECT_EQ(StatusOf("SEQSTEP_ADDRESS=seqstep.example.com:443", "--plaintext " + call), 2);
}

}  // namespace
