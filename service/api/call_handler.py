"""One call from its arrival to its end, the same for every door."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

import msgspec
import structlog
from engagement.v1 import sequence_step_service_pb2

from service.api import metadata
from service.api.admission import Admission
from service.api.deadline_policy import DeadlinePolicy
from service.api.envelope import envelope
from service.domain.deadline import Deadline
from service.domain.errors import CallRefused, ErrorCode, Outcome, Problem, Violation
from service.domain.step import Caller, Provider, StepUpdate, UpdateResult
from service.observability.call_log import CallLog, CallRecord
from service.observability.exceptions import describe

log: Final = structlog.get_logger("service.api")

UseCase: TypeAlias = Callable[[Caller, StepUpdate, Deadline], Awaitable[UpdateResult]]
"""`service.update_step.UpdateStep`, or what stands for it in a test."""


class CallerGone(Exception):
    """The caller went away before its call had arrived whole."""


class Applications(Protocol):
    """Who may call; `service.connections` says what each method promises."""

    async def authenticate(self, api_key: str | None) -> Caller:
        """The application that has the key."""

    async def by_certificate(self, identities: Sequence[str]) -> Caller:
        """The application that a verified client certificate stands for."""


class CallOutcome(msgspec.Struct, frozen=True):
    """How a call ended.

    Attributes:
        request_id: The id of the call.
        response: The envelope.
        problem: The first problem; None if there is none.
        refused: Whether the call itself was at fault or could not be served, rather than the update.
        error_mode: How the caller wants failures of the update.
        violations: The parts of the call that break a rule.
    """

    request_id: str
    response: sequence_step_service_pb2.UpdateStepResponse
    problem: Problem | None = None
    refused: bool = False
    error_mode: metadata.ErrorMode = metadata.ErrorMode.ENVELOPE
    violations: Sequence[Violation] = ()


class TransportStatus(msgspec.Struct, frozen=True):
    """The status that a door tells its caller; a call that the caller has left has the one that it would be told.

    Attributes:
        grpc: The name of the gRPC status; empty at a door that has none.
        http: The HTTP status; 0 at a door that has none.
    """

    grpc: str = ""
    http: int = 0


class InboundCall(Protocol):
    """A call that arrives at a door."""

    def pairs(self) -> metadata.Pairs:
        """Its metadata."""

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None if it set none."""

    def identities(self) -> Sequence[str]:
        """The names in a client certificate that TLS has verified; empty without one."""

    async def update(self, told: metadata.CallMetadata, deadline: Deadline) -> StepUpdate:
        """What it asks for; read only when the caller is known to be welcome.

        Raises:
            CallRefused: It is not a request.
            CallerGone: The rest of it does not come.
        """

    def told(self, ended: CallOutcome | None) -> TransportStatus:
        """The status that its caller is told; None if the caller has gone away."""


@dataclass(slots=True)
class _Call:
    """What is known so far of a call, for its answer and its log line."""

    request_id: str
    started: float = field(default_factory=time.perf_counter)
    customer_id: str = ""
    provider: Provider | None = None
    application_name: str = ""


class CallHandler:
    """Carries out calls of the one operation, whichever door they come through."""

    def __init__(
        self,
        update_step: UseCase,
        applications: Applications,
        calls: CallLog,
        deadlines: DeadlinePolicy,
        admission: Admission,
    ) -> None:
        self._update_step = update_step
        self._applications = applications
        self._calls = calls
        self._deadlines = deadlines
        self._admission = admission

    async def update_step(self, arrival: InboundCall) -> CallOutcome:
        """Carries out one call; whatever happens, there is an envelope that tells it.

        Raises:
            CallerGone: Nobody is there to be answered.
        """
        values, violations = metadata.gather(arrival.pairs())
        call = _Call(metadata.request_id(values))
        result: UpdateResult | None = None
        try:
            with self._admission.call():
                deadline = self._deadline(arrival.time_remaining())
                call.provider = metadata.named_provider(values)
                call.customer_id = values.get(metadata.CUSTOMER_ID, "")
                caller = await self._authenticate(arrival, values, violations)
                call.application_name = caller.application_name
                told = metadata.parse(values, violations)
                call.customer_id, call.provider = told.customer_id, told.provider
                update = await arrival.update(told, deadline)
                with self._admission.share(caller.application_id, told.provider, told.customer_id):
                    result = await self._update_step(caller, update, deadline)
            ended = _ended(call, told.error_mode, result)
        except CallRefused as refusal:
            ended = _refused(call, refusal)
        except (asyncio.CancelledError, CallerGone):
            self._record(call, arrival.told(None), None, result)
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets an id and nothing else
            ended = _broken(call, error)
        self._record(call, arrival.told(ended), ended, result)
        return ended

    def refuse(self, arrival: InboundCall, refusal: CallRefused) -> CallOutcome:
        """Ends a call that asks for nothing that is served here."""
        values, _ = metadata.gather(arrival.pairs())
        call = _Call(metadata.request_id(values))
        ended = _refused(call, refusal)
        self._record(call, arrival.told(ended), ended, None)
        return ended

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

    async def _authenticate(
        self, arrival: InboundCall, values: dict[str, str], violations: Sequence[Violation]
    ) -> Caller:
        key = metadata.api_key(values)
        if key is None and not any(violation.field == metadata.API_KEY for violation in violations):
            identities = arrival.identities()
            if identities:
                return await self._applications.by_certificate(identities)
        return await self._applications.authenticate(key.reveal() if key else None)

    def _record(
        self, call: _Call, told: TransportStatus, ended: CallOutcome | None, result: UpdateResult | None
    ) -> None:
        first = ended.problem if ended is not None else None
        self._calls.record(
            CallRecord(
                request_id=call.request_id,
                application=call.application_name,
                customer=call.customer_id,
                provider=call.provider or "",
                grpc_status=told.grpc,
                http_status=told.http,
                code=first.code.value if first else "",
                outcome=first.outcome.value if first else "",
                error_id=ended.response.errors[0].id if ended is not None and first else "",
                provider_calls=result.provider_calls if result else 0,
                seconds=time.perf_counter() - call.started,
            )
        )


def _ended(call: _Call, mode: metadata.ErrorMode, result: UpdateResult) -> CallOutcome:
    response = envelope(
        result.problems,
        result.warnings,
        result.changes,
        application_name=call.application_name,
        request_id=call.request_id,
    )
    return CallOutcome(call.request_id, response, result.problems[0] if result.problems else None, error_mode=mode)


def _refused(call: _Call, refusal: CallRefused) -> CallOutcome:
    problem = refusal.problem
    response = envelope([problem], application_name=call.application_name, request_id=call.request_id)
    return CallOutcome(call.request_id, response, problem, refused=True, violations=refusal.violations)


def _broken(call: _Call, error: Exception) -> CallOutcome:
    log.error("bug", request_id=call.request_id, **describe(error))
    # How far the update had come is not known here; a write may have been among what was done.
    problem = Problem(
        ErrorCode.INTERNAL_SERVER_ERROR,
        f"This service failed by a bug of its own; report the request id {call.request_id}. "
        "The update may have been carried out; repeating the call is safe.",
        outcome=Outcome.UNKNOWN,
    )
    return _refused(call, CallRefused(problem))
