"""The methods of the contract: what each does with a result, in one table for both servers."""

from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec
from engagement.v1.sequence_step_service_pb2 import GetStepResponse, ListStepsResponse, UpdateStepResponse

from service.api.envelope import Response, envelope, failed
from service.api.value import encodable, fill_value
from service.domain.errors import ErrorCode, Problem
from service.domain.sequence import SequenceResult, ShownSequence, ShownStep, ShownVariant
from service.domain.step import StepWarning, UpdateResult

MAX_READ_BYTES: Final = 4_000_000
"""What the response of a read is shorter than; clients of gRPC read 4 MiB by default."""


class Result(Protocol):
    """What every use case comes to."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why it failed; empty when it did not."""

    @property
    def warnings(self) -> tuple[StepWarning, ...]:
        """What else the caller should know."""

    @property
    def provider_calls(self) -> int:
        """Requests that were sent to the provider."""


class Method(msgspec.Struct, frozen=True):
    """One method of the contract.

    Attributes:
        name: Its name.
        is_write: Whether it can change something.
        respond: Makes the response of a result, and says what is wrong in the end.
        refuse: Makes the response of a call that failed before it had a result.
    """

    name: str
    is_write: bool
    respond: Callable[[Any, str, str], tuple[Response, tuple[Problem, ...]]]
    refuse: Callable[..., Response]


def _updated(result: UpdateResult, application_name: str, request_id: str) -> tuple[Response, tuple[Problem, ...]]:
    response = envelope(
        result.problems,
        result.warnings,
        result.changes,
        result.etag,
        result.conflicts,
        application_name=application_name,
        request_id=request_id,
    )
    return response, result.problems


def _step(result: SequenceResult, application_name: str, request_id: str) -> tuple[Response, tuple[Problem, ...]]:
    response = GetStepResponse()
    if result.sequence is not None and result.query is not None:
        [step] = result.sequence.steps
        _fill_step(response.step, result.sequence, step, with_bodies=result.query.with_bodies)
    return _read(response, result, application_name, request_id)


def _steps(result: SequenceResult, application_name: str, request_id: str) -> tuple[Response, tuple[Problem, ...]]:
    response, sequence = ListStepsResponse(), result.sequence
    if sequence is not None and result.query is not None:
        response.sequence.sequence_id = sequence.sequence_id
        response.sequence.name = encodable(sequence.name)
        if sequence.is_enabled is not None:
            response.sequence.enabled = sequence.is_enabled
        if sequence.is_archived is not None:
            response.sequence.archived = sequence.is_archived
        for step in sequence.steps:
            _fill_step(response.steps.add(), sequence, step, with_bodies=result.query.with_bodies)
    return _read(response, result, application_name, request_id)


def _read(
    response: GetStepResponse | ListStepsResponse, result: SequenceResult, application_name: str, request_id: str
) -> tuple[Response, tuple[Problem, ...]]:
    """The response of a read, or the refusal of one that is too long."""
    problems = result.problems
    if not problems and response.ByteSize() >= MAX_READ_BYTES:
        problems = (_too_long(is_list=isinstance(response, ListStepsResponse)),)
    if problems:
        response = type(response)()
        for problem in problems:
            failed(response, problem, application_name=application_name, request_id=request_id)
    return response, problems


def _too_long(*, is_list: bool) -> Problem:
    advice = "Ask for STEP_VIEW_BASIC, which is without bodies"
    if is_list:
        advice += ", and for the steps one at a time"
    return Problem(
        ErrorCode.RESPONSE_TOO_LONG_ERROR,
        f"What the provider holds does not fit into an answer of less than {MAX_READ_BYTES:,} bytes. {advice}.",
        facts={"limit_bytes": str(MAX_READ_BYTES)},
    )


def _fill_step(message: Any, sequence: ShownSequence, step: ShownStep, *, with_bodies: bool) -> None:
    message.sequence_id = sequence.sequence_id
    message.sequence_step_id = step.sequence_step_id
    message.type = encodable(step.type)
    if step.order is not None:
        message.order = step.order
    if step.interval_seconds is not None:
        message.interval_seconds = step.interval_seconds
    if sequence.is_enabled is not None:
        message.sequence_enabled = sequence.is_enabled
    message.etag = step.etag(None)
    for variant in step.variants:
        _fill_variant(message.variants.add(), step, variant, with_bodies=with_bodies)
    for name, value in (step.fields or {}).items():
        fill_value(message.custom_fields.fields[name], value)


def _fill_variant(message: Any, step: ShownStep, variant: ShownVariant, *, with_bodies: bool) -> None:
    message.variant_id = variant.variant_id
    message.template_id = variant.template_id
    if variant.subject is not None:
        message.subject = encodable(variant.subject)
    if variant.body is not None and with_bodies:
        message.body = encodable(variant.body)
    message.live = variant.is_live
    message.reply = variant.is_reply
    message.template_archived = variant.is_archived
    message.updated_by_default = variant.is_default
    message.etag = step.etag(variant)
    message.sharing_step_ids.extend(variant.sharing)
    message.sharing_complete = variant.is_sharing_complete


def _refusing(kind: type[Response]) -> Callable[..., Response]:
    return lambda problem, **names: failed(kind(), problem, **names)


UPDATE_STEP: Final = Method("UpdateStep", True, _updated, _refusing(UpdateStepResponse))  # named in the class
GET_STEP: Final = Method("GetStep", False, _step, _refusing(GetStepResponse))
LIST_STEPS: Final = Method("ListSteps", False, _steps, _refusing(ListStepsResponse))
