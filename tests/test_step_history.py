"""The update that takes a change back, and what is said where that cannot be whole."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, Outcome, Problem, UpdateFailed
from service.domain.step import BODY, SUBJECT, Caller, FieldChange, Provider, StepUpdate, UpdateResult, WarningType
from service.domain.step_changes import ChangeRevert, ChangesQuery, ChangeState, StepChange
from service.history.change_id import ChangeIds
from service.step_history import StepHistory

CALLER = Caller(1, "billing")
CHANGE_ID = str(ChangeIds().next())
WANTED = ChangeRevert(Provider("apollo"), "acme", CHANGE_ID, request_id="r-2")


class FakeChanges:
    """A history with one change, or none, or a failure."""

    def __init__(self, fields: Sequence[FieldChange] | None = (), failure: UpdateFailed | None = None) -> None:
        self.fields = fields
        self.failure = failure

    async def page(self, *_: object) -> tuple[list[StepChange], bool]:
        if self.failure is not None:
            raise self.failure
        return [], False

    async def find(self, *_: object) -> StepChange | None:
        if self.failure is not None:
            raise self.failure
        return StepChange(
            Provider("apollo"),
            "acme",
            "7",
            "8",
            change_id=CHANGE_ID,
            created_at=1.0,
            template_id="9",
            request_id="r-1",
            state=ChangeState.APPLIED,
            fields=self.fields,
        )


async def reverted(changes: FakeChanges, wanted: ChangeRevert = WANTED) -> tuple[list[StepUpdate], UpdateResult]:
    updates: list[StepUpdate] = []

    async def update_step(_caller: Caller, update: StepUpdate, _deadline: Deadline) -> UpdateResult:
        updates.append(update)
        return UpdateResult()

    return updates, await StepHistory(changes, update_step).revert(CALLER, wanted, Deadline.after(5))


async def test_the_update_sets_what_was_there_before() -> None:
    fields = [
        FieldChange(SUBJECT, "Old", "New"),
        FieldChange(BODY, "", "<p>x</p>"),
        FieldChange("custom_fields.a.b", None, "y"),
    ]
    [update], result = await reverted(FakeChanges(fields))
    assert (update.subject, update.body, update.custom_fields) == ("Old", "", {"a.b": None})
    assert (update.sequence_id, update.sequence_step_id, update.variant) == ("7", "8", "9")
    assert update.only_over == {SUBJECT: "New", BODY: "<p>x</p>", "custom_fields.a.b": "y"}
    assert (update.reverts, update.request_id, update.validate_only) == (CHANGE_ID, "r-2", False)
    assert result.warnings == ()


async def test_the_caller_says_how() -> None:
    wanted = replace(WANTED, validate_only=True, overwrite=True, refuse_shared=True, is_retry=True)
    [update], _ = await reverted(FakeChanges([FieldChange("custom_fields.a", 1, 2)]), wanted)
    assert (update.validate_only, update.refuse_shared, update.is_retry) == (True, True, True)
    assert (update.only_over, update.variant) == ({}, "")


async def test_what_was_not_there_before_stays_and_is_named() -> None:
    fields = [
        FieldChange(SUBJECT, None, "New"),
        FieldChange("custom_fields.a", None, "y", is_new=True),
        FieldChange("custom_fields.b", 1, 2),
    ]
    [update], result = await reverted(FakeChanges(fields))
    assert (update.subject, update.custom_fields, update.only_over) == (None, {"b": 1}, {"custom_fields.b": 2})
    [warning] = result.warnings
    assert (warning.type, warning.facts) == (WarningType.NOT_RESTORED, {"fields": f"{SUBJECT},custom_fields.a"})


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ({}, Outcome.NOT_APPLIED),
        ({"is_retry": True}, Outcome.UNKNOWN),
        ({"is_retry": True, "validate_only": True}, Outcome.NOT_APPLIED),
    ],
)
async def test_a_repetition_that_finds_no_history_says_nothing_of_the_attempt_before(
    given: dict[str, Any], outcome: Outcome
) -> None:
    failure = UpdateFailed(Problem(ErrorCode.SERVICE_UNAVAILABLE_ERROR, "No database.", advice="Wait."))
    updates, result = await reverted(FakeChanges(failure=failure), replace(WANTED, **given))
    assert (updates, [each.outcome for each in result.problems]) == ([], [outcome])


async def test_a_change_that_cannot_be_decrypted_is_not_taken_back() -> None:
    updates, result = await reverted(FakeChanges(None))
    assert (updates, [each.code for each in result.problems]) == ([], [ErrorCode.INTERNAL_SERVER_ERROR])


async def test_a_list_that_fails_says_why() -> None:
    failure = UpdateFailed(Problem(ErrorCode.SERVICE_UNAVAILABLE_ERROR, "No database.", advice="Wait."))
    history = StepHistory(FakeChanges(failure=failure), None)  # type: ignore[arg-type]
    result = await history.list(CALLER, ChangesQuery(Provider("apollo"), "acme", "", ""), Deadline.after(5))
    assert [each.detail for each in result.problems] == ["No database. Wait."]
