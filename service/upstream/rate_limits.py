"""What providers said about their rate limits, so that no call is spent on a refusal that is certain."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from service.domain.credentials import CredentialsId
from service.providers.adapter import RateWindow

# Windows beyond this length are only believed to be used up for so long at a time without the provider's own word.
_LONGEST_GUESS_SECONDS: Final = 60.0

_MAX_REMEMBERED: Final = 10_000


@dataclass(slots=True)
class _Seen:
    since: float
    left: int


@dataclass(slots=True)
class _Scope:
    blocked_until: float = 0.0
    windows: dict[str, _Seen] = field(default_factory=dict)


class RateLimits:
    """Remembers, for each connection's credentials and each scope, until when calls are bound to be refused.

    Keeps the latest 10,000 pairs. Times are of the monotonic clock.

    Attributes:
        observe: Gets the scope and each window that a response describes, for metrics.
    """

    def __init__(self) -> None:
        self.observe: Callable[[str, RateWindow], object] | None = None
        self._scopes: OrderedDict[tuple[CredentialsId, str], _Scope] = OrderedDict()

    def wait(self, credentials: CredentialsId, scope: str) -> float:
        """Seconds until a call can succeed; 0 if there is no reason to wait."""
        known = self._scopes.get((credentials, scope))
        return max(0.0, known.blocked_until - time.monotonic()) if known else 0.0

    def refused(self, credentials: CredentialsId, scope: str, retry_after: float) -> None:
        """The provider refused a call and said for how long."""
        known = self._known(credentials, scope)
        known.blocked_until = max(known.blocked_until, time.monotonic() + retry_after)

    def learn(self, credentials: CredentialsId, scope: str, windows: Iterable[RateWindow]) -> None:
        """Takes in what a response said.

        Where the provider does not say when a window ends (Apollo), it ends no later than its length after the first
        call that was seen in it.
        """
        known: _Scope | None = None
        now = time.monotonic()
        for window in windows:
            if self.observe is not None:
                self.observe(scope, window)
            known = known or self._known(credentials, scope)
            seen = known.windows.get(window.name)
            if seen is None or window.left > seen.left:
                seen = known.windows[window.name] = _Seen(now, window.left)
            seen.left = window.left
            if window.left > 0:
                continue
            if window.ends_in is not None:
                ends_in = min(window.ends_in, window.length)
            else:
                ends_in = min(seen.since + window.length - now, _LONGEST_GUESS_SECONDS)
            known.blocked_until = max(known.blocked_until, now + ends_in)

    def _known(self, credentials: CredentialsId, scope: str) -> _Scope:
        key = (credentials, scope)
        known = self._scopes.get(key)
        if known is None:
            known = self._scopes[key] = _Scope()
            if len(self._scopes) > _MAX_REMEMBERED:
                self._scopes.popitem(last=False)
        else:
            self._scopes.move_to_end(key)
        return known
