"""Opens the database, SQLite or PostgreSQL, and turns its failures into errors that say what to do."""

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Double,
    Engine,
    Row,
    Select,
    StaticPool,
    cast,
    create_engine,
    event,
    extract,
    func,
    literal,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
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

_CONNECT_SECONDS: Final = 3.0
_STATEMENT_SECONDS: Final = 5.0
_POOL_SECONDS: Final = 5.0
_SQLITE_BUSY_SECONDS: Final = 10.0
_READER_BUSY_SECONDS: Final = 0.2

_SQLITE_PRAGMAS: Final = (
    f"PRAGMA busy_timeout={_SQLITE_BUSY_SECONDS * 1000:.0f}",
    "PRAGMA foreign_keys=ON",
    # WAL loses no committed transaction by a crash of the process in this mode, and a rotated refresh token has to
    # outlive a crash of the machine too.
    "PRAGMA synchronous=FULL",
)

# PostgreSQL's classes of errors that are about the server, the role or the database, and never quote a value.
_SAFE_TO_QUOTE: Final = ("08", "28", "3D", "42501", "53", "57")
_NO_SUCH_TABLE: Final = ("42P01", "42703")
_FAILURES: Final = (DBAPIError, PoolTimeoutError, OSError)


class StoreUnavailable(Exception):
    """The database cannot be reached or used; the message says what to look at."""


class SchemaMismatch(Exception):
    """The tables are not the ones that this version works with; the message has the command to run."""


class Store:
    """A database. Belongs to the event loop that uses it."""

    def __init__(self, engine: AsyncEngine, reader: Engine | None = None) -> None:
        """Wraps the engines of one database.

        Args:
            engine: Reads and writes.
            reader: Reads without a thread, in the event loop itself; None where that would block.
        """
        self._engine = engine
        self._reader = reader
        # A query on its own needs no transaction around it.
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    @classmethod
    def open(cls, database_url: str, *, statement_seconds: float | None = _STATEMENT_SECONDS) -> "Store":
        """Opens the store at `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`; connects at the first use.

        A SQLite file that does not exist is made, readable by its owner only. PostgreSQL's URL may have what libpq's may,
        `sslmode` for example.

        Args:
            database_url: Where it is.
            statement_seconds: Longest wait for PostgreSQL's answer to a statement; None for commands that may take longer.

        Raises:
            StoreUnavailable: The URL is not supported, or the driver is missing.
        """
        url = driver_url(database_url)
        try:
            if url.get_backend_name() == "sqlite":
                _make_private_file(url.database)
                engine = create_async_engine(url, hide_parameters=True, pool_size=4, max_overflow=4)
                event.listen(engine.sync_engine, "connect", _prepare_sqlite)
                return cls(engine, _sqlite_reader(url))
            engine = create_async_engine(
                url,
                hide_parameters=True,
                pool_size=5,
                max_overflow=5,
                pool_timeout=_POOL_SECONDS,
                pool_pre_ping=True,
                async_creator=_postgresql_connector(url, statement_seconds),
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
        """Begins a transaction, which is committed at the end of the block.

        Raises:
            StoreUnavailable: The database cannot be reached, or does not have the tables.
        """
        try:
            async with self._engine.begin() as db:
                yield db
        except IntegrityError:
            raise
        except _FAILURES as error:
            raise _unavailable(error) from None

    async def first(self, query: Select[Any], parameters: Mapping[str, object]) -> Row[Any] | None:
        """Returns the first row of a query that needs no transaction, and finds its rows by an index.

        Raises:
            StoreUnavailable: The database cannot be reached, or does not have the tables.
        """
        try:
            if self._reader is not None:
                with self._reader.connect() as reader:
                    row: Row[Any] | None = reader.execute(query, parameters).first()
            else:
                async with self._autocommit.connect() as db:
                    row = (await db.execute(query, parameters)).first()
        except _FAILURES as error:
            raise _unavailable(error) from None
        return row

    @property
    def now(self) -> ColumnElement[float]:
        """The database's clock, a Unix time in seconds: the one clock that all replicas share."""
        if self._engine.dialect.name == "postgresql":
            return cast(extract("epoch", func.clock_timestamp()), Double)
        return literal(time.time(), Double)

    async def revision(self) -> str | None:
        """Returns the migration that the tables are at; None if there are none.

        Raises:
            StoreUnavailable: The database cannot be reached.
        """
        try:
            async with self._engine.connect() as db:
                found = await db.run_sync(_revision)
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(f"the database cannot be reached ({_reason(error)})") from None
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
        if self._reader is not None:
            self._reader.dispose()


def driver_url(database_url: str) -> URL:
    """Returns the URL with the driver that is used for it.

    Raises:
        StoreUnavailable: It is not the URL of a database that is supported.
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
    # SQLite gives the files beside it (-wal, -shm) the mode of the file itself. A file that is there is not opened: closing
    # it would end the locks that this process has on it for another store, and SQLite would lose what that one writes.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    if path.stat().st_uid == os.getuid():
        path.chmod(0o600)


def _sqlite_reader(url: URL) -> Engine:
    """Makes an engine that reads SQLite in the event loop itself.

    A look-up takes some 50 µs there, and ten times that by way of a thread. In WAL mode a reader waits for no writer, only
    for a process that recovers the file after a crash, and for that no longer than `_READER_BUSY_SECONDS`.
    """
    engine = create_engine(url.set(drivername="sqlite"), hide_parameters=True, poolclass=StaticPool)
    event.listen(engine, "connect", _prepare_reader)
    return engine


def _prepare_reader(db: Any, _record: Any) -> None:
    for pragma in (f"PRAGMA busy_timeout={_READER_BUSY_SECONDS * 1000:.0f}", "PRAGMA query_only=ON"):
        db.execute(pragma)


def _prepare_sqlite(db: Any, _record: Any) -> None:
    db.run_async(_set_pragmas)


async def _set_pragmas(db: Any) -> None:
    for pragma in _SQLITE_PRAGMAS:
        await db.execute_fetchall(pragma)
    give_up = time.monotonic() + _SQLITE_BUSY_SECONDS
    while True:
        try:
            await db.execute_fetchall("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            # SQLite does not wait by itself while another process switches a new file to WAL.
            if time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.02)
        else:
            return


def _postgresql_connector(url: URL, statement_seconds: float | None) -> Callable[[], Awaitable[Any]]:
    import asyncpg  # noqa: PLC0415  # an extra

    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)

    async def connect() -> Any:
        try:
            return await asyncpg.connect(
                dsn,
                timeout=_CONNECT_SECONDS,
                command_timeout=statement_seconds,
                server_settings={"application_name": "seqstep"},
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
            raise StoreUnavailable(f"the database cannot be reached ({_reason(error)})") from None

    return connect


def _unavailable(error: BaseException) -> StoreUnavailable:
    if "no such table" in str(error) or getattr(getattr(error, "orig", None), "sqlstate", "") in _NO_SUCH_TABLE:
        return StoreUnavailable("the database has no such table; run `seqstep db upgrade`")
    return StoreUnavailable(f"the database cannot be used ({_reason(error)})")


def _reason(error: BaseException) -> str:
    """Says what is wrong, in the database's words where they cannot quote a stored value, and never with a password."""
    original = getattr(error, "orig", None) or error
    if isinstance(original, sqlite3.Error):
        return str(original)
    sqlstate = getattr(original, "sqlstate", None)
    if sqlstate and sqlstate.startswith(_SAFE_TO_QUOTE):
        return str(original.__cause__ or original)
    if isinstance(original, TimeoutError):
        return "it does not answer in time"
    if isinstance(original, OSError) and original.errno is not None:
        return os.strerror(original.errno)
    return type(original).__name__


def _revision(db: Any) -> str | None:
    if not db.dialect.has_table(db, "alembic_version"):
        return None
    found = db.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return str(found) if found is not None else None
