"""The schema, the same on SQLite and PostgreSQL, and what is refused."""

import asyncio
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from structlog.testing import capture_logs

from service.connections import SchemaMismatch, Store, StoreUnavailable
from service.connections.database_failure import StoreMisconfigured, unavailable
from service.connections.migrations.upgrade import configuration, upgrade
from service.connections.postgresql_writer import PostgresqlWriter
from service.connections.row_changes import RowChange
from service.connections.schema import REVISION, applications, metadata


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
    if message == "newer than":
        with pytest.raises(SchemaMismatch, match=message):
            await upgrade(store)


async def test_the_first_schema_is_upgraded(database_url: str) -> None:
    store = Store.open(database_url)

    def first(db: Any) -> None:
        config = configuration()
        config.attributes["connection"] = db
        command.upgrade(config, "0001")

    async with store.begin() as db:
        await db.run_sync(first)
    assert await store.revision() == "0001"
    await upgrade(store)
    await store.check_schema()
    await store.close()


async def test_an_upgrade_can_be_repeated(store: Store) -> None:
    await upgrade(store)
    await store.check_schema()


async def test_the_migrations_make_the_tables_of_the_code(store: Store) -> None:
    def differences(connection: Any) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    def keys(connection: Any) -> dict[str, list[str]]:
        found = inspect(connection)
        return {name: found.get_pk_constraint(name)["constrained_columns"] for name in metadata.tables}

    async with store.begin() as db:
        assert await db.run_sync(differences) == []
        # Alembic passes over these.
        assert await db.run_sync(keys) == {
            name: list(table.primary_key.columns.keys()) for name, table in metadata.tables.items()
        }
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
    "url",
    [
        "postgresql://u@h:port/x",
        "",
        "gibberish",
        "mysql://x/y",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql+psycopg2://x/y",
    ],
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


def added(*names: str) -> RowChange:
    return RowChange("insert", (applications.c.name, applications.c.created_at), [(name, 0.0) for name in names])


async def names_in(store: Store) -> list[str]:
    async with store.begin() as db:
        return list((await db.execute(select(applications.c.name).order_by(applications.c.id))).scalars())


def renamed(number: int, name: str) -> RowChange:
    return RowChange("update", (applications.c.name, applications.c.id), [(name, number)])


async def test_changes_of_many_rows_are_made_together(store: Store) -> None:
    await store.write([added("a")])
    await store.write([added("b", "d"), renamed(1, "c")])
    assert await names_in(store) == ["c", "b", "d"]
    for number in range(20):
        await store.write([added(f"x{number}")])
    assert await names_in(store) == ["c", "b", "d", *(f"x{number}" for number in range(20))]


async def test_a_row_that_cannot_be_is_the_callers_matter(store: Store) -> None:
    await store.write([added("a", "z")])
    with pytest.raises(IntegrityError):
        await store.write([added("b", "a"), renamed(2, "c")])
    assert await names_in(store) == ["a", "z"]
    with pytest.raises(IntegrityError):
        async with store.begin() as db:
            await db.execute(insert(applications).values(name="a", created_at=0.0))


async def test_rows_without_a_table_name_the_command(database_url: str) -> None:
    store = Store.open(database_url)
    with capture_logs() as logs, pytest.raises(StoreUnavailable, match="seqstep db upgrade"):
        await store.write([added("a")])
    assert [line["event"] for line in logs] == ["database unavailable"]
    await store.close()


async def test_rows_do_not_go_to_a_file_that_was_replaced(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/store.sqlite3")
    await upgrade(store)
    (tmp_path / "store.sqlite3").rename(tmp_path / "moved.sqlite3")
    with pytest.raises(StoreUnavailable, match="was replaced or deleted"):
        await store.write([added("a")])
    await store.close()


class Given(Exception):
    """What a driver raises of a transaction that was given up for another."""

    sqlstate = "40001"


async def test_changes_that_were_given_up_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    async def write(_: object, changes: object) -> None:
        made.append(changes)
        if len(made) == 1:
            raise unavailable(DBAPIError("", {}, Given()))

    monkeypatch.setattr(PostgresqlWriter, "write", write)
    store = Store.open("postgresql://nobody@127.0.0.1:1/none")
    await store.write([added("a")])
    assert made == [[added("a")]] * 2
    await store.close()


async def test_no_value_is_in_the_words_of_a_failure(store: Store) -> None:
    assert [each.hide_parameters for each in store.engines] == [True] * len(store.engines)


async def test_a_closed_store_has_no_file_open(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/store.sqlite3")
    await upgrade(store)
    await store.write([added("a")])
    await store.check()

    def is_open() -> bool:
        paths = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        return any(path.startswith(str(tmp_path)) for path in paths)

    assert is_open()
    await store.close()
    assert not is_open()


def test_what_cannot_be_opened_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreMisconfigured, match=r"cannot open .*: No such file or directory"):
        Store.open(f"sqlite:///{tmp_path}/none/store.sqlite3")
    with pytest.raises(StoreMisconfigured, match="does not exist; run `seqstep db upgrade`"):
        Store.open(f"sqlite:///{tmp_path}/store.sqlite3", create=False)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StoreMisconfigured, match=r"install seqstep\[postgresql\]"):
        Store.open("postgresql://nobody@127.0.0.1/none")


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
    _, reader, rows = store.engines
    with reader.connect() as db:
        assert db.execute(text("PRAGMA query_only")).scalar() == 1
        # A call waits for the one that recovers the file, and all others with it.
        assert db.execute(text("PRAGMA busy_timeout")).scalar() == 200
    async with store.begin() as writer:
        assert (await writer.execute(text("PRAGMA synchronous"))).scalar() == 2
        assert (await writer.execute(text("PRAGMA foreign_keys"))).scalar() == 1
        assert (await writer.execute(text("PRAGMA journal_mode"))).scalar() == "wal"
        assert (await writer.execute(text("PRAGMA busy_timeout"))).scalar() == 10_000
    with rows.connect() as db:
        pragmas = [
            db.execute(text(f"PRAGMA {name}")).scalar() for name in ("synchronous", "foreign_keys", "busy_timeout")
        ]
    assert pragmas == [2, 1, 10_000]
    await store.close()
