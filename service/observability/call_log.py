"""A record of each call, and the log line that is made of it."""

from typing import Final, Protocol

import msgspec
import structlog

log: Final = structlog.get_logger("service.call_log")


class CallRecord(msgspec.Struct, frozen=True):
    """How a call ended. Has no credential and nothing of a template's text.

    Attributes:
        request_id: The id of the call.
        application: The name of the caller; empty if unknown.
        customer: The caller's id of its customer, as given.
        provider: The provider, if known.
        grpc_status: The name of the gRPC status; empty over HTTP.
        http_status: The HTTP status, 499 if the caller went away; 0 over gRPC.
        code: The code of the first error; empty on success.
        outcome: What became of the step, on failure and where the caller went away; `applied` is said only there.
        error_id: The id of the first error.
        provider_calls: Requests that were sent to the provider.
        seconds: How long the call took.
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


class CallLog(Protocol):
    """Takes a record of each call: a log, metrics."""

    def record(self, record: CallRecord) -> None:
        """Takes one."""


class StructuredCallLog:
    """Writes one log line for each call."""

    def record(self, record: CallRecord) -> None:
        """Writes the line, without the fields that are empty."""
        fields: dict[str, object] = {
            "request_id": record.request_id,
            "application": record.application,
            "customer": record.customer,
            "provider": record.provider,
            "grpc_status": record.grpc_status,
            "http_status": record.http_status,
            "code": record.code,
            "outcome": record.outcome,
            "error_id": record.error_id,
        }
        log.info(
            "call",
            **{name: value for name, value in fields.items() if value},
            provider_calls=record.provider_calls,
            ms=round(record.seconds * 1000, 3),
        )
