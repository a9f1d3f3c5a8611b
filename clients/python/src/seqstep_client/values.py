"""JSON values, and how they become a `google.protobuf.Value` and back.

Protobuf's own `json_format` does not serve: it makes 3.0 of 3, and does not say which part a Value cannot hold.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from google.protobuf import struct_pb2

JsonValue: TypeAlias = Any
"""A value as JSON has it: None, bool, int, float, str, a list, or a dict with str keys."""

_EXACT_INTEGERS: Final = 2**53
_NOT_EXACT: Final = (
    "Must be within ±(2^53 - 1), since a double does not hold larger integers exactly. Send it as a string, or over HTTP, "
    "where it is exact."
)
_MAX_KEY_CHARACTERS: Final = 64
_MAX_PATH_CHARACTERS: Final = 200


class InvalidArgument(ValueError):
    """A value of a call cannot be sent, so that nothing was; the message names it and does not quote it."""


def to_json(value: struct_pb2.Value) -> JsonValue:
    """The JSON value that a Value holds: whole numbers as integers, a Value without a kind as null."""
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) <= _EXACT_INTEGERS else number
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


def fill_value(value: struct_pb2.Value, content: JsonValue, path: str) -> None:
    """Sets a Value to a JSON value; mappings and tuples do for objects and arrays.

    Args:
        value: What to set.
        content: The JSON value, or what a caller takes for one.
        path: Where it is, such as `custom_fields.owner`.

    Raises:
        InvalidArgument: A part of it is no JSON value, or one that a Value cannot hold exactly.
    """
    match content:
        case None:
            value.null_value = struct_pb2.NULL_VALUE
        case bool():
            value.bool_value = content
        case str():
            value.string_value = sendable(content, path)
        case int() | float():
            value.number_value = _double(content, path)
        case Mapping():
            value.struct_value.SetInParent()
            fill_fields(value.struct_value, content, path)
        case list() | tuple():
            value.list_value.SetInParent()
            for index, item in enumerate(content):
                fill_value(value.list_value.values.add(), item, f"{path}[{index}]")
        case _:
            raise _invalid(path, f"Must be a JSON value; {type(content).__name__} is none.")


def fill_fields(struct: struct_pb2.Struct, content: Mapping[str, JsonValue], path: str) -> None:
    """Sets the fields of a Struct to the members of a JSON object.

    Raises:
        InvalidArgument: As `fill_value`.
    """
    for key, member in content.items():
        if not isinstance(key, str):
            raise _invalid(path, "Must have strings as keys.")
        inner = f"{path}.{key if len(key) <= _MAX_KEY_CHARACTERS else key[:_MAX_KEY_CHARACTERS] + '…'}"
        fill_value(struct.fields[sendable(key, inner)], member, inner)


def sendable(text: str, path: str) -> str:
    """The text itself.

    Raises:
        InvalidArgument: UTF-8 cannot hold it.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _invalid(path, "Must not have lone surrogates, which UTF-8 does not have.") from None
    return text


def _double(number: float, path: str) -> float:
    if isinstance(number, int):
        if abs(number) >= _EXACT_INTEGERS:
            raise _invalid(path, _NOT_EXACT)
    elif not math.isfinite(number):
        raise _invalid(path, "Must be a finite number; JSON has no other.")
    elif number.is_integer() and _EXACT_INTEGERS <= abs(number) <= 2.0**64:
        # It may have been another integer of 64 bits before it became a double.
        raise _invalid(path, _NOT_EXACT)
    return number


def _invalid(path: str, rule: str) -> InvalidArgument:
    shown = path if len(path) <= _MAX_PATH_CHARACTERS else f"{path[:_MAX_PATH_CHARACTERS]}…"
    return InvalidArgument(f"{shown.encode('utf-8', 'replace').decode()}: {rule}")
