"""Who is served when there is more to do than one worker can: decided at once, without queues."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from service.errors import CallRefused
from service.model import ErrorCode, Problem, Provider

# A busy application leaves a quarter of the room to all others, and a stuck customer three quarters. A slow provider leaves
# half of it, so that an application whose calls it holds still has room of its own for calls to another one.
_APPLICATION_SHARE: Final = 0.75
_PROVIDER_SHARE: Final = 0.5
_CUSTOMER_SHARE: Final = 0.25

_RETRY_SECONDS: Final = 1.0


class Admission:
    """The room of one worker, and the shares of it.

    A call that finds no room is refused at once, in far less time than it would have waited, so that the caller can go to
    another server.
    """

    def __init__(self, capacity: int) -> None:
        """Makes room.

        Args:
            capacity: Calls that are served at a time.
        """
        self.running = 0
        self._capacity = capacity
        self._application_share = max(1, int(capacity * _APPLICATION_SHARE))
        self._provider_share = max(1, int(capacity * _PROVIDER_SHARE))
        self._customer_share = max(1, int(capacity * _CUSTOMER_SHARE))
        self._held: Counter[object] = Counter()
        self._draining = False

    def drain(self) -> None:
        """Refuses all further calls, so that they go to another server."""
        self._draining = True

    @contextmanager
    def call(self) -> Iterator[None]:
        """Holds room for one call.

        Raises:
            CallRefused: There is none, or the server is stopping.
        """
        if self._draining:
            raise CallRefused(
                Problem(
                    ErrorCode.SERVICE_UNAVAILABLE_ERROR,
                    "This server is stopping; repeat the call, it goes to another one.",
                    retry_after=0.0,
                )
            )
        if self.running >= self._capacity:
            raise _full(f"This server already serves {self._capacity} calls")
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    @contextmanager
    def share(self, application_id: int, provider: Provider, customer_id: str) -> Iterator[None]:
        """Holds the shares of an application, a provider and a customer.

        Raises:
            CallRefused: One of them is used up.
        """
        shares: tuple[tuple[object, int, str], ...] = (
            (application_id, self._application_share, "of this application"),
            (provider, self._provider_share, f"to {provider.title}"),
            ((application_id, provider, customer_id), self._customer_share, f"for customer {customer_id}"),
        )
        for key, limit, whose in shares:
            if self._held[key] >= limit:
                raise _full(f"This server already serves {limit} calls {whose}")
        for key, _, _ in shares:
            self._held[key] += 1
        try:
            yield
        finally:
            for key, _, _ in shares:
                self._held[key] -= 1
                if not self._held[key]:
                    del self._held[key]


def _full(what: str) -> CallRefused:
    return CallRefused(
        Problem(
            ErrorCode.TOO_MANY_REQUESTS_ERROR,
            f"{what}; repeat the call in a moment.",
            retry_after=_RETRY_SECONDS,
        )
    )
