"""What is done to one connection or one application, and to none of those around it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from service.connections import Applications, Keyring, Store
from service.connections.encryption import generate_key
from service.connections.repository import ConnectionRepository, CredentialUse, Lease, StoredConnection
from service.connections.schema import connections
from service.domain.credentials import (
    ApiKeyCredentials,
    ConnectionKey,
    ConnectionState,
    Credentials,
    OAuthCredentials,
    Secret,
)
from service.domain.errors import CallRefused
from service.domain.step import Provider

APOLLO, OUTREACH = Provider("apollo"), Provider("outreach")
GRANT = OAuthCredentials(Secret("a"), Secret("r"), 5.0, "c", Secret("s"))
NAMES = ("a", "m", "z")
Rows = dict[tuple[int, str, str], dict[str, Any]]


@pytest.fixture
def repository(store: Store, keyring: Keyring) -> ConnectionRepository:
    return ConnectionRepository(store, keyring)


@pytest.fixture
async def middle(store: Store, repository: ConnectionRepository) -> ConnectionKey:
    """The connection in the middle: of the second of three applications, customers and rows."""
    applications = Applications(store, 0)
    ids = []
    for name in NAMES:
        await applications.create(name)
        ids.append((await applications.find(name)).id)
    for application_id in ids:
        for customer in NAMES:
            for provider in (APOLLO, OUTREACH):
                await repository.put(ConnectionKey(application_id, customer, provider), GRANT)
    return ConnectionKey(ids[1], "m", OUTREACH)


async def rows(store: Store) -> Rows:
    async with store.begin() as db:
        found = (await db.execute(select(connections))).all()
    return {(row.application_id, row.customer_id, row.provider): dict(row._mapping) for row in found}


def changed(before: Rows, after: Rows) -> set[tuple[int, str, str]]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


async def found(repository: ConnectionRepository, key: ConnectionKey) -> StoredConnection:
    stored = await repository.find(key)
    assert stored is not None
    assert stored.key == key
    return stored


async def test_a_write_concerns_one_row(store: Store, repository: ConnectionRepository, middle: ConnectionKey) -> None:
    where = (middle.application_id, middle.customer_id, str(middle.provider))
    writes: list[Callable[[StoredConnection], Awaitable[Any]]] = [
        lambda stored: repository.take_lease(stored, "me", 24),
        lambda _: repository.release_lease(middle, "me"),
        lambda stored: repository.record_uses([CredentialUse(stored.connection.id, 5.0)]),
        lambda stored: repository.record_uses([CredentialUse(stored.connection.id, 6.0, "FORBIDDEN_ERROR")]),
        lambda stored: repository.record_refresh_error(stored, "invalid_grant"),
        lambda stored: repository.mark_needs_reauth(stored, "void"),
        lambda stored: repository.replace_client_secret(stored, replace(GRANT, client_secret=Secret("new"))),
        lambda stored: repository.replace_credentials(stored, replace(GRANT, access_token=Secret("new"))),
        lambda _: repository.put(middle, ApiKeyCredentials(Secret("k"))),
        lambda _: repository.delete(middle),
    ]
    before = await rows(store)
    assert len(before) == 18
    for write in writes:
        assert await write(await found(repository, middle)) is not False
        after = await rows(store)
        assert changed(before, after) == {where}
        before = after
    assert await repository.find(middle) is None
    assert not await repository.delete(middle)


@pytest.mark.parametrize("application_id", [-1, 0, 1000])
async def test_an_application_that_is_not_there_has_no_connection(
    repository: ConnectionRepository, middle: ConnectionKey, application_id: int
) -> None:
    with pytest.raises(ValueError, match="there is no application"):
        await repository.put(replace(middle, application_id=application_id), GRANT)


async def test_lists_and_counts_are_of_what_is_asked_for(
    repository: ConnectionRepository, middle: ConnectionKey
) -> None:
    batch = await repository.of_provider(middle.application_id, OUTREACH, 0, 2)
    assert batch is not None
    assert [each.key.customer_id for each in batch.readable] == ["a", "m"]
    rest = await repository.of_provider(middle.application_id, OUTREACH, batch.last_id, 2)
    assert rest is not None
    assert [each.key for each in rest.readable] == [replace(middle, customer_id="z")]
    assert await repository.of_provider(middle.application_id, OUTREACH, rest.last_id, 2) is None
    assert {(each.application, each.customer_id) for each in await repository.summaries("m", None)} == {
        ("m", name) for name in NAMES
    }
    assert [(each.application, each.provider) for each in await repository.summaries(None, "m")] == [
        (name, provider) for name in NAMES for provider in (APOLLO, OUTREACH)
    ]
    assert await repository.count_refresh_errors() == []
    for key, error in ((middle, "invalid_grant"), (replace(middle, customer_id="z"), "invalid_grant")):
        await repository.record_refresh_error(await found(repository, key), error)
    [count] = await repository.count_refresh_errors()
    assert (count.application, count.provider, count.error, count.count) == ("m", OUTREACH, "invalid_grant", 2)
    marked = await repository.mark_needs_reauth(await found(repository, middle), "x" * 2000)
    assert marked is not None
    assert replace(marked, refresh_error_at=0.0) == await found(repository, middle)
    assert (marked.state, len(marked.state_reason)) == (ConnectionState.NEEDS_REAUTH, 1000)
    assert sorted(await repository.count_by_state()) == [
        ("apollo", "active", 9),
        ("outreach", "active", 8),
        ("outreach", "needs_reauth", 1),
    ]


async def test_a_page_has_what_is_asked_for(repository: ConnectionRepository, middle: ConnectionKey) -> None:
    async def page(limit: int = 100, **filters: Any) -> list[str]:
        found = await repository.page(middle.application_id, limit, **filters)
        assert {each.application for each in found} <= {"m"}
        return [f"{each.customer_id} {each.provider}" for each in found]

    every = [f"{name} {provider}" for name in NAMES for provider in (APOLLO, OUTREACH)]
    assert await page() == every
    for limit in range(1, 7):
        assert await page(limit) == every[:limit]
    for number, (name, provider) in enumerate(
        ((name, provider) for name in NAMES for provider in (APOLLO, OUTREACH)), 1
    ):
        assert await page(after=(name, provider)) == every[number:]
    assert await page(after=("b", "z"), limit=2) == ["m apollo", "m outreach"]
    assert await page(customer_id="m") == ["m apollo", "m outreach"]
    assert await page(provider=OUTREACH, after=("a", OUTREACH)) == ["m outreach", "z outreach"]
    await repository.mark_needs_reauth(await found(repository, middle), "void")
    assert await page(state=ConnectionState.NEEDS_REAUTH) == ["m outreach"]
    assert await page(state=ConnectionState.ACTIVE) == [each for each in every if each != "m outreach"]
    assert await page(state=ConnectionState.ACTIVE, customer_id="m", provider=OUTREACH) == []


async def test_a_page_says_what_kind_of_credentials_there_are(
    store: Store, repository: ConnectionRepository, middle: ConnectionKey
) -> None:
    await repository.put(replace(middle, customer_id="z"), ApiKeyCredentials(Secret("k")))
    await ConnectionRepository(store, Keyring.parse(generate_key())).put(replace(middle, customer_id="a"), GRANT)
    shown = await repository.page(middle.application_id, 9, provider=OUTREACH)
    assert [(each.credentials, each.expires_at) for each in shown] == [(None, None), ("oauth", 5.0), ("api_key", None)]


async def test_uses_are_shown_and_change_nothing_else(
    store: Store, repository: ConnectionRepository, middle: ConnectionKey
) -> None:
    before = (await rows(store))[middle.application_id, "m", "outreach"]
    number = before["id"]
    await repository.record_uses(
        [CredentialUse(number, 5.0), CredentialUse(number, 6.0, "FORBIDDEN_ERROR"), CredentialUse(1000, 7.0)]
    )
    known = {"last_success_at": 5.0, "last_failure_at": 6.0, "last_failure_code": "FORBIDDEN_ERROR"}
    assert (await rows(store))[middle.application_id, "m", "outreach"] == before | known
    [shown] = await repository.page(middle.application_id, 9, customer_id="m", provider=OUTREACH)
    assert {name: getattr(shown, name) for name in known} == known


async def test_what_was_put_last_is_not_put_again_in_any_row_but_its_own(
    store: Store, repository: ConnectionRepository, middle: ConnectionKey
) -> None:
    before = await rows(store)
    assert not await repository.put_once(middle, GRANT)
    assert await rows(store) == before
    other = replace(GRANT, access_token=Secret("another"))
    assert await repository.put_once(middle, other)
    after = await rows(store)
    assert changed(before, after) == {(middle.application_id, "m", "outreach")}
    assert not await repository.put_once(middle, other)
    await repository.mark_needs_reauth(await found(repository, middle), "void")
    assert await repository.put_once(middle, other)
    assert (await found(repository, middle)).state is ConnectionState.ACTIVE
    new = replace(middle, customer_id="new")
    assert await repository.put_once(new, other)
    assert len({row["set_digest"] for row in (await rows(store)).values()}) == 19


async def test_the_same_grant_put_many_times_at_once_is_put_once(
    store: Store, repository: ConnectionRepository, middle: ConnectionKey
) -> None:
    """The second one would take the place of what a renewal may have made of the first."""
    other = replace(GRANT, access_token=Secret("another"))
    before = await rows(store)
    was_put = await asyncio.gather(*(repository.put_once(middle, other) for _ in range(5)))
    assert sorted(was_put) == [False, False, False, False, True]
    assert changed(before, await rows(store)) == {(middle.application_id, "m", "outreach")}


@pytest.mark.parametrize(
    ("again", "is_kept"),
    [
        (replace(GRANT, access_token=Secret("newer")), True),
        (replace(GRANT, refresh_token=Secret("another")), False),
        (replace(GRANT, refresh_token=Secret("")), False),
        (ApiKeyCredentials(Secret("r")), False),
    ],
)
async def test_a_lease_is_kept_for_the_grant_that_is_being_renewed(
    store: Store, repository: ConnectionRepository, middle: ConnectionKey, again: Credentials, *, is_kept: bool
) -> None:
    where = (middle.application_id, "m", "outreach")
    assert await repository.take_lease(await found(repository, middle), "me", 24) is Lease.TAKEN
    leased = (await rows(store))[where]
    assert await repository.put(middle, again)
    row = (await rows(store))[where]
    kept = (row["lease_owner"], row["lease_until"])
    assert kept == ((leased["lease_owner"], leased["lease_until"]) if is_kept else (None, None))
    assert row["created_at"] == leased["created_at"]
    assert (row["state"], row["state_reason"], row["updated_at"]) == ("active", "connected", row["state_since"])
    assert row["updated_at"] > leased["updated_at"]
    assert row["revision"] != leased["revision"]


async def test_rows_are_moved_to_a_new_key_in_batches(store: Store, keyring: Keyring, middle: ConnectionKey) -> None:
    # The new key is between the two others in the order of their ids.
    made = sorted((Keyring.parse(generate_key()) for _ in range(20)), key=lambda each: each.current)
    before_it = [each for each in made if each.current < keyring.current]
    new, old = (before_it[::-1] if len(before_it) > 1 else made)[:2]
    await ConnectionRepository(store, old).put(middle, GRANT)
    both = ConnectionRepository(store, Keyring({**new._keys, **old._keys}))
    # 17 rows are under a key that this process does not have.
    assert await both.count_under_other_keys() == 18
    counts = await both.count_by_encryption_key()
    assert (len(counts), counts[old.current], sum(counts.values())) == (2, 1, 18)
    assert await both.encryption_key_ids() == sorted(counts)
    after_id, moved, unreadable, sizes = 0, 0, 0, []
    before = await rows(store)
    while (batch := await both.reencrypt(after_id, 4)) is not None:
        assert batch.last_id > after_id
        after_id, moved, unreadable = batch.last_id, moved + batch.moved, unreadable + batch.unreadable
        sizes.append(batch.moved + batch.unreadable)
    assert (moved, unreadable, sizes) == (1, 17, [4, 4, 4, 4, 2])
    assert changed(before, await rows(store)) == {(middle.application_id, "m", "outreach")}
    assert await both.count_under_other_keys() == 17
    assert (await found(ConnectionRepository(store, new), middle)).connection.credentials == GRANT
    first = await ConnectionRepository(store, new).of_provider(middle.application_id, OUTREACH, 0, 1)
    assert first is not None
    rest = await ConnectionRepository(store, new).of_provider(middle.application_id, OUTREACH, first.last_id, 10)
    assert rest is not None
    assert [(len(each.readable), each.unreadable) for each in (first, rest)] == [(0, 1), (1, 1)]


async def test_one_applications_keys_are_its_own(store: Store) -> None:
    applications = Applications(store, 0)
    keys = {name: (await applications.create(name)).reveal() for name in NAMES}

    async def known() -> set[str]:
        names = set()
        for key in keys.values():
            try:
                names.add((await applications.authenticate(key)).application_name)
            except CallRefused:
                continue
        return names

    assert await known() == {"a", "m", "z"}
    await applications.disable("m")
    assert await known() == {"a", "z"}
    assert [each.disabled_at is None for each in await applications.list()] == [True, False, True]
    await applications.enable("m")
    assert await known() == {"a", "m", "z"}
    second = (await applications.rotate_key("m", 0)).reveal()
    assert await known() == {"a", "z"}
    assert (await applications.authenticate(second)).application_name == "m"
    listed = {each.name: [key.prefix for key in each.keys] for each in await applications.list()}
    assert listed == {
        "a": [keys["a"].split("_")[1]],
        "m": [keys["m"].split("_")[1], second.split("_")[1]],
        "z": [keys["z"].split("_")[1]],
    }
    # One that ends later ends earlier then, and not the other way round.
    third = (await applications.rotate_key("m", 2000)).reveal()
    ends = []
    for seconds in (3000, 4000, 1000):
        await applications.rotate_key("m", seconds)
        [application] = [each for each in await applications.list() if each.name == "m"]
        [ends_at] = [key.expires_at for key in application.keys if key.prefix == third.split("_")[1]]
        ends.append((ends_at or 0) - time.time())
    assert [round(each, -2) for each in ends] == [3000, 3000, 1000]
    assert [key.expires_at is None for key in application.keys] == [False] * 5 + [True]
    # One that has ended already is not given more time.
    await applications.rotate_key("m", 1000)
    assert await known() == {"a", "z"}
    assert (await applications.authenticate(second)).application_name == "m"


async def test_only_who_was_allowed_to_manages(store: Store) -> None:
    applications = Applications(store, 0)

    async def may(key: Secret) -> bool:
        return (await applications.authenticate(key.reveal())).may_manage

    assert [await may(await applications.create("a")), await may(await applications.create("z", may_manage=True))] == [
        False,
        True,
    ]
    # What the latest key may, unless something else is said.
    asked = (None, True, None, False, None)
    assert [await may(await applications.rotate_key("a", None, may_manage=each)) for each in asked] == [
        False,
        True,
        True,
        False,
        False,
    ]
    await applications.map_certificate("a", "one.example")
    await applications.map_certificate("a", "two.example", may_manage=True)
    await applications.map_certificate("z", "three.example")
    assert [each.identities for each in await applications.list()] == [
        ("one.example", "two.example"),
        ("three.example",),
    ]
    callers = [await applications.by_certificate([name]) for name in ("one.example", "two.example")]
    assert [caller.may_manage for caller in callers] == [False, True]
