"""What is cached, for how long, and who waits for a load."""

import asyncio

import pytest

from service.connections import cache as caches
from service.connections.cache import Cache


async def test_a_load_that_fails_is_not_kept() -> None:
    results: list[int | Exception] = [LookupError("away"), 7]

    async def load(_: str) -> int:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    cache = Cache(load, 60)
    with pytest.raises(LookupError):
        await cache.get("key")
    assert [await cache.get("key") for _ in range(2)] == [7, 7]
    assert results == []


@pytest.mark.parametrize("leaves", ["by a time-out", "cancelled"])
async def test_whoever_leaves_does_not_end_the_load_of_others(leaves: str) -> None:
    may_load, loads = asyncio.Event(), 0

    async def load(_: str) -> int:
        nonlocal loads
        loads += 1
        await may_load.wait()
        return 7

    cache = Cache(load, 60)
    first = asyncio.ensure_future(cache.get("key", 0.01 if leaves == "by a time-out" else None))
    await asyncio.sleep(0)
    other = asyncio.ensure_future(cache.get("key"))
    if leaves == "cancelled":
        first.cancel()
    with pytest.raises(TimeoutError if leaves == "by a time-out" else asyncio.CancelledError):
        await first
    may_load.set()
    assert await other == 7
    assert await cache.get("key") == 7
    assert loads == 1


async def test_the_least_recently_stored_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "_MAX_ENTRIES", 3)
    loaded = []

    async def load(key: int) -> int:
        loaded.append(key)
        return key

    cache = Cache(load, 60)
    for key in (1, 2, 3):
        cache.put(key, key)
    cache.put(1, 1)
    cache.put(4, 4)
    assert [await cache.get(key) for key in (1, 3, 4)] == [1, 3, 4]
    assert loaded == []
    await cache.get(2)
    assert loaded == [2]


async def test_nothing_is_kept_for_no_seconds_or_longer_than_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    loads, now = 0, 100.0

    async def load(_: str) -> int:
        nonlocal loads
        loads += 1
        return loads

    monkeypatch.setattr("time.monotonic", lambda: now)
    none, some = Cache(load, 0), Cache(load, 5)
    assert [await none.get("key") for _ in range(2)] == [1, 2]
    # Nor is it in memory, where nothing would ever use it.
    assert not none._values
    short = Cache(load, 0.5)
    short.put("key", 0)
    assert await short.get("key") == 0
    assert await some.get("key") == 3
    now = 103.9
    assert await some.get("key") == 3
    now = 105.1
    assert await some.get("key") == 4
    some.drop("key")
    assert await some.get("key") == 5


async def test_what_is_cached_ends_when_it_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    loads, now = 0, 100.0

    async def load(_: str) -> int:
        nonlocal loads
        loads += 1
        return loads

    monkeypatch.setattr("time.monotonic", lambda: now)
    cache: Cache[str, int] = Cache(load, 5)
    assert await cache.get("key") == 1
    now = 105.0
    assert await cache.get("key") == 2
    cache.put("key", 7)
    assert await cache.get("key") == 7


async def test_what_was_loaded_together_is_not_all_loaded_again_together(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[float] = []
    now = 100.0

    async def load(key: int) -> int:
        loaded.append(now)
        return key

    monkeypatch.setattr("time.monotonic", lambda: now)
    cache: Cache[int, int] = Cache(load, 5)
    times = (100.0, 103.9, 104.25, 104.5, 104.75, 105.0)
    for moment in times:
        now = moment
        for key in range(100):
            await cache.get(key)
    first, early, *later = (loaded.count(moment) for moment in times)
    assert (first, early, sum(later)) == (100, 0, 100)
    assert min(later) > 0
