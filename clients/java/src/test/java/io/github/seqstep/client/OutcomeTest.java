package io.github.seqstep.client;

import static com.engagement.v1.ErrorOutcome.ERROR_OUTCOME_NOT_APPLIED_VALUE;
import static com.engagement.v1.ErrorOutcome.ERROR_OUTCOME_PARTIALLY_APPLIED_VALUE;
import static com.engagement.v1.ErrorOutcome.ERROR_OUTCOME_UNKNOWN_VALUE;
import static com.engagement.v1.ErrorOutcome.ERROR_OUTCOME_UNSPECIFIED_VALUE;
import static org.junit.jupiter.api.Assertions.assertEquals;

import com.engagement.v1.DeleteConnectionResponse;
import com.engagement.v1.Error;
import com.engagement.v1.ErrorMeta;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class OutcomeTest {

  private static final int NOT_APPLIED = ERROR_OUTCOME_NOT_APPLIED_VALUE;
  private static final int PARTIALLY = ERROR_OUTCOME_PARTIALLY_APPLIED_VALUE;

  static Error error(int outcome) {
    return Error.newBuilder()
        .setCode("A_CODE")
        .setMeta(ErrorMeta.newBuilder().setOutcomeValue(outcome))
        .build();
  }

  private static Outcome outcome(int... outcomes) {
    return Outcome.of(IntStream.of(outcomes).mapToObj(OutcomeTest::error).toList());
  }

  @Test
  void not_applied_is_what_all_errors_say() {
    assertEquals(Outcome.NOT_APPLIED, outcome(NOT_APPLIED));
    assertEquals(Outcome.NOT_APPLIED, outcome(NOT_APPLIED, NOT_APPLIED));
    assertEquals(Outcome.PARTIALLY_APPLIED, outcome(NOT_APPLIED, PARTIALLY, NOT_APPLIED));
  }

  @Test
  void one_that_does_not_know_outweighs_the_others() {
    for (int unknown :
        new int[] {ERROR_OUTCOME_UNKNOWN_VALUE, ERROR_OUTCOME_UNSPECIFIED_VALUE, 99}) {
      assertEquals(Outcome.UNKNOWN, outcome(NOT_APPLIED, PARTIALLY, unknown));
      assertEquals(Outcome.UNKNOWN, outcome(unknown, PARTIALLY));
    }
    assertEquals(Outcome.UNKNOWN, Outcome.of(List.of(Error.getDefaultInstance())));
    assertEquals(Outcome.UNKNOWN, outcome());
  }

  @Test
  void a_response_without_the_field_has_no_errors() {
    assertEquals(List.of(), Outcome.errors(DeleteConnectionResponse.getDefaultInstance()));
  }
}
