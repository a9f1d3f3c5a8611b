"""What one worker remembers about one provider, to spare it, its customers' quotas and everybody's time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from service.errors import UpdateFailed, failed
from service.model import Deadline, ErrorCode, Provider
from service.providers.rate_limits import RateLimits
from service.providers.retries import LONGEST_WAIT_SECONDS, CircuitBreaker, RetryBudget

# What a call needs at the least after a wait.
_LEAST_SECONDS: Final = 0.2


class ProviderGuard:
    """Keeps calls from a provider that are bound to fail, and writes to one sequence from overlapping.

    Attributes:
        provider: The provider.
        limits: Its rate limits.
        budget: Its share of repetitions.
        breaker: Whether it is asked at all.
    """

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.limits = RateLimits()
        self.budget = RetryBudget()
        self.breaker = CircuitBreaker()
        self._sequences: dict[tuple[int, str], tuple[asyncio.Lock, int]] = {}

    async def admit(self, connection_id: int, scope: str, deadline: Deadline) -> None:
        """Returns when a call may be sent; waits for a rate limit if the wait is short and fits the deadline.

        Raises:
            UpdateFailed: It is bound to fail; says after how many seconds it is not.
        """
        wait = self.limits.wait(connection_id, scope)
        if wait:
            if wait > LONGEST_WAIT_SECONDS or wait + _LEAST_SECONDS > deadline.remaining():
                raise failed(
                    ErrorCode.TOO_MANY_REQUESTS_ERROR,
                    f"{self.provider.title}'s rate limit for {scope} is used up for this customer, so the call was not "
                    f"made; nothing was changed. Repeat it in {wait:.0f} s.",
                    retry_after=wait,
                )
            await asyncio.sleep(wait)
        wait = self.breaker.wait()
        if wait:
            raise failed(
                ErrorCode.SERVICE_UNAVAILABLE_ERROR,
                f"{self.provider.title} has just failed for many calls in a row, so it was not asked; nothing was changed. "
                f"Repeat the call in {wait:.0f} s.",
                retry_after=wait,
            )

    @asynccontextmanager
    async def writing(self, connection_id: int, sequence_id: str, deadline: Deadline) -> AsyncIterator[None]:
        """Holds a sequence for writes: Apollo refuses those that overlap (observed).

        Raises:
            UpdateFailed: Other writes to the sequence last longer than the deadline allows.
        """
        key = (connection_id, sequence_id)
        lock, users = self._sequences.get(key) or (asyncio.Lock(), 0)
        self._sequences[key] = (lock, users + 1)
        try:
            try:
                await asyncio.wait_for(lock.acquire(), max(0.0, deadline.remaining()))
            except TimeoutError:
                raise _sequence_busy(sequence_id) from None
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, users = self._sequences[key]
            if users == 1:
                del self._sequences[key]
            else:
                self._sequences[key] = (lock, users - 1)


def _sequence_busy(sequence_id: str) -> UpdateFailed:
    return failed(
        ErrorCode.CONFLICT_ERROR,
        f"Other changes to sequence {sequence_id} were still under way when the deadline came; nothing was changed. "
        "Repeat the call.",
        retry_after=1.0,
    )
