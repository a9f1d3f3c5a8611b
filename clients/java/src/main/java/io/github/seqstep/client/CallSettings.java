package io.github.seqstep.client;

import io.grpc.Metadata;
import java.time.Duration;

/** What one call has beside its request: whose step it is, a deadline, metadata. Immutable. */
public final class CallSettings {

  /**
   * For calls that are not about a customer's steps, such as those of {@code ConnectionService}.
   */
  public static final CallSettings DEFAULT =
      new CallSettings(SeqstepClient.DEFAULT_DEADLINE, new Metadata());

  private final Duration deadline;
  private final Metadata metadata;

  private CallSettings(Duration deadline, Metadata metadata) {
    this.deadline = deadline;
    this.metadata = metadata;
  }

  /** For a customer by your own id, at a provider: {@code apollo}, {@code outreach}. */
  public static CallSettings of(String customerId, String provider) {
    return DEFAULT.with("x-customer-id", customerId).with("x-provider-name", provider);
  }

  /** How long the call may take, all attempts together. */
  public CallSettings withDeadline(Duration deadline) {
    return new CallSettings(deadline, metadata);
  }

  /** An id of your own, by which the service's log and its answers name the call. */
  public CallSettings withRequestId(String id) {
    return with("x-request-id", id);
  }

  /**
   * One more entry of metadata. An {@code x-api-key} stands in the place of the client's own.
   *
   * @throws IllegalArgumentException the value has other characters than printable ones of ASCII.
   */
  public CallSettings with(String name, String value) {
    Metadata more = metadata();
    more.put(key(name), Texts.checkMetadata(name, value));
    return new CallSettings(deadline, more);
  }

  Duration deadline() {
    return deadline;
  }

  Metadata metadata() {
    Metadata copy = new Metadata();
    copy.merge(metadata);
    return copy;
  }

  boolean hasApiKey() {
    return metadata.containsKey(key("x-api-key"));
  }

  static Metadata.Key<String> key(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }
}
