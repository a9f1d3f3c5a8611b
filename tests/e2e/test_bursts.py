"""Updates of one step that come at once: they follow each other, never mix, and each gets a true result."""

import asyncio
from typing import Any

import pytest

from sandbox import seed
from tests.support.service import CallResult, RunningService
from tests.support.waiting import until

APOLLO = (
    "apollo",
    seed.APOLLO_SEQUENCE_INACTIVE,
    seed.APOLLO_STEP_INACTIVE_PLAIN,
    "emailer_templates",
    seed.APOLLO_TEMPLATE_INACTIVE_PLAIN,
)
OUTREACH = (
    "outreach",
    seed.OUTREACH_SEQUENCE_DISABLED,
    seed.OUTREACH_STEP_DISABLED_PLAIN,
    "templates",
    seed.OUTREACH_TEMPLATE_DISABLED_PLAIN,
)
both = pytest.mark.parametrize("at", [APOLLO, OUTREACH], ids=["apollo", "outreach"])
BURST = 12


async def subject(service: RunningService, at: tuple[Any, ...]) -> Any:
    record = await service.provider_record(at[0], at[3], at[4])
    return record.get("attributes", record)["subject"]


async def burst(service: RunningService, at: tuple[Any, ...], subjects: list[str]) -> list[CallResult]:
    """All at once, while the first of them is reading."""
    service.sandbox.order_fault(provider=at[0], method="GET", delay_seconds=0.3, times=1)
    calls = [asyncio.create_task(service.update(*at[:3], subject=subjects[0]))]
    await until(lambda: service.provider_calls(at[0]))
    calls += [asyncio.create_task(service.update(*at[:3], subject=each)) for each in subjects[1:]]
    return [await call for call in calls]


def by_method(service: RunningService) -> dict[str, int]:
    methods = [call.partition(" ")[0] for call in service.provider_calls()]
    return {"reads": methods.count("GET"), "writes": len(methods) - methods.count("GET")}


@both
async def test_a_burst_of_changes_is_a_chain(service: RunningService, at: Any) -> None:
    before = await subject(service, at)
    answers = await burst(service, at, [f"Subject {number}" for number in range(BURST)])
    assert all(not answer.errors for answer in answers)
    assert by_method(service) == {"reads": BURST, "writes": BURST}
    steps = dict(answer.changes["template.subject"] for answer in answers)
    seen = [before]
    while seen[-1] in steps:
        seen.append(steps.pop(seen[-1]))
    assert len(seen) == BURST + 1
    assert seen[-1] == await subject(service, at)


@both
async def test_a_burst_of_the_same_change_writes_once(service: RunningService, at: Any) -> None:
    answers = await burst(service, at, ["The same"] * BURST)
    assert by_method(service) == {"reads": BURST, "writes": 1}
    assert [answer.warnings for answer in answers].count(["NO_CHANGE"]) == BURST - 1
    assert sum(len(answer.changes) for answer in answers) == 1
    assert await subject(service, at) == "The same"


@both
async def test_two_updates_never_leave_a_mixture(service: RunningService, at: Any) -> None:
    """One sets both fields; the other one, begun meanwhile, the old subject with a new body."""
    old = await subject(service, at)
    service.sandbox.order_fault(
        provider=at[0], method="PUT" if at[0] == "apollo" else "PATCH", delay_seconds=0.2, times=1
    )
    first = asyncio.create_task(service.update(*at[:3], subject="A", body="<p>A</p>"))
    await until(lambda: by_method(service)["writes"])
    second = await service.update(*at[:3], subject=old, body="<p>B</p>")
    assert (await first).changes["template.subject"] == (old, "A")
    assert second.changes == {"template.subject": ("A", old), "template.body": ("<p>A</p>", "<p>B</p>")}
    assert await subject(service, at) == old


@both
async def test_changes_list_only_what_became_different(service: RunningService, at: Any) -> None:
    old = await subject(service, at)
    answer = await service.update(*at[:3], subject=old, body="<p>B</p>")
    assert list(answer.changes) == ["template.body"]
    assert list((await service.update(*at[:3], subject="C", body="<p>B</p>", validate_only=True)).changes) == [
        "template.subject"
    ]


async def test_an_update_writes_to_the_template_that_the_step_has_now(service: RunningService) -> None:
    """The step gets another template while an earlier update is still reading."""
    [touch] = [
        each
        for each in service.sandbox.state.accounts["apollo-main"].apollo.touches.values()
        if each["emailer_step_id"] == seed.APOLLO_STEP_INACTIVE_PLAIN
    ]
    service.sandbox.order_fault(provider="apollo", method="GET", when="after", delay_seconds=0.3, times=1)
    early = asyncio.create_task(service.update(*APOLLO[:3], subject="Early"))
    await until(lambda: service.provider_calls("apollo"))
    touch["emailer_template_id"] = seed.APOLLO_TEMPLATE_PLAIN
    late = await service.update(*APOLLO[:3], subject="Late")
    assert not late.errors
    assert (await service.provider_record("apollo", "emailer_templates", seed.APOLLO_TEMPLATE_PLAIN))[
        "subject"
    ] == "Late"
    await early


async def test_a_caller_who_leaves_while_waiting_sends_nothing(service: RunningService) -> None:
    service.sandbox.order_fault(provider="apollo", method="PUT", delay_seconds=0.4, times=1)
    first = asyncio.create_task(service.update(*APOLLO[:3], subject="First"))
    await until(lambda: by_method(service)["writes"] == 1)
    second = service.start_update(*APOLLO[:3], subject="Second")
    third = asyncio.create_task(service.update(*APOLLO[:3], subject="Third"))
    second.cancel()
    answer = await third
    assert answer.changes["template.subject"] == ("First", "Third")
    assert by_method(service) == {"reads": 2, "writes": 2}
    assert not (await first).errors


async def test_a_caller_who_leaves_during_a_write_leaves_it_done(service: RunningService) -> None:
    """The next update waits for the write, and sees what it left."""
    service.sandbox.order_fault(provider="apollo", method="PUT", delay_seconds=0.3, times=1)
    first = service.start_update(*APOLLO[:3], subject="First")
    await until(lambda: by_method(service)["writes"] == 1)
    first.cancel()
    second = await service.update(*APOLLO[:3], subject="Second")
    assert second.changes["template.subject"] == ("First", "Second")


async def test_a_caller_who_leaves_during_a_read_frees_the_sequence(service: RunningService) -> None:
    service.sandbox.order_fault(provider="apollo", method="GET", delay_seconds=5, times=1)
    first = service.start_update(*APOLLO[:3], subject="First")
    await until(lambda: by_method(service)["reads"] == 1)
    first.cancel()
    second = await service.update(*APOLLO[:3], subject="Second", seconds=3)
    assert not second.errors


async def test_a_dry_run_does_not_wait_for_a_write(service: RunningService) -> None:
    service.sandbox.order_fault(provider="apollo", method="PUT", delay_seconds=1, times=1)
    first = asyncio.create_task(service.update(*APOLLO[:3], subject="First"))
    await until(lambda: by_method(service)["writes"] == 1)
    assert not (await service.update(*APOLLO[:3], subject="Second", validate_only=True)).errors
    assert not first.done()
    await first
