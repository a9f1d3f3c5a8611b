"""`history`: what keeping a history adds to an update, and how long a page of a long history takes, on both databases."""

import asyncio
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any, Final

import grpc
from engagement.v1 import sequence_step_service_pb2 as messages
from engagement.v1 import sequence_step_service_pb2_grpc as stubs
from msgspec import structs
from sqlalchemy import insert

from bench.load import Result
from bench.measure import measure
from bench.parts.scale import postgresql
from bench.processes import Cores
from bench.report import Goal, Row, Section, Spread, Table
from bench.stage import Stage, others
from bench.upstream import UpstreamServer, nginx_or_small
from bench.variants import Service, service
from service.connections import Applications, Keyring, Store
from service.connections.schema import step_changes
from service.domain.step import BODY, SUBJECT, FieldChange
from service.history.change_id import least_id
from service.history.sealed_fields import RowKey, seal

_HISTORY: Final = {"SEQSTEP_HISTORY_DAYS": "30"}
_MOST: Final = 1.15
_PAGE_MS: Final = 50.0
_BATCH: Final = 5_000
_ASKED: Final = 40
_SPAN_SECONDS: Final = 20 * 86400.0
_BODY: Final = "<p>Hi {{first_name}}, shall we talk on Thursday?</p>" * 8
_STEPS: Final = 10
# Rounds of updates for each round of other parts.
_TURNS: Final = 4
# Of the history, half is of one customer.
_CUSTOMER: Final = "acme"


def run(stage: Stage) -> Section:
    """CPU per update with a history and without, in turn, and pages of a history of a million changes."""
    cores = Cores.apart()
    results: dict[tuple[str, bool], list[Result]] = {}
    pages: dict[str, dict[str, list[float]]] = {}
    size = max(stage.effort.sizes)
    with ExitStack() as stack:
        server = stack.enter_context(postgresql(cores))
        server.psql("CREATE DATABASE history")
        upstream = stack.enter_context(nginx_or_small(stage.folder, cores))
        stores = {
            "SQLite": stack.enter_context(service(100)),
            "PostgreSQL": stack.enter_context(service(100, server.get_uri("history"))),
        }
        _measure_updates(stage, stores, upstream, cores, results)
        for kind, made in stores.items():
            with stage.doing(f"Putting {size:,} changes into {kind} …"):
                asyncio.run(_fill(made, size))
            with (
                stage.doing(f"Asking for pages of {kind} …"),
                made.process(upstream, cores, environment=_HISTORY) as (_, port, _begun),
            ):
                pages[kind] = _ask(port, made.api_key)
    return Section(
        [_costs(results), _page_table(pages, size)],
        [*_goals(results, pages, size)],
        [
            (
                "The provider answers at once and every update writes; 32 calls are under way. Each change is one row that is "
                "written and settled; those of calls at once share a transaction, which waits for the disk. PostgreSQL runs on the "
                "generator's core, and its work is not counted. A page has 50 changes of texts of 0.4 KiB, half of all are of the "
                "customer that asks, in one sequence of ten steps; milliseconds are the caller's."
            ),
            others([each for rounds in results.values() for each in rounds]),
        ],
        {
            "updates": {
                f"{kind}, {keeps}": [asdict(each) for each in rounds] for (kind, keeps), rounds in results.items()
            },
            "pages": pages,
        },
    )


def _measure_updates(
    stage: Stage,
    stores: Mapping[str, Service],
    upstream: UpstreamServer,
    cores: Cores,
    results: dict[tuple[str, bool], list[Result]],
) -> None:
    """Measures updates with a history and without in turn, in processes that stay: many short rounds, since they differ much."""
    with ExitStack() as stack:
        loads = {
            (kind, keeps): stack.enter_context(made.running(upstream, cores, environment=_HISTORY if keeps else {}))
            for kind, made in stores.items()
            for keeps in (False, True)
        }
        for load in loads.values():
            measure(replace(load, seconds=stage.effort.warm_up, warm_up=0), cores)
        short = stage.effort.seconds / 2
        for number in range(_TURNS * stage.effort.rounds):
            with stage.doing(f"Round {number + 1} …"):
                for which, load in loads.items() if number % 2 else reversed(loads.items()):
                    found = measure(replace(load, seconds=short, warm_up=short / 4), cores)
                    results.setdefault(which, []).append(found)


def _cpu(rounds: list[Result]) -> list[float]:
    return [each.cpu_per_call for each in rounds]


def _costs(results: dict[tuple[str, bool], list[Result]]) -> Table:
    rows: list[Row] = []
    for (kind, keeps), rounds in sorted(results.items()):
        rows.append(
            (
                f"{kind}, {'with' if keeps else 'without'} a history",
                Spread.of(_cpu(rounds)).show(),
                Spread.ratio(_cpu(rounds), _cpu(results[kind, False])).show(2),
                Spread.of([each.rate for each in rounds]).show(),
                Spread.of([each.latencies["p50"] for each in rounds]).show(1),
                Spread.of([each.latencies["p99"] for each in rounds]).show(1),
            )
        )
    head = ("", "CPU per call, µs", "×", "calls a second", "p50, ms", "p99, ms")
    return Table("Updates with a history", head, rows)


def _page_table(pages: dict[str, dict[str, list[float]]], size: int) -> Table:
    rows: list[Row] = [
        (f"{kind}, {what}", f"{Spread.of(taken).middle:.1f}", f"{max(taken):.1f}")
        for kind, asked in pages.items()
        for what, taken in asked.items()
    ]
    return Table(f"Pages of {size:,} changes", ("", "median, ms", "longest, ms"), rows)


def _goals(
    results: dict[tuple[str, bool], list[Result]], pages: dict[str, dict[str, list[float]]], size: int
) -> Iterator[Goal]:
    for kind, asked in pages.items():
        ratio = Spread.ratio(_cpu(results[kind, True]), _cpu(results[kind, False]))
        what = f"An update with a history costs ≤ {_MOST} × one without, {kind}"
        yield Goal(what, ratio.show(2, " ×"), ratio.middle <= _MOST)
        slowest = max(Spread.of(taken).middle for taken in asked.values())
        what = f"A page of {size:,} changes takes < {_PAGE_MS:.0f} ms, {kind}"
        yield Goal(what, f"{slowest:.1f} ms, the slowest filter's median", slowest < _PAGE_MS)


async def _fill(made: Service, size: int) -> None:
    """Puts changes of the last days into the store, half of them of one customer."""
    keyring = Keyring.parse(made.environment["SEQSTEP_ENCRYPTION_KEYS"])
    store = Store.open(made.environment["SEQSTEP_DATABASE_URL"], statement_seconds=None)
    caller = await Applications(store, 0).authenticate(made.api_key)
    began = time.time() - _SPAN_SECONDS
    try:
        for first in range(0, size, _BATCH):
            rows = []
            for number in range(first, min(size, first + _BATCH)):
                made_at = least_id(began + number * _SPAN_SECONDS / size)[:8] + random.randbytes(8)
                is_ours = number % 2 == 0
                key = RowKey(
                    made_at,
                    caller.application_id,
                    _CUSTOMER if is_ours else f"c{number % 1000}",
                    "apollo",
                    "5f0000000000000000000101",
                    f"5f{number // 2 % _STEPS:022}",
                    "5f0000000000000000000401",
                    f"r-{number}",
                    None,
                )
                fields = [
                    FieldChange(SUBJECT, "Quick question", f"S{number}"),
                    FieldChange(BODY, _BODY, f"{_BODY}{number}"),
                ]
                sealed = seal(keyring, key, fields)
                rows.append(
                    structs.asdict(key) | {"state": "applied", "ciphertext": sealed.ciphertext, "key_id": sealed.key_id}
                )
            async with store.begin() as db:
                await db.execute(insert(step_changes), rows)
    finally:
        await store.close()


def _ask(port: int, api_key: str) -> dict[str, list[float]]:
    """Milliseconds of pages, by what they are chosen by."""
    metadata = (("x-customer-id", _CUSTOMER), ("x-provider-name", "apollo"), ("x-api-key", api_key))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = stubs.SequenceStepServiceStub(channel)

        def ask(**fields: Any) -> tuple[Any, float]:
            request = messages.ListStepChangesRequest(**fields)
            begun = time.perf_counter()
            answer = stub.ListStepChanges(request, metadata=metadata, timeout=60, wait_for_ready=True)
            taken = (time.perf_counter() - begun) * 1000
            assert not answer.errors, answer.errors
            return answer, taken

        first, _ = ask()
        middle = messages.ListStepChangesRequest()
        middle.end_time.FromSeconds(int(time.time() - _SPAN_SECONDS / 2))
        behind, _ = ask(end_time=middle.end_time)
        sequence = {"sequence_id": "5f0000000000000000000101"}
        wanted: dict[str, dict[str, Any]] = {
            "the newest": {},
            "a page in the middle": {"end_time": middle.end_time, "page_token": behind.next_page_token},
            "of a sequence": sequence,
            "of a step": sequence | {"sequence_step_id": f"5f{3:022}"},
            "of a request": {"request_id": first.step_changes[-1].request_id},
            "of an unknown step": sequence | {"sequence_step_id": f"5f{99:022}"},
        }
        return {what: [ask(**fields)[1] for _ in range(_ASKED)] for what, fields in wanted.items()}
