"""Finding the connection of a customer for a call, and what people do with connections."""

import time
from typing import Any

import pytest
from msgspec.structs import replace

from sandbox import seed
from service.connections import Applications, ConnectionAdministration, Keyring, KeyringError, Store
from service.connections.encryption import generate_key
from service.connections.migrations.upgrade import upgrade
from service.connections.schema import connections as table
from service.domain.credentials import ApiKeyCredentials, ConnectionKey, ConnectionState, Secret
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode
from service.domain.step import Provider
from tests.support.connections import OutreachCustomer, access_token


async def test_a_token_with_time_left_is_used_as_it_is(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=3600)
    assert access_token(await customer.usable()) == seed.OUTREACH_ACCESS_TOKEN
    assert customer.token_requests == 0


async def test_applications_do_not_see_each_others_customers(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=3600)
    customer.application_id += 1
    assert (await customer.problem()).code is ErrorCode.NOT_FOUND_ERROR


async def test_a_change_is_seen_within_the_cache_time(
    customer: OutreachCustomer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await customer.connect(ends_in=3600)
    await customer.usable()
    await customer.administration.delete(customer.application_id, "acme", Provider("outreach"))
    await customer.usable()
    later = time.monotonic() + 5.01
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert (await customer.problem()).code is ErrorCode.NOT_FOUND_ERROR


async def test_what_cannot_be_renewed_is_returned_as_it_is(customer: OutreachCustomer) -> None:
    application_id, apollo = customer.application_id, Provider("apollo")
    await customer.administration.set(application_id, "acme", apollo, ApiKeyCredentials(Secret("key")))
    await customer.connect(ends_in=-1, refresh_token=None)
    for connection in (
        await customer.connections.usable(application_id, "acme", apollo, Deadline.after(5)),
        await customer.usable(),
    ):
        # What the provider said of it is what the caller reads.
        assert await customer.connections.renewed(connection, Deadline.after(5)) is connection
    assert customer.token_requests == 0
    assert {each.state for each in await customer.administration.list()} == {ConnectionState.ACTIVE}


async def test_a_damaged_or_moved_row_fails_alone(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=3600)
    await customer.connect(ends_in=3600, customer="other")
    async with customer.store.begin() as db:
        row = (await db.execute(table.select().where(table.c.customer_id == "other"))).one()
    await customer.set_columns(ciphertext=row.ciphertext)
    problem = await customer.problem()
    assert problem.code is ErrorCode.INTERNAL_SERVER_ERROR
    assert "set the connection again" in problem.advice
    await customer.usable(customer="other")


async def test_a_removed_key_is_a_clear_error(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=3600)
    old, customer.keys = customer.keys, generate_key()
    with pytest.raises(KeyringError, match="does not have"):
        await customer.administration.check_keys()
    assert "not in SEQSTEP_ENCRYPTION_KEYS" in (await customer.problem(customer.another_worker())).detail
    customer.keys = f"{customer.keys},{old}"
    await customer.administration.check_keys()
    await customer.usable(customer.another_worker())


async def test_all_move_to_the_first_key_while_calls_go_on(customer: OutreachCustomer) -> None:
    customers = [f"c{number}" for number in range(60)]
    for name in customers:
        await customer.connect(ends_in=3600, customer=name)
    new = generate_key()
    customer.keys = f"{new},{customer.keys}"
    assert await customer.administration.count_to_reencrypt() == 60
    async for _ in customer.administration.reencrypt():
        break
    [_ async for _ in customer.administration.reencrypt()]
    assert await customer.administration.count_to_reencrypt() == 0
    customer.keys = new
    await customer.administration.check_keys()
    for name in customers:
        await customer.usable(customer.another_worker(), customer=name)


async def test_a_connection_needs_an_application(customer: OutreachCustomer) -> None:
    customer.application_id += 1
    with pytest.raises(ValueError, match="no application"):
        await customer.connect(ends_in=3600)


async def test_an_upgrade_keeps_the_connections(customer: OutreachCustomer) -> None:
    grant = await customer.connect(ends_in=3600)
    await upgrade(customer.store)
    assert replace(await customer.usable(), id=0).credentials == grant


async def test_no_id_is_given_twice(customer: OutreachCustomer) -> None:
    """What is remembered about a connection is remembered by its id."""
    seen = []
    for name in ("acme", "acme", "other"):
        await customer.connect(ends_in=3600, customer=name)
        seen.append((await customer.usable(customer.another_worker(), customer=name)).id)
    await customer.administration.delete(customer.application_id, "other", Provider("outreach"))
    await customer.connect(ends_in=3600, customer="third")
    seen.append((await customer.usable(customer="third")).id)
    assert len(set(seen)) == 4


async def test_a_key_is_replaced_while_replicas_run(customer: OutreachCustomer) -> None:
    """Each replica reads what any other writes, in the order of docs/operations.md."""
    old, new = customer.keys, generate_key()
    both = [f"{old},{new}", f"{new},{old}"]
    for before, after in ((old, both[0]), (both[0], both[1]), (both[1], new)):
        if after == new:
            customer.keys = both[1]
            [_ async for _ in customer.administration.reencrypt()]
            assert list(await customer.administration.count_by_key()) == [Keyring.parse(new).current]
        for writer, reader in ((before, after), (after, before)):
            customer.keys = writer
            await customer.administration.check_keys()
            await customer.connect(ends_in=3600)
            customer.keys = reader
            await customer.usable(customer.another_worker())


async def test_a_new_key_that_comes_first_at_once_is_not_read_by_all(customer: OutreachCustomer) -> None:
    """The order that docs/operations.md warns of."""
    old, new = customer.keys, generate_key()
    customer.keys = f"{new},{old}"
    await customer.connect(ends_in=3600)
    customer.keys = old
    assert (await customer.problem(customer.another_worker())).code is ErrorCode.INTERNAL_SERVER_ERROR


async def test_a_client_secret_is_replaced_for_one_application_at_one_provider(
    customer: OutreachCustomer, store: Store
) -> None:
    applications = Applications(store, 0)
    other = await applications.authenticate((await applications.create("other")).reveal())
    grant = await customer.connect(ends_in=3600)
    await customer.connect(ends_in=3600, customer="umbrella")
    elsewhere = [(other.application_id, Provider("outreach")), (customer.application_id, Provider("apollo"))]
    for application_id, provider in elsewhere:
        await customer.administration.set(application_id, "acme", provider, grant)
    changed = await customer.administration.set_client_secret(
        customer.application_id, Provider("outreach"), None, Secret("another secret")
    )
    assert (changed.replaced, changed.unreadable) == (2, 0)
    assert (await customer.stored()).client_secret == Secret("another secret")
    for application_id, provider in elsewhere:
        found = await customer.repository.find(ConnectionKey(application_id, "acme", provider))
        assert found is not None
        assert found.connection.credentials == grant


async def test_a_late_release_does_not_take_the_lease_of_another(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=3600)
    await customer.set_columns(lease_owner="another", lease_until=time.time() + 20)
    await customer.repository.release_lease((await customer.row()).key, "one whose lease ran out")
    assert await customer.column("lease_owner") == "another"
    await customer.repository.release_lease((await customer.row()).key, "another")
    assert await customer.column("lease_owner") is None


async def test_credentials_renewed_during_a_reencryption_stay(
    customer: OutreachCustomer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be lost if what was read before the renewal were written after it."""
    grant = await customer.connect(ends_in=3600)
    before = await customer.row()
    renewed = replace(grant, refresh_token=Secret("the next one"))
    mover = ConnectionAdministration(store, Keyring.parse(f"{generate_key()},{customer.keys}"))
    transact = store.transact

    async def after_a_renewal(work: Any) -> Any:
        monkeypatch.setattr(store, "transact", transact)
        assert await customer.repository.replace_credentials(before, renewed) is not None
        return await transact(work)

    monkeypatch.setattr(store, "transact", after_a_renewal)
    assert [batch async for batch in mover.reencrypt()] == [(0, 0)]
    assert (await customer.stored()).refresh_token == Secret("the next one")


async def test_what_was_read_of_a_deleted_connection_does_not_change_a_new_one(customer: OutreachCustomer) -> None:
    grant = await customer.connect(ends_in=3600)
    earlier = await customer.row()
    await customer.connect(ends_in=3600, refresh_token=Secret("another grant"))
    await customer.set_columns(revision=earlier.revision)
    assert await customer.repository.replace_credentials(earlier, grant) is None
    assert (await customer.stored()).refresh_token == Secret("another grant")


async def test_credentials_that_were_set_last_are_not_set_again(customer: OutreachCustomer) -> None:
    administration, outreach = customer.administration, Provider("outreach")
    as_set = await customer.connect(ends_in=-1)
    of_customer = (customer.application_id, "acme", outreach)
    assert not await administration.set_once(*of_customer, as_set)
    renewed = access_token(await customer.usable())
    assert not await administration.set_once(*of_customer, replace(as_set, issued_at=1.0))
    assert (await customer.stored()).access_token == Secret(renewed)
    assert await administration.set_once(*of_customer, replace(as_set, redirect_uri="https://other.example.com"))
    await customer.set_columns(state=ConnectionState.NEEDS_REAUTH.value)
    assert await administration.set_once(*of_customer, replace(as_set, redirect_uri="https://other.example.com"))
    found = await administration.find(*of_customer)
    assert found is not None
    assert found.state is ConnectionState.ACTIVE


async def test_pages_of_connections_begin_where_the_last_one_ended(customer: OutreachCustomer) -> None:
    administration, application_id = customer.administration, customer.application_id
    customers = ["A", "B-1", "B_1", "a", "a b", "b", "~"]
    for each in customers:
        for provider in ("apollo", "outreach"):
            await administration.set(application_id, each, Provider(provider), ApiKeyCredentials(Secret("key")))
    whole = await administration.page(application_id, 100)
    assert sorted((each.customer_id, str(each.provider)) for each in whole) == sorted(
        (each, provider) for each in customers for provider in ("apollo", "outreach")
    )
    paged = await administration.page(application_id, 3)
    while page := await administration.page(application_id, 3, after=(paged[-1].customer_id, str(paged[-1].provider))):
        paged = [*paged, *page]
    assert paged == whole
    assert await administration.page(application_id + 1, 100) == []


async def test_what_cannot_be_decrypted_is_listed_without_its_kind(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=3600)
    [good] = await customer.administration.page(customer.application_id, 10)
    assert (good.credentials, good.expires_at is not None) == ("oauth", True)
    await customer.set_columns(ciphertext=b"damaged")
    [damaged] = await customer.administration.page(customer.application_id, 10)
    assert (damaged.credentials, damaged.expires_at) == (None, None)


async def test_a_refused_token_is_looked_up_anew_before_it_is_renewed(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=3600)
    await customer.set_columns(refresh_error="invalid_client", refresh_error_at=time.time())
    refused = await customer.usable()
    # Meanwhile another process stores what is good; what this one remembers says that renewing is of no use.
    new = await customer.connect(ends_in=3600, access_token="another")
    connection = await customer.connections.renewed(refused, Deadline.after(20))
    assert access_token(connection) == new.access_token.reveal()
    assert customer.token_requests == 0
