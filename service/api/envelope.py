"""Builds the response of a call: errors, warnings and changes, within the size that every client can read."""

import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias, TypeVar

from engagement.v1 import envelope_pb2
from engagement.v1.sequence_step_service_pb2 import (
    GetStepChangeResponse,
    GetStepResponse,
    ListStepChangesResponse,
    ListStepsResponse,
    RevertStepChangeResponse,
    UpdateStepResponse,
)

from service.api.contract import ORIGINS, OUTCOMES
from service.api.value import CUT, encodable, fill_value
from service.domain.errors import CODES, Problem
from service.domain.step import WARNINGS, FieldChange, StepWarning, UpdateResult

Written: TypeAlias = UpdateStepResponse | RevertStepChangeResponse
"""The response of a call that can change something."""

Response: TypeAlias = Written | GetStepResponse | ListStepsResponse | ListStepChangesResponse | GetStepChangeResponse
R = TypeVar("R", bound=Response)
W = TypeVar("W", bound=Written)

MAX_RESPONSE_BYTES: Final = 1024 * 1024 - 1024
"""Longest response; clients of gRPC read 4 MiB by default, and the contract promises less than 1 MiB."""

MAX_VALUE_BYTES: Final = 64 * 1024
"""Longest string in `before` and `after`."""


def envelope(
    problems: Sequence[Problem] = (),
    warnings: Sequence[StepWarning] = (),
    changes: Sequence[FieldChange] = (),
    etag: str = "",
    conflicts: Sequence[FieldChange] = (),
    *,
    application_name: str,
    request_id: str,
) -> UpdateStepResponse:
    """The response of an update with what became of it, less than 1 MiB long."""
    result = UpdateResult(tuple(problems), tuple(warnings), tuple(changes), etag=etag, conflicts=tuple(conflicts))
    return written(UpdateStepResponse(), result, application_name=application_name, request_id=request_id)


def written(response: W, result: UpdateResult, *, application_name: str, request_id: str) -> W:
    """Fills a response with what became of an update; it is less than 1 MiB long then."""
    response.etag, response.change_id = result.etag, result.change_id
    _fill(response, result.problems, result.warnings, application_name, request_id)
    for fields, shown in ((result.changes, response.changes), (result.conflicts, response.conflicts)):
        for change in fields:
            fill_change(shown.add(), change, MAX_VALUE_BYTES)
    return fit(response, MAX_RESPONSE_BYTES)


def fill_change(shown: envelope_pb2.FieldChange, change: FieldChange, max_bytes: int | None) -> None:
    """Fills a change of a value; strings of more than `max_bytes` are cut."""
    shown.field = encodable(change.field)
    shown.before_truncated = fill_value(shown.before, change.before, max_bytes)
    shown.after_truncated = fill_value(shown.after, change.after, max_bytes)


def failed(response: R, problem: Problem, *, application_name: str, request_id: str) -> R:
    """Fills the response of a call that failed without having read or changed anything."""
    _fill(response, (problem,), (), application_name, request_id)
    return fit(response, MAX_RESPONSE_BYTES)


def _fill(
    response: Response,
    problems: Sequence[Problem],
    warnings: Sequence[StepWarning],
    application_name: str,
    request_id: str,
) -> None:
    for problem in problems:
        _fill_error(response.errors.add(), problem, application_name, request_id)
    for warning in warnings:
        response.warnings.add(
            detail=encodable(warning.detail),
            problem_type=warning.type.value,
            title=WARNINGS[warning.type].title,
            facts=_facts(warning.facts),
        )


def _fill_error(error: envelope_pb2.Error, problem: Problem, application_name: str, request_id: str) -> None:
    spec = CODES[problem.code]
    error.id = str(uuid.uuid4())
    error.detail = encodable(problem.detail)
    error.problem_type = problem.code.value
    error.title = encodable(problem.title or spec.title)
    error.code = problem.code.value
    error.status = str(spec.http_status)
    meta = error.meta
    meta.origin = ORIGINS[problem.origin]
    meta.application_name = application_name
    meta.outcome = OUTCOMES[problem.outcome]
    meta.request_id = request_id
    meta.facts.update(_facts(problem.facts))
    if problem.retry_after is not None:
        meta.retry_after.FromNanoseconds(math.ceil(problem.retry_after * 1000) * 1_000_000)
    if problem.cause is not None:
        meta.cause.code = problem.cause.status
        was_cut = fill_value(meta.cause.body, problem.cause.body, MAX_VALUE_BYTES)
        meta.cause.body_truncated = was_cut or problem.cause.body_truncated
        for name, value in problem.cause.headers.items():
            meta.cause.headers[encodable(name)] = encodable(value)


def _facts(facts: Mapping[str, str]) -> dict[str, str]:
    return {name: encodable(value) for name, value in facts.items()}


def fit(response: R, limit: int) -> R:
    """Shortens the response to at most `limit` bytes, the least needed parts first; what was cut or left out is marked.

    First the bodies and headers of causes from the last to the first, then the values of changes and conflicts, then these
    themselves, then warnings, then all errors but the first, then its facts and the length of its detail.
    """
    if response.ByteSize() <= limit:
        return response
    for shorten in _shortenings(response):
        shorten()
        if response.ByteSize() <= limit:
            break
    return response


def _shortenings(response: Response) -> Iterator[Callable[[], None]]:
    """The steps that shorten a response, in the order in which they are taken."""
    for error in reversed(response.errors):
        if error.meta.HasField("cause"):
            yield partial(_cut_body, error.meta.cause)
            yield partial(_drop, response, error.meta.cause.headers.clear)
    lists = (response.changes, response.conflicts) if isinstance(response, Written) else ()
    for changes in lists:
        for change in reversed(changes):
            yield partial(cut_before, change)
            yield partial(cut_after, change)
    for changes in lists:
        for _ in range(len(changes)):
            yield partial(_drop, response, changes.pop)
    for _ in range(len(response.warnings)):
        yield partial(_drop, response, response.warnings.pop)
    for _ in range(len(response.errors) - 1):
        yield partial(_drop, response, response.errors.pop)
    yield partial(_cut_texts, response)


def _cut_body(cause: envelope_pb2.ErrorCause) -> None:
    cause.body.string_value = CUT
    cause.body_truncated = True


def cut_before(change: envelope_pb2.FieldChange) -> None:
    """Leaves the value before out."""
    change.before.string_value = CUT
    change.before_truncated = True


def cut_after(change: envelope_pb2.FieldChange) -> None:
    """Leaves the value after out."""
    change.after.string_value = CUT
    change.after_truncated = True


def _drop(response: Response, remove: Callable[[], object]) -> None:
    remove()
    response.truncated = True


def _cut_texts(response: Response) -> None:
    response.truncated = True
    for error in response.errors:
        error.meta.facts.clear()
        error.title = encodable(error.title, 200)
        error.detail = encodable(error.detail, 1000)
