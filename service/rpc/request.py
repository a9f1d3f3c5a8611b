"""The contract's request to the domain's types."""

import math
from operator import itemgetter

from engagement.v1 import sequence_step_service_pb2
from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError

from service.domain.errors import Violation, invalid
from service.domain.json_value import JsonValue, whole
from service.domain.step import CUSTOM_FIELDS, Provider, StepUpdate


def parse_request(data: bytes, provider: Provider, customer_id: str) -> StepUpdate:
    """The update that a serialized `UpdateStepRequest` asks for.

    Raises:
        CallRefused: The bytes are no such message, or a value in it cannot be represented.
    """
    try:
        request = sequence_step_service_pb2.UpdateStepRequest.FromString(data)
    except DecodeError:
        raise invalid(
            [Violation("request", "Is not an engagement.v1.UpdateStepRequest, or is nested too deeply.")]
        ) from None
    if not request.HasField("record"):
        raise invalid([Violation("record", "Required: the values to set; an empty one changes nothing.")])
    record = request.record
    template = record.template
    violations: list[Violation] = []
    fields = {
        key: _from_value(value, f"record.{CUSTOM_FIELDS}.{key}", violations)
        # A protobuf map has no order; one that is always the same makes the same call cause the same requests.
        for key, value in sorted(record.custom_fields.fields.items(), key=itemgetter(0))
    }
    if violations:
        raise invalid(violations)
    return StepUpdate(
        provider=provider,
        customer_id=customer_id,
        sequence_id=request.sequence_id,
        sequence_step_id=request.sequence_step_id,
        subject=template.subject if template.HasField("subject") else None,
        body=template.body if template.HasField("body") else None,
        custom_fields=fields,
        validate_only=request.validate_only,
    )


def _from_value(value: struct_pb2.Value, path: str, violations: list[Violation]) -> JsonValue:
    match value.WhichOneof("kind"):
        case "number_value":
            return _from_number(value.number_value, path, violations)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return {
                key: _from_value(member, f"{path}.{key}", violations)
                for key, member in value.struct_value.fields.items()
            }
        case "list_value":
            return [
                _from_value(item, f"{path}[{index}]", violations) for index, item in enumerate(value.list_value.values)
            ]
        case _:
            return None


def _from_number(number: float, path: str, violations: list[Violation]) -> int | float | None:
    if not math.isfinite(number):
        violations.append(Violation(path, "Must be a finite number; JSON has no other."))
        return None
    return whole(number)
