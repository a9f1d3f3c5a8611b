"""`soak`: updates under random faults and odd answers for minutes; every answer is held against what the provider holds.

Each customer has an account of its own at the sandbox and makes one call at a time, so that what the provider held before
and holds after a call is known exactly. The service runs in one process of its own, which is looked at every second:
memory, files, sockets, tasks, objects.
"""

import asyncio
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import grpc
import httpx
import psutil
import uvloop
from engagement.v1 import envelope_pb2, sequence_step_service_pb2_grpc
from engagement.v1 import sequence_step_service_pb2 as messages
from google.rpc import status_pb2

from bench.processes import Running, free_port, started, wait_for_port
from bench.report import Goal, Row, Section, Table
from bench.stage import Stage
from bench.upstream import sandbox
from bench.variants import Customer, service_of
from sandbox import seed
from service.domain.credentials import ApiKeyCredentials, Credentials, OAuthCredentials, Secret
from service.domain.step import Provider

_CUSTOMERS: Final = 12
_DEADLINE_SECONDS: Final = 3.0
_WARM_UP_SHARE: Final = 0.2
_GROWTH: Final = 1.1

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
class _Place:
    """Where a provider keeps what is changed."""

    sequence: str
    step: str
    template_path: str
    step_path: str
    note: str

    def read(self, template: dict[str, Any], step: dict[str, Any]) -> tuple[Any, Any]:
        return (
            template.get("attributes", template)["subject"],
            step.get("attributes", step)[self.note],
        )


_PLACES: Final = {
    Provider("apollo"): _Place(
        seed.APOLLO_SEQUENCE_INACTIVE,
        seed.APOLLO_STEP_INACTIVE_PLAIN,
        f"apollo/emailer_templates/{seed.APOLLO_TEMPLATE_INACTIVE_PLAIN}",
        f"apollo/emailer_steps/{seed.APOLLO_STEP_INACTIVE_PLAIN}",
        "note",
    ),
    Provider("outreach"): _Place(
        str(seed.OUTREACH_SEQUENCE_DISABLED),
        str(seed.OUTREACH_STEP_DISABLED_PLAIN),
        f"outreach/templates/{seed.OUTREACH_TEMPLATE_DISABLED_PLAIN}",
        f"outreach/sequenceSteps/{seed.OUTREACH_STEP_DISABLED_PLAIN}",
        "taskNote",
    ),
}


@dataclass(slots=True)
class _Account:
    """What the callers were told, and where it was not true."""

    told: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    untrue: list[str] = field(default_factory=list)
    latest: float = -1e9

    def note(self, told: str, seconds: float) -> None:
        self.told[told] += 1
        self.latest = max(self.latest, seconds - _DEADLINE_SECONDS)


@dataclass(frozen=True, slots=True)
class _Look:
    """The service's process at one moment."""

    memory: int
    files: int
    sockets: int
    tasks: int
    objects: int


class _Soak:
    def __init__(self, control_url: str, control: httpx.AsyncClient) -> None:
        self._url = control_url
        self._control = control
        self._accounts: dict[str, str] = {}
        self.account = _Account()

    async def make_customers(self) -> list[Customer]:
        customers = []
        for number in range(_CUSTOMERS):
            provider = (Provider("apollo"), Provider("outreach"))[number % 2]
            many: dict[str, Any] = {"minute": None, "hourly": None, "24-hour": None}
            order: dict[str, Any] = {"provider": provider, "rate_limits": many}
            if provider == Provider("outreach"):
                order |= {"rate_limits": {"hour": 10**8}, "token_lifetime_seconds": 60}
            made = (await self._control.post(f"{self._url}/accounts", json=order)).raise_for_status().json()
            credentials: Credentials
            if provider == Provider("apollo"):
                credentials = ApiKeyCredentials(Secret(made["api_key"]))
            else:
                await self._control.patch(f"{self._url}/accounts/{made['id']}", json={"mint_interval_seconds": 0})
                credentials = OAuthCredentials(
                    Secret(made["access_token"]),
                    Secret(made["refresh_token"]),
                    float(made["expires_at"]),
                    made["client_id"],
                    Secret(made["client_secret"]),
                    made["redirect_uri"],
                )
            customers.append(Customer(f"customer-{number}", provider, credentials))
            self._accounts[customers[-1].name] = made["id"]
        return customers

    async def order_faults(self) -> None:
        for provider, (percent, fault) in itertools.product(_PLACES, (*_FAULTS, *_ODD_ANSWERS)):
            if fault.get("provider", provider) != provider:
                continue
            order = {
                "provider": provider,
                "path": "^(?!.*oauth)",
                "times": None,
                "probability": percent / 100,
                **fault,
            }
            (await self._control.post(f"{self._url}/faults", json=order)).raise_for_status()
            if fault.get("status") == 503 and "when" not in fault:
                (
                    await self._control.post(f"{self._url}/faults", json=order | {"path": "oauth/token"})
                ).raise_for_status()

    async def lift_faults(self) -> None:
        (await self._control.delete(f"{self._url}/faults")).raise_for_status()

    async def held(self, customer: Customer) -> tuple[Any, Any]:
        place = _PLACES[customer.provider]
        given = {"account": self._accounts[customer.name]}
        template = await self._control.get(f"{self._url}/{place.template_path}", params=given)
        step = await self._control.get(f"{self._url}/{place.step_path}", params=given)
        return place.read(template.raise_for_status().json(), step.raise_for_status().json())

    async def keep_calling(self, customer: Customer, stub: Any, key: str, until: float) -> None:
        place = _PLACES[customer.provider]
        metadata = (("x-api-key", key), ("x-customer-id", customer.name), ("x-provider-name", customer.provider))
        for number in itertools.count():
            if time.monotonic() >= until:
                return
            request = messages.UpdateStepRequest(sequence_id=place.sequence, sequence_step_id=place.step)
            before = await self.held(customer)
            wanted = (f"{customer.name} {number}", before[1])
            request.record.template.subject = wanted[0]
            if random.random() < 0.5:
                wanted = (wanted[0], f"note {number}")
                request.record.custom_fields.update({place.note: wanted[1]})
            told = await self._call(stub, request, metadata)
            self._check(customer, told, before, wanted, await self.held(customer))
            while told in ("unknown", "partially applied") and time.monotonic() < until:
                self.account.repeated += 1
                told = await self._call(stub, request, metadata)
                if told == "applied":
                    self._check(customer, told, before, wanted, await self.held(customer))

    async def _call(self, stub: Any, request: messages.UpdateStepRequest, metadata: Any) -> str:
        begun = time.monotonic()
        try:
            response = await stub.UpdateStep(request, metadata=metadata, timeout=_DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            response = envelope(error)
            told = f"{error.code().name}, {outcome(response)}"
        else:
            told = outcome(response) if response.errors else "applied"
        self.account.note(told, time.monotonic() - begun)
        return told

    def _check(
        self, customer: Customer, told: str, before: tuple[Any, Any], wanted: tuple[Any, Any], now: tuple[Any, Any]
    ) -> None:
        if told == "applied":
            true = now == wanted
        elif told == "unknown" or told.endswith("nothing"):
            true = now[0] in (before[0], wanted[0]) and now[1] in (before[1], wanted[1])
        elif told == "partially applied":
            true = now[0] == wanted[0] and now[1] in (before[1], wanted[1])
        else:
            true = now == before
        if not true:
            self.account.untrue.append(f"{customer.name} was told {told}: {before} -> {now}, wanted {wanted}")


def envelope(error: grpc.aio.AioRpcError) -> messages.UpdateStepResponse:
    response = messages.UpdateStepResponse()
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(response)
    return response


def outcome(response: messages.UpdateStepResponse) -> str:
    if not response.errors:
        return "nothing"
    name = envelope_pb2.ErrorOutcome.Name(response.errors[0].meta.outcome)
    return name.removeprefix("ERROR_OUTCOME_").replace("_", " ").lower()


def _look(service: Running, log: Path) -> _Look:
    process = psutil.Process(service.pid)
    lines = [line for line in log.read_text().splitlines()[-2000:] if line.startswith("watched ")]
    tasks, objects = (int(each) for each in lines[-1].split()[1:]) if lines else (0, 0)
    return _Look(process.memory_info().rss, process.num_fds(), len(process.net_connections("tcp")), tasks, objects)


def run(stage: Stage) -> Section:
    """Random faults and odd answers for minutes: what each caller was told, what the provider held, and what leaked."""
    return uvloop.run(_soak(stage))


async def _soak(stage: Stage) -> Section:
    folder, minutes = stage.folder, stage.effort.soak_minutes
    with ExitStack() as stack:
        cores = sorted(psutil.Process().cpu_affinity() or [0])
        port = free_port()
        stand_in = stack.enter_context(sandbox(cores))
        async with httpx.AsyncClient(timeout=30) as control:
            run = _Soak(stand_in.control_url, control)
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
            await run.order_faults()
            looks: list[_Look] = []
            end = time.monotonic() + minutes * 60
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = sequence_step_service_pb2_grpc.SequenceStepServiceStub(channel)
                callers = asyncio.gather(*(run.keep_calling(each, stub, made.api_key, end) for each in customers))
                with stage.console.status("Calling …") as status:
                    while not callers.done():
                        await asyncio.wait([callers], timeout=1)
                        looks.append(_look(service, log))
                        status.update(
                            f"{sum(run.account.told.values()):,} calls, {len(run.account.untrue)} untrue answers, "
                            f"{max(0, end - time.monotonic()):.0f} s to go"
                        )
                await callers
            await run.lift_faults()
            mints = sum(
                each["count"]
                for each in (await control.get(f"{stand_in.control_url}/counters")).json()
                if "oauth" in str(each) and each.get("status") == 200
            )
    return _section(run.account, looks, mints, minutes)


def _section(account: _Account, looks: Sequence[_Look], mints: int, minutes: float) -> Section:
    told: list[Row] = [(name, f"{count:,}") for name, count in account.told.most_common()]
    told.append(("all", f"{sum(account.told.values()):,}"))
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
        if last > _GROWTH * first:
            grown.append(label)
    untrue = len(account.untrue)
    # Every failure has a typed outcome, and so has every status.
    untyped = sum(count for name, count in account.told.items() if "nothing" in name)
    return Section(
        [
            Table(f"Answers in {minutes:g} minutes", ("the caller was told", "calls"), told),
            Table("The service's process", ("", "first fifth", "last fifth", "most"), leaks),
        ],
        [
            Goal("Soak: what callers were told agrees with what the provider holds", f"{untrue} disagree", not untrue),
            Goal("Soak: every failure has a typed outcome", f"{untyped} have none", not untyped),
            Goal("Soak: nothing leaks", ", ".join(grown) or "nothing grew by more than a tenth", not grown),
            Goal(
                "Soak: answers by the deadline", f"{account.latest * 1000:+.0f} ms at the latest", account.latest <= 0
            ),
        ],
        [
            f"{account.repeated:,} of the calls were repeats that settled what was in doubt; {mints} tokens were minted.",
            "Medians over a fifth of the time each, the first fifth of all left out as warm-up.",
            *account.untrue[:10],
        ],
        {"told": dict(account.told), "looks": [asdict(look) for look in looks], "untrue": account.untrue},
        wrong=bool(untrue or untyped),
    )
