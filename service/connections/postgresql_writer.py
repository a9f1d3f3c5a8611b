"""Writes many rows to PostgreSQL by one statement, on a connection that is kept between one batch and the next."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Any, Final

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.connections.database_failure import unavailable
from service.connections.row_changes import RowChange, for_postgresql

# Batches that follow each other as fast use one connection: to take one and give it back is more work than a batch is.
_KEPT_SECONDS: Final = 0.25


class PostgresqlWriter:
    """Writes rows past SQLAlchemy, whose part of a batch is several times that of the driver."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection]], is_wanted: Callable[[], bool]) -> None:
        """Makes the writer, which is used for one batch at a time.

        Args:
            connect: Takes a connection from the pool, without a transaction.
            is_wanted: Whether somebody may wait for a connection.
        """
        self._connect = connect
        self._is_wanted = is_wanted
        self._db: AsyncConnection | None = None
        self._driver: Any = None
        self._giving_back: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    async def write(self, changes: Sequence[RowChange]) -> None:
        """Makes changes, all of them or none.

        Raises:
            IntegrityError: A row breaks a rule of its table.
            StoreUnavailable: The database cannot be used; the changes may have been made.
        """
        import asyncpg  # noqa: PLC0415  # an extra

        if self._giving_back is not None:
            self._giving_back.cancel()
        if self._db is None or self._driver.is_closed():
            await self.close()
            self._db = await self._connect()
            self._driver = (await self._db.get_raw_connection()).driver_connection
        statement = for_postgresql(tuple((change.verb, change.columns) for change in changes))
        arrays = chain.from_iterable(zip(*each.rows, strict=True) for each in changes)
        try:
            await self._driver.execute(statement, *arrays)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise IntegrityError(None, None, error) from None
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise unavailable(DBAPIError(None, None, error)) from None
        finally:
            if self._is_wanted():
                await self.close()
            else:
                self._giving_back = asyncio.get_running_loop().call_later(_KEPT_SECONDS, self._give_back)

    def _give_back(self) -> None:
        self._closing = asyncio.create_task(self.close())

    async def close(self) -> None:
        """Gives the connection back."""
        db, self._db = self._db, None
        if db is not None:
            await db.close()
