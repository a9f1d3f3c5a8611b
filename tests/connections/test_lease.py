"""The lease of a connection: who gets it, from whom, and who gives it back."""

import pytest
from msgspec.structs import replace

from service.connections import Keyring, Store
from service.connections.repository import ConnectionRepository, Lease, StoredConnection
from service.domain.credentials import ConnectionKey, OAuthCredentials, Secret
from service.domain.step import Caller, Provider

GRANT = OAuthCredentials(Secret("a"), Secret("r"), 5.0, "c", Secret("s"))


@pytest.fixture
def repository(store: Store, keyring: Keyring) -> ConnectionRepository:
    return ConnectionRepository(store, keyring)


@pytest.fixture
def key(caller: Caller) -> ConnectionKey:
    return ConnectionKey(caller.application_id, "acme", Provider("outreach"))


async def put(repository: ConnectionRepository, key: ConnectionKey) -> StoredConnection:
    await repository.put(key, GRANT)
    stored = await repository.find(key)
    assert stored is not None
    return stored


async def test_one_process_at_a_time_has_the_lease(repository: ConnectionRepository, key: ConnectionKey) -> None:
    stored = await put(repository, key)
    assert await repository.take_lease(stored, "a", 24) is Lease.TAKEN
    assert await repository.take_lease(stored, "a", 24) is Lease.TAKEN
    assert await repository.take_lease(stored, "b", 24) is Lease.NOT_TAKEN
    await repository.release_lease(key, "b")
    assert await repository.take_lease(stored, "b", 24) is Lease.NOT_TAKEN
    await repository.release_lease(key, "a")
    assert await repository.take_lease(stored, "b", 24) is Lease.TAKEN
    assert await repository.take_lease(stored, "a", 24) is Lease.NOT_TAKEN
    await repository.release_lease(key, "a")
    assert await repository.take_lease(stored, "a", 24) is Lease.NOT_TAKEN


@pytest.mark.parametrize("seconds", [-1, 1000])
async def test_a_lease_that_has_ended_or_cannot_be_true_is_taken_over(
    repository: ConnectionRepository, key: ConnectionKey, seconds: float
) -> None:
    """One that ends later than any can was made before the clock was set back."""
    stored = await put(repository, key)
    assert await repository.take_lease(stored, "a", seconds) is Lease.TAKEN
    assert await repository.take_lease(stored, "b", 24) is Lease.TAKEN_OVER
    assert await repository.take_lease(stored, "c", 24) is Lease.NOT_TAKEN


async def test_a_row_of_another_revision_or_another_customer_is_left_alone(
    repository: ConnectionRepository, key: ConnectionKey
) -> None:
    other = await put(repository, replace(key, customer_id="other"))
    stored = await put(repository, key)
    for old in (replace(stored, revision=stored.revision - 1), replace(stored, revision=stored.revision + 1)):
        assert await repository.take_lease(old, "a", 24) is Lease.NOT_TAKEN
        assert await repository.replace_credentials(old, GRANT) is None
        assert await repository.mark_needs_reauth(old, "x") is None
    assert await repository.take_lease(stored, "a", 24) is Lease.TAKEN
    assert await repository.take_lease(other, "b", 24) is Lease.TAKEN
    renewed = await repository.replace_credentials(stored, replace(GRANT, access_token=Secret("new")))
    assert renewed == await repository.find(key)
    assert renewed is not None
    assert renewed.revision == stored.revision + 1
    # The lease went back with it, and the other's stays.
    assert await repository.take_lease(renewed, "c", 24) is Lease.TAKEN
    assert await repository.take_lease(other, "c", 24) is Lease.NOT_TAKEN
    assert await repository.find(other.key) == other
