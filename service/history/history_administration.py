"""What people do with the history by the command line, while services run."""

from collections.abc import AsyncIterator
from typing import Final

from service.connections.encryption import Keyring, KeyringError
from service.connections.store import Store
from service.domain.step import Provider
from service.history.change_repository import ChangeRepository

_BATCH: Final = 200
# Each of these is read whole.
_REENCRYPTED_BATCH: Final = 50


class HistoryAdministration:
    """Deletes the history of customers, and moves it to another encryption key."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._repository = ChangeRepository(store, keyring)
        self._keyring = keyring

    async def delete(
        self, application_id: int, customer_id: str, provider: Provider | None = None
    ) -> AsyncIterator[int]:
        """Deletes all changes of a customer, some at a time, so that updates need not wait for long.

        Args:
            application_id: The application that made them.
            customer_id: The application's own id of the customer.
            provider: Only those at this provider; None for all.

        Yields:
            After each batch: how many it deleted.

        Raises:
            StoreUnavailable: The database cannot be used.
        """
        while (count := await self._repository.delete(application_id, customer_id, provider, _BATCH)) > 0:
            yield count

    async def check_keys(self) -> None:
        """Makes sure that the key of every change is there.

        Raises:
            KeyringError: One is missing.
        """
        missing = [key_id for key_id in await self._repository.encryption_key_ids() if key_id not in self._keyring]
        if missing:
            raise KeyringError(
                f"the history is under keys that SEQSTEP_ENCRYPTION_KEYS does not have ({', '.join(missing)}); add those keys "
                "after the first one, or delete the history of those customers with `seqstep history delete`"
            )

    async def count_by_key(self) -> dict[str, int]:
        """How many changes are under each encryption key, by its id."""
        return await self._repository.count_by_encryption_key()

    async def count_to_reencrypt(self) -> int:
        """How many changes `reencrypt` has to move."""
        return await self._repository.count_under_other_keys()

    async def reencrypt(self) -> AsyncIterator[tuple[int, int]]:
        """Moves all changes to the first key, while services run; can be stopped and begun again at any time.

        Yields:
            After each batch: how many were moved, and how many could not be read and were left as they are.
        """
        after_id = b""
        while (batch := await self._repository.reencrypt(after_id, _REENCRYPTED_BATCH)) is not None:
            yield batch.moved, batch.unreadable
            after_id = batch.last_id
