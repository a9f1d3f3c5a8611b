"""Renewing OAuth 2.0 access tokens at a provider's token endpoint (RFC 6749, section 6)."""

import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import httpx
import msgspec

from service.domain.credentials import OAuthCredentials, Secret, TokenGrant
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, RefreshFailed, RefreshRefused
from service.domain.step import Provider
from service.providers.responses import code_of, retry_after
from service.upstream.http import HttpClient, error_code

_HEADERS: Final = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}

# What RFC 6749, section 5.2, calls the errors that no repetition cures.
_FINAL: Final = frozenset({"invalid_grant", "invalid_client", "unauthorized_client", "unsupported_grant_type"})


class _Grant(msgspec.Struct):
    access_token: str
    expires_in: int | float | None = None
    refresh_token: str | None = None


class _Refusal(msgspec.Struct):
    error: object = None


class TokenRefresher:
    """Trades refresh tokens for access tokens at one provider."""

    def __init__(self, provider: Provider, token_url: str, http: HttpClient) -> None:
        self._provider = provider
        self._token_url = token_url
        self._http = http

    async def refresh(self, credentials: OAuthCredentials, deadline: Deadline) -> TokenGrant:
        """Mints an access token.

        Raises:
            RefreshRefused: The grant is void; the customer has to connect again.
            RefreshFailed: It did not work this time; a token may have been minted all the same.
        """
        if credentials.refresh_token is None:
            raise RefreshRefused("there is no refresh token")
        title = self._provider.title
        form = urlencode(_fields(credentials, credentials.refresh_token)).encode()
        asked_at = time.time()
        try:
            response = await self._http.send(
                self._http.build_request("POST", self._token_url, _HEADERS, form), deadline
            )
        except httpx.HTTPError as error:
            raise RefreshFailed(f"{title} renewed no token: {error}", error_code(error)) from None
        return _grant(title, response, asked_at)


def _fields(credentials: OAuthCredentials, refresh_token: Secret) -> Mapping[str, str]:
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": refresh_token.reveal(),
        "client_id": credentials.client_id,
        "client_secret": credentials.client_secret.reveal(),
    }
    if credentials.redirect_uri:
        fields["redirect_uri"] = credentials.redirect_uri
    return fields


def _grant(title: str, response: httpx.Response, asked_at: float) -> TokenGrant:
    if 200 <= response.status_code < 300:
        try:
            grant = msgspec.json.decode(response.content, type=_Grant)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise RefreshFailed(
                f"{title}'s token endpoint answered something unreadable", ErrorCode.BAD_GATEWAY_ERROR
            ) from None
        return TokenGrant(
            Secret(grant.access_token),
            Secret(grant.refresh_token) if grant.refresh_token else None,
            # Counted from the moment of asking, so that the token is never thought good for longer than it is.
            asked_at + grant.expires_in if grant.expires_in is not None else None,
        )
    try:
        error = msgspec.json.decode(response.content, type=_Refusal).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        error = None
    if response.status_code in (400, 401) and error in _FINAL:
        raise RefreshRefused(f"{title} answered {error}")
    # A refusal that is none of the above is not the caller's doing, nor the customer's.
    is_passing = response.status_code == 429 or response.status_code >= 500
    raise RefreshFailed(
        f"{title}'s token endpoint answered {response.status_code}",
        code_of(response.status_code) if is_passing else ErrorCode.BAD_GATEWAY_ERROR,
        retry_after(response.headers, "retry-after", "x-ratelimit-reset", now=time.time()) if is_passing else None,
    )
