"""Changes of many rows, as one SQL statement, without what SQLAlchemy does for each row and each statement."""

# ruff: noqa: S608  # Names of tables and columns are those of `schema`; values are parameters.

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, Literal, TypeAlias

import msgspec
from sqlalchemy import Column, Double, Integer, LargeBinary, String

Verb: TypeAlias = Literal["insert", "update", "delete"]
Columns: TypeAlias = tuple[Column[Any], ...]

_ARRAYS: Final = {Double: "float8[]", Integer: "int[]", LargeBinary: "bytea[]", String: "text[]"}


class RowChange(msgspec.Struct, frozen=True):
    """A change of rows of one table.

    Attributes:
        verb: What is done with them.
        columns: What is given of each; the last one names the row that is updated or deleted.
        rows: The values, in the order of the columns.
    """

    verb: Verb
    columns: Columns
    rows: Sequence[tuple[Any, ...]]


@cache
def for_sqlite(verb: Verb, columns: Columns) -> str:
    """The statement that is executed for each row."""
    table, names = columns[0].table.name, [column.name for column in columns]
    match verb:
        case "insert":
            return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        case "update":
            return f"UPDATE {table} SET {', '.join(f'{name} = ?' for name in names[:-1])} WHERE {names[-1]} = ?"
        case "delete":
            return f"DELETE FROM {table} WHERE {names[-1]} = ?"


@cache
def for_postgresql(shapes: tuple[tuple[Verb, Columns], ...]) -> str:
    """The one statement that makes changes of these shapes; it is given an array for each column of each."""
    made: list[str] = []
    first = 1
    for verb, columns in shapes:
        made.append(_on_arrays(verb, columns, first))
        first += len(columns)
    *before, last = made
    # All of it happens at once, by one round trip and one wait for the disk.
    return (
        f"WITH {', '.join(f'c{number} AS ({each})' for number, each in enumerate(before))} {last}" if before else last
    )


def _on_arrays(verb: Verb, columns: Columns, first: int) -> str:
    table, names = columns[0].table.name, [column.name for column in columns]
    arrays = [f"${first + number}::{_ARRAYS[type(column.type)]}" for number, column in enumerate(columns)]
    rows = f"unnest({', '.join(arrays)})"
    match verb:
        case "insert":
            return f"INSERT INTO {table} ({', '.join(names)}) SELECT * FROM {rows}"
        case "update":
            values = ", ".join(f"{name} = given.{name}" for name in names[:-1])
            given = f"given ({', '.join(names)})"
            return f"UPDATE {table} SET {values} FROM {rows} AS {given} WHERE {table}.{names[-1]} = given.{names[-1]}"
        case "delete":
            return f"DELETE FROM {table} WHERE {names[-1]} = ANY({arrays[-1]})"
