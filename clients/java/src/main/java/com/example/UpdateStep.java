package com.example;

import com.engagement.v1.Error;
import com.engagement.v1.FieldChange;
import com.engagement.v1.SequenceStepRecord;
import com.engagement.v1.SequenceStepServiceGrpc;
import com.engagement.v1.SequenceStepServiceGrpc.SequenceStepServiceBlockingStub;
import com.engagement.v1.StepTemplate;
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
import java.util.Map;
import java.util.Optional;

/** Sets the subject of one step of a sequence, and tells what became of it. */
public final class UpdateStep {

  public static void main(String[] args) throws IOException {
    if (args.length != 5) {
      System.err.println("Arguments: CUSTOMER PROVIDER SEQUENCE STEP SUBJECT");
      System.exit(2);
    }
    Map<String, String> env = System.getenv();
    Metadata metadata = metadata(env.getOrDefault("SEQSTEP_API_KEY", ""), args[0], args[1]);
    UpdateStepRequest request =
        UpdateStepRequest.newBuilder()
            .setSequenceId(args[2])
            .setSequenceStepId(args[3])
            // What is not set stays as it is; an empty string is a value.
            .setRecord(
                SequenceStepRecord.newBuilder()
                    .setTemplate(StepTemplate.newBuilder().setSubject(args[4])))
            .build();

    // A program keeps one channel for all its calls.
    ManagedChannel channel =
        channel(env.getOrDefault("SEQSTEP_ADDRESS", "127.0.0.1:50051"), env.get("SEQSTEP_CA"));
    Answer answer;
    try {
      answer = call(stub(channel, metadata, Duration.ofSeconds(30)), request);
    } finally {
      channel.shutdownNow();
    }
    System.exit(tell(answer));
  }

  /** A channel to HOST:PORT, with TLS if a file with the authority's certificate is given. */
  static ManagedChannel channel(String address, String caFile) throws IOException {
    ChannelCredentials credentials =
        caFile == null
            ? InsecureChannelCredentials.create()
            : TlsChannelCredentials.newBuilder().trustManager(new File(caFile)).build();
    return Grpc.newChannelBuilder(address, credentials).build();
  }

  /** What every call has to carry. */
  static Metadata metadata(String apiKey, String customerId, String provider) {
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
  static SequenceStepServiceBlockingStub stub(
      ManagedChannel channel, Metadata metadata, Duration deadline) {
    return SequenceStepServiceGrpc.newBlockingStub(channel)
        .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata))
        .withDeadlineAfter(deadline);
  }

  /** The status of a call and the envelope, which comes with OK and in the details of other statuses. */
  record Answer(Status status, Optional<UpdateStepResponse> envelope) {

    Outcome outcome() {
      return envelope.map(Outcome::of).orElse(Outcome.UNKNOWN);
    }
  }

  static Answer call(SequenceStepServiceBlockingStub stub, UpdateStepRequest request) {
    try {
      return new Answer(Status.OK, Optional.of(stub.updateStep(request)));
    } catch (StatusRuntimeException e) {
      return new Answer(e.getStatus(), detail(e, UpdateStepResponse.class));
    }
  }

  /** The message of one type in the google.rpc.Status of a failed call. */
  static <T extends Message> Optional<T> detail(StatusRuntimeException failure, Class<T> type) {
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
  enum Outcome {
    CHANGED,
    NOTHING_TO_CHANGE,
    NOT_APPLIED,
    UNKNOWN,
    PARTIALLY_APPLIED;

    static Outcome of(UpdateStepResponse response) {
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

  /** Says what happened, and returns an exit status for it. */
  private static int tell(Answer answer) {
    UpdateStepResponse response = answer.envelope().orElse(UpdateStepResponse.getDefaultInstance());
    response.getWarningsList().forEach(w -> System.out.println("Note: " + w.getDetail()));
    for (FieldChange change : response.getChangesList()) {
      System.out.println("Changed " + change.getField() + ".");
    }
    for (Error error : response.getErrorsList()) {
      System.out.println(error.getCode() + ": " + error.getDetail());
      if (error.getMeta().hasRetryAfter()) {
        var wait = error.getMeta().getRetryAfter();
        double seconds = wait.getSeconds() + wait.getNanos() / 1e9;
        System.out.println("The same call can succeed after " + seconds + " seconds.");
      }
    }
    if (answer.envelope().isEmpty()) {
      // The service did not answer: it was not reached, the connection broke, the deadline passed.
      System.out.println(answer.status().getCode() + ": " + answer.status().getDescription());
    }
    return switch (answer.outcome()) {
      case CHANGED -> 0;
      case NOTHING_TO_CHANGE -> {
        System.out.println("Nothing to change: the step is like that already.");
        yield 0;
      }
      case NOT_APPLIED -> {
        System.out.println("The step was not changed.");
        yield 1;
      }
      case UNKNOWN -> {
        System.out.println("The step may have been changed. Repeat the call: that is always safe.");
        yield 3;
      }
      case PARTIALLY_APPLIED -> {
        System.out.println("Not all was changed. Deal with the error and repeat the call: it does the rest.");
        yield 4;
      }
    };
  }

  private UpdateStep() {}
}
