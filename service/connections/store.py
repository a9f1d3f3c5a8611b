"""Opens the database, SQLite or PostgreSQL, and turns its failures into errors that say what to do."""

import asyncio
import contextlib
import os
import random
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from sqlalchemy import (
    ColumnElement,
    Delete,
    Double,
    Engine,
    Insert,
    QueuePool,
    Row,
    Select,
    StaticPool,
    Update,
    create_engine,
    event,
    extract,
    func,
    literal,
    select,
    text,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service.connections import postgresql
from service.connections.database_failure import (
    FAILURES,
    Conflict,
    ServerFull,
    StoreMisconfigured,
    StoreUnavailable,
    logged,
    unavailable,
)
from service.connections.postgresql_writer import PostgresqlWriter
from service.connections.row_changes import RowChange, for_sqlite
from service.connections.schema import REVISION

T = TypeVar("T")

_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}

_STATEMENT_SECONDS: Final = 5.0
_POOL_SECONDS: Final = 5.0
_GROW_SECONDS: Final = 0.25
_DEFAULT_CONNECTIONS: Final = 10
_CONFLICT_PAUSES: Final = (0.01, 0.03, 0.1, 0.3)
_SQLITE_BUSY_SECONDS: Final = 10.0
_READER_BUSY_SECONDS: Final = 0.2

_SQLITE_PRAGMAS: Final = (
    f"PRAGMA busy_timeout={_SQLITE_BUSY_SECONDS * 1000:.0f}",
    "PRAGMA foreign_keys=ON",
    # WAL loses no committed transaction by a crash of the process in this mode, and a rotated refresh token has to
    # outlive a crash of the machine too.
    "PRAGMA synchronous=FULL",
)


class SchemaMismatch(Exception):
    """The tables are not the ones that this version works with; the message has the command to run."""


class Store:
    """A database. Belongs to the event loop that uses it."""

    def __init__(
        self,
        engine: AsyncEngine,
        reader: Engine | None = None,
        file: Path | None = None,
        writer: Engine | None = None,
    ) -> None:
        """Wraps the engines of one database.

        Args:
            engine: Reads and writes.
            reader: Reads without a thread, in the event loop itself; None where that would block.
            file: SQLite's file.
            writer: Writes many rows, in a thread of its own; None for PostgreSQL, whose driver does.
        """
        self._engine = engine
        self._writer = writer
        self._writing = ThreadPoolExecutor(1, "store-writer")
        # The same connections, for single reads: each is one round trip and not three.
        self._without_transactions = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._reader = reader
        self._file = file
        self._file_identity = _file_identity(file) if file is not None else None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._postgresql_writer = PostgresqlWriter(lambda: self._connect(self._without_transactions), self._is_wanted)
        event.listen(engine.sync_engine, "checkin", self._connection_returned)

    @property
    def engines(self) -> tuple[Engine, ...]:
        """SQLAlchemy's engines, for those who watch what they do."""
        return (self._engine.sync_engine, *(each for each in (self._reader, self._writer) if each is not None))

    @classmethod
    def open(
        cls,
        database_url: str,
        *,
        statement_seconds: float | None = _STATEMENT_SECONDS,
        max_connections: int = _DEFAULT_CONNECTIONS,
        create: bool = True,
    ) -> "Store":
        """Opens the store at `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`; connects at the first use.

        A SQLite file that does not exist is made, readable by its owner only. PostgreSQL's URL may have the parameters that
        libpq's may, `sslmode` for example, and `pgbouncer=true` for a pooler that gives each transaction another connection.

        Args:
            database_url: Where it is.
            statement_seconds: Longest wait for PostgreSQL's answer to a statement; None for commands that may take longer.
            max_connections: Connections to PostgreSQL at a time.
            create: Make a SQLite file that does not exist.

        Raises:
            StoreMisconfigured: The URL is not supported, the driver is missing, or there is no such file.
        """
        url = driver_url(database_url)
        try:
            if url.get_backend_name() == "sqlite":
                file = _private_file(url.database, create=create)
                engine = create_async_engine(url, hide_parameters=True, pool_size=4, max_overflow=4)
                event.listen(engine.sync_engine, "connect", _prepare_sqlite)
                return cls(engine, _sqlite_reader(url), file, _sqlite_writer(url))
            engine = create_async_engine(
                url.set(query={}),
                hide_parameters=True,
                pool_size=max_connections,
                max_overflow=0,
                pool_timeout=_POOL_SECONDS,
                pool_pre_ping=True,
                connect_args=postgresql.connect_arguments(url, statement_seconds),
            )
        except ModuleNotFoundError as error:
            raise StoreMisconfigured(
                f"the driver for this database is missing ({error.name}); install seqstep[postgresql]"
            ) from None
        except OSError as error:
            raise StoreMisconfigured(f"cannot open {url.database}: {error.strerror}") from None
        return cls(engine)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Begins a transaction, which is committed at the end of the block.

        Raises:
            StoreUnavailable: The database cannot be reached, or does not have the tables.
        """
        try:
            self.check_file()
            db = await self._connect(self._engine)
            try:
                async with db.begin():
                    yield db
            finally:
                await db.close()
        except IntegrityError:
            raise
        except FAILURES as error:
            raise logged(unavailable(error)) from None

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Does work in a transaction, and does it again if the database gave the transaction up for another one.

        Raises:
            StoreUnavailable: The database cannot be reached, or does not have the tables.
        """

        async def once() -> T:
            async with self.begin() as db:
                return await work(db)

        return await self._repeated(once)

    async def _repeated(self, work: Callable[[], Awaitable[T]]) -> T:
        for pause in _CONFLICT_PAUSES:
            try:
                return await work()
            except Conflict:
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
        return await work()

    async def execute(self, change: Insert | Update | Delete) -> int:
        """Changes rows in a transaction of its own; returns how many.

        Raises:
            StoreUnavailable: As `transact`.
        """

        async def work(db: AsyncConnection) -> int:
            return (await db.execute(change)).rowcount

        return await self.transact(work)

    async def write(self, changes: Sequence[RowChange]) -> None:
        """Makes changes of many rows, none of which is in two of them: all of them, or none.

        On SQLite in a thread that does nothing else, on PostgreSQL by one statement: both take a fraction of the time of
        `transact`. One call has to end before the next begins.

        Raises:
            IntegrityError: A row breaks a rule of its table.
            StoreUnavailable: As `transact`; they may have been made.
        """
        try:
            if self._writer is not None:
                self.check_file()
                await asyncio.get_running_loop().run_in_executor(self._writing, _write, self._writer, changes)
            else:
                await self._repeated(partial(self._postgresql_writer.write, changes))
        except IntegrityError:
            raise
        except StoreUnavailable as failure:
            raise logged(failure) from None
        except FAILURES as error:
            raise logged(unavailable(error)) from None

    def _is_wanted(self) -> bool:
        """Whether somebody may wait for a connection, of the server or of the pool."""
        pool = cast("QueuePool", self._engine.sync_engine.pool)
        return bool(self._waiting) or pool.checkedout() >= pool.size()

    async def first(self, query: Select[Any], parameters: Mapping[str, object]) -> Row[Any] | None:
        """Returns the first row of a query that finds its rows by an index.

        Raises:
            StoreUnavailable: The database cannot be reached, or does not have the tables.
        """
        row: Row[Any] | None
        try:
            if self._reader is None:
                db = await self._connect(self._without_transactions)
                try:
                    row = (await db.execute(query, parameters)).first()
                finally:
                    await db.close()
                return row
            self.check_file()
            with self._reader.connect() as reader:
                row = reader.execute(query, parameters).first()
        except FAILURES as error:
            raise logged(unavailable(error)) from None
        return row

    async def check(self) -> None:
        """Makes sure that the database answers.

        Raises:
            StoreUnavailable: It does not.
        """
        await self.first(select(literal(1)), {})

    def check_file(self) -> None:
        """Makes sure that SQLite's file is the one that was opened; a deleted file can be written to as before.

        Raises:
            StoreUnavailable: It was deleted, or another one has its name.
        """
        if not self.has_its_file():
            raise logged(
                StoreUnavailable(f"{self._file} was replaced or deleted after it was opened; restart the service")
            )

    def has_its_file(self) -> bool:
        """Whether SQLite's file is the one that was opened; true for other databases."""
        return self._file is None or _file_identity(self._file) == self._file_identity

    async def _connect(self, engine: AsyncEngine) -> AsyncConnection:
        """Takes a connection from the pool, and waits for one of its own if the server gives it no more."""
        give_up = time.monotonic() + _POOL_SECONDS
        while True:
            try:
                return await engine.connect()
            except ServerFull as full:
                if time.monotonic() > give_up:
                    raise logged(full) from None
            returned = asyncio.get_running_loop().create_future()
            self._waiting.append(returned)
            await asyncio.wait([returned], timeout=_GROW_SECONDS)
            returned.cancel()

    def _connection_returned(self, *_: object) -> None:
        while self._waiting:
            returned = self._waiting.popleft()
            if not returned.done():
                returned.set_result(None)
                return

    @property
    def now(self) -> ColumnElement[float]:
        """The database's clock, a Unix time in seconds: the one clock that all replicas share."""
        if self._engine.dialect.name == "postgresql":
            return sql_cast(extract("epoch", func.clock_timestamp()), Double)
        return literal(time.time(), Double)

    async def revision(self) -> str | None:
        """Returns the migration that the tables are at; None if there are none.

        Raises:
            StoreUnavailable: The database cannot be reached.
        """
        async with self.begin() as db:
            return await db.run_sync(_revision)

    async def check_schema(self) -> None:
        """Makes sure that the tables are the ones that this version works with.

        Raises:
            SchemaMismatch: They are older, newer, or not there.
            StoreUnavailable: The database cannot be reached.
        """
        found = await self.revision()
        if found is None:
            raise SchemaMismatch("the database has no tables yet; run `seqstep db upgrade`")
        if found < REVISION:
            raise SchemaMismatch(
                f"the database is at schema {found}, older than {REVISION} of this version; run `seqstep db upgrade`"
            )
        if found > REVISION:
            raise SchemaMismatch(
                f"the database is at schema {found}, newer than {REVISION} of this version; run the newer seqstep that made it"
            )

    async def close(self) -> None:
        """Closes all connections."""
        await self._postgresql_writer.close()
        await self._engine.dispose()
        if self._reader is not None:
            self._reader.dispose()
        self._writing.shutdown()
        if self._writer is not None:
            self._writer.dispose()


def driver_url(database_url: str) -> URL:
    """Returns the URL with the driver that is used for it.

    Raises:
        StoreMisconfigured: It is not the URL of a database that is supported.
    """
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in _DRIVERS:
        raise StoreMisconfigured("SEQSTEP_DATABASE_URL must be sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME")
    return url.set(drivername=_DRIVERS[url.drivername])


def _private_file(database: str | None, *, create: bool) -> Path:
    if not database or database == ":memory:":
        raise StoreMisconfigured("SEQSTEP_DATABASE_URL must name a file, as in sqlite:///seqstep.sqlite3")
    path = Path(database)
    if not create and not path.exists():
        raise StoreMisconfigured(f"the database {path} does not exist; run `seqstep db upgrade`")
    # SQLite gives the files beside it (-wal, -shm) the mode of the file itself. A file that is there is not opened: closing
    # it would end the locks that this process has on it for another store, and SQLite would lose what that one writes.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    if path.stat().st_uid == os.getuid():
        path.chmod(0o600)
    return path


def _file_identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _sqlite_reader(url: URL) -> Engine:
    """Makes an engine that reads SQLite in the event loop itself.

    A look-up takes some 50 µs there, and ten times that by way of a thread. In WAL mode a reader waits for no writer, only
    for a process that recovers the file after a crash, and for that no longer than `_READER_BUSY_SECONDS`.
    """
    engine = create_engine(url.set(drivername="sqlite"), hide_parameters=True, poolclass=StaticPool)
    event.listen(engine, "connect", _prepare_reader)
    return engine


def _write(writer: Engine, changes: Sequence[RowChange]) -> None:
    with writer.begin() as db:
        for change in changes:
            db.exec_driver_sql(for_sqlite(change.verb, change.columns), list(change.rows))


def _sqlite_writer(url: URL) -> Engine:
    """Makes an engine for `Store.write`, whose one connection is used by one thread at a time."""
    engine = create_engine(
        url.set(drivername="sqlite"),
        hide_parameters=True,
        poolclass=StaticPool,
        connect_args={"check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_writer)
    return engine


def _prepare_writer(db: Any, _record: Any) -> None:
    for pragma in _SQLITE_PRAGMAS:
        db.execute(pragma)


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


def _revision(db: Any) -> str | None:
    if not db.dialect.has_table(db, "alembic_version"):
        return None
    found: str | None = db.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found
