"""What is noted of a connection's credentials after a request: that the provider took them, or why it did not."""

from typing import Any

import httpx
import pytest

from service.domain.credentials import ApiKeyCredentials, Connection, OAuthCredentials, Secret
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, UpdateFailed, failed
from service.providers.apollo import Apollo
from service.upstream.connection_check import check_connection
from service.upstream.session import ProviderSessions
from tests.support.update_step import Respond, ScriptedHttp, made

KEY = Connection(1, 1, "acme", Apollo.provider, ApiKeyCredentials(Secret("k")))
OLD = Connection(1, 1, "acme", Apollo.provider, OAuthCredentials(Secret("old"), Secret("r"), None, "c", Secret("s")))
NEW = Connection(1, 1, "acme", Apollo.provider, OAuthCredentials(Secret("new"), Secret("r"), None, "c", Secret("s")))


async def checked(
    respond: Respond, connection: Connection, renewed: Connection | UpdateFailed = NEW
) -> tuple[list[Any], list[ErrorCode]]:
    """What was noted, and what is wrong with the connection."""
    http: Any = ScriptedHttp(respond)
    sessions = ProviderSessions(Apollo("http://apollo.example", ""), http)
    noted: list[Any] = []
    sessions.observe_use = lambda used, refusal: noted.append((used, refusal))

    async def renew(*_: object) -> Connection:
        if isinstance(renewed, UpdateFailed):
            raise renewed
        return renewed

    problems = await check_connection(sessions, connection, renew, Deadline.after(0.15))
    return noted, [problem.code for problem in problems]


@pytest.mark.parametrize(
    ("status", "kind", "noted"),
    [
        (200, "application/json", [None]),
        (401, "application/json", [ErrorCode.UNAUTHORIZED_ERROR]),
        (402, "application/json", [ErrorCode.PAYMENT_REQUIRED_ERROR]),
        (403, "application/json", [ErrorCode.FORBIDDEN_ERROR]),
        (404, "application/json", []),
        (422, "application/json", []),
        (429, "application/json", []),
        (500, "application/json", []),
        # Whoever is on the way says nothing about them.
        (403, "text/html", []),
    ],
)
async def test_a_refusal_of_access_is_noted(status: int, kind: str, noted: list[ErrorCode | None]) -> None:
    body = {} if status == 200 else {"error": "No."}
    seen, codes = await checked(lambda _: made(status, body, kind), KEY)
    assert seen == [(KEY, each) for each in noted]
    assert bool(codes) is (status != 200)


def refusing_old(request: httpx.Request) -> httpx.Response:
    is_old = request.headers["authorization"] == "Bearer old"
    return made(401, {"error": "No."}) if is_old else made(200, {})


async def test_what_is_noted_after_a_renewal_is_of_the_new_token() -> None:
    assert await checked(refusing_old, OLD) == ([(NEW, None)], [])
    refused = failed(ErrorCode.SERVICE_UNAVAILABLE_ERROR, "No token.")
    assert await checked(refusing_old, OLD, refused) == ([], [ErrorCode.SERVICE_UNAVAILABLE_ERROR])


async def test_without_a_new_token_nothing_is_repeated() -> None:
    asked = []

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return refusing_old(request)

    refusal = ErrorCode.UNAUTHORIZED_ERROR
    assert await checked(respond, OLD, OLD) == ([(OLD, refusal)], [refusal])
    assert len(asked) == 1


async def test_without_an_answer_nothing_is_noted() -> None:
    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("gone")

    assert await checked(gone, KEY) == ([], [ErrorCode.SERVICE_UNAVAILABLE_ERROR])
