"""Reads a customer's credentials from a terminal or from standard input, and checks them."""

import getpass
from typing import NoReturn

import msgspec
import typer

from service.cli.errors import print_error
from service.domain.credentials import ApiKeyCredentials, Credentials, Secret, strip_secret
from service.domain.given_credentials import GivenCredentials, InvalidCredentials, credentials_of, form_secret
from service.domain.step import Provider
from service.providers import credential_kinds


def read_from_terminal(provider: Provider) -> Credentials:
    """Asks a person for the credentials; ends the command with status 2 if they cannot be used."""
    if ApiKeyCredentials in credential_kinds(provider) and (key := getpass.getpass("API key (empty for OAuth): ")):
        return _credentials(provider, GivenCredentials(api_key=key))
    return _credentials(
        provider,
        # When the token ends is not known here; the provider answers 401 once it has.
        GivenCredentials(
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
            return _credentials(provider, msgspec.json.decode(text, type=GivenCredentials))
        except msgspec.DecodeError as error:
            # The message names a member and never quotes a value.
            usage_error(f"the JSON on standard input is not as expected: {error}")
    takes_api_keys = ApiKeyCredentials in credential_kinds(provider)
    if not takes_api_keys or len(text.split()) != 1:
        usage_error(
            "standard input must be JSON with the credentials" + (", or an API key alone" if takes_api_keys else "")
        )
    return _credentials(provider, GivenCredentials(api_key=text))


def read_client_secret(text: str) -> Secret:
    """Checks a client secret; ends the command with status 2 if it cannot be used."""
    try:
        return form_secret("the client secret", text)
    except InvalidCredentials as error:
        usage_error(str(error))


def usage_error(message: str) -> NoReturn:
    """Says what is wrong with what was given, and ends the command with status 2."""
    print_error(message)
    raise typer.Exit(2)


def _credentials(provider: Provider, given: GivenCredentials) -> Credentials:
    try:
        return credentials_of(provider, credential_kinds(provider), given)
    except InvalidCredentials as error:
        usage_error(str(error))
