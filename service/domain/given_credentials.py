"""Checks the credentials that people and programs give for a customer, and makes them what is stored."""

import time
from typing import Final

import msgspec

from service.domain.credentials import (
    ApiKeyCredentials,
    Credentials,
    InvalidSecret,
    OAuthCredentials,
    Secret,
    checked_scope,
    header_secret_from,
    secret_from,
    strip_secret,
)
from service.domain.step import Provider

_LAST_SECONDS: Final = 253_402_300_799.0
"""The end of the year 9999, the last that a timestamp can show."""


class InvalidCredentials(ValueError):
    """Credentials cannot be used; the message says why, and quotes none of them.

    Attributes:
        member: Which member is wrong; empty if it is none alone.
    """

    def __init__(self, member: str, message: str) -> None:
        super().__init__(message)
        self.member = member


class GivenCredentials(msgspec.Struct, forbid_unknown_fields=True):
    """Credentials as they are given: an API key, or a grant.

    Attributes:
        api_key: An API key; all else is left out then.
        access_token: What requests are sent with.
        refresh_token: What a new access token is minted with.
        expires_in: Seconds until the access token ends, from now.
        expires_at: When it ends, as a Unix time in seconds.
        client_id: The OAuth client that the grant was given to.
        client_secret: Its secret.
        redirect_uri: The redirect URI that the grant was given with.
        scope: What it allows, as OAuth writes it.
    """

    api_key: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    expires_in: float | None = None
    expires_at: float | None = None
    client_id: str = ""
    client_secret: str = ""
    redirect_uri: str = ""
    scope: str = ""

    def __repr__(self) -> str:
        return "GivenCredentials(***)"


def credentials_of(provider: Provider, kinds: tuple[type[Credentials], ...], given: GivenCredentials) -> Credentials:
    """The credentials, without white space and marks around them.

    Args:
        provider: Where they are for.
        kinds: The types of credentials that the provider takes.
        given: What was given.

    Raises:
        InvalidCredentials: The provider does not take them, or a part is missing or cannot be sent.
    """
    if given.api_key is not None:
        if ApiKeyCredentials not in kinds:
            raise InvalidCredentials("api_key", f"{provider.title} has no API keys; give an OAuth grant")
        return ApiKeyCredentials(header_secret("api_key", given.api_key))
    if not given.access_token:
        raise InvalidCredentials("", "the credentials have neither api_key nor access_token")
    refresh_token = form_secret("refresh_token", given.refresh_token) if given.refresh_token else None
    client_id, client_secret = strip_secret(given.client_id), given.client_secret
    if refresh_token is not None and not (client_id and client_secret):
        raise InvalidCredentials("refresh_token", "a refresh_token needs client_id and client_secret")
    now = time.time()
    expires_at = given.expires_at
    if expires_at is None and given.expires_in is not None:
        expires_at = now + given.expires_in
    if expires_at is not None and not 0.0 <= expires_at <= _LAST_SECONDS:
        raise InvalidCredentials("expires_at", "the token ends at no Unix time in seconds before the year 10000")
    return OAuthCredentials(
        header_secret("access_token", given.access_token),
        refresh_token,
        expires_at,
        client_id,
        form_secret("client_secret", client_secret) if client_secret else Secret(""),
        strip_secret(given.redirect_uri),
        now if given.expires_in is not None else None,
        _scope(given.scope),
    )


def _scope(text: str) -> str:
    try:
        return checked_scope(text)
    except InvalidSecret as error:
        raise InvalidCredentials("scope", f"scope {error}") from None


def header_secret(member: str, text: str) -> Secret:
    """A secret that is sent in a header.

    Raises:
        InvalidCredentials: It cannot be.
    """
    try:
        return header_secret_from(text)
    except InvalidSecret as error:
        raise InvalidCredentials(member, f"{member} {error}; copy it again") from None


def form_secret(member: str, text: str) -> Secret:
    """A secret that is sent in a body.

    Raises:
        InvalidCredentials: It cannot be.
    """
    try:
        return secret_from(text)
    except InvalidSecret as error:
        raise InvalidCredentials(member, f"{member} {error}; copy it again") from None
