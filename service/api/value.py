"""Converts between JSON values and `google.protobuf.Value`; the only place that does.

Protobuf's own `json_format` does not serve: it makes 3.0 of 3, fails on what a Value cannot hold, and does not say where.
"""

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.protobuf import struct_pb2

from service.domain.json_value import EXACT_INTEGERS, JsonValue, int_if_whole, json_path

CUT: Final = "… [cut]"
"""Ends a text that was too long."""

MAX_LEVELS: Final = 20
"""Deepest nesting of objects and arrays; readers of protobuf stop at about thirty levels of `google.protobuf.Value`."""

_CUT_BYTES: Final = len(CUT.encode())


class TooManyValues(Exception):
    """A JSON value has more parts than its reader takes."""


def to_json(value: struct_pb2.Value) -> JsonValue:
    """The JSON value that a Value holds: whole numbers as integers, a Value without a kind as null.

    NaN and the infinities, which JSON does not have, stay as they are; `unrepresentable` finds them.
    """
    return _Reader(sys.maxsize).read(value)


def struct_to_json(struct: struct_pb2.Struct, max_values: int) -> tuple[dict[str, JsonValue], bool]:
    """The JSON object that a Struct holds, in the order of its keys, since a protobuf map has none.

    Returns:
        The object, and whether `unrepresentable` may find something in it.

    Raises:
        TooManyValues: It has more than `max_values` parts.
    """
    reader = _Reader(max_values)
    members = reader.read_struct(struct)
    return {key: members[key] for key in sorted(members)}, reader.is_doubtful


class _Reader:
    """Reads Values, and stops at a number of parts.

    Attributes:
        is_doubtful: Whether a number is none that a double holds exactly.
    """

    def __init__(self, max_values: int) -> None:
        self.is_doubtful = False
        self._left = max_values

    def read(self, value: struct_pb2.Value) -> JsonValue:
        match value.WhichOneof("kind"):
            case "number_value":
                number = value.number_value
                # NaN is on neither side.
                if not -EXACT_INTEGERS < number < EXACT_INTEGERS:
                    self.is_doubtful = True
                return int_if_whole(number)
            case "string_value":
                return value.string_value
            case "bool_value":
                return value.bool_value
            case "struct_value":
                return self.read_struct(value.struct_value)
            case "list_value":
                items = value.list_value.values
                self._count(len(items))
                return [self.read(item) for item in items]
            case _:
                return None

    def read_struct(self, struct: struct_pb2.Struct) -> dict[str, JsonValue]:
        members = struct.fields
        self._count(len(members))
        return {key: self.read(member) for key, member in members.items()}

    def _count(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise TooManyValues


def fill_value(
    value: struct_pb2.Value, content: JsonValue, max_string_bytes: int | None = None, levels: int = MAX_LEVELS
) -> bool:
    """Sets a Value to a JSON value, or to the nearest that it can hold; returns whether something was cut.

    Integers beyond ±2^53 and numbers that are not finite become strings. Lone surrogates are replaced.

    Args:
        value: What to set.
        content: The JSON value; mappings and tuples do for objects and arrays.
        max_string_bytes: Longer strings are cut, and say so; None for no limit.
        levels: How many levels of objects and arrays are kept; what is deeper is cut, and says so.
    """
    was_cut = False
    match content:
        case None:
            value.null_value = struct_pb2.NULL_VALUE
        case bool():
            value.bool_value = content
        case str():
            text = encodable(content)
            value.string_value = kept = encodable(text, max_string_bytes)
            was_cut = kept != text
        case int() | float():
            _fill_number(value, content)
        case Mapping() | list() | tuple() if levels == 0:
            value.string_value = CUT
            was_cut = True
        case Mapping():
            value.struct_value.SetInParent()
            fields = value.struct_value.fields
            for key, member in content.items():
                was_cut |= fill_value(fields[encodable(key)], member, max_string_bytes, levels - 1)
        case _:
            value.list_value.SetInParent()
            for item in content:
                was_cut |= fill_value(value.list_value.values.add(), item, max_string_bytes, levels - 1)
    return was_cut


def _fill_number(value: struct_pb2.Value, number: float) -> None:
    # A double would show another number.
    if isinstance(number, int) and abs(number) > EXACT_INTEGERS:
        value.string_value = str(number)
    elif math.isfinite(number):
        value.number_value = number
    else:
        value.string_value = str(number)


def encodable(text: str, max_bytes: int | None = None) -> str:
    """The text as protobuf can hold it: without lone surrogates, and cut if it is longer than `max_bytes`."""
    if text.isascii():
        return text if max_bytes is None or len(text) <= max_bytes else text[: max_bytes - _CUT_BYTES] + CUT
    data = text.encode("utf-8", "replace")
    if max_bytes is not None and len(data) > max_bytes:
        return data[: max_bytes - _CUT_BYTES].decode("utf-8", "ignore") + CUT
    return data.decode()


def unrepresentable(content: JsonValue, path: str, limit: int) -> list[tuple[str, str]]:
    """Finds the parts that JSON does not have or that a Value cannot hold exactly, so that they can be refused.

    Args:
        content: A JSON value, or what a caller takes for one.
        path: Where it is, such as `custom_fields`.
        limit: How many parts are looked for.

    Returns:
        The path of each such part, and the rule that it breaks.
    """
    found: list[tuple[str, str]] = []
    _find_unrepresentable(content, [path], found, limit)
    return found


def _find_unrepresentable(content: JsonValue, path: list[str | int], found: list[tuple[str, str]], limit: int) -> None:
    """Adds the broken parts; `path` is one list that becomes a text only for these."""
    if isinstance(content, Mapping):
        members: Iterable[tuple[Any, JsonValue]] = content.items()
    elif isinstance(content, list | tuple):
        members = enumerate(content)
    else:
        if rule := _broken_rule(content):
            found.append((json_path(path), rule))
        return
    for key, member in members:
        if len(found) >= limit:
            return
        if not isinstance(key, str) and isinstance(content, Mapping):
            found.append((json_path(path), "Must have strings as keys."))
        elif not isinstance(member, _SCALARS):
            path.append(key)
            _find_unrepresentable(member, path, found, limit)
            path.pop()
        elif rule := _broken_rule(member):
            found.append((json_path([*path, key]), rule))


_SCALARS: Final = (str, int, float, type(None))
_NOT_EXACT: Final = (
    "Must be within ±(2^53 - 1), since a double does not hold larger integers exactly. Send it as a string, or over HTTP, "
    "where it is exact."
)


def _broken_rule(content: object) -> str | None:
    match content:
        case None | bool():
            return None
        case str():
            is_text = content.isascii() or encodable(content) == content
            return None if is_text else "Must not have lone surrogates, which UTF-8 does not have."
        case int():
            return None if abs(content) < EXACT_INTEGERS else _NOT_EXACT
        case float():
            if not math.isfinite(content):
                return "Must be a finite number; JSON has no other."
            # A whole number of this size may have been another integer of 64 bits before it became a double.
            return _NOT_EXACT if content.is_integer() and EXACT_INTEGERS <= abs(content) <= 2.0**64 else None
        case _:
            return f"Must be a JSON value; {type(content).__name__} is none."
