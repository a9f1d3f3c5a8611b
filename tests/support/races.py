"""Pairs of updates of one step that begin at almost the same time, and whether what came of each pair is true."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from engagement.v1 import sequence_step_service_pb2 as pb
from google.protobuf import json_format

from sandbox import seed
from tests.support.plain_client import plain_client

CUSTOMER: Final = "racing"
LONGEST_GAP_SECONDS: Final = 0.3


@dataclass(frozen=True)
class Step:
    """A step that is raced on.

    Attributes:
        provider: Its provider.
        sequence: Its sequence.
        step: Its id.
        template: The path of its template in the sandbox's control API.
        account: The account that has it.
    """

    provider: str
    sequence: str
    step: str
    template: str
    account: str


STEPS: Final = (
    Step(
        "apollo",
        seed.APOLLO_SEQUENCE_INACTIVE,
        seed.APOLLO_STEP_INACTIVE_PLAIN,
        f"apollo/emailer_templates/{seed.APOLLO_TEMPLATE_INACTIVE_PLAIN}",
        seed.APOLLO_UNLIMITED_ACCOUNT,
    ),
    Step(
        "outreach",
        str(seed.OUTREACH_SEQUENCE_DISABLED),
        str(seed.OUTREACH_STEP_DISABLED_PLAIN),
        f"outreach/templates/{seed.OUTREACH_TEMPLATE_DISABLED_PLAIN}",
        "",
    ),
)


@dataclass
class Findings:
    """What came of the pairs.

    Attributes:
        pairs: How many there were.
        mixtures: States at the provider that neither caller had asked for.
        untrue: Results that were not so.
    """

    pairs: int = 0
    mixtures: list[str] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)


Texts = tuple[str, str]


class Racing:
    """Runs pairs through one or two servers and checks them."""

    def __init__(self, control_url: str, stubs: Sequence[Any], key: str, gap: float = LONGEST_GAP_SECONDS) -> None:
        """Takes what the pairs go through.

        Args:
            control_url: The sandbox's control API.
            stubs: One server for both updates of a pair, or one for each.
            key: The application's key.
            gap: Longest time between the two, in seconds.
        """
        self._url = control_url
        self._stubs = stubs
        self._key = key
        self._gap = gap
        self._random = random.Random(20261125)
        self.findings = Findings()

    async def run(self, step: Step, pairs: int) -> None:
        """Runs so many pairs on one step, one after the other."""
        async with plain_client() as control:
            for number in range(pairs):
                await self._pair(step, number, control)

    async def _pair(self, step: Step, number: int, control: httpx.AsyncClient) -> None:
        old = await self._read(step, control)
        first: Texts = (f"A {number}", f"<p>A {number}</p>")
        second: Texts = (old[0] if self._random.random() < 0.5 else f"B {number}", f"<p>B {number}</p>")
        results = await asyncio.gather(
            self._update(step, first, self._stubs[0], 0.0),
            self._update(step, second, self._stubs[-1], self._random.uniform(0, self._gap)),
        )
        now = await self._read(step, control)
        self.findings.pairs += 1
        where = f"{step.provider} {number}: {old} -> {now} by {first} and {second}"
        if now not in (first, second):
            self.findings.mixtures.append(where)
        shown = [_before_and_after(wanted, response) for wanted, response in zip((first, second), results, strict=True)]
        if not self._are_true(old, now, (first, second), shown):
            self.findings.untrue.append(f"{where}: {shown}, {results}")

    def _are_true(self, old: Texts, now: Texts, wanted: tuple[Texts, Texts], shown: list[tuple[Texts, Texts]]) -> bool:
        """Whether each success tells of a template that was there before, and of its own texts after.

        In one process the second update has to have found what the first one left, too, whichever of them was first.
        """
        if [after for _, after in shown] != list(wanted) or any(before not in (old, *wanted) for before, _ in shown):
            return False
        if len(self._stubs) > 1:
            return True
        return any(
            (first[0], second[0], second[1]) == (old, first[1], now) for first, second in (shown, reversed(shown))
        )

    async def _update(self, step: Step, texts: Texts, stub: Any, wait: float) -> Any:
        await asyncio.sleep(wait)
        request = pb.UpdateStepRequest(sequence_id=step.sequence, sequence_step_id=step.step)
        request.record.template.subject, request.record.template.body = texts
        metadata = (("x-api-key", self._key), ("x-customer-id", CUSTOMER), ("x-provider-name", step.provider))
        return await stub.UpdateStep(request, metadata=metadata, timeout=20)

    async def _read(self, step: Step, control: httpx.AsyncClient) -> Texts:
        given = {"account": step.account} if step.account else {}
        answer = (await control.get(f"{self._url}/{step.template}", params=given)).raise_for_status().json()
        record = answer.get("attributes", answer)
        return record["subject"], record.get("body_html", record.get("bodyHtml"))


def _before_and_after(wanted: Texts, response: Any) -> tuple[Texts, Texts]:
    """The whole template that a success says it found and left; a field that is not listed was what was wanted."""
    assert not response.errors, response
    changes = {each["field"]: each for each in json_format.MessageToDict(response).get("changes", [])}
    subject = changes.get("template.subject", {"before": wanted[0], "after": wanted[0]})
    body = changes.get("template.body", {"before": wanted[1], "after": wanted[1]})
    return (subject["before"], body["before"]), (subject["after"], body["after"])
