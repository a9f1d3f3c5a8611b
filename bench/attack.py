"""`attack`: one caller, with or without a key, does its worst, while a bystander makes calls."""

import asyncio
import contextlib
import multiprocessing
import os
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Final

import grpc
import psutil
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1 import sequence_step_service_pb2_grpc

from bench.load import Load, Result
from bench.measure import LoadFailed, measure
from bench.parts.overload import logged
from bench.processes import Cores
from bench.report import Goal, Row, Section, Table
from bench.stage import Stage
from bench.upstream import small
from bench.variants import Service, service
from service.connections import Applications, ConnectionAdministration, Keyring, Store
from service.domain.credentials import OAuthCredentials, Secret
from service.domain.step import Provider
from tests.support.http2 import http2_connection

_RATE: Final = 40.0
_WARM_UP: Final = 0.5
# Of a call of the bystander, after the window, and of `/healthz`. Slower ones have failed.
_PATIENCE: Final = 2.0
# After so long no other attack begins.
_BUDGET: Final = 160.0

# Nobody waits for what is left of an attack.
_STOPS_AT_ONCE: Final = {"SEQSTEP_DRAIN_SECONDS": "0", "SEQSTEP_STOP_GRACE_SECONDS": "0"}
_OUTREACH_SECONDS: Final = 0.25
_MIB: Final = 2**20
_METHOD: Final = "/engagement.v1.SequenceStepService/UpdateStep"
_APPLICATIONS: Final = 3
_CUSTOMERS: Final = 10
_CHECK, _WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"


@dataclass(slots=True)
class Target:
    """What is attacked.

    Attributes:
        grpc_port: The gRPC server's port.
        http_port: The HTTP server's port.
        keys: Keys of applications that the bystander does not belong to.
        sent: Bytes of requests that are costly to parse which were sent up to now.
    """

    grpc_port: int
    http_port: int
    keys: tuple[str, ...]
    sent: int = 0

    @property
    def grpc_address(self) -> str:
        """Where the gRPC server is."""
        return f"127.0.0.1:{self.grpc_port}"

    def metadata(
        self, customer: str = "greedy", provider: str = "apollo", application: int = 0
    ) -> tuple[tuple[str, str], ...]:
        """The metadata of a call of a greedy application."""
        return (("x-customer-id", customer), ("x-provider-name", provider), ("x-api-key", self.keys[application]))


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
                target.sent += request.ByteSize()
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
        await _send(target, _head(()) + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 400_000)


async def _small_chunks(target: Target) -> None:
    """6 MiB in chunks of 64 bytes, over HTTP."""
    chunks = (b"40\r\n" + b"x" * 64 + b"\r\n") * 90_000
    while True:
        await _send(target, _head(target.metadata()) + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")


async def _requests_ahead(target: Target) -> None:
    """20,000 requests on a connection without waiting for responses, without a key."""
    while True:
        await _send(target, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * 20_000)


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


async def _greedy(target: Target, applications: int, customers: int) -> None:
    """250 calls at a time of each application to a slow provider; who is refused tries again after half a second."""
    request = pb.UpdateStepRequest(sequence_step_id="2")
    request.record.template.subject = "x"
    async with grpc.aio.insecure_channel(target.grpc_address) as channel:
        stub = sequence_step_service_pb2_grpc.SequenceStepServiceStub(channel)

        async def call(number: int) -> None:
            own = pb.UpdateStepRequest(sequence_id=str(number))
            own.MergeFrom(request)
            given = target.metadata(f"greedy-{number % customers}", "outreach", number % applications)
            while True:
                try:
                    await stub.UpdateStep(own, metadata=given, timeout=10)
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.5)

        await asyncio.gather(*(call(number) for number in range(250 * applications)))


async def _one_greedy_customer(target: Target) -> None:
    """One customer of one application."""
    await _greedy(target, 1, 1)


async def _one_greedy_application(target: Target) -> None:
    """One application of many customers."""
    await _greedy(target, 1, _CUSTOMERS)


async def _greedy_applications(target: Target) -> None:
    """Three applications of many customers each."""
    await _greedy(target, _APPLICATIONS, _CUSTOMERS)


ATTACKS: Final[dict[str, tuple[Attack, str]]] = {
    "512 KiB of custom fields, long key (HTTP)": (_long_custom_fields, "apollo"),
    "custom fields 470 levels deep (HTTP)": (_nested_custom_fields, "apollo"),
    "4.2 MiB of custom fields, long key (gRPC)": (_long_struct, "apollo"),
    "40 unfinished messages, no key": (_unfinished_messages, "apollo"),
    "compressed messages, no key": (_compressed_messages, "apollo"),
    "one-byte chunks, no key": (_short_chunks, "apollo"),
    "64-byte chunks": (_small_chunks, "apollo"),
    "20,000 requests sent ahead, no key": (_requests_ahead, "apollo"),
    "5,000 health watches": (_watches, "apollo"),
    "500 idle connections": (_idle_connections, "apollo"),
    "deadlines too short for the provider": (_short_deadlines, "outreach"),
    "256 requests whose bodies do not come": (_missing_bodies, "apollo"),
    "one greedy customer": (_one_greedy_customer, "outreach"),
    "one greedy application": (_one_greedy_application, "outreach"),
    "three greedy applications": (_greedy_applications, "outreach"),
}
"""Each attack, and the provider that the bystander calls meanwhile."""


async def _patch(target: Target, body: bytes) -> None:
    head = _head(target.metadata()) + b"content-length: %d\r\n\r\n" % len(body)
    while True:
        target.sent += len(body)
        await _send(target, head + body)


def _head(metadata: Sequence[tuple[str, str]]) -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in metadata)
    path = "/sequences/1/sequence_steps/2"
    return (
        f"PATCH {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n{fields}".encode()
    )


async def _send(target: Target, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", target.http_port)
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
                urllib.request.urlopen(f"http://127.0.0.1:{http_port}/healthz", timeout=_PATIENCE).read()
            watched.healthz = max(watched.healthz, time.perf_counter() - begun)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield watched
    finally:
        ended.set()
        thread.join()
        watched.cpu = sum(process.cpu_times()[:2]) - before


@dataclass(slots=True)
class _Attacking:
    """An attack that goes on.

    Attributes:
        sent: Bytes of requests that are costly to parse; known at its end.
    """

    sent: int = 0


@contextmanager
def _attacking(attack: Attack, target: Target, cores: Cores) -> Iterator[_Attacking]:
    """Attacks until the end of the block, from a process of its own, so that it slows down nobody who watches."""
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=_attack, args=(attack, target, cores.load, theirs), daemon=True)
    process.start()
    attacking = _Attacking()
    try:
        # It has begun.
        ours.recv()
        yield attacking
    finally:
        ours.send(None)
        if ours.poll(_PATIENCE):
            attacking.sent = ours.recv()
        process.kill()
        process.join()


def _attack(attack: Attack, target: Target, cores: Sequence[int], pipe: Connection) -> None:
    os.sched_setaffinity(0, cores)

    async def until_asked() -> None:
        attacking = asyncio.create_task(_again_and_again(attack, target))
        pipe.send(None)
        await asyncio.to_thread(pipe.recv)
        attacking.cancel()

    asyncio.run(until_asked())
    pipe.send(target.sent)


async def _again_and_again(attack: Attack, target: Target) -> None:
    while True:
        # What the service closes is opened again.
        with contextlib.suppress(OSError):
            await attack(target)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What came of one attack; of no attack, what is normal.

    Attributes:
        bystander: What the bystander saw; None if calls failed.
        watched: The service's process meanwhile.
        memory: Bytes that it had before.
        sent: Bytes of requests that are costly to parse.
        refusals: Milliseconds of refusals in the service, by percentile.
    """

    bystander: Result | None
    watched: _Watched
    memory: int
    sent: int = 0
    refusals: dict[str, float] = field(default_factory=dict)


def run(stage: Stage) -> Section:
    """What a bystander sees of a caller that attacks: success, p99, memory, CPU, /healthz."""
    cores = Cores.apart()
    ends = time.monotonic() + _BUDGET
    seen: dict[str, _Seen] = {}
    normal: dict[str, _Seen] = {}
    with service() as made, small(cores, 0.02) as apollo, small(cores, _OUTREACH_SECONDS) as outreach:
        keys = asyncio.run(_greedy_application_keys(made))
        environment = _STOPS_AT_ONCE | {"SEQSTEP_OUTREACH_BASE_URL": outreach.url}
        for name, (attack, provider) in [
            ("apollo", (None, "apollo")),
            ("outreach", (None, "outreach")),
            *ATTACKS.items(),
        ]:
            if time.monotonic() > ends:
                break
            # Each on a service of its own: memory that one took is not the next one's.
            with stage.doing(f"{name} …"), made.running(apollo, cores, environment=environment) as load:
                target = Target(load.port, load.port + 1, keys)
                memory = psutil.Process(load.server_pid).memory_info().rss
                attacking = _attacking(attack, target, cores) if attack else contextlib.nullcontext(_Attacking())
                with attacking as attacked, _watching(load.server_pid, target.http_port) as watched:
                    bystander = _bystander(stage, load, provider, cores)
            one = _Seen(bystander, watched, memory, attacked.sent, logged(made.log(load.port)).refusals)
            (seen if attack else normal)[name] = one
    return _section(stage, normal, seen)


def _section(stage: Stage, normal: dict[str, _Seen], seen: dict[str, _Seen]) -> Section:
    rows: list[Row] = []
    slower: list[float] = []
    costs: list[float] = []
    for name, one in (normal | seen).items():
        usual = normal[ATTACKS[name][1] if name in ATTACKS else name]
        slowdown = ""
        if name in seen and one.bystander is not None and usual.bystander is not None:
            slower.append(one.bystander.latencies["p99"] / usual.bystander.latencies["p99"])
            slowdown = f"{slower[-1]:.1f} ×"
        cost = ""
        if one.sent:
            costs.append(max(0.0, one.watched.cpu - usual.watched.cpu) * 1000 / (one.sent / _MIB))
            cost = f"{costs[-1]:.0f} ms"
        rows.append(
            (
                name if name in seen else f"none, {name}",
                f"{max(0, one.watched.memory - one.memory) / _MIB:+.0f} MiB",
                f"{one.watched.cpu:.1f} s",
                cost,
                f"{one.watched.healthz * 1000:.0f} ms",
                "some failed" if one.bystander is None else f"all {one.bystander.calls}",
                slowdown,
                f"{one.refusals['p99']:.1f} ms" if one.refusals else "",
            )
        )
    failed = [name for name, one in seen.items() if one.bystander is None]
    healthz = max(one.watched.healthz for one in seen.values()) * 1000
    refusals = max((one.refusals["p99"] for one in seen.values() if one.refusals), default=0.0)
    goals = [
        Goal("Attacks: all calls of a bystander succeed", f"not in {len(failed)} of {len(seen)}", not failed),
        Goal(
            "Attacks: a bystander's p99 ≤ 2 × normal",
            f"{max(slower, default=0.0):.1f} ×",
            max(slower, default=3.0) <= 2,
        ),
        Goal("Attacks: `/healthz` ≤ 100 ms", f"{healthz:.0f} ms", healthz <= 100),
        Goal("Attacks: CPU for each MiB < 50 ms", f"{max(costs, default=0.0):.0f} ms", max(costs, default=50.0) < 50),
        Goal("Attacks: refusals' p99 < 10 ms in the service", f"{refusals:.1f} ms", refusals < 10),
    ]
    columns = (
        "attack",
        "memory",
        "CPU",
        "CPU for each MiB",
        "/healthz at the worst",
        "bystander's calls",
        "p99 to normal",
        "refusals' p99",
    )
    how = (
        f"A bystander of another application makes {_RATE:.0f} calls a second, half as many at Outreach, which is slow, for "
        f"{stage.effort.seconds:.0f} s beside each attack. CPU for each MiB is that beyond the bystander's, where requests "
        "are costly to parse. Refusals are of calls over gRPC."
    )
    notes = [how]
    if left := len(ATTACKS) - len(seen):
        notes.append(f"{left} attacks were left out, since {_BUDGET:.0f} s were over.")
    return Section([Table("Callers that attack, and a bystander", columns, rows)], goals, notes, {"rows": rows})


def _bystander(stage: Stage, load: Load, provider: str, cores: Cores) -> Result | None:
    """What the bystander saw; None if calls failed."""
    # At the slow provider so few that they stay below what one of four applications can have there.
    rate = _RATE if provider == "apollo" else _RATE / 2
    calls = replace(
        load, provider=provider, rate=rate, seconds=stage.effort.seconds, warm_up=_WARM_UP, patience=_PATIENCE
    )
    try:
        return measure(calls, cores)
    except LoadFailed:
        return None


async def _greedy_application_keys(made: Service) -> tuple[str, ...]:
    """Makes other applications, with customers at the slow provider; returns their keys."""
    store = Store.open(made.environment["SEQSTEP_DATABASE_URL"])
    keyring = Keyring.parse(made.environment["SEQSTEP_ENCRYPTION_KEYS"])
    credentials = OAuthCredentials(Secret("token"), Secret("refresh"), time.time() + 86400, "client", Secret("secret"))
    administration = ConnectionAdministration(store, keyring)
    applications = Applications(store, 0)
    keys: list[str] = []
    try:
        for number in range(_APPLICATIONS):
            key = (await applications.create(f"greedy-{number}")).reveal()
            caller = await applications.authenticate(key)
            for customer in ("greedy", *(f"greedy-{each}" for each in range(_CUSTOMERS))):
                await administration.set(caller.application_id, customer, Provider("outreach"), credentials)
            keys.append(key)
    finally:
        await store.close()
    return tuple(keys)
