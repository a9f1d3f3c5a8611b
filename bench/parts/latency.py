"""`latency`: what the service adds to the time of two provider round trips, at half load."""

from dataclasses import asdict, replace
from functools import partial
from typing import Final

from bench import variants
from bench.load import Result
from bench.processes import Cores
from bench.report import Goal, Row, Section, Spread, Table
from bench.stage import Stage, others
from bench.upstream import nginx_or_small, small
from bench.variants import service

_ANSWER_SECONDS: Final = 0.05
# All calls are of one application, which by default may have sixty under way at a provider: about as many as there are here.
_ADMITTING: Final = {"SEQSTEP_MAX_CONCURRENT_CALLS": "1024"}
_GOALS: Final = {"p50": 3.0, "p99": 10.0}


def run(stage: Stage) -> Section:
    """Latency beyond two provider round trips of 50 ms each, at half of the calls a second that the service can do."""
    cores = Cores.apart()
    results: dict[str, list[Result]] = {"this service": [], variants.FLOOR.name: []}
    round_trips: dict[str, list[float]] = {name: [] for name in results}
    with (
        service() as ours,
        nginx_or_small(stage.folder, cores) as fast,
        small(cores, _ANSWER_SECONDS) as slow,
    ):
        with stage.doing("Measuring what the service can do …"), ours.running(fast, cores) as load:
            rate = stage.measure(load, cores).rate / 2
        starts = {
            "this service": partial(ours.running, slow, cores, environment=_ADMITTING),
            variants.FLOOR.name: partial(variants.running, variants.FLOOR, slow, cores),
        }
        for number in range(stage.effort.rounds):
            for name, start in starts.items():
                before = slow.counts()
                with stage.doing(f"Round {number + 1} of {stage.effort.rounds}: {name} …"), start() as load:
                    results[name].append(stage.measure(replace(load, rate=rate, may_refuse=True), cores))
                seen = slow.counts().since(before)
                round_trips[name].append(2000 * seen.seconds / seen.requests)
    rows: list[Row] = [
        (
            name,
            *(_added(rounds, round_trips[name], percentile).show(1) for percentile in ("p50", "p99", "p99.9")),
            Spread.of(round_trips[name]).show(1),
            Spread.of([100 * each.server_share for each in rounds]).show(0, " %"),
            Spread.of([each.late for each in rounds]).show(1),
            f"{sum(each.refused for each in rounds):,} of {sum(each.calls + each.refused for each in rounds):,}",
        )
        for name, rounds in results.items()
    ]
    goals = []
    for percentile, limit in _GOALS.items():
        added = _added(results["this service"], round_trips["this service"], percentile)
        goals.append(
            Goal(
                f"Latency added at half load: {percentile} ≤ {limit:g} ms", added.show(1, " ms"), added.middle <= limit
            )
        )
    how = (
        f"{rate:,.0f} calls a second, begun at random moments. The stand-in answers {_ANSWER_SECONDS * 1000:.0f} ms after "
        "each request; what two answers take there by its own account, on average, is left out. "
        "What the generator is late by is in the figures."
    )
    return Section(
        [
            Table(
                "Latency beyond the provider's two answers",
                (
                    "",
                    "p50, ms",
                    "p99, ms",
                    "p99.9, ms",
                    "the two answers, ms",
                    "server's core",
                    "generator late, p99, ms",
                    "refused",
                ),
                rows,
            )
        ],
        goals,
        [how, others([each for rounds in results.values() for each in rounds])],
        {"rate": rate, **{name: [asdict(each) for each in rounds] for name, rounds in results.items()}},
    )


def _added(rounds: list[Result], round_trips: list[float], percentile: str) -> Spread:
    return Spread.of([each.latencies[percentile] - there for each, there in zip(rounds, round_trips, strict=True)])
