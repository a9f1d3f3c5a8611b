"""Reads a customer's credentials from a terminal or from standard input, and checks them."""

import getpass
import time
from typing import NoReturn

import msgspec
import typer

from service.cli.errors import print_error
from service.domain.credentials import (
    ApiKeyCredentials,
    Credentials,
    InvalidSecret,
    OAuthCredentials,
    Secret,
    header_secret_from,
    secret_from,
    strip_secret,
)
from service.domain.step import Provider
from service.providers import REGISTRY


class _GivenCredentials(msgspec.Struct, forbid_unknown_fields=True):
    api_key: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    expires_in: float | None = None
    expires_at: float | None = None
    client_id: str = ""
    client_secret: str = ""
    redirect_uri: str = ""


def credential_kinds(provider: Provider) -> tuple[type[Credentials], ...]:
    """Returns the types of credentials that a provider takes."""
    return next((known.credential_kinds for known in REGISTRY if known.provider == provider), ())


def read_from_terminal(provider: Provider) -> Credentials:
    """Asks a person for the credentials; ends the command with status 2 if they cannot be used."""
    if ApiKeyCredentials in credential_kinds(provider) and (key := getpass.getpass("API key (empty for OAuth): ")):
        return _credentials(provider, _GivenCredentials(api_key=key))
    return _credentials(
        provider,
        # When the token ends is not known here; the provider answers 401 once it has.
        _GivenCredentials(
            access_token=getpass.getpass("Access token: "),
            refresh_token=getpass.getpass("Refresh token: "),
            client_id=typer.prompt("Client id"),
            client_secret=getpass.getpass("Client secret: "),
            redirect_uri=typer.prompt("Redirect URI", default=""),
        ),
    )


def parse_credentials(provider: Provider, text: str) -> Credentials:
    """Reads the credentials of standard input; ends the command with status 2 if they cannot be used."""
    text = strip_secret(text)
    if not text:
        usage_error("standard input is empty; give the credentials there")
    if text.startswith("{"):
        try:
            return _credentials(provider, msgspec.json.decode(text, type=_GivenCredentials))
        except msgspec.DecodeError as error:
            # The message names a member and never quotes a value.
            usage_error(f"the JSON on standard input is not as expected: {error}")
    takes_api_keys = ApiKeyCredentials in credential_kinds(provider)
    if not takes_api_keys or len(text.split()) != 1:
        usage_error(
            "standard input must be JSON with the credentials" + (", or an API key alone" if takes_api_keys else "")
        )
    return _credentials(provider, _GivenCredentials(api_key=text))


def read_client_secret(text: str) -> Secret:
    """Checks a client secret; ends the command with status 2 if it cannot be used."""
    return _form_secret("the client secret", text)


def usage_error(message: str) -> NoReturn:
    """Says what is wrong with what was given, and ends the command with status 2."""
    print_error(message)
    raise typer.Exit(2)


def _credentials(provider: Provider, given: _GivenCredentials) -> Credentials:
    if given.api_key is not None:
        if ApiKeyCredentials not in credential_kinds(provider):
            usage_error(f"{provider.title} has no API keys; give an OAuth grant")
        return ApiKeyCredentials(_header_secret("api_key", given.api_key))
    if not given.access_token:
        usage_error("the credentials have neither api_key nor access_token")
    refresh_token = _form_secret("refresh_token", given.refresh_token) if given.refresh_token else None
    client_id, client_secret = strip_secret(given.client_id), given.client_secret
    if refresh_token is not None and not (client_id and client_secret):
        usage_error("a refresh_token needs client_id and client_secret")
    now = time.time()
    expires_at = given.expires_at
    if expires_at is None and given.expires_in is not None:
        expires_at = now + given.expires_in
    return OAuthCredentials(
        _header_secret("access_token", given.access_token),
        refresh_token,
        expires_at,
        client_id,
        _form_secret("client_secret", client_secret) if client_secret else Secret(""),
        strip_secret(given.redirect_uri),
        now if given.expires_in is not None else None,
    )


def _header_secret(name: str, text: str) -> Secret:
    try:
        return header_secret_from(text)
    except InvalidSecret as error:
        usage_error(f"{name} {error}; copy it again")


def _form_secret(name: str, text: str) -> Secret:
    try:
        return secret_from(text)
    except InvalidSecret as error:
        usage_error(f"{name} {error}; copy it again")
