"""Handles one call from its metadata to its outcome, the same for the gRPC and the HTTP server."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import msgspec
import structlog
from msgspec.structs import replace

from service.api import contract, metadata
from service.api.admission import Admission
from service.api.authentication import Applications, authenticated
from service.api.deadline_policy import DeadlinePolicy
from service.api.envelope import Response
from service.api.methods import (
    GET_STEP,
    GET_STEP_CHANGE,
    LIST_STEP_CHANGES,
    LIST_STEPS,
    REVERT_STEP_CHANGE,
    UPDATE_STEP,
    Method,
    Result,
)
from service.domain.deadline import Deadline
from service.domain.errors import CallRefused, ErrorCode, Origin, Outcome, Problem, Violation
from service.domain.outcome import doubted
from service.domain.sequence import SequenceResult, StepQuery
from service.domain.step import Caller, Provider, StepRef, StepUpdate, StepWarning, UpdateResult
from service.domain.step_changes import ChangeRef, ChangeRevert, ChangesQuery, ChangesResult
from service.domain.validation import is_id
from service.observability.call_log import CallLog, CallRecord
from service.observability.exceptions import exception_fields
from service.observability.sent_requests import SentRequests, collect
from service.update_step import UpdateAbandoned

log: Final = structlog.get_logger("service.api")

Updates: TypeAlias = Callable[[Caller, StepUpdate, Deadline], Awaitable[UpdateResult]]
"""`service.update_step.UpdateStep`, or what stands for it in a test."""

Reads: TypeAlias = Callable[[Caller, StepQuery, Deadline], Awaitable[SequenceResult]]
"""`service.read_steps.ReadSteps`, or what stands for it in a test."""

Asked: TypeAlias = StepUpdate | StepQuery | ChangesQuery | ChangeRef
"""What a request asks for, by its method."""


class History(Protocol):
    """`service.step_history.StepHistory`, or what stands for it in a test."""

    async def list(self, caller: Caller, query: ChangesQuery, deadline: Deadline) -> ChangesResult:
        """Lists changes."""

    async def get(self, caller: Caller, wanted: ChangeRef, deadline: Deadline) -> ChangesResult:
        """Reads a change."""

    async def revert(self, caller: Caller, wanted: ChangeRevert, deadline: Deadline) -> UpdateResult:
        """Takes a change back."""


# What the log says of a step that was updated though its caller had gone; an update that succeeds says nothing.
_APPLIED: Final = "applied"

# An earlier attempt of a call that breaks a rule broke it too.
_REFUSED_AT_ANY_TIME: Final = frozenset({ErrorCode.BAD_REQUEST, ErrorCode.VALIDATION_ERROR})


# Refusals whose reason those who run the service want to know, and whose text has nothing that a caller wrote.
_LOGGED_REFUSALS: Final = frozenset(
    {
        ErrorCode.UNAUTHORIZED_ERROR,
        ErrorCode.TOO_MANY_REQUESTS_ERROR,
        ErrorCode.INTERNAL_SERVER_ERROR,
        ErrorCode.SERVICE_UNAVAILABLE_ERROR,
        ErrorCode.GATEWAY_TIMEOUT_ERROR,
    }
)


class CallerGone(Exception):
    """The caller went away before its request had arrived whole."""


class CallOutcome(msgspec.Struct, frozen=True):
    """How a call ended.

    Attributes:
        request_id: The id of the call.
        response: The envelope.
        problem: The first problem; None if there is none.
        refused: Whether the call itself was wrong or could not be served, rather than the update.
        error_mode: How the caller wants failures of the update.
        violations: The parts of the call that break a rule.
        provider_calls: Requests that were sent to the provider.
    """

    request_id: str
    response: Response
    problem: Problem | None = None
    refused: bool = False
    error_mode: metadata.ErrorMode = metadata.ErrorMode.ENVELOPE
    violations: Sequence[Violation] = ()
    provider_calls: int = 0


class TransportStatus(msgspec.Struct, frozen=True):
    """The status that a call ends with in its protocol.

    Attributes:
        grpc: The name of the gRPC status; empty over HTTP.
        http: The HTTP status; 0 over gRPC.
    """

    grpc: str = ""
    http: int = 0


class InboundCall(Protocol):
    """A call as its protocol brings it."""

    def metadata_pairs(self) -> metadata.MetadataPairs:
        """Its metadata."""

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None if it set none."""

    def certificate_names(self) -> Sequence[str]:
        """The names in a client certificate that TLS has verified; empty without one."""

    def peer(self) -> str:
        """The address that it came from, as HOST:PORT."""

    async def read_request(self, call_metadata: metadata.CallMetadata, deadline: Deadline) -> Asked:
        """Reads and decodes what it asks for; only called for a caller that is known and admitted.

        Raises:
            CallRefused: It is not a request, or not all of it arrived in time.
            CallerGone: The caller went away before all of it had arrived.
        """

    def transport_status(self, outcome: CallOutcome | None) -> TransportStatus:
        """The status that it ends with; `outcome` is None if the caller went away."""


@dataclass(slots=True)
class _CallFacts:
    """What is known of a call so far, for its response and its log line."""

    request_id: str
    method: Method
    started: float = field(default_factory=time.perf_counter)
    customer_id: str = ""
    provider: Provider | None = None
    application_name: str = ""
    provider_calls: int = 0
    is_retry: bool = False
    peer: str = ""
    request: Asked | None = None
    warnings: Sequence[StepWarning] = ()
    sent: SentRequests = field(default_factory=collect)


class CallHandler:
    """Handles calls: admission, authentication, metadata, the use case, the envelope, the log."""

    def __init__(
        self,
        update_step: Updates,
        read_steps: Reads,
        history: History,
        applications: Applications,
        call_logs: Sequence[CallLog],
        deadlines: DeadlinePolicy,
        admission: Admission,
    ) -> None:
        """Makes the handler.

        Args:
            update_step: The use case of updates.
            read_steps: The use case of reads.
            history: The use cases of looking back.
            applications: Who may call.
            call_logs: Where a record of each call goes.
            deadlines: How long a call may take.
            admission: How many calls are served at a time.
        """
        self._use_cases: dict[str, Callable[[Caller, Any, Deadline], Awaitable[Result]]] = {
            UPDATE_STEP.name: update_step,
            GET_STEP.name: read_steps,
            LIST_STEPS.name: read_steps,
            LIST_STEP_CHANGES.name: history.list,
            GET_STEP_CHANGE.name: history.get,
            REVERT_STEP_CHANGE.name: history.revert,
        }
        self._applications = applications
        self._call_logs = call_logs
        self._deadlines = deadlines
        self._admission = admission

    async def handle(self, method: Method, inbound: InboundCall) -> CallOutcome:
        """Handles one call of a method; whatever happens, the outcome has an envelope that says it.

        Raises:
            CallerGone: The caller went away, so that there is nobody to answer.
        """
        pairs = inbound.metadata_pairs()
        values, violations = metadata.gather(pairs)
        call = _CallFacts(metadata.request_id(values), method, is_retry=metadata.is_retry(pairs))
        call.peer = inbound.peer()
        try:
            with self._admission.authentication_permit():
                deadline = self._deadline(inbound.time_remaining())
                call.provider = metadata.named_provider(values)
                call.customer_id = values.get(contract.CUSTOMER_ID, "")
                caller = await authenticated(self._applications, inbound, values, violations, deadline)
            call.application_name = caller.application_name
            given = metadata.parse(values, violations)
            call.customer_id, call.provider = given.customer_id, given.provider
            # Before the request is waited for, so that requests that do not come take nothing from other callers.
            with self._admission.call_permit(caller.application_id, given.provider, given.customer_id):
                request = call.request = await inbound.read_request(given, deadline)
                if isinstance(request, StepUpdate | ChangeRevert):
                    request = replace(request, is_retry=call.is_retry, request_id=call.request_id)
                result = await self._use_cases[method.name](caller, request, deadline)
            outcome = _completed(call, given.error_mode, result)
        except CallRefused as refusal:
            outcome = _refused(call, refusal)
        except UpdateAbandoned as abandoned:
            self._record_abandoned(call, inbound.transport_status(None), abandoned)
            raise
        except (asyncio.CancelledError, CallerGone):
            self._record(call, inbound.transport_status(None), None, left_step=_not_begun(call))
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets an id and nothing else
            outcome = _internal_error(call, error)
        self._record(call, inbound.transport_status(outcome), outcome)
        return outcome

    def refuse(self, inbound: InboundCall, refusal: CallRefused) -> CallOutcome:
        """Ends a request for something that is not served here; it is no call, so that nothing counts it."""
        values, _ = metadata.gather(inbound.metadata_pairs())
        call = _CallFacts(metadata.request_id(values), UPDATE_STEP)
        outcome = _refused(call, refusal)
        status = inbound.transport_status(outcome)
        log.info("no such operation", request_id=call.request_id, peer=inbound.peer(), http_status=status.http)
        return outcome

    def _deadline(self, remaining: float | None) -> Deadline:
        budget = self._deadlines.budget(remaining)
        if budget <= 0:
            raise CallRefused(
                Problem(
                    ErrorCode.GATEWAY_TIMEOUT_ERROR,
                    "The deadline of the call had passed when it arrived; set a longer one.",
                )
            )
        return Deadline.after(budget)

    def _record_abandoned(self, call: _CallFacts, status: TransportStatus, abandoned: UpdateAbandoned) -> None:
        """Records a call whose caller went away, when what it had begun has ended."""
        writing = abandoned.writing
        if writing is None:
            call.provider_calls = abandoned.requests_sent
            self._record(call, status, None, left_step=_not_begun(call))
            return

        def record(writing: "asyncio.Task[UpdateResult]") -> None:
            call.provider_calls = abandoned.requests_sent
            if writing.cancelled():
                self._record(call, status, None, left_step=Outcome.UNKNOWN.value)
            elif (error := writing.exception()) is not None:
                self._record(call, status, _internal_error(call, error))
            else:
                result = writing.result()
                outcome = _completed(call, metadata.ErrorMode.ENVELOPE, result)
                self._record(call, status, outcome, left_step="" if result.problems else _APPLIED)

        writing.add_done_callback(record)

    def _record(
        self, call: _CallFacts, status: TransportStatus, outcome: CallOutcome | None, left_step: str = ""
    ) -> None:
        problem = outcome.problem if outcome is not None else None
        request = call.request
        # Any text may stand in the place of an id.
        named = request if isinstance(request, StepRef) and _has_ids(request) else None
        if problem is not None and problem.origin is Origin.SERVICE and problem.code in _LOGGED_REFUSALS:
            log.warning("refused", code=problem.code.value, reason=problem.detail, limited=True)
        record = CallRecord(
            request_id=call.request_id,
            application=call.application_name,
            customer=call.customer_id,
            provider=call.provider or "",
            grpc_status=status.grpc,
            http_status=status.http,
            code=problem.code.value if problem else "",
            outcome=problem.outcome.value if problem else left_step,
            error_id=outcome.response.errors[0].id if outcome is not None and problem else "",
            provider_calls=call.provider_calls,
            seconds=time.perf_counter() - call.started,
            sequence=named.sequence_id if named is not None else "",
            step=named.sequence_step_id if named is not None else "",
            validate_only=isinstance(request, StepUpdate | ChangeRevert) and request.validate_only,
            method=call.method.name,
            is_retry=call.is_retry,
            peer=call.peer,
            warnings=[warning.type.value for warning in call.warnings],
            requests=call.sent.requests,
            refusal=problem.refusal if problem else "",
        )
        for call_log in self._call_logs:
            call_log.record(record)


def _not_begun(call: _CallFacts) -> str:
    """What became of the step in a call that wrote nothing itself."""
    return (Outcome.UNKNOWN if call.is_retry and call.method.is_write else Outcome.NOT_APPLIED).value


def _has_ids(request: StepRef) -> bool:
    is_of_step = not isinstance(request, StepQuery | ChangesQuery) or request.names_step
    return is_id(request.sequence_id) and (is_id(request.sequence_step_id) or not is_of_step)


def _completed(call: _CallFacts, mode: metadata.ErrorMode, result: Result) -> CallOutcome:
    call.provider_calls = result.provider_calls
    call.warnings = result.warnings
    response, problems = call.method.respond(result, call.application_name, call.request_id)
    problem = problems[0] if problems else None
    return CallOutcome(call.request_id, response, problem, error_mode=mode, provider_calls=result.provider_calls)


def _refused(call: _CallFacts, refusal: CallRefused) -> CallOutcome:
    problem = refusal.problem
    if call.is_retry and call.method.is_write and problem.code not in _REFUSED_AT_ANY_TIME:
        problem = doubted(problem)
    response = call.method.refuse(problem, application_name=call.application_name, request_id=call.request_id)
    return CallOutcome(call.request_id, response, problem, refused=True, violations=refusal.violations)


def _internal_error(call: _CallFacts, error: BaseException) -> CallOutcome:
    log.error("bug", request_id=call.request_id, **exception_fields(error))
    # How far the update had come is not known here; a write may have been among what was done.
    done = "The update may have been carried out; repeating the call is safe." if call.method.is_write else ""
    problem = Problem(
        ErrorCode.INTERNAL_SERVER_ERROR,
        f"This service failed by a bug of its own; report the request id {call.request_id}. {done}".strip(),
        outcome=Outcome.UNKNOWN if call.method.is_write else Outcome.NOT_APPLIED,
    )
    return _refused(call, CallRefused(problem))
