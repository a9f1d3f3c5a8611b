"""Requests to updates."""

import math
from typing import Any

import pytest
from engagement.v1 import sequence_step_service_pb2 as pb
from google.protobuf import json_format

from service.domain.errors import CallRefused
from service.domain.step import Provider, StepUpdate
from service.rpc.request import step_update


def parse(body: dict[str, Any]) -> StepUpdate:
    return step_update(json_format.ParseDict(body, pb.UpdateStepRequest()), Provider("apollo"), "acme")


def test_presence_means_change() -> None:
    update = parse({"sequence_id": "1", "sequence_step_id": "2", "record": {"template": {"subject": ""}}})
    assert (update.subject, update.body) == ("", None)


def test_an_empty_record_is_a_record() -> None:
    assert parse({"record": {}}).is_empty


def test_a_record_is_required() -> None:
    with pytest.raises(CallRefused) as refusal:
        parse({"sequence_id": "1"})
    assert [violation.field for violation in refusal.value.violations] == ["record"]


def test_whole_numbers_become_integers() -> None:
    fields = parse(
        {"record": {"custom_fields": {"a": 3, "b": 3.5, "c": [2**53 - 1], "d": -0.0, "e": True}}}
    ).custom_fields
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
def test_a_number_that_is_not_finite_is_refused_by_its_path(number: float) -> None:
    message = pb.UpdateStepRequest()
    message.record.custom_fields["a"] = {"b": [1]}
    message.record.custom_fields.fields["a"].struct_value.fields["b"].list_value.values[0].number_value = number
    with pytest.raises(CallRefused) as refusal:
        step_update(message, Provider("apollo"), "acme")
    assert refusal.value.violations[0].field == "record.custom_fields.a.b[0]"
