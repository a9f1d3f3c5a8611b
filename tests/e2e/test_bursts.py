"""Updates of one step that come at once: they share reads, follow each other, and are told the truth."""

import asyncio
from typing import Any

import pytest

from sandbox import seed
from service.upstream import sequence_lock as sequences
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
async def test_a_burst_of_changes_shares_its_reads_and_each_is_told_what_it_replaced(house: House, at: Any) -> None:
    before = await subject(house, at)
    answers = await burst(house, at, [f"Subject {number}" for number in range(BURST)])
    assert all(not answer.errors for answer in answers)
    assert by_method(house) == {"reads": 2, "writes": BURST}
    steps = dict(answer.changes["template.subject"] for answer in answers)
    seen = [before]
    while seen[-1] in steps:
        seen.append(steps.pop(seen[-1]))
    assert len(seen) == BURST + 1
    assert seen[-1] == await subject(house, at)


@both
async def test_a_burst_of_the_same_change_writes_once(house: House, at: Any) -> None:
    answers = await burst(house, at, ["The same"] * BURST)
    assert by_method(house) == {"reads": 2, "writes": 1}
    assert [answer.warnings for answer in answers].count(["NO_CHANGE"]) == BURST - 1
    assert sum(len(answer.changes) for answer in answers) == 1
    assert await subject(house, at) == "The same"


async def test_an_update_never_writes_to_a_template_that_the_step_had_before_it(house: House) -> None:
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


async def test_what_waited_too_long_for_its_turn_is_read_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "FRESH_SECONDS", 0.1)
    house.sandbox.order_fault(provider="apollo", method="PUT", delay_seconds=0.4, times=1)
    first = asyncio.create_task(house.update(*APOLLO[:3], subject="First"))
    await until(lambda: any(call.startswith("PUT") for call in house.calls()))
    second = await house.update(*APOLLO[:3], subject="Second")
    assert not second.errors
    assert by_method(house) == {"reads": 3, "writes": 2}
    assert second.changes["template.subject"][0] == "First"
    await first


async def test_who_goes_away_before_its_turn_writes_nothing(house: House) -> None:
    house.sandbox.order_fault(provider="apollo", method="PUT", delay_seconds=0.4, times=1)
    first = asyncio.create_task(house.update(*APOLLO[:3], subject="First"))
    await until(lambda: by_method(house)["writes"] == 1)
    second = house.begin(*APOLLO[:3], subject="Second")
    await until(lambda: by_method(house)["reads"] == 2)
    second.cancel()
    third = await house.update(*APOLLO[:3], subject="Third")
    assert not third.errors
    assert third.changes["template.subject"] == ("First", "Third")
    assert by_method(house)["writes"] == 2
    assert not (await first).errors
