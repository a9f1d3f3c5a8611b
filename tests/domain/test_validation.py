"""The limits of the contract, both sides of each."""

from typing import Any

import pytest

from service.domain.step import Provider, StepRef, StepUpdate
from service.domain.validation import id_violations, is_id, violations

MIB = 1024 * 1024


def broken(**changed: Any) -> list[str]:
    wanted = {"provider": Provider("apollo"), "customer_id": "acme", "sequence_id": "1", "sequence_step_id": "2"}
    return [each.field for each in violations(StepUpdate(**{**wanted, **changed}))]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", ["a", "a" * 255, "...", "a.b", ".a", "~-_"])
def test_an_id_is_one_segment_of_a_path(value: str) -> None:
    assert broken(sequence_id=value, sequence_step_id=value) == []


@pytest.mark.parametrize("value", ["", "a" * 256, ".", "..", "a/b", "a b", "é", "a\n"])
def test_what_is_no_segment_is_no_id(value: str) -> None:
    assert broken(sequence_id=value) == ["sequence_id"]
    assert broken(sequence_step_id=value) == ["sequence_step_id"]


def test_nothing_is_no_id() -> None:
    assert not is_id("")


READ, UNREAD = "a" * 32, "-"


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"variant": "9", "subject": "a"}, []),
        ({"variant": "9", "body": "a"}, []),
        ({"variant": "9", "custom_fields": {"a": 1}}, ["variant"]),
        ({"etag": "9", "subject": "a"}, ["etag"]),
        ({"etag": "9", "variant": "9"}, ["variant", "etag"]),
        ({"etag": f"{READ}.{UNREAD}", "subject": "a"}, []),
        ({"etag": f"{READ}.{UNREAD}", "custom_fields": {"a": 1}}, ["etag"]),
        ({"etag": f"{UNREAD}.{READ}", "body": "a"}, ["etag"]),
        ({"etag": f"{UNREAD}.{READ}", "custom_fields": {"a": 1}}, []),
        ({"etag": f"{UNREAD}.{UNREAD}", "subject": "a", "custom_fields": {"a": 1}}, ["etag", "etag"]),
    ],
)
def test_a_precondition_is_about_what_is_written(given: dict[str, Any], fields: list[str]) -> None:
    assert broken(**given) == fields


def test_what_a_provider_had_can_be_set_back_whatever_the_rules_are() -> None:
    odd: dict[str, Any] = {"subject": "a\nb", "body": "x" * (5 * MIB + 1), "custom_fields": {"": 1}}
    assert broken(reverts="c-1", variant="9", **odd) == []
    assert broken(reverts="c-1", sequence_id="", **odd) == ["sequence_id"]
    assert len(broken(**odd)) == 3


def test_a_sequence_has_no_step() -> None:
    named = StepRef(Provider("apollo"), "acme", "", "")
    assert [each.field for each in id_violations(named)] == ["sequence_id", "sequence_step_id"]
    assert [each.field for each in id_violations(named, is_sequence=True)] == ["sequence_id"]


@pytest.mark.parametrize(("subject", "is_broken"), [("s" * 998, False), ("s" * 999, True), ("a\nb", True), ("", False)])
def test_a_subject_is_one_line_of_998_characters(subject: str, is_broken: bool) -> None:  # noqa: FBT001
    assert broken(subject=subject) == ["record.template.subject"] * is_broken


@pytest.mark.parametrize("character", ["b", "é", "\U0001f600"])
def test_a_body_has_five_mebibytes_of_utf_8(character: str) -> None:
    most = 5 * MIB // len(character.encode())
    assert broken(body=character * most) == []
    assert broken(body=character * (most + 1)) == ["record.template.body"]


def test_custom_fields_have_64_kibibytes_of_json() -> None:
    most = 64 * 1024 - len('{"a":""}')
    assert broken(custom_fields={"a": "x" * most}) == []
    assert broken(custom_fields={"a": "x" * (most + 1)}) == ["record.custom_fields"]


@pytest.mark.parametrize(("levels", "is_broken"), [(15, False), (16, True), (10_000, True)])
def test_custom_fields_have_16_levels_with_their_own(levels: int, is_broken: bool) -> None:  # noqa: FBT001
    assert broken(custom_fields={"a": nested(levels)}) == ["record.custom_fields"] * is_broken


@pytest.mark.parametrize(("name", "is_broken"), [("n" * 255, False), ("n" * 256, True), ("", True), ("a\x7f", True)])
def test_a_name_of_a_custom_field_has_255_characters(name: str, is_broken: bool) -> None:  # noqa: FBT001
    found = broken(custom_fields={name: 1, "good": 2})
    assert [each.partition(".custom_fields")[0] for each in found] == ["record"] * is_broken
