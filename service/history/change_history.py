"""The history of all customers, for calls: keeps what updates write, and finds it again."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Final

import structlog
from msgspec.structs import replace
from sqlalchemy.exc import IntegrityError

from service.connections.database_failure import StoreUnavailable
from service.connections.encryption import Keyring
from service.connections.store import Store
from service.domain.deadline import Deadline
from service.domain.step import Caller, FieldChange, Provider, StepUpdate
from service.domain.step_changes import ChangesQuery, ChangeState, StepChange
from service.history.change_id import ChangeIds, least_id, time_of
from service.history.change_repository import ChangeRepository, Insertion, Settlement
from service.history.errors import CannotRecord, HistoryUnavailable
from service.history.recorder import Recorder
from service.history.sealed_fields import RowKey
from service.tasks import within

log: Final = structlog.get_logger("service.history")

_DAY_SECONDS: Final = 86400.0
# How long an answer waits for what became of its change to be noted; that goes on without it.
_SETTLE_SECONDS: Final = 2.0
_PURGE_ROWS: Final = 200


class Recorded:
    """A change that is kept, and whose end is not noted yet.

    Attributes:
        change_id: Names it.
    """

    def __init__(self, key: RowKey, repository: ChangeRepository, recorder: Recorder) -> None:
        self.change_id = str(uuid.UUID(bytes=key.id))
        self._key = key
        self._repository = repository
        self._recorder = recorder

    async def settle(self, state: ChangeState | None, fields: Sequence[FieldChange] | None) -> None:
        """Notes what became of the change; if that fails, its end stays unknown.

        Args:
            state: What is known of it; None if it was not made, so that it is not kept.
            fields: What it comes to; None if that is as it was recorded.
        """
        sealed = await self._repository.sealed(self._key, fields) if fields is not None else None
        try:
            await self._recorder.write_within(Settlement(self._key.id, state, sealed), _SETTLE_SECONDS)
        except (TimeoutError, StoreUnavailable):
            log.warning("change not settled, its end stays unknown", change_id=self.change_id, limited=True)


class History:
    """What updates write, kept for a number of days."""

    def __init__(self, store: Store, keyring: Keyring, days: float) -> None:
        """Makes the history.

        Args:
            store: The database.
            keyring: The keys that values are encrypted under.
            days: How long a change is kept and shown.
        """
        self._repository = ChangeRepository(store, keyring)
        self._recorder = Recorder(self._repository)
        self._ids = ChangeIds()
        self._days = days

    async def record(
        self, caller: Caller, update: StepUpdate, template_id: str, fields: Sequence[FieldChange], deadline: Deadline
    ) -> Recorded:
        """Keeps a change that is about to be made, as one whose end is not known.

        Args:
            caller: Whose it is.
            update: What it comes from.
            template_id: The template that is written; empty if none is.
            fields: What the provider holds, and what it is to hold.
            deadline: When it has to be kept.

        Raises:
            CannotRecord: The database cannot be used in time.
        """
        change_id = self._ids.next()
        key = RowKey(
            change_id.bytes,
            caller.application_id,
            update.customer_id,
            str(update.provider),
            _written(update.sequence_id),
            _written(update.sequence_step_id),
            template_id,
            update.request_id,
            uuid.UUID(update.reverts).bytes if update.reverts else None,
        )
        sealed = await self._repository.sealed(key, fields)
        try:
            await self._recorder.write_within(Insertion(key, sealed), deadline.remaining())
        except (TimeoutError, asyncio.CancelledError) as error:
            # It is not made, and so not kept where it comes to be written yet.
            self._recorder.write(Settlement(change_id.bytes, None))
            if isinstance(error, TimeoutError):
                raise CannotRecord from None
            raise
        except (StoreUnavailable, IntegrityError):
            # The latter where the application itself was deleted meanwhile.
            raise CannotRecord from None
        return Recorded(key, self._repository, self._recorder)

    async def page(
        self, application_id: int, query: ChangesQuery, limit: int, after: str | None, deadline: Deadline
    ) -> tuple[list[StepChange], bool]:
        """Lists changes, the newest first.

        Returns:
            The changes, and whether the length of their values ended the list before the limit and the last one.

        Args:
            application_id: Whose.
            query: Which.
            limit: How many at most; there are fewer if their values are long, and at least one if there is one.
            after: Only those behind this one.
            deadline: When they have to be there.

        Raises:
            HistoryUnavailable: The database cannot be used in time.
        """
        least = least_id(max(self._oldest, query.start_at or 0.0))
        position = uuid.UUID(after).bytes if after is not None else None
        try:
            reading = self._repository.page(application_id, _as_written(query), least, limit, position)
            return await within(deadline.remaining(), reading)
        except (StoreUnavailable, TimeoutError):
            raise HistoryUnavailable from None

    async def find(
        self, application_id: int, customer_id: str, provider: Provider, change_id: str, deadline: Deadline
    ) -> StepChange | None:
        """Reads a change; None if there is none by this id, or it is too old.

        Raises:
            HistoryUnavailable: The database cannot be used in time.
        """
        named = uuid.UUID(change_id)
        if time_of(named) < self._oldest:
            return None
        try:
            reading = self._repository.find(application_id, customer_id, provider, named)
            return await within(deadline.remaining(), reading)
        except (StoreUnavailable, TimeoutError):
            raise HistoryUnavailable from None

    async def purge(self) -> bool:
        """Deletes some of what is too old; returns whether there may be more.

        Raises:
            StoreUnavailable: The database cannot be used.
        """
        return await self._repository.purge(least_id(self._oldest), _PURGE_ROWS) == _PURGE_ROWS

    async def finish(self, seconds: float) -> None:
        """Waits up to so many seconds for what is still to be written."""
        await self._recorder.finish(seconds)

    @property
    def _oldest(self) -> float:
        return time.time() - self._days * _DAY_SECONDS


def _written(provider_id: str) -> str:
    """An id as it is kept: Apollo's, which may be given in upper case, as Apollo has them."""
    return provider_id.lower()


def _as_written(query: ChangesQuery) -> ChangesQuery:
    return replace(query, sequence_id=_written(query.sequence_id), sequence_step_id=_written(query.sequence_step_id))
