"""What updates of one sequence share: reads that begin after all who use them had asked, and what was just written."""

import asyncio
import time

import pytest

from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, UpdateFailed, failed
from service.domain.step import FieldChange, Provider
from service.providers.adapter import ProviderRequest, ProviderResponse, Write
from service.upstream import sequence_lock as sequences
from service.upstream.sequence_lock import SequenceUpdates
from tests.support.waiting import until

READ = ProviderRequest("GET", "/emailer_campaigns/1", "emailer_campaigns/show", "a key")
WRITE = ProviderRequest("PUT", "/emailer_templates/1", "emailer_templates/update", "a key", b"{}")
ANSWER = ProviderResponse(200, {}, b"{}")


class Provided:
    """A provider whose answers the test gives, one by one."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[ProviderResponse]] = []

    async def read(self, request: ProviderRequest) -> ProviderResponse:
        assert request is READ
        answer: asyncio.Future[ProviderResponse] = asyncio.get_running_loop().create_future()
        self.asked.append(answer)
        return await answer


@pytest.fixture
def provided() -> Provided:
    return Provided()


@pytest.fixture
def updates() -> SequenceUpdates:
    return SequenceUpdates(Provider.APOLLO, "1")


def begin(updates: SequenceUpdates, provided: Provided, seconds: float = 10) -> "asyncio.Task[ProviderResponse]":
    return asyncio.create_task(updates.reads(provided, Deadline.after(seconds)).read(READ))


async def test_a_read_serves_those_who_asked_before_it_began_and_nobody_else(
    updates: SequenceUpdates, provided: Provided
) -> None:
    first = begin(updates, provided)
    await until(lambda: len(provided.asked) == 1)
    later = [begin(updates, provided) for _ in range(5)]
    await asyncio.sleep(0)
    assert len(provided.asked) == 1
    provided.asked[0].set_result(ANSWER)
    assert await first is ANSWER
    await until(lambda: len(provided.asked) == 2)
    latest = begin(updates, provided)
    newer = ProviderResponse(200, {}, b"newer")
    provided.asked[1].set_result(newer)
    assert [await each for each in later] == [newer] * 5
    await until(lambda: len(provided.asked) == 3)
    provided.asked[2].set_result(ANSWER)
    assert await latest is ANSWER


async def test_a_failure_is_shared_too(updates: SequenceUpdates, provided: Provided) -> None:
    first = begin(updates, provided)
    await until(lambda: len(provided.asked) == 1)
    later = [begin(updates, provided) for _ in range(3)]
    await asyncio.sleep(0)
    provided.asked[0].set_result(ANSWER)
    await first
    await until(lambda: len(provided.asked) == 2)
    provided.asked[1].set_exception(failed(ErrorCode.NOT_FOUND_ERROR, "no such sequence"))
    ends = await asyncio.gather(*later, return_exceptions=True)
    assert [end.problems[0].code for end in ends if isinstance(end, UpdateFailed)] == [ErrorCode.NOT_FOUND_ERROR] * 3
    assert len(provided.asked) == 2


async def test_who_goes_away_leaves_the_read_to_the_others(updates: SequenceUpdates, provided: Provided) -> None:
    first = begin(updates, provided)
    await until(lambda: len(provided.asked) == 1)
    leader, follower = begin(updates, provided), begin(updates, provided)
    await asyncio.sleep(0)
    leader.cancel()
    provided.asked[0].set_result(ANSWER)
    assert await first is ANSWER
    await until(lambda: len(provided.asked) == 2)
    provided.asked[1].set_result(ANSWER)
    assert await follower is ANSWER
    assert leader.cancelled()


async def test_who_goes_away_in_the_middle_of_a_read_does_not_take_it_from_the_others(
    updates: SequenceUpdates, provided: Provided
) -> None:
    first = begin(updates, provided)
    await until(lambda: len(provided.asked) == 1)
    leader, follower = begin(updates, provided), begin(updates, provided)
    await asyncio.sleep(0)
    provided.asked[0].set_result(ANSWER)
    await first
    await until(lambda: len(provided.asked) == 2)
    leader.cancel()
    await until(lambda: len(provided.asked) == 3)
    provided.asked[2].set_result(ANSWER)
    assert await follower is ANSWER


async def test_who_has_no_more_time_leaves_the_read_to_the_others(updates: SequenceUpdates, provided: Provided) -> None:
    soon = Deadline.after(0.05)
    first = asyncio.create_task(updates.reads(provided, soon).read(READ))
    await until(lambda: len(provided.asked) == 1)
    hasty, patient = begin(updates, provided, seconds=0.02), begin(updates, provided)
    with pytest.raises(UpdateFailed) as late:
        await hasty
    assert late.value.problems[0].code is ErrorCode.GATEWAY_TIMEOUT_ERROR
    follower = begin(updates, provided)
    await until(lambda: soon.remaining() < 0)
    provided.asked[0].set_exception(failed(ErrorCode.GATEWAY_TIMEOUT_ERROR, "the deadline was reached"))
    with pytest.raises(UpdateFailed):
        await first
    await until(lambda: len(provided.asked) == 2)
    provided.asked[1].set_result(ANSWER)
    assert [await patient, await follower] == [ANSWER] * 2


def write(*changes: FieldChange) -> Write:
    return Write(WRITE, changes, lambda _: {})


async def test_a_write_starts_from_what_others_have_written_since_it_was_planned(
    updates: SequenceUpdates, provided: Provided
) -> None:
    mine, others = updates.reads(provided, Deadline.after(5)), updates.reads(provided, Deadline.after(5))
    for reads in (mine, others):
        reading = asyncio.create_task(reads.read(READ))
        await until(lambda: provided.asked and not provided.asked[-1].done())
        provided.asked[-1].set_result(ANSWER)
        await reading
    theirs = write(FieldChange("template.subject", "old", "theirs"), FieldChange("template.body", "old", "same"))
    updates.begins(theirs)
    updates.ended(theirs, theirs.changes)
    planned = write(FieldChange("template.subject", "old", "mine"), FieldChange("template.body", "old", "same"))
    assert updates.still_to_do(planned, mine).changes == (FieldChange("template.subject", "theirs", "mine"),)
    again = asyncio.create_task((newer := updates.reads(provided, Deadline.after(5))).read(READ))
    await until(lambda: not provided.asked[-1].done())
    provided.asked[-1].set_result(ANSWER)
    await again
    assert updates.still_to_do(planned, newer) == planned


async def test_a_write_that_was_not_answered_leaves_nothing_to_rely_on(
    updates: SequenceUpdates, provided: Provided
) -> None:
    mine = updates.reads(provided, Deadline.after(5))
    theirs = write(FieldChange("template.subject", "old", "theirs"))
    updates.begins(theirs)
    updates.ended(theirs, theirs.changes)
    assert updates.still_to_do(theirs, mine).changes == ()
    updates.begins(write(FieldChange("template.subject", "theirs", "in doubt")))
    assert updates.still_to_do(theirs, mine) == theirs


async def test_what_was_read_long_ago_is_stale(
    updates: SequenceUpdates, provided: Provided, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = updates.reads(provided, Deadline.after(60))
    reading = asyncio.create_task(reads.read(READ))
    await until(lambda: provided.asked)
    provided.asked[0].set_result(ANSWER)
    await reading
    assert not reads.are_stale()
    later = time.monotonic() + sequences.FRESH_SECONDS + 0.1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert reads.are_stale()
