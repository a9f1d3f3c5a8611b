"""Reads and writes the rows of the `connections` table, with credentials encrypted under the keyring."""

import contextlib
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

import msgspec
import structlog
from msgspec import structs
from sqlalchemy import ColumnElement, Row, Update, bindparam, delete, func, insert, literal, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.connections.encryption import CannotDecrypt, Keyring, Sealed
from service.connections.errors import CredentialsUnreadable
from service.connections.schema import applications, connections
from service.connections.store import Store
from service.domain.credentials import (
    Connection,
    ConnectionKey,
    ConnectionState,
    ConnectionSummary,
    Credentials,
    OAuthCredentials,
)
from service.domain.step import Provider
from service.domain.token_grant import CLIENT_ERRORS

log: Final = structlog.get_logger("service.connections")

_SELECT: Final = select(connections).where(
    *(connections.c[name] == bindparam(name) for name in ("application_id", "customer_id", "provider"))
)
_SUMMARIES: Final = select(connections, applications.c.name).join(applications)
_ROW: Final = update(connections).where(connections.c.id == bindparam("row"))
_TAKEN: Final = _ROW.values(last_success_at=bindparam("at"))
_REFUSED: Final = _ROW.values(last_failure_at=bindparam("at"), last_failure_code=bindparam("code"))
_NO_LEASE: Final[Mapping[str, Any]] = {"lease_owner": None, "lease_until": None}
_NO_REFRESH_ERROR: Final[Mapping[str, Any]] = {"refresh_error": None, "refresh_error_at": None}


class StoredConnection(msgspec.Struct, frozen=True):
    """A connection as its row has it, decrypted.

    Attributes:
        connection: The connection.
        revision: The revision of its credentials; a later write names it, and fails if the row has another one by then.
        state: Whether it can be used.
        state_reason: Why it is in this state.
        refresh_error: The OAuth error with which the token endpoint last refused to renew the token; None after a success.
        refresh_error_at: When that was, as a Unix time in seconds.
    """

    connection: Connection
    revision: int
    state: ConnectionState
    state_reason: str
    refresh_error: str | None
    refresh_error_at: float

    @property
    def key(self) -> ConnectionKey:
        """What identifies the connection."""
        return self.connection.key

    def is_at_revision_of(self, other: "StoredConnection") -> bool:
        """Whether the row has not changed between the two."""
        return (self.connection.id, self.revision) == (other.connection.id, other.revision)


@dataclass(frozen=True, slots=True)
class CredentialUse:
    """What a provider said of the credentials of a connection.

    Attributes:
        connection_id: The key of its row.
        at: When, as a Unix time in seconds.
        refusal: The code of the error with which it refused them; empty if it took them.
    """

    connection_id: int
    at: float
    refusal: str = ""


class Lease(Enum):
    """What an attempt to take the lease of a connection came to."""

    TAKEN = auto()
    """Nobody had it."""

    TAKEN_OVER = auto()
    """Another process had it for longer than it may."""

    NOT_TAKEN = auto()
    """Another process has it, or the row is another one by now."""


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """One batch of an application's connections to a provider.

    Attributes:
        last_id: The id of its last row.
        readable: The connections.
        unreadable: How many could not be decrypted.
    """

    last_id: int
    readable: tuple[StoredConnection, ...]
    unreadable: int


@dataclass(frozen=True, slots=True)
class RefreshErrorCount:
    """How many connections of an application to a provider have the same refresh error."""

    application: str
    provider: Provider
    error: str
    count: int


@dataclass(frozen=True, slots=True)
class ReencryptedBatch:
    """One batch of rows that `ConnectionRepository.reencrypt` went through.

    Attributes:
        last_id: The id of its last row.
        moved: Rows that are now under the keyring's first key.
        unreadable: Rows that could not be decrypted, and were left as they are.
    """

    last_id: int
    moved: int
    unreadable: int


class _AlreadySet(Exception):
    """An active connection has the very credentials that are to be stored."""


class ConnectionRepository:
    """All queries on the `connections` table.

    A write that follows from what was read names the revision that was read, and gives the row the next one. It changes
    nothing if the row has another revision by then. Leases and encryption keys are no part of a revision.
    """

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring

    async def find(self, key: ConnectionKey) -> StoredConnection | None:
        """Reads a connection; None if there is none.

        Raises:
            CredentialsUnreadable: Its credentials cannot be decrypted.
            StoreUnavailable: The database cannot be reached.
        """
        row = await self._store.first(_SELECT, structs.asdict(key))
        if row is None:
            return None
        try:
            return self._decrypted(row, key)
        except CannotDecrypt as reason:
            log.warning("credentials cannot be decrypted", customer=key.customer_id, reason=str(reason))
            raise CredentialsUnreadable(key, str(reason)) from None

    async def put_once(self, key: ConnectionKey, credentials: Credentials) -> bool:
        """Stores a connection as `put` does, unless it is active and these are the credentials that were put last.

        They may have been renewed since, and what they were renewed from is void.

        Returns:
            Whether they were stored.

        Raises:
            ValueError: There is no such application.
            StoreUnavailable: The database cannot be reached.
        """
        digest = _set_digest(key, credentials)

        def check(earlier: Row[Any] | None) -> None:
            if earlier is not None and earlier.state == ConnectionState.ACTIVE and earlier.set_digest == digest:
                raise _AlreadySet

        try:
            await self._put(key, credentials, check)
        except _AlreadySet:
            return False
        return True

    async def put(self, key: ConnectionKey, credentials: Credentials) -> bool:
        """Stores a connection in the place of any earlier one, ready for use.

        It gets a row of its own, so that nothing that is remembered by the id of the earlier one applies to it.

        Returns:
            Whether there was an earlier one.

        Raises:
            ValueError: There is no such application.
            StoreUnavailable: The database cannot be reached.
        """
        return await self._put(key, credentials, lambda _: None)

    async def _put(
        self, key: ConnectionKey, credentials: Credentials, check: Callable[[Row[Any] | None], None]
    ) -> bool:
        """Stores a connection, if `check` does not raise for the earlier row, in the transaction that replaces it."""

        async def replace_row(db: AsyncConnection) -> bool:
            earlier = (await db.execute(delete(connections).where(*_by_key(key)).returning(connections))).first()
            check(earlier)
            now = time.time()
            await db.execute(
                insert(connections).values(
                    **structs.asdict(key),
                    **self._encrypted(key, credentials),
                    **self._kept_lease(earlier, key, credentials),
                    set_digest=_set_digest(key, credentials),
                    # At random, so that no renewal takes it for a connection that was deleted meanwhile.
                    revision=secrets.randbits(30),
                    state=ConnectionState.ACTIVE.value,
                    state_reason="connected",
                    state_since=now,
                    created_at=earlier.created_at if earlier else now,
                    updated_at=now,
                )
            )
            return earlier is not None

        while True:
            try:
                return await self._store.transact(replace_row)
            except IntegrityError as conflict:
                if not await self._has_application(key.application_id):
                    raise ValueError(f"there is no application {key.application_id}") from conflict
                # Another process has inserted the row in between, so now there is one to replace.

    def _kept_lease(self, earlier: Row[Any] | None, key: ConnectionKey, credentials: Credentials) -> Mapping[str, Any]:
        """The lease of the earlier row, if the process that has it renews the very grant that is stored again."""
        if earlier is None or not isinstance(credentials, OAuthCredentials):
            return _NO_LEASE
        try:
            before = self._decrypt(earlier, key)
        except CannotDecrypt:
            return _NO_LEASE
        if not isinstance(before, OAuthCredentials) or before.refresh_token != credentials.refresh_token:
            return _NO_LEASE
        return {"lease_owner": earlier.lease_owner, "lease_until": earlier.lease_until}

    async def delete(self, key: ConnectionKey) -> bool:
        """Deletes a connection with its credentials; returns whether there was one."""
        return await self._store.execute(delete(connections).where(*_by_key(key))) == 1

    async def take_lease(self, stored: StoredConnection, owner: str, seconds: float) -> Lease:
        """Takes the lease of a connection for so many seconds, unless another process has it.

        A lease that ends later than `seconds` from now was made before the clock was set back, and counts as ended.
        """
        now = self._store.now
        until = connections.c.lease_until
        is_free = until.is_(None) | (connections.c.lease_owner == owner)
        for where, lease in (
            (is_free, Lease.TAKEN),
            (~until.between(now, now + seconds), Lease.TAKEN_OVER),
        ):
            values = {"lease_owner": owner, "lease_until": now + seconds}
            if await self._update(*_at_revision(stored), where, values=values):
                return lease
        return Lease.NOT_TAKEN

    async def release_lease(self, key: ConnectionKey, owner: str) -> None:
        """Gives the lease back, if its owner still has it."""
        await self._update(*_by_key(key), connections.c.lease_owner == owner, values=_NO_LEASE)

    async def replace_credentials(
        self, stored: StoredConnection, credentials: OAuthCredentials
    ) -> StoredConnection | None:
        """Stores renewed credentials, marks the connection as active, and gives the lease back.

        Returns:
            The connection as it is now; None if the row has another revision by now, so that nothing was stored.
        """
        now = time.time()
        renewed = structs.replace(
            stored,
            connection=structs.replace(stored.connection, credentials=credentials),
            state=ConnectionState.ACTIVE,
            refresh_error=None,
        )
        values = {**self._encrypted(stored.key, credentials), **_NO_LEASE, **_NO_REFRESH_ERROR, "updated_at": now}
        if stored.state is not ConnectionState.ACTIVE:
            renewed = structs.replace(renewed, state_reason="token renewed")
            values |= {"state": renewed.state.value, "state_reason": renewed.state_reason, "state_since": now}
        return await self._next_revision(stored, renewed, values)

    async def replace_client_secret(self, stored: StoredConnection, credentials: OAuthCredentials) -> bool:
        """Stores credentials that differ in the client secret only; the lease, if there is one, stays.

        Returns:
            Whether it was replaced; if not, the row has another revision by now.
        """
        values = {**self._encrypted(stored.key, credentials), "updated_at": time.time()}
        if stored.refresh_error in CLIENT_ERRORS:
            values |= _NO_REFRESH_ERROR
        return await self._next_revision(stored, stored, values) is not None

    async def record_refresh_error(self, stored: StoredConnection, error: str) -> StoredConnection | None:
        """Records that the token endpoint refused to renew the token, and gives the lease back.

        Returns:
            The connection as it is now; None if the row has another revision by now.
        """
        now = time.time()
        recorded = structs.replace(stored, refresh_error=error, refresh_error_at=now)
        values = {**_NO_LEASE, "refresh_error": error, "refresh_error_at": now}
        return await self._next_revision(stored, recorded, values)

    async def mark_needs_reauth(self, stored: StoredConnection, reason: str) -> StoredConnection | None:
        """Marks a connection as one whose customer has to connect again, and gives the lease back.

        Returns:
            The connection as it is now; None if the row has another revision by now.
        """
        marked = structs.replace(
            stored, state=ConnectionState.NEEDS_REAUTH, state_reason=reason[:1000], refresh_error=None
        )
        values = {
            **_NO_LEASE,
            **_NO_REFRESH_ERROR,
            "state": marked.state.value,
            "state_reason": marked.state_reason,
            "state_since": time.time(),
        }
        return await self._next_revision(stored, marked, values)

    async def _next_revision(
        self, stored: StoredConnection, changed: StoredConnection, values: Mapping[str, Any]
    ) -> StoredConnection | None:
        revision = stored.revision + 1
        was_changed = await self._update(*_at_revision(stored), values={**values, "revision": revision})
        return structs.replace(changed, revision=revision) if was_changed else None

    async def record_uses(self, uses: Sequence[CredentialUse]) -> None:
        """Stores what providers last said of credentials; rows that are gone are passed over.

        Raises:
            StoreUnavailable: The database cannot be reached.
        """
        taken = [{"row": use.connection_id, "at": use.at} for use in uses if not use.refusal]
        refused = [{"row": use.connection_id, "at": use.at, "code": use.refusal} for use in uses if use.refusal]

        async def record(db: AsyncConnection) -> None:
            if taken:
                await db.execute(_TAKEN, taken)
            if refused:
                await db.execute(_REFUSED, refused)

        await self._store.transact(record)

    async def of_provider(
        self, application_id: int, provider: Provider, after_id: int, limit: int
    ) -> StoredBatch | None:
        """Reads the next connections of an application to a provider; None if there are none left.

        Args:
            application_id: The application.
            provider: The provider.
            after_id: Rows up to this id are passed over.
            limit: How many to read at most.
        """
        query = (
            select(connections)
            .where(connections.c.application_id == application_id, connections.c.provider == provider)
            .where(connections.c.id > after_id)
            .order_by(connections.c.id)
            .limit(limit)
        )
        async with self._store.begin() as db:
            rows = (await db.execute(query)).all()
        if not rows:
            return None
        readable: list[StoredConnection] = []
        for row in rows:
            with contextlib.suppress(CannotDecrypt):
                readable.append(self._decrypted(row, ConnectionKey(application_id, row.customer_id, provider)))
        return StoredBatch(rows[-1].id, tuple(readable), len(rows) - len(readable))

    async def count_refresh_errors(self) -> list[RefreshErrorCount]:
        """Counts the connections whose token was last not renewed, by application, provider and error."""
        grouped = (applications.c.name, connections.c.provider, connections.c.refresh_error)
        query = (
            select(*grouped, func.count())
            .select_from(connections.join(applications))
            .where(connections.c.refresh_error.isnot(None))
            .group_by(*grouped)
            .order_by(*grouped)
        )
        async with self._store.begin() as db:
            rows = (await db.execute(query)).all()
        return [RefreshErrorCount(name, Provider(provider), error, count) for name, provider, error, count in rows]

    async def count_by_state(self) -> list[tuple[str, str, int]]:
        """Counts the connections by provider and state."""
        grouped = (connections.c.provider, connections.c.state)
        async with self._store.begin() as db:
            rows = (await db.execute(select(*grouped, func.count()).group_by(*grouped))).all()
        return [(provider, state, count) for provider, state, count in rows]

    async def summaries(self, application: str | None, customer_id: str | None) -> list[ConnectionSummary]:
        """Lists connections by application, customer and provider.

        Args:
            application: Only those of the application with this name.
            customer_id: Only those of this customer.
        """
        query = _SUMMARIES.order_by(applications.c.name, connections.c.customer_id, connections.c.provider)
        if application is not None:
            query = query.where(applications.c.name == application)
        if customer_id is not None:
            query = query.where(connections.c.customer_id == customer_id)
        async with self._store.begin() as db:
            return [_summary(row) for row in (await db.execute(query)).all()]

    async def page(
        self,
        application_id: int,
        limit: int,
        *,
        after: tuple[str, str] | None = None,
        customer_id: str | None = None,
        provider: Provider | None = None,
        state: ConnectionState | None = None,
    ) -> list[ConnectionSummary]:
        """Lists connections of an application by customer and provider, with the kind of their credentials.

        Args:
            application_id: The application.
            limit: How many to list at most.
            after: Only those behind this customer and provider.
            customer_id: Only those of this customer.
            provider: Only those to this provider.
            state: Only those in this state.

        Raises:
            StoreUnavailable: The database cannot be reached.
        """
        columns = connections.c
        query = _SUMMARIES.where(columns.application_id == application_id).limit(limit)
        for column, wanted in (
            (columns.customer_id, customer_id),
            (columns.provider, provider),
            (columns.state, state),
        ):
            if wanted is not None:
                query = query.where(column == wanted)
        if after is not None:
            query = query.where(tuple_(columns.customer_id, columns.provider) > tuple_(*map(literal, after)))
        async with self._store.begin() as db:
            rows = (await db.execute(query.order_by(columns.customer_id, columns.provider))).all()
        return [self._with_credentials(row) for row in rows]

    def _with_credentials(self, row: Row[Any]) -> ConnectionSummary:
        summary = _summary(row)
        key = ConnectionKey(row.application_id, row.customer_id, summary.provider)
        try:
            credentials = self._decrypt(row, key)
        except CannotDecrypt:
            return summary
        if isinstance(credentials, OAuthCredentials):
            return structs.replace(
                summary, credentials="oauth", expires_at=credentials.expires_at, scopes=tuple(credentials.scope.split())
            )
        return structs.replace(summary, credentials="api_key")

    async def encryption_key_ids(self) -> list[str]:
        """The ids of the encryption keys that rows are under."""
        found: list[str] = []
        async with self._store.begin() as db:
            # One step in the index for each key, however many connections there are.
            query = select(func.min(connections.c.key_id))
            while (key_id := (await db.execute(query)).scalar()) is not None:
                found.append(key_id)
                query = select(func.min(connections.c.key_id)).where(connections.c.key_id > key_id)
        return found

    async def count_by_encryption_key(self) -> dict[str, int]:
        """How many connections are under each encryption key, by its id."""
        query = select(connections.c.key_id, func.count()).group_by(connections.c.key_id).order_by(connections.c.key_id)
        async with self._store.begin() as db:
            return {str(key_id): int(count) for key_id, count in await db.execute(query)}

    async def count_under_other_keys(self) -> int:
        """How many connections are not under the keyring's first key."""
        query = select(func.count()).select_from(connections).where(connections.c.key_id != self._keyring.current)
        async with self._store.begin() as db:
            return int((await db.execute(query)).scalar_one())

    async def reencrypt(self, after_id: int, limit: int) -> ReencryptedBatch | None:
        """Moves the next rows to the keyring's first key; None if there are none left.

        Args:
            after_id: Rows up to this id are passed over.
            limit: How many rows to go through at most.
        """
        query = (
            select(connections)
            .where(connections.c.key_id != self._keyring.current, connections.c.id > after_id)
            .order_by(connections.c.id)
            .limit(limit)
        )
        async with self._store.begin() as db:
            rows = (await db.execute(query)).all()
        if not rows:
            return None
        changes: list[Update] = []
        for row in rows:
            key = ConnectionKey(row.application_id, row.customer_id, Provider(row.provider))
            with contextlib.suppress(CannotDecrypt):
                # A row that changed in between is left as it is. The revision stays: the credentials are the same, and a
                # renewal that is under way must find the row as it knew it.
                changes.append(
                    update(connections)
                    .where(connections.c.id == row.id, connections.c.revision == row.revision)
                    .where(connections.c.key_id == row.key_id)
                    .values(**self._encrypted(key, self._decrypt(row, key)))
                )

        async def move(db: AsyncConnection) -> int:
            return sum([(await db.execute(change)).rowcount for change in changes])

        moved, unreadable = await self._store.transact(move), len(rows) - len(changes)
        return ReencryptedBatch(rows[-1].id, moved, unreadable)

    async def _update(self, *where: ColumnElement[bool], values: Mapping[str, Any]) -> bool:
        return await self._store.execute(update(connections).where(*where).values(**values)) == 1

    async def _has_application(self, application_id: int) -> bool:
        query = select(applications.c.id).where(applications.c.id == bindparam("id"))
        return await self._store.first(query, {"id": application_id}) is not None

    def _encrypted(self, key: ConnectionKey, credentials: Credentials) -> dict[str, Any]:
        sealed = self._keyring.seal(credentials, key)
        return {"ciphertext": sealed.ciphertext, "key_id": sealed.key_id}

    def _decrypted(self, row: Row[Any], key: ConnectionKey) -> StoredConnection:
        return StoredConnection(
            Connection(row.id, key.application_id, key.customer_id, key.provider, self._decrypt(row, key)),
            row.revision,
            ConnectionState(row.state),
            row.state_reason,
            row.refresh_error,
            row.refresh_error_at or 0.0,
        )

    def _decrypt(self, row: Row[Any], key: ConnectionKey) -> Credentials:
        return self._keyring.open(Sealed(row.key_id, bytes(row.ciphertext)), key)


def _by_key(key: ConnectionKey) -> tuple[ColumnElement[bool], ...]:
    return (
        connections.c.application_id == key.application_id,
        connections.c.customer_id == key.customer_id,
        connections.c.provider == key.provider,
    )


def _at_revision(stored: StoredConnection) -> tuple[ColumnElement[bool], ...]:
    return (*_by_key(stored.key), connections.c.id == stored.connection.id, connections.c.revision == stored.revision)


def _summary(row: Row[Any]) -> ConnectionSummary:
    return ConnectionSummary(
        row.name,
        row.customer_id,
        Provider(row.provider),
        ConnectionState(row.state),
        row.state_reason,
        row.state_since,
        row.updated_at,
        row.key_id,
        row.refresh_error,
        row.refresh_error_at,
        row.created_at,
        row.last_success_at,
        row.last_failure_at,
        row.last_failure_code,
    )


def _set_digest(key: ConnectionKey, credentials: Credentials) -> bytes:
    """Of the credentials as they were set, by which they are known again; when they were asked for does not count."""
    if isinstance(credentials, OAuthCredentials):
        credentials = structs.replace(credentials, issued_at=None)
    whose = (key.application_id, key.customer_id, str(key.provider))
    content = msgspec.json.encode((whose, structs.asdict(credentials)), enc_hook=_revealed)
    return hashlib.blake2b(content, digest_size=32).digest()


def _revealed(secret: Any) -> str:
    return str(secret.reveal())
