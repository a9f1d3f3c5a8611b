"""The methods of the contract: what each does with a result, in one table for both servers."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1.sequence_step_service_pb2 import (
    GetStepChangeResponse,
    GetStepResponse,
    ListStepChangesResponse,
    ListStepsResponse,
    RevertStepChangeResponse,
    UpdateStepResponse,
)

from service.api.envelope import Response, Written, cut_after, cut_before, failed, fill_change, written
from service.api.value import encodable, fill_value
from service.domain.errors import ErrorCode, Problem
from service.domain.page_token import page_token
from service.domain.sequence import SequenceResult, ShownSequence, ShownStep, ShownVariant
from service.domain.step import StepWarning, UpdateResult
from service.domain.step_changes import ChangesResult, ChangeState, StepChange

MAX_READ_BYTES: Final = 4_000_000
"""What the response of a read is shorter than; clients of gRPC read 4 MiB by default."""

MAX_LISTED_BYTES: Final = 2 * 1024
"""Longest string in the values of a change that is listed."""

# What is left of a page for its token and the little beside its changes, of which there are a few hundred at the most.
_PAGE_BYTES: Final = MAX_READ_BYTES - 4096

_STATES: Final[Mapping[ChangeState, pb.StepChangeState.ValueType]] = {
    ChangeState.UNKNOWN: pb.STEP_CHANGE_STATE_UNKNOWN,
    ChangeState.APPLIED: pb.STEP_CHANGE_STATE_APPLIED,
    ChangeState.PARTIALLY_APPLIED: pb.STEP_CHANGE_STATE_PARTIALLY_APPLIED,
}


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


def _updating(kind: type[Written]) -> Callable[[UpdateResult, str, str], tuple[Response, tuple[Problem, ...]]]:
    def updated(result: UpdateResult, application_name: str, request_id: str) -> tuple[Response, tuple[Problem, ...]]:
        response = written(kind(), result, application_name=application_name, request_id=request_id)
        return response, result.problems

    return updated


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
    response: Response, result: Result, application_name: str, request_id: str
) -> tuple[Response, tuple[Problem, ...]]:
    """The response of a read, or the refusal of one that is too long."""
    problems = result.problems
    if not problems and response.ByteSize() >= MAX_READ_BYTES:
        problems = (_too_long(_IF_TOO_LONG[type(response)]),)
    if problems:
        response = type(response)()
        for problem in problems:
            failed(response, problem, application_name=application_name, request_id=request_id)
    return response, problems


_IF_TOO_LONG: Final[Mapping[type[Response], str]] = {
    GetStepResponse: "Ask for STEP_VIEW_BASIC, which is without bodies.",
    ListStepsResponse: "Ask for STEP_VIEW_BASIC, which is without bodies, and for the steps one at a time.",
    GetStepChangeResponse: "The list shows the beginnings, and the change can be reverted.",
}


def _too_long(advice: str) -> Problem:
    return Problem(
        ErrorCode.RESPONSE_TOO_LONG_ERROR,
        f"What was asked for does not fit into an answer of less than {MAX_READ_BYTES:,} bytes. {advice}",
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


def _changes(result: ChangesResult, application_name: str, request_id: str) -> tuple[Response, tuple[Problem, ...]]:
    """The page that a list of changes comes to; it ends early where its values are long."""
    response = ListStepChangesResponse()
    length = 0
    for number, change in enumerate(result.changes):
        shown = pb.StepChange()
        _fill_change(shown, change, application_name, MAX_LISTED_BYTES)
        if number == 0:
            _shorten(shown)
        length += shown.ByteSize()
        if number and (number == result.page_size or length > _PAGE_BYTES):
            response.next_page_token = page_token(result.filters, [result.changes[number - 1].change_id])
            break
        response.step_changes.append(shown)
    else:
        if result.is_cut:
            response.next_page_token = page_token(result.filters, [result.changes[-1].change_id])
    return _read(response, result, application_name, request_id)


def _shorten(change: pb.StepChange) -> None:
    """Leaves values out of a change that would be too long for a page by itself."""
    length = change.ByteSize()
    for field in reversed(change.changes):
        if length <= _PAGE_BYTES:
            return
        length -= field.ByteSize()
        cut_before(field)
        cut_after(field)
        length += field.ByteSize()


def _change(result: ChangesResult, application_name: str, request_id: str) -> tuple[Response, tuple[Problem, ...]]:
    response = GetStepChangeResponse()
    for change in result.changes:
        _fill_change(response.step_change, change, application_name, None)
    return _read(response, result, application_name, request_id)


def _fill_change(message: pb.StepChange, change: StepChange, application_name: str, max_bytes: int | None) -> None:
    message.change_id = change.change_id
    message.create_time.FromMilliseconds(round(change.created_at * 1000))
    message.customer_id = change.customer_id
    message.provider_name = change.provider
    message.sequence_id = change.sequence_id
    message.sequence_step_id = change.sequence_step_id
    message.template_id = change.template_id
    message.request_id = change.request_id
    message.application_name = application_name
    message.state = _STATES[change.state]
    message.reverts_change_id = change.reverts
    for field in change.fields or ():
        fill_change(message.changes.add(), field, max_bytes)


def _refusing(kind: type[Response]) -> Callable[..., Response]:
    return lambda problem, **names: failed(kind(), problem, **names)


UPDATE_STEP: Final = Method(
    "UpdateStep", True, _updating(UpdateStepResponse), _refusing(UpdateStepResponse)
)  # named in the class
GET_STEP: Final = Method("GetStep", False, _step, _refusing(GetStepResponse))
LIST_STEPS: Final = Method("ListSteps", False, _steps, _refusing(ListStepsResponse))
LIST_STEP_CHANGES: Final = Method("ListStepChanges", False, _changes, _refusing(ListStepChangesResponse))
GET_STEP_CHANGE: Final = Method("GetStepChange", False, _change, _refusing(GetStepChangeResponse))
REVERT_STEP_CHANGE: Final = Method(
    "RevertStepChange",
    True,  # named in the class
    _updating(RevertStepChangeResponse),
    _refusing(RevertStepChangeResponse),
)
