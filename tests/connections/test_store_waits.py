"""How long is waited for the database, on both sides of each bound; the clock is the test's."""

import asyncio
import sqlite3
from types import SimpleNamespace
from typing import Any

import pytest

from service.connections import store as stores
from service.connections.database_failure import Conflict, ServerFull
from service.connections.store import Store
from tests.support.clock import Clock


async def test_a_conflict_is_tried_five_times_within_a_second(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open("postgresql://nobody@127.0.0.1:1/none")
    tried = 0

    def begin() -> Any:
        nonlocal tried
        tried += 1
        raise Conflict("again")

    monkeypatch.setattr(store, "begin", begin)
    with pytest.raises(Conflict):
        await store.transact(lambda _: asyncio.sleep(0))
    await store.close()
    assert tried == 5
    assert all(seconds > 0 for seconds in clock.slept)
    assert clock.slept[0] < 0.02
    assert sum(clock.slept) < 1
    # At random, so that two that met do not meet again.
    first = clock.slept
    clock.slept = []
    with pytest.raises(Conflict):
        await store.transact(lambda _: asyncio.sleep(0))
    assert first != clock.slept


async def test_a_full_server_is_asked_for_five_seconds(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open("postgresql://nobody@127.0.0.1:1/none")

    async def connect() -> None:
        clock.now += 1
        raise ServerFull("full")

    async def wait(_: object, **limit: float) -> None:
        assert 0 < limit["timeout"] < 1

    full: Any = SimpleNamespace(connect=connect)
    monkeypatch.setattr("service.connections.store.asyncio.wait", wait)
    started = clock.now
    with pytest.raises(ServerFull):
        await store._connect(full)
    await store.close()
    assert clock.now - started == 6


class NewFile:
    """A SQLite file that another process switches to WAL."""

    def __init__(self, refusals: int) -> None:
        self.left = refusals
        self.statements: list[str] = []

    async def execute_fetchall(self, statement: str) -> None:
        self.statements.append(statement)
        if "journal_mode" in statement and self.left:
            self.left -= 1
            raise sqlite3.OperationalError("database is locked")


async def test_a_file_that_others_switch_to_wal_is_waited_for(clock: Clock) -> None:
    file = NewFile(3)
    await stores._set_pragmas(file)
    assert file.statements[0] == "PRAGMA busy_timeout=10000"
    assert file.statements.count("PRAGMA journal_mode=WAL") == 4
    assert len(clock.slept) == 3
    busy = NewFile(10_000)
    started = clock.now
    with pytest.raises(sqlite3.OperationalError):
        await stores._set_pragmas(busy)
    assert 10 <= clock.now - started < 10.1
