"""Renews OAuth 2.0 access tokens at a provider's token endpoint (RFC 6749, section 6)."""

import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import httpx

from service.domain.credentials import OAuthCredentials, Secret
from service.domain.deadline import Deadline
from service.domain.step import Provider
from service.domain.token_grant import RefreshFailed, TokenGrant
from service.upstream.http import HttpClient, error_code
from service.upstream.token_response import parse_token_response

_HEADERS: Final = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}

# What logs, metrics and traces call a request for a token.
_ENDPOINT: Final = "oauth/token"


class TokenRefresher:
    """Trades refresh tokens for access tokens at one provider."""

    def __init__(self, provider: Provider, token_url: str, http: HttpClient) -> None:
        self._provider = provider
        self._token_url = token_url
        self._http = http

    async def refresh(self, credentials: OAuthCredentials, refresh_token: Secret, deadline: Deadline) -> TokenGrant:
        """Mints an access token.

        Raises:
            GrantRefused: The customer's grant is void.
            ClientRefused: The OAuth client is refused.
            RefreshFailed: It did not work this time; a token may have been minted all the same.
        """
        form = urlencode(_fields(credentials, refresh_token)).encode()
        asked_at = time.time()
        try:
            request = self._http.build_request("POST", self._token_url, _HEADERS, form)
            request.extensions["operation"] = (self._provider, _ENDPOINT, _ENDPOINT)
            response = await self._http.send(request, deadline)
        except httpx.HTTPError as error:
            raise RefreshFailed(f"{self._provider.title} renewed no token: {error}", error_code(error)) from None
        return parse_token_response(
            self._provider.title, response.status_code, response.headers, response.content, asked_at
        )


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
