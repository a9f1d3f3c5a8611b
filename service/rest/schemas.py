"""The JSON of the REST page: its body to an update, and the envelope to its answer."""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Final

import msgspec
from engagement.v1 import envelope_pb2, sequence_step_service_pb2
from google.protobuf import struct_pb2

from service.api.metadata import CallMetadata
from service.domain.errors import CallRefused, ErrorCode, Problem, Violation, invalid
from service.domain.json_value import JsonValue, whole
from service.domain.step import CUSTOM_FIELDS, StepUpdate

_ORIGINS: Final = {
    envelope_pb2.ERROR_ORIGIN_REMOTE_PROVIDER: "remote-provider",
    envelope_pb2.ERROR_ORIGIN_SERVICE: "supaglue",
}
ORIGINS: Final = tuple(_ORIGINS.values())
"""Who found fault with a call, in the words of the REST page."""

_OUTCOMES: Final = {
    envelope_pb2.ERROR_OUTCOME_NOT_APPLIED: "not-applied",
    envelope_pb2.ERROR_OUTCOME_UNKNOWN: "unknown",
    envelope_pb2.ERROR_OUTCOME_PARTIALLY_APPLIED: "partially-applied",
}
OUTCOMES: Final = tuple(_OUTCOMES.values())
"""What became of the step."""

_INT64: Final = range(-(2**63), 2**64)
_BOOLEANS: Final = {"true": True, "false": False}


def parse_body(
    data: bytes, told: CallMetadata, sequence_id: str, sequence_step_id: str, *, validate_only: bool
) -> StepUpdate:
    """The update that the body of a request asks for.

    Members that the page does not know are ignored. One that it knows has to have the type that it gives; null is none.

    Raises:
        CallRefused: The body is no JSON, or a value has the wrong type. All that is wrong is named.
    """
    try:
        body = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise malformed(f"The body is not JSON in UTF-8: {error}.") from None
    except RecursionError:
        raise malformed("The body is nested too deeply.") from None
    wrong: list[Violation] = []
    record = _member({"body": body}, "", "body", dict, wrong)
    record = None if record is None else _member(record, "", "record", dict, wrong, required=True)
    template = {} if record is None else _member(record, "record.", "template", dict, wrong) or {}
    update = StepUpdate(
        provider=told.provider,
        customer_id=told.customer_id,
        sequence_id=sequence_id,
        sequence_step_id=sequence_step_id,
        subject=_member(template, "record.template.", "subject", str, wrong),
        body=_member(template, "record.template.", "body", str, wrong),
        custom_fields=_custom_fields(record or {}, wrong),
        validate_only=validate_only,
    )
    if wrong:
        raise invalid(wrong)
    return update


_KINDS: Final[Mapping[type, str]] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def _member(
    held: Mapping[str, JsonValue],
    where: str,
    name: str,
    kind: type,
    wrong: list[Violation],
    *,
    required: bool = False,
) -> Any:
    """A member of an object; None if it is not there, or wrong."""
    if name not in held:
        if required:
            wrong.append(Violation(where + name, "Required: the values to set; an empty one changes nothing."))
        return None
    value = held[name]
    if isinstance(value, kind):
        return value
    wrong.append(
        Violation(where + name, f"Must be {_KINDS[kind]}, and is {_KINDS[type(value)]}. Leave out what is to stay.")
    )
    return None


def _custom_fields(record: Mapping[str, JsonValue], wrong: list[Violation]) -> Mapping[str, JsonValue]:
    fields = _member(record, "record.", CUSTOM_FIELDS, dict, wrong) or {}
    name = f"record.{CUSTOM_FIELDS}"
    try:
        # In one order, as at the gRPC door, so that the same call causes the same requests.
        return {key: _value(value, f"{name}.{key}", wrong) for key, value in sorted(fields.items(), key=itemgetter(0))}
    except RecursionError:
        wrong.append(Violation(name, "Is nested too deeply."))
        return {}


def _value(value: JsonValue, path: str, wrong: list[Violation]) -> JsonValue:
    match value:
        case float():
            return whole(value)
        case int() if value not in _INT64:
            wrong.append(Violation(path, "Must be an integer of at most 64 bits."))
            return None
        case dict():
            return {key: _value(member, f"{path}.{key}", wrong) for key, member in value.items()}
        case list():
            return [_value(item, f"{path}[{index}]", wrong) for index, item in enumerate(value)]
        case _:
            return value


def parse_flag(name: str, given: list[str]) -> bool:
    """A flag of the query; false if it is not given.

    Raises:
        CallRefused: It is neither `true` nor `false`, or both.
    """
    if not given:
        return False
    if len(set(given)) > 1 or given[0] not in _BOOLEANS:
        raise invalid([Violation(name, "Must be `true` or `false`, once.")])
    return _BOOLEANS[given[0]]


def malformed(detail: str) -> CallRefused:
    """The refusal of a request that is not one of this door's."""
    return CallRefused(Problem(ErrorCode.BAD_REQUEST, detail))


def render(response: sequence_step_service_pb2.UpdateStepResponse) -> bytes:
    """The envelope in the JSON of the REST page, with `changes` and the new members of `meta` beside its own."""
    return msgspec.json.encode(
        {
            "errors": [_error(error) for error in response.errors],
            "warnings": [
                {"detail": warning.detail, "problem_type": warning.problem_type, "title": warning.title}
                for warning in response.warnings
            ],
            "changes": [
                {"field": change.field, "before": _json(change.before), "after": _json(change.after)}
                for change in response.changes
            ],
        }
    )


def _error(error: envelope_pb2.Error) -> dict[str, JsonValue]:
    meta: dict[str, JsonValue] = {}
    held = error.meta
    if held.HasField("cause"):
        meta["cause"] = {
            "code": held.cause.code,
            "body": _json(held.cause.body),
            "headers": dict(held.cause.headers),
        }
    meta |= {
        "origin": _ORIGINS[held.origin],
        "application_name": held.application_name,
        "outcome": _OUTCOMES[held.outcome],
        "request_id": held.request_id,
    }
    if held.HasField("retry_after"):
        meta["retry_after"] = whole(held.retry_after.ToMilliseconds() / 1000)
    return {
        "id": error.id,
        "detail": error.detail,
        # Deprecated in the contract, and a member of the page.
        "problem_type": error.code,
        "title": error.title,
        "code": error.code,
        "status": error.status,
        "meta": meta,
    }


def _json(value: struct_pb2.Value) -> JsonValue:
    match value.WhichOneof("kind"):
        case "number_value":
            return whole(value.number_value)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return {key: _json(member) for key, member in value.struct_value.fields.items()}
        case "list_value":
            return [_json(item) for item in value.list_value.values]
        case _:
            return None
