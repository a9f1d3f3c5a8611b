"""Renewing a token once, whoever asks for it and whatever happens."""

import asyncio
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from sandbox import seed
from service.api.deadline_policy import DeadlinePolicy
from service.connections import StoreUnavailable, token_refresh
from service.domain.credentials import ConnectionState, Secret
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode
from service.domain.step import Provider
from service.tasks import LAST_RENEWAL_SECONDS
from tests.connections.refresh_process import STEPS
from tests.support.connections import OutreachCustomer, access_token, check_after_crash
from tests.support.databases import SQLITE_ONLY
from tests.support.waiting import until


@pytest.mark.parametrize("ends_in", [-10, 10, 299])
async def test_a_token_that_ends_soon_is_renewed_once(customer: OutreachCustomer, ends_in: float) -> None:
    await customer.connect(ends_in=ends_in)
    connections = await asyncio.gather(*(customer.usable() for _ in range(100)))
    assert len({access_token(connection) for connection in connections}) == 1
    assert access_token(connections[0]) != seed.OUTREACH_ACCESS_TOKEN
    assert customer.mints == customer.token_requests == 1
    assert access_token(await customer.usable(customer.another_worker())) == access_token(connections[0])
    assert customer.mints == 1


async def test_a_renewed_token_is_known_without_a_query(customer: OutreachCustomer, queries: list[str]) -> None:
    await customer.connect(ends_in=-1)
    renewed = await customer.usable()
    queries.clear()
    assert await customer.usable() == renewed
    assert queries == []


async def test_a_renewal_is_logged_without_its_token(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    with capture_logs() as logs:
        await customer.usable()
    assert logs == [
        {"event": "token renewed", "log_level": "info", "customer": "acme", "provider": Provider("outreach")}
    ]


async def test_two_workers_mint_once(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    workers = customer.another_worker(), customer.another_worker()
    found = await asyncio.gather(*(customer.usable(worker) for worker in workers for _ in range(20)))
    assert len({access_token(connection) for connection in found}) == 1
    assert customer.token_requests == 1


async def test_processes_mint_once(customer: OutreachCustomer, tmp_path: Path) -> None:
    await customer.connect(ends_in=-1)
    files = [tmp_path / f"{number}.output" for number in range(4)]
    processes = [customer.start_process(file, calls=100) for file in files]
    assert [await process.wait() for process in processes] == [0] * 4
    outputs = [json.loads(file.read_text().splitlines()[-1]) for file in files]
    assert len({tuple(output) for output in outputs}) == 1
    assert len(outputs[0]) == 1
    assert "ERROR" not in outputs[0][0]
    assert customer.token_requests == 1


async def test_a_refused_token_with_time_left_is_renewed(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=3600)
    before = await customer.usable()
    after = await customer.connections.renewed(before, Deadline.after(20))
    assert access_token(after) != access_token(before)
    # A later caller with the old token gets the new one that is stored.
    for worker in (customer.connections, customer.another_worker()):
        assert access_token(await worker.renewed(before, Deadline.after(20))) == access_token(after)
    assert customer.token_requests == 1


FAULTS: list[tuple[dict[str, Any], ErrorCode]] = [
    ({"status": 500, "body": "oops"}, ErrorCode.BAD_GATEWAY_ERROR),
    ({"status": 503, "body": "<html>", "headers": {"content-type": "text/html"}}, ErrorCode.SERVICE_UNAVAILABLE_ERROR),
    ({"status": 429, "headers": {"retry-after": "42"}}, ErrorCode.TOO_MANY_REQUESTS_ERROR),
    ({"status": 400, "body": {"error": "temporarily_odd"}}, ErrorCode.BAD_GATEWAY_ERROR),
    ({"status": 200, "body": "<html>"}, ErrorCode.BAD_GATEWAY_ERROR),
    ({"status": 200, "body": {"token_type": "bearer"}}, ErrorCode.BAD_GATEWAY_ERROR),
    ({"status": 302, "headers": {"location": "http://other.example/"}}, ErrorCode.BAD_GATEWAY_ERROR),
    ({"cut": "before_headers"}, ErrorCode.SERVICE_UNAVAILABLE_ERROR),
    ({"cut": "mid_body", "status": 200, "body": {"access_token": "x"}}, ErrorCode.SERVICE_UNAVAILABLE_ERROR),
    ({"hang": True}, ErrorCode.GATEWAY_TIMEOUT_ERROR),
]


@SQLITE_ONLY
@pytest.mark.parametrize(("fault", "code"), FAULTS, ids=[str(fault) for fault, _ in FAULTS])
async def test_a_passing_failure_is_typed_and_marks_nothing(
    customer: OutreachCustomer, fault: dict[str, Any], code: ErrorCode
) -> None:
    await customer.connect(ends_in=-1)
    customer.token_fault(**fault)
    problem = await customer.problem(seconds=1 if "hang" in fault else 20)
    assert problem.code is code
    if fault.get("status") == 429:
        assert problem.retry_after == 42
    assert (await customer.state())[0] is ConnectionState.ACTIVE


@pytest.mark.parametrize(("left", "is_used"), [(0.5, True), (0.0, False), (-0.5, False)])
async def test_a_token_is_used_until_its_end(
    customer: OutreachCustomer, monkeypatch: pytest.MonkeyPatch, left: float, *, is_used: bool
) -> None:
    grant = await customer.connect(ends_in=60)
    now = SimpleNamespace(time=lambda: (grant.expires_at or 0.0) - left)
    monkeypatch.setattr("service.connections.connections.time", now)
    customer.token_fault(status=500)
    if is_used:
        assert access_token(await customer.usable()) == seed.OUTREACH_ACCESS_TOKEN
    else:
        assert (await customer.problem()).code is ErrorCode.BAD_GATEWAY_ERROR


async def test_a_failure_gives_the_lease_back(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    customer.token_fault(status=500)
    await customer.problem()
    began = time.monotonic()
    assert access_token(await customer.usable(customer.another_worker())) != seed.OUTREACH_ACCESS_TOKEN
    assert time.monotonic() - began < token_refresh.TAKEOVER_SECONDS


async def test_a_wait_that_was_demanded_ends_with_the_credentials(
    customer: OutreachCustomer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await customer.connect(ends_in=-1)
    customer.token_fault(status=429, headers={"retry-after": "42"})
    assert (await customer.problem()).retry_after is not None
    await customer.connect(ends_in=-1)
    # The worker sees the new ones within five seconds.
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 5.01)
    assert access_token(await customer.usable()) != seed.OUTREACH_ACCESS_TOKEN


def test_the_times_of_a_renewal_fit_each_other() -> None:
    # No second mint begins while one may be under way, and one that a stop waits for can end and be stored.
    assert token_refresh._MINT_SECONDS < token_refresh.LEASE_SECONDS
    assert token_refresh._MINT_SECONDS < LAST_RENEWAL_SECONDS
    # Whoever takes a lease over waits until the one before has asked the database again.
    assert 4 * token_refresh._LONGEST_POLL_SECONDS < token_refresh.TAKEOVER_SECONDS
    # A token that is still good costs a call less than a deadline that callers set.
    assert DeadlinePolicy().budget(None) / 2 > token_refresh._EARLY_REFRESH_SECONDS
    assert token_refresh.SECOND_REQUEST_SECONDS < token_refresh._REFUSAL_BACKOFF_SECONDS


async def test_an_endpoint_is_not_asked_before_the_time_it_gave(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    customer.token_fault(status=429, headers={"retry-after": "42"}, times=None)
    await customer.problem()
    again = await customer.problem()
    assert again.code is ErrorCode.TOO_MANY_REQUESTS_ERROR
    assert again.retry_after is not None
    assert 40 < again.retry_after <= 42
    assert customer.token_requests == 1


async def test_a_good_token_is_used_while_the_endpoint_fails(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=100)
    customer.token_fault(status=500, times=None)
    for _ in range(20):
        assert access_token(await customer.usable()) == seed.OUTREACH_ACCESS_TOKEN
    # It is asked once, and then not for a while.
    assert customer.token_requests == 1
    assert (await customer.state())[0] is ConnectionState.ACTIVE


async def test_a_caller_that_leaves_does_not_stop_a_renewal(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    customer.token_fault(delay_seconds=0.3)
    left = asyncio.ensure_future(customer.usable())
    await until(lambda: customer.token_requests)
    left.cancel()
    assert access_token(await customer.usable()) != seed.OUTREACH_ACCESS_TOKEN
    assert customer.token_requests == 1


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"status": 400, "body": {"error": "invalid_grant"}},
        {"status": 401, "body": {"error": "invalid_client"}},
    ],
)
async def test_a_connection_set_meanwhile_is_not_overwritten(
    customer: OutreachCustomer, answer: dict[str, Any]
) -> None:
    await customer.connect(ends_in=-1)
    customer.token_fault(delay_seconds=0.3, **answer)
    renewing = asyncio.ensure_future(customer.usable())
    await until(lambda: customer.token_requests)
    await customer.connect(3600, access_token="other", refresh_token=Secret(seed.OUTREACH_SECOND_REFRESH_TOKEN))
    assert access_token(await renewing) == "other"
    assert access_token(await customer.usable()) == "other"


async def test_the_same_grant_set_meanwhile_gets_the_new_tokens(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    customer.token_fault(delay_seconds=0.3, when="after")
    renewing = asyncio.ensure_future(customer.usable())
    await until(lambda: customer.token_requests)
    # Its refresh token is used up by now, and nobody but the renewal has the next one.
    await customer.connect(ends_in=3600)
    assert access_token(await renewing) != seed.OUTREACH_ACCESS_TOKEN
    assert (await customer.stored()).refresh_token != Secret(seed.OUTREACH_REFRESH_TOKEN)


async def test_a_connection_deleted_meanwhile_stays_deleted(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    customer.token_fault(delay_seconds=0.3)
    renewing = asyncio.ensure_future(customer.problem())
    await until(lambda: customer.token_requests)
    await customer.administration.delete(customer.application_id, "acme", Provider("outreach"))
    assert (await renewing).code is ErrorCode.NOT_FOUND_ERROR


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("answers_late", [False, pytest.param(True, marks=pytest.mark.slow)])
async def test_after_a_crash_a_connection_works_or_says_why_not(
    customer: OutreachCustomer, step: str, tmp_path: Path, *, answers_late: bool
) -> None:
    await customer.connect(ends_in=-1)
    await customer.change_account(mint_interval_seconds=0)
    if step == "request sent":
        # Longer than it takes to kill who asked.
        customer.token_fault(delay_seconds=5, when="after")
    elif answers_late:
        customer.token_fault(delay_seconds=0.2, when="after")
    await check_after_crash(customer, step, tmp_path)


async def test_the_lease_of_a_crashed_process_ends_by_itself(
    customer: OutreachCustomer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await customer.connect(ends_in=-1)
    monkeypatch.setattr(token_refresh, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(token_refresh, "TAKEOVER_SECONDS", 0.3)
    lease_until = time.time() + 0.5
    await customer.set_columns(lease_owner="crashed", lease_until=lease_until)
    assert access_token(await customer.usable()) != seed.OUTREACH_ACCESS_TOKEN
    # And some more, in which the process before could have stored what it got.
    assert time.time() >= lease_until + 0.3


async def test_a_lease_that_ran_out_may_have_been_used(
    customer: OutreachCustomer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner minted, and could not reach the database until the lease was over."""
    monkeypatch.setattr(token_refresh, "TAKEOVER_SECONDS", 0.5)
    grant = await customer.connect(ends_in=-1)
    row = await customer.row()
    await customer.set_columns(lease_owner="other", lease_until=time.time() - 1)
    waiting = asyncio.ensure_future(customer.usable())
    async with asyncio.timeout(10):
        while await customer.column("lease_owner") == "other":  # noqa: ASYNC110  # a row has no event
            await asyncio.sleep(0)
    minted = replace(grant, access_token=Secret("minted"), refresh_token=Secret("next"), expires_at=time.time() + 3600)
    assert await customer.repository.replace_credentials(row, minted) is not None
    assert access_token(await waiting) == "minted"
    assert customer.token_requests == 0


async def test_a_lease_from_the_future_blocks_nobody(
    customer: OutreachCustomer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_refresh, "TAKEOVER_SECONDS", 0.01)
    await customer.connect(ends_in=-1)
    await customer.set_columns(lease_owner="before the clock was set back", lease_until=time.time() + 10_000)
    assert access_token(await customer.usable()) != seed.OUTREACH_ACCESS_TOKEN


async def test_a_refusal_from_the_future_blocks_nobody(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    await customer.set_columns(refresh_error="invalid_client", refresh_error_at=time.time() + 10_000)
    assert access_token(await customer.usable()) != seed.OUTREACH_ACCESS_TOKEN


async def test_the_same_grant_set_meanwhile_is_not_renewed_twice(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    customer.token_fault(delay_seconds=0.3, when="after")
    renewing = asyncio.ensure_future(customer.usable())
    await until(lambda: customer.token_requests)
    await customer.connect(ends_in=-1)
    # Its refresh token is used up, and the worker that has the next one has not stored it yet.
    assert access_token(await customer.usable(customer.another_worker())) == access_token(await renewing)
    assert customer.token_requests == 1


async def test_tokens_that_end_at_once_do_not_fail_a_call(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    await customer.change_account(mint_interval_seconds=0)
    customer.token_fault(members={"expires_in": 0}, times=None)
    for _ in range(3):
        connection = await customer.usable()
        await customer.connections.renewed(connection, Deadline.after(20))
    assert (await customer.state())[0] is ConnectionState.ACTIVE


async def test_a_token_that_is_lost_at_the_end_is_logged(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)

    async def is_away(*_: object) -> None:
        raise StoreUnavailable("away")

    customer.connections._refreshes._repository.replace_credentials = is_away  # type: ignore[method-assign, assignment]
    renewing = asyncio.ensure_future(customer.usable())
    await until(lambda: customer.mints)
    with capture_logs() as logs, pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_refresh, "LAST_RENEWAL_SECONDS", 0.1)
        await customer.connections.finish(0)
    assert [(line["event"].partition(":")[0], line["customer"]) for line in logs] == [("renewed token lost", "acme")]
    with pytest.raises(asyncio.CancelledError):
        await renewing
