"""`compare`: what a call costs this service, beside a floor, a plain build and a peer."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from functools import partial
from typing import Final, TypeAlias

from bench import variants
from bench.load import Load, Result
from bench.processes import Cores
from bench.report import Goal, Row, Section, Spread, Table
from bench.stage import Stage, others
from bench.upstream import TlsFiles, UpstreamServer, nginx_or_small

OURS: Final = "this service"

_FLOOR: Final = variants.FLOOR.name
_PLAIN: Final = variants.PLAIN.name
_NODE: Final = variants.NODE.name

Results: TypeAlias = dict[str, list[Result]]
_Start: TypeAlias = Callable[[], AbstractContextManager[Load]]

OF_FLOOR: Final = 2.6
"""This service's CPU per call may be so many times the floor's."""

_OF_PLAIN: Final = 0.45


def run(stage: Stage) -> Section:
    """CPU per call, calls a second, latency and memory: this service, the floor, the plain build and the Node peer."""
    cores = Cores.apart()
    with ExitStack() as stack:
        upstream = stack.enter_context(nginx_or_small(stage.folder, cores))
        results, missing = measured(stage, upstream, cores, None)
    how = (
        f"32 calls at a time, each two requests to {upstream.software} on the same machine, {stage.effort.rounds} rounds of "
        f"{stage.effort.seconds:g} s in turn. Medians, and in brackets the least and the greatest of the rounds; `×` is the "
        "ratio to the floor of the same round. The server had one core, and all else another one."
    )
    notes = [how, others([each for rounds in results.values() for each in rounds]), *missing]
    return Section(tables(results), goals(results), notes, data(results))


def measured(
    stage: Stage, upstream: UpstreamServer, cores: Cores, tls: TlsFiles | None
) -> tuple[Results, Sequence[str]]:
    """All variants in turn, several times, and what could not be measured."""
    with variants.service() as ours:
        starts: dict[str, _Start] = {
            each.name: partial(variants.running, each, upstream, cores, tls)
            for each in (variants.ECHO, variants.FLOOR, variants.PLAIN)
        }
        missing = variants.without_node()
        if missing is None:
            starts[_NODE] = partial(variants.running, variants.NODE, upstream, cores, tls)
        starts[OURS] = partial(ours.running, upstream, cores, tls=tls)
        results: Results = {name: [] for name in starts}
        for number in range(stage.effort.rounds):
            for name, start in starts.items():
                with stage.doing(f"Round {number + 1} of {stage.effort.rounds}: {name} …"), start() as load:
                    results[name].append(stage.measure(load, cores))
    return results, [missing] if missing else []


def tables(results: Results, also: str = "") -> list[Table]:
    """Cost, and latency with memory."""
    floor = results[_FLOOR]
    titles = {each.name: each.title for each in (variants.ECHO, variants.FLOOR, variants.PLAIN, variants.NODE)}
    titles[OURS] = "grpc.aio + two calls, everything on"
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


def data(results: Results) -> dict[str, list[dict[str, object]]]:
    """All rounds, as they go into the JSON file."""
    return {name: [asdict(each) for each in rounds] for name, rounds in results.items()}


def _cpu(rounds: Sequence[Result]) -> list[float]:
    return [each.cpu_per_call for each in rounds]
