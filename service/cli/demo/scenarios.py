"""Runs the calls of the demonstration, and checks how each of them ends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
from google.protobuf import json_format
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from sandbox import seed
from seqstep_client import AsyncClient, FieldChange, NotApplied, StepUpdate, UpdateFailed, UpdateResult
from service.cli import output
from service.cli.demo.environment import CUSTOMER

Content = Mapping[str, Any]
"""Subject and body of a template, by the names of the contract."""


@dataclass(frozen=True, slots=True)
class Record:
    """Where the sandbox shows the template of a step.

    Attributes:
        path: Of the template, below `/_sandbox/`.
        subject: The name of the subject's member.
        body: The name of the body's member.
    """

    path: str
    subject: str
    body: str

    def read(self, record: dict[str, Any]) -> dict[str, Any]:
        """Returns subject and body of a record."""
        attributes = record.get("attributes", record)
        return {"template.subject": attributes[self.subject], "template.body": attributes[self.body]}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One call of the demonstration.

    Attributes:
        title: What it shows.
        provider: The provider.
        update: What is asked for.
        record: The template at the provider; None if the provider has none.
        expected_calls: How many calls the provider should get.
        check: Takes the result or failure and the template before and after; returns what is wrong, or None.
    """

    title: str
    provider: str
    update: StepUpdate
    record: Record | None
    expected_calls: int
    check: Callable[[UpdateResult | UpdateFailed, Content, Content], str | None]


def _changed(result: UpdateResult | UpdateFailed, before: Content, after: Content) -> str | None:
    if not isinstance(result, UpdateResult):
        return "it was meant to succeed"
    reported = {change.field: (change.before, change.after) for change in result.changes}
    made = {name: (before[name], after[name]) for name in after if before[name] != after[name]}
    if not made:
        return "nothing changed at the provider"
    return None if reported == made else f"the response lists other changes than were made: {reported} and {made}"


def _refused_as(code: str) -> Callable[[UpdateResult | UpdateFailed, Content, Content], str | None]:
    def check(result: UpdateResult | UpdateFailed, before: Content, after: Content) -> str | None:
        if not isinstance(result, NotApplied) or result.code != code:
            return f"it was meant to end with {code}"
        return None if before == after else "the provider was changed all the same"

    return check


_SUBJECT: Final = "A quick question about {{company}}"
_BODY: Final = "<p>Hi {{first_name}},</p><p>Shall we talk on Thursday?</p><p>Best,<br>Sam</p>"

SCENARIOS: Final = (
    Scenario(
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
    Scenario(
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
    Scenario(
        "Salesloft: has no such operation",
        "salesloft",
        StepUpdate(sequence_id="1", sequence_step_id="1", subject=_SUBJECT),
        None,
        0,
        _refused_as("NOT_IMPLEMENTED_ERROR"),
    ),
    Scenario(
        "A step that is not in that sequence",
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


async def run_scenarios(out: Console, sandbox: str, address: str, api_key: str) -> int:
    """Runs every scenario.

    Args:
        out: The console to print on.
        sandbox: The sandbox's URL.
        address: The service's gRPC address.
        api_key: The application's key.

    Returns:
        How many scenarios did not end as they should.
    """
    wrong = 0
    summary = Table("call", "result", "provider calls", "", box=None, pad_edge=False)
    # The sandbox is on this machine, whatever proxy the environment names.
    reading = httpx.AsyncClient(base_url=sandbox, trust_env=False)
    async with AsyncClient(address, plaintext=True, api_key=api_key) as client, reading as provider:
        for scenario in SCENARIOS:
            problem, result, calls = await _run(out, scenario, client, provider)
            wrong += problem is not None
            summary.add_row(scenario.title, result, str(calls), "✗" if problem else "✓")
            if problem is None:
                out.print(Text("✓ as it should be", style="bold green"))
            else:
                out.print(Text(f"✗ not as it should be: {problem}", style="bold red"))
    out.print()
    out.print(summary, soft_wrap=False)
    verdict = "All as it should be." if not wrong else f"{wrong} of {len(SCENARIOS)} not as it should be."
    out.print(Text(verdict, style="bold green" if not wrong else "bold red"))
    return wrong


async def _run(
    out: Console, scenario: Scenario, client: AsyncClient, provider: httpx.AsyncClient
) -> tuple[str | None, str, int]:
    """Runs one scenario; returns what is wrong with it, or None, its result in a word, and the provider's calls."""
    out.print()
    if out.is_terminal:
        out.print(Rule(scenario.title, align="left"))
    else:
        out.print(Text(f"== {scenario.title}"))
    before = await _read(scenario, provider)
    await provider.delete("/_sandbox/calls")
    outcome: UpdateResult | UpdateFailed
    try:
        outcome = await client.update_step(scenario.update, customer_id=CUSTOMER, provider=scenario.provider)
        response = outcome.response
    except UpdateFailed as failure:
        outcome, response = failure, failure.failure.response
    out.print(Text("The envelope:", style="bold"))
    _print_json(out, json_format.MessageToJson(response, ensure_ascii=False))
    calls = (await provider.get("/_sandbox/calls")).raise_for_status().json()
    after = await _read(scenario, provider)
    count = {0: "no call.", 1: "1 call:"}.get(len(calls), f"{len(calls)} calls:")
    out.print(Text(f"The provider got {count}", style="bold"))
    for call in calls:
        out.print(Text(f"  {call['method']} {output.escape(call['path'])} → {call['status']}"))
    if scenario.record is not None:
        _print_difference(out, before, after)
    result = "changed" if isinstance(outcome, UpdateResult) else outcome.code
    if len(calls) != scenario.expected_calls:
        return f"the provider got {len(calls)} calls in place of {scenario.expected_calls}", result, len(calls)
    return scenario.check(outcome, before, after), result, len(calls)


async def _read(scenario: Scenario, provider: httpx.AsyncClient) -> Content:
    if scenario.record is None:
        return {}
    response = await provider.get(f"/_sandbox/{scenario.record.path}")
    return scenario.record.read(response.raise_for_status().json())


def _print_difference(out: Console, before: Content, after: Content) -> None:
    if before == after:
        out.print(Text("At the provider nothing changed.", style="bold"))
        return
    out.print(Text("At the provider, before (-) and now (+):", style="bold"))
    for name, now in after.items():
        out.print(output.format_change(FieldChange(name, before[name], now)))


def _print_json(out: Console, text: str) -> None:
    # Whole lines, whatever the width of the terminal is.
    out.print(JSONHighlighter()("\n".join(f"  {output.escape(line)}" for line in text.splitlines())))
