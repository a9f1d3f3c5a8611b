package io.github.seqstep.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import com.engagement.v1.SequenceStepServiceGrpc;
import io.grpc.Attributes;
import io.grpc.CallCredentials;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.SecurityLevel;
import io.grpc.Status;
import org.junit.jupiter.api.Test;

class ApiKeyCredentialsTest {

  /** What was said of a call: metadata to send, or why it must not be made. */
  private static final class Applied extends CallCredentials.MetadataApplier {
    final Metadata headers = new Metadata();
    Status failure = Status.OK;

    static Applied to(SecurityLevel level, boolean needsTls) {
      Applied applied = new Applied();
      new ApiKeyCredentials("the-key", needsTls)
          .applyRequestMetadata(new Call(level), Runnable::run, applied);
      return applied;
    }

    @Override
    public void apply(Metadata more) {
      headers.merge(more);
    }

    @Override
    public void fail(Status status) {
      failure = status;
    }
  }

  private static final class Call extends CallCredentials.RequestInfo {
    private final SecurityLevel level;

    Call(SecurityLevel level) {
      this.level = level;
    }

    @Override
    public MethodDescriptor<?, ?> getMethodDescriptor() {
      return SequenceStepServiceGrpc.getUpdateStepMethod();
    }

    @Override
    public SecurityLevel getSecurityLevel() {
      return level;
    }

    @Override
    public String getAuthority() {
      return "example.com";
    }

    @Override
    public Attributes getTransportAttrs() {
      return Attributes.EMPTY;
    }
  }

  @Test
  void the_key_demands_tls() {
    for (SecurityLevel level : new SecurityLevel[] {SecurityLevel.NONE, SecurityLevel.INTEGRITY}) {
      Applied refused = Applied.to(level, true);
      assertEquals(Status.Code.UNAUTHENTICATED, refused.failure.getCode());
      assertFalse(refused.headers.containsKey(CallSettings.key("x-api-key")));
    }
  }

  @Test
  void it_is_sent_over_tls_and_where_plaintext_was_asked_for() {
    Applied secure = Applied.to(SecurityLevel.PRIVACY_AND_INTEGRITY, true);
    assertEquals("the-key", secure.headers.get(CallSettings.key("x-api-key")));
    Applied plaintext = Applied.to(SecurityLevel.NONE, false);
    assertEquals("the-key", plaintext.headers.get(CallSettings.key("x-api-key")));
    assertEquals(Status.Code.OK, plaintext.failure.getCode());
  }
}
