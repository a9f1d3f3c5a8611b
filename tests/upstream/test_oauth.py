"""What a token endpoint is asked, and what is made of its answer."""

import time
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from msgspec.structs import replace

from service.domain.credentials import OAuthCredentials, Secret
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode
from service.domain.step import Provider
from service.domain.token_grant import RefreshFailed, TokenGrant
from service.upstream.oauth import TokenRefresher
from tests.support.update_step import Respond, ScriptedHttp, made

GRANT = OAuthCredentials(Secret("a"), Secret("old"), None, "id", Secret("s&t"))


async def refreshed(respond: Respond, grant: OAuthCredentials = GRANT) -> tuple[TokenGrant, httpx.Request]:
    http: Any = ScriptedHttp(respond)
    refresher = TokenRefresher(Provider("outreach"), "http://outreach.example/oauth/token", http)
    return await refresher.refresh(grant, Secret("r"), Deadline.after(5)), http.requests[0]


@pytest.mark.parametrize("redirect_uri", ["", "https://app.example/done?x=1"])
async def test_a_refresh_is_a_form_with_the_client_in_it(redirect_uri: str) -> None:
    began = time.time()
    answer = {"access_token": "new", "refresh_token": "next", "expires_in": 7200}
    grant, request = await refreshed(lambda _: made(200, answer), replace(GRANT, redirect_uri=redirect_uri))
    form = {"grant_type": "refresh_token", "refresh_token": "r", "client_id": "id", "client_secret": "s&t"}
    assert dict(parse_qsl(request.content.decode())) == form | ({"redirect_uri": redirect_uri} if redirect_uri else {})
    assert (request.method, request.headers["content-type"]) == ("POST", "application/x-www-form-urlencoded")
    assert (grant.access_token, grant.refresh_token) == (Secret("new"), Secret("next"))
    assert began <= grant.issued_at <= time.time()
    assert grant.expires_at == grant.issued_at + 7200


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (httpx.ConnectError, ErrorCode.SERVICE_UNAVAILABLE_ERROR),
        (httpx.ReadTimeout, ErrorCode.GATEWAY_TIMEOUT_ERROR),
        (httpx.RemoteProtocolError, ErrorCode.BAD_GATEWAY_ERROR),
    ],
)
async def test_without_an_answer_there_is_no_token_this_time(
    error: type[httpx.TransportError], code: ErrorCode
) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error("gone")

    with pytest.raises(RefreshFailed, match="Outreach renewed no token: gone") as failure:
        await refreshed(fail)
    assert (failure.value.code, failure.value.retry_after) == (code, None)
