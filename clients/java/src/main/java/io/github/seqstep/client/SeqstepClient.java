package io.github.seqstep.client;

import com.engagement.v1.GetStepRequest;
import com.engagement.v1.GetStepResponse;
import com.engagement.v1.ListStepsRequest;
import com.engagement.v1.ListStepsResponse;
import com.engagement.v1.RevertStepChangeRequest;
import com.engagement.v1.RevertStepChangeResponse;
import com.engagement.v1.SequenceStepServiceGrpc;
import com.engagement.v1.UpdateStepRequest;
import com.engagement.v1.UpdateStepResponse;
import com.google.protobuf.Message;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelRegistry;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * Calls the service: a channel with TLS, retries, health checks and keepalive, and for each call
 * metadata, a deadline, the API key, and what became of the step.
 *
 * <p>A program keeps one for all its calls, from any thread. A call returns the response of a call
 * that succeeded and throws {@link SeqstepException} for every other end. It is cancelled by the
 * {@link io.grpc.Context} that it is made in, and by interrupting its thread.
 */
public final class SeqstepClient implements AutoCloseable {

  static final String VERSION = "0.1.0";

  /** How long a call may take that says nothing else; the service's own default, too. */
  public static final Duration DEFAULT_DEADLINE = Duration.ofSeconds(30);

  // A body may have 5 MiB. A call that does not fit is made, but not repeated.
  private static final long CALL_BUFFER_BYTES = 8L << 20;
  private static final long ALL_BUFFERS_BYTES = 64L << 20;

  /**
   * Repeats what did not reach the service, and what it ended while it stopped; every method is
   * safe to repeat. All attempts share the deadline of the call, and the service can put them off
   * or refuse them ({@code grpc-retry-pushback-ms}). Numbers are doubles, as in JSON.
   */
  private static final Map<String, ?> SERVICE_CONFIG =
      Map.of(
          "methodConfig",
          List.of(
              Map.of(
                  "name",
                  List.of(Map.of()),
                  "retryPolicy",
                  Map.of(
                      "maxAttempts",
                      4.0,
                      "initialBackoff",
                      "0.1s",
                      "maxBackoff",
                      "2s",
                      "backoffMultiplier",
                      2.0,
                      "retryableStatusCodes",
                      List.of("UNAVAILABLE", "CANCELLED")))),
          "retryThrottling",
          Map.of("maxTokens", 10.0, "tokenRatio", 0.1),
          "loadBalancingConfig",
          List.of(Map.of("round_robin", Map.of())),
          // Done by grpc-services, for round_robin alone.
          "healthCheckConfig",
          Map.of("serviceName", SequenceStepServiceGrpc.SERVICE_NAME));

  private final ManagedChannel managed;
  private final Channel channel;
  private final ApiKeyCredentials apiKey;

  private SeqstepClient(Builder builder) {
    managed = open(builder);
    channel = ClientInterceptors.intercept(managed, builder.interceptors);
    apiKey =
        builder.apiKey == null
            ? null
            : new ApiKeyCredentials(builder.apiKey, builder.plaintext == Plaintext.NEVER);
  }

  private static ManagedChannel open(Builder builder) {
    try {
      return Grpc.newChannelBuilder(builder.target, builder.credentials())
          .defaultServiceConfig(SERVICE_CONFIG)
          .disableServiceConfigLookUp()
          .enableRetry()
          .perRpcBufferLimit(CALL_BUFFER_BYTES)
          .retryBufferSize(ALL_BUFFERS_BYTES)
          .keepAliveTime(30, TimeUnit.SECONDS)
          .keepAliveTimeout(5, TimeUnit.SECONDS)
          .userAgent("seqstep-java/" + VERSION)
          .build();
    } catch (ManagedChannelRegistry.ProviderNotFoundException e) {
      // How the registry says that its only transport cannot use the certificates, too.
      throw new IllegalArgumentException(e.getMessage(), e);
    }
  }

  /** Begins a client of a target, such as HOST:PORT or {@code dns:///HOST:PORT}. */
  public static Builder builder(String target) {
    return new Builder(target);
  }

  /**
   * Changes a step. A failure's {@link SeqstepException#outcome()} says what became of the step.
   */
  public UpdateStepResponse updateStep(UpdateStepRequest request, CallSettings settings) {
    return call(SequenceStepServiceGrpc.getUpdateStepMethod(), request, settings);
  }

  /** Takes a change back, as an update that sets what was before; fails as one. */
  public RevertStepChangeResponse revertStepChange(
      RevertStepChangeRequest request, CallSettings settings) {
    return call(SequenceStepServiceGrpc.getRevertStepChangeMethod(), request, settings);
  }

  /** Reads a step. */
  public GetStepResponse getStep(GetStepRequest request, CallSettings settings) {
    return call(SequenceStepServiceGrpc.getGetStepMethod(), request, settings);
  }

  /** Reads a sequence and its steps. */
  public ListStepsResponse listSteps(ListStepsRequest request, CallSettings settings) {
    return call(SequenceStepServiceGrpc.getListStepsMethod(), request, settings);
  }

  /**
   * Calls any method of the service's contract, as {@code ConnectionServiceGrpc} has others.
   *
   * @throws SeqstepException the call ended with another status than OK, or with errors.
   * @throws IllegalArgumentException a text has half a character; nothing was sent.
   */
  public <Q extends Message, R extends Message> R call(
      MethodDescriptor<Q, R> method, Q request, CallSettings settings) {
    Texts.check(request);
    CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(settings.deadline());
    if (apiKey != null && !settings.hasApiKey()) {
      options = options.withCallCredentials(apiKey);
    }
    var headers = MetadataUtils.newAttachHeadersInterceptor(settings.metadata());
    R response;
    try {
      response =
          ClientCalls.blockingUnaryCall(
              ClientInterceptors.intercept(channel, headers), method, options, request);
    } catch (StatusRuntimeException e) {
      throw SeqstepException.of(e, method);
    }
    if (!Outcome.errors(response).isEmpty()) {
      throw SeqstepException.of(response);
    }
    return response;
  }

  /** Lets running calls end, for five seconds, and closes the connections. */
  @Override
  public void close() {
    managed.shutdown();
    try {
      managed.awaitTermination(5, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } finally {
      managed.shutdownNow();
    }
  }

  private enum Plaintext {
    NEVER,
    LOOPBACK,
    ANYWHERE
  }

  /**
   * How a client reaches the service. Unless it says otherwise, by TLS with the JDK's authorities.
   */
  public static final class Builder {

    private final String target;
    private final TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder();
    private boolean hasCertificates;
    private Plaintext plaintext = Plaintext.NEVER;
    private String apiKey;
    private List<ClientInterceptor> interceptors = List.of();

    private Builder(String target) {
      this.target = target;
    }

    /**
     * The key of the calling application; none where a client certificate stands for it.
     *
     * @throws IllegalArgumentException it cannot be sent, as with the line break of its file.
     */
    public Builder apiKey(String key) {
      apiKey = key == null ? null : Texts.checkMetadata("x-api-key", key);
      return this;
    }

    /**
     * Trusts the authorities of a PEM file, and no others.
     *
     * @throws IOException it cannot be read.
     */
    public Builder trust(File ca) throws IOException {
      hasCertificates = true;
      tls.trustManager(ca);
      return this;
    }

    /**
     * Shows a certificate, by its chain and its private key (PKCS #8), both in PEM.
     *
     * @throws IOException one of them cannot be read.
     */
    public Builder clientCertificate(File chain, File privateKey) throws IOException {
      hasCertificates = true;
      tls.keyManager(chain, privateKey);
      return this;
    }

    /** Has no TLS. The service has to be on this machine. */
    public Builder plaintextOnLoopback() {
      plaintext = Plaintext.LOOPBACK;
      return this;
    }

    /** Has no TLS wherever the service is: the API key and the texts can be read on the way. */
    public Builder plaintextAnywhere() {
      plaintext = Plaintext.ANYWHERE;
      return this;
    }

    /** Interceptors of all calls, such as for tracing; the last one is called first. */
    public Builder interceptors(ClientInterceptor... interceptors) {
      this.interceptors = List.of(interceptors);
      return this;
    }

    /**
     * The client; it connects with the first call.
     *
     * @throws IllegalArgumentException a certificate is not one, or plaintext would leave this
     *     machine or have no use for certificates.
     */
    public SeqstepClient build() {
      return new SeqstepClient(this);
    }

    private ChannelCredentials credentials() {
      if (plaintext == Plaintext.NEVER) {
        return tls.build();
      }
      if (hasCertificates) {
        throw new IllegalArgumentException("plaintext has no use for certificates");
      }
      if (plaintext == Plaintext.LOOPBACK && !Loopback.is(target)) {
        throw new IllegalArgumentException("plaintext would leave this machine: " + target);
      }
      return InsecureChannelCredentials.create();
    }
  }
}
