"""Finds the connection of a customer for a call, from a cache or the database, with credentials that are good to use."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final, TypeGuard

from service.connections.cache import Cache
from service.connections.database_failure import StoreUnavailable
from service.connections.encryption import Keyring
from service.connections.errors import ConnectionUnavailable, NeedsReauth, NoConnection
from service.connections.last_uses import LastUses
from service.connections.repository import ConnectionRepository, StoredConnection
from service.connections.store import Store
from service.connections.token_refresh import RefreshCoordinator, RefreshObserver, TokenEndpoint
from service.domain.credentials import Connection, ConnectionKey, ConnectionState, Credentials, OAuthCredentials
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode
from service.domain.step import Provider


class Connections:
    """The connections of all customers, for calls.

    What the database says is cached for `cache_seconds`, so that a call for a cached customer makes no query. A change by
    the command line or by another process is seen within that time.
    """

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        token_endpoints: Mapping[Provider, TokenEndpoint],
        *,
        cache_seconds: float,
        refresh_margin_seconds: float,
        observe_refresh: RefreshObserver = lambda _provider, _result: None,
    ) -> None:
        """Puts the parts together.

        Args:
            store: The database.
            keyring: The keys that credentials are encrypted under.
            token_endpoints: Where each provider renews tokens.
            cache_seconds: How long a connection is cached; 0 caches nothing.
            refresh_margin_seconds: How long before its end a token is renewed, if that is less than half of its life.
            observe_refresh: Gets the result of every request to a token endpoint.
        """
        repository = ConnectionRepository(store, keyring)
        self._last_uses = LastUses(repository)
        self._cache: Cache[ConnectionKey, StoredConnection | None] = Cache(repository.find, cache_seconds)
        self._refreshes = RefreshCoordinator(repository, token_endpoints, self._cache, observe_refresh)
        self._margin: Final = refresh_margin_seconds

    async def usable(self, application_id: int, customer_id: str, provider: Provider, deadline: Deadline) -> Connection:
        """Finds the customer's connection, and renews its token first if that ends soon.

        Raises:
            NoConnection: There is none.
            NeedsReauth: The customer has to connect again.
            CredentialsUnreadable: Its credentials cannot be decrypted.
            ConnectionUnavailable: The database cannot be reached.
            RefreshDeferred: The token has ended, and cannot be renewed at present.
        """
        key = ConnectionKey(application_id, customer_id, provider)
        stored = _checked(key, await self._find(key, deadline))
        credentials = stored.connection.credentials
        if not _can_be_renewed(credentials) or credentials.expires_at is None:
            return stored.connection
        remaining = credentials.expires_at - time.time()
        if remaining < _margin(credentials, self._margin):
            refresh = self._refreshes.refresh_early if remaining > 0 else self._refreshes.refresh
            stored = _checked(key, await refresh(stored, deadline))
        return stored.connection

    async def renewed(self, connection: Connection, deadline: Deadline) -> Connection:
        """Renews the credentials of a connection, after the provider refused the present ones.

        Returns:
            The connection with other credentials; the given one itself if they cannot be renewed, being an API key or a
            token without a refresh token.

        Raises:
            NoConnection: The connection was deleted meanwhile.
            NeedsReauth: The customer has to connect again.
            CredentialsUnreadable: Its credentials cannot be decrypted.
            ConnectionUnavailable: The database cannot be reached.
            RefreshDeferred: The token cannot be renewed at present.
        """
        key = connection.key
        self._cache.drop(key)
        stored = _checked(key, await self._find(key, deadline))
        if stored.connection.token != connection.token:
            # Another call or process has replaced the token since.
            return stored.connection
        if not _can_be_renewed(stored.connection.credentials):
            return connection
        return _checked(key, await self._refreshes.refresh(stored, deadline)).connection

    async def retried(
        self, application_id: int, customer_id: str, provider: Provider, deadline: Deadline
    ) -> Connection:
        """Finds the customer's connection, and renews a token whose renewal was refused before.

        A connection that is marked as one that needs a new grant is active again if that succeeds.

        Raises:
            NeedsReauth: The token endpoint still refuses the grant.
            UpdateFailed: As `usable`.
        """
        key = ConnectionKey(application_id, customer_id, provider)
        stored = await self._find(key, deadline)
        if (
            stored is not None
            and (stored.refresh_error is not None or stored.state is ConnectionState.NEEDS_REAUTH)
            and _can_be_renewed(stored.connection.credentials)
        ):
            return _checked(key, await self._refreshes.refresh_now(stored, deadline)).connection
        return await self.usable(application_id, customer_id, provider, deadline)

    def forget(self, application_id: int, customer_id: str, provider: Provider) -> None:
        """Reads a connection again for the next call, after a change to it."""
        self._cache.drop(ConnectionKey(application_id, customer_id, provider))

    def observe_use(self, connection: Connection, refusal: ErrorCode | None) -> None:
        """Notes that a provider took the credentials of a connection, or refused them with a code."""
        self._last_uses.observe(connection, refusal)

    async def finish(self, seconds: float) -> None:
        """Waits up to so many seconds for renewals that are under way, so that no token is lost that was just minted."""
        await asyncio.gather(self._refreshes.finish(seconds), self._last_uses.finish(seconds))

    async def _find(self, key: ConnectionKey, deadline: Deadline) -> StoredConnection | None:
        try:
            return await self._cache.get(key, deadline.remaining())
        except (StoreUnavailable, TimeoutError):
            raise ConnectionUnavailable from None


def _checked(key: ConnectionKey, stored: StoredConnection | None) -> StoredConnection:
    if stored is None:
        raise NoConnection(key)
    if stored.state is ConnectionState.NEEDS_REAUTH:
        raise NeedsReauth(key, stored.state_reason)
    return stored


def _can_be_renewed(credentials: Credentials) -> TypeGuard[OAuthCredentials]:
    return isinstance(credentials, OAuthCredentials) and credentials.refresh_token is not None


def _margin(credentials: OAuthCredentials, seconds: float) -> float:
    """How long before its end a token is renewed: not before half of its life is over, or each call would renew it."""
    if credentials.expires_at is None or credentials.issued_at is None:
        return seconds
    return min(seconds, (credentials.expires_at - credentials.issued_at) / 2)
