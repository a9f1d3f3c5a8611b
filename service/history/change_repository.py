"""Reads and writes the rows of the `step_changes` table, with the values of changes encrypted under the keyring."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Row, Select, bindparam, delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.connections.encryption import CannotDecrypt, Keyring, Sealed
from service.connections.row_changes import RowChange
from service.connections.schema import step_changes
from service.connections.store import Store
from service.domain.step import FieldChange, Provider
from service.domain.step_changes import ChangesQuery, ChangeState, StepChange
from service.history.change_id import least_id, time_of
from service.history.sealed_fields import RowKey, moved, seal, unseal

# A page ends before the values of its changes are longer than this together, unless it is the first change.
_MAX_PAGE_BYTES: Final = 4 * 1024 * 1024

# Values from here on are encrypted and decrypted in a thread, so that other calls go on meanwhile.
_LONG_BYTES: Final = 512 * 1024

_columns: Final = step_changes.c
# The length of a value is known without reading it.
_LENGTHS: Final = select(_columns.id, func.length(_columns.ciphertext))
_VALUES: Final = (_columns.ciphertext, _columns.key_id)
_INSERTED: Final = (*(_columns[name] for name in RowKey.__struct_fields__), _columns.state, *_VALUES)
_MOVE: Final = (
    update(step_changes)
    .where(_columns.id == bindparam("row_id"), _columns.key_id == bindparam("old_key_id"))
    # What was settled meanwhile has other values.
    .where(_columns.ciphertext == bindparam("old_ciphertext"))
    .values(ciphertext=bindparam("new_ciphertext"), key_id=bindparam("new_key_id"))
)
_UNKNOWN: Final = ChangeState.UNKNOWN.value
# Of the transactions of several replicas that would delete what is too old, one does.
_PURGE_LOCK: Final = text("SELECT pg_try_advisory_xact_lock(7356983572)")


class Insertion(msgspec.Struct, frozen=True):
    """A change that is about to be made.

    Attributes:
        key: What its row says.
        sealed: Its values.
    """

    key: RowKey
    sealed: Sealed


class Settlement(msgspec.Struct, frozen=True):
    """What became of a change.

    Attributes:
        id: Its row.
        state: What is known of it; None if it was not made, and the row goes.
        sealed: Its values; None if they stay.
    """

    id: bytes
    state: ChangeState | None
    sealed: Sealed | None = None


class MovedBatch(msgspec.Struct, frozen=True):
    """One batch of rows that `ChangeRepository.reencrypt` went through.

    Attributes:
        last_id: Its last row.
        moved: How many were moved to the first key.
        unreadable: How many could not be decrypted.
    """

    last_id: bytes
    moved: int
    unreadable: int


class ChangeRepository:
    """The rows. Every method raises `StoreUnavailable` if the database cannot be used."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring

    async def sealed(self, key: RowKey, fields: Sequence[FieldChange]) -> Sealed:
        """Encrypts the values of a change."""
        if (
            sum(len(text) for each in fields for text in (each.before, each.after) if isinstance(text, str))
            < _LONG_BYTES
        ):
            return seal(self._keyring, key, fields)
        return await asyncio.to_thread(seal, self._keyring, key, fields)

    async def write(self, insertions: Sequence[Insertion], settlements: Sequence[Settlement]) -> None:
        """Writes rows, and what became of others; one of which it is known by then that it goes is not written."""
        states: list[tuple[Any, ...]] = []
        values: list[tuple[Any, ...]] = []
        gone: list[tuple[bytes]] = []
        for each in settlements:
            if each.state is None:
                gone.append((each.id,))
            elif each.sealed is None:
                states.append((each.state.value, each.id))
            else:
                values.append((each.state.value, each.sealed.ciphertext, each.sealed.key_id, each.id))
        rows = [
            (*msgspec.structs.astuple(each.key), _UNKNOWN, each.sealed.ciphertext, each.sealed.key_id)
            for each in insertions
            if not gone or (each.key.id,) not in gone
        ]
        changes = (
            RowChange("insert", _INSERTED, rows),
            RowChange("update", (_columns.state, _columns.id), states),
            RowChange("update", (_columns.state, *_VALUES, _columns.id), values),
            RowChange("delete", (_columns.id,), gone),
        )
        await self._store.write([change for change in changes if change.rows])

    async def page(
        self, application_id: int, query: ChangesQuery, least: bytes, limit: int, after: bytes | None
    ) -> tuple[list[StepChange], bool]:
        """Lists changes, the newest first; fewer than there are if their values are long, and at least one if there is one.

        Returns:
            The changes, and whether it was their length that ended the list.

        Args:
            application_id: Whose.
            query: Which.
            least: None with an id below this.
            limit: How many at most.
            after: Only those behind this one.
        """
        chosen = (
            _LENGTHS.where(_columns.application_id == application_id, _columns.customer_id == query.customer_id)
            .where(_columns.provider == query.provider, _columns.id >= least)
            .order_by(_columns.id.desc())
            .limit(limit)
        )
        for column, wanted in (
            (_columns.sequence_id, query.sequence_id),
            (_columns.sequence_step_id, query.sequence_step_id),
            (_columns.request_id, query.request_id),
        ):
            if wanted:
                chosen = chosen.where(column == wanted)
        if query.end_at is not None:
            chosen = chosen.where(_columns.id < least_id(query.end_at))
        if after is not None:
            chosen = chosen.where(_columns.id < after)
        return await self._read(chosen)

    async def find(
        self, application_id: int, customer_id: str, provider: Provider, change_id: uuid.UUID
    ) -> StepChange | None:
        """Reads a change; None if there is none by this id."""
        whose = _LENGTHS.where(_columns.id == change_id.bytes, _columns.application_id == application_id).where(
            _columns.customer_id == customer_id, _columns.provider == provider
        )
        found, _ = await self._read(whose)
        return found[0] if found else None

    async def _read(self, chosen: Select[Any]) -> tuple[list[StepChange], bool]:
        async def work(db: AsyncConnection) -> tuple[Sequence[Row[Any]], bool]:
            found = (await db.execute(chosen)).all()
            ids: list[bytes] = []
            left = _MAX_PAGE_BYTES
            for row_id, length in found:
                left -= length
                if left < 0 and ids:
                    break
                ids.append(row_id)
            query = select(step_changes).where(_columns.id.in_(ids)).order_by(_columns.id.desc())
            return (await db.execute(query)).all() if ids else (), len(ids) < len(found)

        rows, is_cut = await self._store.transact(work)
        if sum(len(row.ciphertext) for row in rows) < _LONG_BYTES:
            return [self._change(row) for row in rows], is_cut
        return await asyncio.to_thread(lambda: [self._change(row) for row in rows]), is_cut

    def _change(self, row: Row[Any]) -> StepChange:
        row_id = uuid.UUID(bytes=bytes(row.id))
        try:
            fields = unseal(self._keyring, _row_key(row), Sealed(row.key_id, bytes(row.ciphertext)))
        except CannotDecrypt:
            fields = None
        return StepChange(
            Provider(row.provider),
            row.customer_id,
            row.sequence_id,
            row.sequence_step_id,
            change_id=str(row_id),
            created_at=time_of(row_id),
            template_id=row.template_id,
            request_id=row.request_id,
            state=ChangeState(row.state),
            fields=fields,
            reverts=str(uuid.UUID(bytes=bytes(row.reverts))) if row.reverts is not None else "",
        )

    async def delete(self, application_id: int, customer_id: str, provider: Provider | None, limit: int) -> int:
        """Deletes changes of a customer, so many at most; returns how many.

        Args:
            application_id: Whose.
            customer_id: Of which customer.
            provider: At which provider; None for all.
            limit: How many at most.
        """
        chosen = select(_columns.id).where(
            _columns.application_id == application_id, _columns.customer_id == customer_id
        )
        if provider is not None:
            chosen = chosen.where(_columns.provider == provider)
        return await self._store.execute(delete(step_changes).where(_columns.id.in_(chosen.limit(limit))))

    async def purge(self, least: bytes, limit: int) -> int:
        """Deletes rows with ids below one, so many at most; returns how many. Others that do the same are left to it."""
        chosen = select(_columns.id).where(_columns.id < bindparam("least")).order_by(_columns.id).limit(limit)
        if await self._store.first(chosen.limit(1), {"least": least}) is None:
            return 0

        async def work(db: AsyncConnection) -> int:
            if db.dialect.name == "postgresql" and not (await db.execute(_PURGE_LOCK)).scalar():
                return 0
            return (await db.execute(delete(step_changes).where(_columns.id.in_(chosen)), {"least": least})).rowcount

        return await self._store.transact(work)

    async def count_by_encryption_key(self) -> dict[str, int]:
        """How many changes are under each encryption key, by its id."""
        query = select(_columns.key_id, func.count()).group_by(_columns.key_id).order_by(_columns.key_id)
        async with self._store.begin() as db:
            return {str(key_id): int(count) for key_id, count in await db.execute(query)}

    async def encryption_key_ids(self) -> list[str]:
        """The ids of the encryption keys that rows are under."""
        found: list[str] = []
        async with self._store.begin() as db:
            # One step in the index for each key, however many changes there are.
            query = select(func.min(_columns.key_id))
            while (key_id := (await db.execute(query)).scalar()) is not None:
                found.append(key_id)
                query = select(func.min(_columns.key_id)).where(_columns.key_id > key_id)
        return found

    async def count_under_other_keys(self) -> int:
        """How many changes are not under the keyring's first key."""
        query = select(func.count()).select_from(step_changes).where(_columns.key_id != self._keyring.current)
        async with self._store.begin() as db:
            return int((await db.execute(query)).scalar_one())

    async def reencrypt(self, after_id: bytes, limit: int) -> MovedBatch | None:
        """Moves the next rows to the keyring's first key; None if there are none left.

        Args:
            after_id: Rows up to this id are passed over.
            limit: How many rows to go through at most.
        """
        query = (
            select(step_changes)
            .where(_columns.key_id != self._keyring.current, _columns.id > after_id)
            .order_by(_columns.id)
            .limit(limit)
        )
        async with self._store.begin() as db:
            rows = (await db.execute(query)).all()
        if not rows:
            return None
        changes: list[dict[str, Any]] = []
        for row in rows:
            try:
                sealed = moved(self._keyring, _row_key(row), Sealed(row.key_id, bytes(row.ciphertext)))
            except CannotDecrypt:
                continue
            changes.append(
                {"row_id": row.id, "old_key_id": row.key_id, "old_ciphertext": row.ciphertext, **_new(sealed)}
            )

        async def move(db: AsyncConnection) -> None:
            if changes:
                await db.execute(_MOVE, changes)

        await self._store.transact(move)
        return MovedBatch(bytes(rows[-1].id), len(changes), len(rows) - len(changes))


def _new(sealed: Sealed) -> dict[str, Any]:
    return {"new_ciphertext": sealed.ciphertext, "new_key_id": sealed.key_id}


def _row_key(row: Row[Any]) -> RowKey:
    return RowKey(
        bytes(row.id),
        row.application_id,
        row.customer_id,
        row.provider,
        row.sequence_id,
        row.sequence_step_id,
        row.template_id,
        row.request_id,
        bytes(row.reverts) if row.reverts is not None else None,
    )
