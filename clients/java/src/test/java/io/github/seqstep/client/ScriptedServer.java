package io.github.seqstep.client;

import com.engagement.v1.SequenceStepServiceGrpc;
import com.engagement.v1.SequenceStepServiceGrpc.SequenceStepServiceImplBase;
import com.engagement.v1.UpdateStepRequest;
import com.engagement.v1.UpdateStepResponse;
import com.google.protobuf.Any;
import com.google.protobuf.Message;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import io.grpc.protobuf.services.HealthStatusManager;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.util.ArrayDeque;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.CopyOnWriteArrayList;

/** Answers the attempts of calls one by one as it was told, and the last answer from then on. */
final class ScriptedServer extends SequenceStepServiceImplBase
    implements ServerInterceptor, AutoCloseable {

  /** How an attempt ends. */
  interface Answer {
    void to(StreamObserver<UpdateStepResponse> caller);
  }

  /** The metadata of each attempt. */
  final List<Metadata> attempts = new CopyOnWriteArrayList<>();

  /** What it says of its health; SERVING unless told otherwise. */
  final HealthStatusManager health = new HealthStatusManager();

  private final Queue<Answer> answers = new ArrayDeque<>();
  private final Server server;

  ScriptedServer(Answer... answers) throws IOException {
    this.answers.addAll(List.of(answers));
    health.setStatus(SequenceStepServiceGrpc.SERVICE_NAME, ServingStatus.SERVING);
    server =
        Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create())
            .maxInboundMessageSize(8 << 20)
            .addService(this)
            .addService(health.getHealthService())
            .intercept(this)
            .build()
            .start();
  }

  String address() {
    return "127.0.0.1:" + server.getPort();
  }

  static Answer ok(UpdateStepResponse response) {
    return caller -> {
      caller.onNext(response);
      caller.onCompleted();
    };
  }

  static Answer status(Status status, Metadata trailers) {
    return caller -> caller.onError(status.asRuntimeException(trailers));
  }

  static Answer status(Status status) {
    return status(status, new Metadata());
  }

  /** A status with details of a code, which can be another one. */
  static Answer details(Status status, Status.Code code, Message detail) {
    var details =
        com.google.rpc.Status.newBuilder().setCode(code.value()).addDetails(Any.pack(detail));
    return details(status, details.build().toByteArray());
  }

  static Answer details(Status status, byte[] details) {
    Metadata trailers = new Metadata();
    trailers.put(
        Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER), details);
    return status(status, trailers);
  }

  @Override
  public void updateStep(UpdateStepRequest request, StreamObserver<UpdateStepResponse> caller) {
    Answer answer;
    synchronized (answers) {
      answer = answers.size() > 1 ? answers.remove() : answers.element();
    }
    answer.to(caller);
  }

  @Override
  public <Q, R> ServerCall.Listener<Q> interceptCall(
      ServerCall<Q, R> call, Metadata headers, ServerCallHandler<Q, R> next) {
    if (call.getMethodDescriptor().getBareMethodName().equals("UpdateStep")) {
      attempts.add(headers);
    }
    return next.startCall(call, headers);
  }

  @Override
  public void close() {
    server.shutdownNow();
  }
}
