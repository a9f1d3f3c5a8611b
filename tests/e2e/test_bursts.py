"""Updates of one step that come at once: they follow each other, never mix, and each gets a true result."""

import asyncio
from typing import Any

import pytest

from sandbox import seed
from tests.support.service import Answer, House
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


async def subject(house: House, at: tuple[Any, ...]) -> Any:
    held = await house.holds(at[0], at[3], at[4])
    return held.get("attributes", held)["subject"]


async def burst(house: House, at: tuple[Any, ...], subjects: list[str]) -> list[Answer]:
    """All at once, while the first of them is reading."""
    house.sandbox.order_fault(provider=at[0], method="GET", delay_seconds=0.3, times=1)
    calls = [asyncio.create_task(house.update(*at[:3], subject=subjects[0]))]
    await until(lambda: house.calls(at[0]))
    calls += [asyncio.create_task(house.update(*at[:3], subject=each)) for each in subjects[1:]]
    return [await call for call in calls]


def by_method(house: House) -> dict[str, int]:
    methods = [call.partition(" ")[0] for call in house.calls()]
    return {"reads": methods.count("GET"), "writes": len(methods) - methods.count("GET")}


@both
async def test_a_burst_of_changes_is_a_chain(house: House, at: Any) -> None:
    before = await subject(house, at)
    answers = await burst(house, at, [f"Subject {number}" for number in range(BURST)])
    assert all(not answer.errors for answer in answers)
    assert by_method(house) == {"reads": BURST, "writes": BURST}
    steps = dict(answer.changes["template.subject"] for answer in answers)
    seen = [before]
    while seen[-1] in steps:
        seen.append(steps.pop(seen[-1]))
    assert len(seen) == BURST + 1
    assert seen[-1] == await subject(house, at)


@both
async def test_a_burst_of_the_same_change_writes_once(house: House, at: Any) -> None:
    answers = await burst(house, at, ["The same"] * BURST)
    assert by_method(house) == {"reads": BURST, "writes": 1}
    assert [answer.warnings for answer in answers].count(["NO_CHANGE"]) == BURST - 1
    assert sum(len(answer.changes) for answer in answers) == 1
    assert await subject(house, at) == "The same"


@both
async def test_two_updates_never_leave_a_mixture(house: House, at: Any) -> None:
    """One sets both fields; the other one, begun meanwhile, the old subject with a new body."""
    old = await subject(house, at)
    house.sandbox.order_fault(
        provider=at[0], method="PUT" if at[0] == "apollo" else "PATCH", delay_seconds=0.2, times=1
    )
    first = asyncio.create_task(house.update(*at[:3], subject="A", body="<p>A</p>"))
    await until(lambda: by_method(house)["writes"])
    second = await house.update(*at[:3], subject=old, body="<p>B</p>")
    assert (await first).changes["template.subject"] == (old, "A")
    assert second.changes == {"template.subject": ("A", old), "template.body": ("<p>A</p>", "<p>B</p>")}
    assert await subject(house, at) == old


@both
async def test_changes_list_only_what_became_different(house: House, at: Any) -> None:
    old = await subject(house, at)
    answer = await house.update(*at[:3], subject=old, body="<p>B</p>")
    assert list(answer.changes) == ["template.body"]
    assert list((await house.update(*at[:3], subject="C", body="<p>B</p>", validate_only=True)).changes) == [
        "template.subject"
    ]


async def test_an_update_writes_to_the_template_that_the_step_has_now(house: House) -> None:
    """The step gets another template while an earlier update is still reading."""
    [touch] = [
        each
        for each in house.sandbox.state.accounts["apollo-main"].apollo.touches.values()
        if each["emailer_step_id"] == seed.APOLLO_STEP_INACTIVE_PLAIN
    ]
    house.sandbox.order_fault(provider="apollo", method="GET", when="after", delay_seconds=0.3, times=1)
    early = asyncio.create_task(house.update(*APOLLO[:3], subject="Early"))
    await until(lambda: house.calls("apollo"))
    touch["emailer_template_id"] = seed.APOLLO_TEMPLATE_PLAIN
    late = await house.update(*APOLLO[:3], subject="Late")
    assert not late.errors
    assert (await house.holds("apollo", "emailer_templates", seed.APOLLO_TEMPLATE_PLAIN))["subject"] == "Late"
    await early


async def test_a_caller_who_leaves_while_waiting_sends_nothing(house: House) -> None:
    house.sandbox.order_fault(provider="apollo", method="PUT", delay_seconds=0.4, times=1)
    first = asyncio.create_task(house.update(*APOLLO[:3], subject="First"))
    await until(lambda: by_method(house)["writes"] == 1)
    second = house.begin(*APOLLO[:3], subject="Second")
    third = asyncio.create_task(house.update(*APOLLO[:3], subject="Third"))
    second.cancel()
    answer = await third
    assert answer.changes["template.subject"] == ("First", "Third")
    assert by_method(house) == {"reads": 2, "writes": 2}
    assert not (await first).errors


async def test_a_caller_who_leaves_during_a_write_leaves_it_done(house: House) -> None:
    """The next update waits for the write, and sees what it left."""
    house.sandbox.order_fault(provider="apollo", method="PUT", delay_seconds=0.3, times=1)
    first = house.begin(*APOLLO[:3], subject="First")
    await until(lambda: by_method(house)["writes"] == 1)
    first.cancel()
    second = await house.update(*APOLLO[:3], subject="Second")
    assert second.changes["template.subject"] == ("First", "Second")


async def test_a_caller_who_leaves_during_a_read_frees_the_sequence(house: House) -> None:
    house.sandbox.order_fault(provider="apollo", method="GET", delay_seconds=5, times=1)
    first = house.begin(*APOLLO[:3], subject="First")
    await until(lambda: by_method(house)["reads"] == 1)
    first.cancel()
    second = await house.update(*APOLLO[:3], subject="Second", seconds=3)
    assert not second.errors


async def test_a_dry_run_does_not_wait_for_a_write(house: House) -> None:
    house.sandbox.order_fault(provider="apollo", method="PUT", delay_seconds=1, times=1)
    first = asyncio.create_task(house.update(*APOLLO[:3], subject="First"))
    await until(lambda: by_method(house)["writes"] == 1)
    assert not (await house.update(*APOLLO[:3], subject="Second", validate_only=True)).errors
    assert not first.done()
    await first
