"""Caches what was loaded, for a stated time, with one load at a time for each key."""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_MAX_ENTRIES: Final = 20_000

# What was loaded at once, as after a start, is loaded again by and by: each value is kept for this part of the time at least.
_LEAST_PART: Final = 0.8


class Cache(Generic[K, V]):
    """A cache of values by key, the least recently stored of which are dropped when there are too many.

    However many ask for a key at once, one load serves them all (single-flight). A load that fails is not cached.
    """

    def __init__(self, load: Callable[[K], Awaitable[V]], seconds: float) -> None:
        """Makes an empty cache.

        Args:
            load: Loads the value of a key.
            seconds: How long a value is kept at most; 0 keeps nothing.
        """
        self._load = load
        self._seconds = seconds
        self._values: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._loading: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, seconds: float | None = None) -> V:
        """Returns the value of a key, loaded if need be; raises what the load raises.

        Args:
            key: The key.
            seconds: The longest wait for a load; None for no limit.

        Raises:
            TimeoutError: The load took longer; it goes on for others.
        """
        cached = self._values.get(key)
        if cached is not None:
            expires_at, value = cached
            if expires_at > time.monotonic():
                return value
        loading = self._loading.get(key)
        if loading is None:
            loading = self._loading[key] = asyncio.ensure_future(self._fetch(key))
            loading.add_done_callback(_retrieve_exception)
        # Shielded, so that a caller who leaves does not stop the load for the others.
        return await asyncio.wait_for(asyncio.shield(loading), seconds)

    def put(self, key: K, value: V) -> None:
        """Stores the value of a key."""
        if self._seconds <= 0:
            return
        part = random.uniform(_LEAST_PART, 1)  # noqa: S311  # no secret
        self._values[key] = (time.monotonic() + part * self._seconds, value)
        self._values.move_to_end(key)
        while len(self._values) > _MAX_ENTRIES:
            self._values.popitem(last=False)

    def drop(self, key: K) -> None:
        """Removes a key."""
        self._values.pop(key, None)

    async def _fetch(self, key: K) -> V:
        try:
            value = await self._load(key)
        finally:
            del self._loading[key]
        self.put(key, value)
        return value


def _retrieve_exception(loading: "asyncio.Task[V]") -> None:
    # asyncio warns of an exception that nobody retrieved, and all callers may have left.
    if not loading.cancelled():
        loading.exception()
