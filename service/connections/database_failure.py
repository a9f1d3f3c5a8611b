"""The failures of the database, in its own words where they cannot quote a stored value."""

import os
import sqlite3
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

log: Final = structlog.get_logger("service.connections")

# PostgreSQL's classes of errors that are about the server, the role, the database or the session, and quote no stored value.
_SAFE_TO_QUOTE: Final = ("08", "0A", "25", "26", "28", "3D", "40", "42501", "42704", "42P05", "53", "55", "57", "58")
_NO_SUCH_TABLE: Final = ("42P01", "42703")
_CONFLICTS: Final = ("40001", "40P01")
_PREPARED_STATEMENT_LOST: Final = ("26000", "42P05")

FAILURES: Final = (DBAPIError, PoolTimeoutError, OSError)
"""What the database's drivers raise."""


class StoreUnavailable(Exception):
    """The database cannot be reached or used; the message says what to look at."""


class StoreMisconfigured(StoreUnavailable):
    """The database cannot be used as it is set, which waiting does not change; the message says what to do."""


class ServerFull(StoreUnavailable):
    """The server has no connection left; those that this process has are as good as before."""


class Conflict(StoreUnavailable):
    """A transaction was given up for another one, and can be repeated."""


def logged(failure: StoreUnavailable) -> StoreUnavailable:
    """Logs the reason of a failure, once a while, and returns the failure."""
    log.warning("database unavailable", reason=str(failure), limited=True)
    return failure


def unavailable(error: BaseException) -> StoreUnavailable:
    """The failure that a driver's error stands for."""
    sqlstate = getattr(getattr(error, "orig", None), "sqlstate", None)
    if "no such table" in str(error) or sqlstate in _NO_SUCH_TABLE:
        return StoreUnavailable("the database has no such table; run `seqstep db upgrade`")
    if sqlstate in _CONFLICTS:
        return Conflict(f"the database gave a transaction up for others, again and again ({reason(error)})")
    if sqlstate in _PREPARED_STATEMENT_LOST:
        return StoreUnavailable(
            f"the database cannot be used ({reason(error)}); behind a pooler such as PgBouncer in transaction mode, add "
            "pgbouncer=true to the parameters of SEQSTEP_DATABASE_URL"
        )
    return StoreUnavailable(f"the database cannot be used ({reason(error)})")


def reason(error: BaseException) -> str:
    """Says what is wrong, never with a stored value or a password."""
    original = getattr(error, "orig", None) or error
    cause = original.__cause__ or original
    sqlstate = getattr(original, "sqlstate", None)
    if isinstance(original, sqlite3.Error) or (sqlstate and sqlstate.startswith(_SAFE_TO_QUOTE)):
        # What follows in further lines is for those who wrote the statement.
        return str(cause).partition("\n")[0]
    if isinstance(error, PoolTimeoutError):
        return "all connections of this process are in use; SEQSTEP_DATABASE_MAX_CONNECTIONS says how many it may have"
    if isinstance(original, TimeoutError):
        return "it does not answer in time"
    if isinstance(original, OSError) and original.errno is not None:
        return os.strerror(original.errno)
    return f"{type(cause).__name__}, SQLSTATE {sqlstate}" if sqlstate else type(cause).__name__
