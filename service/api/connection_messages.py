"""What the messages of `ConnectionService` say: which connection is meant, the credentials, pages, what may be shown."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from engagement.v1 import connection_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from service.api.contract import METADATA_RULE, METADATA_VALUE
from service.api.envelope import envelope
from service.api.management_handler import ManagementCall
from service.domain.credentials import ConnectionKey, ConnectionState, ConnectionSummary
from service.domain.errors import CallRefused, Violation, invalid
from service.domain.given_credentials import GivenCredentials
from service.domain.page_token import filters_digest, page_token, position
from service.domain.step import Caller, Provider
from service.manage_connections import ManageConnections
from service.providers import providers

DEFAULT_PAGE: Final = 100
LONGEST_PAGE: Final = 1_000

_STATES: Final[Mapping[ConnectionState, pb.ConnectionState.ValueType]] = {
    ConnectionState.ACTIVE: pb.CONNECTION_STATE_ACTIVE,
    ConnectionState.NEEDS_REAUTH: pb.CONNECTION_STATE_NEEDS_REAUTH,
}
_KINDS: Final[Mapping[str | None, pb.CredentialsKind.ValueType]] = {
    "api_key": pb.CREDENTIALS_KIND_API_KEY,
    "oauth": pb.CREDENTIALS_KIND_OAUTH,
}
# The members of a grant, with the names of those that the request has by another one.
_GRANT: Final = {
    "access_token": "access_token",
    "refresh_token": "refresh_token",
    "client_secret": "client_secret",
    "scope": "scopes",
    "expires_at": "expire_time",
}

_Named: TypeAlias = (
    pb.SetConnectionRequest | pb.GetConnectionRequest | pb.CheckConnectionRequest | pb.DeleteConnectionRequest
)


class ConnectionMessages:
    """Carries out the requests of `ConnectionService`. Each method raises `CallRefused` for one that breaks a rule."""

    def __init__(self, manage: ManageConnections) -> None:
        self._manage = manage

    async def set(self, call: ManagementCall, request: pb.SetConnectionRequest) -> pb.SetConnectionResponse:
        """Stores a customer's credentials."""
        key = _key(call.caller, request)
        try:
            found, changed = await self._manage.set(
                call.caller, key, _given(request), call.request_id, validate_only=request.validate_only
            )
        except CallRefused as refusal:
            raise _in_request(refusal) from None
        return pb.SetConnectionResponse(connection=_shown(found) if found else None, changed=changed)

    async def get(self, call: ManagementCall, request: pb.GetConnectionRequest) -> pb.GetConnectionResponse:
        """Reads a connection."""
        return pb.GetConnectionResponse(connection=_shown(await self._manage.existing(_key(call.caller, request))))

    async def list(self, call: ManagementCall, request: pb.ListConnectionsRequest) -> pb.ListConnectionsResponse:
        """Lists a page of connections."""
        if request.page_size < 0:
            raise invalid([Violation("page_size", "Must be 0 or more.")])
        if request.customer_id:
            _check_customer(request.customer_id)
        if request.state not in pb.ConnectionState.values():
            raise invalid([Violation("state", "Is a value that this version of the service does not know.")])
        provider = _provider(request.provider_name) if request.provider_name else None
        state = next((state for state, value in _STATES.items() if value == request.state), None)
        filters = filters_digest(call.caller.application_id, request.customer_id, provider or "", state or "")
        size = min(request.page_size or DEFAULT_PAGE, LONGEST_PAGE)
        found = await self._manage.page(
            call.caller.application_id,
            size + 1,
            after=_position(request.page_token, filters),
            customer_id=request.customer_id or None,
            provider=provider,
            state=state,
        )
        return pb.ListConnectionsResponse(
            connections=map(_shown, found[:size]),
            next_page_token=_token(filters, found[size - 1]) if len(found) > size else "",
        )

    async def check(self, call: ManagementCall, request: pb.CheckConnectionRequest) -> pb.CheckConnectionResponse:
        """Tries a connection at its provider."""
        problems, found = await self._manage.check(_key(call.caller, request), call.deadline)
        shown = envelope(problems, application_name=call.caller.application_name, request_id=call.request_id)
        return pb.CheckConnectionResponse(errors=shown.errors, connection=_shown(found))

    async def delete(self, call: ManagementCall, request: pb.DeleteConnectionRequest) -> pb.DeleteConnectionResponse:
        """Deletes a connection."""
        deleted = await self._manage.delete(call.caller, _key(call.caller, request), call.request_id)
        return pb.DeleteConnectionResponse(deleted=deleted)

    async def delete_step_changes(
        self, call: ManagementCall, request: pb.DeleteStepChangesRequest
    ) -> pb.DeleteStepChangesResponse:
        """Deletes the history of a customer."""
        _check_customer(request.customer_id)
        provider = _provider(request.provider_name) if request.provider_name else None
        deleted = await self._manage.delete_step_changes(call.caller, request.customer_id, provider, call.request_id)
        return pb.DeleteStepChangesResponse(deleted_count=deleted)


def _key(caller: Caller, request: _Named) -> ConnectionKey:
    _check_customer(request.customer_id)
    return ConnectionKey(caller.application_id, request.customer_id, _provider(request.provider_name))


def _check_customer(customer_id: str) -> None:
    if not METADATA_VALUE.fullmatch(customer_id) or customer_id != customer_id.strip():
        raise invalid([Violation("customer_id", f"{METADATA_RULE} No space at its ends.")])


def _provider(name: str) -> Provider:
    found = providers().get(name.strip().lower())
    if found is None:
        raise invalid([Violation("provider_name", f"Must be one of {', '.join(providers())}.")])
    return found


def _given(request: pb.SetConnectionRequest) -> GivenCredentials:
    match request.WhichOneof("credentials"):
        case "api_key":
            return GivenCredentials(api_key=request.api_key)
        case "oauth":
            grant = request.oauth
            return GivenCredentials(
                access_token=grant.access_token,
                refresh_token=grant.refresh_token,
                expires_at=_seconds(grant.expire_time) if grant.HasField("expire_time") else None,
                client_id=grant.client_id,
                client_secret=grant.client_secret,
                redirect_uri=grant.redirect_uri,
                scope=" ".join(grant.scopes),
            )
        case _:
            raise invalid([Violation("credentials", "Required: `api_key` or `oauth`.")])


def _in_request(refusal: CallRefused) -> CallRefused:
    """The refusal with the names that the members have in the request."""
    if not refusal.violations:
        return refusal
    return invalid(
        [
            Violation(f"oauth.{_GRANT[each.field]}", each.description) if each.field in _GRANT else each
            for each in refusal.violations
        ]
    )


def _seconds(time: Timestamp) -> float:
    return time.seconds + time.nanos / 1e9


def _shown(summary: ConnectionSummary) -> pb.Connection:
    shown = pb.Connection(
        customer_id=summary.customer_id,
        provider_name=summary.provider,
        state=_STATES[summary.state],
        state_reason=summary.state_reason,
        credentials_kind=_KINDS.get(summary.credentials, pb.CREDENTIALS_KIND_UNSPECIFIED),
        renewal_error=summary.refresh_error or "",
        scopes=summary.scopes,
        last_failure_code=summary.last_failure_code or "",
    )
    for field, seconds in (
        (shown.state_time, summary.state_since),
        (shown.create_time, summary.created_at),
        (shown.update_time, summary.updated_at),
        (shown.expire_time, summary.expires_at),
        (shown.renewal_error_time, summary.refresh_error_at if summary.refresh_error else None),
        (shown.last_success_time, summary.last_success_at),
        (shown.last_failure_time, summary.last_failure_at),
    ):
        if seconds is not None:
            field.FromMilliseconds(round(seconds * 1000))
    return shown


def _token(filters: str, last: ConnectionSummary) -> str:
    return page_token(filters, [last.customer_id, str(last.provider)])


def _position(token: str, filters: str) -> tuple[str, str] | None:
    """Where a page begins: behind this customer and provider."""
    if not token:
        return None
    customer_id, provider = position(token, filters, 2)
    return customer_id, provider
