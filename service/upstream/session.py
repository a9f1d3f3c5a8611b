"""The calls of one update at its provider: authenticated, counted, within the deadline, and truthful when they fail."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeAlias

from msgspec.structs import replace

from service.domain.credentials import Connection, OAuthCredentials
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, Origin, Outcome, Problem, UpdateFailed
from service.http1 import NoAnswer, Silence
from service.providers.adapter import ProviderAdapter, ProviderRequest, ProviderResponse
from service.providers.responses import secrets_of
from service.upstream.guard import ProviderGuard
from service.upstream.old_http import SILENCES, Upstream
from service.upstream.retry import wait_before_retry

Renew: TypeAlias = Callable[[Connection, Deadline], Awaitable[Connection]]
"""Renews the credentials of a connection that the provider has just refused."""

MAY_BE_APPLIED: Final = "The write may have been carried out; repeating the call is safe and settles it."

# What may be over in a moment. A read that stayed silent is repeated; a broken certificate or an endless answer is not.
_PASSING_SILENCES: Final = frozenset(
    {Silence.NAME, Silence.REFUSED, Silence.CUT, Silence.CONNECT_TIMEOUT, Silence.READ_TIMEOUT}
)
_PASSING_STATUSES: Final = frozenset({502, 503, 504})
_PASSING_CODES: Final = frozenset({ErrorCode.CONFLICT_ERROR, ErrorCode.TOO_MANY_REQUESTS_ERROR})


class _Passing(UpdateFailed):
    """A failure that repeating the request may cure."""


class ProviderSession:
    """The calls of one update.

    Attributes:
        count: Requests that were sent so far.
    """

    def __init__(
        self,
        upstream: Upstream,
        adapter: ProviderAdapter,
        guard: ProviderGuard,
        connection: Connection,
        renew: Renew,
        deadline: Deadline,
    ) -> None:
        self.count = 0
        self._upstream = upstream
        self._adapter = adapter
        self._guard = guard
        self._connection = connection
        self._renew = renew
        self._deadline = deadline

    def read(self, request: ProviderRequest) -> Coroutine[Any, Any, ProviderResponse]:
        """Sends a read and returns its good answer.

        Raises:
            UpdateFailed: The provider could not be reached, or refused; nothing was changed.
        """
        return self._call(request, may_apply=False)

    def write(self, request: ProviderRequest) -> Coroutine[Any, Any, ProviderResponse]:
        """Sends a write and returns its good answer.

        Raises:
            UpdateFailed: The provider could not be reached, or refused. The outcome of the problems is `unknown` if the
                write may have been carried out.
        """
        return self._call(request, may_apply=True)

    async def _call(self, request: ProviderRequest, *, may_apply: bool) -> ProviderResponse:
        """Repeats what may succeed: reads, and writes too, since they set absolute values."""
        in_doubt = False
        self._guard.budget.earn()
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt(request, may_apply=may_apply)
            except UpdateFailed as failure:
                # Once an attempt may have been carried out, no later refusal takes that back.
                in_doubt = in_doubt or any(problem.outcome is Outcome.UNKNOWN for problem in failure.problems)
                wait = self._wait_before_retry(failure, attempt)
                if wait is None:
                    raise UpdateFailed(*map(_in_doubt, failure.problems) if in_doubt else failure.problems) from None
            await asyncio.sleep(wait)

    def _wait_before_retry(self, failure: UpdateFailed, attempt: int) -> float | None:
        if not isinstance(failure, _Passing):
            return None
        wait = wait_before_retry(attempt, failure.problems[0].retry_after, self._deadline.remaining())
        return wait if wait is not None and self._guard.budget.spend() else None

    async def _attempt(self, request: ProviderRequest, *, may_apply: bool) -> ProviderResponse:
        answer = await self._send(request, may_apply=may_apply)
        if answer.status == 401 and isinstance(self._connection.credentials, OAuthCredentials):
            renewed = await self._renew(self._connection, self._deadline)
            if renewed is not self._connection:
                self._connection = renewed
                answer = await self._send(request, may_apply=may_apply)
        problems = self._adapter.problems(request, answer, self._connection)
        if not problems:
            return answer
        self._remember(request, answer, problems[0])
        if may_apply and _leaves_in_doubt(answer.status, problems[0]):
            problems = tuple(map(_in_doubt, problems))
        if answer.status in _PASSING_STATUSES or _says_when(problems[0]):
            raise _Passing(*problems)
        raise UpdateFailed(*problems)

    def _remember(self, request: ProviderRequest, answer: ProviderResponse, problem: Problem) -> None:
        if answer.status == 429 and problem.code is ErrorCode.TOO_MANY_REQUESTS_ERROR and problem.retry_after:
            self._guard.limits.refused(self._connection.id, self._adapter.rate_scope(request), problem.retry_after)

    async def _send(self, request: ProviderRequest, *, may_apply: bool) -> ProviderResponse:
        if self._deadline.remaining() <= 0:
            raise self._unanswered(request, NoAnswer(Silence.DEADLINE, sent=False), may_apply=may_apply)
        guard, connection = self._guard, self._connection
        scope = self._adapter.rate_scope(request)
        await guard.admit(connection.id, scope, self._deadline)
        self.count += 1
        headers = self._adapter.headers(connection.credentials)
        try:
            answer = await self._upstream.send(
                self._adapter.base_url, request, headers, self._deadline, secrets_of(connection.credentials)
            )
        except NoAnswer as silence:
            guard.breaker.failed(connection.id)
            raise self._unanswered(request, silence, may_apply=may_apply) from None
        if answer.status in _PASSING_STATUSES:
            guard.breaker.failed(connection.id)
        else:
            guard.breaker.succeeded(connection.id)
        guard.limits.learn(connection.id, scope, self._adapter.rate_windows(answer))
        return answer

    def _unanswered(self, request: ProviderRequest, silence: NoAnswer, *, may_apply: bool) -> UpdateFailed:
        unknown = may_apply and silence.sent
        code = SILENCES[silence.why]
        if unknown and code is ErrorCode.SERVICE_UNAVAILABLE_ERROR:
            code = ErrorCode.GATEWAY_TIMEOUT_ERROR
        what_now = MAY_BE_APPLIED if unknown else "Nothing was changed; try again later."
        problem = Problem(
            code,
            f"{self._adapter.provider.title} gave no answer to {request.endpoint}: {silence}. {what_now}",
            origin=Origin.PROVIDER,
            outcome=Outcome.UNKNOWN if unknown else Outcome.NOT_APPLIED,
        )
        return _Passing(problem) if silence.why in _PASSING_SILENCES else UpdateFailed(problem)


def _leaves_in_doubt(status: int, problem: Problem) -> bool:
    """Whether a write that was answered with this status may have been carried out.

    501 says that such requests are never handled, and a 503 with a time that they are not until then. A 503 without one
    comes as often from a proxy that lost the provider in the middle of a request.
    """
    return status >= 500 and status != 501 and not (status == 503 and problem.retry_after is not None)


def _in_doubt(problem: Problem) -> Problem:
    if problem.outcome is Outcome.UNKNOWN:
        return problem
    return replace(problem, outcome=Outcome.UNKNOWN, detail=f"{problem.detail} {MAY_BE_APPLIED}")


def _says_when(problem: Problem) -> bool:
    return problem.code in _PASSING_CODES and problem.retry_after is not None
