package io.github.seqstep.client;

import com.engagement.v1.Error;
import com.engagement.v1.SequenceStepRecord;
import com.engagement.v1.StepTemplate;
import com.engagement.v1.UpdateStepRequest;
import com.engagement.v1.UpdateStepResponse;
import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Sets the subject of one step of a sequence, and says what became of it. */
final class Main {

  private static final int USAGE = 2;

  public static void main(String[] args) {
    int status;
    try {
      status = run(List.of(args), System.getenv());
    } catch (RuntimeException e) {
      // The virtual machine's own status for it is 1, which says that nothing was changed.
      e.printStackTrace();
      status = status(Outcome.UNKNOWN);
    }
    System.exit(status);
  }

  static int run(List<String> args, Map<String, String> env) {
    List<String> words = new ArrayList<>(args);
    boolean plaintext = words.remove("--plaintext");
    if (words.size() != 5) {
      System.err.println("Arguments: [--plaintext] CUSTOMER PROVIDER SEQUENCE STEP SUBJECT");
      return USAGE;
    }
    UpdateStepRequest request =
        UpdateStepRequest.newBuilder()
            .setSequenceId(words.get(2))
            .setSequenceStepId(words.get(3))
            // What is not set stays as it is; an empty string is a value.
            .setRecord(
                SequenceStepRecord.newBuilder()
                    .setTemplate(StepTemplate.newBuilder().setSubject(words.get(4))))
            .build();
    SeqstepClient client;
    try {
      client = client(env, plaintext);
    } catch (IOException | IllegalArgumentException e) {
      System.err.println("This cannot be a connection: " + e.getMessage());
      return USAGE;
    }
    try (client) {
      UpdateStepResponse response =
          client.updateStep(request, CallSettings.of(words.get(0), words.get(1)));
      describe(response);
      if (response.getChangesCount() == 0) {
        System.out.println("Nothing to change: the step is like that already.");
      }
      return status(Outcome.APPLIED);
    } catch (SeqstepException e) {
      e.response(UpdateStepResponse.class).ifPresent(Main::describe);
      if (e.errors().isEmpty()) {
        // The service was not reached, the connection broke, the deadline passed.
        System.out.println(e.getMessage());
      }
      System.out.println(
          switch (e.outcome()) {
            case NOT_APPLIED -> "The step was not changed.";
            case PARTIALLY_APPLIED ->
                "Not all was changed. Deal with the error and repeat the call: it does the rest.";
            default -> "The step may have been changed. Repeat the call: that is always safe.";
          });
      return status(e.outcome());
    }
  }

  private static SeqstepClient client(Map<String, String> env, boolean plaintext)
      throws IOException {
    var builder = SeqstepClient.builder(env.getOrDefault("SEQSTEP_ADDRESS", "127.0.0.1:50051"));
    if (plaintext) {
      builder.plaintextOnLoopback();
    }
    if (env.containsKey("SEQSTEP_API_KEY")) {
      builder.apiKey(env.get("SEQSTEP_API_KEY"));
    }
    if (env.containsKey("SEQSTEP_CA")) {
      builder.trust(new File(env.get("SEQSTEP_CA")));
    }
    if (env.containsKey("SEQSTEP_CLIENT_CERTIFICATE")) {
      builder.clientCertificate(
          new File(env.get("SEQSTEP_CLIENT_CERTIFICATE")),
          new File(env.getOrDefault("SEQSTEP_CLIENT_KEY", "")));
    }
    return builder.build();
  }

  private static void describe(UpdateStepResponse response) {
    response.getWarningsList().forEach(each -> System.out.println("Note: " + each.getDetail()));
    response
        .getChangesList()
        .forEach(each -> System.out.println("Changed " + each.getField() + "."));
    for (Error error : response.getErrorsList()) {
      System.out.println(error.getCode() + ": " + error.getDetail());
      if (error.getMeta().hasRetryAfter()) {
        var wait = error.getMeta().getRetryAfter();
        double seconds = wait.getSeconds() + wait.getNanos() / 1e9;
        System.out.println("The same call can succeed after " + seconds + " seconds.");
      }
    }
  }

  private static int status(Outcome outcome) {
    return switch (outcome) {
      case APPLIED -> 0;
      case NOT_APPLIED -> 1;
      case UNKNOWN -> 3;
      case PARTIALLY_APPLIED -> 4;
    };
  }

  private Main() {}
}
