"""What becomes of a connection when the token endpoint refuses to renew its token."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from sandbox import seed
from service.connections import SeveralClients, token_refresh
from service.domain.credentials import ConnectionState, Secret
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, Problem, UpdateFailed
from service.domain.step import Provider
from tests.support.connections import OutreachCustomer, access_token
from tests.support.waiting import until

OUTREACH = Provider("outreach")
GRANT_REFUSED: dict[str, Any] = {"status": 400, "body": {"error": "invalid_grant"}}
CLIENT_REFUSED: dict[str, Any] = {"status": 401, "body": {"error": "invalid_client"}}


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_refresh, "SECOND_REQUEST_SECONDS", 0.01)


async def refused_at_outreach(customer: OutreachCustomer) -> str:
    """The token after Outreach has refused the present one."""
    connection = await customer.usable()
    return access_token(await customer.connections.renewed(connection, Deadline.after(20)))


async def check(customer: OutreachCustomer) -> tuple[Problem, ...]:
    """What `seqstep connection check` finds before it asks the provider."""
    worker = customer.another_worker()
    try:
        await worker.retried(customer.application_id, "acme", OUTREACH, Deadline.after(20))
    except UpdateFailed as failure:
        return failure.problems
    return ()


# A grant that is refused.


async def test_a_grant_refused_twice_needs_reauth(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    await customer.change_account(revoke_refresh_token=True)
    problem = await customer.problem()
    assert problem.code is ErrorCode.UNAUTHORIZED_ERROR
    assert "Reconnect customer acme to Outreach" in problem.detail
    assert await customer.state() == (ConnectionState.NEEDS_REAUTH, "Outreach answered invalid_grant")
    assert customer.token_requests == 2
    # From now on no token is asked for.
    assert (await customer.problem(customer.another_worker())).code is ErrorCode.UNAUTHORIZED_ERROR
    assert customer.token_requests == 2
    assert customer.results == ["grant_refused", "grant_refused"]
    await customer.connect(ends_in=3600)
    assert (await customer.state())[0] is ConnectionState.ACTIVE
    await customer.usable(customer.another_worker())


PASSING: list[dict[str, Any]] = [
    GRANT_REFUSED,
    {"status": 200, "body": {"error": "invalid_grant"}},
    {"status": 401, "body": {"error": {"code": "INVALID_GRANT"}}},
    {"status": 403, "body": {"errors": [{"id": "invalidGrant"}]}},
]


@pytest.mark.parametrize("fault", PASSING)
async def test_a_passing_refusal_does_not_fail_a_call(customer: OutreachCustomer, fault: dict[str, Any]) -> None:
    await customer.connect(ends_in=-1)
    customer.token_fault(**fault)
    assert access_token(await customer.usable()) != seed.OUTREACH_ACCESS_TOKEN
    assert customer.token_requests == 2
    summary = await customer.summary()
    assert (summary.state, summary.refresh_error) == (ConnectionState.ACTIVE, None)


@pytest.mark.parametrize("fault", PASSING)
async def test_a_refused_token_survives_a_passing_refusal(customer: OutreachCustomer, fault: dict[str, Any]) -> None:
    await customer.connect(ends_in=3600)
    customer.token_fault(**fault)
    assert await refused_at_outreach(customer) != seed.OUTREACH_ACCESS_TOKEN
    assert (await customer.state())[0] is ConnectionState.ACTIVE


@pytest.mark.parametrize("ends_in", [10, 100, 240])
async def test_a_good_token_is_used_after_a_refusal(customer: OutreachCustomer, ends_in: float) -> None:
    await customer.connect(ends_in=ends_in)
    customer.token_fault(**GRANT_REFUSED)
    for worker in (customer.connections, customer.connections, customer.another_worker()):
        assert access_token(await customer.usable(worker)) == seed.OUTREACH_ACCESS_TOKEN
    # Another request has to wait, in every worker.
    assert customer.token_requests == 1
    summary = await customer.summary()
    assert (summary.state, summary.refresh_error) == (ConnectionState.ACTIVE, "invalid_grant")
    # After the pause it is asked again, and has changed its mind.
    await customer.set_columns(refresh_error_at=0.0)
    assert access_token(await customer.usable(customer.another_worker())) != seed.OUTREACH_ACCESS_TOKEN
    assert (await customer.summary()).refresh_error is None


async def test_a_good_token_does_not_save_a_void_grant(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=100)
    await customer.change_account(revoke_refresh_token=True)
    assert access_token(await customer.usable()) == seed.OUTREACH_ACCESS_TOKEN
    await customer.set_columns(refresh_error_at=0.0)
    assert (await customer.problem(customer.another_worker())).code is ErrorCode.UNAUTHORIZED_ERROR
    assert (await customer.state())[0] is ConnectionState.NEEDS_REAUTH
    assert customer.token_requests == 2


async def test_workers_that_notice_at_once_ask_twice(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    await customer.change_account(revoke_refresh_token=True)
    workers = [customer.another_worker() for _ in range(4)]
    problems = await asyncio.gather(*(customer.problem(worker) for worker in workers for _ in range(5)))
    assert {problem.code for problem in problems} == {ErrorCode.UNAUTHORIZED_ERROR}
    assert customer.token_requests == 2


async def test_a_refusal_of_the_grant_before_is_forgotten(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=100)
    customer.token_fault(**GRANT_REFUSED)
    await customer.usable()
    await customer.connect(ends_in=100)
    customer.token_fault(**GRANT_REFUSED)
    await customer.usable(customer.another_worker())
    assert (await customer.state())[0] is ConnectionState.ACTIVE


async def test_a_check_takes_the_mark_back(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    customer.token_fault(**GRANT_REFUSED, times=2)
    await customer.problem()
    assert (await customer.state())[0] is ConnectionState.NEEDS_REAUTH
    assert await check(customer) == ()
    assert await customer.state() == (ConnectionState.ACTIVE, "token renewed")
    assert await customer.works_at_outreach(access_token(await customer.usable(customer.another_worker())))


async def test_a_check_renews_nothing_that_was_not_refused(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=3600)
    assert await check(customer) == ()
    await customer.connect(ends_in=3600, refresh_token=None)
    await customer.set_columns(state=ConnectionState.NEEDS_REAUTH.value)
    assert [problem.code for problem in await check(customer)] == [ErrorCode.UNAUTHORIZED_ERROR]
    assert customer.token_requests == 0
    await customer.administration.delete(customer.application_id, "acme", OUTREACH)
    assert [problem.code for problem in await check(customer)] == [ErrorCode.NOT_FOUND_ERROR]


async def test_a_check_keeps_the_mark_of_a_void_grant(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    await customer.change_account(revoke_refresh_token=True)
    await customer.problem()
    for _ in range(3):
        [problem] = await check(customer)
        assert problem.code is ErrorCode.UNAUTHORIZED_ERROR
        assert (await customer.state())[0] is ConnectionState.NEEDS_REAUTH
    assert customer.token_requests == 5


async def test_a_check_that_gets_no_verdict_keeps_the_mark(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    customer.token_fault(**GRANT_REFUSED, times=2)
    await customer.problem()
    for fault in ({"status": 503}, {"status": 429}, CLIENT_REFUSED):
        customer.token_fault(**fault)
        assert [problem.code for problem in await check(customer)] != [ErrorCode.UNAUTHORIZED_ERROR]
        assert (await customer.state())[0] is ConnectionState.NEEDS_REAUTH


# A client that is refused.

CLIENTS: list[tuple[dict[str, Any], str]] = [
    (CLIENT_REFUSED, "invalid_client"),
    ({"status": 400, "body": {"error": "unauthorized_client"}}, "unauthorized_client"),
    ({"status": 200, "body": {"error": "Invalid_Client"}}, "invalid_client"),
    ({"status": 400, "body": {"error": "unsupported_grant_type"}}, "unsupported_grant_type"),
]


@pytest.mark.parametrize(("fault", "error"), CLIENTS)
async def test_a_refused_client_marks_no_customer(
    customer: OutreachCustomer, fault: dict[str, Any], error: str
) -> None:
    await customer.connect(ends_in=-1)
    customer.token_fault(**fault, times=None)
    with capture_logs() as logs:
        problem = await customer.problem()
    assert problem.code is ErrorCode.SERVICE_UNAVAILABLE_ERROR
    assert error in problem.detail
    assert "need not connect again" in problem.detail
    assert problem.retry_after is not None
    summary = await customer.summary()
    assert (summary.state, summary.refresh_error) == (ConnectionState.ACTIVE, error)
    # The operator learns of it by the log, a metric and the doctor.
    [event] = [entry for entry in logs if entry["log_level"] == "error"]
    assert (event["error"], event["client_id"], event["provider"]) == (error, seed.OUTREACH_CLIENT_ID, "outreach")
    assert seed.OUTREACH_CLIENT_SECRET not in repr(logs)
    assert customer.results == ["client_refused"]
    [count] = await customer.administration.refresh_errors()
    assert (count.application, count.provider, count.error, count.count) == ("billing", "outreach", error, 1)


async def test_a_refused_client_is_not_tried_for_every_call(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    customer.token_fault(**CLIENT_REFUSED, times=None)
    for worker in (customer.connections, customer.connections, customer.another_worker()):
        assert (await customer.problem(worker)).code is ErrorCode.SERVICE_UNAVAILABLE_ERROR
    assert customer.token_requests == 1
    await customer.set_columns(refresh_error_at=0.0)
    await customer.problem(customer.another_worker())
    assert customer.token_requests == 2
    assert (await customer.state())[0] is ConnectionState.ACTIVE


async def test_a_good_token_is_used_while_the_client_is_refused(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=100, client_secret=Secret("wrong"))
    for worker in (customer.connections, customer.connections, customer.another_worker()):
        assert access_token(await customer.usable(worker)) == seed.OUTREACH_ACCESS_TOKEN
    assert customer.token_requests == 1


async def test_a_client_secret_is_replaced_without_touching_tokens(customer: OutreachCustomer) -> None:
    grant = await customer.connect(ends_in=-1)
    await customer.connect(ends_in=-1, customer="other", client_id="other-client")
    await customer.change_account(client_secret="new-secret")
    assert (await customer.problem()).code is ErrorCode.SERVICE_UNAVAILABLE_ERROR
    administration, application_id = customer.administration, customer.application_id
    with pytest.raises(SeveralClients) as failure:
        await administration.set_client_secret(application_id, OUTREACH, None, Secret("new-secret"))
    assert failure.value.client_ids == ["other-client", seed.OUTREACH_CLIENT_ID]
    client = seed.OUTREACH_CLIENT_ID
    change = await administration.set_client_secret(application_id, OUTREACH, client, Secret("new-secret"))
    assert (change.replaced, change.unreadable) == (1, 0)
    stored = await customer.stored()
    assert stored.client_secret == Secret("new-secret")
    assert (stored.access_token, stored.refresh_token) == (grant.access_token, grant.refresh_token)
    # It is tried at once.
    assert access_token(await customer.usable(customer.another_worker())) != seed.OUTREACH_ACCESS_TOKEN
    assert await administration.refresh_errors() == []


async def test_an_application_has_its_own_client_secrets(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    change = await customer.administration.set_client_secret(
        customer.application_id + 1, OUTREACH, None, Secret("new-secret")
    )
    assert change.replaced == 0
    assert (await customer.stored()).client_secret == Secret(seed.OUTREACH_CLIENT_SECRET)


async def test_a_renewal_keeps_a_secret_replaced_meanwhile(customer: OutreachCustomer) -> None:
    await customer.connect(ends_in=-1)
    customer.token_fault(delay_seconds=0.3, when="after")
    renewing = asyncio.ensure_future(customer.usable())
    await until(lambda: customer.token_requests)
    await customer.administration.set_client_secret(customer.application_id, OUTREACH, None, Secret("new-secret"))
    renewed = access_token(await renewing)
    stored = await customer.stored()
    assert stored.access_token == Secret(renewed)
    assert stored.refresh_token != Secret(seed.OUTREACH_REFRESH_TOKEN)
    assert stored.client_secret == Secret("new-secret")
