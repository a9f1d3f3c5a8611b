"""Finds the connection of a customer for a call, from a cache or the database, with credentials that are good to use."""

import time
from collections.abc import Mapping
from typing import Final

from service.connections.cache import Cache
from service.connections.encryption import Keyring
from service.connections.errors import ApiKeyRefused, ConnectionUnavailable, NeedsReauth, NoConnection
from service.connections.repository import ConnectionRepository, StoredConnection
from service.connections.store import Store, StoreUnavailable
from service.connections.token_refresh import RefreshCoordinator, TokenEndpoint
from service.domain.credentials import (
    ApiKeyCredentials,
    Connection,
    ConnectionKey,
    ConnectionState,
    OAuthCredentials,
    Secret,
)
from service.domain.deadline import Deadline
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
    ) -> None:
        """Puts the parts together.

        Args:
            store: The database.
            keyring: The keys that credentials are encrypted under.
            token_endpoints: Where each provider renews tokens.
            cache_seconds: How long a connection is cached; 0 caches nothing.
            refresh_margin_seconds: How long before its end a token is renewed.
        """
        repository = ConnectionRepository(store, keyring)
        self._cache: Cache[ConnectionKey, StoredConnection | None] = Cache(repository.find, cache_seconds)
        self._refreshes = RefreshCoordinator(repository, token_endpoints, self._cache)
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
        stored = await self._find(key, deadline)
        credentials = stored.connection.credentials
        if (
            isinstance(credentials, OAuthCredentials)
            and credentials.expires_at is not None
            and credentials.refresh_token is not None
            and credentials.expires_at - self._margin < time.time()
        ):
            is_still_good = credentials.expires_at > time.time()
            refresh = self._refreshes.refresh_early if is_still_good else self._refreshes.refresh
            stored = _checked(key, await refresh(stored, deadline))
        return stored.connection

    async def renewed(self, connection: Connection, deadline: Deadline) -> Connection:
        """Renews the credentials of a connection, after the provider refused the present ones.

        Raises:
            ApiKeyRefused: They are an API key, which cannot be renewed.
            NoConnection: The connection was deleted meanwhile.
            NeedsReauth: The customer has to connect again.
            CredentialsUnreadable: Its credentials cannot be decrypted.
            ConnectionUnavailable: The database cannot be reached.
            RefreshDeferred: The token cannot be renewed at present.
        """
        key = connection.key
        self._cache.drop(key)
        stored = await self._find(key, deadline)
        if _token(stored.connection) != _token(connection):
            # Another call or process has replaced the token since.
            return stored.connection
        if isinstance(stored.connection.credentials, ApiKeyCredentials):
            raise ApiKeyRefused(key)
        return _checked(key, await self._refreshes.refresh(stored, deadline)).connection

    async def finish(self, seconds: float) -> None:
        """Waits up to so many seconds for renewals that are under way, so that no token is lost that was just minted."""
        await self._refreshes.finish(seconds)

    async def _find(self, key: ConnectionKey, deadline: Deadline) -> StoredConnection:
        try:
            stored = await self._cache.get(key, max(0.0, deadline.remaining()))
        except (StoreUnavailable, TimeoutError):
            raise ConnectionUnavailable from None
        return _checked(key, stored)


def _checked(key: ConnectionKey, stored: StoredConnection | None) -> StoredConnection:
    if stored is None:
        raise NoConnection(key)
    if stored.state is ConnectionState.NEEDS_REAUTH:
        raise NeedsReauth(key, stored.state_reason)
    return stored


def _token(connection: Connection) -> Secret:
    match connection.credentials:
        case ApiKeyCredentials(api_key):
            return api_key
        case OAuthCredentials(access_token=token):
            return token
