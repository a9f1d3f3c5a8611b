"""The failures of finding and renewing a customer's connection, as types that know their error code."""

from typing import Final

from service.domain.credentials import ConnectionKey
from service.domain.errors import CallRefused, ErrorCode, Origin, Problem, UpdateFailed
from service.domain.outcome import stated
from service.domain.token_grant import RefreshFailed

_RETRY_DATABASE_SECONDS: Final = 1.0


class NoConnection(UpdateFailed):
    """The customer has no connection to the provider."""

    def __init__(self, key: ConnectionKey) -> None:
        super().__init__(
            Problem(
                ErrorCode.NOT_FOUND_ERROR,
                f"Customer {key.customer_id} has no connection to {key.provider.title}.",
                advice="Connect the customer, or make the connection with `seqstep connection set`.",
                facts={"resource": "connection"},
            )
        )


class NeedsReauth(UpdateFailed):
    """The customer has to connect again: the grant is void."""

    def __init__(self, key: ConnectionKey, reason: str) -> None:
        title = key.provider.title
        super().__init__(
            Problem(
                ErrorCode.UNAUTHORIZED_ERROR,
                f"Reconnect customer {key.customer_id} to {title}: {reason}.",
            )
        )


class CredentialsUnreadable(UpdateFailed):
    """The stored credentials cannot be decrypted."""

    def __init__(self, key: ConnectionKey, reason: str) -> None:
        super().__init__(
            Problem(
                ErrorCode.INTERNAL_SERVER_ERROR,
                f"The stored credentials of customer {key.customer_id} for {key.provider.title} cannot be read: {reason}.",
                advice="Restore the key, or set the connection again.",
            )
        )


class RefreshDeferred(UpdateFailed):
    """The token cannot be renewed at present, and may be later."""

    @classmethod
    def by_provider(cls, key: ConnectionKey, failure: RefreshFailed, retry_after: float | None) -> "RefreshDeferred":
        """The token endpoint gave no token this time."""
        return cls(
            Problem(
                failure.code,
                f"The token of customer {key.customer_id} for {key.provider.title} could not be renewed: {failure.reason}.",
                advice="Repeat the call later.",
                origin=Origin.PROVIDER,
                retry_after=retry_after,
            )
        )

    @classmethod
    def by_client(cls, key: ConnectionKey, error: str, retry_after: float) -> "RefreshDeferred":
        """The token endpoint refuses the operator's OAuth client; nothing is wrong with the customer's grant."""
        title = key.provider.title
        return cls(
            Problem(
                ErrorCode.SERVICE_UNAVAILABLE_ERROR,
                f"{title} refused the OAuth client that customer {key.customer_id} is connected with ({error}), so the token "
                "could not be renewed. The customer need not connect again.",
                advice="The operator of this service has to correct the client, for example by `seqstep connection "
                "set-client-secret`; then repeat the call.",
                origin=Origin.PROVIDER,
                retry_after=retry_after,
            )
        )

    @classmethod
    def by_deadline(cls, key: ConnectionKey) -> "RefreshDeferred":
        """The caller's time was up first; the renewal goes on."""
        return cls(
            Problem(
                ErrorCode.GATEWAY_TIMEOUT_ERROR,
                f"{key.provider.title}'s token for customer {key.customer_id} was not renewed before the deadline.",
                advice="Repeat the call.",
                origin=Origin.PROVIDER,
            )
        )

    @classmethod
    def by_database(cls) -> "RefreshDeferred":
        """The database cannot be reached, or another process keeps the lease for too long."""
        return cls(_database_unavailable())


class ConnectionUnavailable(UpdateFailed):
    """The database cannot be reached, so that the customer's connection is not known."""

    def __init__(self) -> None:
        super().__init__(_database_unavailable())


class AuthenticationUnavailable(CallRefused):
    """The database cannot be reached, so that the caller is not known."""

    def __init__(self) -> None:
        super().__init__(stated(_database_unavailable()))


def _database_unavailable() -> Problem:
    return Problem(
        ErrorCode.SERVICE_UNAVAILABLE_ERROR,
        "This server cannot reach its database at present.",
        advice="Repeat the call in a moment.",
        retry_after=_RETRY_DATABASE_SECONDS,
    )
