"""What people do with connections by the command line; running services see it within their `cache_seconds`."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import structs

from service.connections.encryption import Keyring, KeyringError
from service.connections.repository import (
    ConnectionRepository,
    RefreshErrorCount,
    StoredBatch,
    StoredConnection,
)
from service.connections.store import Store
from service.domain.credentials import (
    ConnectionKey,
    ConnectionState,
    ConnectionSummary,
    Credentials,
    OAuthCredentials,
    Secret,
)
from service.domain.step import Provider

_BATCH: Final = 500


class SeveralClients(Exception):
    """The connections have several OAuth clients, of which one has to be named.

    Attributes:
        client_ids: The clients.
    """

    def __init__(self, client_ids: Iterable[str]) -> None:
        self.client_ids = sorted(client_ids)
        super().__init__(", ".join(self.client_ids))


@dataclass(frozen=True, slots=True)
class ClientSecretChange:
    """What `ConnectionAdministration.set_client_secret` did.

    Attributes:
        replaced: Connections that have the new secret.
        unreadable: Connections that could not be decrypted, and were left as they are.
    """

    replaced: int
    unreadable: int


class ConnectionAdministration:
    """Sets, lists and deletes connections, and moves them to another encryption key."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._repository = ConnectionRepository(store, keyring)
        self._keyring = keyring

    async def set(self, application_id: int, customer_id: str, provider: Provider, credentials: Credentials) -> bool:
        """Stores a connection in the place of any earlier one, ready for use.

        Returns:
            Whether there was an earlier one.
        """
        return await self._repository.put(ConnectionKey(application_id, customer_id, provider), credentials)

    async def set_once(
        self, application_id: int, customer_id: str, provider: Provider, credentials: Credentials
    ) -> bool:
        """Stores a connection as `set` does, unless it is active and these are the credentials that were set last.

        Returns:
            Whether they were stored.
        """
        return await self._repository.put_once(ConnectionKey(application_id, customer_id, provider), credentials)

    async def delete(self, application_id: int, customer_id: str, provider: Provider) -> bool:
        """Deletes a connection with its credentials; returns whether there was one."""
        return await self._repository.delete(ConnectionKey(application_id, customer_id, provider))

    async def list(self, application: str | None = None, customer_id: str | None = None) -> list[ConnectionSummary]:
        """Lists connections without their credentials, by application, customer and provider.

        Args:
            application: Only those of the application with this name.
            customer_id: Only those of this customer.
        """
        return await self._repository.summaries(application, customer_id)

    async def page(
        self,
        application_id: int,
        limit: int,
        *,
        after: tuple[str, str] | None = None,
        customer_id: str | None = None,
        provider: Provider | None = None,
        state: ConnectionState | None = None,
    ) -> Sequence[ConnectionSummary]:
        """Lists connections of an application by customer and provider, with the kind of their credentials.

        Args:
            application_id: The application.
            limit: How many to list at most.
            after: Only those behind this customer and provider.
            customer_id: Only those of this customer.
            provider: Only those to this provider.
            state: Only those in this state.
        """
        return await self._repository.page(
            application_id, limit, after=after, customer_id=customer_id, provider=provider, state=state
        )

    async def find(self, application_id: int, customer_id: str, provider: Provider) -> ConnectionSummary | None:
        """Finds a connection, with the kind of its credentials; None if there is none."""
        return next(iter(await self.page(application_id, 1, customer_id=customer_id, provider=provider)), None)

    async def count_by_state(self) -> Sequence[tuple[str, str, int]]:
        """Counts the connections of all applications by provider and state."""
        return await self._repository.count_by_state()

    async def refresh_errors(self) -> Sequence[RefreshErrorCount]:
        """Counts the connections whose token was last not renewed, by application, provider and error."""
        return await self._repository.count_refresh_errors()

    async def set_client_secret(
        self, application_id: int, provider: Provider, client_id: str | None, client_secret: Secret
    ) -> ClientSecretChange:
        """Replaces the secret of an OAuth client in all connections of an application, while services run.

        Tokens stay as they are, also those that are being renewed at the time.

        Args:
            application_id: The application.
            provider: The provider that the client is known to.
            client_id: The client; None if all connections have the same one.
            client_secret: Its new secret.

        Raises:
            SeveralClients: `client_id` is None, and the connections have several; nothing was changed.
        """
        client_ids: set[str] = set()
        replaced = unreadable = 0
        if client_id is None:
            async for batch in self._batches(application_id, provider):
                client_ids |= {each.client_id for each in map(_oauth, batch.readable) if each is not None}
            if len(client_ids) > 1:
                raise SeveralClients(client_ids)
        async for batch in self._batches(application_id, provider):
            unreadable += batch.unreadable
            for stored in batch.readable:
                replaced += await self._set_client_secret(stored, client_id, client_secret)
        return ClientSecretChange(replaced, unreadable)

    async def _set_client_secret(
        self, stored: StoredConnection | None, client_id: str | None, client_secret: Secret
    ) -> bool:
        while stored is not None:
            credentials = _oauth(stored)
            if credentials is None or client_id not in (None, credentials.client_id):
                return False
            changed = structs.replace(credentials, client_secret=client_secret)
            if await self._repository.replace_client_secret(stored, changed):
                return True
            # It was renewed or set anew in between.
            stored = await self._repository.find(stored.key)
        return False

    async def _batches(self, application_id: int, provider: Provider) -> AsyncIterator[StoredBatch]:
        after_id = 0
        while (batch := await self._repository.of_provider(application_id, provider, after_id, _BATCH)) is not None:
            yield batch
            after_id = batch.last_id

    async def check_keys(self) -> None:
        """Makes sure that the key of every stored credential is there.

        Raises:
            KeyringError: One is missing.
        """
        missing = [key_id for key_id in await self._repository.encryption_key_ids() if key_id not in self._keyring]
        if missing:
            raise KeyringError(
                f"stored credentials are under keys that SEQSTEP_ENCRYPTION_KEYS does not have ({', '.join(missing)}); "
                "add those keys after the first one, or delete and set the connections again"
            )

    async def count_by_key(self) -> dict[str, int]:
        """How many connections are under each encryption key, by its id."""
        return await self._repository.count_by_encryption_key()

    async def count_to_reencrypt(self) -> int:
        """How many connections `reencrypt` has to move."""
        return await self._repository.count_under_other_keys()

    async def reencrypt(self) -> AsyncIterator[tuple[int, int]]:
        """Moves all credentials to the first key, while services run; can be stopped and begun again at any time.

        Yields:
            After each batch: how many were moved, and how many could not be read and were left as they are.
        """
        after_id = 0
        while (batch := await self._repository.reencrypt(after_id, _BATCH)) is not None:
            yield batch.moved, batch.unreadable
            after_id = batch.last_id


def _oauth(stored: StoredConnection) -> OAuthCredentials | None:
    credentials = stored.connection.credentials
    return credentials if isinstance(credentials, OAuthCredentials) else None
