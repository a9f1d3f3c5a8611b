"""Calls without a key: how many may wait and stay, and for how long."""

import asyncio
import contextlib
from functools import partial

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.rpc import keyless
from tests.support.grpc_server import RunningGrpcServer
from tests.support.http2 import Http2Connection, http2_connection
from tests.support.waiting import until

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
REQUEST = health_pb2.HealthCheckRequest()


async def check(server: RunningGrpcServer) -> None:
    answer = await health_pb2_grpc.HealthStub(server.channel).Check(REQUEST, timeout=20)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("path", [CHECK, WATCH, REFLECTION])
async def test_few_unfinished_requests_wait_and_the_oldest_ends(server: RunningGrpcServer, path: str) -> None:
    """Whoever sends its request with the call is served at once, however many others do not."""
    async with http2_connection(server.grpc.address) as first, http2_connection(server.grpc.address) as second:
        for connection in (first, second):
            for _ in range(keyless.MAX_STREAMS_OF_CONNECTION):
                stream = connection.open(path)
                await connection.send_data(stream, b"\0\0\x10\0\0" + bytes(1000))
        await until(lambda: len(first.ended) + len(second.ended) == keyless.MAX_WAITING)
        await check(server)


async def test_a_request_that_does_not_come_ends_its_call(
    server: RunningGrpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyless, "WAITING_SECONDS", 0.1)
    await server.stop()
    await server.start()
    async with http2_connection(server.grpc.address) as connection:
        streams = {connection.open(path) for path in (CHECK, WATCH, REFLECTION)}
        await until(lambda: connection.ended == streams)
    await check(server)


async def test_streams_of_a_connection_are_limited(server: RunningGrpcServer) -> None:
    watch = health_pb2_grpc.HealthStub(server.channel).Watch
    watching = [watch(REQUEST, timeout=20) for _ in range(keyless.MAX_STREAMS_OF_CONNECTION)]
    for each in watching:
        await each.read()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await watch(REQUEST, timeout=20).read()
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    async with grpc.aio.insecure_channel(server.grpc.address, [("grpc.use_local_subchannel_pool", 1)]) as other:
        assert (await health_pb2_grpc.HealthStub(other).Watch(REQUEST, timeout=20).read()).status
    for each in watching:
        each.cancel()


@pytest.mark.parametrize(
    "path", [WATCH, REFLECTION, "/unknown.Service/Method", "/engagement.v1.SequenceStepService/ListSteps"]
)
async def test_a_flood_of_other_calls_keeps_none_from_being_taken(server: RunningGrpcServer, path: str) -> None:
    """gRPC ends calls that wait to be taken when there are more than a thousand; those of others are not among them."""
    async with contextlib.AsyncExitStack() as stack:
        flooding = [await stack.enter_async_context(http2_connection(server.grpc.address)) for _ in range(20)]

        async def flood(connection: Http2Connection) -> None:
            for _ in range(250):
                await connection.send_data(connection.open(path), b"\0\0\0\0\0", is_last=True)

        async def call(number: int) -> None:
            await asyncio.sleep(number / 100)
            try:
                await server.call()
            except grpc.aio.AioRpcError as error:
                # This small server serves few at a time; what it refuses it has taken.
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017

        await asyncio.gather(*map(flood, flooding), *map(call, range(100)))


async def test_one_stream_too_many_ends_one_of_who_has_most(
    server: RunningGrpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyless, "MAX_STREAMS", 3)
    await server.stop()
    await server.start()
    message = b"\0\0\0\0\0"
    async with http2_connection(server.grpc.address) as good, http2_connection(server.grpc.address) as greedy:
        watching = good.open(WATCH)
        await good.send_data(watching, message, is_last=True)
        await until(lambda: watching in good.streams)
        for _ in range(5):
            stream = greedy.open(WATCH)
            await greedy.send_data(stream, message, is_last=True)
            await until(partial(greedy.streams.__contains__, stream))
        await until(lambda: len(greedy.ended) == 3)
        assert not good.ended


async def test_the_oldest_of_who_has_most_ends_and_nobody_else() -> None:
    limit = keyless._Limit(5, 60.0)
    ended: list[str] = []

    async def hold(peer: str, name: str) -> None:
        try:
            async with limit.one(peer):
                await asyncio.Event().wait()
        except TimeoutError:
            ended.append(name)

    # Older ones have names on both sides of that of the greedy one.
    holding = []
    for peer, name in (("c", "c1"), ("a", "a1"), ("b", "b1"), ("b", "b2"), ("b", "b3"), ("d", "d1"), ("d", "d2")):
        holding.append(asyncio.create_task(hold(peer, name)))
        await asyncio.sleep(0)
    await until(lambda: len(ended) == 2)
    assert ended == ["b1", "b2"]
    assert [limit.count(peer) for peer in "abcd"] == [1, 1, 1, 2]
    limit.end()
    await asyncio.gather(*holding)
    assert [limit.count(peer) for peer in "abcd"] == [0, 0, 0, 0]
    with pytest.raises(TimeoutError):
        async with limit.one("a"):
            await asyncio.sleep(0.5)


async def test_a_stream_ends_after_its_longest_time(server: RunningGrpcServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyless, "STREAM_SECONDS", 0.2)
    await server.stop()
    await server.start()
    stream = health_pb2_grpc.HealthStub(server.channel).Watch(REQUEST, timeout=20)
    await stream.read()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stream.read()
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_reflection_stream_takes_several_requests(server: RunningGrpcServer) -> None:
    stream = reflection_pb2_grpc.ServerReflectionStub(server.channel).ServerReflectionInfo(timeout=20)
    for _ in range(3):
        await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert (await stream.read()).list_services_response.service
        await asyncio.sleep(0)
    await stream.done_writing()
    assert await stream.code() is grpc.StatusCode.OK
