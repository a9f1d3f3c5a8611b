"""A provider that sends each answer twice: no customer gets another one's, and no result says what is not so."""

import asyncio
import re

import pytest

from service.domain.errors import Outcome
from service.domain.step import UpdateResult
from tests.support.scripted_apollo import ScriptedApollo, updates_at

UPDATES = 200


@pytest.mark.parametrize("gap", [None, 0.0, 0.005], ids=["in one write", "in two", "after 5 ms"])
@pytest.mark.parametrize(
    ("customers", "sequences"),
    [
        (8, 1),
        (1, 8),
        pytest.param(32, 1, marks=pytest.mark.slow),
        pytest.param(1, 32, marks=pytest.mark.slow),
        pytest.param(4, 4, marks=pytest.mark.slow),
    ],
    ids=str,
)
async def test_a_second_answer_deceives_nobody(gap: float | None, customers: int, sequences: int) -> None:
    apollo = ScriptedApollo()
    wrong: list[object] = []
    results: list[UpdateResult] = []

    async def make_updates(customer: str, sequence: str) -> None:
        for number in range(UPDATES // (customers * sequences)):
            before, wanted = apollo.subject(customer, sequence), f"{customer} {sequence} {number}"
            result = await update(customer, sequence, subject=wanted)
            results.append(result)
            now = apollo.subject(customer, sequence)
            if set(re.findall(r"customer-\d+", repr(result))) - {customer}:
                wrong.append(("another customer's", result))
            if not result.problems:
                [change] = result.changes
                if (change.before, change.after) != (before, now) or now != wanted:
                    wrong.append(("no success", before, now, result))
            elif result.problems[0].outcome is Outcome.NOT_APPLIED and now != before:
                wrong.append(("applied", before, now, result))

    async with updates_at(apollo.serving_twice(gap)) as update:
        await asyncio.gather(
            *(make_updates(f"customer-{one}", f"5f{two:022x}") for one in range(customers) for two in range(sequences))
        )
    assert wrong == []
    if gap is None:
        assert [result.problems for result in results] == [()] * len(results)
