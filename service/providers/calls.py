"""The calls of one update at its provider: authenticated, counted, within the deadline, and truthful when they fail."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, TypeAlias

from service.errors import UpdateFailed
from service.model import Connection, Deadline, ErrorCode, OAuthCredentials, Origin, Outcome, Problem
from service.providers.provider import ProviderAdapter, ProviderAnswer, ProviderRequest
from service.providers.upstream import NoAnswer, Silence, Upstream

Renew: TypeAlias = Callable[[Connection, Deadline], Awaitable[Connection]]
"""Renews the credentials of a connection that the provider has just refused."""

_SILENCES: Final = {
    Silence.NAME: ErrorCode.SERVICE_UNAVAILABLE_ERROR,
    Silence.REFUSED: ErrorCode.SERVICE_UNAVAILABLE_ERROR,
    Silence.TLS: ErrorCode.SERVICE_UNAVAILABLE_ERROR,
    Silence.CUT: ErrorCode.SERVICE_UNAVAILABLE_ERROR,
    Silence.CONNECT_TIMEOUT: ErrorCode.GATEWAY_TIMEOUT_ERROR,
    Silence.READ_TIMEOUT: ErrorCode.GATEWAY_TIMEOUT_ERROR,
    Silence.DEADLINE: ErrorCode.GATEWAY_TIMEOUT_ERROR,
    Silence.TOO_LONG: ErrorCode.BAD_GATEWAY_ERROR,
    Silence.UNREADABLE: ErrorCode.BAD_GATEWAY_ERROR,
}

MAY_BE_APPLIED: Final = "The write may have been carried out; repeating the call is safe and settles it."

# 503 says that the provider does not handle requests at present, and 501 that it never does.
_REFUSED_STATUSES: Final = frozenset({501, 503})


class ProviderCalls:
    """The calls of one update.

    Attributes:
        count: Requests that were sent so far.
    """

    def __init__(
        self,
        upstream: Upstream,
        adapter: ProviderAdapter,
        connection: Connection,
        renew: Renew,
        deadline: Deadline,
    ) -> None:
        self.count = 0
        self._upstream = upstream
        self._adapter = adapter
        self._connection = connection
        self._renew = renew
        self._deadline = deadline

    async def read(self, request: ProviderRequest) -> ProviderAnswer:
        """Sends a read and returns its good answer.

        Raises:
            UpdateFailed: The provider could not be reached, or refused; nothing was changed.
        """
        return await self._call(request, may_apply=False)

    async def write(self, request: ProviderRequest) -> ProviderAnswer:
        """Sends a write and returns its good answer.

        Raises:
            UpdateFailed: The provider could not be reached, or refused. The outcome of the problems is `unknown` if the
                write may have been carried out.
        """
        return await self._call(request, may_apply=True)

    async def _call(self, request: ProviderRequest, *, may_apply: bool) -> ProviderAnswer:
        answer = await self._send(request, may_apply=may_apply)
        if answer.status == 401 and isinstance(self._connection.credentials, OAuthCredentials):
            self._connection = await self._renew(self._connection, self._deadline)
            answer = await self._send(request, may_apply=may_apply)
        problems = self._adapter.problems(request, answer, self._connection)
        if not problems:
            return answer
        if may_apply and answer.status >= 500 and answer.status not in _REFUSED_STATUSES:
            problems = tuple(
                replace(problem, outcome=Outcome.UNKNOWN, detail=f"{problem.detail} {MAY_BE_APPLIED}")
                for problem in problems
            )
        raise UpdateFailed(*problems)

    async def _send(self, request: ProviderRequest, *, may_apply: bool) -> ProviderAnswer:
        if self._deadline.remaining() <= 0:
            raise self._unanswered(request, NoAnswer(Silence.DEADLINE, sent=False), may_apply=may_apply)
        self.count += 1
        headers = self._adapter.headers(self._connection.credentials)
        try:
            return await self._upstream.send(self._adapter.base_url, request, headers, self._deadline)
        except NoAnswer as silence:
            raise self._unanswered(request, silence, may_apply=may_apply) from None

    def _unanswered(self, request: ProviderRequest, silence: NoAnswer, *, may_apply: bool) -> UpdateFailed:
        unknown = may_apply and silence.sent
        code = _SILENCES[silence.why]
        if unknown and code is ErrorCode.SERVICE_UNAVAILABLE_ERROR:
            code = ErrorCode.GATEWAY_TIMEOUT_ERROR
        what_now = MAY_BE_APPLIED if unknown else "Nothing was changed; try again later."
        return UpdateFailed(
            Problem(
                code,
                f"{self._adapter.provider.title} gave no answer to {request.endpoint}: {silence}. {what_now}",
                origin=Origin.PROVIDER,
                outcome=Outcome.UNKNOWN if unknown else Outcome.NOT_APPLIED,
            )
        )
