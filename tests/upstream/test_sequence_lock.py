"""One update at a time for each sequence: who waits, for how long, and what is forgotten."""

import asyncio

import pytest

from service.domain.credentials import ConnectionKey
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, UpdateFailed
from service.domain.step import Provider
from service.upstream.sequence_lock import SequenceLocks

ACME = ConnectionKey(1, "acme", Provider("apollo"))
OTHER = ConnectionKey(1, "other", Provider("apollo"))


async def test_updates_of_one_sequence_follow_each_other() -> None:
    locks = SequenceLocks()
    inside = most = 0

    async def update() -> None:
        nonlocal inside, most
        lock = locks.of(ACME, "s")
        await lock.acquire_until(Deadline.after(5), "s")
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        lock.release()

    await asyncio.gather(*(update() for _ in range(20)))
    assert most == 1


async def test_the_lock_of_an_idle_sequence_is_forgotten() -> None:
    locks = SequenceLocks()
    lock = locks.of(ACME, "s")
    assert locks.of(ACME, "s") is lock
    del lock
    assert not locks._locks


async def test_other_sequences_and_connections_do_not_wait() -> None:
    locks = SequenceLocks()
    different = [locks.of(*key) for key in ((ACME, "a"), (ACME, "b"), (OTHER, "a"))]
    for lock in different:
        await lock.acquire_until(Deadline.after(0.1), "a")
    assert [lock.locked() for lock in different] == [True] * 3


async def test_a_busy_sequence_is_a_conflict_at_the_deadline() -> None:
    lock = SequenceLocks().of(ACME, "a")
    await lock.acquire_until(Deadline.after(5), "a")
    with pytest.raises(UpdateFailed) as failure:
        await lock.acquire_until(Deadline.after(0.05), "a")
    [problem] = failure.value.problems
    assert (problem.code, problem.retry_after) == (ErrorCode.CONFLICT_ERROR, 1.0)
