"""Failures as gRPC statuses with details."""

from typing import Any

from engagement.v1 import envelope_pb2
from engagement.v1 import sequence_step_service_pb2 as pb

from service.api.envelope import envelope
from service.domain.errors import Cause, ErrorCode, Outcome, Problem
from service.domain.step import StepWarning, WarningType
from service.rpc.status import MAX_ENVELOPE_BYTES, status_details


def response_of(*problems: Problem, **more: Any) -> pb.UpdateStepResponse:
    return envelope(problems, **more, application_name="billing", request_id="r-1")


def test_a_status_stays_small_and_keeps_what_matters() -> None:
    cause = Cause(400, "x" * 16_000, {f"h{n}": "v" * 500 for n in range(60)})
    problem = Problem(ErrorCode.BAD_REQUEST, "d" * 3000, cause=cause, retry_after=2, outcome=Outcome.UNKNOWN)
    warnings = tuple(StepWarning(WarningType.SHARED_TEMPLATE, "w" * 500) for _ in range(20))
    response = response_of(*[problem] * 10, warnings=warnings)
    _, status = status_details(problem, (), response)
    assert response.ByteSize() <= MAX_ENVELOPE_BYTES
    assert len(status) <= 2 * MAX_ENVELOPE_BYTES
    assert response.errors[0].meta.outcome == envelope_pb2.ERROR_OUTCOME_UNKNOWN
    assert response.errors[0].meta.request_id == "r-1"


def test_a_small_status_keeps_its_cause() -> None:
    problem = Problem(ErrorCode.BAD_REQUEST, "No.", cause=Cause(400, {"error": "no"}, {}))
    response = response_of(problem)
    status_details(problem, (), response)
    assert response.errors[0].meta.cause.body.struct_value.fields["error"].string_value == "no"
