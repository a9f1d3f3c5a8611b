"""What people do with connections by the command line; running services see it within their `cache_seconds`."""

from collections.abc import AsyncIterator
from typing import Final

from service.connections.encryption import Keyring, KeyringError
from service.connections.errors import NoConnection
from service.connections.repository import ConnectionRepository, ConnectionSummary
from service.connections.store import Store
from service.domain.credentials import Connection, ConnectionKey, Credentials
from service.domain.step import Provider

_REENCRYPT_BATCH: Final = 500


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

    async def delete(self, application_id: int, customer_id: str, provider: Provider) -> bool:
        """Deletes a connection with its credentials; returns whether there was one."""
        return await self._repository.delete(ConnectionKey(application_id, customer_id, provider))

    async def read(self, application_id: int, customer_id: str, provider: Provider) -> Connection:
        """Reads a connection as it is stored, whatever its state.

        Raises:
            NoConnection: There is none.
            CredentialsUnreadable: Its credentials cannot be decrypted.
        """
        key = ConnectionKey(application_id, customer_id, provider)
        stored = await self._repository.find(key)
        if stored is None:
            raise NoConnection(key)
        return stored.connection

    async def list(self, application: str | None = None, customer_id: str | None = None) -> list[ConnectionSummary]:
        """Lists connections without their credentials, by application, customer and provider.

        Args:
            application: Only those of the application with this name.
            customer_id: Only those of this customer.
        """
        return await self._repository.summaries(application, customer_id)

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

    async def count_to_reencrypt(self) -> int:
        """How many connections `reencrypt` has to move."""
        return await self._repository.count_under_other_keys()

    async def reencrypt(self) -> AsyncIterator[tuple[int, int]]:
        """Moves all credentials to the first key, while services run; can be stopped and begun again at any time.

        Yields:
            After each batch: how many were moved, and how many could not be read and were left as they are.
        """
        after_id = 0
        while (batch := await self._repository.reencrypt(after_id, _REENCRYPT_BATCH)) is not None:
            yield batch.moved, batch.unreadable
            after_id = batch.last_id
