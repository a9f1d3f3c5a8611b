"""Handles a call on connections from its metadata to its end: authentication, permission, admission, the log."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

import msgspec
import structlog
from msgspec.structs import replace

from service.api import contract, metadata
from service.api.admission import Admission
from service.api.authentication import Applications, authenticated
from service.api.deadline_policy import DeadlinePolicy
from service.domain.deadline import Deadline
from service.domain.errors import (
    CODES,
    CallRefused,
    ErrorCode,
    Outcome,
    Problem,
    UpdateFailed,
    Violation,
    invalid,
)
from service.domain.outcome import stated
from service.domain.step import Caller, Provider
from service.observability.call_log import CallLog, CallRecord
from service.observability.exceptions import exception_fields
from service.observability.sent_requests import collect
from service.tasks import within

log: Final = structlog.get_logger("service.api")

# These calls have a share of what is served at a time, as if they were to a provider of their own.
_MANAGEMENT: Final = Provider("management", "the store of connections")

_NOT_ALLOWED: Final = Problem(
    ErrorCode.FORBIDDEN_ERROR,
    "This key or certificate may not manage connections.",
    advice="Use one that may: `seqstep app add-key NAME --manage` makes a key.",
)
_TOO_LATE: Final = Problem(
    ErrorCode.GATEWAY_TIMEOUT_ERROR,
    "The deadline of the call came first, and it may have been carried out.",
    advice="Repeat it with a longer one; that is safe.",
    outcome=Outcome.UNKNOWN,
)

T = TypeVar("T")

ManagementSpan: TypeAlias = Callable[[str, metadata.MetadataPairs, str], AbstractContextManager[None]]
"""Opens the span of a call, given its method, its metadata and the full name of its service."""


class NamesConnection(Protocol):
    """A request that may name a connection."""

    @property
    def customer_id(self) -> str:
        """The caller's own id of the customer, as it came."""

    @property
    def provider_name(self) -> str:
        """The provider, as it came."""


RequestT = TypeVar("RequestT", bound=NamesConnection)


ReadT_co = TypeVar("ReadT_co", bound=NamesConnection, covariant=True)


class InboundManagementCall(Protocol[ReadT_co]):
    """A call as its protocol brings it; `service.api.call_handler.InboundCall` says what else each method promises."""

    def metadata_pairs(self) -> metadata.MetadataPairs:
        """Its metadata."""

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None if it set none."""

    def certificate_names(self) -> Sequence[str]:
        """The names in a verified client certificate."""

    def peer(self) -> str:
        """The address that it came from."""

    async def read(self) -> ReadT_co:
        """Receives and decodes its request; only called for a caller that may manage connections.

        Raises:
            CallRefused: It is not a request.
        """


class ManagementCall(msgspec.Struct, frozen=True):
    """A call of an application that is known and may manage its connections.

    Attributes:
        caller: The application.
        request_id: The id of the call.
        deadline: When its response must be there.
    """

    caller: Caller
    request_id: str
    deadline: Deadline


class ManagementOutcome(msgspec.Struct, Generic[T], frozen=True):
    """How a call ended.

    Attributes:
        request_id: The id of the call.
        response: The response; None on failure.
        problem: Why it failed; None on success.
        violations: The parts of the call that break a rule.
    """

    request_id: str
    response: T | None
    problem: Problem | None = None
    violations: Sequence[Violation] = ()


class ManagementHandler:
    """Handles the calls on connections."""

    def __init__(
        self,
        applications: Applications,
        call_logs: Sequence[CallLog],
        deadlines: DeadlinePolicy,
        admission: Admission,
        span: ManagementSpan | None = None,
    ) -> None:
        """Makes the handler.

        Args:
            applications: Who may call.
            call_logs: Where a record of each call goes.
            deadlines: How long a call may take.
            admission: How many calls are served at a time.
            span: Opens the span of a call; None without traces.
        """
        self._span = span
        self._applications = applications
        self._call_logs = call_logs
        self._deadlines = deadlines
        self._admission = admission

    async def handle(
        self,
        service: str,
        method: str,
        inbound: InboundManagementCall[RequestT],
        carry_out: Callable[[ManagementCall, RequestT], Coroutine[Any, Any, T]],
    ) -> ManagementOutcome[T]:
        """Handles one call.

        Args:
            service: The full name of its service, for the log.
            method: Its method.
            inbound: The call.
            carry_out: Does what it asks for.
        """
        pairs = inbound.metadata_pairs()
        with self._span(method, pairs, service) if self._span is not None else contextlib.nullcontext():
            return await self._handle(_Call(service, method, inbound), inbound, carry_out)

    async def _handle(
        self,
        call: "_Call",
        inbound: InboundManagementCall[RequestT],
        carry_out: Callable[[ManagementCall, RequestT], Coroutine[Any, Any, T]],
    ) -> ManagementOutcome[T]:
        response: T | None = None
        problem: Problem | None = None
        violations: Sequence[Violation] = ()
        try:
            response = await self._answer(call, inbound, carry_out)
        except asyncio.CancelledError:
            self._record(call, "CANCELLED", None, Outcome.UNKNOWN)
            raise
        except CallRefused as refusal:
            problem, violations = refusal.problem, refusal.violations
        except UpdateFailed as failure:
            problem = stated(failure.problems[0])
            if problem.code is ErrorCode.SERVICE_UNAVAILABLE_ERROR:
                # The database may have failed behind a change as well as before it.
                problem = replace(problem, outcome=Outcome.UNKNOWN)
        except TimeoutError:
            problem = stated(_TOO_LATE)
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets an id and nothing else
            log.error("bug", request_id=call.request_id, **exception_fields(error))  # noqa: TRY400  # texts may be secret
            problem = Problem(
                ErrorCode.INTERNAL_SERVER_ERROR,
                f"This service failed by a bug of its own; report the request id {call.request_id}.",
                outcome=Outcome.UNKNOWN,
            )
        self._record(call, CODES[problem.code].grpc_status if problem else "OK", problem)
        return ManagementOutcome(call.request_id, response, problem, violations)

    async def _answer(
        self,
        call: "_Call",
        inbound: InboundManagementCall[RequestT],
        carry_out: Callable[[ManagementCall, RequestT], Coroutine[Any, Any, T]],
    ) -> T:
        with self._admission.authentication_permit():
            deadline = Deadline.after(self._deadlines.budget(inbound.time_remaining()))
            caller = await authenticated(self._applications, inbound, call.values, call.violations, deadline)
        call.application = caller.application_name
        wrong = [each for each in call.violations if each.field in (contract.API_KEY, contract.REQUEST_ID)]
        if wrong:
            raise invalid(wrong, ErrorCode.BAD_REQUEST)
        if not caller.may_manage:
            raise CallRefused(stated(_NOT_ALLOWED))
        # Before the request is waited for, so that requests that do not come take nothing from other callers.
        with self._admission.call_permit(caller.application_id, _MANAGEMENT, ""):
            async with asyncio.timeout(deadline.remaining()):
                request = await inbound.read()
            call.customer, call.provider = request.customer_id, request.provider_name
            work = carry_out(ManagementCall(caller, call.request_id, deadline), request)
            return await within(deadline.remaining(), work)

    def _record(self, call: "_Call", status: str, problem: Problem | None, outcome: Outcome | None = None) -> None:
        outcome = problem.outcome if problem is not None else outcome
        record = CallRecord(
            request_id=call.request_id,
            application=call.application,
            # Any text may stand in the place of an id.
            customer=call.customer if contract.METADATA_VALUE.fullmatch(call.customer) else "",
            provider=metadata.named_provider({contract.PROVIDER_NAME: call.provider}) or "",
            grpc_status=status,
            http_status=0,
            code=problem.code.value if problem else "",
            outcome=outcome.value if outcome is not None else "",
            error_id="",
            provider_calls=len(call.sent.requests),
            requests=call.sent.requests,
            seconds=time.perf_counter() - call.started,
            peer=call.peer,
            refusal=problem.refusal if problem else "",
            service=call.service,
            method=call.method,
        )
        for call_log in self._call_logs:
            call_log.record(record)


class _Call:
    """What is known of a call so far."""

    def __init__(self, service: str, method: str, inbound: InboundManagementCall[RequestT]) -> None:
        self.service = service
        self.method = method
        self.started = time.perf_counter()
        self.values, self.violations = metadata.gather(inbound.metadata_pairs())
        self.request_id = metadata.request_id(self.values)
        self.peer = inbound.peer()
        self.application = self.customer = self.provider = ""
        self.sent = collect()
