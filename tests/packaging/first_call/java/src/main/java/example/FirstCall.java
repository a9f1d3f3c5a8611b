package example;

import com.engagement.v1.SequenceStepRecord;
import com.engagement.v1.StepTemplate;
import com.engagement.v1.UpdateStepRequest;
import io.github.seqstep.client.UpdateStep;
import io.grpc.ManagedChannel;
import java.io.IOException;
import java.time.Duration;

/** A program elsewhere that depends on io.github.seqstep:seqstep-client. */
final class FirstCall {

  public static void main(String[] args) throws IOException {
    UpdateStepRequest request =
        UpdateStepRequest.newBuilder()
            .setSequenceId("7")
            .setSequenceStepId("101")
            .setRecord(
                SequenceStepRecord.newBuilder()
                    .setTemplate(StepTemplate.newBuilder().setSubject(args[0])))
            .build();
    ManagedChannel channel = UpdateStep.channel(System.getenv("SEQSTEP_ADDRESS"), null);
    var metadata = UpdateStep.metadata(System.getenv("SEQSTEP_API_KEY"), "acme", "outreach");
    UpdateStep.Answer answer =
        UpdateStep.call(UpdateStep.stub(channel, metadata, Duration.ofSeconds(30)), request);
    channel.shutdownNow();
    if (answer.outcome() != UpdateStep.Outcome.CHANGED) {
      throw new IllegalStateException(answer.toString());
    }
    answer
        .envelope()
        .ifPresent(
            envelope ->
                envelope
                    .getChangesList()
                    .forEach(change -> System.out.println("Changed " + change.getField() + ".")));
  }

  private FirstCall() {}
}
