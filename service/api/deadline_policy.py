"""Sets the deadline of a call."""

from dataclasses import dataclass

from service.api.contract import DEFAULT_DEADLINE_SECONDS, MAX_DEADLINE_SECONDS


@dataclass(frozen=True, slots=True)
class DeadlinePolicy:
    """How long a call may take, in seconds.

    Attributes:
        default: For callers that set no deadline.
        longest: For all.
    """

    default: float = DEFAULT_DEADLINE_SECONDS
    longest: float = MAX_DEADLINE_SECONDS

    def budget(self, remaining: float | None) -> float:
        """Seconds for the work, short enough for a typed response to arrive before the caller's own deadline.

        Args:
            remaining: Seconds until the caller's deadline; None if it set none.
        """
        if remaining is None:
            return min(self.default, self.longest)
        if remaining > self.longest:
            return self.longest
        return remaining - min(0.5, max(0.05, remaining * 0.05))
