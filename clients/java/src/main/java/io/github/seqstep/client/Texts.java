package io.github.seqstep.client;

import com.google.protobuf.Message;
import java.nio.charset.StandardCharsets;
import java.util.List;

/**
 * Refuses what would arrive as something else: protobuf and gRPC put a question mark in its place.
 */
final class Texts {

  private Texts() {}

  /**
   * Checks the texts of a request.
   *
   * @throws IllegalArgumentException one has half a character, as of an emoji that was cut.
   */
  static void check(Message request) {
    request
        .getAllFields()
        .forEach(
            (field, value) -> {
              for (Object each : value instanceof List<?> list ? list : List.of(value)) {
                if (each instanceof Message message) {
                  check(message);
                } else if (each instanceof String text
                    && !StandardCharsets.UTF_8.newEncoder().canEncode(text)) {
                  throw new IllegalArgumentException(field.getName() + " has half a character");
                }
              }
            });
  }

  /**
   * Checks a value of metadata, and returns it.
   *
   * @throws IllegalArgumentException it has other characters than printable ones of ASCII.
   */
  static String checkMetadata(String name, String value) {
    if (!value.chars().allMatch(each -> each >= ' ' && each <= '~')) {
      throw new IllegalArgumentException(
          name + " has a line break, or another character that is not printable ASCII");
    }
    return value;
  }
}
