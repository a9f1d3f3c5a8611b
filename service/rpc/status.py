"""Makes gRPC statuses of failures, with details that programs can read."""

import math
from collections.abc import Sequence
from typing import Final

import grpc
from engagement.v1 import sequence_step_service_pb2
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from service.api.envelope import fit
from service.domain.errors import CODES, ErrorCode, Problem, Violation

DOMAIN: Final = "seqstep"
"""The `domain` of `google.rpc.ErrorInfo`: who defines its `reason`."""

MAX_ENVELOPE_BYTES: Final = 4 * 1024
"""Longest envelope in a status: many clients refuse trailers of more than 8 KiB, and base64 adds a third."""

_MAX_MESSAGE_CHARACTERS: Final = 500
_MAX_VIOLATIONS: Final = 20
_MAX_VIOLATION_CHARACTERS: Final = 200


def grpc_code(code: ErrorCode) -> grpc.StatusCode:
    """The gRPC status of an error code."""
    return grpc.StatusCode[CODES[code].grpc_status]


def status_details(
    problem: Problem,
    violations: Sequence[Violation],
    response: sequence_step_service_pb2.UpdateStepResponse,
) -> tuple[str, bytes]:
    """The message of a status and its serialized `google.rpc.Status`.

    Args:
        problem: The first problem, which the status stands for.
        violations: The parts of the call that break a rule.
        response: The envelope, which is shortened to fit.
    """
    spec = CODES[problem.code]
    message = problem.detail
    if len(message) > _MAX_MESSAGE_CHARACTERS:
        message = message[:_MAX_MESSAGE_CHARACTERS] + "…"
    status = status_pb2.Status(code=code_pb2.Code.Value(spec.grpc_status), message=message)
    _pack(status, fit(response, MAX_ENVELOPE_BYTES))
    info = {"http_status": str(spec.http_status), "outcome": problem.outcome.value, "origin": problem.origin.value}
    _pack(status, error_details_pb2.ErrorInfo(reason=problem.code.value, domain=DOMAIN, metadata=info))
    if violations:
        bad = error_details_pb2.BadRequest()
        for violation in violations[:_MAX_VIOLATIONS]:
            bad.field_violations.add(field=_shortened(violation.field), description=_shortened(violation.description))
        _pack(status, bad)
    if problem.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(math.ceil(problem.retry_after * 1000))
        _pack(status, retry)
    return message, status.SerializeToString()


def _shortened(text: str) -> str:
    return text.encode("utf-8", "replace").decode()[:_MAX_VIOLATION_CHARACTERS]


def _pack(status: status_pb2.Status, message: Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(message)
    status.details.append(packed)
