"""Starts and stops the gRPC server: the service itself, health, reflection, TLS."""

from dataclasses import dataclass
from typing import Final

import grpc
from engagement.v1 import sequence_step_service_pb2
from engagement.v1.connection_service_pb2_grpc import add_ConnectionServiceServicer_to_server
from engagement.v1.sequence_step_service_pb2_grpc import add_SequenceStepServiceServicer_to_server
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from service.api.address import PortInUse, bind, check_unix_is_free, is_unix, numeric
from service.api.descriptors import max_connections
from service.api.tls import TlsFiles, TlsMaterial, TlsWatch
from service.domain.validation import MAX_BODY_BYTES
from service.rpc import connection_servicer as connections
from service.rpc.connection_servicer import ConnectionServicer
from service.rpc.health import HealthServicer
from service.rpc.interceptors import UnreadRequestInterceptor
from service.rpc.keyless import KeylessInterceptor
from service.rpc.reflection import add_reflection
from service.rpc.request import DECODERS
from service.rpc.servicer import SequenceStepServicer

SERVICE_NAME: Final = sequence_step_service_pb2.DESCRIPTOR.services_by_name["SequenceStepService"].full_name

# What the contract allows: the body, the custom fields as protobuf, and the short rest. What is a little longer is read
# too, so that it is refused with a reason.
_MAX_MESSAGE_BYTES: Final = MAX_BODY_BYTES + 1024 * 1024

# Their callers have keys.
_SERVICE_NAMES: Final = (SERVICE_NAME, connections.SERVICE_NAME)

# What health checks ask about: the server as a whole, and its services.
_HEALTH_NAMES: Final = ("", *_SERVICE_NAMES)

_MAX_METADATA_BYTES: Final = 16 * 1024

OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
    # A compressed message could become many times as long before anybody knows who sends it. Its caller gets UNIMPLEMENTED.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    # What comes of a request that nobody has asked for yet is kept, so it is little; a method that reads takes more.
    ("grpc.http2.lookahead_bytes", 64 * 1024),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_concurrent_streams", 256),
    # Clients may send pings every ten seconds, with or without calls, and a little more often by chance.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    # Connections that do nothing, or do not begin, end. gRPC varies the age by a tenth, so that they do not end together.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.max_connection_age_ms", 1_800_000),
    ("grpc.max_connection_age_grace_ms", 120_000),
)


@dataclass(frozen=True, slots=True)
class GrpcServer:
    """A server that listens.

    Attributes:
        server: gRPC's own server.
        health: What `grpc.health.v1` answers.
        address: Where it listens, as HOST:PORT with the real port.
    """

    server: grpc.aio.Server
    health: HealthServicer
    address: str
    _keyless: KeylessInterceptor

    async def set_serving(self, *, is_serving: bool = True) -> None:
        """Turns SERVING, or NOT_SERVING."""
        status = health_pb2.HealthCheckResponse.SERVING if is_serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in _HEALTH_NAMES:
            await self.health.set(name, status)

    async def drain(self) -> None:
        """Turns NOT_SERVING for good, and serves on."""
        await self.health.enter_graceful_shutdown()

    async def stop(self, grace: float) -> None:
        """Turns NOT_SERVING, sends clients elsewhere, ends streams, and lets running calls end.

        Args:
            grace: Seconds that they have.
        """
        await self.drain()
        self._keyless.end_streams()
        # New calls are not refused before gRPC has sent GOAWAY: a refusal now would only make their clients come back to
        # this server in a wave. gRPC answers the few that cross its GOAWAY with CANCELLED, which the retry policy of
        # docs/clients.md repeats like UNAVAILABLE.
        await self.server.stop(grace)


async def start(
    servicer: SequenceStepServicer,
    address: str,
    tls: TlsFiles | None,
    *,
    connection_servicer: ConnectionServicer | None = None,
    shared: bool = False,
    channelz: bool = False,
) -> GrpcServer:
    """Starts a server; it answers NOT_SERVING until `set_serving`.

    Args:
        servicer: What serves the calls on steps.
        address: HOST:PORT or unix:PATH; port 0 picks a free one.
        tls: The certificate to show and the clients to trust; None for plaintext.
        connection_servicer: What serves the calls on connections; None to serve none.
        shared: Share the address with other workers.
        channelz: Serve `grpc.channelz.v1` too.

    Raises:
        PortInUse: The address cannot be listened on.
    """
    keyless = KeylessInterceptor(*_SERVICE_NAMES)
    server = grpc.aio.server(
        interceptors=(
            UnreadRequestInterceptor(SERVICE_NAME, DECODERS),
            UnreadRequestInterceptor(connections.SERVICE_NAME, connections.DECODERS),
            keyless,
        ),
        options=(
            *OPTIONS,
            ("grpc.so_reuseport", int(shared)),
            ("grpc.enable_channelz", int(channelz)),
            ("grpc.max_allowed_incoming_connections", max_connections()),
        ),
    )
    add_SequenceStepServiceServicer_to_server(servicer, server)
    if connection_servicer is not None:
        add_ConnectionServiceServicer_to_server(connection_servicer, server)
    health_servicer = HealthServicer(_HEALTH_NAMES)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    for name in _HEALTH_NAMES:
        await health_servicer.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
    add_reflection(server, *_SERVICE_NAMES, health.SERVICE_NAME)
    if channelz:
        from grpc_channelz.v1 import channelz as channelz_service  # noqa: PLC0415  # seldom wanted

        channelz_service.add_channelz_servicer(server)
    try:
        listening_at = _add_ports(server, address, server_credentials(tls) if tls else None, shared=shared)
    except BaseException:
        # A server that nobody stops does so when it is collected, in whatever event loop runs by then.
        await server.stop(None)
        raise
    await server.start()
    return GrpcServer(server, health_servicer, listening_at, keyless)


def _add_ports(
    server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None, *, shared: bool
) -> str:
    """Lets a server listen on an address; returns it with the real port."""
    if is_unix(address):
        check_unix_is_free(address)
        sockets = []
        meant = [address]
    else:
        # The sockets find out what the address means, and that it is free; gRPC binds its own beside them. They stay bound
        # meanwhile, so that no other process is given a port that was picked here.
        sockets = bind(address, shared=shared)
        meant = [numeric(bound) for bound in sockets]
    try:
        for each in meant:
            port = server.add_secure_port(each, credentials) if credentials else server.add_insecure_port(each)
    except RuntimeError as error:
        raise PortInUse.at(address) from error
    finally:
        for bound in sockets:
            bound.close()
    return address if is_unix(address) else f"{address.rpartition(':')[0]}:{port}"


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """TLS credentials that follow the files: every handshake checks whether they changed.

    Raises:
        TlsError: The files cannot be used at the start.
    """
    watch = TlsWatch(files)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        changed = watch.changed()
        return _configuration(changed) if changed is not None else None

    return grpc.dynamic_ssl_server_credentials(
        _configuration(watch.current),
        fetch,  # type: ignore[arg-type]  # the stubs do not know that None means no change
        require_client_authentication=files.client_ca is not None,
    )


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.private_key, material.certificate)], root_certificates=material.client_ca
    )
