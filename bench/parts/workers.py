"""`workers`: what a second worker on a second core adds."""

from dataclasses import asdict, replace
from typing import Final

from bench.load import Result
from bench.processes import Cores, NotHere
from bench.report import Goal, Row, Section, Spread, Table
from bench.stage import Stage, others
from bench.upstream import nginx_or_small
from bench.variants import service

_GOAL: Final = 1.8

# The kernel gives each connection to a worker by chance; with many, the workers get about as much each.
_CONNECTIONS: Final = 64


def run(stage: Stage) -> Section:
    """Calls a second of one worker on one core and of two on two, the load generator's share of these accounted for."""
    apart, together = Cores.apart(), Cores.together()
    if len(together.server) < 2:
        raise NotHere("two workers need two cores")
    results: dict[int, list[Result]] = {1: [], 2: []}
    with (
        service() as ours,
        nginx_or_small(stage.folder, apart) as on_one,
        nginx_or_small(stage.folder, together) as on_both,
    ):
        for number in range(stage.effort.rounds):
            for workers, cores, upstream in ((1, apart, on_one), (2, together, on_both)):
                with (
                    stage.doing(f"Round {number + 1} of {stage.effort.rounds}: {workers} workers …"),
                    ours.running(upstream, cores, workers=workers) as load,
                ):
                    many = replace(load, concurrency=_CONNECTIONS, connections=_CONNECTIONS)
                    results[workers].append(stage.measure(many, cores))
    rows: list[Row] = [
        (
            str(workers),
            Spread.of([each.rate for each in rounds]).show(),
            Spread.of([each.server_share for each in rounds]).show(2),
            Spread.of([each.load_share for each in rounds]).show(2),
            Spread.of([max(0.0, each.other_cpu / each.seconds) for each in rounds]).show(2),
            Spread.of([each.cpu_per_call for each in rounds]).show(),
            Spread.of([_whole(each, workers) for each in rounds]).show(),
        )
        for workers, rounds in results.items()
    ]
    one, two = ([_whole(each, workers) for each in rounds] for workers, rounds in results.items())
    ratio = Spread.ratio(two, one)
    how = (
        "The generator and the stand-in for the providers need a part of the two cores too, so two workers cannot have them "
        "whole. `calls a second on whole cores` is what they do with what they get, at a core each: calls a second, divided "
        "by the cores that the workers used, times the number of workers."
    )
    return Section(
        [
            Table(
                "Workers",
                (
                    "workers",
                    "calls a second",
                    "workers' cores",
                    "generator's cores",
                    "others' cores",
                    "CPU per call, µs",
                    "calls a second on whole cores",
                ),
                rows,
            )
        ],
        [Goal(f"Two workers ≥ {_GOAL} × one", ratio.show(2, " ×"), ratio.middle >= _GOAL)],
        [how, others([each for rounds in results.values() for each in rounds])],
        {str(workers): [asdict(each) for each in rounds] for workers, rounds in results.items()},
    )


def _whole(result: Result, workers: int) -> float:
    return result.rate / result.server_share * workers
