"""A record of each call, and the log line that is made of it."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
import structlog

from service.observability.sent_requests import SentRequest

log: Final = structlog.get_logger("service.call_log")

SERVICE: Final = "engagement.v1.SequenceStepService"
"""The service that calls are of, over gRPC, if nothing else is said."""

SUCCEEDED: Final = "succeeded"
"""What is said of a call without errors."""

_IF_GIVEN: Final = (
    "application",
    "customer",
    "provider",
    "sequence",
    "step",
    "grpc_status",
    "http_status",
    "code",
    "error_id",
    "refusal",
    "warnings",
    "is_retry",
)


class CallRecord(msgspec.Struct, frozen=True):
    """How a call ended. Has no credential and nothing of a template's text.

    Attributes:
        request_id: The id of the call.
        application: The name of the caller; empty if unknown.
        customer: The caller's id of its customer, as given.
        provider: The provider, if known.
        sequence: The sequence that was named, if the request was read and the id is one.
        step: The step that was named, likewise.
        validate_only: Whether nothing was to be written.
        is_retry: Whether the call said that it repeats an earlier attempt.
        peer: The address that the call came from.
        grpc_status: The name of the gRPC status; empty over HTTP.
        http_status: The HTTP status, 499 if the caller went away; 0 over gRPC.
        code: The code of the first error; empty on success.
        outcome: What became of the step, on failure and where the caller went away; `applied` is said only there.
        error_id: The id of the first error.
        method: The method of the contract, over gRPC and over HTTP.
        refusal: Which limit of this service refused the call, as `domain.errors.Problem` names it; empty if none.
        warnings: The types of the warnings.
        provider_calls: Requests that were sent to the provider for the update.
        requests: All requests that were sent for the call, those for tokens too.
        seconds: How long the call took.
        service: The full name of the service that the method is of.
        method: The method that was called.
    """

    request_id: str
    application: str
    customer: str
    provider: str
    grpc_status: str
    http_status: int
    code: str
    outcome: str
    error_id: str
    provider_calls: int
    seconds: float
    sequence: str = ""
    step: str = ""
    validate_only: bool = False
    is_retry: bool = False
    peer: str = ""
    warnings: Sequence[str] = ()
    requests: Sequence[SentRequest] = ()
    refusal: str = ""
    service: str = SERVICE
    method: str = "UpdateStep"


class CallLog(Protocol):
    """Takes a record of each call: a log, metrics."""

    def record(self, record: CallRecord) -> None:
        """Takes one."""


class StructuredCallLog:
    """Writes one log line for each call."""

    def record(self, record: CallRecord) -> None:
        """Writes the line, without the fields that are empty."""
        attempts = 0
        for request in record.requests:
            attempts = max(attempts, request.attempt)
        fields: dict[str, object] = {
            "request_id": record.request_id,
            "method": record.method,
            "peer": record.peer,
            "validate_only": record.validate_only,
            "outcome": record.outcome or SUCCEEDED,
            "provider_calls": record.provider_calls,
            "attempts": attempts,
            "provider_requests": record.requests,
            "ms": round(record.seconds * 1000, 3),
        }
        for name in _IF_GIVEN:
            value = getattr(record, name)
            if value:
                fields[name] = value
        log.info("call", **fields)
