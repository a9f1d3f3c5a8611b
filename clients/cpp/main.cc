// Changes the subject of a step and says what became of it:
//   SEQSTEP_API_KEY=… update-step [--plaintext] CUSTOMER PROVIDER SEQUENCE STEP SUBJECT
// The exit status is 0 if the step is as asked, 1 if it was not changed, 2 for wrong usage, 3 if it is not known what
// became of the step, 4 if it was changed in part.
#include <cstdlib>
#include <exception>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "seqstep/client.h"

namespace {

constexpr int kWrongUsage = 2;

std::optional<std::string> Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

int ExitStatus(seqstep::Outcome outcome) {
  switch (outcome) {
    case seqstep::Outcome::kApplied:
      return 0;
    case seqstep::Outcome::kNotApplied:
      return 1;
    case seqstep::Outcome::kPartiallyApplied:
      return 4;
    case seqstep::Outcome::kUnknown:
      break;
  }
  return 3;
}

void Print(const engagement::v1::UpdateStepResponse& response) {
  for (const auto& change : response.changes()) std::cout << "Changed " << change.field() << ".\n";
  for (const auto& warning : response.warnings()) {
    std::cout << warning.problem_type() << ": " << warning.detail() << '\n';
  }
  for (const auto& error : response.errors()) {
    std::cerr << error.code() << ": " << error.detail() << '\n';
    if (error.meta().has_retry_after()) {
      std::cerr << "  repeat the call in " << error.meta().retry_after().seconds() << " s\n";
    }
  }
}

int Run(std::vector<std::string> arguments) {
  seqstep::Options options;
  if (!arguments.empty() && arguments.front() == "--plaintext") {
    options.transport = seqstep::Transport::kPlaintext;
    arguments.erase(arguments.begin());
  }
  if (arguments.size() != 5) {
    std::cerr << "usage: update-step [--plaintext] CUSTOMER PROVIDER SEQUENCE STEP SUBJECT\n";
    return kWrongUsage;
  }
  options.api_key = Environment("SEQSTEP_API_KEY").value_or("");
  options.ca_file = Environment("SEQSTEP_CA");
  options.client_certificate_file = Environment("SEQSTEP_CLIENT_CERTIFICATE");
  options.client_key_file = Environment("SEQSTEP_CLIENT_KEY");
  const seqstep::Client client(Environment("SEQSTEP_ADDRESS").value_or("127.0.0.1:50051"), options);

  engagement::v1::UpdateStepRequest request;
  request.set_sequence_id(arguments[2]);
  request.set_sequence_step_id(arguments[3]);
  request.mutable_record()->mutable_template_()->set_subject(arguments[4]);
  const auto context = client.NewContext({arguments[0], arguments[1]});
  const auto result = client.UpdateStep(*context, request);
  if (!result.status.ok()) std::cerr << result.status.error_code() << ": " << result.status.error_message() << '\n';
  if (result.response) Print(*result.response);
  return ExitStatus(result.outcome);
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return Run({arguments + 1, arguments + count});
  } catch (const std::exception& error) {
    // It comes before the call is sent.
    std::cerr << error.what() << '\n';
    return kWrongUsage;
  }
}
