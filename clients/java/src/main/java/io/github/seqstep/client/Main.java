package io.github.seqstep.client;

import com.engagement.v1.Error;
import com.engagement.v1.FieldChange;
import com.engagement.v1.SequenceStepRecord;
import com.engagement.v1.StepTemplate;
import com.engagement.v1.UpdateStepRequest;
import com.engagement.v1.UpdateStepResponse;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import java.io.IOException;
import java.time.Duration;
import java.util.Map;

/** Sets the subject of one step of a sequence, and tells what became of it. */
final class Main {

  public static void main(String[] args) throws IOException {
    if (args.length != 5) {
      System.err.println("Arguments: CUSTOMER PROVIDER SEQUENCE STEP SUBJECT");
      System.exit(2);
    }
    Map<String, String> env = System.getenv();
    Metadata metadata = UpdateStep.metadata(env.getOrDefault("SEQSTEP_API_KEY", ""), args[0], args[1]);
    UpdateStepRequest request =
        UpdateStepRequest.newBuilder()
            .setSequenceId(args[2])
            .setSequenceStepId(args[3])
            // What is not set stays as it is; an empty string is a value.
            .setRecord(
                SequenceStepRecord.newBuilder()
                    .setTemplate(StepTemplate.newBuilder().setSubject(args[4])))
            .build();

    // A program keeps one channel for all its calls.
    ManagedChannel channel =
        UpdateStep.channel(env.getOrDefault("SEQSTEP_ADDRESS", "127.0.0.1:50051"), env.get("SEQSTEP_CA"));
    UpdateStep.Answer answer;
    try {
      answer = UpdateStep.call(UpdateStep.stub(channel, metadata, Duration.ofSeconds(30)), request);
    } finally {
      channel.shutdownNow();
    }
    System.exit(tell(answer));
  }

  /** Says what happened, and returns an exit status for it. */
  private static int tell(UpdateStep.Answer answer) {
    UpdateStepResponse response = answer.envelope().orElse(UpdateStepResponse.getDefaultInstance());
    response.getWarningsList().forEach(w -> System.out.println("Note: " + w.getDetail()));
    for (FieldChange change : response.getChangesList()) {
      System.out.println("Changed " + change.getField() + ".");
    }
    for (Error error : response.getErrorsList()) {
      System.out.println(error.getCode() + ": " + error.getDetail());
      if (error.getMeta().hasRetryAfter()) {
        var wait = error.getMeta().getRetryAfter();
        double seconds = wait.getSeconds() + wait.getNanos() / 1e9;
        System.out.println("The same call can succeed after " + seconds + " seconds.");
      }
    }
    if (answer.envelope().isEmpty()) {
      // The service did not answer: it was not reached, the connection broke, the deadline passed.
      System.out.println(answer.status().getCode() + ": " + answer.status().getDescription());
    }
    return switch (answer.outcome()) {
      case CHANGED -> 0;
      case NOTHING_TO_CHANGE -> {
        System.out.println("Nothing to change: the step is like that already.");
        yield 0;
      }
      case NOT_APPLIED -> {
        System.out.println("The step was not changed.");
        yield 1;
      }
      case UNKNOWN -> {
        System.out.println("The step may have been changed. Repeat the call: that is always safe.");
        yield 3;
      }
      case PARTIALLY_APPLIED -> {
        System.out.println("Not all was changed. Deal with the error and repeat the call: it does the rest.");
        yield 4;
      }
    };
  }

  private Main() {}
}
