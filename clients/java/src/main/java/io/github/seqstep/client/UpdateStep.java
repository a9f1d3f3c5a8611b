package io.github.seqstep.client;

import com.engagement.v1.SequenceStepServiceGrpc;
import com.engagement.v1.SequenceStepServiceGrpc.SequenceStepServiceBlockingStub;
import com.engagement.v1.UpdateStepRequest;
import com.engagement.v1.UpdateStepResponse;
import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;
import java.time.Duration;
import java.util.Optional;

/**
 * Calls {@code SequenceStepService.UpdateStep}: a channel, metadata, a deadline, the envelope wherever it comes, and what
 * became of the step.
 */
public final class UpdateStep {

  /** A channel to HOST:PORT, with TLS if a file with the authority's certificate is given. */
  public static ManagedChannel channel(String address, String caFile) throws IOException {
    ChannelCredentials credentials =
        caFile == null
            ? InsecureChannelCredentials.create()
            : TlsChannelCredentials.newBuilder().trustManager(new File(caFile)).build();
    return Grpc.newChannelBuilder(address, credentials).build();
  }

  /** What every call has to carry. */
  public static Metadata metadata(String apiKey, String customerId, String provider) {
    Metadata metadata = new Metadata();
    metadata.put(key("x-api-key"), apiKey);
    metadata.put(key("x-customer-id"), customerId);
    metadata.put(key("x-provider-name"), provider);
    return metadata;
  }

  static Metadata.Key<String> key(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }

  /** The service as this caller sees it. The deadline runs from now on, so make a stub for each call. */
  public static SequenceStepServiceBlockingStub stub(
      ManagedChannel channel, Metadata metadata, Duration deadline) {
    return SequenceStepServiceGrpc.newBlockingStub(channel)
        .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata))
        .withDeadlineAfter(deadline);
  }

  /** The status of a call and the envelope, which comes with OK and in the details of other statuses. */
  public record Answer(Status status, Optional<UpdateStepResponse> envelope) {

    /** What became of the step; unknown if the service did not answer. */
    public Outcome outcome() {
      return envelope.map(Outcome::of).orElse(Outcome.UNKNOWN);
    }
  }

  /** Makes a call; a status other than OK is an answer too. */
  public static Answer call(SequenceStepServiceBlockingStub stub, UpdateStepRequest request) {
    try {
      return new Answer(Status.OK, Optional.of(stub.updateStep(request)));
    } catch (StatusRuntimeException e) {
      return new Answer(e.getStatus(), detail(e, UpdateStepResponse.class));
    }
  }

  /** The message of one type in the google.rpc.Status of a failed call. */
  public static <T extends Message> Optional<T> detail(StatusRuntimeException failure, Class<T> type) {
    for (Any detail : StatusProto.fromThrowable(failure).getDetailsList()) {
      if (detail.is(type)) {
        try {
          return Optional.of(detail.unpack(type));
        } catch (InvalidProtocolBufferException e) {
          return Optional.empty();
        }
      }
    }
    return Optional.empty();
  }

  /** What became of the step. */
  public enum Outcome {
    CHANGED,
    NOTHING_TO_CHANGE,
    NOT_APPLIED,
    UNKNOWN,
    PARTIALLY_APPLIED;

    /** What became of the step, by the response or by the envelope in a status. */
    public static Outcome of(UpdateStepResponse response) {
      if (response.getErrorsCount() == 0) {
        return response.getChangesCount() == 0 ? NOTHING_TO_CHANGE : CHANGED;
      }
      return switch (response.getErrors(0).getMeta().getOutcome()) {
        case ERROR_OUTCOME_NOT_APPLIED -> NOT_APPLIED;
        case ERROR_OUTCOME_PARTIALLY_APPLIED -> PARTIALLY_APPLIED;
        default -> UNKNOWN;
      };
    }
  }

  private UpdateStep() {}
}
