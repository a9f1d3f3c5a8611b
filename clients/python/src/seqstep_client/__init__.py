"""The client library: one call that changes a step, with a result or an exception for each way to fail.

    from seqstep_client import Client, NotApplied, StepUpdate

    with Client("seqstep.example.com:443", api_key=key) as client:
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

A value that cannot be sent is `InvalidArgument`, a `ValueError`, before anything is. `AsyncClient` is the same with
`async with` and `await`.
"""

from seqstep_client.answers import Details, details_of, outcome_of
from seqstep_client.cancellation import Cancellation
from seqstep_client.channel import ApiKey, Tls, open_aio_channel, open_channel
from seqstep_client.client import AsyncClient, Client
from seqstep_client.contract import Origin, Outcome
from seqstep_client.failures import (
    CallRefused,
    Cause,
    ErrorDetail,
    NotApplied,
    OutcomeUnknown,
    PartiallyApplied,
    Unauthenticated,
    Unavailable,
    UpdateFailed,
    Violation,
)
from seqstep_client.updates import FieldChange, StepUpdate, StepWarning, UpdateResult
from seqstep_client.values import InvalidArgument, JsonValue

__all__ = [
    "ApiKey",
    "AsyncClient",
    "CallRefused",
    "Cancellation",
    "Cause",
    "Client",
    "Details",
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
    "details_of",
    "open_aio_channel",
    "open_channel",
    "outcome_of",
]
