"""Renews OAuth tokens: one renewal at a time for each connection, in all processes, under a lease in its row.

The process that has the lease commits a new token before anyone uses it, and the others read it from the row. A process
that dies with the lease leaves the row as it was. If its mint had gone through, the token endpoint tells the next process
that the grant is void.

Whether a grant is void is believed when the token endpoint has said so twice (`invalid_grant` has been seen to pass); until
then a token that is still good is used. A refusal of the OAuth client is the operator's to put right, and marks nobody.
"""

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol, TypeAlias, TypeGuard

import structlog
from msgspec import structs

from service.connections.cache import Cache
from service.connections.database_failure import StoreUnavailable
from service.connections.errors import RefreshDeferred
from service.connections.repository import ConnectionRepository, Lease, StoredConnection
from service.domain.credentials import ConnectionKey, ConnectionState, OAuthCredentials, Secret
from service.domain.deadline import Deadline
from service.domain.step import Provider
from service.domain.token_grant import (
    CLIENT_ERRORS,
    INVALID_GRANT,
    ClientRefused,
    GrantRefused,
    RefreshFailed,
    TokenGrant,
)
from service.tasks import LAST_RENEWAL_SECONDS, finish

log: Final = structlog.get_logger("service.connections")

LEASE_SECONDS: Final = 24.0
"""How long one process may renew a token while all others wait."""

TAKEOVER_SECONDS: Final = 6.0
"""How long a process that takes over a lease waits before it mints.

The one before may have minted and only lack the database, which it asks again within this time. With the lease it is the
longest time that a customer waits after a crash.
"""

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

_REFUSAL_BACKOFF_SECONDS: Final = 60.0
"""How long a token endpoint that refused the grant or the client is not asked again, if that can wait."""

SECOND_REQUEST_SECONDS: Final = 1.0
"""How long after it refused the grant a token endpoint is asked again at the earliest."""


class TokenEndpoint(Protocol):
    """Where a provider renews OAuth tokens."""

    async def refresh(self, credentials: OAuthCredentials, refresh_token: Secret, deadline: Deadline) -> TokenGrant:
        """Mints an access token.

        Raises:
            GrantRefused: The customer's grant is void.
            ClientRefused: The OAuth client is refused.
            RefreshFailed: It did not work this time.
        """


class RefreshResult(StrEnum):
    """What a request to a token endpoint came to."""

    RENEWED = "renewed"
    GRANT_REFUSED = "grant_refused"
    CLIENT_REFUSED = "client_refused"
    FAILED = "failed"


RefreshObserver: TypeAlias = Callable[[Provider, RefreshResult], None]
"""Gets the result of every request to a token endpoint, for metrics."""


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
        observe: RefreshObserver,
    ) -> None:
        """Puts the parts together.

        Args:
            repository: The rows of the connections.
            token_endpoints: Where each provider renews tokens.
            cache: Gets what a renewal stored.
            observe: Gets the result of every request to a token endpoint.
        """
        self._repository = repository
        self._token_endpoints = token_endpoints
        self._cache = cache
        self._observe = observe
        self._running: dict[ConnectionKey, asyncio.Task[StoredConnection | None]] = {}
        self._minting: set[asyncio.Task[Any]] = set()
        self._cooldowns: dict[ConnectionKey, _Cooldown] = {}
        self._lease_owner = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"

    async def refresh_early(self, stored: StoredConnection, deadline: Deadline) -> StoredConnection | None:
        """Renews a token that is still good, and returns it as it is if it cannot be renewed at once.

        Returns:
            As `refresh`.
        """
        if self._cooldown(stored) is not None or _backoff(stored) > 0:
            return stored
        wait = min(_EARLY_REFRESH_SECONDS, deadline.remaining() / 2)
        try:
            return await self._refresh_once(stored, Deadline.after(wait))
        except RefreshDeferred:
            if self._cooldown(stored) is None:
                self._cool_down(stored, None)
            return stored

    async def refresh(self, stored: StoredConnection, deadline: Deadline) -> StoredConnection | None:
        """Renews a token that cannot be used any more.

        Returns:
            The connection as it is afterwards, which may be marked or set anew; None if it was deleted meanwhile.

        Raises:
            RefreshDeferred: It cannot be renewed at present.
        """
        if stored.refresh_error in CLIENT_ERRORS and _backoff(stored) > 0:
            raise RefreshDeferred.by_client(stored.key, stored.refresh_error, _backoff(stored))
        cooldown = self._cooldown(stored)
        if cooldown is not None and cooldown.failure is not None:
            raise RefreshDeferred.by_provider(stored.key, cooldown.failure, cooldown.until - time.monotonic())
        return await self.refresh_now(stored, deadline)

    async def refresh_now(self, stored: StoredConnection, deadline: Deadline) -> StoredConnection | None:
        """Renews a token whatever came of earlier attempts, and of a connection that is marked too.

        Returns:
            As `refresh`.

        Raises:
            RefreshDeferred: It cannot be renewed at present.
        """
        await _pause_after_refusal(stored, deadline)
        current = await self._refresh_once(stored, deadline)
        if _is_refused(current, stored, {INVALID_GRANT}):
            await _pause_after_refusal(current, deadline)
            current = await self._refresh_once(current, deadline)
        if _is_refused(current, stored, CLIENT_ERRORS):
            raise RefreshDeferred.by_client(current.key, current.refresh_error or "", _backoff(current))
        return current

    async def finish(self, seconds: float) -> None:
        """Waits up to so many seconds for renewals that are under way, and stops those that take longer.

        One that has asked for a token has `LAST_RENEWAL_SECONDS` more: the token before may be used up by now.
        """
        await finish(self._running.values(), seconds, spared=self._minting)
        await finish(self._minting, LAST_RENEWAL_SECONDS)

    def _cooldown(self, stored: StoredConnection) -> _Cooldown | None:
        found = self._cooldowns.get(stored.key)
        is_in_force = found is not None and found.revision == stored.revision and found.until > time.monotonic()
        return found if is_in_force else None

    def _cool_down(self, stored: StoredConnection, failure: RefreshFailed | None) -> None:
        if len(self._cooldowns) >= _MAX_COOLDOWNS:
            self._cooldowns.clear()
        demanded = failure.retry_after if failure is not None else None
        seconds = min(max(demanded or _COOLDOWN_SECONDS, _COOLDOWN_SECONDS), _LONGEST_COOLDOWN_SECONDS)
        self._cooldowns[stored.key] = _Cooldown(
            stored.revision, time.monotonic() + seconds, failure if demanded else None
        )

    async def _refresh_once(self, stored: StoredConnection, deadline: Deadline) -> StoredConnection | None:
        # In a task of its own, which a caller that goes away does not stop halfway.
        task = self._running.get(stored.key)
        if task is None:
            task = self._running[stored.key] = asyncio.ensure_future(self._refresh(stored))
            task.add_done_callback(lambda done: self._ended(stored.key, done))
        try:
            async with asyncio.timeout(deadline.remaining()):
                return await asyncio.shield(task)
        except TimeoutError:
            raise RefreshDeferred.by_deadline(stored.key) from None

    def _ended(self, key: ConnectionKey, task: "asyncio.Task[StoredConnection | None]") -> None:
        del self._running[key]
        # asyncio warns of an exception that nobody retrieved, and all callers may have left.
        if not task.cancelled():
            task.exception()

    async def _refresh(self, stored: StoredConnection) -> StoredConnection | None:
        try:
            current = await self._refresh_under_lease(stored)
        except StoreUnavailable:
            raise RefreshDeferred.by_database() from None
        self._cooldowns.pop(stored.key, None)
        self._cache.put(stored.key, current)
        return current

    async def _refresh_under_lease(self, stored: StoredConnection) -> StoredConnection | None:
        """Renews the token, or waits until another process has."""
        poll = _FIRST_POLL_SECONDS
        give_up = time.monotonic() + 2 * (LEASE_SECONDS + TAKEOVER_SECONDS)
        while True:
            lease = await self._repository.take_lease(stored, self._lease_owner, LEASE_SECONDS)
            if lease is Lease.TAKEN:
                return await self._mint_to_the_end(stored)
            if lease is Lease.TAKEN_OVER:
                await asyncio.sleep(TAKEOVER_SECONDS)
            current = await self._repository.find(stored.key)
            if current is None or not current.is_at_revision_of(stored):
                return current
            if time.monotonic() > give_up:
                raise RefreshDeferred.by_database()
            if lease is Lease.NOT_TAKEN:
                await asyncio.sleep(poll)
                poll = min(_LONGEST_POLL_SECONDS, 2 * poll)

    async def _mint_to_the_end(self, stored: StoredConnection) -> StoredConnection | None:
        """Mints in a task that a stop of the service gives time to end."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # this is a coroutine
        self._minting.add(task)
        try:
            return await self._mint(stored)
        finally:
            self._minting.discard(task)

    async def _mint(self, stored: StoredConnection) -> StoredConnection | None:
        key, credentials = stored.key, stored.connection.credentials
        if not isinstance(credentials, OAuthCredentials) or credentials.refresh_token is None:
            raise TypeError("only OAuth grants with a refresh token are renewed")
        endpoint, deadline = self._token_endpoints[key.provider], Deadline.after(_MINT_SECONDS)
        try:
            grant = await endpoint.refresh(credentials, credentials.refresh_token, deadline)
        except GrantRefused:
            self._observe(key.provider, RefreshResult.GRANT_REFUSED)
            return await self._grant_refused(stored)
        except ClientRefused as refusal:
            self._observe(key.provider, RefreshResult.CLIENT_REFUSED)
            return await self._client_refused(stored, credentials.client_id, refusal.error)
        except RefreshFailed as failure:
            self._observe(key.provider, RefreshResult.FAILED)
            await self._failed(stored, credentials, failure)
            raise RefreshDeferred.by_provider(key, failure, failure.retry_after) from None
        except BaseException:
            # The provider may have replaced the refresh token by now, and nobody knows the new one.
            log.error(  # noqa: TRY400  # what failed is logged where it is handled
                "renewal cut off: if the provider carried it out, the customer has to connect again",
                application_id=key.application_id,
                customer=key.customer_id,
                provider=key.provider,
            )
            await self._release_lease(key)
            raise
        self._observe(key.provider, RefreshResult.RENEWED)
        return await self._commit(stored, credentials, grant)

    async def _grant_refused(self, stored: StoredConnection) -> StoredConnection | None:
        customer, provider = stored.key.customer_id, stored.key.provider
        if stored.refresh_error == INVALID_GRANT or stored.state is ConnectionState.NEEDS_REAUTH:
            log.warning("connection needs reauth", customer=customer, provider=provider)
            reason = f"{provider.title} answered {INVALID_GRANT}"
            current = await self._repository.mark_needs_reauth(stored, reason)
        else:
            log.warning("grant refused, asked again later", customer=customer, provider=provider)
            current = await self._repository.record_refresh_error(stored, INVALID_GRANT)
        return current or await self._repository.find(stored.key)

    async def _client_refused(self, stored: StoredConnection, client_id: str, error: str) -> StoredConnection | None:
        log.error(
            "OAuth client refused, correct its secret with `seqstep connection set-client-secret`",
            application_id=stored.key.application_id,
            customer=stored.key.customer_id,
            provider=stored.key.provider,
            client_id=client_id,
            error=error,
        )
        return await self._repository.record_refresh_error(stored, error) or await self._repository.find(stored.key)

    async def _failed(self, stored: StoredConnection, credentials: OAuthCredentials, failure: RefreshFailed) -> None:
        current: StoredConnection | None = stored
        if failure.refresh_token is None:
            await self._release_lease(stored.key)
        else:
            # The access token is as it was, but the refresh token has been replaced.
            kept = structs.replace(credentials, refresh_token=failure.refresh_token)
            current = await self._store_last_copy(stored, credentials, kept)
            self._cache.put(stored.key, current)
        if current is not None:
            self._cool_down(current, failure)

    async def _commit(
        self, stored: StoredConnection, credentials: OAuthCredentials, grant: TokenGrant
    ) -> StoredConnection | None:
        renewed = structs.replace(
            credentials,
            access_token=grant.access_token,
            refresh_token=grant.refresh_token or credentials.refresh_token,
            issued_at=grant.issued_at,
            expires_at=grant.expires_at,
            scope=grant.scope or credentials.scope,
        )
        current = await self._store_last_copy(stored, credentials, renewed)
        log.info("token renewed", customer=stored.key.customer_id, provider=stored.key.provider)
        return current

    async def _store_last_copy(
        self, stored: StoredConnection, used: OAuthCredentials, renewed: OAuthCredentials
    ) -> StoredConnection | None:
        """Stores what came for a refresh token, and logs if that does not succeed."""
        try:
            return await self._store_renewed(stored, used, renewed)
        except (StoreUnavailable, asyncio.CancelledError):
            log.error(  # noqa: TRY400  # the reason is in the database's own line
                "renewed token lost: it could not be stored, and the customer has to connect again",
                application_id=stored.key.application_id,
                customer=stored.key.customer_id,
                provider=stored.key.provider,
            )
            raise

    async def _store_renewed(
        self, stored: StoredConnection, used: OAuthCredentials, renewed: OAuthCredentials
    ) -> StoredConnection | None:
        """Stores what came for a refresh token, and keeps trying: that one is used up, and this process alone has the next.

        A row that still has the refresh token that was used gets the new tokens, whatever else was changed in it meanwhile.
        """
        give_up = time.monotonic() + _COMMIT_SECONDS
        while True:
            try:
                current = await self._repository.replace_credentials(stored, renewed)
                if current is not None:
                    return current
                current = await self._repository.find(stored.key)
            except StoreUnavailable:
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(_LONGEST_POLL_SECONDS)
                continue
            present = current.connection.credentials if current is not None else None
            if (
                current is None
                or not isinstance(present, OAuthCredentials)
                or present.refresh_token != used.refresh_token
            ):
                # The connection was deleted or set anew, and that is what counts.
                return current
            stored = current
            renewed = structs.replace(
                renewed,
                client_id=present.client_id,
                client_secret=present.client_secret,
                redirect_uri=present.redirect_uri,
            )

    async def _release_lease(self, key: ConnectionKey) -> None:
        # A lease that cannot be given back ends by itself.
        with contextlib.suppress(StoreUnavailable):
            await self._repository.release_lease(key, self._lease_owner)


def _backoff(stored: StoredConnection) -> float:
    """Seconds in which the token endpoint is not asked again after it refused, if that can wait."""
    if stored.refresh_error is None:
        return 0.0
    elapsed = time.time() - stored.refresh_error_at
    # A time that is further ahead was written before the clock was set back.
    if elapsed <= -_REFUSAL_BACKOFF_SECONDS:
        return 0.0
    return max(0.0, _REFUSAL_BACKOFF_SECONDS - max(0.0, elapsed))


async def _pause_after_refusal(stored: StoredConnection, deadline: Deadline) -> None:
    """Leaves the token endpoint some time after it refused the grant, since that has been seen to pass."""
    if stored.refresh_error == INVALID_GRANT:
        remaining = stored.refresh_error_at + SECOND_REQUEST_SECONDS - time.time()
        await asyncio.sleep(max(0.0, min(remaining, SECOND_REQUEST_SECONDS, deadline.remaining() / 2)))


def _is_refused(
    current: StoredConnection | None, earlier: StoredConnection, errors: Collection[str]
) -> TypeGuard[StoredConnection]:
    """Whether a connection still has the token that it had, since the token endpoint answered one of these errors."""
    return (
        current is not None and current.refresh_error in errors and current.connection.token == earlier.connection.token
    )
