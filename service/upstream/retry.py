"""When a call is worth repeating, and when a provider in trouble is left alone."""

import random
import time
from collections import deque
from typing import Final

MAX_ATTEMPTS: Final = 3
"""How often one request is sent at most, the repetition after a renewed token aside."""

LONGEST_WAIT_SECONDS: Final = 10.0
"""Longest wait before a repetition; a caller with a longer wait ahead gets an error that says so."""

_FIRST_BACKOFF_SECONDS: Final = 0.1
_LONGEST_BACKOFF_SECONDS: Final = 2.0

# What an attempt needs at the least; a repetition that cannot end in time is not begun.
_LEAST_SECONDS: Final = 0.2

_RETRY_SHARE: Final = 0.2
_BURST: Final = 10.0


class RetryBudget:
    """Keeps repetitions below a fifth of the calls to a provider, after a first handful.

    Every call earns a fifth of a repetition, at most ten are saved up, and every repetition costs one.
    """

    def __init__(self) -> None:
        self._saved = _BURST

    def earn(self) -> None:
        """A call was made that is no repetition."""
        self._saved = min(_BURST, self._saved + _RETRY_SHARE)

    def spend(self) -> bool:
        """Takes a repetition from the budget, if there is one."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True


def backoff(attempt: int) -> float:
    """Seconds before the repetition that follows this attempt: exponential, with full jitter.

    Args:
        attempt: The number of the attempt that failed, from 1.
    """
    longest = min(_LONGEST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2 ** (attempt - 1))
    return random.uniform(0, longest)  # noqa: S311  # jitter is no secret


def wait_before_retry(attempt: int, asked_for: float | None, remaining: float) -> float | None:
    """Seconds to wait before trying again, or None if it cannot be in time.

    Args:
        attempt: The number of the attempt that failed, from 1.
        asked_for: What the provider said about waiting, in seconds.
        remaining: Seconds until the deadline.
    """
    if attempt >= MAX_ATTEMPTS:
        return None
    wait = backoff(attempt) if asked_for is None else asked_for
    return wait if wait <= LONGEST_WAIT_SECONDS and wait + _LEAST_SECONDS <= remaining else None


class CircuitBreaker:
    """Stops asking a provider that fails for all customers of an application, and tries it again with one call at a time.

    Opens when, within ten seconds, at least twenty calls failed and at least half of all calls did, and the failures are
    not one customer's alone. Stays open for five seconds; then one call at a time goes through, and its success closes it.
    """

    _WINDOW_SECONDS: Final = 10.0
    _OPEN_SECONDS: Final = 5.0
    _LEAST_FAILURES: Final = 20

    def __init__(self) -> None:
        self._events: deque[tuple[float, str, bool]] = deque()
        self._failures = 0
        self._open_until = 0.0
        self._is_open = False
        self._probing_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it has not seen a success since it opened."""
        return self._is_open

    def wait(self) -> float:
        """Seconds until the provider is asked again; 0 if this call may go through."""
        if not self._is_open:
            return 0.0
        now = time.monotonic()
        if now < self._open_until:
            return self._open_until - now
        if now < self._probing_until:
            return self._probing_until - now
        self._probing_until = now + self._OPEN_SECONDS
        return 0.0

    def succeeded(self, customer_id: str) -> None:
        """The provider answered a call, whatever it said."""
        if self._is_open:
            self._is_open = False
            self._events.clear()
            self._failures = 0
        self._record(customer_id, failed=False)

    def failed(self, customer_id: str) -> None:
        """The provider could not be reached, or said that it is out of order."""
        self._record(customer_id, failed=True)
        if self._is_open or self._is_tripped():
            self._is_open = True
            self._open_until = time.monotonic() + self._OPEN_SECONDS
            self._probing_until = 0.0

    def _record(self, customer_id: str, *, failed: bool) -> None:
        now = time.monotonic()
        self._events.append((now, customer_id, failed))
        self._failures += failed
        while self._events[0][0] < now - self._WINDOW_SECONDS or len(self._events) > 2000:
            self._failures -= self._events.popleft()[2]

    def _is_tripped(self) -> bool:
        if self._failures < self._LEAST_FAILURES or 2 * self._failures < len(self._events):
            return False
        return len({customer_id for _, customer_id, failed in self._events if failed}) > 1
