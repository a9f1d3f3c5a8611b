"""Ids of changes: UUIDs (version 7) whose order is that of their times."""

import secrets
import time
import uuid
from typing import Final

_NANOSECONDS: Final = 1_000_000_000
# How many parts of a millisecond an id tells.
_FRACTIONS: Final = 1 << 12
_TICKS_A_SECOND: Final = 1000 * _FRACTIONS
_VARIANT: Final = 0b10 << 62
# The year 9999, which is in every id's and every timestamp's reach.
_LAST_SECONDS: Final = 253_402_300_799.0


class ChangeIds:
    """Makes ids; each is greater than the one before, also when the clock is set back."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> uuid.UUID:
        """An id of the present time."""
        self._last = max(self._last + 1, time.time_ns() * _TICKS_A_SECOND // _NANOSECONDS)
        return _made(self._last, _VARIANT | secrets.randbits(62))


def least_id(seconds: float) -> bytes:
    """What no id of a time, and none after it, is less than; the time is a Unix time in seconds."""
    milliseconds, microseconds = divmod(round(min(max(0.0, seconds), _LAST_SECONDS) * 1_000_000), 1000)
    return _made(milliseconds * _FRACTIONS + microseconds * _FRACTIONS // 1000, 0).bytes


def time_of(change_id: uuid.UUID) -> float:
    """When an id was made, as a Unix time in seconds, to the millisecond."""
    return (change_id.int >> 80) / 1000


def _made(ticks: int, rest: int) -> uuid.UUID:
    milliseconds, fraction = divmod(ticks, _FRACTIONS)
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | fraction << 64 | rest)
