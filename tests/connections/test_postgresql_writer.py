"""Batches of rows that go to PostgreSQL past SQLAlchemy: what they cost, and what becomes of their connection."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import literal, select, text, update
from sqlalchemy.exc import IntegrityError

from service.connections import Store, StoreUnavailable
from service.connections.migrations.upgrade import upgrade
from service.connections.row_changes import RowChange
from service.connections.schema import applications
from tests.support.database_proxy import database_proxy
from tests.support.databases import new_postgresql
from tests.support.pgbouncer import pgbouncer
from tests.support.waiting import until

COLUMNS = applications.c
ONE = select(literal(1))


def added(**ids: int) -> RowChange:
    """Makes applications with these names and ids."""
    columns = (COLUMNS.id, COLUMNS.name, COLUMNS.created_at)
    return RowChange("insert", columns, [(number, name, 0.0) for name, number in ids.items()])


def renamed(**ids: int) -> RowChange:
    return RowChange("update", (COLUMNS.name, COLUMNS.id), list(ids.items()))


def removed(*ids: int) -> RowChange:
    return RowChange("delete", (COLUMNS.id,), [(number,) for number in ids])


async def names(store: Store) -> list[str]:
    async with store.begin() as db:
        return list((await db.execute(select(COLUMNS.name).order_by(COLUMNS.id))).scalars())


def in_use(store: Store) -> int:
    """How many connections are taken out of the pool."""
    pool: Any = store.engines[0].pool
    taken: int = pool.checkedout()
    return taken


@pytest.fixture
async def store(postgresql_server: Any) -> AsyncIterator[Store]:
    store = Store.open(new_postgresql(postgresql_server), max_connections=2)
    await upgrade(store)
    yield store
    await store.close()


async def test_all_of_a_batch_is_made_or_nothing(store: Store) -> None:
    await store.write([added(a=1, b=2, c=3)])
    await store.write([added(d=4), renamed(B=2), removed(3)])
    assert await names(store) == ["a", "B", "d"]
    with pytest.raises(IntegrityError):
        await store.write([added(e=5), renamed(a=2), removed(4)])
    assert await names(store) == ["a", "B", "d"]


async def test_a_batch_is_one_round_trip(postgresql_server: Any) -> None:
    async with database_proxy(postgresql_server) as proxy:
        store = Store.open(proxy.url)
        await upgrade(store)
        for number in range(3):
            begun = proxy.round_trips
            await store.write([added(**{f"a{number}": 2 * number, f"b{number}": 2 * number + 1}), removed(100)])
        assert proxy.round_trips - begun == 1
        await store.close()


async def test_the_connection_is_given_back_when_there_is_nothing_to_write(store: Store) -> None:
    await store.write([added(a=1)])
    assert in_use(store) == 1
    await until(lambda: in_use(store) == 0)
    await store.write([added(b=2)])
    assert await names(store) == ["a", "b"]


async def test_nobody_waits_for_a_connection_that_is_kept(postgresql_server: Any) -> None:
    store = Store.open(new_postgresql(postgresql_server), max_connections=1)
    await upgrade(store)
    await store.write([added(a=1)])
    assert in_use(store) == 0
    await asyncio.gather(store.write([added(b=2)]), *(store.first(ONE, {}) for _ in range(5)))
    await store.close()


async def test_who_waits_for_the_server_gets_the_connection(
    postgresql_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.connections.postgresql_writer._KEPT_SECONDS", 60)
    url = new_postgresql(postgresql_server)
    database = url.partition("?")[0].rpartition("/")[2]
    postgresql_server.psql(f"CREATE ROLE writer LOGIN; ALTER DATABASE {database} OWNER TO writer")
    store = Store.open(url.replace("postgres:", "writer:"))
    await upgrade(store)
    await store.close()
    postgresql_server.psql("ALTER ROLE writer CONNECTION LIMIT 1")
    await store.write([added(a=1)])
    reading = asyncio.create_task(store.first(ONE, {}))
    await until(lambda: store._waiting)
    await store.write([added(b=2)])
    assert await reading
    await store.close()


async def test_a_connection_that_ended_meanwhile_is_not_used(store: Store, postgresql_server: Any) -> None:
    await store.write([added(a=1)])
    ended = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO applications%'"
    assert "t" in postgresql_server.psql(ended)
    await until(store._postgresql_writer._driver.is_closed)
    await store.write([added(b=2)])
    assert await names(store) == ["a", "b"]


async def test_after_a_failure_there_is_another_connection(postgresql_server: Any) -> None:
    async with database_proxy(postgresql_server) as proxy:
        store = Store.open(proxy.url, statement_seconds=0.2)
        await upgrade(store)
        await store.write([added(a=1)])
        proxy.stop_answering()
        with pytest.raises(StoreUnavailable):
            await store.write([added(b=2)])
        proxy.go_away()
        with pytest.raises(StoreUnavailable):
            await store.write([added(c=3)])
        proxy.come_back()
        await store.write([added(d=4)])
        assert {"a", "d"} <= set(await names(store))
        assert "c" not in await names(store)
        await store.close()


async def test_a_batch_that_was_given_up_for_another_one_is_repeated(postgresql_server: Any) -> None:
    url = new_postgresql(postgresql_server)
    store = Store.open(f"{url}&options=-c%20default_transaction_isolation%3Dserializable")
    await upgrade(store)
    await store.write([added(a=1)])
    async with store.begin() as db:
        await db.execute(update(applications).values(created_at=1.0))
        writing = asyncio.create_task(store.write([renamed(b=1)]))
        waits = text(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE app%'"
        )
        async with asyncio.timeout(10):
            while not (await db.execute(waits)).scalar():
                await db.execute(text("SELECT pg_stat_clear_snapshot()"))
    await writing
    assert await names(store) == ["b"]
    await store.close()


async def test_batches_go_through_a_pooler(postgresql_server: Any, tmp_path: Path) -> None:
    async with pgbouncer(postgresql_server, tmp_path) as url:
        stores = [Store.open(f"{url}?pgbouncer=true") for _ in range(4)]
        await upgrade(stores[0])

        async def write(number: int) -> None:
            for each in range(20):
                row = 100 * number + each
                await stores[number].write([added(**{f"a{row}": row}), renamed(**{f"b{row}": row - 1})])

        await asyncio.gather(*map(write, range(4)))
        assert len(await names(stores[0])) == 80
        for store in stores:
            await store.close()
