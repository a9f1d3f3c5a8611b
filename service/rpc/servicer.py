"""The gRPC service: its methods, and the status that a call ends with."""

from typing import Any, Final

import grpc
from engagement.v1.sequence_step_service_pb2_grpc import SequenceStepServiceServicer

from service.api import contract
from service.api.call_handler import CallerGone, CallHandler, CallOutcome
from service.api.methods import (
    GET_STEP,
    GET_STEP_CHANGE,
    LIST_STEP_CHANGES,
    LIST_STEPS,
    REVERT_STEP_CHANGE,
    UPDATE_STEP,
    Method,
)
from service.domain.errors import CODES, Problem
from service.rpc.request import (
    GrpcCall,
    Parse,
    change_ref,
    change_revert,
    changes_query,
    step_query,
    step_update,
    steps_query,
)
from service.rpc.status import pushback, status_details, status_name

_DETAILS: Final = "grpc-status-details-bin"


def _served(method: Method, parse: Parse) -> Any:
    """A method of the service, which answers one call."""

    async def served(self: "SequenceStepServicer", _: Any, context: Any) -> Any:
        # The interceptor leaves the request unread, to be received and decoded when it is asked for.
        try:
            outcome = await self.call_handler.handle(method, GrpcCall(context, parse))
        except CallerGone:
            # Who has left does not see it, and for who has sent nothing no repetition helps, as it may after CANCELLED.
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The call ended without a request.")
        problem = outcome.problem
        if problem is None:
            context.set_trailing_metadata(((contract.REQUEST_ID, outcome.request_id),))
        elif (name := status_name(outcome)) != "OK":
            message, status = status_details(outcome, problem)
            trailers = (*_trailers(outcome, problem), *pushback(outcome, name), (_DETAILS, status))
            await context.abort(grpc.StatusCode[name], message, trailers)
        else:
            context.set_trailing_metadata(_trailers(outcome, problem))
        return outcome.response

    return served


class SequenceStepServicer(SequenceStepServiceServicer):
    """Serves `engagement.v1.SequenceStepService`, behind `service.rpc.interceptors.UnreadRequestInterceptor`.

    Attributes:
        call_handler: Handles the calls.
    """

    def __init__(self, call_handler: CallHandler) -> None:
        self.call_handler = call_handler

    UpdateStep = _served(UPDATE_STEP, step_update)
    GetStep = _served(GET_STEP, step_query)
    ListSteps = _served(LIST_STEPS, steps_query)
    ListStepChanges = _served(LIST_STEP_CHANGES, changes_query)
    GetStepChange = _served(GET_STEP_CHANGE, change_ref)
    RevertStepChange = _served(REVERT_STEP_CHANGE, change_revert)


def _trailers(outcome: CallOutcome, problem: Problem) -> tuple[tuple[str, str | bytes], ...]:
    return (
        (contract.REQUEST_ID, outcome.request_id),
        (contract.ERROR_CODE, problem.code.value),
        (contract.ERROR_STATUS, str(CODES[problem.code].http_status)),
    )
