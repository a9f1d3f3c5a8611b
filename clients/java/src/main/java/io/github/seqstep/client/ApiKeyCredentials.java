package io.github.seqstep.client;

import io.grpc.CallCredentials;
import io.grpc.Metadata;
import io.grpc.SecurityLevel;
import io.grpc.Status;
import java.util.concurrent.Executor;

/** Sends the API key with a call, over TLS alone unless plaintext was asked for. */
final class ApiKeyCredentials extends CallCredentials {

  private final Metadata headers = new Metadata();
  private final boolean needsTls;

  ApiKeyCredentials(String key, boolean needsTls) {
    headers.put(CallSettings.key("x-api-key"), key);
    this.needsTls = needsTls;
  }

  @Override
  public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
    if (needsTls && call.getSecurityLevel() != SecurityLevel.PRIVACY_AND_INTEGRITY) {
      applier.fail(Status.UNAUTHENTICATED.withDescription("the API key is sent over TLS alone"));
    } else {
      applier.apply(headers);
    }
  }
}
