"""Every row of the table of odd answers, through the whole service and real sockets: what is said, and what is so."""

import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import pytest
import pytest_asyncio
from engagement.v1 import envelope_pb2

from service.api.contract import OUTCOMES
from service.connections import Keyring, token_refresh
from service.connections.repository import ConnectionRepository
from service.domain.credentials import ApiKeyCredentials, ConnectionKey, Credentials, OAuthCredentials, Secret
from service.domain.errors import Outcome
from service.domain.step import Provider
from service.upstream import retry
from service.upstream.retry import CircuitBreaker, RetryBudget
from tests.odd_answers.table import OK, ROWS, Row
from tests.support import apollo, outreach
from tests.support.service import CallResult, RunningService, running_service
from tests.support.stand_in import FIELD_NAMES, LIST, READ, SHARING, Edit, Odd, StandIn, Switch, serving
from tests.support.truth import untruths

ORIGINS = {
    "provider": envelope_pb2.ERROR_ORIGIN_REMOTE_PROVIDER,
    "service": envelope_pb2.ERROR_ORIGIN_SERVICE,
}
GRANTS: dict[str, dict[str, Any]] = {
    "": {},
    "ended": {"expires_in": -1},
    "ends soon": {"expires_in": 240},
    "no refresh token": {"refresh_token": None},
}
LONGEST_WAIT = 86_400


def credentials_of(row: Row) -> Credentials:
    if row.provider == "apollo":
        return ApiKeyCredentials(Secret("key-0"))
    grant = {"expires_in": None, "refresh_token": Secret("refresh-0")} | GRANTS[row.grant]
    ends = None if grant["expires_in"] is None else time.time() + grant["expires_in"]
    return OAuthCredentials(Secret("access-0"), grant["refresh_token"], ends, "client", Secret("application-0"))


class Rows:
    """One service for all rows, with a customer for each."""

    def __init__(self, service: RunningService, switch: Switch) -> None:
        self.service = service
        self.switch = switch
        self._customers = itertools.count()

    async def run(self, row: Row) -> tuple[StandIn, CallResult]:
        """Makes the calls of a row, and compares what they say with what is so."""
        customer, provider = f"customer-{next(self._customers)}", Provider(row.provider)
        await self.service.connect(customer, provider, credentials_of(row))
        stand_in = self.switch.current = StandIn(row.provider, *row.odd)
        stand_in.stored |= row.had
        update: dict[str, Any] = {"customer": customer}
        if row.with_etag:
            stand_in.odd, odd = [], stand_in.odd
            read = await self.service.get_step(row.provider, *stand_in.ids, customer=customer)
            update["etag"] = read.response.step.etag
            assert update["etag"]
            stand_in.odd = odd
            stand_in.requests.clear()
            stand_in.stored |= row.meanwhile
        if row.refuse_shared:
            update["if_shared"] = "IF_SHARED_REFUSE"
        for name, value in stand_in.record(**row.wanted).items():
            update |= value if name == "template" else {name: value}
        for number in range(row.again + 1):
            update["validate_only"] = row.dry or (row.dry_last and number == row.again)
            before = dict(stand_in.stored)
            result = await self.service.update(row.provider, *stand_in.ids, **update)
            assert list(untruths(row.provider, result.response, row.wanted, before, stand_in.stored)) == []
        await self._check_connection(row, customer, stand_in)
        return stand_in, result

    async def read(self, provider: str, *odd: Odd) -> CallResult:
        """Lists the steps of the sequence."""
        stand_in, customer = await self._new_customer(provider, *odd)
        return await self.service.list_steps(provider, stand_in.ids[0], customer=customer)

    async def read_step(self, provider: str, *odd: Odd, **more: Any) -> CallResult:
        """Reads the step."""
        stand_in, customer = await self._new_customer(provider, *odd)
        return await self.service.get_step(provider, *stand_in.ids, customer=customer, **more)

    async def _new_customer(self, provider: str, *odd: Odd) -> tuple[StandIn, str]:
        customer = f"customer-{next(self._customers)}"
        credentials = credentials_of(Row("", "", provider, (), (), ""))
        await self.service.connect(customer, Provider(provider), credentials)
        self.switch.current = StandIn(provider, *odd)
        return self.switch.current, customer

    async def _check_connection(self, row: Row, customer: str, stand_in: StandIn) -> None:
        caller = await self.service.applications.authenticate(self.service.key.reveal())
        keyring = Keyring.parse(self.service.settings.encryption_keys.get_secret_value())
        found = await ConnectionRepository(self.service.store, keyring).find(
            ConnectionKey(caller.application_id, customer, Provider(row.provider))
        )
        assert found is not None
        assert found.state == row.connection
        if row.credentials:
            credentials = found.connection.credentials
            assert isinstance(credentials, OAuthCredentials)
            expected = {"old": "refresh-0", "new": f"refresh-{stand_in.mints}"}[row.credentials]
            assert credentials.refresh_token == Secret(expected)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def table(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rows]:
    """The service, in which the failures of one row are not counted against the next, and nothing waits."""
    switch = Switch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CircuitBreaker, "_LEAST_FAILURES", 10**9)
        patch.setattr(RetryBudget, "spend", lambda _: True)
        patch.setattr(retry, "backoff", lambda _: 0.0)
        patch.setattr(token_refresh, "SECOND_REQUEST_SECONDS", 0.01)
        async with (
            serving(switch) as url,
            running_service(
                tmp_path_factory.mktemp("odd"),
                apollo_base_url=url,
                apollo_token_url=f"{url}/token",
                outreach_base_url=url,
            ) as service,
        ):
            yield Rows(service, switch)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("row", ROWS, ids=map(str, ROWS))
async def test_a_row_of_the_table(row: Row, table: Rows, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in, result = await table.run(row)
    assert result.code is grpc.StatusCode.OK
    check_result(row, result)
    assert stand_in.requests == list(row.sent)
    old = StandIn(row.provider).stored | dict(row.had) | dict(row.meanwhile)
    has = row.has if isinstance(row.has, Mapping) else {"new": row.wanted, "old": old}[row.has]
    assert {name: stand_in.stored[name] for name in row.wanted} == {name: has[name] for name in row.wanted}
    said = capfd.readouterr().out
    assert "call" in said
    assert not any(text in said for text in ("refresh-", "access-", "application-0", "key-0", "Are you well"))


def check_result(row: Row, result: CallResult) -> None:
    """The response is what the row says."""
    details = " ".join([error.detail for error in result.errors] + [each.detail for each in result.response.warnings])
    assert [error.code for error in result.errors] == ([] if row.result == OK else [row.result]), details
    names = FIELD_NAMES[row.provider]
    assert set(result.changes) == {names[name] for name in row.changes}, details
    assert result.warnings == list(row.warnings)
    assert row.says in details
    assert row.never not in details
    for error in result.errors:
        assert error.meta.outcome == OUTCOMES[Outcome[row.outcome.upper().replace(" ", "_")]]
        assert error.meta.origin == ORIGINS[row.origin]
        assert error.meta.retry_after.ToSeconds() <= LONGEST_WAIT


def test_the_table_has_at_least_three_rows_of_each_kind() -> None:
    assert len({str(row) for row in ROWS}) == len(ROWS)
    assert min(Counter(row.about for row in ROWS).values()) >= 3


# What is read and odd: shown as far as it is known, or not at all.

STEPS_NOT_SHOWN = [
    pytest.param("apollo", READ, "emailer_steps.0.id", None, id="apollo: a step without its id"),
    pytest.param("apollo", READ, "emailer_steps.0.id", 5, id="apollo: a step with a number for an id"),
    pytest.param("apollo", READ, "emailer_steps.0", "x", id="apollo: a step that is a text"),
    pytest.param("apollo", READ, "emailer_steps", {}, id="apollo: no array of steps"),
    pytest.param("apollo", READ, "emailer_touches", 3, id="apollo: no array of touches"),
    pytest.param("apollo", READ, "emailer_campaign.id", apollo.OTHER, id="apollo: another sequence"),
    pytest.param("outreach", LIST, "data.0.id", "x", id="outreach: a step without its id"),
    pytest.param("outreach", LIST, "included", [], id="outreach: a step without its variants"),
    pytest.param("outreach", LIST, "included.0.relationships.sequenceStep", None, id="outreach: a variant of no step"),
    pytest.param("outreach", LIST, "data", None, id="outreach: no array of steps"),
]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("provider", "at", "path", "value"), STEPS_NOT_SHOWN)
async def test_a_list_that_lacks_something_is_no_list(
    provider: str, at: str, path: str, value: Any, table: Rows
) -> None:
    good = await table.read(provider)
    assert [len(step.variants) for step in good.response.steps][:1] == [1]
    odd = await table.read(provider, Odd(at, edits=[Edit("set", path, value)]))
    [error] = odd.errors
    assert (error.code, error.meta.outcome) == ("BAD_GATEWAY_ERROR", envelope_pb2.ERROR_OUTCOME_NOT_APPLIED)
    assert not odd.response.HasField("sequence")
    assert not odd.response.steps


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("answer", "complete"),
    [
        pytest.param({"data": [outreach.variant()]}, True, id="all of them"),
        pytest.param({"data": []}, False, id="not even this step"),
        pytest.param(
            {"data": [outreach.variant(), Edit("drop", "relationships.sequenceStep").apply(outreach.variant(2))]},
            False,
            id="one without its step",
        ),
        pytest.param(
            {"data": [outreach.variant(), outreach.variant(2, None)]}, True, id="one that has no template by now"
        ),
    ],
)
async def test_users_of_a_template_are_said_to_be_all_only_if_they_are(
    answer: Any, *, complete: bool, table: Rows
) -> None:
    shown = await table.read_step("outreach", Odd(SHARING, body=answer), with_sharing=True)
    [variant] = shown.response.step.variants
    assert (variant.sharing_complete, list(variant.sharing_step_ids)) == (complete, [])
