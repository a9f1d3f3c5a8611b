"""What the history keeps in a database of either kind: pages, transactions, ids, keys, and an end."""

import asyncio
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
from service.history import History, HistoryAdministration
from service.history.change_history import Recorded
from service.history.change_id import ChangeIds, least_id, time_of
from service.history.errors import CannotRecord

APOLLO = Provider("apollo")
UPDATE = StepUpdate(APOLLO, "acme", "AB", "CD", request_id="r-1")
QUERY = ChangesQuery(APOLLO, "acme", "", "")


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
    assert failure.value.problems[0].refusal == "history"
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


def test_the_least_id_of_a_time() -> None:
    made = ChangeIds().next()
    at = time_of(made)
    assert least_id(at) <= made.bytes < least_id(at + 0.001)
    assert least_id(-5) == least_id(0) == bytes(6) + b"\x70" + bytes(9)
    assert least_id(1e18) > made.bytes
