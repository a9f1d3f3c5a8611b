"""JSON values: their type, and how two of them compare."""

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

JsonValue: TypeAlias = Any
"""A value as JSON has it: None, bool, int, float, str, a list, or a dict with str keys."""


EXACT_INTEGERS: Final = 2**53
"""Doubles hold every integer up to here."""


def int_if_whole(number: float) -> int | float:
    """The number as an integer if it is whole and exact; a `Struct` has doubles only, and providers distinguish 3 from 3.0."""
    return int(number) if number.is_integer() and abs(number) <= EXACT_INTEGERS else number


_MAX_KEY_CHARACTERS: Final = 64
_MAX_PATH_CHARACTERS: Final = 200


def json_path(parts: Iterable[str | int]) -> str:
    """The path of a part of a JSON value, such as `custom_fields.a[0]`; long keys and long paths are cut."""
    path = ""
    for part in parts:
        if len(path) > _MAX_PATH_CHARACTERS:
            return f"{path[:_MAX_PATH_CHARACTERS]}…"
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            key = part if len(part) <= _MAX_KEY_CHARACTERS else f"{part[:_MAX_KEY_CHARACTERS]}…"
            path = f"{path}.{key}" if path else key
    return path


def depth(value: JsonValue) -> int:
    """How deep a JSON value is nested: 0 for a scalar, 1 for a flat object or array."""
    deepest, level = 0, [value]
    while containers := [item for item in level if isinstance(item, dict | list)]:
        deepest += 1
        level = []
        for container in containers:
            level.extend(container.values() if isinstance(container, dict) else container)
    return deepest


def json_equal(left: JsonValue, right: JsonValue) -> bool:
    """Whether two JSON values are the same; unlike Python's, `true` is not 1 here."""
    if type(left) is str:  # as nearly all are
        return left == right  # type: ignore[no-any-return]
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(json_equal(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(json_equal, left, right))
    return bool(left == right)
