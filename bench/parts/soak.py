"""`soak`: updates under random faults and odd answers for minutes; every outcome is compared with what the provider has.

The service runs in one process of its own, which is looked at every second: memory, files, sockets, tasks, objects.
"""

import asyncio
import itertools
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import grpc
import httpx
import psutil
import uvloop
from engagement.v1 import sequence_step_service_pb2_grpc

from bench.callers import PLACES, ComparedCalls, Findings
from bench.processes import Running, free_port, started, wait_for_port
from bench.report import Goal, Row, Section, Table
from bench.stage import Stage
from bench.upstream import sandbox
from bench.variants import service_of

_DEADLINE_SECONDS: Final = 3.0
_WARM_UP_SHARE: Final = 0.2
_GROWTH: Final = 1.1
# As many files, sockets and tasks are there more or less with the calls of a moment. A call in a thousand that left one behind
# would leave more.
_FEW: Final = 10

# At each provider, how often per hundred requests, and what happens to them.
_FAULTS: Final[Sequence[tuple[float, dict[str, Any]]]] = (
    (2, {"status": 503, "body": "<html>Service Unavailable</html>"}),
    (1, {"status": 503, "when": "after"}),
    (1, {"status": 500, "body": "Internal error"}),
    (1, {"status": 502, "when": "after", "body": "<html>Bad Gateway</html>"}),
    (1, {"status": 429, "headers": {"retry-after": "1"}, "body": {"message": "slow down"}}),
    (1, {"status": 403, "body": {"error": "no"}}),
    (1, {"status": 422, "body": {"error": "Subject is not allowed"}}),
    (1, {"cut": "reset"}),
    (1, {"cut": "reset", "when": "after"}),
    (1, {"cut": "before_headers", "when": "after"}),
    (1, {"cut": "mid_body"}),
    (1, {"cut": "mid_body", "when": "after"}),
    (0.5, {"hang": True}),
    (0.5, {"hang": True, "when": "after"}),
    (1, {"delay_seconds": 0.3}),
    (1, {"status": 200, "body": "<html>hello</html>", "when": "after"}),
    (1, {"status": 200, "body": '{"broken', "when": "after"}),
    (1, {"status": 302, "headers": {"location": "http://127.0.0.1:1/"}}),
)


_PAGE: Final = {
    "body": "<html>Attention Required!</html>",
    "headers": {"cf-mitigated": "challenge", "content-type": "text/html"},
}

# Odd answers in the same way, each with the provider and the kind of request that it is peculiar to, if it is.
_ODD_ANSWERS: Final[Sequence[tuple[float, dict[str, Any]]]] = (
    *((0.5, {"status": status, **_PAGE, "when": when}) for status in (401, 403, 404) for when in ("before", "after")),
    *((0.5, {"status": status, "body": "", "when": "after"}) for status in (303, 408, 499, 520, 530, 599)),
    (0.5, {"status": 520, "body": "error code: 520"}),
    (0.5, {"prefix": "\ufeff"}),
    (0.5, {"headers": {"retry-after": "9" * 400, "x-minute-requests-left": "9" * 50, "x-ratelimit-remaining": "many"}}),
    (1, {"provider": "apollo", "method": "PUT", "members": {"id": "5f00000000000000000fffff"}}),
    (1, {"provider": "apollo", "method": "PUT", "members": {"error_message": "not saved"}}),
    (1, {"provider": "apollo", "method": "PUT", "members": {"error": "not saved"}, "without": ["id"]}),
    (1, {"provider": "apollo", "method": "PUT", "members": {"error": None, "status": "loading"}}),
    (1, {"provider": "apollo", "method": "PUT", "without": ["subject", "note"]}),
    (1, {"provider": "apollo", "method": "PUT", "members": {"subject": 3, "note": []}}),
    (1, {"provider": "apollo", "method": "PUT", "status": 200, "body": {"error": "Wait mode must be valid"}}),
    (1, {"provider": "apollo", "method": "PUT", "status": 202, "body": {"status": "queued"}, "when": "after"}),
    (1, {"provider": "apollo", "method": "GET", "without": ["emailer_touches"]}),
    (1, {"provider": "apollo", "method": "GET", "members": {"emailer_campaign": None, "attachments": "loading"}}),
    (1, {"provider": "outreach", "method": "PATCH", "members": {"data": {"type": "template", "id": 99}}}),
    (1, {"provider": "outreach", "method": "PATCH", "members": {"errors": [{"detail": "not saved"}]}}),
    (1, {"provider": "outreach", "method": "PATCH", "without": ["data"]}),
    (1, {"provider": "outreach", "method": "PATCH", "status": 204, "body": "", "when": "after"}),
    (1, {"provider": "outreach", "method": "PATCH", "status": 200, "body": {"meta": {}}, "when": "after"}),
    (1, {"provider": "outreach", "method": "PATCH", "status": 403, "body": {"message": "Forbidden"}, "when": "after"}),
    (1, {"provider": "outreach", "method": "GET", "without": ["included"]}),
    (1, {"provider": "outreach", "method": "GET", "members": {"data": None}}),
    (1, {"provider": "outreach", "method": "GET", "members": {"links": [], "meta": 5}}),
    (5, {"provider": "outreach", "path": "oauth/token", "members": {"expires_in": "60"}}),
    (5, {"provider": "outreach", "path": "oauth/token", "members": {"expires_in": 0, "token_type": 5}}),
    (5, {"provider": "outreach", "path": "oauth/token", "prefix": "\ufeff\n"}),
    (2, {"provider": "outreach", "path": "oauth/token", "status": 400, "body": {"error": "invalid_grant"}}),
    (2, {"provider": "outreach", "path": "oauth/token", "status": 401, "body": {"error": "invalid_client"}}),
)


@dataclass(frozen=True, slots=True)
class _Look:
    """The service's process at one moment."""

    memory: int
    files: int
    sockets: int
    tasks: int
    objects: int


async def _order_faults(url: str, control: httpx.AsyncClient) -> None:
    for provider, (percent, fault) in itertools.product(PLACES, (*_FAULTS, *_ODD_ANSWERS)):
        if fault.get("provider", provider) != provider:
            continue
        order = {
            "provider": provider,
            "path": "^(?!.*oauth)",
            "times": None,
            "probability": percent / 100,
            **fault,
        }
        (await control.post(f"{url}/faults", json=order)).raise_for_status()
        if fault.get("status") == 503 and "when" not in fault:
            (await control.post(f"{url}/faults", json=order | {"path": "oauth/token"})).raise_for_status()


def _look(service: Running, log: Path) -> _Look:
    process = psutil.Process(service.pid)
    lines = [line for line in log.read_text().splitlines()[-2000:] if line.startswith("watched ")]
    tasks, objects = (int(each) for each in lines[-1].split()[1:]) if lines else (0, 0)
    return _Look(process.memory_info().rss, process.num_fds(), len(process.net_connections("tcp")), tasks, objects)


def run(stage: Stage) -> Section:
    """Random faults and odd answers for minutes: how each call ended, what the provider has, and what leaked."""
    return uvloop.run(_soak(stage))


async def _soak(stage: Stage) -> Section:
    folder, minutes = stage.folder, stage.effort.soak_minutes
    with ExitStack() as stack:
        cores = sorted(psutil.Process().cpu_affinity() or [0])
        port = free_port()
        stand_in = stack.enter_context(sandbox(cores))
        async with httpx.AsyncClient(timeout=30) as control:
            run = ComparedCalls(stand_in.control_url, control, _DEADLINE_SECONDS)
            customers = await run.make_customers()
            made = await asyncio.to_thread(stack.enter_context, service_of(customers))
            environment = made.environment | {
                "SEQSTEP_GRPC_ADDRESS": f"127.0.0.1:{port}",
                "SEQSTEP_HTTP_ADDRESS": "",
                **stand_in.environment,
                "SEQSTEP_TOKEN_REFRESH_MARGIN_SECONDS": "15",
            }
            log = folder / "service.log"
            service = stack.enter_context(
                started([sys.executable, "-m", "bench.servers.watched"], cores=cores, environment=environment, log=log)
            )
            wait_for_port(port)
            await _order_faults(stand_in.control_url, control)
            looks: list[_Look] = []
            end = time.monotonic() + minutes * 60
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = sequence_step_service_pb2_grpc.SequenceStepServiceStub(channel)
                callers = asyncio.gather(
                    *(run.keep_calling(each, stub, made.api_key, lambda: time.monotonic() >= end) for each in customers)
                )
                with stage.console.status("Calling …") as status:
                    while not callers.done():
                        await asyncio.wait([callers], timeout=1)
                        looks.append(_look(service, log))
                        status.update(
                            f"{sum(run.findings.outcomes.values()):,} calls, {len(run.findings.untrue)} untrue answers, "
                            f"{max(0, end - time.monotonic()):.0f} s to go"
                        )
                await callers
            (await control.delete(f"{stand_in.control_url}/faults")).raise_for_status()
            mints = sum(
                each["count"]
                for each in (await control.get(f"{stand_in.control_url}/counters")).json()
                if "oauth" in str(each) and each.get("status") == 200
            )
    return _section(run.findings, looks, mints, minutes)


def _section(account: Findings, looks: Sequence[_Look], mints: int, minutes: float) -> Section:
    endings: list[Row] = [(name, f"{count:,}") for name, count in account.outcomes.most_common()]
    endings.append(("all", f"{sum(account.outcomes.values()):,}"))
    settled = looks[int(len(looks) * _WARM_UP_SHARE) :]
    fifth = max(1, len(settled) // 5)
    leaks: list[Row] = []
    grown = []
    for name, label, unit in (
        ("memory", "memory, MB", 1e6),
        ("files", "open files", 1),
        ("sockets", "sockets", 1),
        ("tasks", "tasks", 1),
        ("objects", "objects", 1),
    ):
        values = [getattr(look, name) / unit for look in settled]
        first, last = median(values[:fifth]), median(values[-fifth:])
        leaks.append((label, f"{first:,.0f}", f"{last:,.0f}", f"{max(values):,.0f}"))
        if last > max(_GROWTH * first, first + (_FEW if unit == 1 else 0)):
            grown.append(label)
    untrue = len(account.untrue)
    # Every failure has a typed outcome, and so has every status.
    untyped = sum(count for name, count in account.outcomes.items() if "nothing" in name)
    return Section(
        [
            Table(f"Answers in {minutes:g} minutes", ("outcome", "calls"), endings),
            Table("The service's process", ("", "first fifth", "last fifth", "most"), leaks),
        ],
        [
            Goal("Soak: outcomes agree with what the provider has", f"{untrue} disagree", not untrue),
            Goal("Soak: every failure has a typed outcome", f"{untyped} have none", not untyped),
            Goal("Soak: nothing leaks", ", ".join(grown) or f"nothing grew by more than a tenth and {_FEW}", not grown),
            Goal(
                "Soak: answers by the deadline", f"{account.latest * 1000:+.0f} ms at the latest", account.latest <= 0
            ),
        ],
        [
            f"{account.repeated:,} of the calls were repeats that settled what was in doubt; {mints} tokens were minted.",
            "Medians over a fifth of the time each, the first fifth of all left out as warm-up.",
            *account.untrue[:10],
        ],
        {"outcomes": dict(account.outcomes), "looks": [asdict(look) for look in looks], "untrue": account.untrue},
        wrong=bool(untrue or untyped),
    )
