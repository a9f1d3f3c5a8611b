"""Keeps when providers last took, and last refused, the credentials of each connection."""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from service.connections.database_failure import StoreUnavailable
from service.connections.repository import ConnectionRepository, CredentialUse
from service.domain.credentials import Connection
from service.domain.errors import ErrorCode
from service.tasks import finish

EXACT_SECONDS: Final = 300.0
"""How much older than the truth a stored time may be: so long the same news of a connection is not written again."""

_GATHER_SECONDS: Final = 1.0
_MAX_KNOWN: Final = 40_000


class LastUses:
    """Writes what providers say of credentials to the database, behind the calls that they say it to.

    What many connections have to tell is written together. What cannot be written is forgotten, and written at the next use.
    """

    def __init__(self, repository: ConnectionRepository) -> None:
        self._repository = repository
        self._written: OrderedDict[tuple[int, bool], tuple[str, float]] = OrderedDict()
        self._pending: dict[tuple[int, bool], CredentialUse] = {}
        self._writing: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    def observe(self, connection: Connection, refusal: ErrorCode | None) -> None:
        """Notes that a provider took the credentials of a connection, or refused them with a code."""
        which, code = (connection.id, refusal is None), refusal or ""
        written = self._written.get(which)
        now = time.monotonic()
        if written is not None and written[0] == code and now - written[1] < EXACT_SECONDS:
            return
        self._written[which] = (code, now)
        self._written.move_to_end(which)
        while len(self._written) > _MAX_KNOWN:
            self._written.popitem(last=False)
        self._pending[which] = CredentialUse(connection.id, time.time(), code)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def finish(self, seconds: float) -> None:
        """Writes what is still to be written, within so many seconds."""
        self._stopping.set()
        await finish([self._writing] if self._writing is not None else [], seconds)

    async def _write(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GATHER_SECONDS):
                await self._stopping.wait()
        while self._pending:
            uses: Sequence[CredentialUse] = list(self._pending.values())
            which = list(self._pending)
            self._pending.clear()
            try:
                await self._repository.record_uses(uses)
            except StoreUnavailable:
                for each in which:
                    self._written.pop(each, None)
