"""What providers last said of credentials: what is written of it, when, and what is not."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from service.connections.database_failure import StoreUnavailable
from service.connections.last_uses import LastUses
from service.connections.repository import ConnectionRepository, CredentialUse
from service.domain.credentials import ApiKeyCredentials, Connection, Secret
from service.domain.errors import ErrorCode
from service.domain.step import Provider


class Recorder(ConnectionRepository):
    """Keeps what would be written, and fails as often as it is asked to."""

    def __init__(self) -> None:
        self.batches: list[Sequence[CredentialUse]] = []
        self.failures = 0

    async def record_uses(self, uses: Sequence[CredentialUse]) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        self.batches.append(uses)

    @property
    def written(self) -> list[tuple[int, str]]:
        return [(use.connection_id, use.refusal) for batch in self.batches for use in batch]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def uses(recorder: Recorder) -> LastUses:
    return LastUses(recorder)


def connection(number: int) -> Connection:
    return Connection(number, 1, "acme", Provider("apollo"), ApiKeyCredentials(Secret("key")))


async def test_what_many_have_to_tell_is_written_together(uses: LastUses, recorder: Recorder) -> None:
    for number in range(3):
        uses.observe(connection(number), None)
    await uses.finish(5)
    assert [len(batch) for batch in recorder.batches] == [3]
    assert abs(recorder.batches[0][0].at - time.time()) < 60


async def test_the_same_news_is_written_once(uses: LastUses, recorder: Recorder) -> None:
    for _ in range(3):
        uses.observe(connection(1), None)
        uses.observe(connection(1), ErrorCode.FORBIDDEN_ERROR)
        await uses.finish(5)
    assert recorder.written == [(1, ""), (1, "FORBIDDEN_ERROR")]


async def test_another_refusal_is_news(uses: LastUses, recorder: Recorder) -> None:
    uses.observe(connection(1), ErrorCode.FORBIDDEN_ERROR)
    await uses.finish(5)
    uses.observe(connection(1), ErrorCode.UNAUTHORIZED_ERROR)
    await uses.finish(5)
    assert recorder.written == [(1, "FORBIDDEN_ERROR"), (1, "UNAUTHORIZED_ERROR")]


async def test_what_comes_a_moment_later_is_written_with_it(uses: LastUses, recorder: Recorder) -> None:
    for number in range(3):
        uses.observe(connection(number), None)
        await asyncio.sleep(0.01)
    await uses.finish(5)
    assert [len(batch) for batch in recorder.batches] == [3]


@pytest.mark.parametrize(("later", "times"), [(299, 1), (300, 2)])
async def test_a_time_is_at_most_five_minutes_late(
    uses: LastUses, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, later: float, times: int
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("service.connections.last_uses.time.monotonic", lambda: now)
    uses.observe(connection(1), None)
    await uses.finish(5)
    monkeypatch.setattr("service.connections.last_uses.time.monotonic", lambda: now + later)
    uses.observe(connection(1), None)
    await uses.finish(5)
    assert len(recorder.written) == times


async def test_what_could_not_be_written_is_written_at_the_next_use(uses: LastUses, recorder: Recorder) -> None:
    recorder.failures = 1
    uses.observe(connection(1), None)
    await uses.finish(5)
    assert recorder.written == []
    uses.observe(connection(1), None)
    await uses.finish(5)
    assert recorder.written == [(1, "")]


async def test_only_so_many_are_remembered(uses: LastUses, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.connections.last_uses._MAX_KNOWN", 2)
    for number in (1, 2, 3, 3, 1):
        uses.observe(connection(number), None)
        await uses.finish(5)
    assert [number for number, _ in recorder.written] == [1, 2, 3, 1]
