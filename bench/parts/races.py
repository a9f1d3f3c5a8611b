"""`races`: two updates of one step that begin within 300 ms, and whether the provider ever has a mixture of them.

And two writers with etags that each add one to a number, to what they have seen: whether an update is ever lost.

Each racer has an account of its own at the sandbox and runs one pair after the other, so that what the provider had before
and has after a pair is known exactly.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import grpc
import httpx
import uvloop
from engagement.v1 import sequence_step_service_pb2 as messages
from engagement.v1 import sequence_step_service_pb2_grpc
from google.protobuf import json_format

from bench.callers import envelope, outcome
from bench.parts.scale import postgresql
from bench.processes import Cores
from bench.report import Goal, Row, Section, Table
from bench.stage import Stage
from bench.upstream import sandbox
from bench.variants import Customer, service_of
from sandbox import seed
from service.domain.credentials import ApiKeyCredentials, Credentials, OAuthCredentials, Secret
from service.domain.step import Provider

_RACERS: Final = 16
_LONGEST_GAP_SECONDS: Final = 0.3
_DEADLINE_SECONDS: Final = 20.0

# An update then takes about as long as half of the longest gap, so that many pairs overlap.
_LATENCY_SECONDS: Final = 0.05

_NOTE: Final = (
    "Overlapped: the second update began before the first one had ended. Failures are compared with what the provider has "
    "too. In one process, the second update also has to have found what the first one left."
)

Texts = tuple[str, str]
"""The subject and the body of a template."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The step that is raced on at a provider."""

    sequence: str
    step: str
    template_path: str
    body: str


_PLACES: Final = {
    Provider("apollo"): _Place(
        seed.APOLLO_SEQUENCE_INACTIVE,
        seed.APOLLO_STEP_INACTIVE_PLAIN,
        f"apollo/emailer_templates/{seed.APOLLO_TEMPLATE_INACTIVE_PLAIN}",
        "body_html",
    ),
    Provider("outreach"): _Place(
        str(seed.OUTREACH_SEQUENCE_DISABLED),
        str(seed.OUTREACH_STEP_DISABLED_PLAIN),
        f"outreach/templates/{seed.OUTREACH_TEMPLATE_DISABLED_PLAIN}",
        "bodyHtml",
    ),
}


@dataclass(frozen=True, slots=True)
class _Update:
    """One update of a pair, with its outcome.

    Attributes:
        wanted: The texts that it asked for.
        begun: When it began.
        ended: When its caller had the result.
        outcome: "applied", or the outcome of its failure.
        before: The template that it says it found; None for a failure.
        after: The template that it says it left; None for a failure.
        said_no_change: Whether it had the warning NO_CHANGE.
    """

    wanted: Texts
    begun: float
    ended: float
    outcome: str
    before: Texts | None = None
    after: Texts | None = None
    said_no_change: bool = False


def is_mixture(old: Texts, now: Texts, pair: Sequence[_Update]) -> bool:
    """Whether the provider has what nobody asked for as a whole."""
    return now not in {old, *(update.wanted for update in pair)}


def untruths(old: Texts, now: Texts, pair: Sequence[_Update], *, in_one_process: bool) -> list[str]:
    """What updates said that was not so.

    Args:
        old: The provider's template before the pair.
        now: The same afterwards.
        pair: The updates.
        in_one_process: Whether one of them has to have found what the other one left.
    """
    found = []
    successes = [update for update in pair if update.outcome == "applied"]
    doubtful = [update for update in pair if update.outcome not in ("applied", "not applied")]
    states = {old, *(update.wanted for update in pair if update.outcome != "not applied")}
    for update in successes:
        if update.before not in states:
            found.append(f"before was {update.before}, which was never there")
        if update.after != update.wanted:
            found.append(f"after is {update.after}, not {update.wanted}")
        if update.said_no_change != (update.before == update.after):
            found.append(f"NO_CHANGE is {update.said_no_change} for {update.before} -> {update.after}")
    written = [update.wanted for update in (*successes, *doubtful) if update.before != update.wanted]
    left = {*written, *([] if len(written) > len(doubtful) else [old])}
    if now not in left:
        found.append(f"{now} is there, though the results leave only {left}")
    if in_one_process and not doubtful and not _is_chain(old, now, successes):
        found.append("neither order of the updates leads from the old template to the present one")
    return found


def _is_chain(old: Texts, now: Texts, successes: Sequence[_Update]) -> bool:
    """Whether in one order or the other each update found what the one before it left."""
    for order in (successes, successes[::-1]):
        state: Texts | None = old
        for update in order:
            state = update.after if update.before == state else None
        if state == now:
            return True
    return False


@dataclass(slots=True)
class Findings:
    """What came of the pairs.

    Attributes:
        pairs: How many there were.
        overlapped: In how many the second update began before the first one had ended.
        unchanged: Updates that found what they asked for.
        failed: Updates that failed, each with an outcome that was compared with the provider's template.
        mixtures: Templates that nobody had asked for.
        untrue: Results that were not so.
    """

    pairs: int = 0
    overlapped: int = 0
    unchanged: int = 0
    failed: int = 0
    mixtures: list[str] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)

    def add(self, old: Texts, now: Texts, pair: Sequence[_Update], *, in_one_process: bool) -> None:
        """Checks a pair and counts it."""
        self.pairs += 1
        self.overlapped += max(update.begun for update in pair) < min(update.ended for update in pair)
        self.unchanged += sum(update.said_no_change for update in pair)
        self.failed += sum(update.outcome != "applied" for update in pair)
        if is_mixture(old, now, pair):
            self.mixtures.append(f"{old} -> {now} by {[update.wanted for update in pair]}")
        self.untrue += [f"{old} -> {now}: {what}" for what in untruths(old, now, pair, in_one_process=in_one_process)]


@dataclass(frozen=True, slots=True)
class _Added:
    """One update of a writer that counts: whose it is, the number that it wrote, and when it began and ended."""

    writer: str
    number: int
    begun: float
    ended: float


def _may_overwrite(other: _Added, lost: _Added) -> bool:
    """Whether an update of the other writer was between its read and its write when this one wrote."""
    return other.writer != lost.writer and other.begun < lost.ended and lost.begun < other.ended


@dataclass(slots=True)
class Counted:
    """What came of writers that count.

    Attributes:
        added: Updates that succeeded.
        refused: Updates that were refused, since somebody else had written meanwhile.
        repeated: Calls that were made again, since the provider was busy with another write.
        lost: Updates that succeeded and were written over by one that had not seen them.
        unexplained: Those of them that the contract does not speak of: no update through another replica overlapped them.
    """

    added: int = 0
    refused: int = 0
    repeated: int = 0
    lost: int = 0
    unexplained: list[str] = field(default_factory=list)

    def add(self, updates: Sequence[_Added], last: int, *, in_one_process: bool) -> None:
        """Counts the updates of one step, whose number is `last` in the end."""
        by_number: dict[int, list[_Added]] = {}
        for update in updates:
            by_number.setdefault(update.number, []).append(update)
        self.added += len(updates)
        self.lost += len(updates) - last
        if sorted(by_number) != list(range(1, last + 1)):
            self.unexplained.append(f"{last} is there after {sorted(by_number)[-3:]}")
        for same in by_number.values():
            *lost, _ = sorted(same, key=lambda each: each.ended)
            self.unexplained += [
                f"{each} was lost, and nothing overlapped it"
                for each in lost
                if in_one_process or not any(_may_overwrite(other, each) for other in updates)
            ]


class _Racers:
    def __init__(self, url: str, control: httpx.AsyncClient) -> None:
        self._url = url
        self._control = control
        self._accounts: dict[str, str] = {}

    async def make_customers(self) -> list[Customer]:
        customers = []
        for number in range(_RACERS):
            provider = (Provider("apollo"), Provider("outreach"))[number % 2]
            limits = {"hour": 10**8} if provider == "outreach" else {"minute": None, "hourly": None, "24-hour": None}
            order = {"provider": provider, "rate_limits": limits}
            made = (await self._control.post(f"{self._url}/accounts", json=order)).raise_for_status().json()
            latency = {"latency_seconds": _LATENCY_SECONDS}
            (await self._control.patch(f"{self._url}/accounts/{made['id']}", json=latency)).raise_for_status()
            credentials: Credentials
            if provider == "apollo":
                credentials = ApiKeyCredentials(Secret(made["api_key"]))
            else:
                credentials = OAuthCredentials(
                    Secret(made["access_token"]),
                    Secret(made["refresh_token"]),
                    float(made["expires_at"]),
                    made["client_id"],
                    Secret(made["client_secret"]),
                    made["redirect_uri"],
                )
            customers.append(Customer(f"racer-{number}", provider, credentials))
            self._accounts[customers[-1].name] = made["id"]
        return customers

    async def race(self, customer: Customer, stubs: Sequence[Any], key: str, pairs: int, findings: Findings) -> None:
        """Runs pairs of one customer, one after the other: the second update goes through the last of the servers."""
        chance = random.Random(f"{customer.name} {len(stubs)}")
        for number in range(pairs):
            old = await self._template(customer)
            first: Texts = (f"A {number}", f"<p>A {number}</p>")
            # Texts of the first update or of before are asked for too, since they must be NO_CHANGE when found.
            second = chance.choices(
                [(f"B {number}", f"<p>B {number}</p>"), (old[0], f"<p>B {number}</p>"), first, old], [4, 4, 1, 1]
            )[0]
            pair = await asyncio.gather(
                _call(customer, stubs[0], key, first, 0.0),
                _call(customer, stubs[-1], key, second, chance.uniform(0, _LONGEST_GAP_SECONDS)),
            )
            findings.add(old, await self._template(customer), pair, in_one_process=len(stubs) == 1)

    async def count(self, customer: Customer, stubs: Sequence[Any], key: str, times: int, counted: Counted) -> None:
        """Two writers add one so many times each: the second one goes through the last of the servers."""
        first = await _ask(customer, stubs[0], key, ("0", "<p>0</p>"), "")
        added: list[_Added] = []

        async def write(name: str, stub: Any) -> None:
            etag, number, left = first.etag, 0, times
            while left:
                begun = time.monotonic()
                response = await _ask(customer, stub, key, (f"{number + 1}", f"<p>{name} {number + 1}</p>"), etag)
                if not response.errors:
                    left, number = left - 1, number + 1
                    added.append(_Added(name, number, begun, time.monotonic()))
                elif response.errors[0].code == "STEP_CHANGED_ERROR":
                    counted.refused += 1
                    number = int(response.conflicts[0].before.string_value)
                else:
                    # Apollo refuses a write beside another one; the call is made again, with what was seen before.
                    counted.repeated += 1
                    if response.errors[0].code != "CONFLICT_ERROR":
                        counted.unexplained.append(response.errors[0].detail)
                        left -= 1
                    continue
                etag = response.etag

        await asyncio.gather(write("A", stubs[0]), write("B", stubs[-1]))
        last, _ = await self._template(customer)
        counted.add(added, int(last), in_one_process=len(stubs) == 1)

    async def _template(self, customer: Customer) -> Texts:
        place = _PLACES[customer.provider]
        given = {"account": self._accounts[customer.name]}
        answer = await self._control.get(f"{self._url}/{place.template_path}", params=given)
        record = answer.raise_for_status().json()
        shown = record.get("attributes", record)
        return shown["subject"], shown[place.body]


async def _ask(customer: Customer, stub: Any, key: str, wanted: Texts, etag: str) -> messages.UpdateStepResponse:
    """An update of what an etag stands for."""
    place = _PLACES[customer.provider]
    request = messages.UpdateStepRequest(sequence_id=place.sequence, sequence_step_id=place.step, etag=etag)
    request.record.template.subject, request.record.template.body = wanted
    metadata = (("x-api-key", key), ("x-customer-id", customer.name), ("x-provider-name", customer.provider))
    response: messages.UpdateStepResponse = await stub.UpdateStep(request, metadata=metadata, timeout=_DEADLINE_SECONDS)
    return response


async def _call(customer: Customer, stub: Any, key: str, wanted: Texts, wait: float) -> _Update:
    place = _PLACES[customer.provider]
    request = messages.UpdateStepRequest(sequence_id=place.sequence, sequence_step_id=place.step)
    request.record.template.subject, request.record.template.body = wanted
    metadata = (("x-api-key", key), ("x-customer-id", customer.name), ("x-provider-name", customer.provider))
    await asyncio.sleep(wait)
    begun = time.monotonic()
    try:
        response = await stub.UpdateStep(request, metadata=metadata, timeout=_DEADLINE_SECONDS)
    except grpc.aio.AioRpcError as error:
        response = envelope(error)
        if not response.errors:
            return _Update(wanted, begun, time.monotonic(), f"{error.code().name} without an outcome")
    if response.errors:
        return _Update(wanted, begun, time.monotonic(), outcome(response))
    shown = json_format.MessageToDict(response)
    changes = {each["field"]: (each["before"], each["after"]) for each in shown.get("changes", [])}
    # A field that is not listed was, and is, what was asked for.
    (old_subject, subject), (old_body, body) = (
        changes.get(name, (text, text))
        for name, text in zip(("template.subject", "template.body"), wanted, strict=True)
    )
    is_same = any(warning.problem_type == "NO_CHANGE" for warning in response.warnings)
    return _Update(wanted, begun, time.monotonic(), "applied", (old_subject, old_body), (subject, body), is_same)


def run(stage: Stage) -> Section:
    """Pairs of updates of one step begun within 300 ms, in one process and across two replicas on PostgreSQL."""
    pairs = stage.effort.race_pairs
    found: dict[str, tuple[Findings, Counted]] = {}
    with stage.doing(f"Racing {pairs:,} pairs in one process …"):
        found["one process, SQLite"] = uvloop.run(_race(pairs, 1, None))
    with postgresql() as server, stage.doing(f"Racing {pairs // 2:,} pairs across two replicas …"):
        server.psql("CREATE DATABASE races")
        found["two replicas, PostgreSQL"] = uvloop.run(_race(pairs // 2, 2, server.get_uri("races")))
    return _section(found)


async def _race(pairs: int, replicas: int, database_url: str | None) -> tuple[Findings, Counted]:
    findings, counted = Findings(), Counted()
    async with AsyncExitStack() as stack:
        cores = Cores.together()
        stand_in = stack.enter_context(sandbox(cores.load))
        async with httpx.AsyncClient(timeout=30) as control:
            racers = _Racers(stand_in.control_url, control)
            customers = await racers.make_customers()
            made = await asyncio.to_thread(stack.enter_context, service_of(customers, database_url))
            stubs = []
            for _ in range(replicas):
                running = made.running(stand_in.server, cores, environment=stand_in.environment)
                load = stack.enter_context(running)
                channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{load.port}"))
                stubs.append(sequence_step_service_pb2_grpc.SequenceStepServiceStub(channel))
            shares = [pairs // _RACERS + (number < pairs % _RACERS) for number in range(_RACERS)]
            await asyncio.gather(
                *(
                    racers.race(customer, stubs, made.api_key, share, findings)
                    for customer, share in zip(customers, shares, strict=True)
                )
            )
            await asyncio.gather(
                *(
                    racers.count(customer, stubs, made.api_key, share, counted)
                    for customer, share in zip(customers, shares, strict=True)
                )
            )
    return findings, counted


def _section(races: dict[str, tuple[Findings, Counted]]) -> Section:
    found = {name: findings for name, (findings, _) in races.items()}
    counts = {name: counted for name, (_, counted) in races.items()}
    unexplained = [what for each in counts.values() for what in each.unexplained]
    rows: list[Row] = [
        (
            name,
            f"{each.pairs:,}",
            f"{each.overlapped:,}",
            f"{each.unchanged:,}",
            f"{each.failed:,}",
            f"{len(each.mixtures):,}",
            f"{len(each.untrue):,}",
        )
        for name, each in found.items()
    ]
    mixtures = [what for each in found.values() for what in each.mixtures]
    untrue = [what for each in found.values() for what in each.untrue]
    return Section(
        [
            Table(
                "Two updates of one step, begun 0 to 300 ms apart",
                ("", "pairs", "overlapped", "NO_CHANGE", "failures", "mixtures", "untrue results"),
                rows,
            ),
            Table(
                "Two writers with etags, each adding one to what it has seen",
                ("", "updates", "changed meanwhile", "repeated", "lost", "lost beyond the contract"),
                [
                    (
                        name,
                        f"{each.added:,}",
                        f"{each.refused:,}",
                        f"{each.repeated:,}",
                        f"{each.lost:,}",
                        f"{len(each.unexplained):,}",
                    )
                    for name, each in counts.items()
                ],
            ),
        ],
        [
            Goal("Races: the provider never has a mixture of two updates", f"{len(mixtures)} mixtures", not mixtures),
            Goal("Races: what updates say is so", f"{len(untrue)} untrue results", not untrue),
            Goal(
                "Races: with etags, no update is lost but by one of another replica at the same moment",
                f"{len(unexplained)} lost",
                not unexplained,
            ),
        ],
        [
            _NOTE,
            *mixtures[:5],
            *untrue[:5],
            *unexplained[:5],
        ],
        {name: asdict(each) | {"counted": asdict(counts[name])} for name, each in found.items()},
        wrong=bool(mixtures or untrue or unexplained),
    )
