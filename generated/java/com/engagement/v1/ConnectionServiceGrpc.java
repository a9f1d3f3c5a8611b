package com.engagement.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * Manages the connections of the calling application's customers: the credentials that `SequenceStepService` uses.
 * A connection is named by the customer and the provider, which are fields of each request here. Of the metadata, `x-api-key`
 * and `x-request-id` mean what they mean for `SequenceStepService`; `x-customer-id`, `x-provider-name` and `x-error-mode` are
 * not read.
 * The key of the application has to allow it: one that does not gets PERMISSION_DENIED. An application sees nobody else's
 * connections, and nobody gets credentials back.
 * Every failure is a non-OK status with the details that `UpdateStep` describes, without an envelope; only what a provider says
 * to `CheckConnection` is in its response. A request with a field that this version of the service does not know is
 * INVALID_ARGUMENT. A replica that keeps the connection in memory knows of a change some seconds later.
 * </pre>
 */
@javax.annotation.Generated(
    value = "by gRPC proto compiler",
    comments = "Source: engagement/v1/connection_service.proto")
@io.grpc.stub.annotations.GrpcGenerated
public final class ConnectionServiceGrpc {

  private ConnectionServiceGrpc() {}

  public static final String SERVICE_NAME = "engagement.v1.ConnectionService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<com.engagement.v1.SetConnectionRequest,
      com.engagement.v1.SetConnectionResponse> getSetConnectionMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "SetConnection",
      requestType = com.engagement.v1.SetConnectionRequest.class,
      responseType = com.engagement.v1.SetConnectionResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<com.engagement.v1.SetConnectionRequest,
      com.engagement.v1.SetConnectionResponse> getSetConnectionMethod() {
    io.grpc.MethodDescriptor<com.engagement.v1.SetConnectionRequest, com.engagement.v1.SetConnectionResponse> getSetConnectionMethod;
    if ((getSetConnectionMethod = ConnectionServiceGrpc.getSetConnectionMethod) == null) {
      synchronized (ConnectionServiceGrpc.class) {
        if ((getSetConnectionMethod = ConnectionServiceGrpc.getSetConnectionMethod) == null) {
          ConnectionServiceGrpc.getSetConnectionMethod = getSetConnectionMethod =
              io.grpc.MethodDescriptor.<com.engagement.v1.SetConnectionRequest, com.engagement.v1.SetConnectionResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "SetConnection"))
              .setIdempotent(true)
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.SetConnectionRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.SetConnectionResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ConnectionServiceMethodDescriptorSupplier("SetConnection"))
              .build();
        }
      }
    }
    return getSetConnectionMethod;
  }

  private static volatile io.grpc.MethodDescriptor<com.engagement.v1.GetConnectionRequest,
      com.engagement.v1.GetConnectionResponse> getGetConnectionMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetConnection",
      requestType = com.engagement.v1.GetConnectionRequest.class,
      responseType = com.engagement.v1.GetConnectionResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<com.engagement.v1.GetConnectionRequest,
      com.engagement.v1.GetConnectionResponse> getGetConnectionMethod() {
    io.grpc.MethodDescriptor<com.engagement.v1.GetConnectionRequest, com.engagement.v1.GetConnectionResponse> getGetConnectionMethod;
    if ((getGetConnectionMethod = ConnectionServiceGrpc.getGetConnectionMethod) == null) {
      synchronized (ConnectionServiceGrpc.class) {
        if ((getGetConnectionMethod = ConnectionServiceGrpc.getGetConnectionMethod) == null) {
          ConnectionServiceGrpc.getGetConnectionMethod = getGetConnectionMethod =
              io.grpc.MethodDescriptor.<com.engagement.v1.GetConnectionRequest, com.engagement.v1.GetConnectionResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetConnection"))
              .setSafe(true)
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.GetConnectionRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.GetConnectionResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ConnectionServiceMethodDescriptorSupplier("GetConnection"))
              .build();
        }
      }
    }
    return getGetConnectionMethod;
  }

  private static volatile io.grpc.MethodDescriptor<com.engagement.v1.ListConnectionsRequest,
      com.engagement.v1.ListConnectionsResponse> getListConnectionsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListConnections",
      requestType = com.engagement.v1.ListConnectionsRequest.class,
      responseType = com.engagement.v1.ListConnectionsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<com.engagement.v1.ListConnectionsRequest,
      com.engagement.v1.ListConnectionsResponse> getListConnectionsMethod() {
    io.grpc.MethodDescriptor<com.engagement.v1.ListConnectionsRequest, com.engagement.v1.ListConnectionsResponse> getListConnectionsMethod;
    if ((getListConnectionsMethod = ConnectionServiceGrpc.getListConnectionsMethod) == null) {
      synchronized (ConnectionServiceGrpc.class) {
        if ((getListConnectionsMethod = ConnectionServiceGrpc.getListConnectionsMethod) == null) {
          ConnectionServiceGrpc.getListConnectionsMethod = getListConnectionsMethod =
              io.grpc.MethodDescriptor.<com.engagement.v1.ListConnectionsRequest, com.engagement.v1.ListConnectionsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListConnections"))
              .setSafe(true)
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.ListConnectionsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.ListConnectionsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ConnectionServiceMethodDescriptorSupplier("ListConnections"))
              .build();
        }
      }
    }
    return getListConnectionsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<com.engagement.v1.CheckConnectionRequest,
      com.engagement.v1.CheckConnectionResponse> getCheckConnectionMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CheckConnection",
      requestType = com.engagement.v1.CheckConnectionRequest.class,
      responseType = com.engagement.v1.CheckConnectionResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<com.engagement.v1.CheckConnectionRequest,
      com.engagement.v1.CheckConnectionResponse> getCheckConnectionMethod() {
    io.grpc.MethodDescriptor<com.engagement.v1.CheckConnectionRequest, com.engagement.v1.CheckConnectionResponse> getCheckConnectionMethod;
    if ((getCheckConnectionMethod = ConnectionServiceGrpc.getCheckConnectionMethod) == null) {
      synchronized (ConnectionServiceGrpc.class) {
        if ((getCheckConnectionMethod = ConnectionServiceGrpc.getCheckConnectionMethod) == null) {
          ConnectionServiceGrpc.getCheckConnectionMethod = getCheckConnectionMethod =
              io.grpc.MethodDescriptor.<com.engagement.v1.CheckConnectionRequest, com.engagement.v1.CheckConnectionResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CheckConnection"))
              .setIdempotent(true)
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.CheckConnectionRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.CheckConnectionResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ConnectionServiceMethodDescriptorSupplier("CheckConnection"))
              .build();
        }
      }
    }
    return getCheckConnectionMethod;
  }

  private static volatile io.grpc.MethodDescriptor<com.engagement.v1.DeleteConnectionRequest,
      com.engagement.v1.DeleteConnectionResponse> getDeleteConnectionMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "DeleteConnection",
      requestType = com.engagement.v1.DeleteConnectionRequest.class,
      responseType = com.engagement.v1.DeleteConnectionResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<com.engagement.v1.DeleteConnectionRequest,
      com.engagement.v1.DeleteConnectionResponse> getDeleteConnectionMethod() {
    io.grpc.MethodDescriptor<com.engagement.v1.DeleteConnectionRequest, com.engagement.v1.DeleteConnectionResponse> getDeleteConnectionMethod;
    if ((getDeleteConnectionMethod = ConnectionServiceGrpc.getDeleteConnectionMethod) == null) {
      synchronized (ConnectionServiceGrpc.class) {
        if ((getDeleteConnectionMethod = ConnectionServiceGrpc.getDeleteConnectionMethod) == null) {
          ConnectionServiceGrpc.getDeleteConnectionMethod = getDeleteConnectionMethod =
              io.grpc.MethodDescriptor.<com.engagement.v1.DeleteConnectionRequest, com.engagement.v1.DeleteConnectionResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "DeleteConnection"))
              .setIdempotent(true)
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.DeleteConnectionRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.DeleteConnectionResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ConnectionServiceMethodDescriptorSupplier("DeleteConnection"))
              .build();
        }
      }
    }
    return getDeleteConnectionMethod;
  }

  private static volatile io.grpc.MethodDescriptor<com.engagement.v1.DeleteStepChangesRequest,
      com.engagement.v1.DeleteStepChangesResponse> getDeleteStepChangesMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "DeleteStepChanges",
      requestType = com.engagement.v1.DeleteStepChangesRequest.class,
      responseType = com.engagement.v1.DeleteStepChangesResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<com.engagement.v1.DeleteStepChangesRequest,
      com.engagement.v1.DeleteStepChangesResponse> getDeleteStepChangesMethod() {
    io.grpc.MethodDescriptor<com.engagement.v1.DeleteStepChangesRequest, com.engagement.v1.DeleteStepChangesResponse> getDeleteStepChangesMethod;
    if ((getDeleteStepChangesMethod = ConnectionServiceGrpc.getDeleteStepChangesMethod) == null) {
      synchronized (ConnectionServiceGrpc.class) {
        if ((getDeleteStepChangesMethod = ConnectionServiceGrpc.getDeleteStepChangesMethod) == null) {
          ConnectionServiceGrpc.getDeleteStepChangesMethod = getDeleteStepChangesMethod =
              io.grpc.MethodDescriptor.<com.engagement.v1.DeleteStepChangesRequest, com.engagement.v1.DeleteStepChangesResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "DeleteStepChanges"))
              .setIdempotent(true)
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.DeleteStepChangesRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  com.engagement.v1.DeleteStepChangesResponse.getDefaultInstance()))
              .setSchemaDescriptor(new ConnectionServiceMethodDescriptorSupplier("DeleteStepChanges"))
              .build();
        }
      }
    }
    return getDeleteStepChangesMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static ConnectionServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<ConnectionServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<ConnectionServiceStub>() {
        @java.lang.Override
        public ConnectionServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new ConnectionServiceStub(channel, callOptions);
        }
      };
    return ConnectionServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static ConnectionServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<ConnectionServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<ConnectionServiceBlockingStub>() {
        @java.lang.Override
        public ConnectionServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new ConnectionServiceBlockingStub(channel, callOptions);
        }
      };
    return ConnectionServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static ConnectionServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<ConnectionServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<ConnectionServiceFutureStub>() {
        @java.lang.Override
        public ConnectionServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new ConnectionServiceFutureStub(channel, callOptions);
        }
      };
    return ConnectionServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * Manages the connections of the calling application's customers: the credentials that `SequenceStepService` uses.
   * A connection is named by the customer and the provider, which are fields of each request here. Of the metadata, `x-api-key`
   * and `x-request-id` mean what they mean for `SequenceStepService`; `x-customer-id`, `x-provider-name` and `x-error-mode` are
   * not read.
   * The key of the application has to allow it: one that does not gets PERMISSION_DENIED. An application sees nobody else's
   * connections, and nobody gets credentials back.
   * Every failure is a non-OK status with the details that `UpdateStep` describes, without an envelope; only what a provider says
   * to `CheckConnection` is in its response. A request with a field that this version of the service does not know is
   * INVALID_ARGUMENT. A replica that keeps the connection in memory knows of a change some seconds later.
   * </pre>
   */
  public static abstract class ConnectionServiceImplBase implements io.grpc.BindableService {

    /**
     * <pre>
     * Stores the credentials of a customer at a provider, in the place of earlier ones, ready for use. The provider is not asked:
     * `CheckConnection` does that.
     * Repeating a call is safe, also much later: credentials that were the last to be set here change nothing while the
     * connection is active, so a token that was renewed since is not replaced by the one before it.
     * INVALID_ARGUMENT: the provider does not take such credentials, or a part of them is missing or cannot be sent.
     * UNIMPLEMENTED: the provider is known, and has no use for a connection.
     * </pre>
     */
    public void setConnection(com.engagement.v1.SetConnectionRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.SetConnectionResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getSetConnectionMethod(), responseObserver);
    }

    /**
     * <pre>
     * Reads one connection, without its credentials. NOT_FOUND: there is none.
     * </pre>
     */
    public void getConnection(com.engagement.v1.GetConnectionRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.GetConnectionResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetConnectionMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists connections by customer and provider, without their credentials.
     * Pages follow each other by `page_token`. A connection that is made or deleted meanwhile may be missing or shown; none is
     * shown twice. INVALID_ARGUMENT: the token is not of this list.
     * </pre>
     */
    public void listConnections(com.engagement.v1.ListConnectionsRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.ListConnectionsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListConnectionsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Tries a connection by one cheap read at the provider, and renews its token first where that is due. A connection that needs
     * a new log-in is tried by a renewal, and is active again if that succeeds.
     * What is wrong with the connection is in `errors`, with status OK. NOT_FOUND: there is none.
     * </pre>
     */
    public void checkConnection(com.engagement.v1.CheckConnectionRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.CheckConnectionResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCheckConnectionMethod(), responseObserver);
    }

    /**
     * <pre>
     * Deletes a connection with its credentials here; the provider is not told. That there is none is no failure. Updates that
     * have begun go on.
     * </pre>
     */
    public void deleteConnection(com.engagement.v1.DeleteConnectionRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.DeleteConnectionResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDeleteConnectionMethod(), responseObserver);
    }

    /**
     * <pre>
     * Deletes the history of a customer: every change that `SequenceStepService` keeps of it, as when the customer leaves. What is at
     * the provider stays, and so do the connections. That there is none is no failure, nor that no history is kept any more.
     * An update that has begun leaves its change: `DeleteConnection` comes first, so that none begins. If the deadline ends the
     * call, what was deleted by then is gone, and repeating the call goes on.
     * </pre>
     */
    public void deleteStepChanges(com.engagement.v1.DeleteStepChangesRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.DeleteStepChangesResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDeleteStepChangesMethod(), responseObserver);
    }

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
          .addMethod(
            getSetConnectionMethod(),
            io.grpc.stub.ServerCalls.asyncUnaryCall(
              new MethodHandlers<
                com.engagement.v1.SetConnectionRequest,
                com.engagement.v1.SetConnectionResponse>(
                  this, METHODID_SET_CONNECTION)))
          .addMethod(
            getGetConnectionMethod(),
            io.grpc.stub.ServerCalls.asyncUnaryCall(
              new MethodHandlers<
                com.engagement.v1.GetConnectionRequest,
                com.engagement.v1.GetConnectionResponse>(
                  this, METHODID_GET_CONNECTION)))
          .addMethod(
            getListConnectionsMethod(),
            io.grpc.stub.ServerCalls.asyncUnaryCall(
              new MethodHandlers<
                com.engagement.v1.ListConnectionsRequest,
                com.engagement.v1.ListConnectionsResponse>(
                  this, METHODID_LIST_CONNECTIONS)))
          .addMethod(
            getCheckConnectionMethod(),
            io.grpc.stub.ServerCalls.asyncUnaryCall(
              new MethodHandlers<
                com.engagement.v1.CheckConnectionRequest,
                com.engagement.v1.CheckConnectionResponse>(
                  this, METHODID_CHECK_CONNECTION)))
          .addMethod(
            getDeleteConnectionMethod(),
            io.grpc.stub.ServerCalls.asyncUnaryCall(
              new MethodHandlers<
                com.engagement.v1.DeleteConnectionRequest,
                com.engagement.v1.DeleteConnectionResponse>(
                  this, METHODID_DELETE_CONNECTION)))
          .addMethod(
            getDeleteStepChangesMethod(),
            io.grpc.stub.ServerCalls.asyncUnaryCall(
              new MethodHandlers<
                com.engagement.v1.DeleteStepChangesRequest,
                com.engagement.v1.DeleteStepChangesResponse>(
                  this, METHODID_DELETE_STEP_CHANGES)))
          .build();
    }
  }

  /**
   * <pre>
   * Manages the connections of the calling application's customers: the credentials that `SequenceStepService` uses.
   * A connection is named by the customer and the provider, which are fields of each request here. Of the metadata, `x-api-key`
   * and `x-request-id` mean what they mean for `SequenceStepService`; `x-customer-id`, `x-provider-name` and `x-error-mode` are
   * not read.
   * The key of the application has to allow it: one that does not gets PERMISSION_DENIED. An application sees nobody else's
   * connections, and nobody gets credentials back.
   * Every failure is a non-OK status with the details that `UpdateStep` describes, without an envelope; only what a provider says
   * to `CheckConnection` is in its response. A request with a field that this version of the service does not know is
   * INVALID_ARGUMENT. A replica that keeps the connection in memory knows of a change some seconds later.
   * </pre>
   */
  public static final class ConnectionServiceStub extends io.grpc.stub.AbstractAsyncStub<ConnectionServiceStub> {
    private ConnectionServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected ConnectionServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new ConnectionServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Stores the credentials of a customer at a provider, in the place of earlier ones, ready for use. The provider is not asked:
     * `CheckConnection` does that.
     * Repeating a call is safe, also much later: credentials that were the last to be set here change nothing while the
     * connection is active, so a token that was renewed since is not replaced by the one before it.
     * INVALID_ARGUMENT: the provider does not take such credentials, or a part of them is missing or cannot be sent.
     * UNIMPLEMENTED: the provider is known, and has no use for a connection.
     * </pre>
     */
    public void setConnection(com.engagement.v1.SetConnectionRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.SetConnectionResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getSetConnectionMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Reads one connection, without its credentials. NOT_FOUND: there is none.
     * </pre>
     */
    public void getConnection(com.engagement.v1.GetConnectionRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.GetConnectionResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetConnectionMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists connections by customer and provider, without their credentials.
     * Pages follow each other by `page_token`. A connection that is made or deleted meanwhile may be missing or shown; none is
     * shown twice. INVALID_ARGUMENT: the token is not of this list.
     * </pre>
     */
    public void listConnections(com.engagement.v1.ListConnectionsRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.ListConnectionsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListConnectionsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Tries a connection by one cheap read at the provider, and renews its token first where that is due. A connection that needs
     * a new log-in is tried by a renewal, and is active again if that succeeds.
     * What is wrong with the connection is in `errors`, with status OK. NOT_FOUND: there is none.
     * </pre>
     */
    public void checkConnection(com.engagement.v1.CheckConnectionRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.CheckConnectionResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCheckConnectionMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Deletes a connection with its credentials here; the provider is not told. That there is none is no failure. Updates that
     * have begun go on.
     * </pre>
     */
    public void deleteConnection(com.engagement.v1.DeleteConnectionRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.DeleteConnectionResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getDeleteConnectionMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Deletes the history of a customer: every change that `SequenceStepService` keeps of it, as when the customer leaves. What is at
     * the provider stays, and so do the connections. That there is none is no failure, nor that no history is kept any more.
     * An update that has begun leaves its change: `DeleteConnection` comes first, so that none begins. If the deadline ends the
     * call, what was deleted by then is gone, and repeating the call goes on.
     * </pre>
     */
    public void deleteStepChanges(com.engagement.v1.DeleteStepChangesRequest request,
        io.grpc.stub.StreamObserver<com.engagement.v1.DeleteStepChangesResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getDeleteStepChangesMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * <pre>
   * Manages the connections of the calling application's customers: the credentials that `SequenceStepService` uses.
   * A connection is named by the customer and the provider, which are fields of each request here. Of the metadata, `x-api-key`
   * and `x-request-id` mean what they mean for `SequenceStepService`; `x-customer-id`, `x-provider-name` and `x-error-mode` are
   * not read.
   * The key of the application has to allow it: one that does not gets PERMISSION_DENIED. An application sees nobody else's
   * connections, and nobody gets credentials back.
   * Every failure is a non-OK status with the details that `UpdateStep` describes, without an envelope; only what a provider says
   * to `CheckConnection` is in its response. A request with a field that this version of the service does not know is
   * INVALID_ARGUMENT. A replica that keeps the connection in memory knows of a change some seconds later.
   * </pre>
   */
  public static final class ConnectionServiceBlockingStub extends io.grpc.stub.AbstractBlockingStub<ConnectionServiceBlockingStub> {
    private ConnectionServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected ConnectionServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new ConnectionServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Stores the credentials of a customer at a provider, in the place of earlier ones, ready for use. The provider is not asked:
     * `CheckConnection` does that.
     * Repeating a call is safe, also much later: credentials that were the last to be set here change nothing while the
     * connection is active, so a token that was renewed since is not replaced by the one before it.
     * INVALID_ARGUMENT: the provider does not take such credentials, or a part of them is missing or cannot be sent.
     * UNIMPLEMENTED: the provider is known, and has no use for a connection.
     * </pre>
     */
    public com.engagement.v1.SetConnectionResponse setConnection(com.engagement.v1.SetConnectionRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getSetConnectionMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Reads one connection, without its credentials. NOT_FOUND: there is none.
     * </pre>
     */
    public com.engagement.v1.GetConnectionResponse getConnection(com.engagement.v1.GetConnectionRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetConnectionMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists connections by customer and provider, without their credentials.
     * Pages follow each other by `page_token`. A connection that is made or deleted meanwhile may be missing or shown; none is
     * shown twice. INVALID_ARGUMENT: the token is not of this list.
     * </pre>
     */
    public com.engagement.v1.ListConnectionsResponse listConnections(com.engagement.v1.ListConnectionsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListConnectionsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Tries a connection by one cheap read at the provider, and renews its token first where that is due. A connection that needs
     * a new log-in is tried by a renewal, and is active again if that succeeds.
     * What is wrong with the connection is in `errors`, with status OK. NOT_FOUND: there is none.
     * </pre>
     */
    public com.engagement.v1.CheckConnectionResponse checkConnection(com.engagement.v1.CheckConnectionRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCheckConnectionMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Deletes a connection with its credentials here; the provider is not told. That there is none is no failure. Updates that
     * have begun go on.
     * </pre>
     */
    public com.engagement.v1.DeleteConnectionResponse deleteConnection(com.engagement.v1.DeleteConnectionRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getDeleteConnectionMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Deletes the history of a customer: every change that `SequenceStepService` keeps of it, as when the customer leaves. What is at
     * the provider stays, and so do the connections. That there is none is no failure, nor that no history is kept any more.
     * An update that has begun leaves its change: `DeleteConnection` comes first, so that none begins. If the deadline ends the
     * call, what was deleted by then is gone, and repeating the call goes on.
     * </pre>
     */
    public com.engagement.v1.DeleteStepChangesResponse deleteStepChanges(com.engagement.v1.DeleteStepChangesRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getDeleteStepChangesMethod(), getCallOptions(), request);
    }
  }

  /**
   * <pre>
   * Manages the connections of the calling application's customers: the credentials that `SequenceStepService` uses.
   * A connection is named by the customer and the provider, which are fields of each request here. Of the metadata, `x-api-key`
   * and `x-request-id` mean what they mean for `SequenceStepService`; `x-customer-id`, `x-provider-name` and `x-error-mode` are
   * not read.
   * The key of the application has to allow it: one that does not gets PERMISSION_DENIED. An application sees nobody else's
   * connections, and nobody gets credentials back.
   * Every failure is a non-OK status with the details that `UpdateStep` describes, without an envelope; only what a provider says
   * to `CheckConnection` is in its response. A request with a field that this version of the service does not know is
   * INVALID_ARGUMENT. A replica that keeps the connection in memory knows of a change some seconds later.
   * </pre>
   */
  public static final class ConnectionServiceFutureStub extends io.grpc.stub.AbstractFutureStub<ConnectionServiceFutureStub> {
    private ConnectionServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected ConnectionServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new ConnectionServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Stores the credentials of a customer at a provider, in the place of earlier ones, ready for use. The provider is not asked:
     * `CheckConnection` does that.
     * Repeating a call is safe, also much later: credentials that were the last to be set here change nothing while the
     * connection is active, so a token that was renewed since is not replaced by the one before it.
     * INVALID_ARGUMENT: the provider does not take such credentials, or a part of them is missing or cannot be sent.
     * UNIMPLEMENTED: the provider is known, and has no use for a connection.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<com.engagement.v1.SetConnectionResponse> setConnection(
        com.engagement.v1.SetConnectionRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getSetConnectionMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Reads one connection, without its credentials. NOT_FOUND: there is none.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<com.engagement.v1.GetConnectionResponse> getConnection(
        com.engagement.v1.GetConnectionRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetConnectionMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists connections by customer and provider, without their credentials.
     * Pages follow each other by `page_token`. A connection that is made or deleted meanwhile may be missing or shown; none is
     * shown twice. INVALID_ARGUMENT: the token is not of this list.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<com.engagement.v1.ListConnectionsResponse> listConnections(
        com.engagement.v1.ListConnectionsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListConnectionsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Tries a connection by one cheap read at the provider, and renews its token first where that is due. A connection that needs
     * a new log-in is tried by a renewal, and is active again if that succeeds.
     * What is wrong with the connection is in `errors`, with status OK. NOT_FOUND: there is none.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<com.engagement.v1.CheckConnectionResponse> checkConnection(
        com.engagement.v1.CheckConnectionRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCheckConnectionMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Deletes a connection with its credentials here; the provider is not told. That there is none is no failure. Updates that
     * have begun go on.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<com.engagement.v1.DeleteConnectionResponse> deleteConnection(
        com.engagement.v1.DeleteConnectionRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getDeleteConnectionMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Deletes the history of a customer: every change that `SequenceStepService` keeps of it, as when the customer leaves. What is at
     * the provider stays, and so do the connections. That there is none is no failure, nor that no history is kept any more.
     * An update that has begun leaves its change: `DeleteConnection` comes first, so that none begins. If the deadline ends the
     * call, what was deleted by then is gone, and repeating the call goes on.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<com.engagement.v1.DeleteStepChangesResponse> deleteStepChanges(
        com.engagement.v1.DeleteStepChangesRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getDeleteStepChangesMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_SET_CONNECTION = 0;
  private static final int METHODID_GET_CONNECTION = 1;
  private static final int METHODID_LIST_CONNECTIONS = 2;
  private static final int METHODID_CHECK_CONNECTION = 3;
  private static final int METHODID_DELETE_CONNECTION = 4;
  private static final int METHODID_DELETE_STEP_CHANGES = 5;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final ConnectionServiceImplBase serviceImpl;
    private final int methodId;

    MethodHandlers(ConnectionServiceImplBase serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_SET_CONNECTION:
          serviceImpl.setConnection((com.engagement.v1.SetConnectionRequest) request,
              (io.grpc.stub.StreamObserver<com.engagement.v1.SetConnectionResponse>) responseObserver);
          break;
        case METHODID_GET_CONNECTION:
          serviceImpl.getConnection((com.engagement.v1.GetConnectionRequest) request,
              (io.grpc.stub.StreamObserver<com.engagement.v1.GetConnectionResponse>) responseObserver);
          break;
        case METHODID_LIST_CONNECTIONS:
          serviceImpl.listConnections((com.engagement.v1.ListConnectionsRequest) request,
              (io.grpc.stub.StreamObserver<com.engagement.v1.ListConnectionsResponse>) responseObserver);
          break;
        case METHODID_CHECK_CONNECTION:
          serviceImpl.checkConnection((com.engagement.v1.CheckConnectionRequest) request,
              (io.grpc.stub.StreamObserver<com.engagement.v1.CheckConnectionResponse>) responseObserver);
          break;
        case METHODID_DELETE_CONNECTION:
          serviceImpl.deleteConnection((com.engagement.v1.DeleteConnectionRequest) request,
              (io.grpc.stub.StreamObserver<com.engagement.v1.DeleteConnectionResponse>) responseObserver);
          break;
        case METHODID_DELETE_STEP_CHANGES:
          serviceImpl.deleteStepChanges((com.engagement.v1.DeleteStepChangesRequest) request,
              (io.grpc.stub.StreamObserver<com.engagement.v1.DeleteStepChangesResponse>) responseObserver);
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

  private static abstract class ConnectionServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    ConnectionServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return com.engagement.v1.ConnectionServiceOuterClass.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("ConnectionService");
    }
  }

  private static final class ConnectionServiceFileDescriptorSupplier
      extends ConnectionServiceBaseDescriptorSupplier {
    ConnectionServiceFileDescriptorSupplier() {}
  }

  private static final class ConnectionServiceMethodDescriptorSupplier
      extends ConnectionServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final String methodName;

    ConnectionServiceMethodDescriptorSupplier(String methodName) {
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
      synchronized (ConnectionServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new ConnectionServiceFileDescriptorSupplier())
              .addMethod(getSetConnectionMethod())
              .addMethod(getGetConnectionMethod())
              .addMethod(getListConnectionsMethod())
              .addMethod(getCheckConnectionMethod())
              .addMethod(getDeleteConnectionMethod())
              .addMethod(getDeleteStepChangesMethod())
              .build();
        }
      }
    }
    return result;
  }
}
