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

import msgspec
import structlog
from msgspec import structs
from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.connections.cache import Cache
from service.connections.encryption import CannotDecrypt, Keyring, KeyringError, Owner, Sealed
from service.connections.schema import applications, connections
from service.connections.store import Store, StoreUnavailable
from service.domain.credentials import (
    ApiKeyCredentials,
    Connection,
    ConnectionState,
    Credentials,
    OAuthCredentials,
    Secret,
    TokenGrant,
)
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, Origin, RefreshFailed, RefreshRefused, UpdateFailed, failed
from service.domain.step import Provider
from service.tasks import finish

log: Final = structlog.get_logger("service.connections")

LEASE_SECONDS: Final = 30.0
"""How long one process may renew a token while all others wait; after a crash they wait no longer than this."""

_MINT_SECONDS: Final = 20.0
"""Longest call to a token endpoint, well within the lease, so that no second mint begins while one may be under way."""

_FIRST_POLL_SECONDS: Final = 0.02
_LONGEST_POLL_SECONDS: Final = 0.25

_COMMIT_SECONDS: Final = 600.0
"""How long a process keeps trying to store a minted token, of which it has the only copy."""

_PATIENCE_SECONDS: Final = 3.0
"""Longest wait for a new token while the old one is still good."""

_PAUSE_SECONDS: Final = 5.0
"""How long a token endpoint that failed is left alone while the old token is still good."""

_LONGEST_PAUSE_SECONDS: Final = 300.0
"""How long a token endpoint is left alone at most, whatever it asks for."""

_MAX_PAUSES: Final = 10_000

_REENCRYPT_BATCH: Final = 500

_BY_OWNER: Final = select(connections).where(
    *(connections.c[name] == bindparam(name) for name in ("application_id", "customer_id", "provider"))
)


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


class _Held(msgspec.Struct, frozen=True):
    """A connection as the store has it."""

    connection: Connection
    revision: int
    state: ConnectionState
    state_reason: str


@dataclass(frozen=True, slots=True)
class _Pause:
    """A time in which a token is not renewed.

    Attributes:
        revision: The credentials that it is about.
        until: Its end, on the monotonic clock.
        failure: What the last attempt came to, if the provider said when to come again.
    """

    revision: int
    until: float
    failure: "_NotNow | None"


class Connections:
    """The connections of all customers.

    What the store says is kept for `cache_seconds`, so that a warm call makes no query; a change by the command line or
    by another process is seen within that time. Tokens are renewed by one process at a time: it holds a lease in the row,
    commits the new token before anyone uses it, and the others read it from there. A process that dies with the lease
    leaves the row as it was; if its mint had gone through, the next one is told that the grant is void, and says so.
    A token that is still good is used as long as no new one can be had.
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
        self._pauses: dict[Owner, _Pause] = {}
        self._owner = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"

    async def check_keys(self) -> None:
        """Makes sure that every stored credential has its key.

        Raises:
            KeyringError: One is missing.
        """
        used: list[str] = []
        async with self._store.begin() as connection:
            # One step in the index for each key, however many connections there are.
            query = select(func.min(connections.c.key_id))
            while (found := (await connection.execute(query)).scalar()) is not None:
                used.append(found)
                query = select(func.min(connections.c.key_id)).where(connections.c.key_id > found)
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
        held = await self._get(owner, deadline)
        credentials = held.connection.credentials
        if (
            isinstance(credentials, OAuthCredentials)
            and credentials.expires_at is not None
            and credentials.refresh_token is not None
            and credentials.expires_at - self._margin < time.time()
        ):
            is_still_good = credentials.expires_at > time.time()
            held = await (self._renew_early if is_still_good else self._renew)(owner, held, deadline)
        return held.connection

    async def renewed(self, connection: Connection, deadline: Deadline) -> Connection:
        """The connection with new credentials, after the provider refused the present ones.

        Raises:
            UpdateFailed: The customer has to connect again, or the token cannot be renewed at present.
        """
        owner = Owner(connection.application_id, connection.customer_id, connection.provider)
        self._cache.drop(owner)
        held = await self._get(owner, deadline)
        if _token(held.connection) != _token(connection):
            # Somebody else has replaced the token since.
            return held.connection
        if isinstance(held.connection.credentials, ApiKeyCredentials):
            raise failed(
                ErrorCode.UNAUTHORIZED_ERROR,
                f"{owner.provider.title} refused the API key of customer {owner.customer_id}. Have the customer make a new "
                "one, and set it with `seqstep connection set`.",
                origin=Origin.PROVIDER,
            )
        return (await self._renew(owner, held, deadline)).connection

    async def finish(self, seconds: float) -> None:
        """Lets renewals end that are under way, for so many seconds, so that no token is lost that was just minted."""
        await finish(self._renewing.values(), seconds)

    async def _renew_early(self, owner: Owner, held: _Held, deadline: Deadline) -> _Held:
        """Renews a token that is still good, and goes on with it if that does not work at once."""
        pause = self._pauses.get(owner)
        if pause is not None and pause.revision == held.revision and pause.until > time.monotonic():
            return held
        patience = min(_PATIENCE_SECONDS, deadline.remaining() / 2)
        try:
            return await self._renew(owner, held, Deadline.after(patience))
        except _NotNow as failure:
            self._leave_alone(owner, held, failure)
            return held

    def _leave_alone(self, owner: Owner, held: _Held, failure: "_NotNow") -> None:
        if len(self._pauses) >= _MAX_PAUSES:
            self._pauses.clear()
        pause = min(max(failure.asked_for or 0.0, _PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
        stated = failure if failure.asked_for else None
        self._pauses[owner] = _Pause(held.revision, time.monotonic() + pause, stated)

    async def _renew(self, owner: Owner, held: _Held, deadline: Deadline) -> _Held:
        """Renews in a task of its own, which a caller that goes away does not stop halfway."""
        pause = self._pauses.get(owner)
        if pause is not None and pause.failure is not None and pause.revision == held.revision:
            remaining = pause.until - time.monotonic()
            if remaining > 0:
                raise pause.failure.again_after(remaining)
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
                )
            ) from None

    def _renewal_ended(self, owner: Owner, task: "asyncio.Task[_Held]") -> None:
        del self._renewing[owner]
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may be left to

    async def _renew_once(self, owner: Owner, held: _Held) -> _Held:
        try:
            fresh = await self._renew_under_lease(owner, held)
        except StoreUnavailable:
            raise _NotNow(_store_unavailable()) from None
        except _NotNow as failure:
            self._leave_alone(owner, held, failure)
            raise
        self._pauses.pop(owner, None)
        return self._known(owner, fresh)

    async def _renew_under_lease(self, owner: Owner, held: _Held) -> _Held | None:
        """Renews, or waits until another process has; what the store has afterwards."""
        poll = _FIRST_POLL_SECONDS
        give_up = time.monotonic() + 2 * LEASE_SECONDS
        while not await self._take_lease(owner, held):
            fresh = await self._load(owner)
            if fresh is None or fresh.revision != held.revision or fresh.state is not held.state:
                return fresh
            if time.monotonic() > give_up:
                raise _NotNow(_store_unavailable())
            await asyncio.sleep(poll)
            poll = min(_LONGEST_POLL_SECONDS, 2 * poll)
        return await self._mint(owner, held)

    async def _take_lease(self, owner: Owner, held: _Held) -> bool:
        now = self._store.now
        async with self._store.begin() as connection:
            taken = await connection.execute(
                update(connections)
                .where(*_is(owner), *_is_as(held), connections.c.state == ConnectionState.ACTIVE.value)
                .where(connections.c.lease_until.is_(None) | (connections.c.lease_until < now))
                .values(lease_owner=self._owner, lease_until=now + LEASE_SECONDS)
            )
        return taken.rowcount == 1

    async def _mint(self, owner: Owner, held: _Held) -> _Held | None:
        credentials = held.connection.credentials
        if not isinstance(credentials, OAuthCredentials):
            raise TypeError("only OAuth tokens are renewed")
        endpoint = self._token_endpoints[owner.provider]
        try:
            grant = await endpoint.refresh(credentials, Deadline.after(_MINT_SECONDS))
        except RefreshRefused as refusal:
            log.warning("connection needs reauth", customer=owner.customer_id, provider=owner.provider)
            await self._mark(owner, held, refusal.reason)
            return await self._load(owner)
        except RefreshFailed as failure:
            await self._release(owner)
            raise _NotNow(_passing(owner, failure), failure.retry_after) from None
        except BaseException:
            await self._release(owner)
            raise
        renewed = OAuthCredentials(
            grant.access_token,
            grant.refresh_token or credentials.refresh_token,
            grant.expires_at,
            credentials.client_id,
            credentials.client_secret,
            credentials.redirect_uri,
        )
        if not await self._commit(owner, held, renewed):
            # The connection was deleted or set anew meanwhile, and that is what counts.
            return await self._load(owner)
        log.info("token renewed", customer=owner.customer_id, provider=owner.provider)
        return structs.replace(
            held, connection=structs.replace(held.connection, credentials=renewed), revision=held.revision + 1
        )

    async def _commit(self, owner: Owner, held: _Held, renewed: OAuthCredentials) -> bool:
        """Stores a minted token, and keeps trying: the old one is dead, and this process alone has the new one.

        Returns:
            Whether it was stored; if not, the connection is another one by now.
        """
        sealed = self._keyring.seal(renewed, owner)
        give_up = time.monotonic() + _COMMIT_SECONDS
        while True:
            try:
                return await self._store_renewed(owner, held, sealed)
            except StoreUnavailable:
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(_LONGEST_POLL_SECONDS)

    async def _store_renewed(self, owner: Owner, held: _Held, sealed: Sealed) -> bool:
        now = time.time()
        async with self._store.begin() as connection:
            stored = await connection.execute(
                update(connections)
                .where(*_is(owner), *_is_as(held))
                .values(
                    ciphertext=sealed.ciphertext,
                    key_id=sealed.key_id,
                    revision=held.revision + 1,
                    updated_at=now,
                    lease_owner=None,
                    lease_until=None,
                )
            )
            # If this took longer than the lease, another process was told that the old token is void, and marked it.
            await connection.execute(
                update(connections)
                .where(*_is(owner), connections.c.revision == held.revision + 1)
                .where(connections.c.state == ConnectionState.NEEDS_REAUTH.value)
                .values(state=ConnectionState.ACTIVE.value, state_reason="token renewed", state_since=now)
            )
        return bool(stored.rowcount)

    async def _release(self, owner: Owner) -> None:
        # A lease that cannot be given back ends by itself.
        with contextlib.suppress(StoreUnavailable):
            async with self._store.begin() as connection:
                await connection.execute(
                    update(connections)
                    .where(*_is(owner), connections.c.lease_owner == self._owner)
                    .values(lease_owner=None, lease_until=None)
                )

    async def _mark(self, owner: Owner, held: _Held, reason: str) -> None:
        async with self._store.begin() as connection:
            await connection.execute(
                update(connections)
                .where(*_is(owner), *_is_as(held))
                .values(
                    state=ConnectionState.NEEDS_REAUTH.value,
                    state_reason=reason[:1000],
                    state_since=time.time(),
                    lease_owner=None,
                    lease_until=None,
                )
            )

    async def _get(self, owner: Owner, deadline: Deadline) -> _Held:
        try:
            held = await self._cache.get(owner, max(0.0, deadline.remaining()))
        except (StoreUnavailable, TimeoutError):
            raise _store_unavailable() from None
        return self._check(owner, held)

    def _known(self, owner: Owner, held: _Held | None) -> _Held:
        """Takes what was just read into the cache, and checks it."""
        self._cache.put(owner, held)
        return self._check(owner, held)

    @staticmethod
    def _check(owner: Owner, held: _Held | None) -> _Held:
        if held is None:
            raise failed(
                ErrorCode.NOT_FOUND_ERROR,
                f"Customer {owner.customer_id} has no connection to {owner.provider.title}; nothing was changed. Connect the "
                "customer, or make the connection with `seqstep connection set`.",
            )
        if held.state is ConnectionState.NEEDS_REAUTH:
            title = owner.provider.title
            raise failed(
                ErrorCode.UNAUTHORIZED_ERROR,
                f"Reconnect customer {owner.customer_id} to {title}: {held.state_reason}. {title} was not asked, and nothing was "
                "changed.",
            )
        return held

    async def _load(self, owner: Owner) -> _Held | None:
        row = await self._store.first(_BY_OWNER, structs.asdict(owner))
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
        while True:
            try:
                was_there = await self._replace_or_insert(owner, values)
            except IntegrityError as conflict:
                if not await self._exists(application_id):
                    raise ValueError(f"there is no application {application_id}") from conflict
                # Somebody else made it in between, so now there is one to replace.
                continue
            self._cache.drop(owner)
            return was_there

    async def _exists(self, application_id: int) -> bool:
        query = select(applications.c.id).where(applications.c.id == bindparam("id"))
        return await self._store.first(query, {"id": application_id}) is not None

    async def _replace_or_insert(self, owner: Owner, values: Mapping[str, Any]) -> bool:
        async with self._store.begin() as connection:
            changed = await connection.execute(
                update(connections).where(*_is(owner)).values(**values, revision=connections.c.revision + 1)
            )
            if not changed.rowcount:
                await connection.execute(
                    insert(connections).values(
                        **values,
                        application_id=owner.application_id,
                        customer_id=owner.customer_id,
                        provider=owner.provider,
                        # At random, so that no renewal takes it for a connection that was deleted meanwhile.
                        revision=secrets.randbelow(2**30),
                        created_at=values["updated_at"],
                    )
                )
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
                    # A row that changed in between is left as it is. The revision stays: the credentials are the same, and
                    # a renewal that is under way must find the row as it knew it.
                    changed = await connection.execute(
                        update(connections)
                        .where(*_is(owner), connections.c.revision == row.revision)
                        .where(connections.c.key_id == row.key_id)
                        .values(ciphertext=sealed.ciphertext, key_id=sealed.key_id)
                    )
                    moved += changed.rowcount
            yield moved, left


class _NotNow(UpdateFailed):
    """A token that could not be renewed for a reason that passes.

    Attributes:
        asked_for: Seconds after which the provider wants to be asked again, if it said so.
    """

    def __init__(self, failure: UpdateFailed, asked_for: float | None = None) -> None:
        super().__init__(*failure.problems)
        self.asked_for = asked_for

    def again_after(self, seconds: float) -> "_NotNow":
        """The same failure, with so many seconds left to wait."""
        return _NotNow(
            UpdateFailed(*(structs.replace(problem, retry_after=seconds) for problem in self.problems)), seconds
        )


def _is(owner: Owner) -> tuple[Any, ...]:
    return (
        connections.c.application_id == owner.application_id,
        connections.c.customer_id == owner.customer_id,
        connections.c.provider == owner.provider,
    )


def _is_as(held: _Held) -> tuple[Any, ...]:
    return connections.c.id == held.connection.id, connections.c.revision == held.revision


def _token(connection: Connection) -> Secret:
    match connection.credentials:
        case ApiKeyCredentials(api_key):
            return api_key
        case OAuthCredentials(access_token=token):
            return token


def _passing(owner: Owner, failure: RefreshFailed) -> UpdateFailed:
    return failed(
        failure.code,
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
