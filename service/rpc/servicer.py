"""One call through the gRPC door, from its bytes to its answer."""

from collections.abc import Sequence
from typing import Any, Final

import grpc

from service.api import metadata
from service.api.call_handler import CallHandler, CallOutcome, TransportStatus
from service.domain.deadline import Deadline
from service.domain.errors import CODES, Problem
from service.domain.step import StepUpdate
from service.rpc.request import parse_request
from service.rpc.status import details, grpc_code

_DETAILS: Final = "grpc-status-details-bin"

_OK: Final = TransportStatus(grpc="OK")
_GONE: Final = TransportStatus(grpc="CANCELLED")


class SequenceStepServicer:
    """Serves `engagement.v1.SequenceStepService`.

    Messages are decoded here and not by gRPC, so that bytes that are no such message get a typed answer too.
    """

    def __init__(self, calls: CallHandler) -> None:
        self._calls = calls

    async def update_step(self, data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        """Answers one `UpdateStep`."""
        ended = await self._calls.update_step(_InboundCall(data, context))
        problem = ended.problem
        if problem is None:
            context.set_trailing_metadata(((metadata.REQUEST_ID, ended.request_id),))
            return ended.response.SerializeToString()
        if not _is_status(ended):
            context.set_trailing_metadata(_trailers(ended, problem))
            return ended.response.SerializeToString()
        message, status = details(problem, ended.violations, ended.response)
        await context.abort(grpc_code(problem.code), message, (*_trailers(ended, problem), (_DETAILS, status)))
        raise AssertionError("abort raises")


class _InboundCall:
    """A call as gRPC hands it over; `service.api.call_handler.InboundCall` says what each method promises."""

    __slots__ = ("_context", "_data")

    def __init__(self, data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        self._data = data
        self._context = context

    def pairs(self) -> metadata.Pairs:
        pairs: Any = self._context.invocation_metadata() or ()
        return pairs  # type: ignore[no-any-return]  # the stubs know another class

    def time_remaining(self) -> float | None:
        return self._context.time_remaining()

    def identities(self) -> Sequence[str]:
        auth = self._context.auth_context()
        names = [*auth.get("x509_subject_alternative_name", ()), *auth.get("x509_common_name", ())]
        return [name.decode("utf-8", "replace") for name in names]

    async def update(self, told: metadata.CallMetadata, deadline: Deadline) -> StepUpdate:  # noqa: ARG002  # read already
        return parse_request(self._data, told.provider, told.customer_id)

    def told(self, ended: CallOutcome | None) -> TransportStatus:
        if ended is None:
            return _GONE
        if ended.problem is None or not _is_status(ended):
            return _OK
        return TransportStatus(grpc=CODES[ended.problem.code].grpc_status)


def _is_status(ended: CallOutcome) -> bool:
    """Whether a failure is told by a non-OK status."""
    return ended.refused or ended.error_mode is metadata.ErrorMode.STATUS


def _trailers(ended: CallOutcome, problem: Problem) -> tuple[tuple[str, str], ...]:
    return (
        (metadata.REQUEST_ID, ended.request_id),
        (metadata.ERROR_CODE, problem.code.value),
        (metadata.ERROR_STATUS, str(CODES[problem.code].http_status)),
    )
