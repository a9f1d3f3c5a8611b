package io.github.seqstep.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.engagement.v1.ErrorOutcome;
import com.engagement.v1.UpdateStepResponse;
import io.grpc.Status;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class MainTest {

  private static final List<String> ARGUMENTS =
      List.of("--plaintext", "acme", "outreach", "7", "101", "Hello");

  private static int statusAfter(ScriptedServer.Answer answer) throws Exception {
    try (var server = new ScriptedServer(answer)) {
      return Main.run(
          ARGUMENTS, Map.of("SEQSTEP_ADDRESS", server.address(), "SEQSTEP_API_KEY", "the-key"));
    }
  }

  private static UpdateStepResponse failed(int outcome) {
    return UpdateStepResponse.newBuilder().addErrors(OutcomeTest.error(outcome)).build();
  }

  @Test
  void the_exit_status_says_what_became_of_the_step() throws Exception {
    assertEquals(0, statusAfter(ScriptedServer.ok(UpdateStepResponse.getDefaultInstance())));
    assertEquals(
        1, statusAfter(ScriptedServer.ok(failed(ErrorOutcome.ERROR_OUTCOME_NOT_APPLIED_VALUE))));
    assertEquals(3, statusAfter(ScriptedServer.ok(failed(99))));
    assertEquals(3, statusAfter(ScriptedServer.details(Status.INTERNAL, new byte[] {1})));
    assertEquals(
        4,
        statusAfter(ScriptedServer.ok(failed(ErrorOutcome.ERROR_OUTCOME_PARTIALLY_APPLIED_VALUE))));
  }

  @Test
  void wrong_usage_has_a_status_of_its_own() {
    assertEquals(2, Main.run(List.of("acme"), Map.of()));
    assertEquals(2, Main.run(ARGUMENTS, Map.of("SEQSTEP_ADDRESS", "example.com:443")));
    assertEquals(
        2, Main.run(ARGUMENTS.subList(1, 6), Map.of("SEQSTEP_CA", "/there/is/no/such.pem")));
  }
}
