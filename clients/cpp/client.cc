#include "seqstep/client.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace seqstep {
namespace {

using engagement::v1::ConnectionService;
using engagement::v1::SequenceStepService;

// Every method may be repeated: updates set absolute values. CANCELLED is how a call ends that was on its way to a
// replica when that replica said that it stops.
constexpr char kServiceConfig[] = R"({
  "loadBalancingConfig": [{"round_robin": {}}],
  "healthCheckConfig": {"serviceName": "engagement.v1.SequenceStepService"},
  "methodConfig": [{
    "name": [{"service": "engagement.v1.SequenceStepService"}, {"service": "engagement.v1.ConnectionService"}],
    "retryPolicy": {
      "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "2s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"]
    }
  }],
  "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1}
})";

// A body may have 5 MiB. A request that does not fit into this buffer would not be repeated.
constexpr int kRetryBufferBytes = 8 << 20;

// As good as none, and within what the clock can count.
constexpr std::chrono::hours kLongestTimeout{24 * 365};

// How long a call waits for a connection before it fails, or for a server that is serving.
constexpr std::chrono::seconds kPatience{1};

// The API key of one application. gRPC refuses to send it over a channel without TLS.
class ApiKey final : public grpc::MetadataCredentialsPlugin {
 public:
  explicit ApiKey(std::string key) : key_(std::move(key)) {}

  bool IsBlocking() const override { return false; }
  const char* GetType() const override { return "seqstep-api-key"; }
  grpc::Status GetMetadata(grpc::string_ref /*service_url*/, grpc::string_ref /*method_name*/,
                           const grpc::AuthContext& /*channel*/,
                           std::multimap<grpc::string, grpc::string>* metadata) override {
    metadata->emplace("x-api-key", key_);
    return grpc::Status::OK;
  }

 private:
  std::string key_;
};

// A value for metadata; by one with other characters gRPC ends the process.
const std::string& Sendable(const std::string& name, const std::string& value) {
  const auto odd = [](char each) { return each < ' ' || each > '~'; };
  if (std::any_of(value.begin(), value.end(), odd)) {
    throw std::invalid_argument(name + " has characters that cannot be sent");
  }
  return value;
}

std::shared_ptr<grpc::CallCredentials> CredentialsOf(const std::string& key) {
  return grpc::MetadataCredentialsFromPlugin(std::make_unique<ApiKey>(Sendable("x-api-key", key)));
}

std::string ReadPem(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  if (text.str().find("-----BEGIN ") == std::string::npos) {
    throw std::runtime_error(path + " cannot be read, or is not in PEM format");
  }
  return text.str();
}

bool IsOnThisMachine(const std::string& target) {
  if (target.rfind("unix:", 0) == 0) return true;
  const std::string host = target.substr(0, target.rfind(':'));
  // Only numbers and dots may follow, so that 127.example.com is another machine.
  const bool loopback = host.rfind("127.", 0) == 0 && host.find_first_not_of("0123456789.") == std::string::npos;
  return loopback || host == "localhost" || host == "[::1]";
}

std::shared_ptr<grpc::ChannelCredentials> ChannelCredentialsOf(const std::string& target, const Options& options) {
  if (options.transport == Transport::kTls) {
    if (options.client_certificate_file.has_value() != options.client_key_file.has_value()) {
      throw std::runtime_error("a client certificate needs its key, and a key its certificate");
    }
    grpc::SslCredentialsOptions tls;
    if (options.ca_file) tls.pem_root_certs = ReadPem(*options.ca_file);
    if (options.client_certificate_file) tls.pem_cert_chain = ReadPem(*options.client_certificate_file);
    if (options.client_key_file) tls.pem_private_key = ReadPem(*options.client_key_file);
    return grpc::SslCredentials(tls);
  }
  if (options.ca_file || options.client_certificate_file || options.client_key_file) {
    throw std::runtime_error("plaintext has no use for certificates");
  }
  if (options.transport == Transport::kPlaintext && !IsOnThisMachine(target)) {
    throw std::runtime_error(target + " is not on this machine, and plaintext would show the API key on the way");
  }
  return grpc::InsecureChannelCredentials();
}

grpc::ChannelArguments ArgumentsOf(const Options& options) {
  grpc::ChannelArguments arguments;
  arguments.SetUserAgentPrefix("seqstep-cpp/" SEQSTEP_VERSION);
  arguments.SetServiceConfigJSON(kServiceConfig);
  arguments.SetInt("grpc.per_rpc_retry_buffer_size", kRetryBufferBytes);
  // The server allows one ping every ten seconds.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // A server that was restarted is found again within the time that the retries take.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5'000);  // What one attempt to connect may take.
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5'000);
  if (options.transport != Transport::kTls) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

}  // namespace

google::rpc::Status Details(const grpc::Status& status) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details()) || details.code() != status.error_code()) details.Clear();
  return details;
}

Outcome OutcomeOf(const google::protobuf::RepeatedPtrField<engagement::v1::Error>& errors) {
  Outcome outcome = errors.empty() ? Outcome::kUnknown : Outcome::kNotApplied;
  for (const auto& error : errors) {
    switch (error.meta().outcome()) {
      case engagement::v1::ERROR_OUTCOME_NOT_APPLIED:
        break;
      case engagement::v1::ERROR_OUTCOME_PARTIALLY_APPLIED:
        outcome = Outcome::kPartiallyApplied;
        break;
      default:
        return Outcome::kUnknown;
    }
  }
  return outcome;
}

Client::Client(const std::string& target, const Options& options, Interceptors interceptors)
    : api_key_(options.api_key), plaintext_(options.transport != Transport::kTls) {
  channel_ = grpc::experimental::CreateCustomChannelWithInterceptors(target, ChannelCredentialsOf(target, options),
                                                                     ArgumentsOf(options), std::move(interceptors));
  if (!api_key_.empty()) credentials_ = CredentialsOf(api_key_);
  steps_ = SequenceStepService::NewStub(channel_);
  connections_ = ConnectionService::NewStub(channel_);
}

std::unique_ptr<grpc::ClientContext> Client::NewContext(const Call& call) const {
  auto context = std::make_unique<grpc::ClientContext>();
  const auto timeout = std::min<std::chrono::milliseconds>(call.timeout, kLongestTimeout);
  context->set_deadline(std::chrono::system_clock::now() + timeout);
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) context->AddMetadata(name, Sendable(name, value));
  };
  add("x-customer-id", call.customer_id);
  add("x-provider-name", call.provider_name);
  add("x-request-id", call.request_id);
  if (plaintext_) {
    add("x-api-key", call.api_key.value_or(api_key_));
  } else if (!call.api_key) {
    if (credentials_) context->set_credentials(credentials_);
  } else if (!call.api_key->empty()) {
    context->set_credentials(CredentialsOf(*call.api_key));
  }
  return context;
}

// A connection that breaks takes its health check with it, which gRPC counts as a failed one: until it has connected
// again, it fails every call at once, the retries too, and does not go on with connecting unless somebody waits.
void Client::AwaitServer(const grpc::ClientContext& context) const {
  if (channel_->GetState(true) != GRPC_CHANNEL_TRANSIENT_FAILURE) return;
  channel_->WaitForConnected(std::min(context.deadline(), std::chrono::system_clock::now() + kPatience));
}

}  // namespace seqstep
