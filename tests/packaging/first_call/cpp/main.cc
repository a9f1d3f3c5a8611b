// A program elsewhere that depends on seqstep_client.
#include <seqstep/client.h>

#include <cstdlib>
#include <iostream>

int main(int, char** arguments) {
  seqstep::Options options;
  options.api_key = std::getenv("SEQSTEP_API_KEY");
  options.transport = seqstep::Transport::kPlaintext;
  const seqstep::Client client(std::getenv("SEQSTEP_ADDRESS"), options);
  engagement::v1::UpdateStepRequest request;
  request.set_sequence_id("7");
  request.set_sequence_step_id("101");
  request.mutable_record()->mutable_template_()->set_subject(arguments[1]);
  const auto result = client.UpdateStep(*client.NewContext({"acme", "outreach"}), request);
  if (result.outcome != seqstep::Outcome::kApplied) return 3;
  for (const auto& change : result.response->changes()) std::cout << "Changed " << change.field() << ".\n";
}
