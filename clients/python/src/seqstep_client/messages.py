"""Converts between the library's types and the contract's messages."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar

import grpc
from engagement.v1 import envelope_pb2
from engagement.v1 import sequence_step_service_pb2 as pb

from seqstep_client.answers import Details, details_of, outcome_of
from seqstep_client.contract import METADATA_RULE, METADATA_VALUE, ORIGINS, OUTCOMES, Outcome
from seqstep_client.failures import (
    CallRefused,
    Cause,
    ErrorDetail,
    Failure,
    NotApplied,
    OutcomeUnknown,
    PartiallyApplied,
    Unauthenticated,
    Unavailable,
    UpdateFailed,
    Violation,
)
from seqstep_client.updates import FieldChange, StepUpdate, StepWarning, UpdateResult
from seqstep_client.values import InvalidArgument, fill_fields, sendable, to_json

WriteRequest: TypeAlias = pb.UpdateStepRequest | pb.RevertStepChangeRequest
Response: TypeAlias = (
    pb.UpdateStepResponse
    | pb.GetStepResponse
    | pb.ListStepsResponse
    | pb.ListStepChangesResponse
    | pb.GetStepChangeResponse
    | pb.RevertStepChangeResponse
)
Request: TypeAlias = (
    WriteRequest | pb.GetStepRequest | pb.ListStepsRequest | pb.ListStepChangesRequest | pb.GetStepChangeRequest
)
R = TypeVar("R", pb.GetStepResponse, pb.ListStepsResponse, pb.ListStepChangesResponse, pb.GetStepChangeResponse)

_RESPONSES: Final[Mapping[type[Request], type[Response]]] = {
    pb.UpdateStepRequest: pb.UpdateStepResponse,
    pb.GetStepRequest: pb.GetStepResponse,
    pb.ListStepsRequest: pb.ListStepsResponse,
    pb.ListStepChangesRequest: pb.ListStepChangesResponse,
    pb.GetStepChangeRequest: pb.GetStepChangeResponse,
    pb.RevertStepChangeRequest: pb.RevertStepChangeResponse,
}

_EXCEPTIONS: Final[Mapping[Outcome, type[UpdateFailed]]] = {
    Outcome.NOT_APPLIED: NotApplied,
    Outcome.PARTIALLY_APPLIED: PartiallyApplied,
    Outcome.UNKNOWN: OutcomeUnknown,
}
_REPEATABLE: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})

HTTP_STATUSES: Final[Mapping[str, int]] = {
    "BAD_GATEWAY_ERROR": 502,
    "SERVICE_UNAVAILABLE_ERROR": 503,
    "GATEWAY_TIMEOUT_ERROR": 504,
}
"""The HTTP status of each error that is found in this process."""


def changes_request(
    sequence_id: str,
    sequence_step_id: str,
    of_request_id: str,
    start: datetime | None,
    end: datetime | None,
    page_size: int,
    page_token: str,
) -> pb.ListStepChangesRequest:
    """The request for a page of changes.

    Raises:
        InvalidArgument: A time has no time zone, or the number cannot be sent.
    """
    request = pb.ListStepChangesRequest(
        sequence_id=sequence_id,
        sequence_step_id=sequence_step_id,
        request_id=of_request_id,
        page_token=page_token,
    )
    for name, moment in (("start", start), ("end", end)):
        if moment is None:
            continue
        if moment.tzinfo is None:
            raise InvalidArgument(f"{name}: has no time zone")
        getattr(request, f"{name}_time").FromDatetime(moment)
    try:
        request.page_size = page_size
    except ValueError:
        raise InvalidArgument(f"page_size: {page_size} cannot be sent") from None
    return request


def request_of(update: StepUpdate) -> pb.UpdateStepRequest:
    """The request for an update.

    Raises:
        InvalidArgument: A custom field is no JSON value, or has an integer that the request cannot hold exactly, or a
            text has a lone surrogate.
    """
    record = pb.SequenceStepRecord()
    if update.subject is not None:
        record.template.subject = sendable(update.subject, "subject")
    if update.body is not None:
        record.template.body = sendable(update.body, "body")
    if update.custom_fields:
        fill_fields(record.custom_fields, update.custom_fields, "custom_fields")
    return pb.UpdateStepRequest(
        sequence_id=sendable(update.sequence_id, "sequence_id"),
        sequence_step_id=sendable(update.sequence_step_id, "sequence_step_id"),
        record=record,
        validate_only=update.validate_only,
        etag=update.etag,
        if_shared=pb.IF_SHARED_REFUSE if update.refuse_shared else pb.IF_SHARED_UNSPECIFIED,
        variant=update.variant,
    )


def check_metadata(key: str, value: str) -> None:
    """Checks a value that is to be sent as metadata; an empty one is left to the service, which says what is missing.

    Raises:
        InvalidArgument: gRPC could not send it.
    """
    if value and not METADATA_VALUE.fullmatch(value):
        raise InvalidArgument(
            f"{key}: {METADATA_RULE} The value is longer, or has a line break or another character in it."
        )


def result_of(response: pb.UpdateStepResponse | None, request: Request, request_id: str) -> UpdateResult:
    """The result that a call has which ended with OK.

    Args:
        response: What came; None if nothing did, against gRPC's own rules.
        request: What was asked for.
        request_id: The id that the call was given.

    Raises:
        NotApplied: It is a failure that changed nothing.
        PartiallyApplied: It is a failure that changed something.
        OutcomeUnknown: It is a failure that may have changed something.
    """
    if response is None:
        raise _failure_without_envelope(grpc.StatusCode.OK, None, request, request_id)
    outcome = outcome_of(response)
    if outcome is Outcome.APPLIED:
        return UpdateResult(_changes(response.changes), _warnings(response.warnings), request_id, response)
    raise _EXCEPTIONS[outcome](_failure(response, request_id))


def revert_result_of(response: pb.RevertStepChangeResponse | None, request: Request, request_id: str) -> UpdateResult:
    """The result that a response to a revert has, which is that of an update; raises as `result_of` does."""
    return result_of(_as_update(response) if response is not None else None, request, request_id)


def read_of(response: R | None, request: Request, request_id: str) -> R:
    """The response of a read that succeeded.

    Raises:
        NotApplied: It is a failure.
    """
    if response is None:
        raise _failure_without_envelope(grpc.StatusCode.OK, None, request, request_id)
    if response.errors:
        raise NotApplied(_failure(_as_update(response), request_id))
    return response


def _as_update(response: Response) -> pb.UpdateStepResponse:
    """The envelope of any response."""
    if isinstance(response, pb.UpdateStepResponse):
        return response
    if isinstance(response, pb.RevertStepChangeResponse):
        # Its members are the same, and have the same numbers.
        return pb.UpdateStepResponse.FromString(response.SerializeToString())
    return pb.UpdateStepResponse(errors=response.errors, warnings=response.warnings, truncated=response.truncated)


def failure_of(error: Any, request: Request, request_id: str) -> UpdateFailed:
    """The exception for a call that ended with a status other than OK.

    Args:
        error: The `grpc.RpcError`, which is a `grpc.Call` as well.
        request: What was asked for.
        request_id: The id that the call was given.
    """
    code: grpc.StatusCode = error.code()
    details: Details[Response] = details_of(error, _RESPONSES[type(request)])
    if details.response is None:
        return _failure_without_envelope(code, error.details(), request, request_id)
    violations = details.bad_request.field_violations if details.bad_request is not None else ()
    failure = _failure(
        _as_update(details.response),
        request_id,
        tuple(Violation(item.field, item.description) for item in violations),
        code,
    )
    if failure.outcome is Outcome.NOT_APPLIED:
        return _refusal_type(code)(failure)
    return _EXCEPTIONS[failure.outcome](failure)


def unreachable(error: Any, address: str, request_id: str) -> Unavailable:
    """The exception for a service that was not reached, so that nothing was asked of it."""
    code: grpc.StatusCode = error.code()
    reason = error.details() or code.name
    detail = f"{address} cannot be reached, so nothing was sent: {reason}. Check the address, TLS, and that the service runs."
    return Unavailable(_local_failure(code, "SERVICE_UNAVAILABLE_ERROR", "Not reachable", detail, request_id))


def _failure_without_envelope(
    code: grpc.StatusCode, message: str | None, request: Request, request_id: str
) -> UpdateFailed:
    reason = message or code.name
    match code:
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            error_code, title = "GATEWAY_TIMEOUT_ERROR", "No response in time"
            what = "No response came before the deadline."
        case grpc.StatusCode.UNAVAILABLE:
            error_code, title = "SERVICE_UNAVAILABLE_ERROR", "Connection lost"
            what = f"The connection to the service was lost: {reason}."
        case _:
            error_code, title = "BAD_GATEWAY_ERROR", "No usable response"
            what = f"The call ended with {code.name}: {reason}. Check that the address is the service's."
    return _unanswered(code, error_code, title, what, request, request_id, was_sent=True)


def cancelled(request: Request, request_id: str, *, was_sent: bool) -> UpdateFailed:
    """The exception for a call that its caller cancelled, perhaps before it was sent."""
    what = "The call was cancelled." if was_sent else "The call was cancelled before it was sent."
    code = grpc.StatusCode.CANCELLED
    return _unanswered(code, "GATEWAY_TIMEOUT_ERROR", "Cancelled", what, request, request_id, was_sent=was_sent)


def _unanswered(
    status: grpc.StatusCode, code: str, title: str, what: str, request: Request, request_id: str, *, was_sent: bool
) -> UpdateFailed:
    if not was_sent or not isinstance(request, WriteRequest) or request.validate_only:
        outcome, effect = Outcome.NOT_APPLIED, "Nothing was changed"
    else:
        outcome, effect = Outcome.UNKNOWN, "The update may have been carried out"
    detail = f"{what} {effect}; repeating the call is safe."
    return _EXCEPTIONS[outcome](_local_failure(status, code, title, detail, request_id, outcome))


def _refusal_type(code: grpc.StatusCode) -> type[CallRefused]:
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return Unauthenticated
    return Unavailable if code in _REPEATABLE else CallRefused


def _local_failure(
    grpc_status: grpc.StatusCode,
    code: str,
    title: str,
    detail: str,
    request_id: str,
    outcome: Outcome = Outcome.NOT_APPLIED,
) -> Failure:
    """A failure that was found in this process, with an envelope that says it."""
    error = envelope_pb2.Error(
        id=str(uuid.uuid4()),
        detail=detail,
        problem_type=code,
        title=title,
        code=code,
        status=str(HTTP_STATUSES[code]),
        meta=envelope_pb2.ErrorMeta(outcome=envelope_pb2.ErrorOutcome.Value(outcome), request_id=request_id),
    )
    return _failure(pb.UpdateStepResponse(errors=[error]), request_id, (), grpc_status)


def _failure(
    response: pb.UpdateStepResponse,
    request_id: str,
    violations: tuple[Violation, ...] = (),
    grpc_status: grpc.StatusCode = grpc.StatusCode.OK,
) -> Failure:
    return Failure(
        errors=tuple(_error(error) for error in response.errors),
        outcome=outcome_of(response),
        request_id=response.errors[0].meta.request_id or request_id,
        warnings=_warnings(response.warnings),
        changes=_changes(response.changes),
        conflicts=_changes(response.conflicts),
        violations=violations,
        grpc_status=grpc_status,
        response=response,
    )


def _error(error: envelope_pb2.Error) -> ErrorDetail:
    meta = error.meta
    cause = (
        Cause(meta.cause.code, to_json(meta.cause.body), dict(meta.cause.headers), meta.cause.body_truncated)
        if meta.HasField("cause")
        else None
    )
    return ErrorDetail(
        id=error.id,
        code=error.code,
        status=int(error.status) if error.status.isdecimal() else 500,
        title=error.title,
        detail=error.detail,
        origin=ORIGINS.get(meta.origin),
        # An outcome that this version of the library does not know may be anything.
        outcome=OUTCOMES.get(meta.outcome, Outcome.UNKNOWN),
        retry_after=meta.retry_after.ToNanoseconds() / 1e9 if meta.HasField("retry_after") else None,
        application_name=meta.application_name,
        cause=cause,
        facts=dict(meta.facts),
    )


def _changes(changes: Iterable[envelope_pb2.FieldChange]) -> tuple[FieldChange, ...]:
    return tuple(
        FieldChange(
            change.field,
            to_json(change.before),
            to_json(change.after),
            before_truncated=change.before_truncated,
            after_truncated=change.after_truncated,
        )
        for change in changes
    )


def _warnings(warnings: Iterable[envelope_pb2.Warning]) -> tuple[StepWarning, ...]:
    return tuple(
        StepWarning(warning.problem_type, warning.title, warning.detail, dict(warning.facts)) for warning in warnings
    )
