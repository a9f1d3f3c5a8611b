"""A short memory in front of the store: one load at a time for each key, forgotten after a stated time."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_MAX_ENTRIES: Final = 20_000


class Cache(Generic[K, V]):
    """Values by key, at most so many seconds old.

    However many ask for a key at once, one load answers them all; a load that fails is not remembered.
    """

    def __init__(self, load: Callable[[K], Awaitable[V]], seconds: float) -> None:
        """Makes an empty cache.

        Args:
            load: Gets a value.
            seconds: How long it is kept; 0 keeps nothing.
        """
        self._load = load
        self._seconds = seconds
        self._values: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._loading: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, seconds: float | None = None) -> V:
        """The value of a key; raises what the load raises.

        Args:
            key: The key.
            seconds: The longest wait for a load; None waits for its end.

        Raises:
            TimeoutError: The load took longer; it goes on for others.
        """
        known = self._values.get(key)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        loading = self._loading.get(key)
        if loading is None:
            loading = self._loading[key] = asyncio.ensure_future(self._fetch(key))
            loading.add_done_callback(_end)
        # A caller that goes away leaves the load to the others.
        return await asyncio.wait_for(asyncio.shield(loading), seconds)

    def put(self, key: K, value: V) -> None:
        """Replaces what is known of a key."""
        if self._seconds <= 0:
            return
        self._values[key] = (time.monotonic() + self._seconds, value)
        self._values.move_to_end(key)
        while len(self._values) > _MAX_ENTRIES:
            self._values.popitem(last=False)

    def drop(self, key: K) -> None:
        """Forgets a key."""
        self._values.pop(key, None)

    async def _fetch(self, key: K) -> V:
        try:
            value = await self._load(key)
        finally:
            del self._loading[key]
        self.put(key, value)
        return value


def _end(loading: "asyncio.Task[V]") -> None:
    if not loading.cancelled():
        loading.exception()  # whoever waits has it; nobody may be left to
