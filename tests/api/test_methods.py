"""What a read is answered with: each member of a step, and no answer that is too long."""

from typing import Any

import pytest
from engagement.v1.sequence_step_service_pb2 import GetStepResponse, ListStepsResponse, UpdateStepResponse
from google.protobuf.json_format import MessageToDict
from msgspec.structs import replace

from service.api.methods import GET_STEP, LIST_STEPS, UPDATE_STEP, Method
from service.domain.errors import ErrorCode, Problem
from service.domain.sequence import SequenceResult, ShownSequence, ShownStep, ShownVariant, StepQuery
from service.domain.step import Provider

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


def test_only_an_update_can_change_something() -> None:
    methods = (UPDATE_STEP, GET_STEP, LIST_STEPS)
    assert [(method.name, method.is_write) for method in methods] == [
        ("UpdateStep", True),
        ("GetStep", False),
        ("ListSteps", False),
    ]
    problem = Problem(ErrorCode.FORBIDDEN_ERROR, "No.")
    refusals = [method.refuse(problem, application_name="billing", request_id="r-1") for method in methods]
    assert [type(refusal) for refusal in refusals] == [UpdateStepResponse, GetStepResponse, ListStepsResponse]
    assert [refusal.errors[0].meta.application_name for refusal in refusals] == ["billing"] * 3
