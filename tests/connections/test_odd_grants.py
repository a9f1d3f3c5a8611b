"""Tokens that come in odd answers: all are kept, used, and renewed in their time."""

import time
from typing import Any

import pytest

from sandbox import seed
from service.domain.credentials import Secret
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode
from tests.support.connections import OutreachCustomer, access_token
from tests.support.databases import SQLITE_ONLY

ODD_ANSWERS: list[dict[str, Any]] = [
    {"members": {"expires_in": "7200"}},
    {"members": {"expires_in": 0}},
    {"members": {"expires_in": -1}},
    {"members": {"expires_in": "soon"}},
    {"members": {"expires_in": None}},
    {"without": ["expires_in"]},
    {"without": ["expires_in", "token_type", "scope", "created_at"]},
    {"members": {"token_type": 7, "scope": None, "created_at": "today", "error": "odd"}},
    {"members": {"access_token": "{}\n", "refresh_token": "\r\n{}\r\n"}},
    {"members": {"access_token": " \ufeff{}"}},
    {"prefix": "\ufeff"},
    {"prefix": "\n\n ", "suffix": "\n\n"},
    {"suffix": "\n<!-- cached -->"},
]


@SQLITE_ONLY
@pytest.mark.parametrize("fault", ODD_ANSWERS, ids=map(ascii, ODD_ANSWERS))
async def test_tokens_of_an_odd_answer_are_kept(customer: OutreachCustomer, fault: dict[str, Any]) -> None:
    await customer.connect(ends_in=-1)
    await customer.change_account(mint_interval_seconds=0)
    customer.token_fault(**fault)
    renewed = access_token(await customer.usable())
    assert await customer.works_at_outreach(renewed)
    # The refresh token that came with it is the only one that still works.
    connection = await customer.usable(customer.another_worker())
    assert access_token(connection) == renewed
    again = await customer.connections.renewed(connection, Deadline.after(20))
    assert access_token(again) != renewed
    assert await customer.works_at_outreach(access_token(again))
    assert customer.token_requests == 2


@pytest.mark.parametrize("members", [{"refresh_token": None}, {"refresh_token": ""}, {"refresh_token": 7}])
async def test_without_a_new_refresh_token_the_old_one_stays(
    customer: OutreachCustomer, members: dict[str, Any]
) -> None:
    await customer.connect(ends_in=-1)
    customer.token_fault(members=members)
    renewed = await customer.usable()
    assert access_token(renewed) != seed.OUTREACH_ACCESS_TOKEN
    assert (await customer.stored()).refresh_token == Secret(seed.OUTREACH_REFRESH_TOKEN)


@pytest.mark.parametrize(("answered", "stored"), [("new", "new"), ("", "given"), (None, "given")])
async def test_scopes_are_those_that_were_named_last(
    customer: OutreachCustomer, answered: str | None, stored: str
) -> None:
    await customer.connect(ends_in=-1, scope="given")
    customer.token_fault(members={"scope": answered})
    await customer.usable()
    assert (await customer.stored()).scope == stored


@pytest.mark.parametrize(
    "fault", [{"without": ["access_token"]}, {"members": {"access_token": 7}}, {"members": {"access_token": "a\nb"}}]
)
async def test_a_refresh_token_without_an_access_token_is_kept(
    customer: OutreachCustomer, fault: dict[str, Any]
) -> None:
    await customer.connect(ends_in=-1)
    await customer.change_account(mint_interval_seconds=0)
    customer.token_fault(**fault)
    assert (await customer.problem()).code is ErrorCode.BAD_GATEWAY_ERROR
    assert (await customer.stored()).refresh_token != Secret(seed.OUTREACH_REFRESH_TOKEN)
    # The next call gets a token with it.
    assert await customer.works_at_outreach(access_token(await customer.usable()))
    assert customer.results == ["failed", "renewed"]


LIFETIMES: list[Any] = [120, "120", 20, 2, 0, -1, "0", -7200, None]


@pytest.mark.parametrize("lifetime", LIFETIMES)
async def test_a_short_life_is_not_renewed_for_every_call(customer: OutreachCustomer, lifetime: Any) -> None:
    await customer.connect(ends_in=-1)
    await customer.change_account(mint_interval_seconds=0)
    customer.token_fault(members={"expires_in": lifetime}, times=None)
    tokens = {access_token(await customer.usable()) for _ in range(10)}
    tokens.add(access_token(await customer.usable(customer.another_worker())))
    assert len(tokens) == 1
    assert customer.token_requests == 1


@pytest.mark.parametrize(("lifetime", "left"), [(120, 59), (1000, 299), (7200, 299)])
async def test_a_token_is_renewed_at_half_life_or_the_margin(
    customer: OutreachCustomer, lifetime: float, left: float
) -> None:
    ends_at = time.time() + left
    for margin_reached, expires_at in ((False, ends_at + 3), (True, ends_at)):
        grant = await customer.connect(ends_in=None, issued_at=expires_at - lifetime, expires_at=expires_at)
        connection = await customer.usable(customer.another_worker())
        assert (access_token(connection) != grant.access_token.reveal()) is margin_reached
