package io.github.seqstep.client;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Optional;

/** Compares what was observed with what a vector expects. */
final class Matcher {

  /** Says where and how an observation differs from what is expected; empty if it matches. */
  static Optional<String> mismatch(JsonElement expected, JsonElement seen) {
    return mismatch("", expected, seen);
  }

  /** The same below a path; `seen` is null for a member that is not there. */
  private static Optional<String> mismatch(String path, JsonElement expected, JsonElement seen) {
    if (expected.isJsonObject()) {
      JsonObject members = expected.getAsJsonObject();
      if (members.size() == 1 && members.keySet().iterator().next().startsWith("$")) {
        Map.Entry<String, JsonElement> condition = members.entrySet().iterator().next();
        return unless(holds(condition.getKey(), condition.getValue(), seen), path, expected, seen);
      }
      if (seen == null || !seen.isJsonObject()) {
        return unless(false, path, expected, seen);
      }
      for (String name : members.keySet()) {
        var fault =
            mismatch(path + "." + name, members.get(name), seen.getAsJsonObject().get(name));
        if (fault.isPresent()) {
          return fault;
        }
      }
      return Optional.empty();
    }
    if (expected.isJsonArray()) {
      JsonArray items = expected.getAsJsonArray();
      if (seen == null || !seen.isJsonArray() || seen.getAsJsonArray().size() != items.size()) {
        return unless(false, path, expected, seen);
      }
      for (int i = 0; i < items.size(); i++) {
        var fault =
            mismatch(path + "[" + i + "]", items.get(i), seen.getAsJsonArray().get(i));
        if (fault.isPresent()) {
          return fault;
        }
      }
      return Optional.empty();
    }
    boolean equal =
        isNumber(expected) && isNumber(seen)
            ? expected.getAsDouble() == seen.getAsDouble()
            : expected.equals(seen);
    return unless(equal, path, expected, seen);
  }

  private static boolean holds(String condition, JsonElement operand, JsonElement seen) {
    return switch (condition) {
      case "$absent" -> seen == null;
      case "$present" -> seen != null && !seen.isJsonNull() && !seen.equals(new JsonPrimitive(""));
      case "$contains" -> isString(seen) && seen.getAsString().contains(operand.getAsString());
      case "$bytes" ->
          isString(seen)
              && seen.getAsString().getBytes(StandardCharsets.UTF_8).length <= operand.getAsInt();
      case "$between" -> {
        JsonArray range = operand.getAsJsonArray();
        yield isNumber(seen)
            && range.get(0).getAsDouble() <= seen.getAsDouble()
            && seen.getAsDouble() <= range.get(1).getAsDouble();
      }
      default -> throw new IllegalArgumentException("a vector names " + condition);
    };
  }

  private static Optional<String> unless(
      boolean matches, String path, JsonElement expected, JsonElement seen) {
    if (matches) {
      return Optional.empty();
    }
    String where = path.isEmpty() ? "the observation" : path.substring(1);
    String found = seen == null ? "nothing" : shortened(seen.toString());
    return Optional.of(where + " is " + found + ", expected " + shortened(expected.toString()));
  }

  private static String shortened(String text) {
    return text.length() <= 500 ? text : text.substring(0, 500) + "…";
  }

  private static boolean isNumber(JsonElement element) {
    return element instanceof JsonPrimitive primitive && primitive.isNumber();
  }

  private static boolean isString(JsonElement element) {
    return element instanceof JsonPrimitive primitive && primitive.isString();
  }

  private Matcher() {}
}
