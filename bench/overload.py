"""`python -m bench.overload`: four times what the service has room for, for a minute; and a provider that hangs.

Capacity is what the service sets itself: calls that it serves at a time (`SEQSTEP_MAX_CONCURRENT_CALLS`), here as many as
one provider may hold, each of two provider calls of 50 ms.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Final

import psutil
import uvloop
from engagement.v1 import sequence_step_service_pb2 as messages
from rich.console import Console
from rich.table import Table

from bench.answers import OUTREACH_SEQUENCE_ID, OUTREACH_STEP_ID, STEP_ID, WANTED_BODY, WANTED_SUBJECT
from bench.http2 import GrpcConnection, literal
from bench.load import PATH, Load
from bench.processes import Cores
from bench.upstream import UpstreamServer, small
from bench.variants import Service, service

_ROOM: Final = 64
_PROVIDER_ROOM: Final = _ROOM // 2
_ANSWER_SECONDS: Final = 0.05
_HANGS_SECONDS: Final = 3600.0
_CONNECTIONS: Final = 4


@dataclass(slots=True)
class _Window:
    """What was seen of calls while it was open: seconds that good and other answers took, and memory each second."""

    good: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    seconds: float = 0.0


class _Callers:
    """Independent callers of one provider, who begin calls at random moments at a rate."""

    def __init__(self, load: Load, provider: str) -> None:
        self._load = load
        self._shared = ((b"x-api-key", load.api_key.encode()), (b"x-provider-name", provider.encode()))
        record = messages.SequenceStepRecord(template=messages.StepTemplate(subject=WANTED_SUBJECT, body=WANTED_BODY))
        ids = [(OUTREACH_SEQUENCE_ID, OUTREACH_STEP_ID)]
        if provider == "apollo":
            ids = [(f"{number:024x}", STEP_ID) for number in range(1, 4097)]
        self._requests = [
            messages.UpdateStepRequest(sequence_id=sequence, sequence_step_id=step, record=record).SerializeToString()
            for sequence, step in ids
        ]
        self._customers = [literal(b"x-customer-id", f"customer-{number}".encode()) for number in range(100)]
        self._number = 0
        self.window: _Window | None = None

    async def connect(self) -> None:
        """Makes the connections."""
        loop = asyncio.get_running_loop()
        self._connections = []
        for _ in range(_CONNECTIONS):
            _, connection = await loop.create_connection(
                lambda: GrpcConnection(PATH, f"127.0.0.1:{self._load.port}", self._shared), "127.0.0.1", self._load.port
            )
            await asyncio.wait_for(connection.ready.wait(), 10)
            self._connections.append(connection)

    def call(self, then: Callable[[], None] = lambda: None) -> None:
        """Begins a call."""
        self._number += 1
        number, begun, window = self._number, time.perf_counter(), self.window

        def end(answer: bytes | None) -> None:
            if window is not None:
                took = time.perf_counter() - begun
                good = answer is not None and not messages.UpdateStepResponse.FromString(answer).errors
                (window.good if good else window.other).append(took)
            then()

        self._connections[number % _CONNECTIONS].call(
            self._customers[number % len(self._customers)], self._requests[number % len(self._requests)], end
        )

    async def keep_busy(self, concurrency: int, seconds: float) -> _Window:
        """So many calls at a time."""
        going = True

        def again() -> None:
            if going:
                self.call(again)

        for _ in range(concurrency):
            again()
        await asyncio.sleep(2)
        self.window = _Window()
        began = time.perf_counter()
        await asyncio.sleep(seconds)
        window, self.window, going = self.window, None, False
        window.seconds = time.perf_counter() - began
        await asyncio.sleep(1)
        return window

    async def at_rate(self, rate: float, seconds: float) -> _Window:
        """So many calls a second, begun whether or not others have ended."""
        self.window = window = _Window()
        began = due = time.perf_counter()
        process = psutil.Process(self._load.server_pid)
        looked = 0.0
        while due - began < seconds:
            due += random.expovariate(rate)
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            self.call()
            if due - looked >= 1:
                looked = due
                window.memory.append(process.memory_info().rss / 1e6)
        window.seconds = time.perf_counter() - began
        await asyncio.sleep(1)
        self.window = None
        return window


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[int(share * (len(ordered) - 1))] * 1000 if ordered else float("nan")


def _with_room(made: Service) -> Service:
    more = {"SEQSTEP_MAX_CONCURRENT_CALLS": str(_ROOM), "SEQSTEP_HTTP_ADDRESS": ""}
    return replace(made, environment=made.environment | more)


def _refused_by_the_service(log: Path) -> tuple[Counter[str], list[float]]:
    """How often each status was logged, and the seconds that the service itself took for what it was too full for."""
    statuses: Counter[str] = Counter()
    took = []
    for line in log.read_text().splitlines():
        if '"event":"call"' not in line:
            continue
        entry = json.loads(line)
        statuses[entry["grpc_status"]] += 1
        if entry["grpc_status"] == "RESOURCE_EXHAUSTED":
            took.append(entry["ms"] / 1000)
    return statuses, took


def overload(seconds: float, console: Console) -> None:
    """Offers four times what fits."""
    cores = Cores.apart()
    with service() as made, small(cores, _ANSWER_SECONDS) as upstream:
        roomy = _with_room(made)
        with roomy.running(upstream, cores) as load:
            peak, over = uvloop.run(_overload(load, roomy.log, seconds, console))
        statuses, took = _refused_by_the_service(roomy.log)
    rate = len(peak.good) / peak.seconds
    table = Table("", "at the peak", "at four times the peak", title="Overload", title_justify="left")
    goodput = len(over.good) / over.seconds
    table.add_row("offered a second", f"{rate:,.0f}", f"{(len(over.good) + len(over.other)) / over.seconds:,.0f}")
    table.add_row("good answers a second", f"{rate:,.0f}", f"{goodput:,.0f} ({goodput / rate:.0%})")
    table.add_row("good answers: p50, p99 (ms)", _two(peak.good), _two(over.good))
    table.add_row("refusals", str(len(peak.other)), f"{len(over.other):,}")
    table.add_row("refusals at the caller: p50, p99 (ms)", "", _two(over.other))
    table.add_row("refusals in the service: p50, p99 (ms)", "", _two(took))
    fifth = max(1, len(over.memory) // 5)
    first, last = median(over.memory[:fifth]), median(over.memory[-fifth:])
    table.add_row("memory, first and last fifth (MB)", "", f"{first:.0f}, {last:.0f}")
    table.add_row("statuses logged", "", ", ".join(f"{name} {count:,}" for name, count in statuses.items()))
    console.print(table)


async def _overload(load: Load, log: Path, seconds: float, console: Console) -> tuple[_Window, _Window]:
    callers = _Callers(load, "apollo")
    await callers.connect()
    with console.status("Measuring the peak …"):
        peak = await callers.keep_busy(_PROVIDER_ROOM, 10)
    # What was logged so far is not looked at.
    os.truncate(log, 0)
    rate = 4 * len(peak.good) / peak.seconds
    with console.status(f"Offering {rate:,.0f} calls a second for {seconds:.0f} s …"):
        return peak, await callers.at_rate(rate, seconds)


def _two(values: list[float]) -> str:
    return f"{_percentile(values, 0.5):.1f}, {_percentile(values, 0.99):.1f}"


def isolation(seconds: float, rounds: int, console: Console) -> None:
    """Calls Apollo while Outreach answers, and while it hangs, in turn."""
    cores = Cores.apart()
    normal: list[float] = []
    hanging: list[float] = []
    held: list[int] = []
    with service() as made, small(cores, _ANSWER_SECONDS) as good, small(cores, _HANGS_SECONDS) as bad:
        for _ in range(rounds):
            for outreach, p99s in ((good, normal), (bad, hanging)):
                with console.status(f"Outreach {'answers' if outreach is good else 'hangs'} …"):
                    p99s.append(_beside(_with_room(made), good, outreach, cores, seconds, held))
    table = Table("Outreach", "Apollo's p99 (ms), median", "least to most", title="Isolation", title_justify="left")
    for name, values in (("answers", normal), ("hangs", hanging)):
        table.add_row(name, f"{median(values):.1f}", f"{min(values):.1f} to {max(values):.1f}")
    console.print(table)
    console.print(
        f"p99 while it hangs: {median(hanging) / median(normal):.2f} times normal, medians of {rounds} rounds."
    )
    console.print(f"Apollo's calls that were not good: {sum(held)}.")


def _beside(
    made: Service, apollo: UpstreamServer, outreach: UpstreamServer, cores: Cores, seconds: float, held: list[int]
) -> float:
    own = replace(made, environment=made.environment | {"SEQSTEP_OUTREACH_BASE_URL": outreach.url})
    with own.running(apollo, cores) as load:
        window = uvloop.run(_call_both(load, seconds))
    held.append(len(window.other))
    return _percentile(window.good, 0.99)


async def _call_both(load: Load, seconds: float) -> _Window:
    ours, theirs = _Callers(load, "apollo"), _Callers(load, "outreach")
    await ours.connect()
    await theirs.connect()
    busy = asyncio.ensure_future(theirs.at_rate(100, seconds + 2))
    # By then it holds all the room that it may, if it hangs.
    await asyncio.sleep(2)
    window = await ours.at_rate(60, seconds)
    await busy
    return window


def main() -> int:
    """Runs both, or one of them."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--only", choices=["overload", "isolation"])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the overload lasts")
    given = parser.parse_args()
    console = Console()
    if given.only != "isolation":
        overload(given.seconds, console)
    if given.only != "overload":
        isolation(15, 3, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
