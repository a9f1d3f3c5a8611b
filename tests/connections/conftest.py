"""A store with its tables, and what is made with it."""

from collections.abc import AsyncIterator

import pytest

from service.connections import Applications, Keyring, Store
from service.connections.encryption import generate_key
from service.connections.migrations.upgrade import upgrade
from service.domain.step import Caller


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    store = Store.open(database_url)
    await upgrade(store)
    yield store
    await store.close()


@pytest.fixture
def keyring() -> Keyring:
    return Keyring.parse(generate_key())


@pytest.fixture
async def caller(store: Store) -> Caller:
    applications = Applications(store, 0)
    key = await applications.create("billing")
    return await applications.authenticate(key.reveal())
