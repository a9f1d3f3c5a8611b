package io.github.seqstep.client;

import com.engagement.v1.Error;
import com.google.protobuf.Message;
import java.util.List;

/** What became of the step. */
public enum Outcome {
  /** The step may have been changed. Repeating the call is safe and settles it. */
  UNKNOWN,
  /** Nothing was changed. */
  NOT_APPLIED,
  /** Some of it was changed; repeating the call does the rest, once the error is dealt with. */
  PARTIALLY_APPLIED,
  /** The step is as asked. */
  APPLIED;

  /**
   * By the errors of a failed call; one without any did not come from the service as it is meant.
   */
  static Outcome of(List<Error> errors) {
    Outcome outcome = errors.isEmpty() ? UNKNOWN : NOT_APPLIED;
    for (Error error : errors) {
      switch (error.getMeta().getOutcome()) {
        case ERROR_OUTCOME_NOT_APPLIED -> {}
        case ERROR_OUTCOME_PARTIALLY_APPLIED -> outcome = PARTIALLY_APPLIED;
        // Also what this version of the client does not know.
        default -> {
          return UNKNOWN;
        }
      }
    }
    return outcome;
  }

  /** The errors of a response; none for one whose type has no such field. */
  static List<Error> errors(Message response) {
    var field = response.getDescriptorForType().findFieldByName("errors");
    return field == null
        ? List.of()
        : ((List<?>) response.getField(field)).stream().map(Error.class::cast).toList();
  }
}
