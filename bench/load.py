"""The load generator, a process of its own: `python -m bench.load` reads a `Load` as JSON and writes a `Result` as JSON.

It looks at the CPU time of the server, of the stand-in for the providers and of itself exactly when its window begins and
ends, so that start and warm-up count for nobody.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import ssl
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Final, TypeAlias

import psutil
import uvloop
from engagement.v1 import sequence_step_service_pb2 as messages

from bench.answers import (
    OUTREACH_SEQUENCE_ID,
    OUTREACH_STEP_ID,
    STEP_ID,
    WANTED_BODY,
    WANTED_SUBJECT,
)
from bench.http1 import HttpConnection
from bench.http2 import GrpcConnection, literal
from bench.processes import Running
from bench.report import percentiles

PATH: Final = "/engagement.v1.SequenceStepService/UpdateStep"

# Writes to one sequence do not overlap, by design, so calls take turns among many sequences.
_SEQUENCES: Final = 4096

_STRIDE: Final = 7_919


@dataclass(frozen=True, slots=True)
class Load:
    """What to do.

    Attributes:
        port: Where the server is, on 127.0.0.1.
        server_pid: Its process.
        upstream_pid: The process of the stand-in for the providers.
        protocol: `grpc` or `http`.
        answer: What a good answer is: `update` with two changes, or `echo` of the request.
        concurrency: Calls under way at a time, with no rate.
        connections: Connections for gRPC; HTTP has one for each call under way.
        warm_up: Seconds before the window.
        seconds: Length of the window.
        calls: End after so many calls instead, if not 0.
        rate: Calls a second, begun whether or not others have ended; 0 for as many as `concurrency` allows.
        provider: `apollo` or `outreach`.
        customers: How many customers call in turn.
        api_key: What the calling application identifies itself with.
        authority: A PEM file; the connection is inside TLS if there is one.
        patience: Seconds that calls have after the window; those that take longer are failures, unless it is 0.
        may_refuse: Whether a call may be answered with a status other than OK; such answers are counted apart.
    """

    port: int
    server_pid: int
    upstream_pid: int
    protocol: str = "grpc"
    answer: str = "update"
    concurrency: int = 32
    connections: int = 4
    warm_up: float = 2.0
    seconds: float = 5.0
    calls: int = 0
    rate: float = 0.0
    provider: str = "apollo"
    customers: int = 100
    api_key: str = "none"
    authority: str = ""
    patience: float = 10.0
    may_refuse: bool = False


@dataclass(slots=True)
class Result:
    """What came of it, of the window only.

    Attributes:
        calls: Good answers.
        failures: Other ends of calls, of the whole run.
        seconds: Length of the window.
        server_cpu: CPU seconds of the server with all its processes.
        upstream_cpu: CPU seconds of the stand-in for the providers.
        load_cpu: CPU seconds of this process.
        other_cpu: CPU seconds of all else that runs on the machine.
        server_memory: Resident bytes of the server's largest process at the end.
        memory: The same every second.
        latencies: Milliseconds by percentile.
        refused: Calls that were answered with a status other than OK.
        refusals: Milliseconds until such an answer, by percentile.
        handshakes: Connections that were made to the server.
        late: Milliseconds by which the 99th percentile of calls began later than the rate has it.
    """

    calls: int = 0
    failures: int = 0
    seconds: float = 0.0
    server_cpu: float = 0.0
    upstream_cpu: float = 0.0
    load_cpu: float = 0.0
    other_cpu: float = 0.0
    server_memory: int = 0
    memory: list[int] = field(default_factory=list)
    latencies: dict[str, float] = field(default_factory=dict)
    refused: int = 0
    refusals: dict[str, float] = field(default_factory=dict)
    handshakes: int = 0
    late: float = 0.0

    @property
    def cpu_per_call(self) -> float:
        """Microseconds of the server's CPU time for a call."""
        return self.server_cpu / self.calls * 1e6

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds

    @property
    def load_share(self) -> float:
        """The part of one core that this process and the stand-in for the providers used."""
        return (self.load_cpu + self.upstream_cpu) / self.seconds

    @property
    def server_share(self) -> float:
        """The cores that the server used."""
        return self.server_cpu / self.seconds


Begin: TypeAlias = Callable[[int, Callable[[bytes | None], None]], None]
"""Begins the call with this number; the function gets the answer."""


class _Generator:
    def __init__(self, load: Load) -> None:
        self.load = load
        self.result = Result()
        self._server = Running(load.server_pid)
        self._upstream = Running(load.upstream_pid)
        self._number = 0
        self._under_way = 0
        self._open = False
        self._going = True
        self._finished = 0
        self._idle = asyncio.Event()
        self._enough = asyncio.Event()
        self._times: list[float] = []
        self._refusals: list[float] = []
        self._late: list[float] = []
        self._check = {"update": _is_update, "echo": _is_echo}[load.answer]
        if load.protocol == "http":
            self._check = _is_http_update

    async def run(self) -> Result:
        begins = await (self._grpc() if self.load.protocol == "grpc" else self._http())
        if self.load.rate:
            at_rate = (begins, asyncio.get_running_loop())
            threading.Thread(target=self._begin_at_rate, args=at_rate, name="rate", daemon=True).start()
        else:
            for begin in begins:
                self._next(begin)
        await asyncio.sleep(self.load.warm_up)
        self._start_window()
        watching = asyncio.ensure_future(self._watch_memory())
        if self.load.calls:
            await self._enough.wait()
        else:
            await asyncio.sleep(self.load.seconds)
        watching.cancel()
        self._end_window()
        self._going = False
        if self._under_way and self.load.patience:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), self.load.patience)
            self.result.failures += self._under_way
        return self.result

    def _next(self, begin: Begin, due: float | None = None) -> None:
        """Begins a call, and without a rate another one when it ends."""
        self._number += 1
        self._under_way += 1
        started = time.perf_counter()
        if due is not None and self._open:
            self._late.append(started - due)

        def end(answer: bytes | None) -> None:
            self._under_way -= 1
            if answer is None and self.load.may_refuse:
                if self._open:
                    self._refusals.append(time.perf_counter() - started)
            elif answer is None or not self._check(answer):
                self.result.failures += 1
            elif self._open:
                self._times.append(time.perf_counter() - started)
            self._finished += 1
            if self.load.calls and self._finished >= self.load.calls:
                self._enough.set()
            if self._going and not self.load.rate:
                self._next(begin)
            elif not self._going and not self._under_way:
                self._idle.set()

        begin(self._number, end)

    def _begin_at_rate(self, begins: list[Begin], loop: asyncio.AbstractEventLoop) -> None:
        """Begins calls at random moments, as independent callers do; in a thread, since event loops count milliseconds."""
        due = time.perf_counter()
        for turn in itertools.count(1):
            due += random.expovariate(self.load.rate)
            time.sleep(max(0.0, due - time.perf_counter()))
            if not self._going:
                return
            loop.call_soon_threadsafe(self._begin_one, begins[turn % len(begins)], due)

    def _begin_one(self, begin: Begin, due: float) -> None:
        if self._going:
            self._next(begin, due)

    async def _watch_memory(self) -> None:
        while True:
            self.result.memory.append(self._server.memory_bytes())
            await asyncio.sleep(1)

    def _start_window(self) -> None:
        self._finished = 0
        self._open = True
        self.result.server_cpu = -self._server.cpu_seconds()
        self.result.upstream_cpu = -self._upstream.cpu_seconds()
        self.result.load_cpu = -time.process_time()
        self.result.other_cpu = -_busy_seconds()
        self.result.seconds = -time.perf_counter()

    def _end_window(self) -> None:
        self.result.seconds += time.perf_counter()
        self.result.load_cpu += time.process_time()
        self.result.upstream_cpu += self._upstream.cpu_seconds()
        self.result.server_cpu += self._server.cpu_seconds()
        used = self.result.load_cpu + self.result.upstream_cpu + self.result.server_cpu
        self.result.other_cpu += _busy_seconds() - used
        self.result.server_memory = self._server.memory_bytes()
        self._open = False
        self.result.calls = len(self._times)
        self.result.refused = len(self._refusals)
        self.result.latencies = percentiles(self._times, 1000)
        self.result.refusals = percentiles(self._refusals, 1000)
        self.result.late = percentiles(self._late, 1000).get("p99", 0.0)

    async def _grpc(self) -> list[Begin]:
        load = self.load
        tls = self._tls("h2")
        shared = ((b"x-api-key", load.api_key.encode()), (b"x-provider-name", load.provider.encode()))
        loop = asyncio.get_running_loop()
        connections = []
        for _ in range(load.connections):
            _, connection = await loop.create_connection(
                lambda: GrpcConnection(PATH, f"127.0.0.1:{load.port}", shared, tls=tls is not None),
                "127.0.0.1",
                load.port,
                ssl=tls,
            )
            await asyncio.wait_for(connection.ready.wait(), 10)
            connections.append(connection)
            self.result.handshakes += 1
        requests = self._requests()

        def beginner(connection: GrpcConnection) -> Begin:
            def begin(number: int, end: Callable[[bytes | None], None]) -> None:
                # One customer after the other, but neighbours in the store are not neighbours in time.
                customer = b"customer-%d" % (number * _STRIDE % load.customers)
                connection.call(literal(b"x-customer-id", customer), requests[number % len(requests)], end)

            return begin

        slots = load.connections if load.rate else load.concurrency
        return [beginner(connections[index % len(connections)]) for index in range(slots)]

    def _requests(self) -> list[bytes]:
        record = messages.SequenceStepRecord(template=messages.StepTemplate(subject=WANTED_SUBJECT, body=WANTED_BODY))
        if self.load.provider == "outreach":
            ids = [(OUTREACH_SEQUENCE_ID, OUTREACH_STEP_ID)]
        else:
            ids = [(f"{index:024x}", STEP_ID) for index in range(1, _SEQUENCES + 1)]
        return [
            messages.UpdateStepRequest(sequence_id=sequence, sequence_step_id=step, record=record).SerializeToString()
            for sequence, step in ids
        ]

    def _tls(self, protocol: str) -> ssl.SSLContext | None:
        if not self.load.authority:
            return None
        tls = ssl.create_default_context(cafile=self.load.authority)
        tls.set_alpn_protocols([protocol])
        return tls

    async def _http(self) -> list[Begin]:
        loop = asyncio.get_running_loop()
        record = {"template": {"subject": WANTED_SUBJECT, "body": WANTED_BODY}}
        body = json.dumps({"record": record}).encode()
        requests = [
            f"PATCH /sequences/{index:024x}/sequence_steps/{STEP_ID} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"x-customer-id: customer-{index}\r\nx-provider-name: apollo\r\nx-api-key: {self.load.api_key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
            for index in range(_SEQUENCES)
        ]

        def beginner(connection: HttpConnection) -> Begin:
            def begin(number: int, end: Callable[[bytes | None], None]) -> None:
                connection.call(requests[number % len(requests)], end)

            return begin

        tls = self._tls("http/1.1")
        begins = []
        for _ in range(self.load.concurrency):
            _, connection = await loop.create_connection(HttpConnection, "127.0.0.1", self.load.port, ssl=tls)
            begins.append(beginner(connection))
            self.result.handshakes += 1
        return begins


def _is_update(answer: bytes) -> bool:
    response = messages.UpdateStepResponse.FromString(answer)
    return not response.errors and len(response.changes) == 2


def _is_echo(answer: bytes) -> bool:
    return len(answer) > len(WANTED_BODY)


def _is_http_update(answer: bytes) -> bool:
    return b'"changes":[{' in answer


def _busy_seconds() -> float:
    """CPU time that the whole machine has used."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def main() -> None:
    """Reads what to do, does it, and writes what came of it."""
    load = Load(**json.load(sys.stdin))

    async def run() -> Result:
        return await _Generator(load).run()

    json.dump(asdict(uvloop.run(run())), sys.stdout)
    sys.stdout.flush()
    # Connections need no farewell.
    os._exit(0)


if __name__ == "__main__":
    main()
