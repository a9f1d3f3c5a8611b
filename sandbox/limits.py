"""Rate limits: Apollo's three windows for each endpoint, Outreach's hour for each user."""

import math
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

APOLLO_WINDOWS = {"minute": 60.0, "hourly": 3600.0, "24-hour": 86_400.0}
"""Apollo's windows by the name in its headers, with their length in seconds."""

_SPOKEN = {"minute": "minute", "hourly": "hour", "24-hour": "day"}
_HOUR = 3600.0
RESET_FORMATS = ("iso8601", "seconds", "unix", "http_date")
"""The forms that ``X-RateLimit-Reset`` can take, since documents and integrators disagree."""


class InvalidLimits(ValueError):
    """An order for rate limits that makes no sense; the message says why."""


@dataclass(slots=True)
class Window:
    """The rule for one fixed window.

    Attributes:
        length: Seconds between two starts of the window.
        limit: Calls allowed in it; None for no limit.
        used: Calls that count as made when the first window starts.
        first_length: Seconds that the first window lasts.
    """

    length: float
    limit: int | None
    used: int
    first_length: float

    @classmethod
    def of(cls, length: float, limit: int | None) -> "Window":
        """Make a window in which nothing has been used yet."""
        return cls(length, limit, 0, length)


@dataclass(slots=True)
class _Counter:
    ends: float
    used: int


def _advance(counters: dict[str, _Counter], key: str, window: Window, now: float) -> _Counter:
    """Return the running counter, starting the first or the next window when it is time."""
    counter = counters.get(key)
    if counter is None:
        counter = counters[key] = _Counter(now + window.first_length, window.used)
    elif counter.ends <= now:
        counter.ends, counter.used = now + window.length, 0
    return counter


@dataclass(frozen=True, slots=True)
class Refusal:
    """A used-up window.

    Attributes:
        limit: How many calls the window allows.
        period: ``minute``, ``hour`` or ``day``.
        retry_after: Whole seconds until the next window.
    """

    limit: int
    period: str
    retry_after: int


@dataclass(slots=True)
class ApolloLimits:
    """Fixed windows a minute, an hour and a day, counted for each endpoint of one team.

    Source: Apollo's rate limit documentation; windows start with the first call in them.
    """

    windows: dict[str, Window]
    _counters: dict[str, dict[str, _Counter]] = field(default_factory=dict)

    @classmethod
    def of(cls, minute: int | None, hourly: int | None, daily: int | None) -> "ApolloLimits":
        """Make limits from the three numbers; None leaves a window unlimited."""
        numbers = zip(APOLLO_WINDOWS.items(), (minute, hourly, daily), strict=True)
        return cls({name: Window.of(length, limit) for (name, length), limit in numbers})

    def take(self, endpoint: str) -> tuple[Refusal | None, list[tuple[str, str]]]:
        """Count one call to an endpoint; answer the refusal, if any, and the headers to send.

        A refused call is not counted.
        """
        now = time.monotonic()
        counters = self._counters.setdefault(endpoint, {})
        refusal = None
        for name, window in self.windows.items():
            if window.limit is None:
                continue
            counter = _advance(counters, name, window, now)
            if counter.used >= window.limit:
                wait = max(1, math.ceil(counter.ends - now))
                if refusal is None or wait > refusal.retry_after:
                    refusal = Refusal(window.limit, _SPOKEN[name], wait)
        headers: list[tuple[str, str]] = []
        for name, window in self.windows.items():
            if window.limit is None:
                headers.append((f"x-rate-limit-{name}", ""))
                continue
            counter = counters[name]
            if refusal is None:
                counter.used += 1
            headers += (
                (f"x-rate-limit-{name}", str(window.limit)),
                (f"x-{name}-usage", str(counter.used)),
                (f"x-{name}-requests-left", str(max(0, window.limit - counter.used))),
            )
        return refusal, headers

    def order(self, wanted: Any) -> None:
        """Change windows as ordered through the control API; all counters start anew.

        Raises:
            InvalidLimits: The order names no known window or holds a wrong value.
        """
        orders = _mapping(wanted, tuple(APOLLO_WINDOWS))
        changed = {
            name: _window(value, APOLLO_WINDOWS[name], unlimited=True)
            for name, value in orders.items()
        }
        self.windows.update(changed)
        self._counters.clear()

    def describe(self) -> dict[str, Any]:
        """Show the limits for the control API."""
        return {name: window.limit for name, window in self.windows.items()}


@dataclass(slots=True)
class OutreachLimits:
    """One fixed window of an hour for one user. Source: Outreach's rate limit documentation.

    Attributes:
        window: The rule.
        reset_format: How ``X-RateLimit-Reset`` is written, one of ``RESET_FORMATS``.
    """

    window: Window
    reset_format: str = "iso8601"
    _counters: dict[str, _Counter] = field(default_factory=dict)

    @classmethod
    def of(cls, hour: int) -> "OutreachLimits":
        """Make limits of so many calls an hour."""
        return cls(Window.of(_HOUR, hour))

    def take(self) -> tuple[bool, list[tuple[str, str]]]:
        """Count one call; answer whether it is allowed, and the headers to send."""
        counter = _advance(self._counters, "hour", self.window, time.monotonic())
        allowed = counter.used < (self.window.limit or 0)
        if allowed:
            counter.used += 1
        return allowed, self.headers()

    def headers(self) -> list[tuple[str, str]]:
        """Write the headers for the present state without counting a call."""
        now = time.monotonic()
        counter = _advance(self._counters, "hour", self.window, now)
        limit = self.window.limit or 0
        return [
            ("X-RateLimit-Limit", str(limit)),
            ("X-RateLimit-Remaining", str(max(0, limit - counter.used))),
            ("X-RateLimit-Reset", write_moment(counter.ends - now, self.reset_format)),
        ]

    def order(self, wanted: Any) -> None:
        """Change the hour as ordered through the control API; the counter starts anew.

        Raises:
            InvalidLimits: The order names no known window or holds a wrong value.
        """
        orders = _mapping(wanted, ("hour", "reset_format"))
        reset_format = orders.get("reset_format", self.reset_format)
        if reset_format not in RESET_FORMATS:
            raise InvalidLimits(f"reset_format must be one of {', '.join(RESET_FORMATS)}")
        if "hour" in orders:
            self.window = _window(orders["hour"], _HOUR, unlimited=False)
            self._counters.clear()
        self.reset_format = reset_format

    def describe(self) -> dict[str, Any]:
        """Show the limits for the control API."""
        return {"hour": self.window.limit, "reset_format": self.reset_format}


def write_moment(seconds_ahead: float, form: str) -> str:
    """Write a moment some seconds from now in one of ``RESET_FORMATS``."""
    seconds = max(0, math.ceil(seconds_ahead))
    if form == "seconds":
        return str(seconds)
    moment = math.ceil(time.time() + seconds_ahead)
    if form == "unix":
        return str(moment)
    when = datetime.fromtimestamp(moment, UTC)
    if form == "http_date":
        return format_datetime(when, usegmt=True)
    return when.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _mapping(wanted: Any, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(wanted, dict) or not wanted:
        raise InvalidLimits(f"rate_limits must be an object with any of {', '.join(names)}")
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        raise InvalidLimits(f"rate_limits has no {unknown[0]!r}; it has {', '.join(names)}")
    return wanted


def _window(value: Any, length: float, *, unlimited: bool) -> Window:
    """Read ``null``, a number, or ``{"limit", "remaining", "reset_in_seconds"}``."""
    if value is None and unlimited:
        return Window.of(length, None)
    if _whole(value):
        return Window.of(length, value)
    keys = {"limit", "remaining", "reset_in_seconds"}
    if not isinstance(value, dict) or "limit" not in value or set(value) - keys:
        raise InvalidLimits('a window is a number or {"limit", "remaining", "reset_in_seconds"}')
    limit, remaining = value["limit"], value.get("remaining", value["limit"])
    first = value.get("reset_in_seconds", length)
    if not (_whole(limit) and _whole(remaining) and remaining <= limit):
        raise InvalidLimits("limit and remaining must be whole numbers, remaining at most limit")
    if isinstance(first, bool) or not isinstance(first, (int, float)) or not 0 < first <= length:
        raise InvalidLimits(f"reset_in_seconds must be above 0 and at most {length:.0f}")
    return Window(length, limit, limit - remaining, float(first))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
