"""`attack`: one caller, with or without a key, does its worst, while a bystander makes calls."""

import asyncio
import contextlib
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import grpc
import psutil
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1 import sequence_step_service_pb2_grpc

from bench.load import Load, Result
from bench.measure import LoadFailed, measure
from bench.processes import Cores
from bench.report import Row, Section, Table
from bench.stage import Stage
from bench.upstream import small
from bench.variants import Service, service
from service.connections import Applications, ConnectionAdministration, Keyring, Store
from service.domain.credentials import OAuthCredentials, Secret
from service.domain.step import Provider
from tests.support.http2 import http2_connection

_SECONDS: Final = 5.0
_RATE: Final = 20.0
_OUTREACH_SECONDS: Final = 0.25
_MIB: Final = 2**20
_METHOD: Final = "/engagement.v1.SequenceStepService/UpdateStep"
_CHECK, _WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"


@dataclass(frozen=True, slots=True)
class Target:
    """What is attacked.

    Attributes:
        grpc_port: The gRPC server's port.
        http_port: The HTTP server's port.
        key: A key of an application that the bystander does not belong to.
    """

    grpc_port: int
    http_port: int
    key: str

    @property
    def grpc_address(self) -> str:
        """Where the gRPC server is."""
        return f"127.0.0.1:{self.grpc_port}"

    def metadata(self, customer: str = "greedy", provider: str = "apollo") -> tuple[tuple[str, str], ...]:
        """The metadata of a call of the greedy application."""
        return (("x-customer-id", customer), ("x-provider-name", provider), ("x-api-key", self.key))


Attack = Callable[[Target], Awaitable[None]]


async def _long_custom_fields(target: Target) -> None:
    """512 KiB with a key of 256 KiB, over HTTP."""
    fields = b'{"record": {"custom_fields": {"' + b"k" * (_MIB // 4) + b'": [' + b"0," * (_MIB // 8) + b"0]}}}"
    await _patch(target, fields)


async def _nested_custom_fields(target: Target) -> None:
    """Nested 470 deep with long keys, over HTTP."""
    fields = b'{"record": {"custom_fields": ' + (b'{"' + b"k" * 1000 + b'": ') * 470 + b"0" + b"}" * 470 + b"}}"
    await _patch(target, fields)


async def _long_struct(target: Target) -> None:
    """The same as a gRPC message of 5 MiB."""
    request = pb.UpdateStepRequest(sequence_id="1", sequence_step_id="2")
    request.record.custom_fields["k" * (_MIB // 4)] = [0.0] * 400_000
    async with grpc.aio.insecure_channel(target.grpc_address) as channel:
        stub = sequence_step_service_pb2_grpc.SequenceStepServiceStub(channel)
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.UpdateStep(request, metadata=target.metadata(), timeout=10)


async def _unfinished_messages(target: Target) -> None:
    """40 unfinished messages of 5 MiB on one connection, without a key."""
    message = b"\0\0\x50\0\0" + bytes(5 * _MIB - 1)
    async with http2_connection(target.grpc_address) as connection:
        streams = [connection.open(path) for path in (_METHOD, _CHECK) * 20]
        await asyncio.gather(*(connection.send_data(stream, message) for stream in streams))
        await asyncio.Event().wait()


async def _compressed_messages(target: Target) -> None:
    """150 streams of gzip that would unpack to 5 MiB each, without a key."""
    request = pb.UpdateStepRequest(sequence_id="x" * 5 * _MIB)
    async with grpc.aio.insecure_channel(target.grpc_address) as channel:
        stub = sequence_step_service_pb2_grpc.SequenceStepServiceStub(channel)
        while True:
            calls = [stub.UpdateStep(request, compression=grpc.Compression.Gzip, timeout=10) for _ in range(10)]
            await asyncio.gather(*calls, return_exceptions=True)


async def _short_chunks(target: Target) -> None:
    """2.3 MiB of one-byte chunks, over HTTP without a key."""
    while True:
        await _send(target.http_port, _head(()) + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 400_000)


async def _watches(target: Target) -> None:
    """5,000 streams of `Health/Watch` on 20 connections."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            connection = await stack.enter_async_context(http2_connection(target.grpc_address))
            for _ in range(250):
                await connection.send_data(connection.open(_WATCH), b"\0\0\0\0\0", is_last=True)
        await asyncio.Event().wait()


async def _idle_connections(target: Target) -> None:
    """250 connections to each server that do nothing."""
    opened = [
        await asyncio.open_connection("127.0.0.1", port)
        for port in (target.grpc_port, target.http_port)
        for _ in range(250)
    ]
    try:
        await asyncio.Event().wait()
    finally:
        for _, writer in opened:
            writer.transport.abort()


async def _short_deadlines(target: Target) -> None:
    """Calls with a deadline of 150 ms to a healthy provider that takes 250 ms."""
    request = pb.UpdateStepRequest(sequence_id="1", sequence_step_id="2")
    request.record.template.subject = "x"
    async with grpc.aio.insecure_channel(target.grpc_address) as channel:
        stub = sequence_step_service_pb2_grpc.SequenceStepServiceStub(channel)
        while True:
            calls = [
                stub.UpdateStep(request, metadata=target.metadata(provider="outreach"), timeout=0.15) for _ in range(8)
            ]
            await asyncio.gather(*calls, return_exceptions=True)


async def _missing_bodies(target: Target) -> None:
    """256 requests of one key, of many customers, whose bodies do not come."""
    async with contextlib.AsyncExitStack() as stack:
        for number in range(256):
            _, writer = await asyncio.open_connection("127.0.0.1", target.http_port)
            stack.callback(writer.transport.abort)
            writer.write(_head(target.metadata(f"c{number}")) + b"content-length: 10\r\n\r\n")
        await asyncio.Event().wait()


ATTACKS: Final[dict[str, tuple[Attack, str]]] = {
    "512 KiB of custom fields, long key (HTTP)": (_long_custom_fields, "apollo"),
    "custom fields 470 levels deep (HTTP)": (_nested_custom_fields, "apollo"),
    "4.2 MiB of custom fields, long key (gRPC)": (_long_struct, "apollo"),
    "40 unfinished messages, no key": (_unfinished_messages, "apollo"),
    "compressed messages, no key": (_compressed_messages, "apollo"),
    "one-byte chunks, no key": (_short_chunks, "apollo"),
    "5,000 health watches": (_watches, "apollo"),
    "500 idle connections": (_idle_connections, "apollo"),
    "deadlines too short for the provider": (_short_deadlines, "outreach"),
    "256 requests whose bodies do not come": (_missing_bodies, "apollo"),
}
"""Each attack, and the provider that the bystander calls meanwhile."""


async def _patch(target: Target, body: bytes) -> None:
    head = _head(target.metadata()) + b"content-length: %d\r\n\r\n" % len(body)
    while True:
        await _send(target.http_port, head + body)


def _head(metadata: Sequence[tuple[str, str]]) -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in metadata)
    path = "/sequences/1/sequence_steps/2"
    return (
        f"PATCH {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n{fields}".encode()
    )


async def _send(port: int, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        writer.write(data)
        await reader.read()
    writer.transport.abort()


@dataclass(slots=True)
class _Watched:
    """What was seen of the service during an attack."""

    memory: int = 0
    cpu: float = 0.0
    healthz: float = 0.0


@contextmanager
def _watching(pid: int, http_port: int) -> Iterator[_Watched]:
    """Watches memory, CPU and `/healthz` until the end of the block."""
    watched, ended, process = _Watched(), threading.Event(), psutil.Process(pid)
    before = sum(process.cpu_times()[:2])

    def watch() -> None:
        while not ended.wait(0.05):
            watched.memory = max(watched.memory, process.memory_info().rss)
            begun = time.perf_counter()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{http_port}/healthz", timeout=10).read()
            watched.healthz = max(watched.healthz, time.perf_counter() - begun)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield watched
    finally:
        ended.set()
        thread.join()
        watched.cpu = sum(process.cpu_times()[:2]) - before


@contextmanager
def _attacking(attack: Attack, target: Target) -> Iterator[None]:
    """Attacks until the end of the block, from a loop of its own."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(_until_cancelled(attack, target))
    thread = threading.Thread(target=loop.run_until_complete, args=(task,))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


async def _until_cancelled(attack: Attack, target: Target) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            # What the service closes is opened again.
            with contextlib.suppress(OSError):
                await attack(target)


def run(stage: Stage) -> Section:
    """What a bystander sees of a caller that attacks: success, p99, memory, CPU, /healthz."""
    cores = Cores.apart()
    rows: list[Row] = []
    with service() as made, small(cores, 0.02) as apollo, small(cores, _OUTREACH_SECONDS) as outreach:
        key = asyncio.run(_greedy_application(made))
        environment = {"SEQSTEP_OUTREACH_BASE_URL": outreach.url}
        normal: dict[str, Result | None] = {}
        with made.running(apollo, cores, environment=environment) as load:
            for provider in ("apollo", "outreach"):
                with stage.doing(f"Without an attack, {provider} …"):
                    normal[provider] = _bystander(load, provider, cores)
        for name, (attack, provider) in ATTACKS.items():
            # Each on a service of its own: memory that one took is not the next one's.
            with stage.doing(f"{name} …"), made.running(apollo, cores, environment=environment) as load:
                target = Target(load.port, load.port + 1, key)
                memory = psutil.Process(load.server_pid).memory_info().rss
                with _watching(load.server_pid, target.http_port) as watched, _attacking(attack, target):
                    seen = _bystander(load, provider, cores)
            usual = normal[provider]
            rows.append(
                (
                    name,
                    f"{max(0, watched.memory - memory) / _MIB:+.0f} MiB",
                    f"{watched.cpu:.1f} s",
                    f"{watched.healthz * 1000:.0f} ms",
                    "some failed" if seen is None else f"all {seen.calls}",
                    "" if seen is None or usual is None else f"{seen.latencies['p99'] / usual.latencies['p99']:.1f} ×",
                )
            )
    columns = ("attack", "memory", "CPU", "/healthz at the worst", "bystander's calls", "p99 to normal")
    how = (
        f"A bystander of another application makes {_RATE:.0f} calls a second for {_SECONDS:.0f} s beside each attack."
    )
    return Section([Table("One caller against a bystander", columns, rows)], [], [how], {"rows": rows})


def _bystander(load: Load, provider: str, cores: Cores) -> Result | None:
    """What the bystander saw; None if calls failed."""
    calls = replace(load, provider=provider, rate=_RATE, seconds=_SECONDS, warm_up=1.0)
    try:
        return measure(calls, cores)
    except LoadFailed:
        return None


async def _greedy_application(made: Service) -> str:
    """Makes another application, with a customer at the slow provider; returns its key."""
    store = Store.open(made.environment["SEQSTEP_DATABASE_URL"])
    try:
        applications = Applications(store, 0)
        key = await applications.create("greedy")
        caller = await applications.authenticate(key.reveal())
        credentials = OAuthCredentials(
            Secret("token"), Secret("refresh"), time.time() + 86400, "client", Secret("secret")
        )
        keyring = Keyring.parse(made.environment["SEQSTEP_ENCRYPTION_KEYS"])
        administration = ConnectionAdministration(store, keyring)
        await administration.set(caller.application_id, "greedy", Provider("outreach"), credentials)
        return key.reveal()
    finally:
        await store.close()
