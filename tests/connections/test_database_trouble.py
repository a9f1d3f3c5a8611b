"""A database that does not answer, has no connection left, gives transactions up, or is another one."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

from service.connections import Applications, Connections, Keyring, Store, StoreUnavailable
from service.connections.encryption import generate_key
from service.connections.errors import AuthenticationUnavailable
from service.connections.migrations.upgrade import upgrade
from service.connections.schema import applications as table
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, UpdateFailed
from service.domain.step import Provider
from tests.support.database_proxy import database_proxy
from tests.support.databases import new_postgresql

_roles = itertools.count(1)


async def test_a_database_that_does_not_answer_costs_the_deadline(postgresql_server: Any) -> None:
    async with database_proxy(postgresql_server) as proxy:
        store = Store.open(proxy.url)
        await upgrade(store)
        applications = Applications(store, 0)
        key = await applications.create("billing")
        caller = await applications.authenticate(key.reveal(), Deadline.after(20))
        connections = Connections(store, Keyring.parse(generate_key()), {}, cache_seconds=0, refresh_margin_seconds=300)
        proxy.stop_answering()
        deadline = Deadline.after(0.2)
        with pytest.raises(AuthenticationUnavailable):
            await applications.authenticate(key.reveal(), deadline)
        with pytest.raises(AuthenticationUnavailable):
            await applications.by_certificate(["billing.example"], deadline)
        with pytest.raises(UpdateFailed) as failure:
            await connections.usable(caller.application_id, "acme", Provider("outreach"), deadline)
        assert failure.value.problems[0].code is ErrorCode.SERVICE_UNAVAILABLE_ERROR
        # The store itself, without a deadline, would have waited for some seconds.
        assert deadline.remaining() > -2
        proxy.come_back()
        assert await applications.authenticate(key.reveal(), Deadline.after(20)) == caller
        await store.close()


async def test_a_look_up_is_one_round_trip_beside_the_test_of_its_connection(postgresql_server: Any) -> None:
    async with database_proxy(postgresql_server) as proxy:
        store = Store.open(proxy.url)
        query, begun = select(literal(1)), 0

        async def in_transaction(db: AsyncConnection) -> None:
            await db.execute(query)

        works: list[tuple[Callable[[], Awaitable[object]], int]] = [
            (lambda: store.transact(in_transaction), 6),
            (lambda: store.first(query, {}), 4),
        ]
        for work, round_trips in works:
            # What is sent the first time is prepared by the server, at the cost of a round trip.
            for _ in range(3):
                begun = proxy.round_trips
                await work()
            assert proxy.round_trips - begun == round_trips
        await store.close()


@pytest.fixture
def role(postgresql_server: Any) -> tuple[str, str]:
    """A role of the server, and the URL of a database that it owns."""
    name = f"role_{next(_roles)}"
    url = new_postgresql(postgresql_server)
    database = url.partition("?")[0].rpartition("/")[2]
    postgresql_server.psql(f"CREATE ROLE {name} LOGIN; ALTER DATABASE {database} OWNER TO {name}")
    return name, url.replace("postgres:", f"{name}:")


async def test_a_server_without_connections_left_fails_no_call(role: tuple[str, str], postgresql_server: Any) -> None:
    name, url = role
    store = Store.open(url, max_connections=10)
    await upgrade(store)
    postgresql_server.psql(f"ALTER ROLE {name} CONNECTION LIMIT 2")
    slow = select(text("(SELECT count(*) FROM pg_stat_activity WHERE usename = current_user), pg_sleep(0.005)"))
    rows = await asyncio.gather(*(store.first(slow, {}) for _ in range(100)))
    assert {row[0] for row in rows if row is not None} <= {1, 2}
    assert None not in rows
    await store.close()


async def test_a_connection_that_the_server_ended_is_not_used_again(
    role: tuple[str, str], postgresql_server: Any
) -> None:
    name, url = role
    store = Store.open(url)
    await store.check()
    postgresql_server.psql(f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = '{name}'")
    await store.check()
    await store.close()


async def test_a_process_has_no_more_connections_than_set(postgresql_server: Any) -> None:
    store = Store.open(new_postgresql(postgresql_server), max_connections=2)
    counted = select(text("(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()), pg_sleep(0.02)"))
    rows = await asyncio.gather(*(store.first(counted, {}) for _ in range(20)))
    assert max(row[0] for row in rows if row is not None) == 2
    await store.close()


async def test_a_serialization_failure_is_repeated(role: tuple[str, str], postgresql_server: Any) -> None:
    name, url = role
    postgresql_server.psql(f"ALTER ROLE {name} SET default_transaction_isolation = serializable")
    store = Store.open(url)
    await upgrade(store)
    await Applications(store, 0).create("billing")

    async def add(db: Any) -> None:
        now = (await db.execute(select(table.c.created_at))).scalar()
        await db.execute(update(table).values(created_at=now + 1))

    await store.execute(update(table).values(created_at=0))
    await asyncio.gather(*(store.transact(add) for _ in range(3)))
    async with store.begin() as db:
        assert (await db.execute(select(table.c.created_at))).scalar() == 3
    await store.close()


@pytest.mark.parametrize(
    ("parameter", "query", "shown"),
    [
        ("connect_timeout=7", "SELECT 1", "1"),
        ("application_name=replica-1", "SHOW application_name", "replica-1"),
        ("fallback_application_name=replica-2", "SHOW application_name", "replica-2"),
        ("client_encoding=utf8", "SHOW application_name", "seqstep"),
        ("options=-c%20statement_timeout%3D1234", "SHOW statement_timeout", "1234ms"),
        ("statement_timeout=1234", "SHOW statement_timeout", "1234ms"),
        ("sslmode=prefer&gssencmode=disable&channel_binding=prefer&sslsni=1", "SELECT 1", "1"),
        ("target_session_attrs=read-write", "SHOW transaction_read_only", "off"),
    ],
)
async def test_parameters_of_libpq_work(postgresql_server: Any, parameter: str, query: str, shown: str) -> None:
    store = Store.open(f"{new_postgresql(postgresql_server)}&{parameter}")
    async with store.begin() as db:
        assert str((await db.execute(text(query))).scalar()) == shown
    await store.close()


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("keepalives_idle=30&hostaddr=10.0.0.1", "not supported: hostaddr, keepalives_idle"),
        ("channel_binding=require", "not supported: channel_binding"),
        ("connect_timeout=soon", "connect_timeout is a number"),
        ("ssl_mode=require", 'unrecognized configuration parameter "ssl_mode"'),
        ("sslmode=surely", "sslmode"),
        ("target_session_attrs=nobody", "target_session_attrs"),
    ],
)
async def test_parameters_that_do_not_work_are_named(postgresql_server: Any, parameter: str, said: str) -> None:
    with pytest.raises(StoreUnavailable, match=said):
        await Store.open(f"{new_postgresql(postgresql_server)}&{parameter}").check()


@pytest.mark.parametrize("is_replaced", [True, False])
async def test_a_file_replaced_or_deleted_is_noticed(tmp_path: Path, *, is_replaced: bool) -> None:
    file = tmp_path / "store.sqlite3"
    store = Store.open(f"sqlite:///{file}")
    await upgrade(store)
    moved = file.rename(tmp_path / "moved.sqlite3")
    if is_replaced:
        await Store.open(f"sqlite:///{file}").close()
    with capture_logs() as logs:
        with pytest.raises(StoreUnavailable, match="was replaced or deleted"):
            await store.check()
        with pytest.raises(StoreUnavailable, match="was replaced or deleted"):
            await store.execute(update(table).values(disabled_at=0))
    assert {(line["event"], line["limited"]) for line in logs} == {("database unavailable", True)}
    moved.rename(file)
    await store.check()
    await store.close()
