"""JSON values: which numbers are whole, and how the path of a part is written."""

import pytest

from service.domain.json_value import int_if_whole, json_equal, json_path


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (3.0, "3"),
        (-2.0, "-2"),
        (2.5, "2.5"),
        (2.0**53, str(2**53)),
        (-(2.0**53), str(-(2**53))),
        (2.0**53 + 2, "9007199254740994.0"),
    ],
)
def test_a_number_is_whole_as_far_as_doubles_are_exact(number: float, shown: str) -> None:
    assert str(int_if_whole(number)) == shown


def test_a_path_names_members_and_places() -> None:
    assert json_path(["custom_fields", "a", 0, "b", 12]) == "custom_fields.a[0].b[12]"
    assert json_path([0, "a"]) == "[0].a"
    assert json_path([]) == ""


def test_long_keys_and_long_paths_are_cut() -> None:
    assert json_path(["k" * 64]) == "k" * 64
    assert json_path(["k" * 65]) == "k" * 64 + "…"
    whole = ["a" * 64, "b" * 64, "c" * 64, "d" * 5]
    assert json_path([*whole, "e"]) == ".".join([*whole, "e"])
    assert json_path([*whole, "e", "f"]) == ".".join([*whole, "e"])[:200] + "…"


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (True, True, True),
        (True, False, False),
        (1, True, False),
        ([1, [2]], [1, [2]], True),
        ([1, 2], [1], False),
        ([1], [1, 2], False),
        ([1, 2], [1, 3], False),
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
        ({"a": 1}, {"b": 1}, False),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, False),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ({"a": 1}, [1], False),
        ([], {}, False),
        (None, 0, False),
        ("a", "b", False),
        ("b", "a", False),
    ],
)
def test_values_are_compared_as_json_has_them(left: object, right: object, same: bool) -> None:  # noqa: FBT001
    assert json_equal(left, right) is same
    assert json_equal(right, left) is same
