// Changes the subject of a step and tells what became of it:
//   SEQSTEP_API_KEY=… update-step CUSTOMER PROVIDER SEQUENCE STEP SUBJECT
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include "seqstep/update_step.h"

namespace {

std::string Environment(const char* name, const std::string& otherwise = "") {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 6) {
    std::cerr << "usage: update-step CUSTOMER PROVIDER SEQUENCE STEP SUBJECT\n";
    return 2;
  }
  const std::string ca = Environment("SEQSTEP_CA");
  const auto channel =
      seqstep::Channel(Environment("SEQSTEP_ADDRESS", "127.0.0.1:50051"), ca.empty() ? "" : ReadFile(ca));
  engagement::v1::UpdateStepRequest request;
  request.set_sequence_id(arguments[3]);
  request.set_sequence_step_id(arguments[4]);
  request.mutable_record()->mutable_template_()->set_subject(arguments[5]);
  const auto ended = seqstep::Call(channel, request,
                                       {{"x-customer-id", arguments[1]},
                                        {"x-provider-name", arguments[2]},
                                        {"x-api-key", Environment("SEQSTEP_API_KEY")}},
                                       std::chrono::seconds(30));

  if (!ended.status.ok()) std::cout << ended.status.error_code() << ": " << ended.status.error_message() << '\n';
  if (const auto envelope = seqstep::Envelope(ended)) {
    for (const auto& change : envelope->changes()) std::cout << "Changed " << change.field() << ".\n";
    for (const auto& warning : envelope->warnings()) {
      std::cout << warning.problem_type() << ": " << warning.detail() << '\n';
    }
    for (const auto& error : envelope->errors()) {
      std::cout << error.code() << ": " << error.detail() << '\n';
      if (error.meta().has_retry_after()) {
        std::cout << "  repeat the call in " << error.meta().retry_after().seconds() << " s\n";
      }
    }
  }
  switch (seqstep::OutcomeOf(ended)) {
    case seqstep::Outcome::kApplied:
      return 0;
    case seqstep::Outcome::kNotApplied:
      return 1;
    case seqstep::Outcome::kPartiallyApplied:
      return 4;
    default:
      return 3;
  }
}
