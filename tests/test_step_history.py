"""Which changes are asked for, the update that takes one back, and what is said where that cannot be whole."""

from collections.abc import Collection, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from service.domain.deadline import Deadline
from service.domain.errors import CallRefused, ErrorCode, Outcome, Problem, UpdateFailed
from service.domain.page_token import page_token
from service.domain.step import BODY, SUBJECT, Caller, FieldChange, Provider, StepUpdate, UpdateResult, WarningType
from service.domain.step_changes import ChangeRevert, ChangesQuery, ChangesResult, ChangeState, StepChange
from service.history.change_id import ChangeIds
from service.step_history import StepHistory

CALLER = Caller(1, "billing")
CHANGE_ID = str(ChangeIds().next())
WANTED = ChangeRevert(Provider("apollo"), "acme", CHANGE_ID, request_id="r-2")


class FakeChanges:
    """A history with one change, or none, or a failure; keeps what it is asked for."""

    def __init__(
        self, fields: Sequence[FieldChange] | None = (), failure: UpdateFailed | None = None, *, is_empty: bool = False
    ) -> None:
        self.fields = fields
        self.failure = failure
        self.is_empty = is_empty
        self.asked: list[tuple[Any, ...]] = []

    async def page(
        self, application_id: int, query: ChangesQuery, limit: int, after: str | None, _: Deadline
    ) -> tuple[list[StepChange], bool]:
        self.asked.append((application_id, query, limit, after))
        if self.failure is not None:
            raise self.failure
        return [], True

    async def find(
        self, application_id: int, customer_id: str, provider: Provider, change_id: str, _: Deadline
    ) -> StepChange | None:
        self.asked.append((application_id, customer_id, provider, change_id))
        if self.failure is not None:
            raise self.failure
        if self.is_empty:
            return None
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


async def reverted(
    changes: FakeChanges, wanted: ChangeRevert = WANTED, clearing: Collection[Provider] = ()
) -> tuple[list[StepUpdate], UpdateResult]:
    updates: list[StepUpdate] = []

    async def update_step(_caller: Caller, update: StepUpdate, _deadline: Deadline) -> UpdateResult:
        updates.append(update)
        return UpdateResult()

    return updates, await StepHistory(changes, update_step, clearing).revert(CALLER, wanted, Deadline.after(5))


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
    assert update.variant == ""
    assert (update.subject, update.custom_fields, update.only_over) == (None, {"b": 1}, {"custom_fields.b": 2})
    [warning] = result.warnings
    assert (warning.type, warning.facts) == (WarningType.NOT_RESTORED, {"fields": f"{SUBJECT},custom_fields.a"})


async def test_a_text_that_was_not_there_goes_where_the_provider_lets_it() -> None:
    fields = [FieldChange(SUBJECT, None, "New"), FieldChange(BODY, "<p>Old</p>", "<p>New</p>")]
    [update], result = await reverted(FakeChanges(fields), clearing={Provider("apollo")})
    assert (update.subject, update.body, update.clears) == (None, "<p>Old</p>", frozenset({SUBJECT}))
    assert update.only_over == {SUBJECT: "New", BODY: "<p>New</p>"}
    assert result.warnings == ()
    [update], _ = await reverted(FakeChanges(fields[:1]), clearing={Provider("apollo")})
    assert (update.changes_template, update.variant, update.needs_subject, update.needs_body) == (
        True,
        "9",
        True,
        False,
    )


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
    updates, result = await reverted(FakeChanges(failure=NO_DATABASE), replace(WANTED, **given))
    assert (updates, [each.outcome for each in result.problems]) == ([], [outcome])
    is_sure = outcome is Outcome.NOT_APPLIED
    assert ("no request for it was sent to Apollo" in result.problems[0].detail) is is_sure


LIST = ChangesQuery(Provider("apollo"), "acme", "7", "8")
NO_DATABASE = UpdateFailed(Problem(ErrorCode.SERVICE_UNAVAILABLE_ERROR, "No database.", advice="Wait."))


def of(changes: FakeChanges | None) -> StepHistory:
    return StepHistory(changes, None)  # type: ignore[arg-type]  # nothing is updated


async def listed(changes: FakeChanges | None, query: ChangesQuery = LIST, caller: Caller = CALLER) -> ChangesResult:
    return await of(changes).list(caller, query, Deadline.after(5))


@pytest.mark.parametrize(("wanted", "size"), [(0, 50), (1, 1), (199, 199), (200, 200), (201, 200), (2**31, 200)])
async def test_a_page_has_50_changes_and_200_at_most(wanted: int, size: int) -> None:
    """One more is read, to see whether there is another page."""
    changes = FakeChanges()
    query = replace(LIST, page_size=wanted)
    result = await listed(changes, query)
    assert changes.asked == [(1, query, size + 1, None)]
    assert (result.problems, result.page_size, result.is_cut) == ((), size, True)


async def test_the_next_page_begins_behind_the_last_change() -> None:
    changes = FakeChanges()
    token = page_token((await listed(changes)).filters, [CHANGE_ID])
    await listed(changes, replace(LIST, page_token=token, page_size=7))
    assert changes.asked[1][2:] == (8, CHANGE_ID)


@pytest.mark.parametrize(
    "other",
    [
        {"provider": Provider("outreach")},
        {"customer_id": "other"},
        {"sequence_step_id": ""},
        {"sequence_id": "8"},
        {"request_id": "r"},
        {"start_at": 1.0},
        {"end_at": 1.0},
        {"position": "7"},
        {"position": CHANGE_ID.upper()},
        {"caller": Caller(2, "other")},
    ],
)
async def test_a_token_is_of_one_list_of_one_application(other: dict[str, Any]) -> None:
    changes = FakeChanges()
    filters = (await listed(changes)).filters
    caller = other.pop("caller", CALLER)
    query = replace(LIST, page_token=page_token(filters, [other.pop("position", CHANGE_ID)]), **other)
    with pytest.raises(CallRefused) as refused:
        await listed(changes, query, caller)
    assert [each.field for each in refused.value.violations] == ["page_token"]
    assert len(changes.asked) == 1


@pytest.mark.parametrize(
    ("broken", "fields"),
    [
        ({"page_size": -1}, ["page_size"]),
        ({"sequence_id": ""}, ["sequence_id"]),
        ({"sequence_id": "a/b", "sequence_step_id": ""}, ["sequence_id"]),
        ({"sequence_step_id": "?", "page_size": -1}, ["sequence_step_id", "page_size"]),
        ({"sequence_id": "", "sequence_step_id": ""}, []),
        ({"sequence_step_id": ""}, []),
    ],
)
async def test_a_list_is_of_a_step_or_a_sequence_or_of_all(broken: dict[str, Any], fields: list[str]) -> None:
    changes = FakeChanges()
    query = replace(LIST, **broken)
    if not fields:
        assert (await listed(changes, query)).problems == ()
        return
    with pytest.raises(CallRefused) as refused:
        await listed(changes, query)
    assert ([each.field for each in refused.value.violations], changes.asked) == (fields, [])


async def test_a_change_is_read_by_its_id_however_it_is_written() -> None:
    changes = FakeChanges([FieldChange(SUBJECT, "Old", "New")])
    result = await of(changes).get(CALLER, replace(WANTED, change_id=CHANGE_ID.upper()), Deadline.after(5))
    assert ([each.change_id for each in result.changes], result.page_size) == ([CHANGE_ID], 1)
    assert changes.asked == [(1, "acme", Provider("apollo"), CHANGE_ID)]


@pytest.mark.parametrize(("change_id", "says"), [("", "Required"), ("7", "Must be the id of a change")])
async def test_an_id_that_is_none_is_refused(change_id: str, says: str) -> None:
    wanted = replace(WANTED, change_id=change_id)
    for call in (of(None).get, of(FakeChanges()).get, of(FakeChanges()).revert):
        with pytest.raises(CallRefused, match=says):
            await call(CALLER, wanted, Deadline.after(5))


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        (None, ErrorCode.NOT_IMPLEMENTED_ERROR, "SEQSTEP_HISTORY_DAYS"),
        (FakeChanges(is_empty=True), ErrorCode.NOT_FOUND_ERROR, "has no change"),
        (FakeChanges(None), ErrorCode.INTERNAL_SERVER_ERROR, "restore the encryption key"),
        (FakeChanges(failure=NO_DATABASE), ErrorCode.SERVICE_UNAVAILABLE_ERROR, "No database."),
    ],
)
async def test_a_change_that_cannot_be_had_is_neither_shown_nor_taken_back(
    changes: FakeChanges | None, code: ErrorCode, says: str
) -> None:
    for call in (of(changes).get, of(changes).revert):
        [problem] = (await call(CALLER, WANTED, Deadline.after(5))).problems
        assert (problem.code, problem.outcome, problem.advice) == (code, Outcome.NOT_APPLIED, "")
        assert says in problem.detail


@pytest.mark.parametrize("changes", [None, FakeChanges(failure=NO_DATABASE)])
async def test_a_list_that_fails_says_why(changes: FakeChanges | None) -> None:
    [problem] = (await listed(changes)).problems
    expected = "No database. Wait." if changes else "SEQSTEP_HISTORY_DAYS"
    assert expected in problem.detail
