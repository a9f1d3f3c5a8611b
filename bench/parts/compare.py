"""`compare`: what a call costs this service, beside a floor, a plain build and a peer."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, replace
from functools import partial
from typing import Final, TypeAlias

from bench import variants
from bench.load import Load, Result
from bench.measure import measure
from bench.processes import Cores
from bench.report import Goal, Row, Section, Spread, Table
from bench.stage import Stage, others
from bench.upstream import TlsFiles, UpstreamServer, nginx_or_small

OURS: Final = "this service"
_OURS_INTERRUPTED: Final = "this service, not as a batch"

_FLOOR: Final = variants.FLOOR.name
_PLAIN: Final = variants.PLAIN.name
_NODE: Final = variants.NODE.name

Results: TypeAlias = dict[str, list[Result]]
_Start: TypeAlias = Callable[[], AbstractContextManager[Load]]

OF_FLOOR: Final = 2.6
"""This service's CPU per call may be so many times the floor's."""

_OF_PLAIN: Final = 0.45

# What another measurement's round lasts is shared out among so many where servers stay up.
_TURNS: Final = 4


def run(stage: Stage) -> Section:
    """CPU per call, calls a second, latency and memory: this service, the floor, the plain build and the Node peer."""
    cores = Cores.apart()
    with ExitStack() as stack:
        upstream = stack.enter_context(nginx_or_small(stage.folder, cores))
        rounds = 2 * stage.effort.rounds - 1
        results, missing = measured(stage, upstream, cores, None, rounds)
        settled = _settled(stage, upstream, cores)
    effort = stage.effort
    how = (
        f"32 calls at a time, each two requests to {upstream.software} on the same machine. Each server is started anew for "
        f"each of {rounds} rounds, warms up for {effort.warm_up:g} s and is measured for {effort.seconds:g} s, in turn. Where "
        f"servers had run for a while, all of them were up, had the load in turn, {len(settled[OURS])} times for "
        f"{effort.seconds / _TURNS:g} s each, and had had it before: Node has compiled its code by then, and this service has "
        "its connections. This service runs by Linux's SCHED_BATCH; the floor with it, and this service without it, are "
        "measured there too. Medians, and in brackets the least and the greatest of the rounds; `×` is the ratio to the floor of "
        "the same round. The server had one core, and all else another one."
    )
    notes = [how, others([each for found in (results, settled) for each in _all(found)]), *missing]
    cost, latency = tables(results)
    [later, _] = tables(settled, " where servers have run for a while")
    found = {"rounds": data(results), "settled": data(settled)}
    return Section([cost, later, latency], goals(results), notes, found)


def measured(
    stage: Stage, upstream: UpstreamServer, cores: Cores, tls: TlsFiles | None, rounds: int
) -> tuple[Results, Sequence[str]]:
    """All variants in turn, several times, each time started anew, and what could not be measured."""
    with variants.service() as ours:
        starts = _starts(ours, upstream, cores, tls)
        results: Results = {name: [] for name in starts}
        for number in range(rounds):
            for name, start in starts.items():
                with stage.doing(f"Round {number + 1} of {rounds}: {name} …"), start() as load:
                    results[name].append(stage.measure(load, cores))
    missing = variants.without_node()
    return results, [missing] if missing else []


def _settled(stage: Stage, upstream: UpstreamServer, cores: Cores) -> Results:
    """All variants in turn, in short rounds, while all of them stay up."""
    effort = stage.effort
    rounds = _TURNS * effort.rounds
    with variants.service() as ours, ExitStack() as stack:
        loads: dict[str, Load] = {}
        not_as_batch = {"SEQSTEP_BATCH_SCHEDULING": "false"}
        starts = _starts(ours, upstream, cores, None) | {
            variants.FLOOR_AS_BATCH.name: partial(variants.running, variants.FLOOR_AS_BATCH, upstream, cores),
            _OURS_INTERRUPTED: partial(ours.running, upstream, cores, environment=not_as_batch),
        }
        for name, start in starts.items():
            with stage.doing(f"Warming up: {name} …"):
                loads[name] = stack.enter_context(start())
                stage.measure(loads[name], cores)
        results: Results = {name: [] for name in loads}
        for number in range(rounds):
            # To and fro, so that none always comes after the same other one.
            for name in [*loads][:: -1 if number % 2 else 1]:
                load = replace(loads[name], seconds=effort.seconds / _TURNS, warm_up=effort.warm_up / _TURNS)
                with stage.doing(f"Short round {number + 1} of {rounds}: {name} …"):
                    results[name].append(measure(load, cores))
    return results


def _starts(ours: variants.Service, upstream: UpstreamServer, cores: Cores, tls: TlsFiles | None) -> dict[str, _Start]:
    """What starts each variant that can run here."""
    others = [variants.ECHO, variants.FLOOR, variants.PLAIN]
    if variants.without_node() is None:
        others.append(variants.NODE)
    starts: dict[str, _Start] = {each.name: partial(variants.running, each, upstream, cores, tls) for each in others}
    return {**starts, OURS: partial(ours.running, upstream, cores, tls=tls)}


def _all(results: Results) -> list[Result]:
    return [each for rounds in results.values() for each in rounds]


def tables(results: Results, also: str = "") -> list[Table]:
    """Cost, and latency with memory."""
    floor = results[_FLOOR]
    others = (variants.ECHO, variants.FLOOR, variants.PLAIN, variants.NODE, variants.FLOOR_AS_BATCH)
    titles = {each.name: each.title for each in others}
    titles[OURS] = "grpc.aio + two calls, everything on"
    titles[_OURS_INTERRUPTED] = "the same with SEQSTEP_BATCH_SCHEDULING=false"
    cost: list[Row] = []
    time: list[Row] = []
    for name, rounds in results.items():
        cpu, base = _cpu(rounds), _cpu(floor)
        rate, base_rate = [each.rate for each in rounds], [each.rate for each in floor]
        busy = Spread.of([100 * each.load_share for each in rounds])
        cost.append(
            (
                f"{name}: {titles[name]}",
                Spread.of(cpu).show(),
                Spread.ratio(cpu, base).show(2),
                Spread.of(rate).show(),
                Spread.ratio(rate, base_rate).show(2),
                Spread.of([100 * each.server_share for each in rounds]).show(0, " %"),
                busy.show(0, " %"),
            )
        )
        memory = [each.server_memory / 1e6 for each in rounds]
        base_memory = [each.server_memory / 1e6 for each in floor]
        latency = [
            cell
            for percentile in ("p50", "p99", "p99.9")
            for values, bases in (
                ([each.latencies[percentile] for each in rounds], [each.latencies[percentile] for each in floor]),
            )
            for cell in (Spread.of(values).show(1), Spread.ratio(values, bases).show(2))
        ]
        time.append((name, *latency, Spread.of(memory).show(), Spread.ratio(memory, base_memory).show(2)))
    return [
        Table(
            f"Cost of a call{also}",
            ("", "CPU per call, µs", "×", "calls a second", "×", "server's core", "generator's core"),
            cost,
        ),
        Table(
            f"Latency under full load, and memory{also}",
            ("", "p50, ms", "×", "p99, ms", "×", "p99.9, ms", "×", "memory, MB", "×"),
            time,
        ),
    ]


def goals(results: Results) -> list[Goal]:
    """How this service stands to the floor, the plain build and the Node peer."""
    found = []
    for what, other, limit in (
        (f"CPU per call ≤ {OF_FLOOR} × the floor", _FLOOR, OF_FLOOR),
        (f"CPU per call ≤ {_OF_PLAIN} × the plain build", _PLAIN, _OF_PLAIN),
        ("CPU per call ≤ the Node peer's", _NODE, 1.0),
    ):
        if other in results:
            ratio = Spread.ratio(_cpu(results[OURS]), _cpu(results[other]))
            found.append(Goal(what, ratio.show(2, " ×"), ratio.middle <= limit))
    return found


def data(results: Results) -> dict[str, object]:
    """All rounds, as they go into the JSON file."""
    return {name: [asdict(each) for each in rounds] for name, rounds in results.items()}


def _cpu(rounds: Sequence[Result]) -> list[float]:
    return [each.cpu_per_call for each in rounds]
