"""The client library: one call that changes a step, with a result or an exception for each way to fail.

    from service.client import Client, NotApplied, StepUpdate

    with Client("127.0.0.1:50051", api_key=key) as client:
        try:
            result = client.update_step(
                StepUpdate(sequence_id="7", sequence_step_id="21", subject="Hello"),
                customer_id="acme",
                provider="outreach",
            )
        except NotApplied as failure:
            print(failure.code, failure, failure.retry_after)
        else:
            print(result.changes, result.warnings)

`AsyncClient` is the same with `async with` and `await`. Needs nothing of the service but its generated stubs.
"""

from service.client.calls import AsyncClient, Client
from service.client.channel import Tls
from service.client.failures import (
    CallRefused,
    Cause,
    ErrorDetail,
    NotApplied,
    Origin,
    Outcome,
    OutcomeUnknown,
    PartiallyApplied,
    Unauthenticated,
    Unavailable,
    UpdateFailed,
    Violation,
)
from service.client.updates import FieldChange, JsonValue, StepUpdate, StepWarning, UpdateResult

__all__ = [
    "AsyncClient",
    "CallRefused",
    "Cause",
    "Client",
    "ErrorDetail",
    "FieldChange",
    "JsonValue",
    "NotApplied",
    "Origin",
    "Outcome",
    "OutcomeUnknown",
    "PartiallyApplied",
    "StepUpdate",
    "StepWarning",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "UpdateFailed",
    "UpdateResult",
    "Violation",
]
