"""One update at a time for each sequence of each connection, within this process."""

import asyncio
from typing import Final
from weakref import WeakValueDictionary

from service.domain.credentials import ConnectionKey
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, failed

_RETRY_AFTER_SECONDS: Final = 1.0


class SequenceLock(asyncio.Lock):
    """The lock of one sequence: an update reads and writes under it.

    An update then sees what the one before it left, and no write overlaps another one, which Apollo would refuse
    (observed). Other processes have locks of their own.
    """

    async def acquire_until(self, deadline: Deadline, sequence_id: str) -> None:
        """Acquires the lock.

        Raises:
            UpdateFailed: Other updates of the sequence were still under way at the deadline.
        """
        if not self.locked():  # and then this does not wait
            await self.acquire()
            return
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self.acquire()
        except TimeoutError:
            raise failed(
                ErrorCode.CONFLICT_ERROR,
                f"Other changes to sequence {sequence_id} were still under way when the deadline came.",
                "Repeat the call.",
                retry_after=_RETRY_AFTER_SECONDS,
            ) from None


class SequenceLocks:
    """The locks of the sequences that are being updated; one that nobody uses is forgotten."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[ConnectionKey, str], SequenceLock] = WeakValueDictionary()

    def of(self, connection: ConnectionKey, sequence_id: str) -> SequenceLock:
        """The lock of one sequence of one connection."""
        key = (connection, sequence_id)
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = SequenceLock()
        return lock
