"""What one worker remembers about one provider, to spare it, its customers' quotas and everybody's time."""

import asyncio
from typing import Final
from weakref import WeakValueDictionary

from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, failed
from service.domain.step import Provider
from service.upstream.rate_limits import RateLimits
from service.upstream.retry import LONGEST_WAIT_SECONDS, CircuitBreaker, RetryBudget
from service.upstream.sequence_lock import SequenceUpdates

# What a call needs at the least after a wait.
_LEAST_SECONDS: Final = 0.2


class ProviderGuard:
    """Keeps calls from a provider that are bound to fail, and brings together updates of one sequence.

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
        self._sequences: WeakValueDictionary[tuple[int, str], SequenceUpdates] = WeakValueDictionary()

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

    def updates_of(self, connection_id: int, sequence_id: str) -> SequenceUpdates:
        """The updates of a sequence that are under way; forgotten when nobody holds them any more."""
        key = (connection_id, sequence_id)
        found = self._sequences.get(key)
        if found is None:
            found = self._sequences[key] = SequenceUpdates(self.provider, sequence_id)
        return found
