"""The requests of one update at its provider: authenticated, counted, within the deadline, with a true outcome."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeAlias

import httpx
from msgspec.structs import replace

from service.domain.credentials import Connection, CredentialsId, OAuthCredentials
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, Origin, Outcome, Problem, UpdateFailed, failed
from service.domain.html import same_document
from service.domain.json_value import json_equal
from service.domain.step import BODY, FieldChange
from service.providers.adapter import ProviderAdapter, ProviderRequest, ProviderResponse, ResponseFailure, Write
from service.providers.responses import cause, secrets_of
from service.upstream.http import (
    ConnectionClosed,
    DeadlineExceeded,
    HttpClient,
    RequestHeaders,
    error_code,
    may_pass,
    request_was_sent,
)
from service.upstream.rate_limits import RateLimits
from service.upstream.retry import LONGEST_WAIT_SECONDS, CircuitBreaker, RetryBudget, wait_before_retry
from service.upstream.sequence_lock import SequenceLocks
from service.upstream.stored_forms import StoredForms

Renew: TypeAlias = Callable[[Connection, Deadline], Awaitable[Connection]]
"""Renews the credentials of a connection that the provider has just refused."""

_PASSING_CODES: Final = frozenset({ErrorCode.CONFLICT_ERROR, ErrorCode.TOO_MANY_REQUESTS_ERROR})

# What a provider says of the customer's access to it, and not of what is asked for.
_ACCESS_CODES: Final = frozenset(
    {ErrorCode.UNAUTHORIZED_ERROR, ErrorCode.PAYMENT_REQUIRED_ERROR, ErrorCode.FORBIDDEN_ERROR}
)

# A provider that lets a call's deadline pass for so long is taken for one in trouble.
_SLOW_SECONDS: Final = 5.0

# What a request needs at the least after a wait.
_LEAST_SECONDS: Final = 0.2


class ProviderSessions:
    """Opens sessions with one provider, and holds what they share within a worker.

    Attributes:
        adapter: What the provider does, and how.
        limits: What it said about its rate limits.
        budgets: How many requests of each application may be repeated.
        breakers: Whether it is asked at all for each application.
        locks: The sequences that are being updated.
        stored_forms: What it made of the texts that it was sent.
        observe_use: Gets each connection whose credentials it took, and with a code each whose credentials it refused.
    """

    def __init__(self, adapter: ProviderAdapter, http: HttpClient) -> None:
        self.adapter = adapter
        self.limits = RateLimits()
        self.budgets: defaultdict[int, RetryBudget] = defaultdict(RetryBudget)
        self.breakers: defaultdict[int, CircuitBreaker] = defaultdict(CircuitBreaker)
        self.locks = SequenceLocks()
        self.stored_forms = StoredForms()
        self.http = http
        self.observe_use: Callable[[Connection, ErrorCode | None], None] = lambda _connection, _refusal: None

    def open(self, connection: Connection, renew: Renew, deadline: Deadline) -> "ProviderSession":
        """A session for one update.

        Args:
            connection: Whose credentials it uses.
            renew: Renews them when the provider refuses them.
            deadline: When its last response must be there.
        """
        return ProviderSession(self, connection, renew, deadline)

    @property
    def open_breakers(self) -> int:
        """How many circuit breakers keep requests from the provider."""
        return sum(breaker.is_open for breaker in self.breakers.values())

    async def admit(
        self,
        application_id: int,
        credentials: CredentialsId,
        scope: str,
        deadline: Deadline,
        *,
        may_wait: bool = True,
    ) -> None:
        """Returns when a request may be sent; waits for a rate limit if it may, and the wait is short and fits the deadline.

        Raises:
            UpdateFailed: It is bound to fail; says after how many seconds it is not.
        """
        wait = self.limits.wait(credentials, scope)
        if wait:
            if not may_wait or wait > LONGEST_WAIT_SECONDS or wait + _LEAST_SECONDS > deadline.remaining():
                raise failed(
                    ErrorCode.TOO_MANY_REQUESTS_ERROR,
                    f"{self.adapter.provider.title}'s rate limit for {scope} is used up for this customer, so the request was "
                    "not sent.",
                    f"Repeat the call in {wait:.0f} s.",
                    retry_after=wait,
                    refusal="rate_limit",
                )
            await asyncio.sleep(wait)
        wait = self.breakers[application_id].wait()
        if wait:
            raise failed(
                ErrorCode.SERVICE_UNAVAILABLE_ERROR,
                f"{self.adapter.provider.title} has just failed for many calls in a row, so the request was not sent.",
                f"Repeat the call in {wait:.0f} s.",
                retry_after=wait,
                refusal="circuit_open",
            )


class _MayPass(UpdateFailed):
    """A failure that repeating the request may cure.

    Attributes:
        was_kept: Whether it met a kept connection that the server was closing; the next request makes a new one.
    """

    was_kept = False


class ProviderSession:
    """The requests of one update.

    Attributes:
        requests_sent: How many were sent so far.
        may_wait: Whether a request may be sent later than now, for a rate limit or since it failed before.
    """

    def __init__(self, shared: ProviderSessions, connection: Connection, renew: Renew, deadline: Deadline) -> None:
        self.requests_sent = 0
        self.may_wait = True
        self._shared = shared
        self._adapter = shared.adapter
        self._connection = connection
        self._credentials = connection.credentials_id
        self._headers: RequestHeaders | None = None
        self._budget = shared.budgets[connection.application_id]
        self._breaker = shared.breakers[connection.application_id]
        self._renew = renew
        self._deadline = deadline

    def read(self, request: ProviderRequest) -> Coroutine[Any, Any, ProviderResponse]:
        """Sends a read and returns its good response.

        Raises:
            UpdateFailed: The provider could not be reached, or refused; nothing was changed.
        """
        return self._exchange(request, is_write=False)

    def write(self, request: ProviderRequest) -> Coroutine[Any, Any, ProviderResponse]:
        """Sends a write and returns its good response.

        Raises:
            UpdateFailed: The provider could not be reached, or refused. The outcome of the problems is `unknown` if the
                write may have been carried out.
        """
        self._shared.stored_forms.forget_unshown(self._credentials, request.path)
        return self._exchange(request, is_write=True)

    def is_needed(self, write: Write) -> bool:
        """Whether the provider does not hold yet what the write would leave."""
        forms, path = self._shared.stored_forms, write.request.path
        # What it made of a text is looked at first, since that may be learned only now.
        return not all(
            forms.is_stored_form(self._credentials, path, field)
            or json_equal(field.before, field.after)
            or (field.field == BODY and _is_same_document(field))
            for field in write.fields
        )

    def remember(self, write: Write, stored: Sequence[FieldChange] | None) -> None:
        """Remembers what the provider made of the fields of a write, as its response shows; None if it shows nothing."""
        forms, path = self._shared.stored_forms, write.request.path
        if stored is None:
            for sent in write.fields:
                forms.remember_unshown(self._credentials, path, sent)
            return
        for sent, now in zip(write.fields, stored, strict=True):
            forms.remember(self._credentials, path, sent, now.after)

    async def _exchange(self, request: ProviderRequest, *, is_write: bool) -> ProviderResponse:
        """Sends a request, and repeats it where that may help: writes too, since they set absolute values."""
        may_be_applied = False
        self._budget.earn()
        attempt = 0
        while True:
            attempt += 1
            try:
                response, fault = await self._send(request, is_write=is_write)
                if fault is not None and fault.credentials_refused and await self._renew_credentials(response):
                    response, fault = await self._send(request, is_write=is_write)
                if fault is None:
                    self._shared.observe_use(self._connection, None)
                    return response
                if fault.by_provider and fault.problems[0].code in _ACCESS_CODES:
                    self._shared.observe_use(self._connection, fault.problems[0].code)
                failure = _failed(fault, is_write=is_write)
            except UpdateFailed as unanswered:
                failure = unanswered
            # Once an attempt may have been carried out, no later refusal takes that back.
            may_be_applied = may_be_applied or any(problem.outcome is Outcome.UNKNOWN for problem in failure.problems)
            wait = self._wait_before_retry(failure, attempt)
            if wait is None:
                raise UpdateFailed(*(map(_may_be_applied, failure.problems) if may_be_applied else failure.problems))
            await asyncio.sleep(wait)

    def _wait_before_retry(self, failure: UpdateFailed, attempt: int) -> float | None:
        if not isinstance(failure, _MayPass):
            return None
        if failure.was_kept:
            # Says nothing about how the provider is, so that it costs neither time nor the budget. It happens once: no
            # connection to that server is kept for a while.
            return wait_before_retry(attempt, 0.0, self._deadline.remaining())
        if not self.may_wait:
            return None
        wait = wait_before_retry(attempt, failure.problems[0].retry_after, self._deadline.remaining())
        return wait if wait is not None and self._budget.spend() else None

    async def _renew_credentials(self, refusal: ProviderResponse) -> bool:
        """Renews a token that the provider has refused; returns whether there is a new one.

        Raises:
            UpdateFailed: There is none to be had; the provider's refusal is the cause.
        """
        if not isinstance(self._connection.credentials, OAuthCredentials):
            return False
        try:
            renewed = await self._renew(self._connection, self._deadline)
        except UpdateFailed as failure:
            refused = cause(refusal)
            raise UpdateFailed(
                *(replace(problem, origin=Origin.PROVIDER, cause=refused) for problem in failure.problems)
            ) from None
        if renewed is self._connection:
            return False
        self._connection = renewed
        self._credentials = renewed.credentials_id
        self._headers = None
        return True

    async def _send(
        self, request: ProviderRequest, *, is_write: bool
    ) -> tuple[ProviderResponse, ResponseFailure | None]:
        """Sends a request once; the response, and what is wrong with it.

        Raises:
            UpdateFailed: It was not sent, or there is no response.
        """
        if self._deadline.remaining() <= 0:
            raise self._unanswered(request, DeadlineExceeded(request_was_sent=False), is_write=is_write)
        shared, adapter, connection, credentials = self._shared, self._adapter, self._connection, self._credentials
        scope = adapter.rate_scope(request)
        may_wait = self.may_wait
        await shared.admit(connection.application_id, credentials, scope, self._deadline, may_wait=may_wait)
        self.requests_sent += 1
        url = f"{adapter.base_url}{request.path}"
        sent_at = time.monotonic()
        try:
            if self._headers is None:
                self._headers = shared.http.build_headers(adapter.headers(connection.credentials))
            sent = shared.http.build_request(request.method, url, self._headers, request.body or b"")
            sent.extensions["operation"] = (adapter.provider, request.endpoint, request.path)
            answer = await shared.http.send(sent, self._deadline, credentials)
        except httpx.HTTPError as error:
            if not _was_kept(error) and _speaks_of_provider(error, time.monotonic() - sent_at):
                self._breaker.failed(connection.customer_id)
            raise self._unanswered(request, error, is_write=is_write) from None
        secrets = secrets_of(connection.credentials)
        response = ProviderResponse(answer.status_code, answer.header_values, answer.content, secrets)
        failure = adapter.failure(request, response, connection)
        if failure is not None and (failure.may_pass or not failure.by_provider):
            self._breaker.failed(connection.customer_id)
        else:
            self._breaker.succeeded(connection.customer_id)
        shared.limits.learn(credentials, scope, adapter.rate_windows(response))
        if failure is not None and failure.by_provider:
            problem = failure.problems[0]
            if problem.code is ErrorCode.TOO_MANY_REQUESTS_ERROR and problem.retry_after:
                shared.limits.refused(credentials, scope, problem.retry_after)
        return response, failure

    def _unanswered(self, request: ProviderRequest, error: httpx.HTTPError, *, is_write: bool) -> UpdateFailed:
        unknown = is_write and request_was_sent(error)
        code = error_code(error)
        if unknown and code is ErrorCode.SERVICE_UNAVAILABLE_ERROR:
            code = ErrorCode.GATEWAY_TIMEOUT_ERROR
        problem = Problem(
            code,
            f"{self._adapter.provider.title} gave no answer to {request.endpoint}: {error}.",
            advice="" if unknown else "Try again later.",
            origin=Origin.PROVIDER,
            outcome=Outcome.UNKNOWN if unknown else Outcome.NOT_APPLIED,
        )
        if not may_pass(error):
            return UpdateFailed(problem)
        failure = _MayPass(problem)
        failure.was_kept = _was_kept(error)
        return failure


def _failed(fault: ResponseFailure, *, is_write: bool) -> UpdateFailed:
    """The failure of a request whose response is not a good one."""
    problems = fault.problems
    if is_write and not fault.refused:
        problems = tuple(map(_may_be_applied, problems))
    kind = _MayPass if fault.may_pass or _says_when(problems[0]) else UpdateFailed
    return kind(*problems)


def _was_kept(error: httpx.HTTPError) -> bool:
    return isinstance(error, ConnectionClosed) and error.was_kept


def _speaks_of_provider(error: httpx.HTTPError, seconds: float) -> bool:
    """Whether a failure after so many seconds is the provider's, and neither this service's nor the call's own haste."""
    if isinstance(error, DeadlineExceeded):
        return error.request_was_sent and seconds >= _SLOW_SECONDS
    return not isinstance(error, httpx.PoolTimeout | httpx.LocalProtocolError | httpx.ProxyError)


def _may_be_applied(problem: Problem) -> Problem:
    return problem if problem.outcome is Outcome.UNKNOWN else replace(problem, outcome=Outcome.UNKNOWN)


def _is_same_document(field: FieldChange) -> bool:
    return isinstance(field.before, str) and isinstance(field.after, str) and same_document(field.before, field.after)


def _says_when(problem: Problem) -> bool:
    return problem.code in _PASSING_CODES and problem.retry_after is not None
