"""A clock for tests of what is waited for."""


class Clock:
    """A clock that goes on by what is slept only."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Notes the seconds, and goes on by them."""
        self.slept.append(seconds)
        self.now += seconds
