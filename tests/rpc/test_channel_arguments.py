"""Each channel argument of the server: gRPC knows its name, and what it promises is seen over a socket."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from engagement.v1 import sequence_step_service_pb2 as pb
from grpc_health.v1 import health_pb2, health_pb2_grpc

from seqstep_client import channel
from service.api.address import PortInUse
from service.rpc import server as rpc_server
from tests.support.grpc_server import CUSTOMER, EMPTY, GOOD, METHOD, RunningGrpcServer, refusal_of
from tests.support.http2 import (
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    PING,
    http2_connection,
)
from tests.support.waiting import until

WATCH = "/grpc.health.v1.Health/Watch"
ARGUMENTS = dict(rpc_server.OPTIONS)


@asynccontextmanager
async def running(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> AsyncIterator[RunningGrpcServer]:
    """A server with some arguments changed, by the last parts of their names."""
    options = ARGUMENTS.copy()
    for end, value in changed.items():
        [name] = [each for each in options if each.endswith(f".{end}")]
        options[name] = value
    monkeypatch.setattr(rpc_server, "OPTIONS", tuple(options.items()))
    server = RunningGrpcServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.mark.parametrize(
    "name", sorted({*ARGUMENTS, "grpc.max_allowed_incoming_connections", *dict(channel.channel_options("127.0.0.1:1"))})
)
def test_grpc_knows_the_argument(name: str) -> None:
    # gRPC ignores names that it does not know. All that it does know are texts in its library.
    [path] = Path(grpc.__file__).parent.glob("_cython/cygrpc*.so")
    library = path.read_bytes()
    assert name.encode() + b"\0" in library
    assert b"grpc.http2.min_recv_ping_interval_without_data_ms\0" not in library


@pytest.mark.parametrize(("interval", "pings", "may_stay"), [(50, 0.1, True), (50, 0.01, False)])
async def test_pings_may_come_twice_as_often_as_clients_send_them(
    monkeypatch: pytest.MonkeyPatch,
    interval: int,
    pings: float,
    may_stay: bool,  # noqa: FBT001
) -> None:
    """The interval scaled down: clients send pings every ten seconds, and five are allowed."""
    assert ARGUMENTS["grpc.http2.min_ping_interval_without_data_ms"] == 5_000
    async with (
        running(monkeypatch, min_ping_interval_without_data_ms=interval) as server,
        http2_connection(server.grpc.address) as connection,
    ):
        await until(lambda: connection.settings)
        for _ in range(8):
            connection.send(PING, payload=bytes(8))
            await asyncio.sleep(pings)
        await until(lambda: connection.pongs == 8 or connection.goaway is not None)
        assert connection.goaway == (None if may_stay else b"too_many_pings")


async def test_a_clients_own_keepalive_outlives_its_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, min_ping_interval_without_data_ms=20) as server:
        release = asyncio.Event()
        server.wait_for(release)
        options = (("grpc.keepalive_time_ms", 60), ("grpc.keepalive_permit_without_calls", 1))
        async with grpc.aio.insecure_channel(server.grpc.address, options) as client:
            call: Any = client.unary_unary(METHOD, pb.UpdateStepRequest.SerializeToString)(EMPTY, metadata=GOOD)
            await asyncio.sleep(0.5)
            release.set()
            await call
            assert await call.code() is grpc.StatusCode.OK


async def test_streams_and_unread_data_of_a_connection_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as server, http2_connection(server.grpc.address) as connection:
        await until(lambda: connection.settings)
        assert connection.settings[MAX_CONCURRENT_STREAMS] == 256
        assert connection.settings[INITIAL_WINDOW_SIZE] == 64 * 1024


async def test_the_window_stays_the_same_however_fast_the_connection_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as server, http2_connection(server.grpc.address) as connection:
        await until(lambda: connection.settings)
        for _ in range(4):
            stream = connection.open(METHOD, GOOD)
            record = pb.SequenceStepRecord(template=pb.StepTemplate(body="x" * 5 * 2**20))
            request = pb.UpdateStepRequest(record=record).SerializeToString()
            await connection.send_data(stream, b"\0" + len(request).to_bytes(4, "big") + request, is_last=True)
            await until(partial(connection.ended.__contains__, stream))
        assert len(server.updates) == 4
        assert connection.settings[INITIAL_WINDOW_SIZE] == 64 * 1024


async def test_an_idle_connection_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        running(monkeypatch, max_connection_idle_ms=100) as server,
        http2_connection(server.grpc.address) as connection,
    ):
        await until(lambda: connection.is_closed)
        assert connection.goaway == b"connection idle"


async def test_an_old_connection_ends_with_the_streams_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        running(monkeypatch, max_connection_age_ms=100, max_connection_age_grace_ms=100) as server,
        http2_connection(server.grpc.address) as connection,
    ):
        connection.open(WATCH)
        await until(lambda: connection.is_closed)
        assert connection.goaway == b"max_age"


async def test_an_old_connection_lets_its_calls_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, max_connection_age_ms=100) as server:
        release = asyncio.Event()
        server.wait_for(release)
        async with http2_connection(server.grpc.address) as connection:
            stream = connection.open(METHOD, GOOD)
            await connection.send_data(stream, b"\0\0\0\0\2\x1a\0", is_last=True)
            await until(lambda: connection.goaway == b"max_age")
            release.set()
            await until(lambda: connection.is_closed)
            assert stream in connection.ended
            assert b"grpc-status" in connection.streams[stream]


async def test_a_connection_that_does_not_begin_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, server_handshake_timeout_ms=100) as server:
        host, _, port = server.grpc.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(10):
            await reader.read()
        writer.close()


async def test_connections_beyond_the_limit_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_server, "max_connections", lambda: 2)
    async with running(monkeypatch) as server:
        async with http2_connection(server.grpc.address) as first, http2_connection(server.grpc.address) as second:
            await until(lambda: first.settings and second.settings)
            async with http2_connection(server.grpc.address) as third:
                await until(lambda: third.is_closed)
                assert not third.settings
            assert not first.is_closed
            assert not second.is_closed

        async def is_let_in() -> bool:
            async with http2_connection(server.grpc.address) as later:
                await until(lambda: later.settings or later.is_closed)
                return bool(later.settings)

        async with asyncio.timeout(10):
            while not await is_let_in():
                pass


async def test_a_compressed_request_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as server:
        for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await server.stub.UpdateStep(EMPTY, metadata=GOOD, compression=compression, timeout=5)
            assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
        health = health_pb2_grpc.HealthStub(server.channel)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await health.Check(health_pb2.HealthCheckRequest(), compression=grpc.Compression.Gzip, timeout=5)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert server.updates == []


async def test_a_message_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as server:
        for length, code in ((6 * 2**20, "RESOURCE_EXHAUSTED"), (6 * 2**20 - 100, "OK")):
            request = pb.UpdateStepRequest(sequence_id="x" * length, record=pb.SequenceStepRecord())
            call = server.stub.UpdateStep(request, metadata=GOOD, timeout=20)
            assert (await call.code()).name == code


async def test_metadata_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as server:
        # gRPC would refuse some from 8 KiB on, by chance.
        for _ in range(20):
            await server.call(*GOOD, ("x-long", "x" * 15_000))
        long = ("x-long", "x" * 40_000)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await server.call(*GOOD, long)
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_port_that_was_picked_is_given_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    server_type = type(grpc.aio.server())
    add_insecure_port = server_type.add_insecure_port
    refused = []

    def take_port_first(server: grpc.aio.Server, address: str) -> int:
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, True)
            host, _, port = address.rpartition(":")
            try:
                other.bind((host, int(port)))
                other.listen()
            except OSError as error:
                refused.append(errno.errorcode[error.errno or 0])
            return add_insecure_port(server, address)

    monkeypatch.setattr(server_type, "add_insecure_port", take_port_first)
    async with running(monkeypatch) as server:
        assert refused == ["EADDRINUSE"]
        assert await server.call()


async def test_a_server_that_cannot_listen_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    server_type = type(grpc.aio.server())
    stop = server_type.stop
    stopped = []

    async def noted_stop(server: grpc.aio.Server, grace: float | None) -> None:
        stopped.append(server)
        await stop(server, grace)

    async with running(monkeypatch) as server:
        monkeypatch.setattr(server_type, "stop", noted_stop)
        with pytest.raises(PortInUse):
            await rpc_server.start(server.servicer(), server.grpc.address, None)
        assert len(stopped) == 1
        assert await server.call()


async def test_a_server_by_itself_shares_no_address_and_shows_no_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as server:
        with pytest.raises(PortInUse):
            await rpc_server.start(server.servicer(), server.grpc.address, None)
        call: Any = server.channel.unary_unary("/grpc.channelz.v1.Channelz/GetTopChannels")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(b"", timeout=5)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_servers_share_an_address_only_if_both_are_to(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as server:
        first = await rpc_server.start(server.servicer(), "127.0.0.1:0", None, shared=True)
        second = await rpc_server.start(server.servicer(), first.address, None, shared=True)
        assert second.address == first.address
        for address, shared in ((first.address, False), (server.grpc.address, True)):
            with pytest.raises(PortInUse):
                await rpc_server.start(server.servicer(), address, None, shared=shared)
        for each in (first, second):
            await each.stop(0)


async def test_a_caller_without_a_key_costs_no_more_than_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as server, http2_connection(server.grpc.address) as connection:
        await until(lambda: connection.settings)
        stream = connection.open(METHOD, CUSTOMER)
        sent = await connection.send_data(stream, b"\0\0\x50\0\0" + bytes(5 * 2**20))
        assert stream in connection.ended
        assert sent <= 64 * 1024
        refusal = await refusal_of(server.open(*CUSTOMER))
        assert refusal.code is grpc.StatusCode.UNAUTHENTICATED
