"""Admission control: refuses calls beyond the concurrency limits of one worker, at once and without a queue."""

from typing import Final

from service.domain.errors import CallRefused, ErrorCode, Problem
from service.domain.step import Provider

# A slow provider leaves half of the capacity, so that an application whose calls wait for that provider can still call
# another one.
_PROVIDER_FRACTION: Final = 0.5

# An application that has places gets one more while it has less than what is free, and a customer while it has less than half
# of that. Alone, an application gets half of what there is, two get a third each: what is left grows smaller with each greedy
# one, but never so small at once that those who come later wait for the calls of the first.

# What only those get who have no place.
_RESERVED_FRACTION: Final = 1 / 16

_RETRY_SECONDS: Final = 1.0


class Admission:
    """The concurrency limits of one worker: in all, for an application, for a provider, for both, for a customer.

    A call beyond a limit is refused in far less time than it would have waited, so that the caller can go to another server.
    Callers that are not known yet are counted apart: they take nothing from those that are.
    """

    def __init__(self, capacity: int) -> None:
        """Sets the limits.

        Args:
            capacity: Calls that are served at a time, and callers that are authenticated at a time.
        """
        self._capacity = capacity
        self._provider_limit = max(1, int(capacity * _PROVIDER_FRACTION))
        self._shared = capacity - _reserved(capacity)
        self._provider_shared = self._provider_limit - _reserved(self._provider_limit)
        self._permits: dict[object, int] = {}
        self._draining = False

    @property
    def in_flight(self) -> int:
        """Calls that are being authenticated or served."""
        return self._permits.get(_AUTHENTICATING, 0) + self._permits.get(_SERVING, 0)

    def drain(self) -> None:
        """Refuses all further calls, so that they go to another server."""
        self._draining = True

    def authentication_permit(self) -> "_Permit":
        """A permit to find out who calls, for the length of a `with` block.

        Raises:
            CallRefused: All are in use, or the server is stopping.
        """
        if self._draining:
            raise CallRefused(
                Problem(
                    ErrorCode.SERVICE_UNAVAILABLE_ERROR,
                    "This server is stopping; repeat the call, it goes to another one.",
                    retry_after=0.0,
                    refusal="stopping",
                )
            )
        if self._permits.get(_AUTHENTICATING, 0) >= self._capacity:
            raise _full("server_full", f"This server already authenticates {self._capacity} callers")
        return _Permit(self._permits, (_AUTHENTICATING,))

    def call_permit(self, application_id: int, provider: Provider, customer_id: str) -> "_Permit":
        """A permit for a call of an application for a customer at a provider, for the length of a `with` block.

        Raises:
            CallRefused: All that one of them may have at present are in use.
        """
        permits = self._permits
        at_provider, customer = (application_id, provider), (application_id, provider, customer_id)
        serving, serving_provider = permits.get(_SERVING, 0), permits.get(provider, 0)
        if serving >= self._capacity:
            raise _full("server_full", f"This server already serves {serving} calls")
        if serving_provider >= self._provider_limit:
            raise _full("provider_full", f"This server already serves {serving_provider} calls to {provider.title}")
        free_at_provider = self._provider_shared - serving_provider
        if (count := permits.get(application_id, 0)) and count >= self._shared - serving:
            raise _full("application_full", f"This server already serves {count} calls of this application")
        if (count := permits.get(at_provider, 0)) and count >= free_at_provider:
            raise _full(
                "application_full", f"This server already serves {count} calls of this application to {provider.title}"
            )
        if (count := permits.get(customer, 0)) and 2 * count >= free_at_provider:
            raise _full("customer_full", f"This server already serves {count} calls for customer {customer_id}")
        return _Permit(permits, (_SERVING, application_id, provider, at_provider, customer))


_AUTHENTICATING: Final = "authenticating callers"
_SERVING: Final = "calls being served"


class _Permit:
    """Counts one call for each of the keys that it is limited by.

    A class and not a generator: every call uses it, and a generator costs several times as much.
    """

    __slots__ = ("_keys", "_permits")

    def __init__(self, permits: dict[object, int], keys: tuple[object, ...]) -> None:
        self._permits = permits
        self._keys = keys

    def __enter__(self) -> None:
        permits = self._permits
        for key in self._keys:
            permits[key] = permits.get(key, 0) + 1

    def __exit__(self, *_: object) -> None:
        permits = self._permits
        for key in self._keys:
            if permits[key] == 1:
                del permits[key]
            else:
                permits[key] -= 1


def _reserved(places: int) -> int:
    return max(1, int(places * _RESERVED_FRACTION))


def _full(refusal: str, what: str) -> CallRefused:
    return CallRefused(
        Problem(
            ErrorCode.TOO_MANY_REQUESTS_ERROR,
            f"{what}; repeat the call in a moment.",
            retry_after=_RETRY_SECONDS,
            refusal=refusal,
        )
    )
