"""The schema, the same on SQLite and PostgreSQL, and what is refused."""

import asyncio
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from service.connections import SchemaMismatch, Store, StoreUnavailable
from service.connections.migrations.upgrade import configuration, upgrade
from service.connections.schema import REVISION, metadata


async def test_a_database_without_tables_names_the_command(database_url: str) -> None:
    store = Store.open(database_url)
    with pytest.raises(SchemaMismatch, match="seqstep db upgrade"):
        await store.check_schema()
    with pytest.raises(StoreUnavailable, match="seqstep db upgrade"):
        async with store.begin() as db:
            await db.execute(text("SELECT * FROM connections"))
    await store.close()


@pytest.mark.parametrize(("revision", "message"), [("0000", "older than"), ("9999", "newer than")])
async def test_an_older_or_newer_schema_is_refused(store: Store, revision: str, message: str) -> None:
    async with store.begin() as db:
        await db.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
    with pytest.raises(SchemaMismatch, match=message):
        await store.check_schema()


async def test_an_upgrade_can_be_repeated(store: Store) -> None:
    await upgrade(store)
    await store.check_schema()


async def test_the_migrations_make_the_tables_of_the_code(store: Store) -> None:
    def differences(connection: Any) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with store.begin() as db:
        assert await db.run_sync(differences) == []
    assert ScriptDirectory.from_config(configuration()).get_current_head() == REVISION


async def test_ids_are_given_once_where_the_code_says_so(tmp_path: Path) -> None:
    # What the comparison of Alembic passes over; PostgreSQL gives none twice.
    store = Store.open(f"sqlite:///{tmp_path}/store.sqlite3")
    await upgrade(store)
    async with store.begin() as db:
        found = await db.execute(text("SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'"))
        names = set(found.scalars())
    await store.close()
    assert names == {name for name, table in metadata.tables.items() if table.dialect_kwargs["sqlite_autoincrement"]}
    assert "connections" in names


async def test_every_lookup_of_a_call_has_an_index(store: Store, database_url: str) -> None:
    is_sqlite = database_url.startswith("sqlite")
    explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
    for query in (
        "SELECT * FROM connections WHERE application_id = 1 AND customer_id = 'a' AND provider = 'b'",
        "SELECT * FROM api_keys WHERE prefix = 'a'",
        "SELECT * FROM certificates WHERE identity = 'a'",
        "SELECT DISTINCT key_id FROM connections",
    ):
        async with store.begin() as db:
            if not is_sqlite:
                # PostgreSQL reads a small table from end to end, whatever indexes it has, unless that is dear.
                await db.execute(text("SET LOCAL enable_seqscan = off"))
            plan = (await db.execute(text(f"{explain} {query}"))).all()
        assert "INDEX" in str(plan).upper(), query


@pytest.mark.parametrize(
    "url", ["", "gibberish", "mysql://x/y", "sqlite://", "sqlite:///:memory:", "postgresql+psycopg2://x/y"]
)
def test_a_url_of_no_supported_database_is_refused(url: str) -> None:
    with pytest.raises(StoreUnavailable, match="SEQSTEP_DATABASE_URL"):
        Store.open(url)


async def test_an_absent_server_is_named_without_its_password() -> None:
    store = Store.open("postgresql://user:marked-password@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailable) as failure:
        await store.check_schema()
    assert "marked-password" not in str(failure.value)
    assert failure.value.__cause__ is None
    await store.close()


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


async def test_files_of_sqlite_are_their_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    store = Store.open(f"sqlite:///{path}")
    await upgrade(store)
    async with store.begin() as db:
        await db.execute(text("INSERT INTO applications (name, created_at) VALUES ('a', 0)"))
        assert modes(tmp_path) == dict.fromkeys(("store.sqlite3", "store.sqlite3-shm", "store.sqlite3-wal"), 0o600)
    await store.close()


async def test_a_wider_mode_is_narrowed(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite3").touch(0o644)
    await Store.open(f"sqlite:///{tmp_path}/store.sqlite3").close()
    assert modes(tmp_path) == {"store.sqlite3": 0o600}


async def test_a_new_file_is_its_owners_only_from_the_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opened it before its mode is narrowed could read all that comes later."""
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    await Store.open(f"sqlite:///{tmp_path}/store.sqlite3").close()
    assert modes(tmp_path) == {"store.sqlite3": 0o600}


@pytest.mark.parametrize("other", [-1, 1])
async def test_the_mode_of_another_users_file_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: int
) -> None:
    (tmp_path / "store.sqlite3").touch(0o644)
    user = os.getuid() + other
    monkeypatch.setattr(os, "getuid", lambda: user)
    await Store.open(f"sqlite:///{tmp_path}/store.sqlite3").close()
    assert modes(tmp_path) == {"store.sqlite3": 0o644}


async def test_writers_wait_for_each_other(store: Store) -> None:
    async def add(number: int) -> None:
        async with store.begin() as db:
            await db.execute(text(f"INSERT INTO applications (name, created_at) VALUES ('a{number}', 0)"))

    await asyncio.gather(*(add(number) for number in range(50)))
    async with store.begin() as db:
        assert (await db.execute(text("SELECT count(*) FROM applications"))).scalar() == 50


READ_NAMES = (
    "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT name FROM applications').fetchall())"
)


async def names_seen_by_another_process(path: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", READ_NAMES, str(path), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out.decode()


async def test_a_second_store_of_a_file_loses_no_writes(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    store = Store.open(f"sqlite:///{path}")
    await upgrade(store)
    second = Store.open(f"sqlite:///{path}")
    for name in ("a", "b"):
        async with store.begin() as db:
            await db.execute(text(f"INSERT INTO applications (name, created_at) VALUES ('{name}', 0)"))
        # A process that is the last to close a file removes what others have not checkpointed, if they have no locks.
        assert f"'{name}'" in await names_seen_by_another_process(path)
    await second.close()
    await store.close()


async def test_sqlite_is_read_in_the_event_loop_without_writing_and_waiting(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/store.sqlite3")
    _, reader, _ = store.engines
    with reader.connect() as db:
        assert db.execute(text("PRAGMA query_only")).scalar() == 1
        # A call waits for the one that recovers the file, and all others with it.
        assert db.execute(text("PRAGMA busy_timeout")).scalar() == 200
    async with store.begin() as writer:
        assert (await writer.execute(text("PRAGMA synchronous"))).scalar() == 2
        assert (await writer.execute(text("PRAGMA foreign_keys"))).scalar() == 1
        assert (await writer.execute(text("PRAGMA journal_mode"))).scalar() == "wal"
        assert (await writer.execute(text("PRAGMA busy_timeout"))).scalar() == 10_000
    await store.close()
