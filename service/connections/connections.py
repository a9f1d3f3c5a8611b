"""Customers' connections: kept encrypted, cached for a moment, and renewed once however many notice."""

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog
from sqlalchemy import delete, func, insert, select, update

from service.connections.cache import Cache
from service.connections.encryption import CannotDecrypt, Keyring, KeyringError, Owner, Sealed
from service.connections.schema import applications, connections
from service.connections.store import Store, StoreUnavailable
from service.errors import RefreshFailed, RefreshRefused, UpdateFailed, failed
from service.model import (
    ApiKeyCredentials,
    Connection,
    ConnectionState,
    Credentials,
    Deadline,
    ErrorCode,
    OAuthCredentials,
    Origin,
    Provider,
    Secret,
    TokenGrant,
)

log: Final = structlog.get_logger("service.connections")

LEASE_SECONDS: Final = 30.0
"""How long one process may renew a token while all others wait; after a crash they wait no longer than this."""

_MINT_SECONDS: Final = 20.0
"""Longest call to a token endpoint, well within the lease, so that no second mint begins while one may be under way."""

_FIRST_POLL_SECONDS: Final = 0.02
_LONGEST_POLL_SECONDS: Final = 0.25

_PAUSE_AFTER_FAILURE_SECONDS: Final = 5.0
"""How long a token endpoint that failed is left alone while the old token is still good."""

_REENCRYPT_BATCH: Final = 500


class TokenEndpoint(Protocol):
    """Where a provider renews OAuth tokens."""

    async def refresh(self, credentials: OAuthCredentials, deadline: Deadline) -> TokenGrant:
        """Mints an access token.

        Raises:
            RefreshRefused: No retry helps; the customer has to connect again.
            RefreshFailed: It did not work this time.
        """


@dataclass(frozen=True, slots=True)
class ConnectionSummary:
    """What may be shown of a connection.

    Attributes:
        application: The name of the application that owns it.
        customer_id: The application's id of the customer.
        provider: The provider.
        state: Whether it can be used.
        state_reason: Why it is in this state.
        state_since: Since when, as a Unix time in seconds.
        updated_at: When its credentials last changed.
        key_id: The encryption key that they are under.
    """

    application: str
    customer_id: str
    provider: Provider
    state: ConnectionState
    state_reason: str
    state_since: float
    updated_at: float
    key_id: str


@dataclass(frozen=True, slots=True)
class _Held:
    """A connection as the store has it."""

    connection: Connection
    revision: int
    state: ConnectionState
    state_reason: str


class Connections:
    """The connections of all customers.

    What the store says is kept for `cache_seconds`, so that a warm call makes no query; a change by the command line or
    by another process is seen within that time. Tokens are renewed by one process at a time: it holds a lease in the row,
    commits the new token before anyone uses it, and the others read it from there. A process that dies with the lease
    leaves the row as it was; if its mint had gone through, the next one is told that the grant is void, and says so.
    """

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        token_endpoints: Mapping[Provider, TokenEndpoint],
        *,
        cache_seconds: float,
        refresh_margin_seconds: float,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._token_endpoints = token_endpoints
        self._margin = refresh_margin_seconds
        self._cache: Cache[Owner, _Held | None] = Cache(self._load, cache_seconds)
        self._renewing: dict[Owner, asyncio.Task[_Held]] = {}
        self._not_before: dict[Owner, float] = {}
        self._owner = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"

    async def check_keys(self) -> None:
        """Makes sure that every stored credential has its key.

        Raises:
            KeyringError: One is missing.
        """
        async with self._store.begin() as connection:
            used = (await connection.execute(select(connections.c.key_id).distinct())).scalars().all()
        missing = sorted(key_id for key_id in used if key_id not in self._keyring)
        if missing:
            raise KeyringError(
                f"stored credentials are under keys that SEQSTEP_ENCRYPTION_KEYS does not have ({', '.join(missing)}); "
                "add those keys after the first one, or delete and set the connections again"
            )

    async def usable(self, application_id: int, customer_id: str, provider: Provider, deadline: Deadline) -> Connection:
        """The customer's connection with credentials that are good to use, renewed first if they end soon.

        Raises:
            UpdateFailed: There is none, the customer has to connect again, or it cannot be read or renewed at present.
        """
        owner = Owner(application_id, customer_id, provider)
        held = await self._get(owner)
        credentials = held.connection.credentials
        if (
            isinstance(credentials, OAuthCredentials)
            and credentials.expires_at is not None
            and credentials.refresh_token is not None
            and credentials.expires_at - self._margin < time.time()
        ):
            held = await self._renew_early(owner, held, credentials.expires_at, deadline)
        return held.connection

    async def renewed(self, connection: Connection, deadline: Deadline) -> Connection:
        """The connection with new credentials, after the provider refused the present ones.

        Raises:
            UpdateFailed: The customer has to connect again, or the token cannot be renewed at present.
        """
        owner = Owner(connection.application_id, connection.customer_id, connection.provider)
        self._cache.drop(owner)
        held = await self._get(owner)
        if _token(held.connection) != _token(connection):
            # Somebody else has replaced the token since.
            return held.connection
        return (await self._renew(owner, held, deadline)).connection

    async def _renew_early(self, owner: Owner, held: _Held, expires_at: float, deadline: Deadline) -> _Held:
        """A failure to renew does not matter while the old token is good."""
        still_good = expires_at > time.time()
        if still_good and self._not_before.get(owner, 0.0) > time.monotonic():
            return held
        try:
            return await self._renew(owner, held, deadline)
        except _NotNow as failure:
            if not still_good:
                raise
            if len(self._not_before) > 10_000:
                self._not_before.clear()
            self._not_before[owner] = time.monotonic() + max(failure.pause, _PAUSE_AFTER_FAILURE_SECONDS)
            return held

    async def _renew(self, owner: Owner, held: _Held, deadline: Deadline) -> _Held:
        """Renews in a task of its own, which a caller that goes away does not stop halfway."""
        task = self._renewing.get(owner)
        if task is None:
            task = self._renewing[owner] = asyncio.ensure_future(self._renew_once(owner, held))
            task.add_done_callback(lambda done: self._renewal_ended(owner, done))
        try:
            async with asyncio.timeout(max(0.0, deadline.remaining())):
                return await asyncio.shield(task)
        except TimeoutError:
            raise _NotNow(
                failed(
                    ErrorCode.GATEWAY_TIMEOUT_ERROR,
                    f"{owner.provider.title}'s token for customer {owner.customer_id} was not renewed before the deadline; "
                    "nothing was changed. Repeat the call.",
                    origin=Origin.PROVIDER,
                ),
                0.0,
            ) from None

    def _renewal_ended(self, owner: Owner, task: "asyncio.Task[_Held]") -> None:
        del self._renewing[owner]
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may be left to

    async def _renew_once(self, owner: Owner, held: _Held) -> _Held:
        poll = _FIRST_POLL_SECONDS
        give_up = time.monotonic() + 2 * LEASE_SECONDS
        while True:
            try:
                has_lease = await self._take_lease(held)
                fresh = held if has_lease else await self._load(owner)
            except StoreUnavailable:
                raise _NotNow(_store_unavailable(), 1.0) from None
            if has_lease:
                return await self._mint(owner, held)
            if fresh is None or fresh.revision != held.revision or fresh.state is not held.state:
                return self._known(owner, fresh)
            if time.monotonic() > give_up:
                raise _NotNow(_store_unavailable(), 1.0)
            await asyncio.sleep(poll)
            poll = min(_LONGEST_POLL_SECONDS, 2 * poll)

    async def _take_lease(self, held: _Held) -> bool:
        now = time.time()
        async with self._store.begin() as connection:
            taken = await connection.execute(
                update(connections)
                .where(connections.c.id == held.connection.id, connections.c.revision == held.revision)
                .where(connections.c.state == ConnectionState.ACTIVE.value)
                .where(connections.c.lease_until.is_(None) | (connections.c.lease_until < now))
                .values(lease_owner=self._owner, lease_until=now + LEASE_SECONDS)
            )
        return taken.rowcount == 1

    async def _mint(self, owner: Owner, held: _Held) -> _Held:
        credentials = held.connection.credentials
        if not isinstance(credentials, OAuthCredentials):
            raise TypeError("only OAuth tokens are renewed")
        endpoint = self._token_endpoints[owner.provider]
        try:
            grant = await endpoint.refresh(credentials, Deadline.after(_MINT_SECONDS))
        except RefreshRefused as refusal:
            await self._mark(held, refusal.reason)
            log.warning("connection needs reauth", customer=owner.customer_id, provider=owner.provider.value)
            return self._known(owner, await self._load(owner))
        except RefreshFailed as failure:
            await self._release(held)
            raise _NotNow(_passing(owner, failure), failure.retry_after or 0.0) from None
        except BaseException:
            with contextlib.suppress(StoreUnavailable):
                await self._release(held)
            raise
        renewed = OAuthCredentials(
            grant.access_token,
            grant.refresh_token or credentials.refresh_token,
            grant.expires_at,
            credentials.client_id,
            credentials.client_secret,
            credentials.redirect_uri,
        )
        await self._commit(owner, held, renewed)
        log.info("token renewed", customer=owner.customer_id, provider=owner.provider.value)
        return self._known(owner, await self._load(owner))

    async def _commit(self, owner: Owner, held: _Held, renewed: OAuthCredentials) -> None:
        """Stores a minted token, and keeps trying: the old one is dead, and this process alone has the new one."""
        sealed = self._keyring.seal(renewed, owner)
        give_up = time.monotonic() + LEASE_SECONDS
        while True:
            try:
                async with self._store.begin() as connection:
                    await connection.execute(
                        update(connections)
                        .where(connections.c.id == held.connection.id, connections.c.revision == held.revision)
                        .values(
                            ciphertext=sealed.ciphertext,
                            key_id=sealed.key_id,
                            revision=held.revision + 1,
                            updated_at=time.time(),
                            lease_owner=None,
                            lease_until=None,
                        )
                    )
                return
            except StoreUnavailable:
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(_LONGEST_POLL_SECONDS)

    async def _release(self, held: _Held) -> None:
        async with self._store.begin() as connection:
            await connection.execute(
                update(connections)
                .where(connections.c.id == held.connection.id, connections.c.lease_owner == self._owner)
                .values(lease_owner=None, lease_until=None)
            )

    async def _mark(self, held: _Held, reason: str) -> None:
        async with self._store.begin() as connection:
            await connection.execute(
                update(connections)
                .where(connections.c.id == held.connection.id, connections.c.revision == held.revision)
                .values(
                    state=ConnectionState.NEEDS_REAUTH.value,
                    state_reason=reason[:1000],
                    state_since=time.time(),
                    lease_owner=None,
                    lease_until=None,
                )
            )

    async def _get(self, owner: Owner) -> _Held:
        try:
            held = await self._cache.get(owner)
        except StoreUnavailable:
            raise _store_unavailable() from None
        return self._check(owner, held)

    def _known(self, owner: Owner, held: _Held | None) -> _Held:
        """Takes what was just read into the cache, and checks it."""
        self._cache.put(owner, held)
        return self._check(owner, held)

    @staticmethod
    def _check(owner: Owner, held: _Held | None) -> _Held:
        customer, title = owner.customer_id, owner.provider.title
        if held is None:
            raise failed(
                ErrorCode.NOT_FOUND_ERROR,
                f"Customer {customer} has no connection to {title}; nothing was changed. Connect the customer, or make the "
                f"connection with `seqstep connection set`.",
            )
        if held.state is ConnectionState.NEEDS_REAUTH:
            raise failed(
                ErrorCode.UNAUTHORIZED_ERROR,
                f"Reconnect customer {customer} to {title}: {held.state_reason}. {title} was not asked, and nothing was "
                "changed.",
            )
        return held

    async def _load(self, owner: Owner) -> _Held | None:
        async with self._store.begin() as connection:
            row = (await connection.execute(select(connections).where(*_is(owner)))).first()
        if row is None:
            return None
        try:
            credentials = self._keyring.open(Sealed(row.key_id, bytes(row.ciphertext)), owner)
        except CannotDecrypt as reason:
            log.warning("credentials cannot be decrypted", customer=owner.customer_id, reason=str(reason))
            raise failed(
                ErrorCode.INTERNAL_SERVER_ERROR,
                f"The stored credentials of customer {owner.customer_id} for {owner.provider.title} cannot be read: "
                f"{reason}. Nothing was changed. Restore the key, or set the connection again.",
            ) from None
        return _Held(
            Connection(row.id, owner.application_id, owner.customer_id, owner.provider, credentials),
            row.revision,
            ConnectionState(row.state),
            row.state_reason,
        )

    # What people do with connections; all of it is seen by running services within `cache_seconds`.

    async def set(self, application_id: int, customer_id: str, provider: Provider, credentials: Credentials) -> bool:
        """Stores a connection in the place of any earlier one, ready for use.

        Returns:
            Whether there was an earlier one.
        """
        owner = Owner(application_id, customer_id, provider)
        sealed = self._keyring.seal(credentials, owner)
        now = time.time()
        values = {
            "ciphertext": sealed.ciphertext,
            "key_id": sealed.key_id,
            "state": ConnectionState.ACTIVE.value,
            "state_reason": "connected",
            "state_since": now,
            "updated_at": now,
            "lease_owner": None,
            "lease_until": None,
        }
        async with self._store.begin() as connection:
            changed = await connection.execute(
                update(connections).where(*_is(owner)).values(**values, revision=connections.c.revision + 1)
            )
            if not changed.rowcount:
                await connection.execute(
                    insert(connections).values(
                        **values,
                        application_id=application_id,
                        customer_id=customer_id,
                        provider=provider.value,
                        revision=1,
                        created_at=now,
                    )
                )
        self._cache.drop(owner)
        return bool(changed.rowcount)

    async def delete(self, application_id: int, customer_id: str, provider: Provider) -> bool:
        """Deletes a connection with its credentials; returns whether there was one."""
        owner = Owner(application_id, customer_id, provider)
        async with self._store.begin() as connection:
            gone = await connection.execute(delete(connections).where(*_is(owner)))
        self._cache.drop(owner)
        return bool(gone.rowcount)

    async def read(self, application_id: int, customer_id: str, provider: Provider) -> Connection:
        """A connection as it is stored, whatever its state and with no renewal.

        Raises:
            UpdateFailed: There is none, or it cannot be read.
        """
        owner = Owner(application_id, customer_id, provider)
        held = await self._load(owner)
        return held.connection if held is not None else self._check(owner, held).connection

    async def list(self, application: str | None = None, customer_id: str | None = None) -> list[ConnectionSummary]:
        """Connections without their credentials, by application, customer and provider.

        Args:
            application: Only those of the application with this name.
            customer_id: Only those of this customer.
        """
        query = (
            select(connections, applications.c.name)
            .join(applications)
            .order_by(applications.c.name, connections.c.customer_id, connections.c.provider)
        )
        if application is not None:
            query = query.where(applications.c.name == application)
        if customer_id is not None:
            query = query.where(connections.c.customer_id == customer_id)
        async with self._store.begin() as connection:
            rows = (await connection.execute(query)).all()
        return [
            ConnectionSummary(
                row.name,
                row.customer_id,
                Provider(row.provider),
                ConnectionState(row.state),
                row.state_reason,
                row.state_since,
                row.updated_at,
                row.key_id,
            )
            for row in rows
        ]

    async def count_not_under_current_key(self) -> int:
        """How many connections `reencrypt` has to move."""
        query = select(func.count()).select_from(connections).where(connections.c.key_id != self._keyring.current)
        async with self._store.begin() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def reencrypt(self) -> AsyncIterator[tuple[int, int]]:
        """Moves everything to the first key, while services run; can be stopped and begun again at any time.

        Yields:
            After each batch: how many were moved, and how many of them could not be read and were left alone.
        """
        after = 0
        while True:
            query = (
                select(connections)
                .where(connections.c.key_id != self._keyring.current, connections.c.id > after)
                .order_by(connections.c.id)
                .limit(_REENCRYPT_BATCH)
            )
            async with self._store.begin() as connection:
                rows = (await connection.execute(query)).all()
            if not rows:
                return
            after = rows[-1].id
            moved = left = 0
            async with self._store.begin() as connection:
                for row in rows:
                    owner = Owner(row.application_id, row.customer_id, Provider(row.provider))
                    try:
                        credentials = self._keyring.open(Sealed(row.key_id, bytes(row.ciphertext)), owner)
                    except CannotDecrypt:
                        left += 1
                        continue
                    sealed = self._keyring.seal(credentials, owner)
                    # A row that changed in between is under the first key already. The revision stays: the credentials
                    # are the same, and a renewal that is under way must find the row as it knew it.
                    await connection.execute(
                        update(connections)
                        .where(connections.c.id == row.id, connections.c.revision == row.revision)
                        .where(connections.c.key_id == row.key_id)
                        .values(ciphertext=sealed.ciphertext, key_id=sealed.key_id)
                    )
                    moved += 1
            yield moved, left


class _NotNow(UpdateFailed):
    """A token that could not be renewed for a reason that passes.

    Attributes:
        pause: Seconds to leave the token endpoint alone.
    """

    def __init__(self, failure: UpdateFailed, pause: float) -> None:
        super().__init__(*failure.problems)
        self.pause = pause


def _is(owner: Owner) -> tuple[Any, ...]:
    return (
        connections.c.application_id == owner.application_id,
        connections.c.customer_id == owner.customer_id,
        connections.c.provider == owner.provider.value,
    )


def _token(connection: Connection) -> Secret:
    match connection.credentials:
        case ApiKeyCredentials(api_key):
            return api_key
        case OAuthCredentials(access_token=token):
            return token


def _passing(owner: Owner, failure: RefreshFailed) -> UpdateFailed:
    code = ErrorCode.SERVICE_UNAVAILABLE_ERROR
    if failure.timed_out:
        code = ErrorCode.GATEWAY_TIMEOUT_ERROR
    elif failure.retry_after is not None:
        code = ErrorCode.TOO_MANY_REQUESTS_ERROR
    return failed(
        code,
        f"The token of customer {owner.customer_id} for {owner.provider.title} could not be renewed: {failure.reason}. "
        "Nothing was changed; repeat the call later.",
        origin=Origin.PROVIDER,
        retry_after=failure.retry_after,
    )


def _store_unavailable() -> UpdateFailed:
    return failed(
        ErrorCode.SERVICE_UNAVAILABLE_ERROR,
        "This server cannot reach its database at present; nothing was changed. Repeat the call in a moment.",
        retry_after=1.0,
    )
