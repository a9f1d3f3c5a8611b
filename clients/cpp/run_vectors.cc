// Calls what the vectors say, and prints what it observes, as tests/vectors/README.md describes.
#include <curl/curl.h>
#include <google/protobuf/stubs/common.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "google/rpc/error_details.pb.h"
#include "seqstep/client.h"

#if GOOGLE_PROTOBUF_VERSION >= 5026000
#include <google/protobuf/json/json.h>
namespace protobuf_json = google::protobuf::json;
#else
#include <google/protobuf/util/json_util.h>
#endif

namespace {

namespace fs = std::filesystem;
using engagement::v1::ConnectionService;
using engagement::v1::SequenceStepService;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::array kCodes = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

// A code that gRPC does not have is UNKNOWN.
std::string CodeOf(const grpc::Status& status) {
  const auto code = static_cast<size_t>(status.error_code());
  return code < kCodes.size() ? kCodes[code] : "UNKNOWN";
}

std::optional<std::string> Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

std::string Needed(const char* name) {
  auto value = Environment(name);
  if (!value) throw std::runtime_error(std::string(name) + " is not set");
  return *value;
}

std::string ReadFile(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

json JsonOf(const google::protobuf::Message& message) {
  std::string text;
#if GOOGLE_PROTOBUF_VERSION >= 5026000
  protobuf_json::PrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_fields_with_no_presence = true;
  const auto status = protobuf_json::MessageToJsonString(message, &text, options);
#else
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
#endif
  if (!status.ok()) throw std::runtime_error(status.ToString());
  return json::parse(text);
}

void Parse(const json& value, google::protobuf::Message* message) {
#if GOOGLE_PROTOBUF_VERSION >= 5026000
  const auto status = protobuf_json::JsonStringToMessage(value.dump(), message);
#else
  const auto status = google::protobuf::util::JsonStringToMessage(value.dump(), message);
#endif
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

// Calls the control API of the sandbox.
class Sandbox {
 public:
  explicit Sandbox(std::string url) : url_(std::move(url)), curl_(curl_easy_init(), curl_easy_cleanup) {}

  json Call(const std::string& method, const std::string& path, const json& body = nullptr) {
    const std::string url = url_ + "/_sandbox" + path;
    const std::string text = body.is_null() ? "" : body.dump();
    std::string answer;
    CURL* curl = curl_.get();
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method.c_str());
    if (method != "GET") {
      curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, static_cast<long>(text.size()));
      curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text.c_str());
    }
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
    curl_easy_setopt(
        curl, CURLOPT_WRITEFUNCTION, +[](char* data, size_t size, size_t count, std::string* to) {
          to->append(data, size * count);
          return size * count;
        });
    const CURLcode failure = curl_easy_perform(curl);
    if (failure != CURLE_OK) throw std::runtime_error(curl_easy_strerror(failure));
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 300) throw std::runtime_error("the sandbox answered " + method + " " + path + " with " + answer);
    return answer.empty() ? json() : json::parse(answer);
  }

 private:
  std::string url_;
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl_;
};

const char* NameOf(seqstep::Outcome outcome) {
  switch (outcome) {
    case seqstep::Outcome::kApplied:
      return "APPLIED";
    case seqstep::Outcome::kNotApplied:
      return "NOT_APPLIED";
    case seqstep::Outcome::kPartiallyApplied:
      return "PARTIALLY_APPLIED";
    case seqstep::Outcome::kUnknown:
      break;
  }
  return "UNKNOWN";
}

// Makes a call and returns all that its end says, but for its trailers.
using Method = std::function<json(const seqstep::Client&, grpc::ClientContext&, const json&)>;

template <typename Stub, typename Request, typename Response>
Method MethodOf(Stub& (seqstep::Client::*stub)() const,
                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*)) {
  return [=](const seqstep::Client& client, grpc::ClientContext& context, const json& value) {
    Request request;
    Parse(value, &request);
    const auto started = Clock::now();
    const auto result = client.Invoke((client.*stub)(), method, context, request);
    const std::chrono::duration<double> took = Clock::now() - started;
    json seen = {{"status", CodeOf(result.status)},
                 {"message", result.status.error_message()},
                 {"outcome", NameOf(result.outcome)},
                 {"seconds", took.count()}};
    if (result.response) seen["response"] = JsonOf(*result.response);
    const auto details = seqstep::Details(result.status);
    if (const auto bad = seqstep::Detail<google::rpc::BadRequest>(details)) {
      seen["violations"] = json::object();
      for (const auto& each : bad->field_violations()) seen["violations"][each.field()] = each.description();
    }
    if (const auto retry = seqstep::Detail<google::rpc::RetryInfo>(details)) {
      seen["retry_delay"] = retry->retry_delay().seconds() + retry->retry_delay().nanos() / 1e9;
    }
    if (const auto info = seqstep::Detail<google::rpc::ErrorInfo>(details)) seen["reason"] = info->reason();
    return seen;
  };
}

const std::map<std::string, Method>& Methods() {
  using Steps = SequenceStepService::Stub;
  using Connections = ConnectionService::Stub;
  const auto steps = &seqstep::Client::Steps;
  const auto connections = &seqstep::Client::Connections;
  static const std::map<std::string, Method> methods = {
      {"UpdateStep", MethodOf(steps, &Steps::UpdateStep)},
      {"GetStep", MethodOf(steps, &Steps::GetStep)},
      {"ListSteps", MethodOf(steps, &Steps::ListSteps)},
      {"ListStepChanges", MethodOf(steps, &Steps::ListStepChanges)},
      {"GetStepChange", MethodOf(steps, &Steps::GetStepChange)},
      {"RevertStepChange", MethodOf(steps, &Steps::RevertStepChange)},
      {"SetConnection", MethodOf(connections, &Connections::SetConnection)},
      {"GetConnection", MethodOf(connections, &Connections::GetConnection)},
      {"ListConnections", MethodOf(connections, &Connections::ListConnections)},
      {"CheckConnection", MethodOf(connections, &Connections::CheckConnection)},
      {"DeleteConnection", MethodOf(connections, &Connections::DeleteConnection)},
      {"DeleteStepChanges", MethodOf(connections, &Connections::DeleteStepChanges)},
  };
  return methods;
}

// A value with what was captured in the place of each `${NAME}`.
json Filled(json value, const json& captured) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (text.rfind("${", 0) == 0 && text.back() == '}') return captured.value(text.substr(2, text.size() - 3), json());
  } else if (value.is_structured()) {
    for (auto& member : value) member = Filled(member, captured);
  }
  return value;
}

json::json_pointer Pointer(std::string path) {
  std::replace(path.begin(), path.end(), '.', '/');
  return json::json_pointer("/" + path);
}

std::chrono::milliseconds Milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<long>(seconds * 1000));
}

// The metadata of a call as a vector has it. Its API key takes the place of the client's.
std::unique_ptr<grpc::ClientContext> ContextOf(const seqstep::Client& client, const json& call, const json& captured) {
  seqstep::Call options;
  options.timeout = Milliseconds(call.value("deadline_seconds", 10.0));
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const auto& pair : call.value("metadata", json::array())) {
    pairs.emplace_back(pair[0], Filled(pair[1], captured).get<std::string>());
    if (pairs.back().first == "x-api-key") options.api_key = "";
  }
  auto context = client.NewContext(options);
  for (const auto& [key, value] : pairs) context->AddMetadata(key, value);
  return context;
}

// Makes one call; whatever the client throws is a crash.
json Observe(const seqstep::Client& client, const Method& method, const json& call, const json& request,
             const json& captured) {
  const auto context = ContextOf(client, call, captured);
  std::future<json> running = std::async(std::launch::async, [&] { return method(client, *context, request); });
  if (call.contains("cancel_after_seconds")) {
    const auto limit = Milliseconds(call["cancel_after_seconds"]);
    if (running.wait_for(limit) == std::future_status::timeout) context->TryCancel();
  }
  try {
    json seen = running.get();
    seen["trailers"] = json::object();
    for (const auto& [key, value] : context->GetServerTrailingMetadata()) {
      if (key.starts_with("x-"))
        seen["trailers"][std::string(key.data(), key.size())] = std::string(value.data(), value.size());
    }
    return seen;
  } catch (const std::exception& error) {
    return {{"crashed", error.what()}};
  }
}

// Makes a call as many times at once as it says, and returns one observation for each.
std::vector<json> ObserveAll(const seqstep::Client& client, Sandbox& sandbox, const json& call, const json& captured) {
  const std::string name = call.value("method", "UpdateStep");
  const Method& method = Methods().at(name);
  json request = Filled(call.at("request"), captured);
  const json repeats = call.value("repeat", json::object());
  for (const auto& [path, repeat] : repeats.items()) {
    std::string text;
    for (int times = repeat.at("times"); times > 0; --times) text += repeat.at("text").get_ref<const std::string&>();
    request[Pointer("record." + path)] = text;
  }
  std::vector<std::future<json>> running;
  for (int times = call.value("times", 1); times > 0; --times) {
    running.push_back(std::async(std::launch::async, [&] { return Observe(client, method, call, request, captured); }));
  }
  std::vector<json> all;
  all.reserve(running.size());
  for (auto& each : running) all.push_back(each.get());
  const size_t received = sandbox.Call("GET", "/calls").size();
  for (auto& each : all) {
    if (each.contains("crashed")) continue;
    each["provider_calls"] = received;
    if (name != "UpdateStep" && name != "RevertStepChange") each.erase("outcome");
  }
  return all;
}

void Run(const seqstep::Client& client, Sandbox& sandbox, const json& vector) {
  sandbox.Call("POST", "/reset");
  for (const auto& order : vector.value("sandbox", json::array())) {
    sandbox.Call(order.at("method"), order.at("path"), order.value("body", json()));
  }
  json captured = json::object();
  json observations = json::array();
  for (const auto& call : vector.value("calls", json::array({vector}))) {
    const auto seen = ObserveAll(client, sandbox, call, captured);
    const json captures = call.value("capture", json::object());
    for (const auto& [name, path] : captures.items()) {
      captured[name] = seen.front().value(Pointer(path), json());
    }
    for (const auto& each : seen) observations.push_back(each);
  }
  std::cout << json({{"vector", vector.at("name")}, {"observations", observations}}).dump() << std::endl;
}

seqstep::Client ClientOfEnvironment() {
  seqstep::Options options;
  options.api_key = Needed("API_KEY");
  options.ca_file = Environment("CA");
  if (!options.ca_file) options.transport = seqstep::Transport::kPlaintext;
  options.client_certificate_file = Environment("CLIENT_CERTIFICATE");
  options.client_key_file = Environment("CLIENT_KEY");
  return seqstep::Client(Needed("TARGET"), options);
}

}  // namespace

int main() {
  try {
    const seqstep::Client client = ClientOfEnvironment();
    Sandbox sandbox(Needed("SANDBOX"));
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(Needed("VECTORS"))) {
      if (entry.path().extension() == ".json" && entry.path().filename() != "customers.json") files.push_back(entry);
    }
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
      const json topic = json::parse(ReadFile(file));
      for (const auto& vector : topic.at("vectors")) Run(client, sandbox, vector);
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
