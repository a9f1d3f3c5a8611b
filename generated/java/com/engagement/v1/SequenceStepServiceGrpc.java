package com.engagement.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * Reads and changes the steps of a customer's sequences, at whichever provider the customer uses.
 * Every call carries metadata:
 *   - `x-customer-id` (required): the caller's own id of its customer.
 *   - `x-provider-name` (required): `apollo`, `outreach` or `salesloft`; case and surrounding space do not matter.
 *   - `x-api-key`: identifies the calling application, unless a client certificate does.
 *   - `x-request-id` (optional): comes back in the trailing metadata and in `meta.request_id`; made when absent.
 *   - `x-error-mode` (optional): `envelope` (the default) or `status`, see `UpdateStep`.
 * A value is 1 to 255 printable ASCII characters. Giving a key twice with different values is an error.
 * </pre>
 */
@javax.annotation.Generated(
    value = "by gRPC proto compiler",
    comments = "Source: engagement/v1/sequence_step_service.proto")
@io.grpc.stub.annotations.GrpcGenerated
public final class SequenceStepServiceGrpc {

  private SequenceStepServiceGrpc() {}

  public static final String SERVICE_NAME = "engagement.v1.SequenceStepService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<com.engagement.v1.UpdateStepRequest,
      com.engagement.v1.UpdateStepResponse> getUpdateStepMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "UpdateStep",
      requestType = com.engagement.v1.UpdateStepRequest.class,
      responseType = com.engagement.v1.UpdateStepResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<com.engagement.v1.UpdateStepRequest,
      com.engagement.v1.UpdateStepResponse> getUpdateStepMethod() {
    io.grpc.MethodDescriptor<com.engagement.v1.UpdateStepRequest, com.engagement.v1.UpdateStepResponse> getUpdateStepMethod;
    if ((getUpdateStepMethod = SequenceStepServiceGrpc.getUpdateStepMethod) == null) {
      synchronized (SequenceStepServiceGrpc.class) {
        if ((getUpdateStepMethod = SequenceStepServiceGrpc.getUpdateStepMethod) == null) {
          SequenceStepServiceGrpc.getUpdateStepMethod = getUpdateStepMethod =
              io.grpc.MethodDescriptor.<com.engagement.v1.UpdateStepRequest, com.engagement.v1.UpdateStepResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "UpdateStep"))
              .setIdempotent(true)
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.UpdateStepRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.UpdateStepResponse.getDefaultInstance()))
              .setSchemaDescriptor(new SequenceStepServiceMethodDescriptorSupplier("UpdateStep"))
              .build();
        }
      }
    }
    return getUpdateStepMethod;
  }

  private static volatile io.grpc.MethodDescriptor<com.engagement.v1.GetStepRequest,
      com.engagement.v1.GetStepResponse> getGetStepMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetStep",
      requestType = com.engagement.v1.GetStepRequest.class,
      responseType = com.engagement.v1.GetStepResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<com.engagement.v1.GetStepRequest,
      com.engagement.v1.GetStepResponse> getGetStepMethod() {
    io.grpc.MethodDescriptor<com.engagement.v1.GetStepRequest, com.engagement.v1.GetStepResponse> getGetStepMethod;
    if ((getGetStepMethod = SequenceStepServiceGrpc.getGetStepMethod) == null) {
      synchronized (SequenceStepServiceGrpc.class) {
        if ((getGetStepMethod = SequenceStepServiceGrpc.getGetStepMethod) == null) {
          SequenceStepServiceGrpc.getGetStepMethod = getGetStepMethod =
              io.grpc.MethodDescriptor.<com.engagement.v1.GetStepRequest, com.engagement.v1.GetStepResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetStep"))
              .setSafe(true)
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.GetStepRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.GetStepResponse.getDefaultInstance()))
              .setSchemaDescriptor(new SequenceStepServiceMethodDescriptorSupplier("GetStep"))
              .build();
        }
      }
    }
    return getGetStepMethod;
  }

  private static volatile io.grpc.MethodDescriptor<com.engagement.v1.ListStepsRequest,
      com.engagement.v1.ListStepsResponse> getListStepsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListSteps",
      requestType = com.engagement.v1.ListStepsRequest.class,
      responseType = com.engagement.v1.ListStepsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<com.engagement.v1.ListStepsRequest,
      com.engagement.v1.ListStepsResponse> getListStepsMethod() {
    io.grpc.MethodDescriptor<com.engagement.v1.ListStepsRequest, com.engagement.v1.ListStepsResponse> getListStepsMethod;
    if ((getListStepsMethod = SequenceStepServiceGrpc.getListStepsMethod) == null) {
      synchronized (SequenceStepServiceGrpc.class) {
        if ((getListStepsMethod = SequenceStepServiceGrpc.getListStepsMethod) == null) {
          SequenceStepServiceGrpc.getListStepsMethod = getListStepsMethod =
              io.grpc.MethodDescriptor.<com.engagement.v1.ListStepsRequest, com.engagement.v1.ListStepsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListSteps"))
              .setSafe(true)
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.ListStepsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.ListStepsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new SequenceStepServiceMethodDescriptorSupplier("ListSteps"))
              .build();
        }
      }
    }
    return getListStepsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<com.engagement.v1.ListStepChangesRequest,
      com.engagement.v1.ListStepChangesResponse> getListStepChangesMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListStepChanges",
      requestType = com.engagement.v1.ListStepChangesRequest.class,
      responseType = com.engagement.v1.ListStepChangesResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<com.engagement.v1.ListStepChangesRequest,
      com.engagement.v1.ListStepChangesResponse> getListStepChangesMethod() {
    io.grpc.MethodDescriptor<com.engagement.v1.ListStepChangesRequest, com.engagement.v1.ListStepChangesResponse> getListStepChangesMethod;
    if ((getListStepChangesMethod = SequenceStepServiceGrpc.getListStepChangesMethod) == null) {
      synchronized (SequenceStepServiceGrpc.class) {
        if ((getListStepChangesMethod = SequenceStepServiceGrpc.getListStepChangesMethod) == null) {
          SequenceStepServiceGrpc.getListStepChangesMethod = getListStepChangesMethod =
              io.grpc.MethodDescriptor.<com.engagement.v1.ListStepChangesRequest, com.engagement.v1.ListStepChangesResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListStepChanges"))
              .setSafe(true)
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.ListStepChangesRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.ListStepChangesResponse.getDefaultInstance()))
              .setSchemaDescriptor(new SequenceStepServiceMethodDescriptorSupplier("ListStepChanges"))
              .build();
        }
      }
    }
    return getListStepChangesMethod;
  }

  private static volatile io.grpc.MethodDescriptor<com.engagement.v1.GetStepChangeRequest,
      com.engagement.v1.GetStepChangeResponse> getGetStepChangeMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetStepChange",
      requestType = com.engagement.v1.GetStepChangeRequest.class,
      responseType = com.engagement.v1.GetStepChangeResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<com.engagement.v1.GetStepChangeRequest,
      com.engagement.v1.GetStepChangeResponse> getGetStepChangeMethod() {
    io.grpc.MethodDescriptor<com.engagement.v1.GetStepChangeRequest, com.engagement.v1.GetStepChangeResponse> getGetStepChangeMethod;
    if ((getGetStepChangeMethod = SequenceStepServiceGrpc.getGetStepChangeMethod) == null) {
      synchronized (SequenceStepServiceGrpc.class) {
        if ((getGetStepChangeMethod = SequenceStepServiceGrpc.getGetStepChangeMethod) == null) {
          SequenceStepServiceGrpc.getGetStepChangeMethod = getGetStepChangeMethod =
              io.grpc.MethodDescriptor.<com.engagement.v1.GetStepChangeRequest, com.engagement.v1.GetStepChangeResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetStepChange"))
              .setSafe(true)
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.GetStepChangeRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.GetStepChangeResponse.getDefaultInstance()))
              .setSchemaDescriptor(new SequenceStepServiceMethodDescriptorSupplier("GetStepChange"))
              .build();
        }
      }
    }
    return getGetStepChangeMethod;
  }

  private static volatile io.grpc.MethodDescriptor<com.engagement.v1.RevertStepChangeRequest,
      com.engagement.v1.RevertStepChangeResponse> getRevertStepChangeMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RevertStepChange",
      requestType = com.engagement.v1.RevertStepChangeRequest.class,
      responseType = com.engagement.v1.RevertStepChangeResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<com.engagement.v1.RevertStepChangeRequest,
      com.engagement.v1.RevertStepChangeResponse> getRevertStepChangeMethod() {
    io.grpc.MethodDescriptor<com.engagement.v1.RevertStepChangeRequest, com.engagement.v1.RevertStepChangeResponse> getRevertStepChangeMethod;
    if ((getRevertStepChangeMethod = SequenceStepServiceGrpc.getRevertStepChangeMethod) == null) {
      synchronized (SequenceStepServiceGrpc.class) {
        if ((getRevertStepChangeMethod = SequenceStepServiceGrpc.getRevertStepChangeMethod) == null) {
          SequenceStepServiceGrpc.getRevertStepChangeMethod = getRevertStepChangeMethod =
              io.grpc.MethodDescriptor.<com.engagement.v1.RevertStepChangeRequest, com.engagement.v1.RevertStepChangeResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RevertStepChange"))
              .setIdempotent(true)
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.RevertStepChangeRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.RevertStepChangeResponse.getDefaultInstance()))
              .setSchemaDescriptor(new SequenceStepServiceMethodDescriptorSupplier("RevertStepChange"))
              .build();
        }
      }
    }
    return getRevertStepChangeMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static SequenceStepServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<SequenceStepServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<SequenceStepServiceStub>() {
        @java.lang.Override
        public SequenceStepServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new SequenceStepServiceStub(channel, callOptions);
        }
      };
    return SequenceStepServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static SequenceStepServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<SequenceStepServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<SequenceStepServiceBlockingStub>() {
        @java.lang.Override
        public SequenceStepServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new SequenceStepServiceBlockingStub(channel, callOptions);
        }
      };
    return SequenceStepServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static SequenceStepServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<SequenceStepServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<SequenceStepServiceFutureStub>() {
        @java.lang.Override
        public SequenceStepServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new SequenceStepServiceFutureStub(channel, callOptions);
        }
      };
    return SequenceStepServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * Reads and changes the steps of a customer's sequences, at whichever provider the customer uses.
   * Every call carries metadata:
   *   - `x-customer-id` (required): the caller's own id of its customer.
   *   - `x-provider-name` (required): `apollo`, `outreach` or `salesloft`; case and surrounding space do not matter.
   *   - `x-api-key`: identifies the calling application, unless a client certificate does.
   *   - `x-request-id` (optional): comes back in the trailing metadata and in `meta.request_id`; made when absent.
   *   - `x-error-mode` (optional): `envelope` (the default) or `status`, see `UpdateStep`.
   * A value is 1 to 255 printable ASCII characters. Giving a key twice with different values is an error.
   * </pre>
   */
  public static abstract class SequenceStepServiceImplBase implements io.grpc.BindableService {

    /**
     * <pre>
     * Changes the template (subject, HTML body) and the provider's own fields of one step of one sequence.
     * Works for Apollo and Outreach. Salesloft has no operation for it and answers `NOT_IMPLEMENTED_ERROR`.
     * Failures come in two ways. A call that is wrong in itself or cannot be served ends with a non-OK status:
     * INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE, DEADLINE_EXCEEDED or INTERNAL.
     * An update that was attempted, or judged for this customer, ends with status OK and a filled `errors`, so look there
     * before you call it a success. With `x-error-mode: status` these come as a non-OK status too. It is never UNAUTHENTICATED
     * then: credentials that the provider refuses, or that have lapsed, are FAILED_PRECONDITION, since they are the customer's
     * and not the caller's.
     * A request with a field or a value of an enum that this version of the service does not know is INVALID_ARGUMENT: it could
     * be one that keeps the update from being carried out. So servers are upgraded before their clients.
     * A non-OK status carries `google.rpc.Status` details: this response as envelope, and `google.rpc.BadRequest`,
     * `google.rpc.RetryInfo` and `google.rpc.ErrorInfo` where they apply. Trailing metadata always has `x-request-id`, and on
     * failure `x-error-code` and `x-error-status`, those of the first error.
     * The update is not atomic: the template and the custom fields are two writes at the provider, in this order.
     * `meta.outcome` tells what a failure left behind. Values are absolute, so repeating a call is always safe.
     * Updates of one sequence follow each other within one process of the service. Updates through different replicas at the
     * same moment do not: subject and body are written together and never mix, but where both calls set custom fields too,
     * the step can end with the template of one and the custom fields of the other. `before` is what the provider held when
     * the update read it.
     * The deadline bounds the calls to the provider: 30 seconds unless the caller sets one, 60 at most. A provider that is
     * too slow gives `GATEWAY_TIMEOUT_ERROR` shortly before it.
     * </pre>
     */
    public void updateStep(com.engagement.v1.UpdateStepRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.UpdateStepResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getUpdateStepMethod(), responseObserver);
    }

    /**
     * <pre>
     * Reads one step as the provider holds it now, with all of its variants.
     * Costs the read that an update of its template begins with: one call to the provider, and at Outreach another one for a
     * step that has no template. Fails as `UpdateStep` does, in both ways; `meta.outcome` always is NOT_APPLIED. Works for
     * Apollo and Outreach.
     * Texts are whole. An answer has less than 4,000,000 bytes, so that every client reads it as it is set up by default; a step
     * whose texts do not fit is `RESPONSE_TOO_LONG_ERROR`, and is read with STEP_VIEW_BASIC.
     * </pre>
     */
    public void getStep(com.engagement.v1.GetStepRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.GetStepResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetStepMethod(), responseObserver);
    }

    /**
     * <pre>
     * Reads a sequence and all of its steps in order, each as `GetStep` has it.
     * Costs one call to the provider; at Outreach one more for each further 1000 steps, and one more for a sequence without
     * steps. Fails and is limited as `GetStep`.
     * </pre>
     */
    public void listSteps(com.engagement.v1.ListStepsRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.ListStepsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListStepsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists what updates of the calling application wrote to the customer's steps, newest first.
     * The provider is not asked, and what people change there is not in the list. A service that is not set up to keep a history
     * answers `NOT_IMPLEMENTED_ERROR`; one that is keeps each change for a number of days (docs/history.md). Fails in both ways, as
     * `UpdateStep` does; `meta.outcome` always is NOT_APPLIED.
     * Pages follow each other by `page_token`: a change that is made meanwhile is on none of them, and none is shown twice.
     * </pre>
     */
    public void listStepChanges(com.engagement.v1.ListStepChangesRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.ListStepChangesResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListStepChangesMethod(), responseObserver);
    }

    /**
     * <pre>
     * Reads one change with its values whole. `NOT_FOUND_ERROR`: the customer has none by this id at this provider, or it is not
     * kept any more. One whose values do not fit into an answer of less than 4,000,000 bytes is `RESPONSE_TOO_LONG_ERROR`; it is
     * listed, and can be reverted. Fails as `ListStepChanges`.
     * </pre>
     */
    public void getStepChange(com.engagement.v1.GetStepChangeRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.GetStepChangeResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetStepChangeMethod(), responseObserver);
    }

    /**
     * <pre>
     * Sets the values that a change replaced back to what they were before it, in the template that it wrote and in the fields of
     * the step.
     * This is an update like any other: it has warnings, outcomes, costs and a change of its own, which can be reverted in turn.
     * It fails in both ways, as `UpdateStep` does.
     * Nothing is written over what the change did not leave there: where a value is neither what it left nor what it was before,
     * the call ends with `STEP_CHANGED_ERROR` and writes nothing, and `conflicts` has the present values. A value that is what it
     * was before needs no write, so that repeating a call is safe, and a change whose outcome is not known can be reverted too. The
     * check stands between the read and the write, as that of `UpdateStepRequest.etag`, and the write is not repeated here either.
     * A step that uses the template no longer is `VARIANT_NOT_FOUND_ERROR`. What was not there before, and what the provider does
     * not let be taken away, stays, with the warning `NOT_RESTORED`.
     * </pre>
     */
    public void revertStepChange(com.engagement.v1.RevertStepChangeRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.RevertStepChangeResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRevertStepChangeMethod(), responseObserver);
    }

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
          .addMethod(
            getUpdateStepMethod(),
            io.grpc.stub.ServerCalls.asyncUnaryCall(
              new MethodHandlers<
                com.engagement.v1.UpdateStepRequest,
                com.engagement.v1.UpdateStepResponse>(
                  this, METHODID_UPDATE_STEP)))
          .addMethod(
            getGetStepMethod(),
            io.grpc.stub.ServerCalls.asyncUnaryCall(
              new MethodHandlers<
                com.engagement.v1.GetStepRequest,
                com.engagement.v1.GetStepResponse>(
                  this, METHODID_GET_STEP)))
          .addMethod(
            getListStepsMethod(),
            io.grpc.stub.ServerCalls.asyncUnaryCall(
              new MethodHandlers<
                com.engagement.v1.ListStepsRequest,
                com.engagement.v1.ListStepsResponse>(
                  this, METHODID_LIST_STEPS)))
          .addMethod(
            getListStepChangesMethod(),
            io.grpc.stub.ServerCalls.asyncUnaryCall(
              new MethodHandlers<
                com.engagement.v1.ListStepChangesRequest,
                com.engagement.v1.ListStepChangesResponse>(
                  this, METHODID_LIST_STEP_CHANGES)))
          .addMethod(
            getGetStepChangeMethod(),
            io.grpc.stub.ServerCalls.asyncUnaryCall(
              new MethodHandlers<
                com.engagement.v1.GetStepChangeRequest,
                com.engagement.v1.GetStepChangeResponse>(
                  this, METHODID_GET_STEP_CHANGE)))
          .addMethod(
            getRevertStepChangeMethod(),
            io.grpc.stub.ServerCalls.asyncUnaryCall(
              new MethodHandlers<
                com.engagement.v1.RevertStepChangeRequest,
                com.engagement.v1.RevertStepChangeResponse>(
                  this, METHODID_REVERT_STEP_CHANGE)))
          .build();
    }
  }

  /**
   * <pre>
   * Reads and changes the steps of a customer's sequences, at whichever provider the customer uses.
   * Every call carries metadata:
   *   - `x-customer-id` (required): the caller's own id of its customer.
   *   - `x-provider-name` (required): `apollo`, `outreach` or `salesloft`; case and surrounding space do not matter.
   *   - `x-api-key`: identifies the calling application, unless a client certificate does.
   *   - `x-request-id` (optional): comes back in the trailing metadata and in `meta.request_id`; made when absent.
   *   - `x-error-mode` (optional): `envelope` (the default) or `status`, see `UpdateStep`.
   * A value is 1 to 255 printable ASCII characters. Giving a key twice with different values is an error.
   * </pre>
   */
  public static final class SequenceStepServiceStub extends io.grpc.stub.AbstractAsyncStub<SequenceStepServiceStub> {
    private SequenceStepServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected SequenceStepServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new SequenceStepServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Changes the template (subject, HTML body) and the provider's own fields of one step of one sequence.
     * Works for Apollo and Outreach. Salesloft has no operation for it and answers `NOT_IMPLEMENTED_ERROR`.
     * Failures come in two ways. A call that is wrong in itself or cannot be served ends with a non-OK status:
     * INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE, DEADLINE_EXCEEDED or INTERNAL.
     * An update that was attempted, or judged for this customer, ends with status OK and a filled `errors`, so look there
     * before you call it a success. With `x-error-mode: status` these come as a non-OK status too. It is never UNAUTHENTICATED
     * then: credentials that the provider refuses, or that have lapsed, are FAILED_PRECONDITION, since they are the customer's
     * and not the caller's.
     * A request with a field or a value of an enum that this version of the service does not know is INVALID_ARGUMENT: it could
     * be one that keeps the update from being carried out. So servers are upgraded before their clients.
     * A non-OK status carries `google.rpc.Status` details: this response as envelope, and `google.rpc.BadRequest`,
     * `google.rpc.RetryInfo` and `google.rpc.ErrorInfo` where they apply. Trailing metadata always has `x-request-id`, and on
     * failure `x-error-code` and `x-error-status`, those of the first error.
     * The update is not atomic: the template and the custom fields are two writes at the provider, in this order.
     * `meta.outcome` tells what a failure left behind. Values are absolute, so repeating a call is always safe.
     * Updates of one sequence follow each other within one process of the service. Updates through different replicas at the
     * same moment do not: subject and body are written together and never mix, but where both calls set custom fields too,
     * the step can end with the template of one and the custom fields of the other. `before` is what the provider held when
     * the update read it.
     * The deadline bounds the calls to the provider: 30 seconds unless the caller sets one, 60 at most. A provider that is
     * too slow gives `GATEWAY_TIMEOUT_ERROR` shortly before it.
     * </pre>
     */
    public void updateStep(com.engagement.v1.UpdateStepRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.UpdateStepResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getUpdateStepMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Reads one step as the provider holds it now, with all of its variants.
     * Costs the read that an update of its template begins with: one call to the provider, and at Outreach another one for a
     * step that has no template. Fails as `UpdateStep` does, in both ways; `meta.outcome` always is NOT_APPLIED. Works for
     * Apollo and Outreach.
     * Texts are whole. An answer has less than 4,000,000 bytes, so that every client reads it as it is set up by default; a step
     * whose texts do not fit is `RESPONSE_TOO_LONG_ERROR`, and is read with STEP_VIEW_BASIC.
     * </pre>
     */
    public void getStep(com.engagement.v1.GetStepRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.GetStepResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetStepMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Reads a sequence and all of its steps in order, each as `GetStep` has it.
     * Costs one call to the provider; at Outreach one more for each further 1000 steps, and one more for a sequence without
     * steps. Fails and is limited as `GetStep`.
     * </pre>
     */
    public void listSteps(com.engagement.v1.ListStepsRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.ListStepsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListStepsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists what updates of the calling application wrote to the customer's steps, newest first.
     * The provider is not asked, and what people change there is not in the list. A service that is not set up to keep a history
     * answers `NOT_IMPLEMENTED_ERROR`; one that is keeps each change for a number of days (docs/history.md). Fails in both ways, as
     * `UpdateStep` does; `meta.outcome` always is NOT_APPLIED.
     * Pages follow each other by `page_token`: a change that is made meanwhile is on none of them, and none is shown twice.
     * </pre>
     */
    public void listStepChanges(com.engagement.v1.ListStepChangesRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.ListStepChangesResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListStepChangesMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Reads one change with its values whole. `NOT_FOUND_ERROR`: the customer has none by this id at this provider, or it is not
     * kept any more. One whose values do not fit into an answer of less than 4,000,000 bytes is `RESPONSE_TOO_LONG_ERROR`; it is
     * listed, and can be reverted. Fails as `ListStepChanges`.
     * </pre>
     */
    public void getStepChange(com.engagement.v1.GetStepChangeRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.GetStepChangeResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetStepChangeMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Sets the values that a change replaced back to what they were before it, in the template that it wrote and in the fields of
     * the step.
     * This is an update like any other: it has warnings, outcomes, costs and a change of its own, which can be reverted in turn.
     * It fails in both ways, as `UpdateStep` does.
     * Nothing is written over what the change did not leave there: where a value is neither what it left nor what it was before,
     * the call ends with `STEP_CHANGED_ERROR` and writes nothing, and `conflicts` has the present values. A value that is what it
     * was before needs no write, so that repeating a call is safe, and a change whose outcome is not known can be reverted too. The
     * check stands between the read and the write, as that of `UpdateStepRequest.etag`, and the write is not repeated here either.
     * A step that uses the template no longer is `VARIANT_NOT_FOUND_ERROR`. What was not there before, and what the provider does
     * not let be taken away, stays, with the warning `NOT_RESTORED`.
     * </pre>
     */
    public void revertStepChange(com.engagement.v1.RevertStepChangeRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.RevertStepChangeResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRevertStepChangeMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * <pre>
   * Reads and changes the steps of a customer's sequences, at whichever provider the customer uses.
   * Every call carries metadata:
   *   - `x-customer-id` (required): the caller's own id of its customer.
   *   - `x-provider-name` (required): `apollo`, `outreach` or `salesloft`; case and surrounding space do not matter.
   *   - `x-api-key`: identifies the calling application, unless a client certificate does.
   *   - `x-request-id` (optional): comes back in the trailing metadata and in `meta.request_id`; made when absent.
   *   - `x-error-mode` (optional): `envelope` (the default) or `status`, see `UpdateStep`.
   * A value is 1 to 255 printable ASCII characters. Giving a key twice with different values is an error.
   * </pre>
   */
  public static final class SequenceStepServiceBlockingStub extends io.grpc.stub.AbstractBlockingStub<SequenceStepServiceBlockingStub> {
    private SequenceStepServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected SequenceStepServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new SequenceStepServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Changes the template (subject, HTML body) and the provider's own fields of one step of one sequence.
     * Works for Apollo and Outreach. Salesloft has no operation for it and answers `NOT_IMPLEMENTED_ERROR`.
     * Failures come in two ways. A call that is wrong in itself or cannot be served ends with a non-OK status:
     * INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE, DEADLINE_EXCEEDED or INTERNAL.
     * An update that was attempted, or judged for this customer, ends with status OK and a filled `errors`, so look there
     * before you call it a success. With `x-error-mode: status` these come as a non-OK status too. It is never UNAUTHENTICATED
     * then: credentials that the provider refuses, or that have lapsed, are FAILED_PRECONDITION, since they are the customer's
     * and not the caller's.
     * A request with a field or a value of an enum that this version of the service does not know is INVALID_ARGUMENT: it could
     * be one that keeps the update from being carried out. So servers are upgraded before their clients.
     * A non-OK status carries `google.rpc.Status` details: this response as envelope, and `google.rpc.BadRequest`,
     * `google.rpc.RetryInfo` and `google.rpc.ErrorInfo` where they apply. Trailing metadata always has `x-request-id`, and on
     * failure `x-error-code` and `x-error-status`, those of the first error.
     * The update is not atomic: the template and the custom fields are two writes at the provider, in this order.
     * `meta.outcome` tells what a failure left behind. Values are absolute, so repeating a call is always safe.
     * Updates of one sequence follow each other within one process of the service. Updates through different replicas at the
     * same moment do not: subject and body are written together and never mix, but where both calls set custom fields too,
     * the step can end with the template of one and the custom fields of the other. `before` is what the provider held when
     * the update read it.
     * The deadline bounds the calls to the provider: 30 seconds unless the caller sets one, 60 at most. A provider that is
     * too slow gives `GATEWAY_TIMEOUT_ERROR` shortly before it.
     * </pre>
     */
    public com.engagement.v1.UpdateStepResponse updateStep(com.engagement.v1.UpdateStepRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getUpdateStepMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Reads one step as the provider holds it now, with all of its variants.
     * Costs the read that an update of its template begins with: one call to the provider, and at Outreach another one for a
     * step that has no template. Fails as `UpdateStep` does, in both ways; `meta.outcome` always is NOT_APPLIED. Works for
     * Apollo and Outreach.
     * Texts are whole. An answer has less than 4,000,000 bytes, so that every client reads it as it is set up by default; a step
     * whose texts do not fit is `RESPONSE_TOO_LONG_ERROR`, and is read with STEP_VIEW_BASIC.
     * </pre>
     */
    public com.engagement.v1.GetStepResponse getStep(com.engagement.v1.GetStepRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetStepMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Reads a sequence and all of its steps in order, each as `GetStep` has it.
     * Costs one call to the provider; at Outreach one more for each further 1000 steps, and one more for a sequence without
     * steps. Fails and is limited as `GetStep`.
     * </pre>
     */
    public com.engagement.v1.ListStepsResponse listSteps(com.engagement.v1.ListStepsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListStepsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists what updates of the calling application wrote to the customer's steps, newest first.
     * The provider is not asked, and what people change there is not in the list. A service that is not set up to keep a history
     * answers `NOT_IMPLEMENTED_ERROR`; one that is keeps each change for a number of days (docs/history.md). Fails in both ways, as
     * `UpdateStep` does; `meta.outcome` always is NOT_APPLIED.
     * Pages follow each other by `page_token`: a change that is made meanwhile is on none of them, and none is shown twice.
     * </pre>
     */
    public com.engagement.v1.ListStepChangesResponse listStepChanges(com.engagement.v1.ListStepChangesRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListStepChangesMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Reads one change with its values whole. `NOT_FOUND_ERROR`: the customer has none by this id at this provider, or it is not
     * kept any more. One whose values do not fit into an answer of less than 4,000,000 bytes is `RESPONSE_TOO_LONG_ERROR`; it is
     * listed, and can be reverted. Fails as `ListStepChanges`.
     * </pre>
     */
    public com.engagement.v1.GetStepChangeResponse getStepChange(com.engagement.v1.GetStepChangeRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetStepChangeMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Sets the values that a change replaced back to what they were before it, in the template that it wrote and in the fields of
     * the step.
     * This is an update like any other: it has warnings, outcomes, costs and a change of its own, which can be reverted in turn.
     * It fails in both ways, as `UpdateStep` does.
     * Nothing is written over what the change did not leave there: where a value is neither what it left nor what it was before,
     * the call ends with `STEP_CHANGED_ERROR` and writes nothing, and `conflicts` has the present values. A value that is what it
     * was before needs no write, so that repeating a call is safe, and a change whose outcome is not known can be reverted too. The
     * check stands between the read and the write, as that of `UpdateStepRequest.etag`, and the write is not repeated here either.
     * A step that uses the template no longer is `VARIANT_NOT_FOUND_ERROR`. What was not there before, and what the provider does
     * not let be taken away, stays, with the warning `NOT_RESTORED`.
     * </pre>
     */
    public com.engagement.v1.RevertStepChangeResponse revertStepChange(com.engagement.v1.RevertStepChangeRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRevertStepChangeMethod(), getCallOptions(), request);
    }
  }

  /**
   * <pre>
   * Reads and changes the steps of a customer's sequences, at whichever provider the customer uses.
   * Every call carries metadata:
   *   - `x-customer-id` (required): the caller's own id of its customer.
   *   - `x-provider-name` (required): `apollo`, `outreach` or `salesloft`; case and surrounding space do not matter.
   *   - `x-api-key`: identifies the calling application, unless a client certificate does.
   *   - `x-request-id` (optional): comes back in the trailing metadata and in `meta.request_id`; made when absent.
   *   - `x-error-mode` (optional): `envelope` (the default) or `status`, see `UpdateStep`.
   * A value is 1 to 255 printable ASCII characters. Giving a key twice with different values is an error.
   * </pre>
   */
  public static final class SequenceStepServiceFutureStub extends io.grpc.stub.AbstractFutureStub<SequenceStepServiceFutureStub> {
    private SequenceStepServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected SequenceStepServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new SequenceStepServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Changes the template (subject, HTML body) and the provider's own fields of one step of one sequence.
     * Works for Apollo and Outreach. Salesloft has no operation for it and answers `NOT_IMPLEMENTED_ERROR`.
     * Failures come in two ways. A call that is wrong in itself or cannot be served ends with a non-OK status:
     * INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE, DEADLINE_EXCEEDED or INTERNAL.
     * An update that was attempted, or judged for this customer, ends with status OK and a filled `errors`, so look there
     * before you call it a success. With `x-error-mode: status` these come as a non-OK status too. It is never UNAUTHENTICATED
     * then: credentials that the provider refuses, or that have lapsed, are FAILED_PRECONDITION, since they are the customer's
     * and not the caller's.
     * A request with a field or a value of an enum that this version of the service does not know is INVALID_ARGUMENT: it could
     * be one that keeps the update from being carried out. So servers are upgraded before their clients.
     * A non-OK status carries `google.rpc.Status` details: this response as envelope, and `google.rpc.BadRequest`,
     * `google.rpc.RetryInfo` and `google.rpc.ErrorInfo` where they apply. Trailing metadata always has `x-request-id`, and on
     * failure `x-error-code` and `x-error-status`, those of the first error.
     * The update is not atomic: the template and the custom fields are two writes at the provider, in this order.
     * `meta.outcome` tells what a failure left behind. Values are absolute, so repeating a call is always safe.
     * Updates of one sequence follow each other within one process of the service. Updates through different replicas at the
     * same moment do not: subject and body are written together and never mix, but where both calls set custom fields too,
     * the step can end with the template of one and the custom fields of the other. `before` is what the provider held when
     * the update read it.
     * The deadline bounds the calls to the provider: 30 seconds unless the caller sets one, 60 at most. A provider that is
     * too slow gives `GATEWAY_TIMEOUT_ERROR` shortly before it.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<com.engagement.v1.UpdateStepResponse> updateStep(
        com.engagement.v1.UpdateStepRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getUpdateStepMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Reads one step as the provider holds it now, with all of its variants.
     * Costs the read that an update of its template begins with: one call to the provider, and at Outreach another one for a
     * step that has no template. Fails as `UpdateStep` does, in both ways; `meta.outcome` always is NOT_APPLIED. Works for
     * Apollo and Outreach.
     * Texts are whole. An answer has less than 4,000,000 bytes, so that every client reads it as it is set up by default; a step
     * whose texts do not fit is `RESPONSE_TOO_LONG_ERROR`, and is read with STEP_VIEW_BASIC.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<com.engagement.v1.GetStepResponse> getStep(
        com.engagement.v1.GetStepRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetStepMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Reads a sequence and all of its steps in order, each as `GetStep` has it.
     * Costs one call to the provider; at Outreach one more for each further 1000 steps, and one more for a sequence without
     * steps. Fails and is limited as `GetStep`.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<com.engagement.v1.ListStepsResponse> listSteps(
        com.engagement.v1.ListStepsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListStepsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists what updates of the calling application wrote to the customer's steps, newest first.
     * The provider is not asked, and what people change there is not in the list. A service that is not set up to keep a history
     * answers `NOT_IMPLEMENTED_ERROR`; one that is keeps each change for a number of days (docs/history.md). Fails in both ways, as
     * `UpdateStep` does; `meta.outcome` always is NOT_APPLIED.
     * Pages follow each other by `page_token`: a change that is made meanwhile is on none of them, and none is shown twice.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<com.engagement.v1.ListStepChangesResponse> listStepChanges(
        com.engagement.v1.ListStepChangesRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListStepChangesMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Reads one change with its values whole. `NOT_FOUND_ERROR`: the customer has none by this id at this provider, or it is not
     * kept any more. One whose values do not fit into an answer of less than 4,000,000 bytes is `RESPONSE_TOO_LONG_ERROR`; it is
     * listed, and can be reverted. Fails as `ListStepChanges`.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<com.engagement.v1.GetStepChangeResponse> getStepChange(
        com.engagement.v1.GetStepChangeRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetStepChangeMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Sets the values that a change replaced back to what they were before it, in the template that it wrote and in the fields of
     * the step.
     * This is an update like any other: it has warnings, outcomes, costs and a change of its own, which can be reverted in turn.
     * It fails in both ways, as `UpdateStep` does.
     * Nothing is written over what the change did not leave there: where a value is neither what it left nor what it was before,
     * the call ends with `STEP_CHANGED_ERROR` and writes nothing, and `conflicts` has the present values. A value that is what it
     * was before needs no write, so that repeating a call is safe, and a change whose outcome is not known can be reverted too. The
     * check stands between the read and the write, as that of `UpdateStepRequest.etag`, and the write is not repeated here either.
     * A step that uses the template no longer is `VARIANT_NOT_FOUND_ERROR`. What was not there before, and what the provider does
     * not let be taken away, stays, with the warning `NOT_RESTORED`.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<com.engagement.v1.RevertStepChangeResponse> revertStepChange(
        com.engagement.v1.RevertStepChangeRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRevertStepChangeMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_UPDATE_STEP = 0;
  private static final int METHODID_GET_STEP = 1;
  private static final int METHODID_LIST_STEPS = 2;
  private static final int METHODID_LIST_STEP_CHANGES = 3;
  private static final int METHODID_GET_STEP_CHANGE = 4;
  private static final int METHODID_REVERT_STEP_CHANGE = 5;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final SequenceStepServiceImplBase serviceImpl;
    private final int methodId;

    MethodHandlers(SequenceStepServiceImplBase serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_UPDATE_STEP:
          serviceImpl.updateStep((com.engagement.v1.UpdateStepRequest) request,
              (io.grpc.stub.StreamObserver<com.engagement.v1.UpdateStepResponse>) responseObserver);
          break;
        case METHODID_GET_STEP:
          serviceImpl.getStep((com.engagement.v1.GetStepRequest) request,
              (io.grpc.stub.StreamObserver<com.engagement.v1.GetStepResponse>) responseObserver);
          break;
        case METHODID_LIST_STEPS:
          serviceImpl.listSteps((com.engagement.v1.ListStepsRequest) request,
              (io.grpc.stub.StreamObserver<com.engagement.v1.ListStepsResponse>) responseObserver);
          break;
        case METHODID_LIST_STEP_CHANGES:
          serviceImpl.listStepChanges((com.engagement.v1.ListStepChangesRequest) request,
              (io.grpc.stub.StreamObserver<com.engagement.v1.ListStepChangesResponse>) responseObserver);
          break;
        case METHODID_GET_STEP_CHANGE:
          serviceImpl.getStepChange((com.engagement.v1.GetStepChangeRequest) request,
              (io.grpc.stub.StreamObserver<com.engagement.v1.GetStepChangeResponse>) responseObserver);
          break;
        case METHODID_REVERT_STEP_CHANGE:
          serviceImpl.revertStepChange((com.engagement.v1.RevertStepChangeRequest) request,
              (io.grpc.stub.StreamObserver<com.engagement.v1.RevertStepChangeResponse>) responseObserver);
          break;
        default:
          throw new AssertionError();
      }
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public io.grpc.stub.StreamObserver<Req> invoke(
        io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        default:
          throw new AssertionError();
      }
    }
  }

  private static abstract class SequenceStepServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    SequenceStepServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return com.engagement.v1.SequenceStepServiceOuterClass.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("SequenceStepService");
    }
  }

  private static final class SequenceStepServiceFileDescriptorSupplier
      extends SequenceStepServiceBaseDescriptorSupplier {
    SequenceStepServiceFileDescriptorSupplier() {}
  }

  private static final class SequenceStepServiceMethodDescriptorSupplier
      extends SequenceStepServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final String methodName;

    SequenceStepServiceMethodDescriptorSupplier(String methodName) {
      this.methodName = methodName;
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.MethodDescriptor getMethodDescriptor() {
      return getServiceDescriptor().findMethodByName(methodName);
    }
  }

  private static volatile io.grpc.ServiceDescriptor serviceDescriptor;

  public static io.grpc.ServiceDescriptor getServiceDescriptor() {
    io.grpc.ServiceDescriptor result = serviceDescriptor;
    if (result == null) {
      synchronized (SequenceStepServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new SequenceStepServiceFileDescriptorSupplier())
              .addMethod(getUpdateStepMethod())
              .addMethod(getGetStepMethod())
              .addMethod(getListStepsMethod())
              .addMethod(getListStepChangesMethod())
              .addMethod(getGetStepChangeMethod())
              .addMethod(getRevertStepChangeMethod())
              .build();
        }
      }
    }
    return result;
  }
}
