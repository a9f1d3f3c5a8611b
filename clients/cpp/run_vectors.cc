// Runs the vectors as tests/vectors/README.md tells.
#include <curl/curl.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

#include "google/rpc/error_details.pb.h"
#include "matcher.h"
#include "seqstep/update_step.h"

namespace {

namespace fs = std::filesystem;
using engagement::v1::SequenceStepService;
using nlohmann::json;

constexpr const char* kCodes[] = {"OK",
                                  "CANCELLED",
                                  "UNKNOWN",
                                  "INVALID_ARGUMENT",
                                  "DEADLINE_EXCEEDED",
                                  "NOT_FOUND",
                                  "ALREADY_EXISTS",
                                  "PERMISSION_DENIED",
                                  "RESOURCE_EXHAUSTED",
                                  "FAILED_PRECONDITION",
                                  "ABORTED",
                                  "OUT_OF_RANGE",
                                  "UNIMPLEMENTED",
                                  "INTERNAL",
                                  "UNAVAILABLE",
                                  "DATA_LOSS",
                                  "UNAUTHENTICATED"};

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string ReadFile(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

void Check(const google::protobuf::util::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

json JsonOf(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  Check(google::protobuf::util::MessageToJsonString(message, &text, options));
  return json::parse(text);
}

// Calls the sandbox's control API.
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
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, +[](char* data, size_t size, size_t count, std::string* to) {
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

void Parse(const json& vector, google::protobuf::Message& message) {
  json request = vector.at("request");
  const json repeats = vector.value("repeat", json::object());
  for (const auto& [path, repeat] : repeats.items()) {
    std::string pointer = "/record/" + path;
    std::replace(pointer.begin(), pointer.end(), '.', '/');
    std::string text;
    for (int times = repeat.at("times"); times > 0; --times) text += repeat.at("text").get<std::string>();
    request[json::json_pointer(pointer)] = text;
  }
  Check(google::protobuf::util::JsonStringToMessage(request.dump(), &message));
}

seqstep::Metadata MetadataOf(const json& vector) {
  seqstep::Metadata metadata;
  bool has_key = false;
  for (const auto& pair : vector.at("metadata")) {
    metadata.emplace_back(pair[0], pair[1]);
    has_key |= pair[0] == "x-api-key";
  }
  if (!has_key) metadata.emplace_back("x-api-key", Environment("API_KEY"));
  return metadata;
}

// Makes a call, and tells all that its end tells.
template <typename Request, typename Response>
json Observed(const json& vector, const std::shared_ptr<grpc::Channel>& channel,
              grpc::Status (SequenceStepService::Stub::*method)(grpc::ClientContext*, const Request&, Response*)) {
  Request request;
  Parse(vector, request);
  const std::chrono::seconds deadline(vector.value("deadline_seconds", 10));
  const auto ended = seqstep::CallMethod(channel, method, request, MetadataOf(vector), deadline);
  json seen = {{"status", kCodes[ended.status.error_code()]},
               {"message", ended.status.error_message()},
               {"trailers", json::object()}};
  if (const auto envelope = seqstep::Envelope(ended)) seen["response"] = JsonOf(*envelope);
  for (const auto& [key, value] : ended.trailers) {
    if (key.rfind("x-", 0) == 0) seen["trailers"][key] = value;
  }
  const auto details = seqstep::Details(ended.status);
  if (const auto bad = seqstep::Detail<google::rpc::BadRequest>(details)) {
    seen["violations"] = json::object();
    for (const auto& each : bad->field_violations()) seen["violations"][each.field()] = each.description();
  }
  if (const auto retry = seqstep::Detail<google::rpc::RetryInfo>(details)) {
    seen["retry_delay"] = retry->retry_delay().seconds() + retry->retry_delay().nanos() / 1e9;
  }
  if (const auto info = seqstep::Detail<google::rpc::ErrorInfo>(details)) seen["reason"] = info->reason();
  return seen;
}

std::string Run(const json& vector, const std::shared_ptr<grpc::Channel>& channel, Sandbox& sandbox) {
  sandbox.Call("POST", "/reset");
  const json orders = vector.value("sandbox", json::array());
  for (const auto& order : orders) {
    sandbox.Call(order.at("method"), order.at("path"), order.value("body", json()));
  }
  const std::string method = vector.value("method", "UpdateStep");
  json seen = method == "GetStep"     ? Observed(vector, channel, &SequenceStepService::Stub::GetStep)
              : method == "ListSteps" ? Observed(vector, channel, &SequenceStepService::Stub::ListSteps)
                                      : Observed(vector, channel, &SequenceStepService::Stub::UpdateStep);
  seen["provider_calls"] = sandbox.Call("GET", "/calls").size();
  return Mismatch("the observation", vector.at("expect"), &seen);
}

bool Passes(const json& vector, const std::shared_ptr<grpc::Channel>& channel, Sandbox& sandbox) {
  const std::string name = vector.at("name");
  std::string fault;
  try {
    fault = Run(vector, channel, sandbox);
  } catch (const std::exception& error) {
    fault = error.what();
  }
  std::replace(fault.begin(), fault.end(), '\n', ' ');
  std::cout << (fault.empty() ? "passed " + name : "failed " + name + ": " + fault) << std::endl;
  return fault.empty();
}

}  // namespace

int main() {
  const std::string ca = Environment("CA");
  const auto channel = seqstep::Channel(Environment("TARGET"), ca.empty() ? "" : ReadFile(ca), /*retries=*/false);
  Sandbox sandbox(Environment("SANDBOX"));
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(Environment("VECTORS"))) {
    if (entry.path().extension() == ".json" && entry.path().filename() != "customers.json") files.push_back(entry);
  }
  std::sort(files.begin(), files.end());
  bool all = true;
  for (const auto& file : files) {
    const json topic = json::parse(ReadFile(file));
    for (const auto& vector : topic.at("vectors")) all &= Passes(vector, channel, sandbox);
  }
  return all ? 0 : 1;
}
