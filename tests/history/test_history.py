"""What the history keeps in a database of either kind: pages, transactions, ids, keys, and an end."""

import asyncio
import threading
import time
import uuid
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import delete, func, select, text

from service.connections import Keyring, Store, StoreUnavailable
from service.connections.encryption import generate_key
from service.connections.schema import applications, step_changes
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, UpdateFailed
from service.domain.step import BODY, SUBJECT, Caller, FieldChange, Provider, StepUpdate
from service.domain.step_changes import ChangesQuery, ChangeState, StepChange
from service.history import History, HistoryAdministration, change_repository
from service.history.change_history import Recorded
from service.history.change_id import ChangeIds, least_id, time_of
from service.history.errors import CannotRecord

APOLLO = Provider("apollo")
UPDATE = StepUpdate(APOLLO, "acme", "AB", "CD", request_id="r-1")
QUERY = ChangesQuery(APOLLO, "acme", "", "")
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""What is the same in either kind of database."""


@pytest.fixture
def history(store: Store, keyring: Keyring) -> History:
    return History(store, keyring, 30)


async def recorded(history: History, caller: Caller, subject: str = "New", **more: Any) -> Recorded:
    update = replace(UPDATE, **more)
    fields = [FieldChange(SUBJECT, "Old", subject)]
    return await history.record(caller, update, "9", fields, Deadline.after(20))


async def page(
    history: History, caller: Caller, limit: int = 100, after: str | None = None, **more: Any
) -> list[StepChange]:
    found, _ = await history.page(caller.application_id, replace(QUERY, **more), limit, after, Deadline.after(20))
    return found


async def count(store: Store) -> int:
    async with store.begin() as db:
        return int((await db.execute(select(func.count()).select_from(step_changes))).scalar_one())


async def test_a_change_is_unknown_until_it_is_settled(history: History, caller: Caller) -> None:
    change = await recorded(history, caller)
    [found] = await page(history, caller)
    assert (found.change_id, found.state, found.fields) == (
        change.change_id,
        ChangeState.UNKNOWN,
        [FieldChange(SUBJECT, "Old", "New")],
    )
    await change.settle(ChangeState.APPLIED, None)
    assert [(each.state, each.fields) for each in await page(history, caller)] == [(ChangeState.APPLIED, found.fields)]


async def test_what_a_change_came_to_takes_the_place_of_what_was_wanted(history: History, caller: Caller) -> None:
    now = [FieldChange(BODY, "<p>Ünï</p>", None), FieldChange("custom_fields.n", 1.5, 2**60, is_new=True)]
    await (await recorded(history, caller)).settle(ChangeState.PARTIALLY_APPLIED, now)
    assert [(each.state, each.fields) for each in await page(history, caller)] == [(ChangeState.PARTIALLY_APPLIED, now)]


async def test_what_was_not_made_is_not_kept(history: History, caller: Caller, store: Store) -> None:
    await (await recorded(history, caller)).settle(None, None)
    assert await count(store) == 0


async def test_many_at_once_share_transactions(
    history: History, caller: Caller, store: Store, queries: list[str]
) -> None:
    changes = await asyncio.gather(*(recorded(history, caller, f"S{number}") for number in range(50)))
    for verb in ("INSERT INTO", "UPDATE"):
        if store.engines[0].dialect.name == "postgresql":
            # Its driver is used directly, so that no statement is seen; the rows know their transaction.
            async with store.begin() as db:
                found = await db.execute(text("SELECT count(DISTINCT xmin::text) FROM step_changes"))
                assert found.scalar_one() == 1
        else:
            assert len([query for query in queries if query.startswith(f"{verb} step_changes")]) == 1
        await asyncio.gather(*(change.settle(ChangeState.APPLIED, None) for change in changes))
    assert {each.state for each in await page(history, caller)} == {ChangeState.APPLIED}
    assert len(await page(history, caller)) == await count(store) == 50


async def test_a_row_that_cannot_be_written_is_alone_in_that(history: History, caller: Caller, store: Store) -> None:
    open_change = await recorded(history, caller)
    gone = replace(caller, application_id=caller.application_id + 1)
    first, refused, last, settled = await asyncio.gather(
        recorded(history, caller, "First"),
        recorded(history, gone),
        recorded(history, caller, "Last"),
        open_change.settle(ChangeState.APPLIED, None),
        return_exceptions=True,
    )
    assert isinstance(first, Recorded)
    assert isinstance(refused, CannotRecord)
    assert isinstance(last, Recorded)
    assert settled is None
    states = [ChangeState.UNKNOWN, ChangeState.UNKNOWN, ChangeState.APPLIED]
    assert [each.state for each in await page(history, caller)] == states
    assert await count(store) == 3


async def test_all_kinds_of_writes_go_out_together(history: History, caller: Caller, store: Store) -> None:
    applied, cleaned, undone = [await recorded(history, caller, f"S{number}") for number in range(3)]
    now = [FieldChange(SUBJECT, "Old", "Cleaned")]
    await asyncio.gather(
        recorded(history, caller, "S3"),
        applied.settle(ChangeState.APPLIED, None),
        cleaned.settle(ChangeState.PARTIALLY_APPLIED, now),
        undone.settle(None, None),
    )
    assert [(each.state, each.fields[0].after) for each in await page(history, caller) if each.fields] == [
        (ChangeState.UNKNOWN, "S3"),
        (ChangeState.PARTIALLY_APPLIED, "Cleaned"),
        (ChangeState.APPLIED, "S0"),
    ]
    assert await count(store) == 3


async def test_a_list_ends_where_its_values_are_long(history: History, caller: Caller) -> None:
    for number in range(4):
        await recorded(history, caller, str(number) * 1_700_000)
    found, is_cut = await history.page(caller.application_id, QUERY, 4, None, Deadline.after(20))
    assert ([each.fields[0].after[0] for each in found if each.fields], is_cut) == (["3", "2"], True)
    rest, is_cut = await history.page(caller.application_id, QUERY, 4, found[-1].change_id, Deadline.after(20))
    assert (len(rest), is_cut) == (2, False)


async def test_ids_are_found_however_they_are_written(history: History, caller: Caller) -> None:
    await recorded(history, caller)
    assert len(await page(history, caller, sequence_id="aB", sequence_step_id="cD")) == 1
    assert await page(history, caller, sequence_id="ab", sequence_step_id="ab") == []


@on_sqlite
@pytest.mark.parametrize("member", ["customer_id", "provider", "sequence_id", "sequence_step_id", "request_id"])
async def test_a_list_has_what_is_asked_for_and_not_its_neighbours(
    history: History, caller: Caller, store: Store, keyring: Keyring, member: str
) -> None:
    values = ["bb", "ba", "bc", "b", "bbb"]
    made = [await recorded(history, caller, **({"customer_id": "b"} | {member: value})) for value in values]
    wanted: dict[str, Any] = {"customer_id": "b"} | {member: Provider("bb") if member == "provider" else "bb"}
    assert [each.change_id for each in await page(history, caller, **wanted)] == [made[0].change_id]
    for other in (caller.application_id - 1, caller.application_id + 1):
        assert (await history.page(other, replace(QUERY, **wanted), 100, None, Deadline.after(20)))[0] == []
    if member in ("customer_id", "provider"):
        administration = HistoryAdministration(store, keyring)
        of_all = ("bb",) if member == "customer_id" else ("b", Provider("bb"))
        for other in (caller.application_id - 1, caller.application_id + 1):
            assert [each async for each in administration.delete(other, *of_all)] == []
        assert [each async for each in administration.delete(caller.application_id, *of_all)] == [1]
        assert await count(store) == 4


@on_sqlite
async def test_a_change_is_found_by_all_that_it_is_of(history: History, caller: Caller) -> None:
    ids = [(await recorded(history, caller)).change_id for _ in range(3)]

    async def find(id: str, application: int = 0, customer: str = "acme", provider: str = "apollo") -> Any:
        return await history.find(
            caller.application_id + application, customer, Provider(provider), id, Deadline.after(20)
        )

    for id in ids:
        found = await find(id)
        assert found.change_id == id
        for other in (
            {"application": -1},
            {"application": 1},
            {"customer": "acm"},
            {"customer": "acmf"},
            {"provider": "apollp"},
            {"provider": "apoll"},
        ):
            assert await find(id, **other) is None
    assert await find(str(uuid.UUID(int=uuid.UUID(ids[1]).int + 1))) is None


@on_sqlite
async def test_a_list_is_of_a_time_and_behind_a_change(history: History, caller: Caller) -> None:
    ids = [(await recorded(history, caller, f"S{number}")).change_id for number in range(3)]
    at = [time_of(uuid.UUID(id)) for id in ids]
    listed = [each.change_id for each in await page(history, caller)]
    assert listed == ids[::-1]
    assert [each.change_id for each in await page(history, caller, after=ids[1])] == [ids[0]]
    assert [each.change_id for each in await page(history, caller, limit=2)] == [ids[2], ids[1]]
    # Ids are of a moment within their millisecond.
    assert ids[0] in [each.change_id for each in await page(history, caller, start_at=at[0])]
    assert await page(history, caller, start_at=at[2] + 0.001) == []
    assert await page(history, caller, end_at=at[0]) == []
    assert len(await page(history, caller, end_at=at[2] + 0.001)) == 3


@on_sqlite
@pytest.mark.parametrize(("fits", "shown"), [(2.0, 2), (1.99, 1), (3.0, 3), (0.5, 1)])
async def test_a_page_has_as_many_changes_as_are_short(
    history: History, caller: Caller, store: Store, monkeypatch: pytest.MonkeyPatch, fits: float, shown: int
) -> None:
    for number in range(3):
        await recorded(history, caller, f"S{number}")
    async with store.begin() as db:
        lengths = set((await db.execute(select(func.length(step_changes.c.ciphertext)))).scalars())
    [length] = lengths
    monkeypatch.setattr("service.history.change_repository._MAX_PAGE_BYTES", int(fits * length))
    found, is_cut = await history.page(caller.application_id, QUERY, 3, None, Deadline.after(20))
    assert (len(found), is_cut) == (shown, shown < 3)


@on_sqlite
@pytest.mark.parametrize(("length", "is_apart"), [(512 * 1024 - 4, False), (512 * 1024 - 3, True)])
async def test_long_values_leave_other_calls_their_turn(
    history: History, caller: Caller, monkeypatch: pytest.MonkeyPatch, *, length: int, is_apart: bool
) -> None:
    """They are encrypted, and decrypted, in a thread of their own."""
    threads: list[bool] = []

    def watched(work: Any) -> Any:
        def watch(*given: Any) -> Any:
            threads.append(threading.current_thread() is not threading.main_thread())
            return work(*given)

        return watch

    for name in ("seal", "unseal"):
        monkeypatch.setattr(change_repository, name, watched(getattr(change_repository, name)))
    await recorded(history, caller, "x" * length)
    assert threads == [is_apart]
    # Encrypted it is a little longer.
    monkeypatch.setattr(change_repository, "_LONG_BYTES", 10**9)
    await page(history, caller)
    monkeypatch.setattr(change_repository, "_LONG_BYTES", length)
    await page(history, caller)
    assert threads == [is_apart, False, True]


@on_sqlite
@pytest.mark.parametrize(("age", "is_kept"), [(30 * 86400 - 60, True), (30 * 86400 + 60, False)])
async def test_a_change_is_shown_for_so_many_days(
    history: History, caller: Caller, monkeypatch: pytest.MonkeyPatch, *, age: float, is_kept: bool
) -> None:
    made = await recorded(history, caller)
    now = time.time()
    monkeypatch.setattr("service.history.change_history.time.time", lambda: now + age)
    assert bool(await page(history, caller)) is is_kept
    assert bool(await page(history, caller, start_at=1.0)) is is_kept
    found = await history.find(caller.application_id, "acme", APOLLO, made.change_id, Deadline.after(20))
    assert (found is not None) is is_kept
    assert await history.purge() is False
    monkeypatch.setattr("service.history.change_history.time.time", lambda: now)
    assert bool(await page(history, caller)) is is_kept


async def test_what_is_too_old_goes_a_little_at_a_time(
    store: Store, keyring: Keyring, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.history.change_history._PURGE_ROWS", 2)
    history = History(store, keyring, 30)
    for number in range(5):
        await recorded(history, caller, f"S{number}")
    kept = await recorded(history, caller, "kept")
    monkeypatch.setattr(History, "_oldest", time_of(uuid.UUID(kept.change_id)))
    # The five are not older by a millisecond for certain, so that they are made to be.
    async with store.begin() as db:
        for number, row in enumerate((await db.execute(select(step_changes.c.id))).all()):
            if row.id != uuid.UUID(kept.change_id).bytes:
                old = least_id(1_000_000 + number)
                await db.execute(step_changes.update().where(step_changes.c.id == row.id).values(id=old))
    assert [await history.purge() for _ in range(3)] == [True, True, False]
    assert await count(store) == 1
    assert await history.purge() is False


async def test_the_history_of_a_customer_is_deleted(
    history: History, caller: Caller, store: Store, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.history.history_administration._BATCH", 2)
    for customer, provider in (
        ("acme", APOLLO),
        ("acme", APOLLO),
        ("acme", APOLLO),
        ("acme", "outreach"),
        ("b", APOLLO),
    ):
        await recorded(history, caller, customer_id=customer, provider=Provider(provider))
    administration = HistoryAdministration(store, keyring)

    async def deleted(*of: Any) -> list[int]:
        return [count async for count in administration.delete(*of)]

    assert await deleted(caller.application_id + 1, "acme") == []
    assert await deleted(caller.application_id, "acme", APOLLO) == [2, 1]
    assert await deleted(caller.application_id, "acme") == [1]
    assert await count(store) == 1


async def test_changes_go_with_their_application(history: History, caller: Caller, store: Store) -> None:
    await recorded(history, caller)
    async with store.begin() as db:
        await db.execute(delete(applications))
    assert await count(store) == 0
    with pytest.raises(UpdateFailed) as failure:
        await recorded(history, caller)
    assert failure.value.problems[0].code is ErrorCode.SERVICE_UNAVAILABLE_ERROR


async def test_everything_moves_to_another_key(
    history: History, caller: Caller, store: Store, keyring: Keyring
) -> None:
    old = generate_key()
    before = History(store, Keyring.parse(old), 30)
    for number in range(3):
        await recorded(before, caller, f"S{number}")
    new = generate_key()
    both = HistoryAdministration(store, Keyring.parse(f"{new},{old}"))
    lost = HistoryAdministration(store, Keyring.parse(new))
    with pytest.raises(Exception, match="seqstep history delete"):
        await lost.check_keys()
    assert [batch async for batch in lost.reencrypt()] == [(0, 3)]
    await both.check_keys()
    assert await both.count_to_reencrypt() == 3
    assert [batch async for batch in both.reencrypt()] == [(3, 0)]
    assert (await both.count_to_reencrypt(), await both.count_by_key()) == (0, {Keyring.parse(new).current: 3})
    await lost.check_keys()
    after = History(store, Keyring.parse(new), 30)
    assert [each.fields for each in await page(after, caller)] == [
        [FieldChange(SUBJECT, "Old", f"S{number}")] for number in (2, 1, 0)
    ]


async def test_what_is_settled_while_it_moves_stays(
    caller: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = generate_key(), generate_key()
    before = History(store, Keyring.parse(old), 30)
    change = await recorded(before, caller)
    both = HistoryAdministration(store, Keyring.parse(f"{new},{old}"))
    transact = store.transact

    async def settled_first(work: Any) -> Any:
        monkeypatch.setattr(store, "transact", transact)
        await change.settle(ChangeState.APPLIED, [FieldChange(SUBJECT, "Old", "Cleaned")])
        return await transact(work)

    monkeypatch.setattr(store, "transact", settled_first)
    [_ async for _ in both.reencrypt()]
    after = History(store, Keyring.parse(f"{new},{old}"), 30)
    assert [each.fields for each in await page(after, caller)] == [[FieldChange(SUBJECT, "Old", "Cleaned")]]


async def test_a_database_that_is_away_keeps_updates_off_and_no_answers(
    history: History, caller: Caller, store: Store
) -> None:
    change = await recorded(history, caller)
    async with store.begin() as db:
        await db.execute(text("ALTER TABLE step_changes RENAME TO hidden"))
    with pytest.raises(UpdateFailed) as failure:
        await recorded(history, caller)
    assert (failure.value.problems[0].refusal, failure.value.problems[0].retry_after) == ("history", 1)
    await change.settle(ChangeState.APPLIED, None)
    with pytest.raises(UpdateFailed):
        await page(history, caller)
    with pytest.raises(UpdateFailed):
        await history.find(caller.application_id, "acme", APOLLO, change.change_id, Deadline.after(20))
    with pytest.raises(StoreUnavailable):
        await history.purge()
    async with store.begin() as db:
        await db.execute(text("ALTER TABLE hidden RENAME TO step_changes"))
    assert [each.state for each in await page(history, caller)] == [ChangeState.UNKNOWN]


async def test_a_change_that_is_recorded_too_late_is_not_kept(
    history: History, caller: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, release = store.write, asyncio.Event()

    async def slow(changes: Any) -> None:
        await release.wait()
        await write(changes)

    monkeypatch.setattr(store, "write", slow)
    late = replace(UPDATE)
    with pytest.raises(UpdateFailed):
        await history.record(caller, late, "9", [FieldChange(SUBJECT, "Old", "New")], Deadline.after(0.05))
    left = asyncio.create_task(recorded(history, caller))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    release.set()
    await history.finish(10)
    assert await count(store) == 0


async def test_an_answer_waits_no_longer_than_so_long_for_the_database(
    history: History, caller: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.history.change_history._SETTLE_SECONDS", 0.05)
    change = await recorded(history, caller)
    write, release = store.write, asyncio.Event()

    async def slow(changes: Any) -> None:
        await release.wait()
        await write(changes)

    monkeypatch.setattr(store, "write", slow)
    await change.settle(ChangeState.APPLIED, None)
    release.set()
    await history.finish(10)
    assert [each.state for each in await page(history, caller)] == [ChangeState.APPLIED]


def test_ids_are_in_the_order_of_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = ChangeIds()
    made = [ids.next() for _ in range(1000)]
    assert made == sorted(set(made))
    assert {each.version for each in made} == {7}
    assert {each.variant for each in made} == {uuid.RFC_4122}
    assert abs(time_of(made[-1]) - time.time()) < 5
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    assert ids.next() > made[-1]


def test_an_id_has_its_moment_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_123_456_789)
    ids = ChangeIds()
    first, second = ids.next(), ids.next()
    assert time_of(first) == 1_700_000_000.123
    # The milliseconds, the version, the 4096th parts of one, and the variant before what is random.
    assert (first.int >> 80, first.int >> 76 & 15, first.int >> 64 & 4095) == (1_700_000_000_123, 7, 1871)
    assert (second.int >> 64 & 4095, second.variant) == (1872, uuid.RFC_4122)
    assert first.int & (2**62 - 1) != second.int & (2**62 - 1)


@pytest.mark.parametrize("microseconds", [0, 1, 123_000, 123_456, 999_999])
def test_the_least_id_of_a_moment_is_below_all_that_are_made_then(
    microseconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 1_700_000_000_000_000 + microseconds

    def made(nanoseconds: int) -> bytes:
        monkeypatch.setattr(time, "time_ns", lambda: nanoseconds)
        return ChangeIds().next().bytes

    least = least_id(at / 1_000_000)
    assert made((at - 1) * 1000) < least <= made(at * 1000)


def test_the_least_id_of_a_time() -> None:
    made = ChangeIds().next()
    at = time_of(made)
    assert least_id(at) <= made.bytes < least_id(at + 0.001)
    assert least_id(-5) == least_id(0) == bytes(6) + b"\x70" + bytes(9)
    assert least_id(1e18) > made.bytes
    # The last second that a timestamp can show.
    assert time_of(uuid.UUID(bytes=least_id(1e18))) == 253_402_300_799
