"""What is shown of a connection, each part by itself."""

from google.protobuf.json_format import MessageToDict
from msgspec.structs import replace

from service.api.connection_messages import _shown
from service.domain.credentials import ConnectionState, ConnectionSummary
from service.domain.step import Provider

BARE = ConnectionSummary(
    "billing", "acme", Provider("apollo"), ConnectionState.ACTIVE, "connected", 1.0, 2.0, "key", None, None, 3.0
)


def test_what_is_not_known_is_left_out() -> None:
    shown = {
        "customer_id": "acme",
        "provider_name": "apollo",
        "state": "CONNECTION_STATE_ACTIVE",
        "state_reason": "connected",
        "state_time": "1970-01-01T00:00:01Z",
        "update_time": "1970-01-01T00:00:02Z",
        "create_time": "1970-01-01T00:00:03Z",
    }
    assert MessageToDict(_shown(BARE), preserving_proto_field_name=True) == shown
    # The time of an error that has passed says nothing.
    assert _shown(replace(BARE, refresh_error_at=9.0)) == _shown(BARE)


def test_all_that_is_known_is_shown() -> None:
    whole = ConnectionSummary(
        "billing",
        "acme",
        Provider("outreach"),
        ConnectionState.NEEDS_REAUTH,
        "void",
        1.0,
        2.0,
        "key",
        "invalid_grant",
        4.0,
        3.0,
        5.0,
        6.0,
        "FORBIDDEN_ERROR",
        "oauth",
        7.0015,
        ("a", "b"),
    )
    assert MessageToDict(_shown(whole), preserving_proto_field_name=True) == {
        "customer_id": "acme",
        "provider_name": "outreach",
        "state": "CONNECTION_STATE_NEEDS_REAUTH",
        "state_reason": "void",
        "state_time": "1970-01-01T00:00:01Z",
        "update_time": "1970-01-01T00:00:02Z",
        "create_time": "1970-01-01T00:00:03Z",
        "credentials_kind": "CREDENTIALS_KIND_OAUTH",
        "renewal_error": "invalid_grant",
        "renewal_error_time": "1970-01-01T00:00:04Z",
        "last_success_time": "1970-01-01T00:00:05Z",
        "last_failure_time": "1970-01-01T00:00:06Z",
        "last_failure_code": "FORBIDDEN_ERROR",
        "expire_time": "1970-01-01T00:00:07.002Z",
        "scopes": ["a", "b"],
    }
