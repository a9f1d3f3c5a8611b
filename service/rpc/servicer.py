"""One call through the gRPC door, from its bytes to its answer."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, Protocol

import grpc
import structlog

from service.admission import Admission
from service.codes import CODES
from service.errors import CallRefused
from service.model import Caller, Deadline, ErrorCode, Outcome, Problem, Provider, UpdateResult, Violation
from service.observability.calls import CallLog, CallRecord
from service.observability.failures import describe
from service.rpc import metadata
from service.rpc.messages import envelope, parse_request
from service.rpc.status import details, grpc_code
from service.update_step import UpdateStep

log: Final = structlog.get_logger("service.rpc")

_DETAILS: Final = "grpc-status-details-bin"


class Applications(Protocol):
    """Who may call; `service.connections` says what each method promises."""

    async def authenticate(self, api_key: str | None) -> Caller:
        """The application that has the key."""

    async def by_certificate(self, identities: Sequence[str]) -> Caller:
        """The application that a verified client certificate stands for."""


@dataclass(frozen=True, slots=True)
class DeadlinePolicy:
    """How long a call may take, in seconds.

    Attributes:
        default: For callers that set no deadline.
        longest: For all.
    """

    default: float = 30.0
    longest: float = 60.0

    def budget(self, remaining: float | None) -> float:
        """Seconds for the work, so that a typed answer arrives shortly before the caller's own clock runs out.

        Args:
            remaining: Seconds until the caller's deadline; None if it set none.
        """
        if remaining is None:
            return min(self.default, self.longest)
        if remaining > self.longest:
            return self.longest
        return remaining - min(0.5, max(0.05, remaining * 0.05))


@dataclass(slots=True)
class _Call:
    """What is known so far of a call, for its answer and its log line."""

    request_id: str
    started: float = field(default_factory=time.perf_counter)
    customer_id: str = ""
    provider: Provider | None = None
    application_name: str = ""


class SequenceStepServicer:
    """Serves `engagement.v1.SequenceStepService`.

    Messages are decoded here and not by gRPC, so that bytes that are no such message get a typed answer too.
    """

    def __init__(
        self,
        update_step: UpdateStep,
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

    def drain(self) -> None:
        """Answers all further calls with UNAVAILABLE, so that they go elsewhere."""
        self._admission.drain()

    async def update_step(self, data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        """Answers one `UpdateStep`."""
        pairs: Any = context.invocation_metadata() or ()
        values, violations = metadata.gather(pairs)
        call = _Call(metadata.request_id(values))
        try:
            with self._admission.call():
                deadline = self._deadline(context)
                call.provider = _named_provider(values)
                call.customer_id = values.get(metadata.CUSTOMER_ID, "")
                caller = await self._authenticate(context, values, violations)
                call.application_name = caller.application_name
                told = metadata.parse(values, violations)
                call.customer_id, call.provider = told.customer_id, told.provider
                update = parse_request(data, told.provider, told.customer_id)
                with self._admission.share(caller.application_id, told.provider, told.customer_id):
                    result = await self._update_step(caller, update, deadline)
        except CallRefused as refusal:
            await self._refuse(context, call, refusal)
        except asyncio.CancelledError:
            self._log(call, "CANCELLED", None, "")
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets an id and nothing else
            await self._break(context, call, error)
        return await self._answer(context, call, told.error_mode, result)

    def _deadline(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> Deadline:
        budget = self._deadlines.budget(context.time_remaining())
        if budget <= 0:
            raise CallRefused(
                Problem(
                    ErrorCode.GATEWAY_TIMEOUT_ERROR,
                    "The deadline of the call had passed when it arrived; set a longer one.",
                )
            )
        return Deadline.after(budget)

    async def _authenticate(
        self,
        context: grpc.aio.ServicerContext[bytes, bytes],
        values: dict[str, str],
        violations: Sequence[Violation],
    ) -> Caller:
        key = metadata.api_key(values)
        if key is None and not any(violation.field == metadata.API_KEY for violation in violations):
            identities = _certificate_identities(context)
            if identities:
                return await self._applications.by_certificate(identities)
        return await self._applications.authenticate(key.reveal() if key else None)

    async def _answer(
        self,
        context: grpc.aio.ServicerContext[bytes, bytes],
        call: _Call,
        mode: metadata.ErrorMode,
        result: UpdateResult,
    ) -> bytes:
        response = envelope(
            result.problems,
            result.warnings,
            result.changes,
            application_name=call.application_name,
            request_id=call.request_id,
        )
        first = result.problems[0] if result.problems else None
        if first is None:
            context.set_trailing_metadata(((metadata.REQUEST_ID, call.request_id),))
            self._log(call, "OK", result, "")
            return response.SerializeToString()
        error_id = response.errors[0].id
        if mode is metadata.ErrorMode.ENVELOPE:
            context.set_trailing_metadata(_trailers(call, first))
            self._log(call, "OK", result, error_id)
            return response.SerializeToString()
        code = grpc_code(first.code)
        self._log(call, code.name, result, error_id)
        message, status = details(first, (), response)
        await context.abort(code, message, (*_trailers(call, first), (_DETAILS, status)))
        raise AssertionError("abort raises")

    async def _refuse(
        self, context: grpc.aio.ServicerContext[bytes, bytes], call: _Call, refusal: CallRefused
    ) -> NoReturn:
        problem = refusal.problem
        response = envelope([problem], application_name=call.application_name, request_id=call.request_id)
        code = grpc_code(problem.code)
        self._log(call, code.name, UpdateResult((problem,)), response.errors[0].id)
        message, status = details(problem, refusal.violations, response)
        await context.abort(code, message, (*_trailers(call, problem), (_DETAILS, status)))
        raise AssertionError("abort raises")

    async def _break(self, context: grpc.aio.ServicerContext[bytes, bytes], call: _Call, error: Exception) -> NoReturn:
        log.error("bug", request_id=call.request_id, **describe(error))
        # How far the update had come is not known here; a write may have been among what was done.
        problem = Problem(
            ErrorCode.INTERNAL_SERVER_ERROR,
            f"This service failed by a bug of its own; report the request id {call.request_id}. "
            "The update may have been carried out; repeating the call is safe.",
            outcome=Outcome.UNKNOWN,
        )
        await self._refuse(context, call, CallRefused(problem))

    def _log(self, call: _Call, status: str, result: UpdateResult | None, error_id: str) -> None:
        first = result.problems[0] if result is not None and result.problems else None
        self._calls.record(
            CallRecord(
                request_id=call.request_id,
                application=call.application_name,
                customer=call.customer_id,
                provider=call.provider.value if call.provider else "",
                grpc_status=status,
                code=first.code.value if first else "",
                outcome=first.outcome.value if first else "",
                error_id=error_id,
                provider_calls=result.provider_calls if result else 0,
                seconds=time.perf_counter() - call.started,
            )
        )


def _named_provider(values: dict[str, str]) -> Provider | None:
    name = values.get(metadata.PROVIDER_NAME, "").strip().lower()
    return Provider(name) if name in tuple(Provider) else None


def _trailers(call: _Call, problem: Problem) -> tuple[tuple[str, str], ...]:
    return (
        (metadata.REQUEST_ID, call.request_id),
        (metadata.ERROR_CODE, problem.code.value),
        (metadata.ERROR_STATUS, str(CODES[problem.code].http_status)),
    )


def _certificate_identities(context: grpc.aio.ServicerContext[bytes, bytes]) -> list[str]:
    """The alternative names and the common name of a client certificate that TLS has verified; empty without one."""
    auth = context.auth_context()
    names = [*auth.get("x509_subject_alternative_name", ()), *auth.get("x509_common_name", ())]
    return [name.decode("utf-8", "replace") for name in names]
