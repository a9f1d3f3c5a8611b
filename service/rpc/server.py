"""The gRPC server: the service itself, health, and reflection."""

from dataclasses import dataclass
from typing import Any, Final

import grpc
from engagement.v1 import sequence_step_service_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.rpc import error_details_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from service.api.address import PortInUse
from service.api.tls import TlsFiles
from service.domain.validation import MAX_BODY_BYTES
from service.rpc.servicer import SequenceStepServicer
from service.rpc.status import MAX_ENVELOPE_BYTES
from service.rpc.tls import server_credentials

SERVICE_NAME: Final = sequence_step_service_pb2.DESCRIPTOR.services_by_name["SequenceStepService"].full_name

_REFLECTION_V1: Final = "grpc.reflection.v1.ServerReflection"

# Longer messages than the contract allows are read too, up to a point, so that they are refused with a reason.
_MAX_MESSAGE_BYTES: Final = 3 * MAX_BODY_BYTES

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 4 * MAX_ENVELOPE_BYTES),
    ("grpc.so_reuseport", 1),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
)


@dataclass(frozen=True, slots=True)
class RpcServer:
    """A server that listens.

    Attributes:
        server: gRPC's own server.
        health: What `grpc.health.v1` answers.
        servicer: What serves the calls.
        address: Where it listens, as HOST:PORT with the real port.
    """

    server: grpc.aio.Server
    health: health.aio.HealthServicer
    servicer: SequenceStepServicer
    address: str

    async def set_serving(self) -> None:
        """Tells health checks that calls are welcome."""
        for name in ("", SERVICE_NAME):
            await self.health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace: float) -> None:
        """Turns NOT_SERVING, sends clients elsewhere, and lets running calls end.

        Args:
            grace: Seconds that they have.
        """
        await self.health.enter_graceful_shutdown()
        # New calls are not refused before gRPC tells its clients to go elsewhere: a refusal now would only make them come
        # back to this server in a wave. gRPC answers the few that cross its farewell with CANCELLED, which the retry policy
        # of docs/clients.md repeats like UNAVAILABLE.
        await self.server.stop(grace)


async def start(servicer: SequenceStepServicer, address: str, tls: TlsFiles | None) -> RpcServer:
    """Starts a server; it answers NOT_SERVING until `set_serving`.

    Args:
        servicer: What serves the calls.
        address: HOST:PORT; port 0 picks a free one.
        tls: The certificate to show and the clients to trust; None for plaintext.

    Raises:
        PortInUse: The address cannot be listened on.
    """
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((_service_handler(servicer),))
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    for name in ("", SERVICE_NAME):
        await health_servicer.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
    _add_reflection(server)
    try:
        port = server.add_secure_port(address, server_credentials(tls)) if tls else server.add_insecure_port(address)
    except RuntimeError as error:
        raise PortInUse(f"cannot listen on {address}; is something else listening there?") from error
    await server.start()
    host = address.rpartition(":")[0]
    return RpcServer(server, health_servicer, servicer, f"{host}:{port}")


def _service_handler(servicer: SequenceStepServicer) -> grpc.GenericRpcHandler:
    # Bytes in and bytes out: the servicer decodes messages itself.
    method: Any = grpc.unary_unary_rpc_method_handler(servicer.update_step)
    return grpc.method_handlers_generic_handler(SERVICE_NAME, {"UpdateStep": method})


def _add_reflection(server: grpc.aio.Server) -> None:
    """Reflection by both of its names; newer tools ask for v1 first, and grpcio-reflection has only v1alpha.

    The messages of the two are the same on the wire.
    """
    names = (
        SERVICE_NAME,
        health.SERVICE_NAME,
        reflection.SERVICE_NAME,
        _REFLECTION_V1,
    )
    _describe_reflection_v1()
    # Details of statuses are found by reflection only if their file is known.
    assert error_details_pb2.DESCRIPTOR is not None  # noqa: S101
    servicer = reflection.aio.ReflectionServicer(names)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    method: Any = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_REFLECTION_V1, {"ServerReflectionInfo": method}),)
    )


def _describe_reflection_v1() -> None:
    """Puts the v1 service's description, which differs from v1alpha's in its names only, where reflection finds it."""
    pool = descriptor_pool.Default()
    alpha, stable = "grpc.reflection.v1alpha", "grpc.reflection.v1"
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name = "grpc/reflection/v1/reflection.proto"
    file.package = stable
    for message in file.message_type:
        for part in message.field:
            if part.type_name:
                part.type_name = part.type_name.replace(alpha, stable)
    for service in file.service:
        for rpc in service.method:
            rpc.input_type = rpc.input_type.replace(alpha, stable)
            rpc.output_type = rpc.output_type.replace(alpha, stable)
    pool.AddSerializedFile(file.SerializeToString())
