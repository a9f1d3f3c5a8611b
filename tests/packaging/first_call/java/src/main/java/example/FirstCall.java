package example;

import com.engagement.v1.SequenceStepRecord;
import com.engagement.v1.StepTemplate;
import com.engagement.v1.UpdateStepRequest;
import com.engagement.v1.UpdateStepResponse;
import io.github.seqstep.client.CallSettings;
import io.github.seqstep.client.SeqstepClient;

/** A program elsewhere that depends on io.github.seqstep:seqstep-client. */
final class FirstCall {

  public static void main(String[] args) {
    UpdateStepRequest request =
        UpdateStepRequest.newBuilder()
            .setSequenceId("7")
            .setSequenceStepId("101")
            .setRecord(
                SequenceStepRecord.newBuilder()
                    .setTemplate(StepTemplate.newBuilder().setSubject(args[0])))
            .build();
    try (SeqstepClient client =
        SeqstepClient.builder(System.getenv("SEQSTEP_ADDRESS"))
            .apiKey(System.getenv("SEQSTEP_API_KEY"))
            .plaintextOnLoopback()
            .build()) {
      UpdateStepResponse response =
          client.updateStep(request, CallSettings.of("acme", "outreach"));
      response
          .getChangesList()
          .forEach(change -> System.out.println("Changed " + change.getField() + "."));
    }
  }

  private FirstCall() {}
}
