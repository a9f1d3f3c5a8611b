"""Which rows are written together, and who learns of it, with a database that is made up."""

import asyncio
from typing import Any

import pytest

from service.connections.encryption import Sealed
from service.domain.step_changes import ChangeState
from service.history import recorder
from service.history.change_repository import Insertion, Settlement
from service.history.recorder import Recorder
from tests.support.waiting import until


def row(number: int, length: int | None = 0) -> Settlement:
    return Settlement(bytes([number]), ChangeState.APPLIED, Sealed("k", bytes(length)) if length is not None else None)


class FakeRepository:
    """Keeps the sizes of the transactions; the first one ends when the test says, and each with what the test says."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.failures: list[Exception | None] = []
        self.may_end = asyncio.Event()

    async def write(self, insertions: list[Insertion], settlements: list[Settlement]) -> None:
        self.batches.append([*insertions, *settlements])
        await self.may_end.wait()
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure


def recording() -> tuple[Recorder, Any]:
    repository: Any = FakeRepository()
    return Recorder(repository), repository


async def begun(made: Recorder, repository: FakeRepository) -> "asyncio.Future[None]":
    """A row whose transaction has begun, and goes on."""
    written = made.write(row(0))
    await until(lambda: repository.batches)
    return written


@pytest.mark.parametrize(("rows", "sizes"), [(255, [255]), (256, [256]), (257, [256, 1]), (513, [256, 256, 1])])
async def test_what_comes_meanwhile_goes_together(rows: int, sizes: list[int]) -> None:
    made, repository = recording()
    await begun(made, repository)
    given = [row(number % 256) for number in range(rows)]
    written = [made.write(each) for each in given]
    repository.may_end.set()
    await asyncio.wait_for(asyncio.gather(*written), 10)
    assert [len(batch) for batch in repository.batches] == [1, *sizes]
    assert [each for batch in repository.batches[1:] for each in batch] == given


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        ([5, 5], [2]),
        ([5, 6], [1, 1]),
        ([5, None, 5], [3]),
        ([11, 1], [1, 1]),
        ([10, 0, 1], [2, 1]),
        ([11, 11], [1, 1]),
    ],
)
async def test_a_transaction_ends_where_its_rows_are_long(
    lengths: list[int | None], sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is longer by itself goes alone."""
    monkeypatch.setattr(recorder, "_BATCH_BYTES", 10)
    made, repository = recording()
    await begun(made, repository)
    written = [made.write(row(number, length)) for number, length in enumerate(lengths)]
    repository.may_end.set()
    await asyncio.wait_for(asyncio.gather(*written), 10)
    assert [len(batch) for batch in repository.batches] == [1, *sizes]


async def test_a_failure_is_that_of_its_own_transaction() -> None:
    made, repository = recording()
    first = await begun(made, repository)
    second, third = made.write(row(1)), made.write(row(2))
    third.cancel()
    repository.failures = [OSError("first"), OSError("second"), None]
    repository.may_end.set()
    for failed, message in ((first, "first"), (second, "second")):
        with pytest.raises(OSError, match=message):
            await failed
    # Whoever does not wait any more is written, too, and what comes afterwards.
    assert len(repository.batches[1]) == 2
    await asyncio.wait_for(made.write_within(row(3), 10), 10)


async def test_a_row_that_takes_too_long_is_written_all_the_same() -> None:
    made, repository = recording()
    for seconds in (0.0, -1.0):
        with pytest.raises(TimeoutError):
            await made.write_within(row(0), seconds)
    repository.may_end.set()
    await made.finish(10)
    assert sum(map(len, repository.batches)) == 2
    await made.finish(10)


async def test_a_call_by_itself_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = [1000.0], []

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        now[0] += seconds

    monkeypatch.setattr("service.history.recorder.asyncio.sleep", sleep)
    monkeypatch.setattr("service.history.recorder.time.monotonic", lambda: now[0])
    made, repository = recording()
    repository.may_end.set()
    await made.write(row(0))
    await made.write(row(1))
    now[0] += 0.004
    await made.write(row(2))
    now[0] += 5
    await made.write(row(3))
    # At the most a hundred transactions a second.
    assert slept == [0.0, 0.01, 0.006, 0.0]
