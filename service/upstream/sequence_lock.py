"""What updates of one sequence share while they are under way: reads, the turn to write, and what was just written."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, Origin, UpdateFailed, failed
from service.domain.json_value import JsonValue, json_equal
from service.domain.step import FieldChange, Provider
from service.providers.adapter import Calls, ProviderRequest, ProviderResponse, Write

FRESH_SECONDS: Final = 5.0
"""How old what was read may be when it is the turn to write; meanwhile somebody may give the step another template."""


class _Read(msgspec.Struct, frozen=True):
    """A read that succeeded.

    Attributes:
        answer: What the provider answered.
        writes: How many writes had been noted when it began.
        began: When that was, on the monotonic clock.
    """

    answer: ProviderResponse
    writes: int
    began: float


_Shared: TypeAlias = asyncio.Future[_Read | UpdateFailed | None]
"""What a read came to; None if the update that made it had to leave off."""


class SequenceUpdates:
    """The updates of one sequence of one connection that are under way in this worker.

    A read serves all updates that asked for it before it began, and none that came later: what an update finds out is
    never older than its own call, so that it never writes to a template that the step had before. Writes follow each other,
    since Apollo refuses those that overlap (observed).
    """

    def __init__(self, provider: Provider, sequence_id: str) -> None:
        self._provider = provider
        self._id = sequence_id
        self._turn = _Turns()
        self._reading: dict[str, _Turns] = {}
        self._next: dict[str, _Shared] = {}
        self._writes = 0
        self._written: dict[tuple[str, str], tuple[int, JsonValue]] = {}

    def reads(self, calls: Calls, deadline: Deadline) -> "SharedReads":
        """The reads of one update, which others may share.

        Args:
            calls: What sends them.
            deadline: How long the update can wait.
        """
        return SharedReads(self, calls, deadline)

    async def take_turn(self, deadline: Deadline) -> None:
        """Waits for the turn to write, which lasts until `end_turn`.

        Raises:
            UpdateFailed: Other writes to the sequence last longer than the deadline allows.
        """
        try:
            await self._turn.take(deadline)
        except TimeoutError:
            raise failed(
                ErrorCode.CONFLICT_ERROR,
                f"Other changes to sequence {self._id} were still under way when the deadline came; nothing was changed. "
                "Repeat the call.",
                retry_after=1.0,
            ) from None

    def end_turn(self) -> None:
        """Lets the next one write."""
        self._turn.release()

    def still_to_do(self, write: Write, reads: "SharedReads") -> Write:
        """The write less what is right by now, with what others have written since it was planned in `before`."""
        if not self._written:
            return write
        changes: list[FieldChange] = []
        for change in write.changes:
            at, held = self._written.get((write.request.path, change.field), (0, None))
            if at <= reads.writes_before:
                changes.append(change)
            elif not json_equal(held, change.after):
                changes.append(replace(change, before=held))
        return replace(write, changes=tuple(changes))

    def begins(self, write: Write) -> None:
        """A write is sent; until it is answered, nobody knows what the provider holds."""
        for change in write.changes:
            self._written.pop((write.request.path, change.field), None)

    def ended(self, write: Write, changed: Sequence[FieldChange]) -> None:
        """A write was answered, and the provider holds the `after` of these changes."""
        self._writes += 1
        for change in changed:
            self._written[write.request.path, change.field] = (self._writes, change.after)

    async def read(self, request: ProviderRequest, calls: Calls, deadline: Deadline) -> _Read:
        """A read that begins after this call.

        Raises:
            UpdateFailed: The provider refused it, or did not answer in time.
        """
        while True:
            coming = self._next.get(request.path)
            if coming is None:
                return await self._lead(request, calls, deadline)
            try:
                async with asyncio.timeout(deadline.remaining()):
                    found = await asyncio.shield(coming)
            except TimeoutError:
                raise self._too_late() from None
            if isinstance(found, UpdateFailed):
                raise UpdateFailed(*found.problems)
            if found is not None:
                return found

    async def _lead(self, request: ProviderRequest, calls: Calls, deadline: Deadline) -> _Read:
        """Reads once the read that is under way has ended; whoever asks until then has what this one finds."""
        path = request.path
        under_way = self._reading.setdefault(path, _Turns())
        shared = self._next[path] = asyncio.get_running_loop().create_future()
        try:
            await under_way.take(deadline)
            del self._next[path]
            writes, began = self._writes, time.monotonic()
            try:
                found = _Read(await calls.read(request), writes, began)
            finally:
                under_way.release()
            shared.set_result(found)
            return found
        except TimeoutError:
            raise self._too_late() from None
        except UpdateFailed as failure:
            # Others may have the time that this update had not.
            if deadline.remaining() > 0:
                shared.set_result(failure)
            raise
        finally:
            if self._next.get(path) is shared:
                del self._next[path]
            if not shared.done():
                shared.set_result(None)

    def _too_late(self) -> UpdateFailed:
        return failed(
            ErrorCode.GATEWAY_TIMEOUT_ERROR,
            f"{self._provider.title} had not answered an earlier read of sequence {self._id} when the deadline came; "
            "nothing was changed. Repeat the call.",
            origin=Origin.PROVIDER,
        )


class SharedReads:
    """The reads of one update, each of which may serve others too.

    Attributes:
        writes_before: How many writes to the sequence had been noted when the first of them began.
    """

    def __init__(self, updates: SequenceUpdates, calls: Calls, deadline: Deadline) -> None:
        self.writes_before = 0
        self._updates = updates
        self._calls = calls
        self._deadline = deadline
        self._began: float | None = None

    async def read(self, request: ProviderRequest) -> ProviderResponse:
        """The provider's good answer to a read that begins after this call.

        Raises:
            UpdateFailed: The provider could not be reached, or refused.
        """
        found = await self._updates.read(request, self._calls, self._deadline)
        if self._began is None:
            self._began, self.writes_before = found.began, found.writes
        return found.answer

    def are_stale(self) -> bool:
        """Whether what they showed is too old to be written upon."""
        return self._began is not None and time.monotonic() - self._began > FRESH_SECONDS


class _Turns(asyncio.Lock):
    """A lock that is waited for until a deadline; where nobody waits, it costs no time-out."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting = 0

    async def take(self, deadline: Deadline) -> None:
        """Acquires the lock; raises TimeoutError at the deadline."""
        if not self._waiting and not self.locked():
            await self.acquire()
            return
        self._waiting += 1
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self.acquire()
        finally:
            self._waiting -= 1
