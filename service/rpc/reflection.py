"""Server reflection by both of its names: newer tools ask for v1 first, and grpcio-reflection has only v1alpha."""

from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

_V1ALPHA: Final = "grpc.reflection.v1alpha"
_V1: Final = "grpc.reflection.v1"
_V1_SERVICE: Final = f"{_V1}.ServerReflection"


def add_reflection(server: grpc.aio.Server, *service_names: str) -> None:
    """Adds reflection of the services, and of itself, to a server."""
    _register_v1_file()
    # Clients look up the messages in the details of a status by reflection, which finds them only if their file is loaded.
    assert error_details_pb2.DESCRIPTOR is not None  # noqa: S101
    servicer = reflection.aio.ReflectionServicer((*service_names, reflection.SERVICE_NAME, _V1_SERVICE))
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    # The messages of the two versions are the same on the wire.
    method: Any = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_V1_SERVICE, {"ServerReflectionInfo": method}),)
    )


def _register_v1_file() -> None:
    """Adds the v1 service's file, which differs from v1alpha's in its names only, to those that reflection finds."""
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name = "grpc/reflection/v1/reflection.proto"
    file.package = _V1
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(_V1ALPHA, _V1)
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(_V1ALPHA, _V1)
            method.output_type = method.output_type.replace(_V1ALPHA, _V1)
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
