"""What requests ask for, and which are refused."""

import math
import tracemalloc
from typing import Any
from unittest.mock import Mock

import pytest
from engagement.v1 import sequence_step_service_pb2 as pb
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec.structs import replace

from service.domain.errors import MAX_VIOLATIONS, CallRefused
from service.domain.json_value import json_path
from service.domain.sequence import StepQuery
from service.domain.step import Provider, StepUpdate
from service.domain.step_changes import ChangeRef, ChangeRevert, ChangesQuery
from service.domain.validation import CUSTOM_FIELDS_TOO_LONG, violations
from service.rpc.request import (
    DECODERS,
    change_ref,
    change_revert,
    changes_query,
    decode_request,
    step_query,
    step_update,
    steps_query,
)


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


@pytest.mark.parametrize("number", [9007199254740993, 2**53, -(2**53), 2**53 + 2, 10**18, -(2**63), 2**64])
def test_an_integer_that_a_double_may_not_have_exactly_is_refused_with_a_way(number: int) -> None:
    with pytest.raises(CallRefused) as refusal:
        parse({"record": {"custom_fields": {"a": {"b": [1, number]}, "c": 2**53 - 1}}})
    [violation] = refusal.value.violations
    assert violation.field == "record.custom_fields.a.b[1]"
    assert "Send it as a string, or over HTTP" in violation.description


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_by_its_path(number: float) -> None:
    message = pb.UpdateStepRequest()
    message.record.custom_fields["a"] = {"b": [1]}
    message.record.custom_fields.fields["a"].struct_value.fields["b"].list_value.values[0].number_value = number
    with pytest.raises(CallRefused) as refusal:
        step_update(message, Provider("apollo"), "acme")
    assert refusal.value.violations[0].field == "record.custom_fields.a.b[0]"


def field(number: int, content: bytes) -> bytes:
    """A field with a length, as protobuf has it on the wire."""
    length, encoded = len(content), b""
    while length > 127:
        encoded += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([length]) + content


def with_fields(key: bytes, item: bytes, count: int) -> bytes:
    """A request with one custom field: an array of so many equal items."""
    array = field(2, field(6, field(1, item) * count))
    return field(3, field(2, field(1, field(1, key) + array)))


NULL, ZERO, NAN, LONG_KEY = b"", b"\x11" + bytes(8), b"\x11" + bytes(6) + b"\xf8\x7f", b"k" * 200_000
MIB = 2**20


@pytest.mark.parametrize(
    "data",
    [
        with_fields(b"a", NULL, 3 * MIB),
        with_fields(b"a", NULL, 190_000),
        with_fields(LONG_KEY, ZERO, 100_000),
        field(3, field(2, field(1, b"")) * MIB),
        field(3, field(2, b"") * MIB),
    ],
    ids=["values", "short values", "issue", "same keys", "pieces"],
)
def test_custom_fields_that_are_too_long_are_not_built(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CallRefused) as refusal:
            step_update(decode_request(data), Provider("apollo"), "acme")
        assert tracemalloc.get_traced_memory()[1] < 3 * len(data) + MIB
    finally:
        tracemalloc.stop()
    assert list(refusal.value.violations) == [CUSTOM_FIELDS_TOO_LONG]


def test_the_longest_custom_fields_of_the_contract_are_read() -> None:
    update = step_update(decode_request(with_fields(b"a", ZERO, 32_750)), Provider("apollo"), "acme")
    assert update.custom_fields == {"a": [0] * 32_750}
    assert violations(replace(update, sequence_id="1", sequence_step_id="2")) == []


def test_a_request_in_pieces_is_joined_as_protobuf_does() -> None:
    first, second = field(1, field(1, b"a") + field(2, ZERO)), field(1, field(1, b"b") + field(2, ZERO))
    data = field(3, field(2, first)) + field(3, field(2, second))
    assert step_update(decode_request(data), Provider("apollo"), "acme").custom_fields == {"a": 0, "b": 0}


def test_paths_are_made_for_few_violations_only(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Mock(side_effect=json_path)
    monkeypatch.setattr("service.api.value.json_path", paths)
    step_update(decode_request(with_fields(LONG_KEY, ZERO, 5000)), Provider("apollo"), "acme")
    assert paths.call_count == 0
    with pytest.raises(CallRefused) as refusal:
        step_update(decode_request(with_fields(LONG_KEY, NAN, 5000)), Provider("apollo"), "acme")
    assert paths.call_count < 30
    assert len(refusal.value.violations) == MAX_VIOLATIONS
    assert all(len(violation.field) < 250 for violation in refusal.value.violations)


@pytest.mark.parametrize(("count", "more"), [(20, False), (21, True)])
def test_twenty_broken_parts_are_named_and_more_are_mentioned(count: int, more: bool) -> None:  # noqa: FBT001
    with pytest.raises(CallRefused) as refusal:
        step_update(decode_request(with_fields(b"a", NAN, count)), Provider("apollo"), "acme")
    assert len(refusal.value.violations) == 20
    assert ("only the first 20 are named" in refusal.value.problem.detail) is more


@pytest.mark.parametrize(("pieces", "is_read"), [(64, True), (65, False)])
def test_a_request_has_64_pieces(pieces: int, is_read: bool) -> None:  # noqa: FBT001
    data = field(3, field(2, b"") * pieces)
    if is_read:
        assert step_update(decode_request(data), Provider("apollo"), "acme").custom_fields == {}
    else:
        with pytest.raises(CallRefused):
            decode_request(data)


@pytest.mark.parametrize(("bytes_more", "is_read"), [(0, True), (1, False)])
def test_custom_fields_have_six_times_64_kibibytes_of_protobuf(bytes_more: int, is_read: bool) -> None:  # noqa: FBT001
    longest = 6 * 64 * 1024
    key = b"k" * (longest - 40)
    struct = field(1, field(1, key) + field(2, ZERO))
    key += b"k" * (longest + bytes_more - len(struct))
    data = field(3, field(2, field(1, field(1, key) + field(2, ZERO))))
    if is_read:
        assert decode_request(data).record.custom_fields.fields
    else:
        with pytest.raises(CallRefused):
            decode_request(data)


@pytest.mark.parametrize(("count", "is_read"), [(32 * 1024 - 1, True), (32 * 1024, False)])
def test_custom_fields_have_half_as_many_values_as_bytes(count: int, is_read: bool) -> None:  # noqa: FBT001
    request = decode_request(with_fields(b"a", NULL, count))
    if is_read:
        assert step_update(request, Provider("apollo"), "acme").custom_fields == {"a": [None] * count}
    else:
        with pytest.raises(CallRefused) as refusal:
            step_update(request, Provider("apollo"), "acme")
        assert list(refusal.value.violations) == [CUSTOM_FIELDS_TOO_LONG]


@pytest.mark.parametrize(
    ("wish", "refuses"), [("IF_SHARED_UNSPECIFIED", False), ("IF_SHARED_CHANGE", False), ("IF_SHARED_REFUSE", True)]
)
def test_only_a_wish_to_refuse_refuses(wish: str, *, refuses: bool) -> None:
    assert parse({"if_shared": wish, "record": {}}).refuse_shared is refuses


APOLLO = Provider("apollo")
STEP: dict[str, Any] = {"sequence_id": "1", "sequence_step_id": "2"}


@pytest.mark.parametrize(
    ("read", "request_", "asked"),
    [
        (
            step_update,
            pb.UpdateStepRequest(
                **STEP,
                record=pb.SequenceStepRecord(template=pb.StepTemplate(subject="S", body="B")),
                validate_only=True,
                etag="e",
                if_shared=pb.IF_SHARED_REFUSE,
                variant="v",
            ),
            StepUpdate(
                APOLLO, "acme", "1", "2", "S", "B", {}, validate_only=True, etag="e", refuse_shared=True, variant="v"
            ),
        ),
        (step_query, pb.GetStepRequest(**STEP), StepQuery(APOLLO, "acme", "1", "2", with_bodies=True)),
        (
            step_query,
            pb.GetStepRequest(**STEP, view=pb.STEP_VIEW_BASIC, with_sharing=True),
            StepQuery(APOLLO, "acme", "1", "2", with_bodies=False, with_sharing=True),
        ),
        (
            step_query,
            pb.GetStepRequest(**STEP, view=pb.STEP_VIEW_FULL),
            StepQuery(APOLLO, "acme", "1", "2", with_bodies=True),
        ),
        (
            steps_query,
            pb.ListStepsRequest(sequence_id="1"),
            StepQuery(APOLLO, "acme", "1", "", names_step=False, with_bodies=False),
        ),
        (
            steps_query,
            pb.ListStepsRequest(sequence_id="1", view=pb.STEP_VIEW_BASIC),
            StepQuery(APOLLO, "acme", "1", "", names_step=False, with_bodies=False),
        ),
        (
            steps_query,
            pb.ListStepsRequest(sequence_id="1", view=pb.STEP_VIEW_FULL),
            StepQuery(APOLLO, "acme", "1", "", names_step=False, with_bodies=True),
        ),
        (changes_query, pb.ListStepChangesRequest(), ChangesQuery(APOLLO, "acme", "", "")),
        (
            changes_query,
            pb.ListStepChangesRequest(
                **STEP,
                request_id="r",
                start_time=Timestamp(seconds=5, nanos=250_000_000),
                end_time=Timestamp(seconds=7),
                page_size=3,
                page_token="t",
            ),
            ChangesQuery(
                APOLLO, "acme", "1", "2", request_id="r", start_at=5.25, end_at=7.0, page_size=3, page_token="t"
            ),
        ),
        # The beginning of time is a time, too.
        (
            changes_query,
            pb.ListStepChangesRequest(start_time=Timestamp(), end_time=Timestamp()),
            ChangesQuery(APOLLO, "acme", "", "", start_at=0.0, end_at=0.0),
        ),
        (change_ref, pb.GetStepChangeRequest(change_id="c"), ChangeRef(APOLLO, "acme", "c")),
        (change_revert, pb.RevertStepChangeRequest(change_id="c"), ChangeRevert(APOLLO, "acme", "c")),
        (
            change_revert,
            pb.RevertStepChangeRequest(change_id="c", validate_only=True, if_shared=pb.IF_SHARED_CHANGE),
            ChangeRevert(APOLLO, "acme", "c", validate_only=True),
        ),
        (
            change_revert,
            pb.RevertStepChangeRequest(change_id="c", overwrite=True, if_shared=pb.IF_SHARED_REFUSE),
            ChangeRevert(APOLLO, "acme", "c", overwrite=True, refuse_shared=True),
        ),
    ],
)
def test_what_a_request_asks_for(read: Any, request_: Message, asked: object) -> None:
    assert read(request_, APOLLO, "acme") == asked


UNKNOWN = b"\xf8\x07\x01"
"""Field 127, which a later version may have: it could say not to write."""


@pytest.mark.parametrize(
    ("method", "read", "data", "fields"),
    [
        ("UpdateStep", step_update, UNKNOWN, ["127"]),
        ("UpdateStep", step_update, field(3, UNKNOWN), ["record.127"]),
        ("UpdateStep", step_update, field(3, field(1, UNKNOWN)), ["record.template.127"]),
        ("UpdateStep", step_update, UNKNOWN + field(3, field(1, UNKNOWN)), ["127", "record.template.127"]),
        ("GetStep", step_query, UNKNOWN, ["127"]),
        ("ListSteps", steps_query, UNKNOWN, ["127"]),
        ("ListStepChanges", changes_query, UNKNOWN, ["127"]),
        ("GetStepChange", change_ref, UNKNOWN, ["127"]),
        ("RevertStepChange", change_revert, UNKNOWN, ["127"]),
    ],
)
def test_a_field_that_is_not_known_is_refused(method: str, read: Any, data: bytes, fields: list[str]) -> None:
    with pytest.raises(CallRefused) as refusal:
        read(DECODERS[method](data), APOLLO, "acme")
    assert [each.field for each in refusal.value.violations] == fields


@pytest.mark.parametrize(
    ("read", "request_", "name"),
    [
        (step_update, pb.UpdateStepRequest(record=pb.SequenceStepRecord(), if_shared=9), "if_shared"),  # type: ignore[arg-type]
        (step_query, pb.GetStepRequest(view=9), "view"),  # type: ignore[arg-type]
        (steps_query, pb.ListStepsRequest(view=9), "view"),  # type: ignore[arg-type]
        (change_revert, pb.RevertStepChangeRequest(if_shared=9), "if_shared"),  # type: ignore[arg-type]
    ],
)
def test_a_value_that_is_not_known_is_refused(read: Any, request_: Message, name: str) -> None:
    with pytest.raises(CallRefused) as refusal:
        read(request_, APOLLO, "acme")
    assert [each.field for each in refusal.value.violations] == [name]


@pytest.mark.parametrize("part", ["start_time", "end_time"])
def test_a_field_of_a_time_that_is_not_known_is_refused(part: str) -> None:
    request = pb.ListStepChangesRequest()
    getattr(request, part).MergeFromString(UNKNOWN)
    with pytest.raises(CallRefused) as refusal:
        changes_query(request, APOLLO, "acme")
    assert [each.field for each in refusal.value.violations] == [f"{part}.127"]


@pytest.mark.parametrize("method", DECODERS)
def test_bytes_that_are_no_request_are_named_so(method: str) -> None:
    with pytest.raises(CallRefused) as refusal:
        DECODERS[method](b"\xff")
    [violation] = refusal.value.violations
    assert (violation.field, f"engagement.v1.{method}Request" in violation.description) == ("request", True)
