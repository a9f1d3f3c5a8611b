"""Customers' connections to providers, and the secrets in them."""

from enum import StrEnum
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import msgspec

from service.domain.step import Provider


class Secret:
    """A string that shows itself only on request, so that no repr, log or traceback holds it by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a secret is not to be pickled or copied about")


class InvalidSecret(ValueError):
    """A text cannot be used as a secret; the message says why, and does not quote it."""


# White space and marks that come along with a secret that was copied: byte order marks, zero-width and control characters.
MAX_SCOPE_CHARACTERS: Final = 2048
"""The longest scope of a grant: all that any provider has, and a page of a thousand connections stays short."""

_AROUND_SECRETS: Final = "".join(map(chr, range(33))) + "\x7f\x85\xa0\u2028\u2029\u200b\u200c\u200d\u2060\ufeff"


def strip_secret(text: str) -> str:
    """Removes white space and marks around a secret."""
    return text.strip(_AROUND_SECRETS)


def secret_from(text: str) -> Secret:
    """Makes a secret of a text that people gave, without white space and marks around it.

    Raises:
        InvalidSecret: There is nothing else in it, or a line break or an invisible character within.
    """
    stripped = strip_secret(text)
    if not stripped:
        raise InvalidSecret("is empty")
    if not stripped.isprintable():
        raise InvalidSecret("has a line break or an invisible character in it")
    return Secret(stripped)


def header_secret_from(text: str) -> Secret:
    """Makes a secret that can be sent in a header, of a text with white space and marks around it.

    Raises:
        InvalidSecret: There is nothing else in it, or a character within that no header can have.
    """
    secret = secret_from(text)
    if not secret.reveal().isascii():
        raise InvalidSecret("has a character in it that is not ASCII")
    return secret


def checked_scope(text: str) -> str:
    """The scopes in a text, with one space between them.

    Raises:
        InvalidSecret: They are longer than any provider's, or have a character that no scope can have (RFC 6749, section 3.3).
    """
    scope = " ".join(text.split())
    if len(scope) > MAX_SCOPE_CHARACTERS:
        raise InvalidSecret(f"is longer than {MAX_SCOPE_CHARACTERS} characters")
    if not (scope.isascii() and scope.isprintable()):
        raise InvalidSecret("has a character in it that no scope can have")
    return scope


class ApiKeyCredentials(msgspec.Struct, frozen=True):
    """A customer's API key at a provider (Apollo)."""

    api_key: Secret


class OAuthCredentials(msgspec.Struct, frozen=True):
    """A customer's OAuth 2.0 grant at a provider.

    Attributes:
        access_token: What calls are made with.
        refresh_token: What a new access token is minted with; None if the grant cannot be renewed.
        expires_at: When the access token ends, as a Unix time in seconds; None if not known.
        client_id: The OAuth client that the grant was given to.
        client_secret: Its secret.
        redirect_uri: The redirect URI that the grant was given with; Outreach wants it with every refresh.
        issued_at: When the access token was asked for, as a Unix time in seconds; None if not known.
        scope: What the grant allows, as OAuth writes it: names with a space between them; empty if not known.
    """

    access_token: Secret
    refresh_token: Secret | None
    expires_at: float | None
    client_id: str
    client_secret: Secret
    redirect_uri: str = ""
    issued_at: float | None = None
    scope: str = ""


Credentials: TypeAlias = ApiKeyCredentials | OAuthCredentials


class ConnectionState(StrEnum):
    """Whether a connection can be used."""

    ACTIVE = "active"
    NEEDS_REAUTH = "needs_reauth"


class ConnectionSummary(msgspec.Struct, frozen=True):
    """A connection as it may be shown: without its credentials.

    Attributes:
        application: The name of the application that owns it.
        customer_id: The application's id of the customer.
        provider: The provider.
        state: Whether it can be used.
        state_reason: Why it is in this state.
        state_since: Since when, as a Unix time in seconds.
        updated_at: When its credentials last changed.
        key_id: The encryption key that they are under.
        refresh_error: The OAuth error with which the token endpoint last refused to renew the token; None after a success.
        refresh_error_at: When that was.
        created_at: When the customer was first connected.
        last_success_at: When the provider last took its credentials; None if it has not since they were set.
        last_failure_at: When it last refused them; None if it has not since they were set.
        last_failure_code: The code of the error with which it did.
        credentials: How it authenticates, `api_key` or `oauth`; None if that cannot be decrypted, or was not asked for.
        expires_at: When the access token ends; None if that is not known, or was not asked for.
        scopes: What an OAuth grant allows, as far as that is known and was asked for.
    """

    application: str
    customer_id: str
    provider: Provider
    state: ConnectionState
    state_reason: str
    state_since: float
    updated_at: float
    key_id: str
    refresh_error: str | None
    refresh_error_at: float | None
    created_at: float
    last_success_at: float | None = None
    last_failure_at: float | None = None
    last_failure_code: str | None = None
    credentials: str | None = None
    expires_at: float | None = None
    scopes: tuple[str, ...] = ()


class ConnectionKey(msgspec.Struct, frozen=True):
    """What identifies a connection: an application has at most one for each of its customers and each provider."""

    application_id: int
    customer_id: str
    provider: Provider


CredentialsId: TypeAlias = tuple[int, bytes]
"""Identifies a connection with its present credentials, and does not reveal them."""


class Connection(msgspec.Struct, frozen=True):
    """One customer's access to one provider, ready for use.

    Attributes:
        id: The key of its row in the store.
        application_id: The application that owns it.
        customer_id: The application's own id of the customer.
        provider: The provider.
        credentials: How to authenticate there.
    """

    id: int
    application_id: int
    customer_id: str
    provider: Provider
    credentials: Credentials

    @property
    def key(self) -> ConnectionKey:
        """What identifies it."""
        return ConnectionKey(self.application_id, self.customer_id, self.provider)

    @property
    def token(self) -> Secret:
        """What its requests are authenticated with: the API key or the access token."""
        credentials = self.credentials
        return credentials.api_key if isinstance(credentials, ApiKeyCredentials) else credentials.access_token

    @property
    def credentials_id(self) -> CredentialsId:
        """What is remembered about the connection is remembered under this, and so only for its present credentials.

        The id of a row alone would not do: it stays when the customer connects again, and a database may give it again.
        """
        return self.id, blake2b(self.token.reveal().encode(), digest_size=16).digest()
