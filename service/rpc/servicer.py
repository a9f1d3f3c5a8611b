"""The gRPC service: its method, and the status that a call ends with."""

from collections.abc import AsyncIterator
from typing import Final

import grpc
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1.sequence_step_service_pb2_grpc import SequenceStepServiceServicer

from service.api import contract
from service.api.call_handler import CallerGone, CallHandler, CallOutcome
from service.domain.errors import CODES, Problem
from service.rpc.request import GrpcCall
from service.rpc.status import status_details, status_name

_DETAILS: Final = "grpc-status-details-bin"


class SequenceStepServicer(SequenceStepServiceServicer):
    """Serves `engagement.v1.SequenceStepService`, behind `service.rpc.interceptors.UnreadRequestInterceptor`."""

    def __init__(self, call_handler: CallHandler) -> None:
        self._call_handler = call_handler

    async def UpdateStep(  # type: ignore[override]  # the interceptor gives it the request unread  # noqa: N802
        self,
        request: AsyncIterator[pb.UpdateStepRequest],
        context: grpc.aio.ServicerContext[pb.UpdateStepRequest, pb.UpdateStepResponse],
    ) -> pb.UpdateStepResponse:
        """Answers one call.

        Args:
            request: Receives and decodes the one request.
            context: gRPC's context of the call.
        """
        try:
            outcome = await self._call_handler.update_step(GrpcCall(request, context))
        except CallerGone:
            # Who has left does not see it, and for who has sent nothing no repetition helps, as it may after CANCELLED.
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The call ended without a request.")
        problem = outcome.problem
        if problem is None:
            context.set_trailing_metadata(((contract.REQUEST_ID, outcome.request_id),))
        elif (name := status_name(outcome)) != "OK":
            message, status = status_details(outcome, problem)
            trailers = (*_trailers(outcome, problem), (_DETAILS, status))
            await context.abort(grpc.StatusCode[name], message, trailers)
        else:
            context.set_trailing_metadata(_trailers(outcome, problem))
        return outcome.response


def _trailers(outcome: CallOutcome, problem: Problem) -> tuple[tuple[str, str | bytes], ...]:
    return (
        (contract.REQUEST_ID, outcome.request_id),
        (contract.ERROR_CODE, problem.code.value),
        (contract.ERROR_STATUS, str(CODES[problem.code].http_status)),
    )
