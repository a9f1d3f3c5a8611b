"""The request and the envelope in JSON: which values are taken, up to which sizes, and what is said of others."""

import json
from typing import Any

import pytest
from engagement.v1 import envelope_pb2
from engagement.v1 import sequence_step_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from service.api.envelope import envelope
from service.domain.errors import CallRefused, ErrorCode, Problem
from service.domain.step import FieldChange
from service.rest.schemas import (
    CHANGES_PARAMETERS,
    GET_PARAMETERS,
    LIST_PARAMETERS,
    REVERT_PARAMETERS,
    UPDATE_PARAMETERS,
    Parameters,
    UpdateSequenceStep,
    parse_body,
    parse_query,
    render,
)

FIELDS = "record.custom_fields"
LONGEST_ESCAPED = 6 * 64 * 1024
LONGEST_SPACED = 4 * LONGEST_ESCAPED


def parsed(custom_fields: str) -> UpdateSequenceStep:
    return parse_body(f'{{"record":{{"custom_fields":{custom_fields}}}}}'.encode())


def custom_fields(text: str) -> dict[str, Any]:
    found = parsed(text).record.custom_fields
    assert isinstance(found, dict)
    return found


def refused(data: str) -> dict[str, str]:
    with pytest.raises(CallRefused) as refusal:
        parse_body(data.encode())
    return {each.field: each.description for each in refusal.value.violations}


@pytest.mark.parametrize("number", [-(2**63), 2**64 - 1, 0, 2**53 + 1])
def test_integers_of_64_bits_are_exact(number: int) -> None:
    assert custom_fields(f'{{"a":{{"b":[{number}]}}}}') == {"a": {"b": [number]}}


@pytest.mark.parametrize("number", [-(2**63) - 1, 2**64])
def test_longer_integers_are_named_with_their_path(number: int) -> None:
    assert refused(f'{{"record":{{"custom_fields":{{"x":1,"a":{{"b":[0,{number}]}},"c":[[{number}]]}}}}}}') == {
        f"{FIELDS}.a.b[1]": "Must be an integer of at most 64 bits.",
        f"{FIELDS}.c[0][0]": "Must be an integer of at most 64 bits.",
    }


@pytest.mark.parametrize(("count", "more"), [(20, False), (21, True), (500, True)])
def test_twenty_long_integers_are_named(count: int, more: bool) -> None:  # noqa: FBT001
    with pytest.raises(CallRefused) as refusal:
        parsed(f'{{"a":[{",".join([str(2**64)] * count)}]}}')
    assert len(refusal.value.violations) == 20
    assert ("only the first 20" in refusal.value.problem.detail) is more


def test_whole_numbers_are_integers_and_fields_are_in_order() -> None:
    found = custom_fields('{"b":3.0,"a":[2.5,{"y":1e2,"x":true}],"c":-0.0}')
    assert json.dumps(found) == '{"a": [2.5, {"y": 100, "x": true}], "b": 3, "c": 0}'


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("[]", "an array"),
        ("7", "a number"),
        ("-7", "a number"),
        ("true", "a boolean"),
        ("false", "a boolean"),
        ("null", "null"),
    ],
)
def test_a_value_of_another_kind_is_named(value: str, kind: str) -> None:
    wanted = {
        f'{{"record":{value}}}': ("record", "an object"),
        f'{{"record":{{"template":{value}}}}}': ("record.template", "an object"),
        f'{{"record":{{"template":{{"subject":{value}}}}}}}': ("record.template.subject", "a string"),
        f'{{"record":{{"template":{{"body":{value}}}}}}}': ("record.template.body", "a string"),
        f'{{"record":{{"custom_fields":{value}}}}}': (FIELDS, "an object"),
    }
    for data, (field, expected) in wanted.items():
        assert refused(data) == {field: f"Must be {expected}, and is {kind}. Leave out what is to stay."}


def test_a_body_of_another_kind_is_named() -> None:
    assert refused("[]") == {"body": "Must be an object, and is an array. Leave out what is to stay."}
    assert set(refused("{}")) == {"record"}
    assert refused('{"record":{"template":"x"}}')["record.template"].startswith("Must be an object, and is a string.")


def test_what_is_absent_stays_so_and_what_is_not_known_is_passed_over() -> None:
    update = parse_body(b'\xef\xbb\xbf{"x":[1],"record":{"y":null,"template":{"subject":"S","z":1}}}')
    assert update.model_dump() == {"record": {"template": {"subject": "S"}}}


def spaced(length: int) -> str:
    return '{"a":1' + " " * (length - len('{"a":1}')) + "}"


def escaped(length: int) -> str:
    """Custom fields of so many bytes, with less than 64 KiB of content."""
    text = '{"a":"' + "\\u0061" * (64 * 1024 - 8) + '"}'
    return '{"a":"' + text[6:-2] + '"' + " " * (length - len(text)) + "}"


@pytest.mark.parametrize(
    "text",
    [spaced(LONGEST_ESCAPED + 1), spaced(LONGEST_SPACED), escaped(LONGEST_ESCAPED), escaped(LONGEST_ESCAPED + 1)],
)
def test_spaces_and_escapes_do_not_count(text: str) -> None:
    assert list(custom_fields(text)) == ["a"]


@pytest.mark.parametrize("text", [spaced(LONGEST_SPACED + 1), '{"a":"' + "\\u0061" * (64 * 1024) + '"}'])
def test_custom_fields_that_are_too_long_are_not_read(text: str) -> None:
    with pytest.raises(CallRefused) as refusal:
        custom_fields(text)
    assert [each.field for each in refusal.value.violations] == [FIELDS]


def test_what_was_cut_says_so() -> None:
    long = "x" * 100_000
    response = envelope(
        changes=[FieldChange("a", long, 1), FieldChange("b", 2, long)], application_name="", request_id="r"
    )
    first, second = json.loads(render(response))["changes"]
    assert (first["before_truncated"], "after_truncated" in first) == (True, False)
    assert ("before_truncated" in second, second["after_truncated"]) == (False, True)


@pytest.mark.parametrize(("seconds", "shown"), [(2.0, "2"), (1.5, "1.5"), (0.0, "0"), (1.0001, "1.001")])
def test_seconds_to_wait_are_in_milliseconds(seconds: float, shown: str) -> None:
    problem = Problem(ErrorCode.TOO_MANY_REQUESTS_ERROR, "No.", retry_after=seconds)
    [error] = json.loads(render(envelope([problem], application_name="", request_id="r")))["errors"]
    assert json.dumps(error["meta"]["retry_after"]) == shown


VIEWS, SHARED = "`STEP_VIEW_UNSPECIFIED` or `STEP_VIEW_BASIC` or `STEP_VIEW_FULL`", "IF_SHARED_REFUSE"


@pytest.mark.parametrize(
    ("known", "given", "read"),
    [
        (UPDATE_PARAMETERS, [], {}),
        (
            UPDATE_PARAMETERS,
            [("validate_only", "true"), ("etag", "e"), ("if_shared", SHARED), ("variant", "v")],
            {"validate_only": True, "etag": "e", "if_shared": SHARED, "variant": "v"},
        ),
        (REVERT_PARAMETERS, [("overwrite", "false"), ("overwrite", "false")], {"overwrite": False}),
        (
            GET_PARAMETERS,
            [("view", "STEP_VIEW_BASIC"), ("with_sharing", "true")],
            {"view": "STEP_VIEW_BASIC", "with_sharing": True},
        ),
        (LIST_PARAMETERS, [("view", "STEP_VIEW_FULL")], {"view": "STEP_VIEW_FULL"}),
        (
            CHANGES_PARAMETERS,
            [("page_size", "0"), ("page_token", ""), ("request_id", "r"), ("sequence_id", "1")],
            {"page_size": 0, "page_token": "", "request_id": "r", "sequence_id": "1"},
        ),
        (CHANGES_PARAMETERS, [("page_size", "999999999")], {"page_size": 999_999_999}),
        (
            CHANGES_PARAMETERS,
            [("start_time", "1970-01-01T00:00:05Z"), ("end_time", "1970-01-01T01:00:00.5+01:00")],
            {"start_time": 5.0, "end_time": 0.5},
        ),
        # The same once more is no contradiction, however it is written.
        (
            CHANGES_PARAMETERS,
            [("start_time", "1970-01-01T00:00:05Z"), ("start_time", "1970-01-01T00:00:05+00:00")],
            {"start_time": 5.0},
        ),
    ],
)
def test_what_a_query_says(known: Parameters, given: list[tuple[str, str]], read: dict[str, Any]) -> None:
    assert parse_query(given, known) == read


@pytest.mark.parametrize(
    ("known", "given", "said"),
    [
        (UPDATE_PARAMETERS, [("validate_only", "1")], "Must be `true` or `false`, once."),
        (
            UPDATE_PARAMETERS,
            [("validate_only", "true"), ("validate_only", "false")],
            "Must be `true` or `false`, once.",
        ),
        (UPDATE_PARAMETERS, [("etag", "a"), ("etag", "b")], "Give it once."),
        (GET_PARAMETERS, [("view", "FULL")], f"Must be {VIEWS}, once."),
        (LIST_PARAMETERS, [("with_sharing", "true")], "Is a parameter that this version of the service does not know."),
        *(
            (CHANGES_PARAMETERS, [("page_size", text)], "Must be a whole number, 0 or more.")
            for text in ("", "-1", "1.0", "x", "\u0663", "1000000000")
        ),
        (CHANGES_PARAMETERS, [("page_size", "1"), ("page_size", "2")], "Give it once."),
        *(
            (
                CHANGES_PARAMETERS,
                [("end_time", text)],
                "Must be a time with its zone as in ISO 8601, such as 2026-11-28T12:00:00Z.",
            )
            for text in ("", "yesterday", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z")
        ),
    ],
)
def test_what_a_query_cannot_say(known: Parameters, given: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(CallRefused) as refusal:
        parse_query(given, known)
    assert [(each.field, each.description) for each in refusal.value.violations] == [(given[0][0], said)]


def test_a_long_name_is_named_in_part() -> None:
    with pytest.raises(CallRefused) as refusal:
        parse_query([("x" * 101, "1"), ("y" * 100, "2")], GET_PARAMETERS)
    assert [each.field for each in refusal.value.violations] == ["x" * 100, "y" * 100]


def shown(response: Any) -> Any:
    return json.loads(render(response))


def test_a_step_of_which_nothing_is_known_is_shown_so() -> None:
    assert shown(pb.GetStepResponse(step=pb.Step(sequence_step_id="7"))) == {
        "id": "7",
        "sequence_id": "",
        "type": "",
        "order": None,
        "interval_seconds": None,
        "is_reply": False,
        "is_sequence_enabled": None,
        "etag": "",
        "template": None,
        "variants": [],
        "custom_fields": {},
    }
    assert shown(pb.ListStepsResponse()) == {
        "id": "",
        "name": "",
        "is_enabled": None,
        "is_archived": None,
        "num_steps": 0,
        "steps": [],
    }


def test_the_template_of_a_step_is_that_of_the_variant_that_updates_change() -> None:
    variants = [
        pb.StepVariant(template_id="1", subject="First", reply=False),
        pb.StepVariant(template_id="2", updated_by_default=True, reply=True, live=True, sharing_step_ids=["8"]),
    ]
    step = shown(
        pb.GetStepResponse(step=pb.Step(variants=variants, order=0, interval_seconds=0, sequence_enabled=False))
    )
    assert (step["template"], step["is_reply"]) == ({"id": "2", "subject": None}, True)
    assert (step["order"], step["interval_seconds"], step["is_sequence_enabled"]) == (0, 0, False)
    assert [each["template"]["subject"] for each in step["variants"]] == ["First", None]
    assert [each["sharing_step_ids"] for each in step["variants"]] == [[], ["8"]]
    others = shown(pb.GetStepResponse(step=pb.Step(variants=variants[:1])))
    assert (others["template"], others["is_reply"]) == (None, False)


ONE_CHANGE = pb.StepChange(change_id="c", create_time=Timestamp(seconds=5), state=pb.STEP_CHANGE_STATE_APPLIED)


def test_a_change_names_another_only_if_it_takes_that_back() -> None:
    assert "reverts_change_id" not in shown(pb.GetStepChangeResponse(step_change=ONE_CHANGE))
    revert = pb.StepChange(reverts_change_id="b")
    revert.MergeFrom(ONE_CHANGE)
    page = shown(pb.ListStepChangesResponse(step_changes=[ONE_CHANGE, revert], next_page_token="t"))
    assert [each.get("reverts_change_id") for each in page["step_changes"]] == [None, "b"]
    assert (page["next_page_token"], page["step_changes"][0]["created_at"]) == ("t", "1970-01-01T00:00:05Z")


def test_members_that_the_page_does_not_have_are_there_where_they_say_something() -> None:
    plain = {"errors", "warnings", "changes"}
    assert set(shown(pb.UpdateStepResponse())) == plain
    whole = pb.UpdateStepResponse(etag="e", change_id="c", truncated=True)
    whole.conflicts.add(field="a")
    whole.warnings.add(facts={"a": "b"})
    whole.warnings.add()
    assert set(shown(whole)) == plain | {"etag", "change_id", "truncated", "conflicts"}
    assert [each.get("facts") for each in shown(whole)["warnings"]] == [{"a": "b"}, None]
    assert set(shown(pb.RevertStepChangeResponse(etag="e"))) == plain | {"etag"}
    # A read that failed is an envelope.
    failed = pb.GetStepResponse()
    failed.errors.add(meta=envelope_pb2.ErrorMeta(origin=envelope_pb2.ERROR_ORIGIN_SERVICE, outcome=1))  # type: ignore[arg-type]
    assert set(shown(failed)) == plain
