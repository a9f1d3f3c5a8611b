"""What a token endpoint answers to a refresh: a new token, or one of three failures."""

from typing import Final

import msgspec

from service.domain.credentials import Secret
from service.domain.errors import ErrorCode

INVALID_GRANT: Final = "invalid_grant"
"""The OAuth error that says that a customer's grant is void (RFC 6749, section 5.2)."""

CLIENT_ERRORS: Final = frozenset({"invalid_client", "unauthorized_client", "unsupported_grant_type"})
"""The OAuth errors that are about the operator's OAuth client, and not about a customer's grant."""


class TokenGrant(msgspec.Struct, frozen=True):
    """A new access token from a provider's token endpoint.

    Attributes:
        access_token: The access token.
        refresh_token: The new refresh token; None means that the old one stays good.
        issued_at: When it was asked for, as a Unix time in seconds.
        expires_at: When the access token ends, as a Unix time in seconds; None if not known.
        scope: What it allows, as OAuth writes it; empty if the answer does not say, and it is as before.
    """

    access_token: Secret
    refresh_token: Secret | None
    issued_at: float
    expires_at: float | None
    scope: str = ""


class GrantRefused(Exception):
    """The token endpoint answered `invalid_grant`."""


class ClientRefused(Exception):
    """The token endpoint refused the OAuth client, which only the operator of this service can put right.

    Attributes:
        error: Which of `CLIENT_ERRORS` it answered.
    """

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


class RefreshFailed(Exception):
    """A token could not be renewed this time.

    Attributes:
        reason: What happened, for people.
        code: The kind of error that it is to a caller who cannot go on without the token.
        retry_after: Seconds after which it may work, if known.
        refresh_token: A new refresh token that came all the same, and has to be kept.
    """

    def __init__(
        self,
        reason: str,
        code: ErrorCode,
        retry_after: float | None = None,
        refresh_token: Secret | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.retry_after = retry_after
        self.refresh_token = refresh_token
