package io.github.seqstep.client;

import com.engagement.v1.Error;
import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.PrototypeMarshaller;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.List;
import java.util.Optional;

/** A call that did not succeed: by errors in its response, or by a status other than OK. */
public final class SeqstepException extends RuntimeException {

  private static final long serialVersionUID = 1L;

  private static final Metadata.Key<byte[]> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  private final transient Status status;
  private final transient Metadata trailers;
  private final transient List<Any> details;
  private final transient Message response;

  private SeqstepException(
      Status status, Metadata trailers, List<Any> details, Message response, Throwable cause) {
    super(message(status, response), cause);
    this.status = status;
    this.trailers = trailers;
    this.details = details;
    this.response = response;
  }

  /** By a response that has errors. */
  static SeqstepException of(Message response) {
    return new SeqstepException(Status.OK, new Metadata(), List.of(), response, null);
  }

  /** By the status of a call. */
  static SeqstepException of(StatusRuntimeException cause, MethodDescriptor<?, ?> method) {
    Metadata trailers = cause.getTrailers() == null ? new Metadata() : cause.getTrailers();
    List<Any> details = details(cause.getStatus(), trailers);
    Message response = null;
    if (method.getResponseMarshaller() instanceof PrototypeMarshaller<?> marshaller
        && marshaller.getMessagePrototype() instanceof Message prototype) {
      response = find(details, prototype.getClass()).orElse(null);
    }
    return new SeqstepException(cause.getStatus(), trailers, details, response, cause);
  }

  /** What became of the step. A read that failed never changed it, whatever this says. */
  public Outcome outcome() {
    return Outcome.of(errors());
  }

  /** The errors of the envelope; none if there is no envelope. */
  public List<Error> errors() {
    return response == null ? List.of() : Outcome.errors(response);
  }

  /** The envelope, from the response or from the details of the status, if it is of a type. */
  public <T extends Message> Optional<T> response(Class<T> type) {
    return Optional.ofNullable(response).filter(type::isInstance).map(type::cast);
  }

  /** The gRPC status; OK where the response has errors. */
  public Status status() {
    return status;
  }

  /**
   * The trailing metadata of a status other than OK: {@code x-request-id}, {@code x-error-code}.
   */
  public Metadata trailers() {
    return trailers;
  }

  /** One of the details of the status, such as {@code google.rpc.RetryInfo}. */
  public <T extends Message> Optional<T> detail(Class<T> type) {
    return find(details, type);
  }

  private static <T extends Message> Optional<T> find(List<Any> details, Class<T> type) {
    for (Any detail : details) {
      if (detail.is(type)) {
        try {
          return Optional.of(detail.unpack(type));
        } catch (InvalidProtocolBufferException e) {
          // As if it were not there.
        }
      }
    }
    return Optional.empty();
  }

  /** Of a status with the same code; StatusProto throws for others, and for what does not parse. */
  private static List<Any> details(Status status, Metadata trailers) {
    try {
      byte[] bytes = trailers.get(DETAILS);
      if (bytes != null) {
        var details = com.google.rpc.Status.parseFrom(bytes);
        if (details.getCode() == status.getCode().value()) {
          return details.getDetailsList();
        }
      }
    } catch (InvalidProtocolBufferException e) {
      // As if there were none.
    }
    return List.of();
  }

  private static String message(Status status, Message response) {
    List<Error> errors = response == null ? List.of() : Outcome.errors(response);
    return errors.isEmpty()
        ? status.getCode() + ": " + status.getDescription()
        : errors.get(0).getCode() + ": " + errors.get(0).getDetail();
  }
}
