"""The databases that replicas share, for tests of what must hold in each: SQLite, PostgreSQL, and it behind PgBouncer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import new_postgresql
from tests.support.pgbouncer import pgbouncer

DATABASES = (
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.slow),
    pytest.param("pooler", marks=pytest.mark.slow),
)


@asynccontextmanager
async def database(kind: str, folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The URL of an empty one, until the end of the block."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/store.sqlite3"
        return
    server: Any = request.getfixturevalue("postgresql_server")
    if kind == "postgresql":
        yield new_postgresql(server)
        return
    async with pgbouncer(server, folder) as url:
        yield f"{url}?pgbouncer=true"
