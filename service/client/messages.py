"""The library's types to and from the contract's messages."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

import grpc
from engagement.v1 import envelope_pb2
from engagement.v1 import sequence_step_service_pb2 as pb
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from service.api.value import fill_value, to_json, unrepresentable
from service.client.failures import (
    CallRefused,
    Cause,
    ErrorDetail,
    Failure,
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
from service.client.updates import FieldChange, StepUpdate, StepWarning, UpdateResult

_ORIGINS: Final = {
    envelope_pb2.ERROR_ORIGIN_REMOTE_PROVIDER: Origin.PROVIDER,
    envelope_pb2.ERROR_ORIGIN_SERVICE: Origin.SERVICE,
}
_OUTCOMES: Final = {
    envelope_pb2.ERROR_OUTCOME_NOT_APPLIED: Outcome.NOT_APPLIED,
    envelope_pb2.ERROR_OUTCOME_UNKNOWN: Outcome.UNKNOWN,
    envelope_pb2.ERROR_OUTCOME_PARTIALLY_APPLIED: Outcome.PARTIALLY_APPLIED,
}
_OUTCOMES_SENT: Final = {outcome: number for number, outcome in _OUTCOMES.items()}
_JUDGED: Final[Mapping[Outcome, type[UpdateFailed]]] = {
    Outcome.NOT_APPLIED: NotApplied,
    Outcome.PARTIALLY_APPLIED: PartiallyApplied,
    Outcome.UNKNOWN: OutcomeUnknown,
}
_WORTH_REPEATING: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})

# Statuses without an envelope that prove all the same that the service never began the update.
_NEVER_BEGUN: Final = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


def request_of(update: StepUpdate) -> pb.UpdateStepRequest:
    """The message that asks for an update.

    Raises:
        ValueError: A custom field is no JSON value, or an integer that the message cannot hold exactly.
    """
    record = pb.SequenceStepRecord()
    if update.subject is not None:
        record.template.subject = update.subject
    if update.body is not None:
        record.template.body = update.body
    for path, rule in unrepresentable(update.custom_fields, "custom_fields"):
        raise ValueError(f"{path}: {rule}")
    for key, value in update.custom_fields.items():
        fill_value(record.custom_fields.fields[key], value)
    return pb.UpdateStepRequest(
        sequence_id=update.sequence_id,
        sequence_step_id=update.sequence_step_id,
        record=record,
        validate_only=update.validate_only,
    )


def result_of(response: pb.UpdateStepResponse, request_id: str) -> UpdateResult:
    """What an answer with status OK says.

    Raises:
        NotApplied: It is a failure that changed nothing.
        PartiallyApplied: It is a failure that changed something.
        OutcomeUnknown: It is a failure that may have changed something.
    """
    if not response.errors:
        return UpdateResult(_changes(response.changes), _warnings(response.warnings), request_id, response)
    failure = _failure(response, request_id)
    raise _JUDGED[failure.outcome](failure)


def failure_of(error: Any, request: pb.UpdateStepRequest, request_id: str) -> UpdateFailed:
    """The exception for a call that ended with a status other than OK.

    Args:
        error: The `grpc.RpcError`, which is a `grpc.Call` as well.
        request: What was asked for.
        request_id: The id that the call was given.
    """
    code: grpc.StatusCode = error.code()
    details = _details(error)
    response = pb.UpdateStepResponse()
    bad_request = error_details_pb2.BadRequest()
    for detail in details.details:
        detail.Unpack(response)
        detail.Unpack(bad_request)
    if response.errors:
        violations = tuple(Violation(item.field, item.description) for item in bad_request.field_violations)
        failure = _failure(response, request_id, violations, code)
        if failure.outcome is Outcome.NOT_APPLIED:
            return _refusal(code)(failure)
        return _JUDGED[failure.outcome](failure)
    return _without_envelope(error, request, request_id)


def unreachable(error: Any, address: str, request_id: str) -> Unavailable:
    """The exception for a service that was not reached, so that nothing was asked of it."""
    reason = error.details() or error.code().name
    return Unavailable(
        _found_here(
            error.code(),
            "SERVICE_UNAVAILABLE_ERROR",
            503,
            "Not reachable",
            f"{address} cannot be reached, so nothing was sent: {reason}. Check the address, TLS, and that the service runs.",
            Outcome.NOT_APPLIED,
            request_id,
        )
    )


def _without_envelope(error: Any, request: pb.UpdateStepRequest, request_id: str) -> UpdateFailed:
    code: grpc.StatusCode = error.code()
    reason = error.details() or code.name
    if code in _NEVER_BEGUN:
        name, status = {
            grpc.StatusCode.UNAUTHENTICATED: ("UNAUTHORIZED_ERROR", 401),
            grpc.StatusCode.PERMISSION_DENIED: ("FORBIDDEN_ERROR", 403),
            grpc.StatusCode.INVALID_ARGUMENT: ("BAD_REQUEST", 400),
            grpc.StatusCode.UNIMPLEMENTED: ("NOT_IMPLEMENTED_ERROR", 501),
        }[code]
        detail = f"What answers at the address refused the call with {code.name}: {reason}. Check the address."
        failure = _found_here(code, name, status, "Refused", detail, Outcome.NOT_APPLIED, request_id)
        return _refusal(code)(failure)
    outcome = Outcome.NOT_APPLIED if request.validate_only else Outcome.UNKNOWN
    left = "Nothing was changed" if request.validate_only else "The update may have been carried out"
    name, status, title, what = {
        grpc.StatusCode.DEADLINE_EXCEEDED: (
            "GATEWAY_TIMEOUT_ERROR",
            504,
            "No answer in time",
            "No answer came before the deadline.",
        ),
        grpc.StatusCode.UNAVAILABLE: (
            "SERVICE_UNAVAILABLE_ERROR",
            503,
            "Connection lost",
            f"The connection to the service was lost: {reason}.",
        ),
    }.get(code, ("BAD_GATEWAY_ERROR", 502, "No usable answer", f"The call ended with {code.name}: {reason}."))
    detail = f"{what} {left}; repeating the call is safe."
    return _JUDGED[outcome](_found_here(code, name, status, title, detail, outcome, request_id))


def _refusal(code: grpc.StatusCode) -> type[CallRefused]:
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return Unauthenticated
    return Unavailable if code in _WORTH_REPEATING else CallRefused


def _found_here(
    grpc_status: grpc.StatusCode, code: str, status: int, title: str, detail: str, outcome: Outcome, request_id: str
) -> Failure:
    """The facts of a failure that no answer of the service stands behind, with an envelope that says the same."""
    meta = envelope_pb2.ErrorMeta(outcome=_OUTCOMES_SENT[outcome], request_id=request_id)
    error = envelope_pb2.Error(
        id=str(uuid.uuid4()), detail=detail, problem_type=code, title=title, code=code, status=str(status), meta=meta
    )
    return _failure(pb.UpdateStepResponse(errors=[error]), request_id, (), grpc_status)


def _details(error: Any) -> status_pb2.Status:
    try:
        return rpc_status.from_call(error) or status_pb2.Status()
    except ValueError:
        # Something between here and the service replaced the status but not its details: they tell nothing about it.
        return status_pb2.Status()


def _failure(
    response: pb.UpdateStepResponse,
    request_id: str,
    violations: tuple[Violation, ...] = (),
    grpc_status: grpc.StatusCode = grpc.StatusCode.OK,
) -> Failure:
    errors = tuple(_error(error) for error in response.errors)
    outcomes = {error.outcome for error in errors}
    worst = next(
        outcome for outcome in (Outcome.UNKNOWN, Outcome.PARTIALLY_APPLIED, Outcome.NOT_APPLIED) if outcome in outcomes
    )
    return Failure(
        errors=errors,
        outcome=worst,
        request_id=response.errors[0].meta.request_id or request_id,
        warnings=_warnings(response.warnings),
        changes=_changes(response.changes),
        violations=violations,
        grpc_status=grpc_status,
        response=response,
    )


def _error(error: envelope_pb2.Error) -> ErrorDetail:
    meta = error.meta
    cause = (
        Cause(meta.cause.code, to_json(meta.cause.body), dict(meta.cause.headers)) if meta.HasField("cause") else None
    )
    return ErrorDetail(
        id=error.id,
        code=error.code,
        status=int(error.status) if error.status.isdecimal() else 500,
        title=error.title,
        detail=error.detail,
        origin=_ORIGINS.get(meta.origin, Origin.UNTOLD),
        # An outcome that this library does not know yet promises nothing.
        outcome=_OUTCOMES.get(meta.outcome, Outcome.UNKNOWN),
        retry_after=meta.retry_after.ToNanoseconds() / 1e9 if meta.HasField("retry_after") else None,
        application_name=meta.application_name,
        cause=cause,
    )


def _changes(changes: Iterable[envelope_pb2.FieldChange]) -> tuple[FieldChange, ...]:
    return tuple(FieldChange(change.field, to_json(change.before), to_json(change.after)) for change in changes)


def _warnings(warnings: Iterable[envelope_pb2.Warning]) -> tuple[StepWarning, ...]:
    return tuple(StepWarning(warning.problem_type, warning.title, warning.detail) for warning in warnings)
