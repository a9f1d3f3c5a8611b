"""The database: one engine, SQLite or PostgreSQL, and errors that say what to do."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service.connections.schema import REVISION

_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}

_SQLITE_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA busy_timeout=10000",
    "PRAGMA foreign_keys=ON",
    # WAL loses no committed transaction by a crash of the process in this mode, and a rotated refresh token has to
    # outlive a crash of the machine too.
    "PRAGMA synchronous=FULL",
)


class StoreUnavailable(Exception):
    """The database cannot be reached or used; the message says what to look at."""


class SchemaMismatch(Exception):
    """The tables are not the ones that this version works with; the message has the command to run."""


class Store:
    """A database. Belongs to the event loop that uses it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, database_url: str) -> "Store":
        """The store at `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`; connects when it is first used.

        A SQLite file that does not exist is made, readable by its owner only.

        Raises:
            StoreUnavailable: The URL makes no sense, or the driver is missing.
        """
        url = driver_url(database_url)
        try:
            if url.get_backend_name() == "sqlite":
                _make_private_file(url.database)
                engine = create_async_engine(url, hide_parameters=True, pool_size=4, max_overflow=4)
                event.listen(engine.sync_engine, "connect", _set_pragmas)
            else:
                engine = create_async_engine(
                    url, hide_parameters=True, pool_size=5, max_overflow=5, pool_timeout=5, pool_pre_ping=True
                )
        except ModuleNotFoundError as error:
            raise StoreUnavailable(
                f"the driver for this database is missing ({error.name}); install seqstep[postgresql]"
            ) from None
        except OSError as error:
            raise StoreUnavailable(f"cannot open {url.database}: {error.strerror}") from None
        return cls(engine)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed at the end of the block.

        Raises:
            StoreUnavailable: The database cannot be reached, or does not have the tables.
        """
        try:
            async with self._engine.begin() as connection:
                yield connection
        except (DBAPIError, PoolTimeoutError, OSError) as error:
            if isinstance(error, ProgrammingError) or "no such table" in str(error):
                raise StoreUnavailable("the database has no such table; run `seqstep db upgrade`") from None
            if isinstance(error, DBAPIError) and type(error).__name__ == "IntegrityError":
                raise
            raise StoreUnavailable(f"the database cannot be used ({type(error).__name__})") from None

    async def revision(self) -> str | None:
        """The migration that the tables are at; None if there are none.

        Raises:
            StoreUnavailable: The database cannot be reached.
        """
        try:
            async with self._engine.connect() as connection:
                found = await connection.run_sync(_revision)
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(f"the database cannot be reached ({type(error).__name__})") from None
        return found

    async def check_schema(self) -> None:
        """Makes sure that the tables are the ones that this version works with.

        Raises:
            SchemaMismatch: They are older, newer, or not there.
            StoreUnavailable: The database cannot be reached.
        """
        found = await self.revision()
        if found == REVISION:
            return
        if found is None:
            raise SchemaMismatch("the database has no tables yet; run `seqstep db upgrade`")
        if found < REVISION:
            raise SchemaMismatch(
                f"the database is at schema {found}, older than {REVISION} of this version; run `seqstep db upgrade`"
            )
        raise SchemaMismatch(
            f"the database is at schema {found}, newer than {REVISION} of this version; run the newer seqstep that made it"
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._engine.dispose()


def driver_url(database_url: str) -> URL:
    """The URL with the driver that is used for it.

    Raises:
        StoreUnavailable: It is no URL of a database that is supported.
    """
    try:
        url = make_url(database_url)
    except (ArgumentError, NoSuchModuleError, ValueError):
        url = None
    if url is None or url.drivername not in _DRIVERS:
        raise StoreUnavailable("SEQSTEP_DATABASE_URL must be sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME")
    return url.set(drivername=_DRIVERS[url.drivername])


def _make_private_file(database: str | None) -> None:
    if not database or database == ":memory:":
        raise StoreUnavailable("SEQSTEP_DATABASE_URL must name a file, as in sqlite:///seqstep.sqlite3")
    path = Path(database)
    # SQLite gives the files beside it (-wal, -shm) the mode of the file itself.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    if path.stat().st_uid == os.getuid():
        path.chmod(0o600)


def _set_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _revision(connection: Any) -> str | None:
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return str(found) if found is not None else None
