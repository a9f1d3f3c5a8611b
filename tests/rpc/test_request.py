"""The contract's messages to and from the domain."""

import math
from typing import Any

import pytest
from engagement.v1 import envelope_pb2, sequence_step_service_pb2
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from service.api.envelope import MAX_RESPONSE_BYTES, MAX_VALUE_BYTES, envelope
from service.api.value import CUT
from service.domain.errors import CallRefused, Cause, ErrorCode, Origin, Outcome, Problem
from service.domain.step import FieldChange, Provider, StepUpdate, StepWarning, WarningType
from service.rpc.request import parse_request
from service.rpc.status import MAX_ENVELOPE_BYTES, details

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def parse(body: dict[str, Any]) -> StepUpdate:
    message = json_format.ParseDict(body, sequence_step_service_pb2.UpdateStepRequest())
    return parse_request(message.SerializeToString(), Provider("apollo"), "acme")


def answer(*problems: Problem, **more: Any) -> sequence_step_service_pb2.UpdateStepResponse:
    return envelope(problems, **more, application_name="billing", request_id="r-1")


def test_presence_means_change() -> None:
    update = parse({"sequence_id": "1", "sequence_step_id": "2", "record": {"template": {"subject": ""}}})
    assert (update.subject, update.body) == ("", None)


def test_an_empty_record_is_a_record() -> None:
    assert parse({"record": {}}).is_empty


def test_a_record_is_required() -> None:
    with pytest.raises(CallRefused) as refusal:
        parse({"sequence_id": "1"})
    assert [violation.field for violation in refusal.value.violations] == ["record"]


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\xff", b"\x1a\x05hello", "ä".encode("latin-1")])
def test_bytes_that_are_no_request_are_refused(data: bytes) -> None:
    with pytest.raises(CallRefused) as refusal:
        parse_request(data, Provider("apollo"), "acme")
    assert refusal.value.problem.code is ErrorCode.VALIDATION_ERROR


def test_whole_numbers_become_integers() -> None:
    fields = parse({"record": {"custom_fields": {"a": 3, "b": 3.5, "c": [2**53], "d": -0.0, "e": True}}}).custom_fields
    assert [type(value) for value in (fields["a"], fields["b"], fields["c"][0], fields["d"], fields["e"])] == [
        int,
        float,
        int,
        int,
        bool,
    ]


def test_numbers_that_no_integer_fits_stay_doubles() -> None:
    assert parse({"record": {"custom_fields": {"a": 1e308}}}).custom_fields["a"] == 1e308


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_have_is_refused_by_its_path(number: float) -> None:
    message = sequence_step_service_pb2.UpdateStepRequest()
    message.record.custom_fields["a"] = {"b": [1]}
    message.record.custom_fields.fields["a"].struct_value.fields["b"].list_value.values[0].number_value = number
    with pytest.raises(CallRefused) as refusal:
        parse_request(message.SerializeToString(), Provider("apollo"), "acme")
    assert refusal.value.violations[0].field == "record.custom_fields.a.b[0]"


def test_an_error_has_every_member() -> None:
    problem = Problem(
        ErrorCode.TOO_MANY_REQUESTS_ERROR,
        "Wait.",
        origin=Origin.PROVIDER,
        outcome=Outcome.UNKNOWN,
        retry_after=1.5,
        cause=Cause(429, {"a": [1, None]}, {"retry-after": "2"}),
    )
    [error] = answer(problem).errors
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
        },
    }


def test_ids_are_unique() -> None:
    problem = Problem(ErrorCode.NOT_FOUND_ERROR, "No.")
    assert len({error.id for error in answer(problem, problem, problem).errors}) == 3


@given(JSON)
def test_every_value_can_be_shown(value: Any) -> None:
    change = FieldChange("custom_fields.x", value, value)
    message = answer(changes=(change,))
    json_format.MessageToDict(sequence_step_service_pb2.UpdateStepResponse.FromString(message.SerializeToString()))


def test_integers_beyond_doubles_are_shown_exactly() -> None:
    [change] = answer(changes=(FieldChange("custom_fields.x", 2**53 + 1, 2**53),)).changes
    assert change.before.string_value == "9007199254740993"
    assert change.after.number_value == 2**53


@pytest.mark.parametrize("text", ["x", "é", "\U0001f600", "\ud800"])
def test_long_values_are_cut_at_a_character_and_say_so(text: str) -> None:
    [change] = answer(changes=(FieldChange("template.body", text * (2 * MAX_VALUE_BYTES), None),)).changes
    assert change.before.string_value.endswith(CUT)
    assert len(change.before.string_value.encode()) <= MAX_VALUE_BYTES


def test_a_response_stays_under_a_mebibyte() -> None:
    problem = Problem(ErrorCode.BAD_REQUEST, "No.", cause=Cause(400, "x" * 16_000, {"a": "b" * 500}))
    changes = tuple(FieldChange(f"custom_fields.{n}", "y" * 60_000, "z" * 60_000) for n in range(20))
    response = answer(*[problem] * 100, changes=changes)
    assert response.ByteSize() <= MAX_RESPONSE_BYTES
    assert len(response.errors) == 100


def test_a_status_stays_small_and_keeps_what_matters() -> None:
    cause = Cause(400, "x" * 16_000, {f"h{n}": "v" * 500 for n in range(60)})
    problem = Problem(ErrorCode.BAD_REQUEST, "d" * 3000, cause=cause, retry_after=2, outcome=Outcome.UNKNOWN)
    warnings = tuple(StepWarning(WarningType.SHARED_TEMPLATE, "w" * 500) for _ in range(20))
    response = answer(*[problem] * 10, warnings=warnings)
    _, status = details(problem, (), response)
    assert response.ByteSize() <= MAX_ENVELOPE_BYTES
    assert len(status) <= 2 * MAX_ENVELOPE_BYTES
    assert response.errors[0].meta.outcome == envelope_pb2.ERROR_OUTCOME_UNKNOWN
    assert response.errors[0].meta.request_id == "r-1"


def test_a_small_status_keeps_its_cause() -> None:
    problem = Problem(ErrorCode.BAD_REQUEST, "No.", cause=Cause(400, {"error": "no"}, {}))
    response = answer(problem)
    details(problem, (), response)
    assert response.errors[0].meta.cause.body.struct_value.fields["error"].string_value == "no"
