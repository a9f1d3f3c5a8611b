"""Writes changes to the database, those of several calls together."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, TypeAlias

from sqlalchemy.exc import IntegrityError

from service.history.change_repository import ChangeRepository, Insertion, Settlement
from service.tasks import finish

_Row: TypeAlias = Insertion | Settlement
_Batch: TypeAlias = "Sequence[tuple[_Row, asyncio.Future[None]]]"

# How many rows, and how many bytes of them, a transaction has at most.
_BATCH_ROWS: Final = 256
_BATCH_BYTES: Final = 16 * 1024 * 1024

# From the beginning of one transaction to that of the next.
_PAUSE_SECONDS: Final = 0.01


class Recorder:
    """Writes rows in the order in which they are given.

    A transaction waits until the disk has it. What comes while one is under way goes into the next one together, so that
    many calls at once wait for few transactions.
    """

    def __init__(self, repository: ChangeRepository) -> None:
        self._repository = repository
        self._queue: list[tuple[_Row, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._began = 0.0

    def write(self, row: _Row) -> "asyncio.Future[None]":
        """Writes a row; the future is done when the database has it, and raises what the database raises.

        The row is written also where nobody waits for the future any more.
        """
        written = asyncio.get_running_loop().create_future()
        written.add_done_callback(_retrieve_exception)
        self._queue.append((row, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return written

    async def write_within(self, row: _Row, seconds: float) -> None:
        """Writes a row, and waits for it so many seconds at most.

        Raises:
            TimeoutError: The database has not got it yet; it is written all the same.
            StoreUnavailable: The database cannot be used.
        """
        written = self.write(row)
        # Cheaper than `asyncio.timeout`, of which each update would need two.
        end = asyncio.get_running_loop().call_later(max(0.0, seconds), _expire, written)
        try:
            await written
        finally:
            end.cancel()

    async def _write(self) -> None:
        try:
            while self._queue:
                # Under load what comes next goes along; a call by itself waits for nothing.
                await asyncio.sleep(max(0.0, self._began + _PAUSE_SECONDS - time.monotonic()))
                self._began = time.monotonic()
                batch = self._next_batch()
                try:
                    await self._write_batch(batch)
                except IntegrityError:
                    # One row's application was deleted meanwhile, which is no fault of the others.
                    for each in batch:
                        await self._write_batch([each])
        finally:
            self._writing = None

    async def _write_batch(self, batch: _Batch) -> None:
        """Writes rows, and ends the wait for them.

        Raises:
            IntegrityError: One of several cannot be written, so that none was, and the wait goes on.
        """
        failure: Exception | None = None
        try:
            await self._repository.write(
                [row for row, _ in batch if isinstance(row, Insertion)],
                [row for row, _ in batch if isinstance(row, Settlement)],
            )
        except Exception as error:  # those who wait get it
            failure = error
            if isinstance(error, IntegrityError) and len(batch) > 1:
                raise
        for _, written in batch:
            if written.done():
                continue
            if failure is None:
                written.set_result(None)
            else:
                written.set_exception(failure)

    def _next_batch(self) -> _Batch:
        left, count = _BATCH_BYTES, 0
        for row, _ in self._queue[:_BATCH_ROWS]:
            left -= len(row.sealed.ciphertext) if row.sealed is not None else 0
            if left < 0 and count:
                break
            count += 1
        batch = self._queue[:count]
        del self._queue[:count]
        return batch

    async def finish(self, seconds: float) -> None:
        """Waits up to so many seconds for what is still to be written."""
        if self._writing is not None:
            await finish([self._writing], seconds)


def _expire(written: "asyncio.Future[None]") -> None:
    if not written.done():
        written.set_exception(TimeoutError())


def _retrieve_exception(written: "asyncio.Future[None]") -> None:
    # asyncio warns of an exception that nobody retrieved, and nobody may be left who wants to know.
    if not written.cancelled():
        written.exception()
