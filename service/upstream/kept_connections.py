"""Connections to a server that are kept for further requests: each for one owner, and for one request at a time."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

IDLE_SECONDS: Final = 30.0
"""How long a connection is kept without a request. Load balancers keep them for a minute or more."""

# After so long a connection is closed for certain; the engine looks for those that are due from time to time.
_CLOSED_SECONDS: Final = IDLE_SECONDS + 5.0

T = TypeVar("T")


class KeptConnection(Generic[T]):
    """An engine that has at most one connection.

    Attributes:
        engine: Sends requests over the connection, and makes one where there is none.
        owner: Whose requests are sent over it.
        may_be_open: Whether there may be a connection from an earlier request.
        released_at: When its last request ended, on the monotonic clock.
    """

    __slots__ = ("engine", "may_be_open", "owner", "released_at")

    def __init__(self, engine: T, owner: Hashable) -> None:
        self.engine: Final = engine
        self.owner = owner
        self.may_be_open = False
        self.released_at = 0.0


class KeptConnections(Generic[T]):
    """The connections to one server that are kept.

    What a server sends too much on a connection can only reach its owner: nobody else gets it before it is closed. Its
    engine then serves another owner, so that few are made.

    Attributes:
        engines: All that were made.
    """

    def __init__(self, make_engine: Callable[[], T], limit: int) -> None:
        """Starts with none.

        Args:
            make_engine: Makes an engine that keeps one connection, for `IDLE_SECONDS`.
            limit: How many there are at most, with those in use.
        """
        self.engines: list[T] = []
        self._make_engine = make_engine
        self._limit = limit
        # Those without a request in the order of their release: all, and those of each owner.
        self._free: OrderedDict[KeptConnection[T], None] = OrderedDict()
        self._owners: dict[Hashable, list[KeptConnection[T]]] = {}

    def take(self, owner: Hashable) -> KeptConnection[T] | None:
        """Takes a connection for one request: the one that the owner used last, or a new one.

        Returns:
            The connection, to be released; None if all are in use or kept for others.
        """
        now = time.monotonic()
        kept = self._own(owner) or self._closed(now)
        if kept is None:
            return self._new(owner)
        del self._free[kept]
        kept.may_be_open = now - kept.released_at <= _CLOSED_SECONDS
        kept.owner = owner
        return kept

    def release(self, kept: KeptConnection[T]) -> None:
        """Gives a connection back after its request, whatever became of it."""
        kept.released_at = time.monotonic()
        self._free[kept] = None
        self._owners.setdefault(kept.owner, []).append(kept)

    def _own(self, owner: Hashable) -> KeptConnection[T] | None:
        own = self._owners.get(owner)
        if own is None:
            return None
        kept = own.pop()
        if not own:
            del self._owners[owner]
        return kept

    def _closed(self, now: float) -> KeptConnection[T] | None:
        oldest = next(iter(self._free), None)
        if oldest is None or now - oldest.released_at <= _CLOSED_SECONDS:
            return None
        others = self._owners[oldest.owner]
        del others[0]
        if not others:
            del self._owners[oldest.owner]
        return oldest

    def _new(self, owner: Hashable) -> KeptConnection[T] | None:
        if len(self.engines) >= self._limit:
            return None
        # At once, though to make one reads the certificate authorities: another connection for the next request costs more.
        engine = self._make_engine()
        self.engines.append(engine)
        return KeptConnection(engine, owner)
