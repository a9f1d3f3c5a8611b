"""What a failure of the database is called, and that its words never quote what is stored."""

import errno
import os
import sqlite3

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from service.connections.database_failure import Conflict, StoreUnavailable, reason, unavailable


class DriverError(Exception):
    def __init__(self, sqlstate: str | None, text: str = "the m4rk3d text") -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


def raised(original: BaseException) -> DBAPIError:
    return DBAPIError("SELECT 'm4rk3d'", {"x": "m4rk3d"}, original)


@pytest.mark.parametrize(
    ("original", "kind", "words"),
    [
        (DriverError("42P01"), StoreUnavailable, "run `seqstep db upgrade`"),
        (DriverError("42703"), StoreUnavailable, "run `seqstep db upgrade`"),
        (sqlite3.OperationalError("no such table: connections"), StoreUnavailable, "run `seqstep db upgrade`"),
        (DriverError("40001"), Conflict, "gave a transaction up"),
        (DriverError("40P01"), Conflict, "gave a transaction up"),
        (DriverError("26000"), StoreUnavailable, "pgbouncer=true"),
        (DriverError("42P05"), StoreUnavailable, "pgbouncer=true"),
        (DriverError("22001"), StoreUnavailable, "the database cannot be used (DriverError, SQLSTATE 22001)"),
    ],
)
def test_a_failure_says_what_to_do(original: BaseException, kind: type, words: str) -> None:
    failure = unavailable(raised(original))
    assert type(failure) is kind
    assert words in str(failure)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (raised(sqlite3.OperationalError("database is locked\nin m4rk3d")), "database is locked"),
        (raised(DriverError("28P01", "password authentication failed\nm4rk3d")), "password authentication failed"),
        (raised(DriverError("53300", "too many connections")), "too many connections"),
        (raised(DriverError("23505")), "DriverError, SQLSTATE 23505"),
        (raised(DriverError("42601")), "DriverError, SQLSTATE 42601"),
        (raised(DriverError(None)), "DriverError"),
        (PoolTimeoutError("m4rk3d"), "all connections of this process are in use"),
        (TimeoutError("m4rk3d"), "it does not answer in time"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "m4rk3d"), os.strerror(errno.ECONNREFUSED)),
        (OSError("m4rk3d"), "OSError"),
        (ValueError("m4rk3d"), "ValueError"),
    ],
)
def test_a_reason_quotes_nothing_that_is_stored(error: BaseException, words: str) -> None:
    assert reason(error).startswith(words)
    assert "m4rk3d" not in reason(error)


def test_the_cause_of_a_drivers_error_is_what_is_named() -> None:
    original = DriverError("08006", "wrapped")
    original.__cause__ = ConnectionResetError("the connection was reset")
    assert reason(raised(original)) == "the connection was reset"
