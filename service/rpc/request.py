"""The contract's request to the domain's types."""

from operator import itemgetter

from engagement.v1 import sequence_step_service_pb2
from google.protobuf.message import DecodeError

from service.api.value import to_json, unrepresentable
from service.domain.errors import Violation, invalid
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
    # A protobuf map has no order; one that is always the same makes the same call cause the same requests.
    fields = {key: to_json(value) for key, value in sorted(record.custom_fields.fields.items(), key=itemgetter(0))}
    violations = [Violation(path, rule) for path, rule in unrepresentable(fields, f"record.{CUSTOM_FIELDS}")]
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
