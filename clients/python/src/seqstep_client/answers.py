"""Reads what a call ended with: the details of a status, and what became of the step. Nothing that a server sends raises here."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import grpc
from engagement.v1 import envelope_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from seqstep_client.contract import OUTCOMES, Outcome

M = TypeVar("M", bound=Message)

_DETAILS_KEY: Final = "grpc-status-details-bin"
_LEAST_CERTAIN_FIRST: Final = (Outcome.UNKNOWN, Outcome.PARTIALLY_APPLIED, Outcome.NOT_APPLIED)


@dataclass(frozen=True, slots=True)
class Details(Generic[M]):
    """The details of a status other than OK, as far as they are understood; None stands for what is not there.

    Attributes:
        response: The response of the method as an envelope, with at least one error.
        bad_request: The parts of the call that break a rule.
        retry_info: When to repeat the call.
        error_info: What went wrong, for programs.
    """

    response: M | None = None
    bad_request: error_details_pb2.BadRequest | None = None
    retry_info: error_details_pb2.RetryInfo | None = None
    error_info: error_details_pb2.ErrorInfo | None = None


def details_of(error: Any, response_type: type[M]) -> Details[M]:
    """The details of a call that failed.

    Args:
        error: The `grpc.RpcError`, which is a `grpc.Call` as well, or the `grpc.aio.AioRpcError`.
        response_type: The response of the method that was called, such as `UpdateStepResponse`; an envelope of another type
            is not taken for it.
    """
    status = _status_of(error.code(), error.trailing_metadata() or ())
    response = _detail(status, response_type)
    return Details(
        response=response if response is not None and getattr(response, "errors", None) else None,
        bad_request=_detail(status, error_details_pb2.BadRequest),
        retry_info=_detail(status, error_details_pb2.RetryInfo),
        error_info=_detail(status, error_details_pb2.ErrorInfo),
    )


def outcome_of(response: Any) -> Outcome:
    """What became of the step, by the envelope of an answer.

    Args:
        response: The response of a call that ended with OK, or the `response` of its `Details`; None where there is none, as
            after a broken connection.
    """
    if response is None:
        return Outcome.UNKNOWN
    return outcome_of_errors(response.errors)


def outcome_of_errors(errors: Iterable[envelope_pb2.Error]) -> Outcome:
    """What became of the step by all errors of an envelope together; one that is not known here may be anything."""
    outcomes = {OUTCOMES.get(error.meta.outcome, Outcome.UNKNOWN) for error in errors}
    return next((outcome for outcome in _LEAST_CERTAIN_FIRST if outcome in outcomes), Outcome.APPLIED)


def _status_of(code: grpc.StatusCode, trailers: Iterable[tuple[str, str | bytes]]) -> status_pb2.Status:
    """The `google.rpc.Status` of a call; an empty one where it is about another status, as where a proxy replaced that."""
    status = status_pb2.Status()
    for key, value in trailers:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                continue
    return status if status.code == code.value[0] else status_pb2.Status()


def _detail(status: status_pb2.Status, kind: type[M]) -> M | None:
    for detail in status.details:
        message = kind()
        try:
            if detail.Unpack(message):
                return message
        except DecodeError:
            continue
    return None
