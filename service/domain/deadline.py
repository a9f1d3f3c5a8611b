"""When a call has to be answered."""

import time

import msgspec


class Deadline(msgspec.Struct, frozen=True):
    """A moment on the monotonic clock by which an answer must be given."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The deadline that is so many seconds from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds that are left; negative when it is past."""
        return self.at - time.monotonic()
