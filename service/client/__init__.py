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

A value that cannot be sent is `InvalidArgument`, a `ValueError`, before anything is. `AsyncClient` is the same with `async with` and `await`. Imports none of the servers' code.
"""

from service.client.channel import Tls
from service.client.client import AsyncClient, Client
from service.client.failures import (
    CallRefused,
    Cause,
    ErrorDetail,
    NotApplied,
    OutcomeUnknown,
    PartiallyApplied,
    Unauthenticated,
    Unavailable,
    UpdateFailed,
)
from service.client.messages import InvalidArgument
from service.client.updates import StepUpdate, StepWarning, UpdateResult
from service.domain.errors import Origin, Outcome, Violation
from service.domain.json_value import JsonValue
from service.domain.step import FieldChange

__all__ = [
    "AsyncClient",
    "CallRefused",
    "Cause",
    "Client",
    "ErrorDetail",
    "FieldChange",
    "InvalidArgument",
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
