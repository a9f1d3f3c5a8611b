// A program elsewhere that depends on seqstep_client.
#include <seqstep/update_step.h>

#include <cstdlib>
#include <iostream>

int main(int, char** arguments) {
  engagement::v1::UpdateStepRequest request;
  request.set_sequence_id("7");
  request.set_sequence_step_id("101");
  request.mutable_record()->mutable_template_()->set_subject(arguments[1]);
  const auto ended = seqstep::Call(seqstep::Channel(std::getenv("SEQSTEP_ADDRESS"), ""), request,
                                   {{"x-customer-id", "acme"},
                                    {"x-provider-name", "outreach"},
                                    {"x-api-key", std::getenv("SEQSTEP_API_KEY")}},
                                   std::chrono::seconds(30));
  if (seqstep::OutcomeOf(ended) != seqstep::Outcome::kApplied) return 1;
  for (const auto& change : ended.response.changes()) std::cout << "Changed " << change.field() << ".\n";
}
