"""Renews OAuth tokens: one renewal at a time for each connection, in all processes, under a lease in its row.

The process that has the lease commits a new token before anyone uses it, and the others read it from the row. A process
that dies with the lease leaves the row as it was. If its mint had gone through, the token endpoint tells the next process
that the grant is void, and the connection is marked so.
"""

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from msgspec import structs

from service.connections.cache import Cache
from service.connections.errors import RefreshDeferred
from service.connections.repository import ConnectionRepository, StoredConnection
from service.connections.store import StoreUnavailable
from service.domain.credentials import ConnectionKey, OAuthCredentials, TokenGrant
from service.domain.deadline import Deadline
from service.domain.errors import RefreshFailed, RefreshRefused
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

_EARLY_REFRESH_SECONDS: Final = 3.0
"""Longest wait for a new token while the old one is still good."""

_COOLDOWN_SECONDS: Final = 5.0
"""How long a token endpoint that failed is not asked again while the old token is still good."""

_LONGEST_COOLDOWN_SECONDS: Final = 300.0
"""How long a token endpoint is not asked again at most, whatever it demands."""

_MAX_COOLDOWNS: Final = 10_000


class TokenEndpoint(Protocol):
    """Where a provider renews OAuth tokens."""

    async def refresh(self, credentials: OAuthCredentials, deadline: Deadline) -> TokenGrant:
        """Mints an access token.

        Raises:
            RefreshRefused: No retry helps; the customer has to connect again.
            RefreshFailed: It did not work this time.
        """


@dataclass(frozen=True, slots=True)
class _Cooldown:
    """A time in which a token is not renewed.

    Attributes:
        revision: The credentials that it is about.
        until: Its end, on the monotonic clock.
        failure: What the last attempt came to, if the provider said when to ask again.
    """

    revision: int
    until: float
    failure: RefreshFailed | None


class RefreshCoordinator:
    """Renews each connection's token once, however many calls and processes ask for it."""

    def __init__(
        self,
        repository: ConnectionRepository,
        token_endpoints: Mapping[Provider, TokenEndpoint],
        cache: Cache[ConnectionKey, StoredConnection | None],
    ) -> None:
        """Puts the parts together.

        Args:
            repository: The rows of the connections.
            token_endpoints: Where each provider renews tokens.
            cache: Gets what a renewal stored.
        """
        self._repository = repository
        self._token_endpoints = token_endpoints
        self._cache = cache
        self._running: dict[ConnectionKey, asyncio.Task[StoredConnection | None]] = {}
        self._cooldowns: dict[ConnectionKey, _Cooldown] = {}
        self._lease_owner = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"

    async def refresh(self, stored: StoredConnection, deadline: Deadline) -> StoredConnection | None:
        """Renews a token that cannot be used any more.

        Returns:
            The connection as it is afterwards, which may be marked or set anew; None if it was deleted meanwhile.

        Raises:
            RefreshDeferred: It cannot be renewed at present.
        """
        cooldown = self._cooldown(stored)
        if cooldown is not None and cooldown.failure is not None:
            raise RefreshDeferred.by_provider(stored.key, cooldown.failure, cooldown.until - time.monotonic())
        # In a task of its own, which a caller that goes away does not stop halfway.
        task = self._running.get(stored.key)
        if task is None:
            task = self._running[stored.key] = asyncio.ensure_future(self._refresh(stored))
            task.add_done_callback(lambda done: self._ended(stored.key, done))
        try:
            async with asyncio.timeout(max(0.0, deadline.remaining())):
                return await asyncio.shield(task)
        except TimeoutError:
            raise RefreshDeferred.by_deadline(stored.key) from None

    async def refresh_early(self, stored: StoredConnection, deadline: Deadline) -> StoredConnection | None:
        """Renews a token that is still good, and returns it as it is if it cannot be renewed at once.

        Returns:
            As `refresh`.
        """
        if self._cooldown(stored) is not None:
            return stored
        wait = min(_EARLY_REFRESH_SECONDS, deadline.remaining() / 2)
        try:
            return await self.refresh(stored, Deadline.after(wait))
        except RefreshDeferred:
            if self._cooldown(stored) is None:
                self._cool_down(stored, None)
            return stored

    async def finish(self, seconds: float) -> None:
        """Waits up to so many seconds for renewals that are under way, and stops those that take longer."""
        await finish(self._running.values(), seconds)

    def _cooldown(self, stored: StoredConnection) -> _Cooldown | None:
        found = self._cooldowns.get(stored.key)
        is_in_force = found is not None and found.revision == stored.revision and found.until > time.monotonic()
        return found if is_in_force else None

    def _cool_down(self, stored: StoredConnection, failure: RefreshFailed | None) -> None:
        if len(self._cooldowns) >= _MAX_COOLDOWNS:
            self._cooldowns.clear()
        demanded = failure.retry_after if failure is not None else None
        seconds = min(max(demanded or 0.0, _COOLDOWN_SECONDS), _LONGEST_COOLDOWN_SECONDS)
        self._cooldowns[stored.key] = _Cooldown(
            stored.revision, time.monotonic() + seconds, failure if demanded else None
        )

    def _ended(self, key: ConnectionKey, task: "asyncio.Task[StoredConnection | None]") -> None:
        del self._running[key]
        # asyncio warns of an exception that nobody retrieved, and all callers may have left.
        if not task.cancelled():
            task.exception()

    async def _refresh(self, stored: StoredConnection) -> StoredConnection | None:
        try:
            renewed = await self._refresh_under_lease(stored)
        except StoreUnavailable:
            raise RefreshDeferred.by_database() from None
        self._cooldowns.pop(stored.key, None)
        self._cache.put(stored.key, renewed)
        return renewed

    async def _refresh_under_lease(self, stored: StoredConnection) -> StoredConnection | None:
        """Renews the token, or waits until another process has."""
        poll = _FIRST_POLL_SECONDS
        give_up = time.monotonic() + 2 * LEASE_SECONDS
        while not await self._repository.take_lease(stored, self._lease_owner, LEASE_SECONDS):
            current = await self._repository.find(stored.key)
            if current is None or current.revision != stored.revision or current.state is not stored.state:
                return current
            if time.monotonic() > give_up:
                raise RefreshDeferred.by_database()
            await asyncio.sleep(poll)
            poll = min(_LONGEST_POLL_SECONDS, 2 * poll)
        return await self._mint(stored)

    async def _mint(self, stored: StoredConnection) -> StoredConnection | None:
        key, credentials = stored.key, stored.connection.credentials
        if not isinstance(credentials, OAuthCredentials):
            raise TypeError("only OAuth tokens are renewed")
        try:
            grant = await self._token_endpoints[key.provider].refresh(credentials, Deadline.after(_MINT_SECONDS))
        except RefreshRefused as refusal:
            log.warning("connection needs reauth", customer=key.customer_id, provider=key.provider)
            await self._repository.mark_needs_reauth(stored, refusal.reason)
            return await self._repository.find(key)
        except RefreshFailed as failure:
            await self._release_lease(key)
            self._cool_down(stored, failure)
            raise RefreshDeferred.by_provider(key, failure, failure.retry_after) from None
        except BaseException:
            await self._release_lease(key)
            raise
        renewed = await self._commit(
            stored,
            structs.replace(
                credentials,
                access_token=grant.access_token,
                refresh_token=grant.refresh_token or credentials.refresh_token,
                expires_at=grant.expires_at,
            ),
        )
        if renewed is None:
            # The connection was deleted or set anew meanwhile, and that is what counts.
            return await self._repository.find(key)
        log.info("token renewed", customer=key.customer_id, provider=key.provider)
        return renewed

    async def _commit(self, stored: StoredConnection, credentials: OAuthCredentials) -> StoredConnection | None:
        """Stores a minted token, and keeps trying: the old one is dead, and this process alone has the new one."""
        give_up = time.monotonic() + _COMMIT_SECONDS
        while True:
            try:
                return await self._repository.replace_credentials(stored, credentials)
            except StoreUnavailable:
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(_LONGEST_POLL_SECONDS)

    async def _release_lease(self, key: ConnectionKey) -> None:
        # A lease that cannot be given back ends by itself.
        with contextlib.suppress(StoreUnavailable):
            await self._repository.release_lease(key, self._lease_owner)
