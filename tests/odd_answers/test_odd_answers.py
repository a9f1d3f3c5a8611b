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
from tests.support.service import CallResult, RunningService, running_service
from tests.support.stand_in import FIELD_NAMES, StandIn, Switch, serving
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
        for name, value in stand_in.record(**row.wanted).items():
            update |= value if name == "template" else {name: value}
        for number in range(row.again + 1):
            update["validate_only"] = row.dry or (row.dry_last and number == row.again)
            before = dict(stand_in.stored)
            result = await self.service.update(row.provider, *stand_in.ids, **update)
            assert list(untruths(row.provider, result.response, row.wanted, before, stand_in.stored)) == []
        await self._check_connection(row, customer, stand_in)
        return stand_in, result

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
    old = StandIn(row.provider).stored | dict(row.had)
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
