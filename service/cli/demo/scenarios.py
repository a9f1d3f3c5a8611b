"""The calls of the demonstration, and how each of them should end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
from google.protobuf import json_format
from rich.console import Console
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text

from sandbox import seed
from service.cli import output
from service.cli.demo.environment import CUSTOMER
from service.client import AsyncClient, FieldChange, NotApplied, StepUpdate, UpdateFailed, UpdateResult

Held = Mapping[str, Any]
"""Subject and body of a template, and what else is shown of a step."""


@dataclass(frozen=True, slots=True)
class Record:
    """Where the sandbox shows what a provider holds of a step.

    Attributes:
        path: Of the template, below `/_sandbox/`.
        subject: The name of the subject's member.
        body: The name of the body's member.
    """

    path: str
    subject: str
    body: str

    def read(self, record: dict[str, Any]) -> dict[str, Any]:
        """Subject and body, by the names of the contract."""
        attributes = record.get("attributes", record)
        return {"template.subject": attributes[self.subject], "template.body": attributes[self.body]}


@dataclass(frozen=True, slots=True)
class Scene:
    """One call of the demonstration.

    Attributes:
        title: What it shows.
        provider: The provider.
        update: What is asked for.
        record: Where to look at the provider; None if there is nowhere to look.
        expected_calls: How many calls the provider should get.
        verdict: Whether it ended as it should: from the result or failure to what is wrong, or None.
    """

    title: str
    provider: str
    update: StepUpdate
    record: Record | None
    expected_calls: int
    verdict: Callable[[UpdateResult | UpdateFailed, Held, Held], str | None]


def _changed(result: UpdateResult | UpdateFailed, before: Held, after: Held) -> str | None:
    if not isinstance(result, UpdateResult):
        return "it was meant to succeed"
    told = {change.field: (change.before, change.after) for change in result.changes}
    held = {name: (before[name], after[name]) for name in after if before[name] != after[name]}
    if not held:
        return "the provider holds what it held before"
    return None if told == held else f"the answer tells of other changes than the provider: {told} and {held}"


def _refused_as(code: str) -> Callable[[UpdateResult | UpdateFailed, Held, Held], str | None]:
    def verdict(result: UpdateResult | UpdateFailed, before: Held, after: Held) -> str | None:
        if not isinstance(result, NotApplied) or result.code != code:
            return f"it was meant to end with {code}"
        return None if before == after else "the provider was changed all the same"

    return verdict


_SUBJECT: Final = "A quick question about {{company}}"
_BODY: Final = "<p>Hi {{first_name}},</p><p>Shall we talk on Thursday?</p><p>Best,<br>Sam</p>"

SCENES: Final = (
    Scene(
        "Apollo: a new subject and body",
        "apollo",
        StepUpdate(
            sequence_id=seed.APOLLO_SEQUENCE_ACTIVE,
            sequence_step_id=seed.APOLLO_STEP_PLAIN,
            subject=_SUBJECT,
            body=_BODY,
        ),
        Record(f"apollo/emailer_templates/{seed.APOLLO_TEMPLATE_PLAIN}", "subject", "body_html"),
        2,
        _changed,
    ),
    Scene(
        "Outreach: a new subject and body",
        "outreach",
        StepUpdate(
            sequence_id=str(seed.OUTREACH_SEQUENCE_ENABLED),
            sequence_step_id=str(seed.OUTREACH_STEP_PLAIN),
            subject=_SUBJECT,
            body=_BODY,
        ),
        Record(f"outreach/templates/{seed.OUTREACH_TEMPLATE_PLAIN}", "subject", "bodyHtml"),
        2,
        _changed,
    ),
    Scene(
        "Salesloft: has no such operation",
        "salesloft",
        StepUpdate(sequence_id="1", sequence_step_id="1", subject=_SUBJECT),
        None,
        0,
        _refused_as("NOT_IMPLEMENTED_ERROR"),
    ),
    Scene(
        "A mistake: the step is not in that sequence",
        "outreach",
        StepUpdate(
            sequence_id=str(seed.OUTREACH_SEQUENCE_ENABLED),
            sequence_step_id=str(seed.OUTREACH_STEP_DISABLED_PLAIN),
            subject=_SUBJECT,
        ),
        Record(f"outreach/templates/{seed.OUTREACH_TEMPLATE_DISABLED_PLAIN}", "subject", "bodyHtml"),
        1,
        _refused_as("NOT_FOUND_ERROR"),
    ),
)


async def play(out: Console, sandbox: str, address: str, api_key: str) -> int:
    """Plays every scene.

    Args:
        out: Where it is shown.
        sandbox: The sandbox's URL.
        address: Where the service is.
        api_key: The application's key.

    Returns:
        How many scenes did not end as they should.
    """
    wrong = 0
    async with AsyncClient(address, api_key=api_key) as client, httpx.AsyncClient(base_url=sandbox) as provider:
        for scene in SCENES:
            complaint = await _act(out, scene, client, provider)
            wrong += complaint is not None
            if complaint is None:
                out.print(Text("✓ as it should be", style="bold green"))
            else:
                out.print(Text(f"✗ not as it should be: {complaint}", style="bold red"))
    out.print()
    verdict = "All as it should be." if not wrong else f"{wrong} of {len(SCENES)} not as it should be."
    out.print(Text(verdict, style="bold green" if not wrong else "bold red"))
    return wrong


async def _act(out: Console, scene: Scene, client: AsyncClient, provider: httpx.AsyncClient) -> str | None:
    """Plays one scene and returns what is wrong with it."""
    out.print()
    if out.is_terminal:
        out.print(Rule(scene.title, align="left"))
    else:
        out.print(Text(f"== {scene.title}"))
    before = await _held(scene, provider)
    await provider.delete("/_sandbox/calls")
    ended: UpdateResult | UpdateFailed
    try:
        ended = await client.update_step(scene.update, customer_id=CUSTOMER, provider=scene.provider)
        response = ended.response
    except UpdateFailed as failure:
        ended, response = failure, failure.failure.response
    out.print(Text("The envelope:", style="bold"))
    _print_json(out, json_format.MessageToJson(response, ensure_ascii=False))
    calls = (await provider.get("/_sandbox/calls")).raise_for_status().json()
    after = await _held(scene, provider)
    count = {0: "no call.", 1: "1 call:"}.get(len(calls), f"{len(calls)} calls:")
    out.print(Text(f"The provider got {count}", style="bold"))
    for call in calls:
        out.print(Text(f"  {call['method']} {output.harmless(call['path'])} → {call['status']}"))
    if scene.record is not None:
        _show_held(out, before, after)
    if len(calls) != scene.expected_calls:
        return f"the provider got {len(calls)} calls in place of {scene.expected_calls}"
    return scene.verdict(ended, before, after)


async def _held(scene: Scene, provider: httpx.AsyncClient) -> Held:
    if scene.record is None:
        return {}
    answer = await provider.get(f"/_sandbox/{scene.record.path}")
    return scene.record.read(answer.raise_for_status().json())


def _show_held(out: Console, before: Held, after: Held) -> None:
    if before == after:
        out.print(Text("The provider holds what it held before.", style="bold"))
        return
    out.print(Text("What the provider held before (-) and holds now (+):", style="bold"))
    for name, now in after.items():
        out.print(output.change(FieldChange(name, before[name], now)))


def _print_json(out: Console, text: str) -> None:
    indented = "\n".join(f"  {output.harmless(line)}" for line in text.splitlines())
    if out.is_terminal:
        out.print(Syntax(indented, "json", theme="ansi_dark", background_color="default", word_wrap=True))
    else:
        out.print(Text(indented))
