"""The requests that were sent to a provider for one call, for its log line, metrics and traces."""

import sys
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Final, TypeAlias

import httpx
import msgspec

OPERATION: Final = "operation"
"""The extension of a request that says what it is: its provider, its endpoint and its path."""


class SentRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request to a provider, as it is logged: nothing of its path, headers and body.

    Attributes:
        method: The HTTP method.
        endpoint: The operation as the provider names it, the same for every id.
        attempt: How often the same request was sent for this call, this time included.
        ms: Milliseconds from its beginning to the end of the response.
        status: The HTTP status; 0 if no response came.
        error: The type of the failure if no response came.
    """

    method: str
    endpoint: str
    attempt: int
    ms: float
    status: int = 0
    error: str = ""


Observer: TypeAlias = Callable[[str, SentRequest], None]
"""Gets the provider and the request, when its response has come or cannot come any more."""


class SentRequests:
    """What was sent for one call.

    Attributes:
        requests: The requests, by the time when they ended.
    """

    __slots__ = ("_attempts", "requests")

    def __init__(self) -> None:
        self.requests: list[SentRequest] = []
        self._attempts: dict[tuple[str, str], int] = {}

    def attempt(self, method: str, path: str) -> int:
        """Counts one request, and returns how often it was sent by now."""
        key = (method, path)
        count = self._attempts[key] = self._attempts.get(key, 0) + 1
        return count


_current: ContextVar[SentRequests | None] = ContextVar("sent_requests", default=None)


def collect() -> SentRequests:
    """Collects what the present task and those that it starts send to providers from now on."""
    collected = SentRequests()
    _current.set(collected)
    return collected


class SentRequestObserver:
    """Notes each request of `service.upstream.http.HttpClient` that has an operation."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def __call__(self, request: httpx.Request, response: httpx.Response | None, began: float) -> None:
        """Notes a request when it has ended.

        Args:
            request: The request.
            response: Its response; None if it failed, and then the failure is the exception that is being handled.
            began: When it began, by `time.perf_counter`.
        """
        operation = request.extensions.get(OPERATION)
        if operation is None:
            return
        provider, endpoint, path = operation
        ms = round((time.perf_counter() - began) * 1000, 3)
        call = _current.get()
        attempt = 1 if call is None else call.attempt(request.method, path)
        if response is not None:
            sent = SentRequest(request.method, endpoint, attempt, ms, response.status_code)
        else:
            sent = SentRequest(request.method, endpoint, attempt, ms, error=type(sys.exception()).__name__)
        if call is not None:
            call.requests.append(sent)
        for take in self._observers:
            take(provider, sent)
