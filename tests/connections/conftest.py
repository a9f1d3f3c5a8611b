"""A store with its tables, and what is made with it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, event

from service.connections import Applications, Keyring, Store, token_refresh
from service.connections import store as stores
from service.connections.encryption import generate_key
from service.domain.step import Caller
from tests.support.clock import Clock
from tests.support.connections import OutreachCustomer, outreach_customer
from tests.support.databases import make_tables


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    await make_tables(database_url)
    store = Store.open(database_url)
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


@pytest.fixture
async def customer(database_url: str, store: Store, caller: Caller) -> AsyncIterator[OutreachCustomer]:
    async with outreach_customer(database_url, store, caller) as made:
        yield made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the store and of renewals."""
    clock = Clock()
    times = SimpleNamespace(monotonic=lambda: clock.now, time=lambda: clock.now)
    for module in (stores, token_refresh):
        monkeypatch.setattr(module, "time", times)
        monkeypatch.setattr(module, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": clock.sleep}))
    return clock


@pytest.fixture
def queries() -> Iterator[list[str]]:
    """Every statement that reaches a database."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)
