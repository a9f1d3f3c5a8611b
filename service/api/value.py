"""Converts between JSON values and `google.protobuf.Value`; the only place that does.

Protobuf's own `json_format` does not serve: it makes 3.0 of 3, fails on what a Value cannot hold, and does not say where.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Final

from google.protobuf import struct_pb2

from service.domain.json_value import EXACT_INTEGERS, JsonValue, int_if_whole

CUT: Final = "… [cut]"
"""Ends a text that was too long."""

MAX_LEVELS: Final = 20
"""Deepest nesting of objects and arrays; readers of protobuf stop at about thirty levels of `google.protobuf.Value`."""

_CUT_BYTES: Final = len(CUT.encode())


def to_json(value: struct_pb2.Value) -> JsonValue:
    """The JSON value that a Value holds: whole numbers as integers, a Value without a kind as null.

    NaN and the infinities, which JSON does not have, stay as they are; `unrepresentable` finds them.
    """
    match value.WhichOneof("kind"):
        case "number_value":
            return int_if_whole(value.number_value)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return {key: to_json(member) for key, member in value.struct_value.fields.items()}
        case "list_value":
            return [to_json(item) for item in value.list_value.values]
        case _:
            return None


def fill_value(
    value: struct_pb2.Value, content: JsonValue, max_string_bytes: int | None = None, levels: int = MAX_LEVELS
) -> None:
    """Sets a Value to a JSON value, or to the nearest that it can hold.

    Integers beyond ±2^53 and numbers that are not finite become strings. Lone surrogates are replaced.

    Args:
        value: What to set.
        content: The JSON value; mappings and tuples do for objects and arrays.
        max_string_bytes: Longer strings are cut, and say so; None for no limit.
        levels: How many levels of objects and arrays are kept; what is deeper is cut, and says so.
    """
    match content:
        case None:
            value.null_value = struct_pb2.NULL_VALUE
        case bool():
            value.bool_value = content
        case str():
            value.string_value = encodable(content, max_string_bytes)
        case int() | float():
            _fill_number(value, content, max_string_bytes)
        case Mapping() | list() | tuple() if levels == 0:
            value.string_value = CUT
        case Mapping():
            value.struct_value.SetInParent()
            for key, member in content.items():
                fill_value(value.struct_value.fields[encodable(key)], member, max_string_bytes, levels - 1)
        case _:
            value.list_value.SetInParent()
            for item in content:
                fill_value(value.list_value.values.add(), item, max_string_bytes, levels - 1)


def _fill_number(value: struct_pb2.Value, number: float, max_string_bytes: int | None) -> None:
    # A double would show another number.
    if isinstance(number, int) and abs(number) > EXACT_INTEGERS:
        value.string_value = encodable(str(number), max_string_bytes)
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


def unrepresentable(content: JsonValue, path: str) -> Iterator[tuple[str, str]]:
    """Finds the parts that JSON does not have or that a Value cannot hold exactly, so that they can be refused.

    Args:
        content: A JSON value, or what a caller takes for one.
        path: Where it is, such as `custom_fields`.

    Yields:
        The path of each such part, and the rule that it breaks.
    """
    match content:
        case Mapping():
            for key, member in content.items():
                if not isinstance(key, str):
                    yield path, "Must have strings as keys."
                yield from unrepresentable(member, f"{path}.{key}")
        case list() | tuple():
            for index, item in enumerate(content):
                yield from unrepresentable(item, f"{path}[{index}]")
        case _:
            if rule := _broken_rule(content):
                yield path, rule


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
