"""What each answer of a token endpoint does to the row of a connection; without a database and an endpoint."""

from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from service.connections import token_refresh
from service.connections.errors import RefreshDeferred
from service.connections.repository import StoredConnection
from service.connections.token_refresh import RefreshResult
from service.domain.credentials import ApiKeyCredentials, Connection, ConnectionState, OAuthCredentials, Secret
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode
from service.domain.step import Provider
from service.domain.token_grant import ClientRefused, GrantRefused, RefreshFailed, TokenGrant

OUTREACH = Provider("outreach")
GRANT = OAuthCredentials(Secret("a"), Secret("r"), None, "c", Secret("s"), scope="given")
ROW = StoredConnection(Connection(1, 1, "acme", OUTREACH, GRANT), 1, ConnectionState.ACTIVE, "", None, 0.0)
NEW = TokenGrant(Secret("new"), Secret("next"), 1.0, 2.0, "answered")


class Row:
    """The row of a connection, which another process may change meanwhile."""

    def __init__(self, stored: StoredConnection, meanwhile: StoredConnection | None) -> None:
        self.stored: StoredConnection | None = stored
        self.meanwhile = meanwhile
        self.writes: list[Any] = []

    def _written(self, stored: StoredConnection, what: Any, changed: StoredConnection) -> StoredConnection | None:
        if stored is not self.stored:
            return None
        self.writes.append(what)
        self.stored = replace(changed, revision=changed.revision + 1)
        return self.stored

    async def record_refresh_error(self, stored: StoredConnection, error: str) -> StoredConnection | None:
        return self._written(stored, error, replace(stored, refresh_error=error))

    async def mark_needs_reauth(self, stored: StoredConnection, _: str) -> StoredConnection | None:
        return self._written(stored, "marked", replace(stored, state=ConnectionState.NEEDS_REAUTH))

    async def replace_credentials(self, stored: StoredConnection, renewed: OAuthCredentials) -> StoredConnection | None:
        return self._written(
            stored, renewed, replace(stored, connection=replace(stored.connection, credentials=renewed))
        )

    async def release_lease(self, *_: object) -> None:
        self.writes.append("released")

    async def find(self, _: object) -> StoredConnection | None:
        return self.stored


class Endpoint:
    """Answers as it is made to; meanwhile the row becomes another one."""

    def __init__(self, row: Row, answer: TokenGrant | BaseException, *, changes: bool) -> None:
        self._row = row
        self._answer = answer
        self._changes = changes

    async def refresh(self, _grant: object, token: Secret, deadline: Deadline) -> TokenGrant:
        assert token == Secret("r")
        assert deadline.remaining() > 0
        if self._changes:
            self._row.stored = self._row.meanwhile
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


class Renewal:
    """One request to a token endpoint, and what it did."""

    def __init__(self, stored: StoredConnection, answer: Any, *meanwhile: StoredConnection | None) -> None:
        self.row = Row(stored, meanwhile[0] if meanwhile else None)
        self.results: list[RefreshResult] = []
        self.cached: list[Any] = []
        self._stored = stored
        rows: Any = self.row
        cache: Any = self
        endpoint = Endpoint(self.row, answer, changes=bool(meanwhile))
        self.coordinator = token_refresh.RefreshCoordinator(
            rows, {OUTREACH: endpoint}, cache, lambda _, result: self.results.append(result)
        )

    def put(self, _key: object, stored: StoredConnection | None) -> None:
        self.cached.append(stored)

    async def mint(self) -> StoredConnection | None:
        return await self.coordinator._mint(self._stored)


FAILED = RefreshFailed("odd", ErrorCode.BAD_GATEWAY_ERROR, 9.0)
KEPT = RefreshFailed("odd", ErrorCode.BAD_GATEWAY_ERROR, 9.0, Secret("next"))


@pytest.mark.parametrize(
    ("stored", "answer", "write", "result"),
    [
        (ROW, GrantRefused(), "invalid_grant", RefreshResult.GRANT_REFUSED),
        # It is believed the second time.
        (replace(ROW, refresh_error="invalid_grant"), GrantRefused(), "marked", RefreshResult.GRANT_REFUSED),
        (replace(ROW, refresh_error="invalid_client"), GrantRefused(), "invalid_grant", RefreshResult.GRANT_REFUSED),
        (
            replace(ROW, refresh_error="unauthorized_client"),
            GrantRefused(),
            "invalid_grant",
            RefreshResult.GRANT_REFUSED,
        ),
        (replace(ROW, state=ConnectionState.NEEDS_REAUTH), GrantRefused(), "marked", RefreshResult.GRANT_REFUSED),
        (ROW, ClientRefused("invalid_client"), "invalid_client", RefreshResult.CLIENT_REFUSED),
    ],
)
async def test_a_refusal_is_kept_in_the_row(stored: StoredConnection, answer: Any, write: str, result: str) -> None:
    renewal = Renewal(stored, answer)
    assert await renewal.mint() is renewal.row.stored
    assert (renewal.row.writes, renewal.results) == ([write], [result])
    # What somebody else has made of the row meanwhile counts, and is what the caller gets.
    for meanwhile in (replace(ROW, revision=7), None):
        other = Renewal(stored, answer, meanwhile)
        assert await other.mint() is meanwhile
        assert other.row.writes == []


@pytest.mark.parametrize("answer", [FAILED, KEPT])
async def test_a_failure_keeps_its_time_and_the_token_that_came(answer: RefreshFailed) -> None:
    renewal = Renewal(ROW, answer)
    with pytest.raises(RefreshDeferred) as deferred:
        await renewal.mint()
    assert (deferred.value.problems[0].code, deferred.value.problems[0].retry_after) == (answer.code, 9.0)
    assert renewal.results == [RefreshResult.FAILED]
    assert renewal.row.stored is not None
    assert renewal.coordinator._cooldown(renewal.row.stored) is not None
    if answer.refresh_token is None:
        assert renewal.row.writes == ["released"]
    else:
        # The access token is as it was.
        assert renewal.row.writes == [replace(GRANT, refresh_token=Secret("next"))]
        assert renewal.cached == [renewal.row.stored]
    gone = Renewal(ROW, answer, None)
    with pytest.raises(RefreshDeferred):
        await gone.mint()
    assert gone.row.writes == (["released"] if answer.refresh_token is None else [])


async def test_a_renewal_that_is_cut_off_says_so_and_gives_the_lease_back() -> None:
    renewal = Renewal(ROW, ZeroDivisionError())
    with capture_logs() as logs, pytest.raises(ZeroDivisionError):
        await renewal.mint()
    assert [line["event"].partition(":")[0] for line in logs] == ["renewal cut off"]
    assert (renewal.row.writes, renewal.results) == (["released"], [])


RENEWED = replace(
    GRANT, access_token=Secret("new"), refresh_token=Secret("next"), issued_at=1.0, expires_at=2.0, scope="answered"
)


@pytest.mark.parametrize(
    ("answer", "stored"),
    [
        (NEW, RENEWED),
        (replace(NEW, refresh_token=None), replace(RENEWED, refresh_token=Secret("r"))),
        (replace(NEW, scope=""), replace(RENEWED, scope="given")),
    ],
)
async def test_what_the_answer_does_not_say_is_as_before(answer: TokenGrant, stored: OAuthCredentials) -> None:
    renewal = Renewal(ROW, answer)
    assert await renewal.mint() is renewal.row.stored
    assert (renewal.row.writes, renewal.results) == ([stored], [RefreshResult.RENEWED])


def with_grant(credentials: OAuthCredentials | ApiKeyCredentials) -> StoredConnection:
    return replace(ROW, revision=7, connection=replace(ROW.connection, credentials=credentials))


@pytest.mark.parametrize(
    ("meanwhile", "written"),
    [
        # The same refresh token, which is used up: the new ones go into it, with the client as it is by now.
        (
            with_grant(replace(GRANT, client_secret=Secret("other"), client_id="d", redirect_uri="u")),
            [replace(RENEWED, client_secret=Secret("other"), client_id="d", redirect_uri="u")],
        ),
        (with_grant(replace(GRANT, refresh_token=Secret("a later one"))), []),
        (with_grant(replace(GRANT, refresh_token=Secret("Z"))), []),
        (with_grant(replace(GRANT, refresh_token=None)), []),
        (with_grant(ApiKeyCredentials(Secret("r"))), []),
        (None, []),
    ],
)
async def test_only_a_row_with_the_token_that_was_used_gets_the_new_ones(
    meanwhile: StoredConnection | None, written: list[OAuthCredentials]
) -> None:
    renewal = Renewal(ROW, NEW, meanwhile)
    assert await renewal.mint() is renewal.row.stored
    assert renewal.row.writes == written
