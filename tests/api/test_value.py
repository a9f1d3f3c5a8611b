"""JSON values to and from `google.protobuf.Value`."""

import math
from typing import Any

import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from service.api.value import (
    CUT,
    MAX_LEVELS,
    TooManyValues,
    encodable,
    fill_value,
    struct_to_json,
    to_json,
    unrepresentable,
)
from service.domain.json_value import depth, json_equal

EXACT = 2**53
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
FLOATS = st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: not EXACT <= abs(x) <= 2.0**64)
EXACT_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(1 - EXACT, EXACT - 1) | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def filled(content: Any, max_string_bytes: int | None = None) -> struct_pb2.Value:
    value = struct_pb2.Value()
    fill_value(value, content, max_string_bytes)
    return struct_pb2.Value.FromString(value.SerializeToString())


def broken(content: Any) -> list[str]:
    return [path for path, _ in unrepresentable(content, "a", limit=20)]


@given(EXACT_VALUES)
def test_every_representable_value_comes_back_equal(content: Any) -> None:
    assert not broken(content)
    assert json_equal(to_json(filled(content)), content)


@pytest.mark.parametrize(
    ("number", "kind"), [(3.0, int), (-0.0, int), (float(EXACT), int), (3.5, float), (2.0**54, float), (True, bool)]
)
def test_whole_numbers_become_integers(number: float, kind: type) -> None:
    assert type(to_json(filled(number))) is kind


def test_a_value_without_a_kind_is_null() -> None:
    assert to_json(struct_pb2.Value()) is None


@pytest.mark.parametrize("content", [{}, []])
def test_empty_objects_and_arrays_keep_their_kind(content: Any) -> None:
    assert to_json(filled(content)) == content


def test_numbers_that_a_double_cannot_show_become_strings() -> None:
    contents = [EXACT + 1, -EXACT - 1, math.inf, -math.inf, math.nan]
    assert to_json(filled(contents)) == ["9007199254740993", "-9007199254740993", "inf", "-inf", "nan"]


def test_lone_surrogates_are_replaced_in_texts_and_keys() -> None:
    assert to_json(filled({"k\ud800": "v\udfff"})) == {"k?": "v?"}


@pytest.mark.parametrize("character", ["x", "\x01", "é", "\U0001f600", "\ud800"])
def test_long_strings_are_cut_at_a_character_and_say_so(character: str) -> None:
    value = struct_pb2.Value()
    assert fill_value(value, [character * 100], 64)
    [shown] = to_json(value)
    assert shown.endswith(CUT)
    assert 56 < len(shown.encode()) <= 64


@pytest.mark.parametrize("text", ["x" * 64, "é" * 32])
def test_a_text_of_just_the_limit_is_not_cut(text: str) -> None:
    assert encodable(text, 64) == text


@pytest.mark.parametrize(
    "content",
    [EXACT, EXACT + 1, -EXACT, float(EXACT + 2), 2.0**63, math.nan, math.inf, "\ud800", {1, 2}, b"x", object()],
)
def test_what_a_value_cannot_hold_is_found_with_its_path(content: Any) -> None:
    assert broken({"b": [0, {"c": content}], "d": "é"}) == ["a.b[1].c"]


def test_every_broken_part_is_found() -> None:
    assert broken({"b": [math.nan, math.inf], "c": {1: "x"}}) == ["a.b[0]", "a.b[1]", "a.c"]


@pytest.mark.parametrize("levels", [21, 60, 400])
def test_what_is_nested_deeper_than_readers_go_is_cut(levels: int) -> None:
    content: Any = "deep"
    for number in range(levels):
        content = [content] if number % 2 else {"a": content}
    value = struct_pb2.Value()
    fill_value(value, content)
    again = struct_pb2.Value.FromString(value.SerializeToString())
    assert depth(to_json(again)) == MAX_LEVELS
    assert CUT in str(to_json(again))


@pytest.mark.parametrize("levels", [19, 20, 21])
def test_twenty_levels_are_kept(levels: int) -> None:
    content: Any = 1
    for _ in range(levels):
        content = [content]
    value = struct_pb2.Value()
    assert fill_value(value, content) is (levels > 20)
    assert json_equal(to_json(value), content) is (levels <= 20)


@pytest.mark.parametrize("content", [["x" * 65], {"a": ["x" * 65]}, [["y"], "x" * 65, "z"], {"a": "x" * 65, "b": 1}])
def test_a_cut_anywhere_is_said(content: Any) -> None:
    assert fill_value(struct_pb2.Value(), content, 65) is False
    assert fill_value(struct_pb2.Value(), content, 64) is True


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_broken_parts_are_looked_for_up_to_a_number(limit: int) -> None:
    content = {"b": [math.nan, math.inf], "c": math.nan, "d": {"e": math.inf}}
    assert len(unrepresentable(content, "a", limit)) == limit


@pytest.mark.parametrize(("count", "is_too_many"), [(6, False), (5, True)])
def test_a_struct_has_so_many_values(count: int, is_too_many: bool) -> None:  # noqa: FBT001
    struct = struct_pb2.Struct()
    struct.update({"b": [1, {"x": 2}], "a": 3, "c": None})
    if is_too_many:
        with pytest.raises(TooManyValues):
            struct_to_json(struct, count)
    else:
        members, is_doubtful = struct_to_json(struct, count)
        assert (list(members.items()), is_doubtful) == ([("a", 3), ("b", [1, {"x": 2}]), ("c", None)], False)


@pytest.mark.parametrize(
    ("number", "is_doubtful"),
    [
        (EXACT - 1, False),
        (1 - EXACT, False),
        *((number, True) for number in (EXACT, -EXACT, 2 * EXACT, -2 * EXACT, math.inf, -math.inf, math.nan)),
    ],
)
def test_a_number_at_the_end_of_exactness_is_doubtful(number: float, is_doubtful: bool) -> None:  # noqa: FBT001
    struct = struct_pb2.Struct()
    struct.fields["a"].number_value = number
    assert struct_to_json(struct, 1)[1] is is_doubtful
