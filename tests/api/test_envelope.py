"""The envelope: every member, every value, within its size."""

from typing import Any

import pytest
from engagement.v1 import sequence_step_service_pb2 as pb
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from service.api.envelope import MAX_RESPONSE_BYTES, MAX_VALUE_BYTES, envelope, fit
from service.api.value import CUT
from service.domain.errors import Cause, ErrorCode, Origin, Outcome, Problem
from service.domain.step import FieldChange, StepWarning, WarningType

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def response_of(*problems: Problem, **more: Any) -> pb.UpdateStepResponse:
    return envelope(problems, **more, application_name="billing", request_id="r-1")


def test_an_error_has_every_member() -> None:
    problem = Problem(
        ErrorCode.TOO_MANY_REQUESTS_ERROR,
        "Wait.",
        origin=Origin.PROVIDER,
        outcome=Outcome.UNKNOWN,
        retry_after=1.5,
        cause=Cause(429, {"a": [1, None]}, {"retry-after": "2"}),
        facts={"endpoint": "templates"},
    )
    [error] = response_of(problem).errors
    shown = json_format.MessageToDict(error, preserving_proto_field_name=True)
    assert len(shown.pop("id")) == 36
    assert shown == {
        "detail": "Wait.",
        "problem_type": "TOO_MANY_REQUESTS_ERROR",
        "title": "Too many requests",
        "code": "TOO_MANY_REQUESTS_ERROR",
        "status": "429",
        "meta": {
            "cause": {"code": 429, "body": {"a": [1.0, None]}, "headers": {"retry-after": "2"}},
            "origin": "ERROR_ORIGIN_REMOTE_PROVIDER",
            "application_name": "billing",
            "outcome": "ERROR_OUTCOME_UNKNOWN",
            "retry_after": "1.500s",
            "request_id": "r-1",
            "facts": {"endpoint": "templates"},
        },
    }


def test_a_warning_has_its_facts() -> None:
    warning = StepWarning(WarningType.SHARED_TEMPLATE, "Also used by step 2.", {"step_ids": "2"})
    [shown] = response_of(warnings=(warning,)).warnings
    assert shown.facts == {"step_ids": "2"}


def test_ids_are_unique() -> None:
    problem = Problem(ErrorCode.NOT_FOUND_ERROR, "No.")
    assert len({error.id for error in response_of(problem, problem, problem).errors}) == 3


@given(JSON)
def test_every_value_can_be_shown(value: Any) -> None:
    change = FieldChange("custom_fields.x", value, value)
    message = response_of(changes=(change,))
    json_format.MessageToDict(pb.UpdateStepResponse.FromString(message.SerializeToString()))


def test_integers_beyond_doubles_are_shown_exactly() -> None:
    [change] = response_of(changes=(FieldChange("custom_fields.x", 2**53 + 1, 2**53),)).changes
    assert change.before.string_value == "9007199254740993"
    assert change.after.number_value == 2**53


def test_a_response_stays_under_a_mebibyte() -> None:
    problem = Problem(ErrorCode.BAD_REQUEST, "No.", cause=Cause(400, "x" * 16_000, {"a": "b" * 500}))
    changes = tuple(FieldChange(f"custom_fields.{n}", "y" * 60_000, "z" * 60_000) for n in range(20))
    response = response_of(*[problem] * 100, changes=changes)
    assert response.ByteSize() <= MAX_RESPONSE_BYTES
    assert len(response.errors) == 100
    assert response.truncated
    assert response.changes[-1].before_truncated


def test_a_value_that_fits_is_not_marked() -> None:
    response = response_of(changes=(FieldChange("template.body", "é" * (MAX_VALUE_BYTES // 2), None),))
    assert not response.truncated
    assert not response.changes[0].before_truncated
    assert not response.changes[0].after_truncated


def test_a_value_of_64_kibibytes_is_shown_whole() -> None:
    whole, longer = "x" * 64 * 1024, "x" * (64 * 1024 + 1)
    response = response_of(changes=(FieldChange("a", whole, longer), FieldChange("b", longer, whole)))
    assert [(each.before_truncated, each.after_truncated) for each in response.changes] == [
        (False, True),
        (True, False),
    ]


def test_a_response_is_shortened_by_no_more_than_is_needed() -> None:
    changes = tuple(FieldChange(f"custom_fields.{n}", "y" * 60_000, "z" * 60_000) for n in range(20))
    assert 900 * 1024 < response_of(changes=changes).ByteSize() < 1024 * 1024


def test_a_response_without_its_last_parts_says_so() -> None:
    problem = Problem(ErrorCode.BAD_REQUEST, "No.", facts={"endpoint": "templates"})
    warnings = [StepWarning(WarningType.NO_CHANGE, "w" * 300)] * 5
    assert fit(response_of(problem, warnings=warnings), 1000).truncated
    assert not fit(response_of(problem), 1000).truncated


def test_long_values_are_cut_and_say_so() -> None:
    long = "é" * (2 * MAX_VALUE_BYTES)
    cause = Cause(400, {"text": long}, {})
    response = response_of(
        Problem(ErrorCode.BAD_REQUEST, "No.", cause=cause), changes=(FieldChange("template.body", long, [long]),)
    )
    [change], [error] = response.changes, response.errors
    body = error.meta.cause.body.struct_value.fields["text"]
    assert (change.before_truncated, change.after_truncated, error.meta.cause.body_truncated) == (True, True, True)
    for value in (change.before, change.after.list_value.values[0], body):
        assert value.string_value.endswith(CUT)
        assert len(value.string_value.encode()) <= MAX_VALUE_BYTES


def left(response: pb.UpdateStepResponse) -> list[object]:
    """What is left of each part, in the order in which parts go."""
    causes = [
        part
        for error in reversed(response.errors)
        for part in (error.meta.cause.body.string_value != CUT, bool(error.meta.cause.headers))
    ]
    values = [
        value.string_value != CUT for change in reversed(response.changes) for value in (change.before, change.after)
    ]
    counts = len(response.changes), len(response.warnings), len(response.errors)
    return [*causes, *values, *counts, bool(response.errors[0].meta.facts)]


def test_what_is_needed_least_goes_first_and_no_more_than_needed() -> None:
    problem = Problem(
        ErrorCode.BAD_REQUEST,
        "d" * 2000,
        title="t" * 500,
        cause=Cause(400, "c" * 300, {"a": "h" * 300}),
        facts={"endpoint": "f" * 300},
    )
    changes = [FieldChange(f"custom_fields.{n}", "b" * 300, "a" * 300) for n in range(2)]
    warnings = [StepWarning(WarningType.NO_CHANGE, "w" * 300)] * 2
    whole = response_of(problem, problem, changes=changes, warnings=warnings)
    size = whole.ByteSize()
    seen = [left(whole)]
    sizes = {size}
    for limit in range(size, 1400, -10):
        response = pb.UpdateStepResponse.FromString(whole.SerializeToString())
        fit(response, limit)
        assert response.ByteSize() <= limit
        sizes.add(response.ByteSize())
        assert response.errors[0].meta.cause.body_truncated == (response.errors[0].meta.cause.body.string_value == CUT)
        for change in response.changes:
            assert change.before_truncated == (change.before.string_value == CUT)
            assert change.after_truncated == (change.after.string_value == CUT)
        if left(response) != seen[-1]:
            seen.append(left(response))
    # 2 bodies and headers of causes, 4 values, 2 changes, 2 warnings, the second error, the texts of the first.
    assert len(seen) == 1 + 4 + 4 + 2 + 2 + 1 + 1
    assert seen[1][:4] == [False, True, True, True]
    assert seen[2][:4] == [False, False, True, True]
    assert seen[4][:4] == [False] * 4
    assert seen[5][4:8] == [False, True, True, True]
    assert seen[8][-4:] == [2, 2, 2, True]
    assert seen[10][-4:] == [0, 2, 2, True]
    assert seen[12][-4:] == [0, 0, 2, True]
    assert seen[13][-4:] == [0, 0, 1, True]
    assert seen[14][-4:] == [0, 0, 1, False]
    assert (len(response.errors[0].title.encode()), len(response.errors[0].detail.encode())) == (200, 1000)
    # What is just as long as it may be stays.
    for limit in sizes:
        response = pb.UpdateStepResponse.FromString(whole.SerializeToString())
        assert fit(response, limit).ByteSize() == limit


@pytest.mark.parametrize(("body", "was_cut"), [("x", False), ("x" * (MAX_VALUE_BYTES + 1), True)])
@pytest.mark.parametrize("was_cut_before", [False, True])
def test_a_body_that_was_cut_before_says_so(body: str, *, was_cut: bool, was_cut_before: bool) -> None:
    cause = Cause(400, body, {}, body_truncated=was_cut_before)
    [error] = response_of(Problem(ErrorCode.BAD_REQUEST, "No.", cause=cause)).errors
    assert error.meta.cause.body_truncated is (was_cut or was_cut_before)


def test_seconds_to_wait_are_rounded_up_to_milliseconds() -> None:
    problem = Problem(ErrorCode.CONFLICT_ERROR, "No.", retry_after=1.0001)
    assert response_of(problem).errors[0].meta.retry_after.ToMilliseconds() == 1001
