"""What each method is answered with: each member of a step and of a change, and no answer that is too long."""

from typing import Any

import pytest
from engagement.v1.sequence_step_service_pb2 import (
    GetStepChangeResponse,
    GetStepResponse,
    ListStepChangesResponse,
    ListStepsResponse,
    RevertStepChangeResponse,
    UpdateStepResponse,
)
from google.protobuf.json_format import MessageToDict
from msgspec.structs import replace

from service.api.methods import (
    GET_STEP,
    GET_STEP_CHANGE,
    LIST_STEP_CHANGES,
    LIST_STEPS,
    REVERT_STEP_CHANGE,
    UPDATE_STEP,
    Method,
)
from service.api.value import CUT
from service.domain.errors import ErrorCode, Problem
from service.domain.page_token import position
from service.domain.sequence import SequenceResult, ShownSequence, ShownStep, ShownVariant, StepQuery
from service.domain.step import FieldChange, Provider, UpdateResult
from service.domain.step_changes import ChangesResult, ChangeState, StepChange

TEXTS = {"template.subject": "Hi", "template.body": "<p>Hi</p>"}
VARIANT = ShownVariant("1", "18", TEXTS, is_live=True, is_reply=False, is_archived=False, is_default=True)
STEP = ShownStep("2", "auto_email", 0, 0, (VARIANT,), {"note": None, "interval": 3600})
BARE = ShownStep("3", "", None, None, (), None)


def result(*steps: ShownStep, with_bodies: bool = True, **of_sequence: Any) -> SequenceResult:
    facts: dict[str, Any] = {"name": "Spring", "is_enabled": True, "is_archived": False} | of_sequence
    query = StepQuery(Provider("apollo"), "acme", "1", "2", with_bodies=with_bodies)
    return SequenceResult(sequence=ShownSequence("1", steps=steps, **facts), query=query)


def answer(method: Method, found: SequenceResult) -> Any:
    response, problems = method.respond(found, "billing", "r-1")
    assert problems == found.problems
    return response


def test_a_step_is_shown_whole() -> None:
    response = answer(GET_STEP, result(STEP))
    assert isinstance(response, GetStepResponse)
    assert MessageToDict(response, preserving_proto_field_name=True) == {
        "step": {
            "sequence_id": "1",
            "sequence_step_id": "2",
            "type": "auto_email",
            "order": 0,
            "interval_seconds": "0",
            "sequence_enabled": True,
            "etag": STEP.etag(None),
            "variants": [
                {
                    "variant_id": "1",
                    "template_id": "18",
                    "subject": "Hi",
                    "body": "<p>Hi</p>",
                    "live": True,
                    "updated_by_default": True,
                    "etag": STEP.etag(VARIANT),
                }
            ],
            "custom_fields": {"note": None, "interval": 3600},
        }
    }


def test_what_is_not_shown_is_left_out() -> None:
    response = answer(GET_STEP, result(BARE, is_enabled=None))
    shown = MessageToDict(response, preserving_proto_field_name=True)
    assert shown == {"step": {"sequence_id": "1", "sequence_step_id": "3", "etag": BARE.etag(None)}}


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        (None, (False, False)),
        ({"template.subject": None, "template.body": ""}, (False, True)),
        ({"template.subject": "", "template.body": None}, (True, False)),
    ],
)
@pytest.mark.parametrize("with_bodies", [True, False])
def test_a_text_that_is_none_is_left_out(texts: Any, shown: tuple[bool, bool], *, with_bodies: bool) -> None:
    step = replace(STEP, variants=(replace(VARIANT, texts=texts),))
    [variant] = answer(GET_STEP, result(step, with_bodies=with_bodies)).step.variants
    assert (variant.HasField("subject"), variant.HasField("body")) == (shown[0], shown[1] and with_bodies)


@pytest.mark.parametrize("member", ["live", "reply", "template_archived", "updated_by_default", "sharing_complete"])
def test_each_flag_of_a_variant_is_its_own(member: str) -> None:
    names = {"template_archived": "archived", "updated_by_default": "default"}
    flags = {
        f"is_{names.get(each, each)}": each == member
        for each in ("live", "reply", "template_archived", "updated_by_default")
    }
    variant = replace(VARIANT, **flags, sharing=("7", "8"), is_sharing_complete=member == "sharing_complete")
    [shown] = answer(GET_STEP, result(replace(STEP, variants=(variant,)))).step.variants
    assert [field.name for field, value in shown.ListFields() if value is True] == [member]
    assert list(shown.sharing_step_ids) == ["7", "8"]


def test_a_list_has_the_sequence_and_every_step() -> None:
    response = answer(LIST_STEPS, result(STEP, BARE, with_bodies=False))
    assert isinstance(response, ListStepsResponse)
    sequence = MessageToDict(response.sequence, preserving_proto_field_name=True)
    assert sequence == {"sequence_id": "1", "name": "Spring", "enabled": True, "archived": False}
    assert [step.sequence_step_id for step in response.steps] == ["2", "3"]
    assert not response.steps[0].variants[0].HasField("body")
    bare = answer(LIST_STEPS, result(is_enabled=None, is_archived=None, name="")).sequence
    assert MessageToDict(bare) == {"sequenceId": "1"}


@pytest.mark.parametrize("method", [GET_STEP, LIST_STEPS])
def test_what_failed_shows_nothing_but_the_failure(method: Method) -> None:
    problems = (Problem(ErrorCode.BAD_GATEWAY_ERROR, "a"), Problem(ErrorCode.NOT_FOUND_ERROR, "b"))
    for found in (SequenceResult(problems), replace(result(STEP), problems=problems)):
        response = answer(method, found)
        assert [(error.code, error.detail, error.meta.request_id) for error in response.errors] == [
            ("BAD_GATEWAY_ERROR", "a", "r-1"),
            ("NOT_FOUND_ERROR", "b", "r-1"),
        ]
        assert [field.name for field, _ in response.ListFields()] == ["errors"]


@pytest.mark.parametrize(("method", "steps"), [(GET_STEP, "GetStep"), (LIST_STEPS, "ListSteps")])
def test_an_answer_is_shorter_than_four_million_bytes(method: Method, steps: str) -> None:
    def of(length: int) -> tuple[Any, tuple[Problem, ...]]:
        variant = replace(VARIANT, texts={"template.subject": None, "template.body": "x" * length})
        return method.respond(result(replace(STEP, variants=(variant,))), "billing", "r-1")

    around = of(3_900_000)[0].ByteSize() - 3_900_000
    response, problems = of(3_999_999 - around)
    assert (response.ByteSize(), problems) == (3_999_999, ())
    response, [problem] = of(4_000_000 - around)
    assert [error.code for error in response.errors] == ["RESPONSE_TOO_LONG_ERROR"]
    assert "does not fit into an answer of less than 4,000,000 bytes. Ask for STEP_VIEW_BASIC" in problem.detail
    assert ("one at a time" in problem.detail) is (steps == "ListSteps")
    assert problem.facts == {"limit_bytes": "4000000"}


def test_who_can_change_something_and_how_each_refuses() -> None:
    methods = {
        UPDATE_STEP: ("UpdateStep", True, UpdateStepResponse),
        GET_STEP: ("GetStep", False, GetStepResponse),
        LIST_STEPS: ("ListSteps", False, ListStepsResponse),
        LIST_STEP_CHANGES: ("ListStepChanges", False, ListStepChangesResponse),
        GET_STEP_CHANGE: ("GetStepChange", False, GetStepChangeResponse),
        REVERT_STEP_CHANGE: ("RevertStepChange", True, RevertStepChangeResponse),
    }
    problem = Problem(ErrorCode.FORBIDDEN_ERROR, "No.")
    for method, expected in methods.items():
        refusal = method.refuse(problem, application_name="billing", request_id="r-1")
        assert (method.name, method.is_write, type(refusal)) == expected
        assert [error.meta.application_name for error in refusal.errors] == ["billing"]


CHANGE = StepChange(
    Provider("apollo"),
    "acme",
    "54",
    "7",
    change_id="c-1",
    created_at=1_700_000_000.1236,
    template_id="18",
    request_id="r-0",
    state=ChangeState.PARTIALLY_APPLIED,
    fields=(FieldChange("template.subject", "Old", "New"), FieldChange("custom_fields.note", None, 7)),
    reverts="c-0",
)


def listed(*changes: StepChange, page_size: int = 100, is_cut: bool = False) -> ListStepChangesResponse:
    found = ChangesResult(changes=changes, page_size=page_size, is_cut=is_cut, filters="f")
    response, problems = LIST_STEP_CHANGES.respond(found, "billing", "r-1")
    assert problems == ()
    assert isinstance(response, ListStepChangesResponse)
    assert response.ByteSize() < 4_000_000
    return response


def read(change: StepChange) -> GetStepChangeResponse:
    response, problems = GET_STEP_CHANGE.respond(ChangesResult(changes=(change,)), "billing", "r-1")
    assert problems == ()
    assert isinstance(response, GetStepChangeResponse)
    return response


def long(number: int, *fields: FieldChange) -> StepChange:
    return replace(CHANGE, change_id=f"c-{number}", fields=fields)


def test_a_change_is_shown_whole() -> None:
    response = read(CHANGE)
    assert MessageToDict(response.step_change, preserving_proto_field_name=True) == {
        "change_id": "c-1",
        "create_time": "2023-11-14T22:13:20.124Z",
        "customer_id": "acme",
        "provider_name": "apollo",
        "sequence_id": "54",
        "sequence_step_id": "7",
        "template_id": "18",
        "request_id": "r-0",
        "application_name": "billing",
        "state": "STEP_CHANGE_STATE_PARTIALLY_APPLIED",
        "reverts_change_id": "c-0",
        "changes": [
            {"field": "template.subject", "before": "Old", "after": "New"},
            {"field": "custom_fields.note", "before": None, "after": 7.0},
        ],
    }
    assert list(listed(CHANGE).step_changes) == [response.step_change]
    unreadable = read(replace(CHANGE, fields=None)).step_change
    assert (unreadable.change_id, list(unreadable.changes)) == ("c-1", [])


@pytest.mark.parametrize(
    ("count", "page_size", "is_cut", "shown", "is_last"),
    [
        (0, 2, False, 0, True),
        (1, 2, False, 1, True),
        (2, 2, False, 2, True),
        # One more than wanted says that there is another page.
        (3, 2, False, 2, False),
        (2, 1, False, 1, False),
        # And so does what ended before the last one.
        (1, 2, True, 1, False),
        (2, 2, True, 2, False),
    ],
)
def test_a_page_says_where_the_next_one_begins(
    *, count: int, page_size: int, is_cut: bool, shown: int, is_last: bool
) -> None:
    page = listed(*(long(number) for number in range(count)), page_size=page_size, is_cut=is_cut)
    assert [each.change_id for each in page.step_changes] == [f"c-{number}" for number in range(shown)]
    if is_last:
        assert page.next_page_token == ""
    else:
        assert position(page.next_page_token, "f", 1) == [f"c-{shown - 1}"]


def test_a_list_shows_two_kibibytes_of_a_value() -> None:
    fields = (FieldChange("a", "x" * 2048, "x" * 2049), FieldChange("b", "x" * 2049, "x" * 2048))
    [change] = listed(long(0, *fields)).step_changes
    assert [(each.before_truncated, each.after_truncated) for each in change.changes] == [(False, True), (True, False)]
    whole = read(long(0, *fields)).step_change.changes
    assert [(len(each.before.string_value), len(each.after.string_value)) for each in whole] == [
        (2048, 2049),
        (2049, 2048),
    ]


@pytest.mark.parametrize(("fields", "count"), [(10, 200), (40, 30), (400, 4)])
def test_a_page_is_as_long_as_it_may_be(fields: int, count: int) -> None:
    value = "x" * 2048
    page = listed(
        *(long(number, *[FieldChange("a", value, value)] * fields) for number in range(count)), page_size=count
    )
    shown = len(page.step_changes)
    assert 0 < shown < count
    assert position(page.next_page_token, "f", 1) == [f"c-{shown - 1}"]
    assert page.ByteSize() > (3_800_000 if fields <= 40 else 2_000_000)


@pytest.mark.parametrize("fields", [980, 1500])
def test_a_change_that_is_longer_than_a_page_is_shown_in_part(fields: int) -> None:
    """Its last values go first, and no more of them than need be."""
    value = "x" * 2048
    page = listed(*(long(number, *[FieldChange("a" * 90, value, value)] * fields) for number in range(2)))
    [change] = page.step_changes
    assert position(page.next_page_token, "f", 1) == ["c-0"]
    cut = [each.before_truncated for each in change.changes]
    assert cut == [each.after_truncated for each in change.changes]
    assert cut == sorted(cut)
    assert all((each.before.string_value == CUT) is each.before_truncated for each in change.changes)
    assert page.ByteSize() > 3_980_000
    assert (len(cut), cut[0], cut[-1]) == (fields, False, True)


def test_a_change_that_is_too_long_to_read_is_refused() -> None:
    found = ChangesResult(changes=(long(0, FieldChange("a", "x" * 4_000_000, None)),))
    response, [problem] = GET_STEP_CHANGE.respond(found, "billing", "r-1")
    assert [error.code for error in response.errors] == ["RESPONSE_TOO_LONG_ERROR"]
    assert problem.detail.endswith("The list shows the beginnings, and the change can be reverted.")


def test_a_revert_is_answered_as_an_update_is() -> None:
    problem = Problem(ErrorCode.STEP_CHANGED_ERROR, "It changed.")
    found = UpdateResult((problem,), (), (FieldChange("a", 1, 2),), 0, "etag", (FieldChange("b", 3, 4),))
    for method, kind in ((UPDATE_STEP, UpdateStepResponse), (REVERT_STEP_CHANGE, RevertStepChangeResponse)):
        response: Any
        response, problems = method.respond(found, "billing", "r-1")
        assert (type(response), problems) == (kind, (problem,))
        assert ([each.field for each in response.changes], [each.field for each in response.conflicts]) == (
            ["a"],
            ["b"],
        )
        assert (response.etag, response.errors[0].code) == ("etag", "STEP_CHANGED_ERROR")
