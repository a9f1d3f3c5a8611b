"""Who is served when there is more to do than one worker can: decided at once, without queues."""

from typing import Final

from service.domain.errors import CallRefused, ErrorCode, Problem
from service.domain.step import Provider

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
        self._held: dict[object, int] = {}
        self._draining = False

    def drain(self) -> None:
        """Refuses all further calls, so that they go to another server."""
        self._draining = True

    def call(self) -> "_Room":
        """Holds room for one call, until the end of a `with` block.

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
        return _Room(self)

    def share(self, application_id: int, provider: Provider, customer_id: str) -> "_Shares":
        """Holds the shares of an application, a provider and a customer, until the end of a `with` block.

        Raises:
            CallRefused: One of them is used up.
        """
        held, customer = self._held, (application_id, provider, customer_id)
        if held.get(application_id, 0) >= self._application_share:
            raise _full(f"This server already serves {self._application_share} calls of this application")
        if held.get(provider, 0) >= self._provider_share:
            raise _full(f"This server already serves {self._provider_share} calls to {provider.title}")
        if held.get(customer, 0) >= self._customer_share:
            raise _full(f"This server already serves {self._customer_share} calls for customer {customer_id}")
        return _Shares(held, (application_id, provider, customer))


# Classes and not generators: this is on the way of every call, and a generator costs several times as much.


class _Room:
    """The room that one call holds."""

    __slots__ = ("_admission",)

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def __enter__(self) -> None:
        self._admission.running += 1

    def __exit__(self, *_: object) -> None:
        self._admission.running -= 1


class _Shares:
    """The shares that one call holds."""

    __slots__ = ("_held", "_keys")

    def __init__(self, held: dict[object, int], keys: tuple[object, ...]) -> None:
        self._held = held
        self._keys = keys

    def __enter__(self) -> None:
        held = self._held
        for key in self._keys:
            held[key] = held.get(key, 0) + 1

    def __exit__(self, *_: object) -> None:
        held = self._held
        for key in self._keys:
            if held[key] == 1:
                del held[key]
            else:
                held[key] -= 1


def _full(what: str) -> CallRefused:
    return CallRefused(
        Problem(
            ErrorCode.TOO_MANY_REQUESTS_ERROR,
            f"{what}; repeat the call in a moment.",
            retry_after=_RETRY_SECONDS,
        )
    )
