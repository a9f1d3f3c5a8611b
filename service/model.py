"""Plain types of the domain: no protobuf, no HTTP, no SQL."""

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, TypeAlias

import msgspec

JsonValue: TypeAlias = Any
"""A value as JSON has it: None, bool, int, float, str, a list, or a dict with str keys."""

SUBJECT: Final = "template.subject"
BODY: Final = "template.body"
CUSTOM_FIELDS: Final = "custom_fields"


class Provider(StrEnum):
    """A sales-engagement provider, by the name that callers give in `x-provider-name`."""

    APOLLO = "apollo"
    OUTREACH = "outreach"
    SALESLOFT = "salesloft"

    @property
    def title(self) -> str:  # type: ignore[override]  # a str method that means nothing here
        """The name as people write it."""
        return self.value.capitalize()


class ErrorCode(StrEnum):
    """The stable name of a kind of error; `service.codes` says what each one maps to."""

    BAD_REQUEST = "BAD_REQUEST"
    VALIDATION_ERROR = "VALIDATION_ERROR"
    UNAUTHORIZED_ERROR = "UNAUTHORIZED_ERROR"
    PAYMENT_REQUIRED_ERROR = "PAYMENT_REQUIRED_ERROR"
    FORBIDDEN_ERROR = "FORBIDDEN_ERROR"
    NOT_FOUND_ERROR = "NOT_FOUND_ERROR"
    CONFLICT_ERROR = "CONFLICT_ERROR"
    UNPROCESSABLE_ENTITY_ERROR = "UNPROCESSABLE_ENTITY_ERROR"
    TOO_MANY_REQUESTS_ERROR = "TOO_MANY_REQUESTS_ERROR"
    REMOTE_PROVIDER_ERROR = "REMOTE_PROVIDER_ERROR"
    INTERNAL_SERVER_ERROR = "INTERNAL_SERVER_ERROR"
    NOT_IMPLEMENTED_ERROR = "NOT_IMPLEMENTED_ERROR"
    BAD_GATEWAY_ERROR = "BAD_GATEWAY_ERROR"
    SERVICE_UNAVAILABLE_ERROR = "SERVICE_UNAVAILABLE_ERROR"
    GATEWAY_TIMEOUT_ERROR = "GATEWAY_TIMEOUT_ERROR"


class WarningType(StrEnum):
    """The stable name of a kind of warning; `service.codes` says when each one is given."""

    SHARED_TEMPLATE = "SHARED_TEMPLATE"
    MULTIPLE_VARIANTS = "MULTIPLE_VARIANTS"
    SEQUENCE_ACTIVE = "SEQUENCE_ACTIVE"
    REPLY_SUBJECT_IGNORED = "REPLY_SUBJECT_IGNORED"
    TEMPLATE_ARCHIVED = "TEMPLATE_ARCHIVED"
    NO_CHANGE = "NO_CHANGE"
    CONTENT_NORMALIZED = "CONTENT_NORMALIZED"


class Origin(StrEnum):
    """Who found fault with a call."""

    PROVIDER = "provider"
    SERVICE = "service"


class Outcome(StrEnum):
    """What a failed call did to the step at the provider."""

    NOT_APPLIED = "not applied"
    UNKNOWN = "unknown"
    PARTIALLY_APPLIED = "partially applied"


class Caller(msgspec.Struct, frozen=True):
    """The application that makes a call.

    Attributes:
        application_id: The key of its row in the store.
        application_name: What people call it; appears in `meta.application_name`.
    """

    application_id: int
    application_name: str


class StepUpdate(msgspec.Struct, frozen=True):
    """What a caller wants to hold of one step.

    Attributes:
        provider: Where the step lives.
        customer_id: The caller's own id of its customer.
        sequence_id: The provider's id of the sequence.
        step_id: The provider's id of the step.
        subject: The subject to set, or None to leave it.
        body: The HTML body to set, or None to leave it.
        custom_fields: Fields of the provider's step resource to set, by the provider's names.
        validate_only: Do everything but the writes.
    """

    provider: Provider
    customer_id: str
    sequence_id: str
    step_id: str
    subject: str | None = None
    body: str | None = None
    custom_fields: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)
    validate_only: bool = False

    @property
    def changes_template(self) -> bool:
        """Whether the update names the subject or the body."""
        return self.subject is not None or self.body is not None

    @property
    def is_empty(self) -> bool:
        """Whether the update names nothing at all."""
        return not self.changes_template and not self.custom_fields


class Cause(msgspec.Struct, frozen=True):
    """A provider's answer that stands behind a problem, already freed of credentials.

    Attributes:
        status: Its HTTP status.
        body: Its JSON, or its text.
        headers: Its headers, names in lower case.
    """

    status: int
    body: JsonValue
    headers: Mapping[str, str]


class Problem(msgspec.Struct, frozen=True):
    """One thing that went wrong.

    Attributes:
        code: The kind of error.
        detail: What happened and what to do about it, for a person.
        title: The provider's own short name for it; None means that of the code.
        origin: Who found fault.
        cause: The provider's answer behind it, if there is one.
        outcome: What became of the step.
        retry_after: Seconds after which the same call can succeed, if known.
    """

    code: ErrorCode
    detail: str
    title: str | None = None
    origin: Origin = Origin.SERVICE
    cause: Cause | None = None
    outcome: Outcome = Outcome.NOT_APPLIED
    retry_after: float | None = None


class StepWarning(msgspec.Struct, frozen=True):
    """Something that the caller should know about an update that did not fail for it."""

    type: WarningType
    detail: str


class FieldChange(msgspec.Struct, frozen=True):
    """One value that was changed, or would be.

    Attributes:
        field: `template.subject`, `template.body` or `custom_fields.KEY`.
        before: What the provider held.
        after: What it holds now, or would hold.
    """

    field: str
    before: JsonValue
    after: JsonValue


class UpdateResult(msgspec.Struct, frozen=True):
    """What became of an update.

    Attributes:
        problems: Why it failed; empty when it did not.
        warnings: What else the caller should know.
        changes: What was changed, or would be with `validate_only`.
        provider_calls: Requests that were sent to the provider for it.
    """

    problems: tuple[Problem, ...] = ()
    warnings: tuple[StepWarning, ...] = ()
    changes: tuple[FieldChange, ...] = ()
    provider_calls: int = 0


class Violation(msgspec.Struct, frozen=True):
    """One part of a call that breaks a rule.

    Attributes:
        field: Its path in the request (`record.template.subject`) or the metadata key.
        description: The rule and how to keep it.
    """

    field: str
    description: str


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
    """

    access_token: Secret
    refresh_token: Secret | None
    expires_at: float | None
    client_id: str
    client_secret: Secret
    redirect_uri: str = ""


Credentials: TypeAlias = ApiKeyCredentials | OAuthCredentials


class ConnectionState(StrEnum):
    """Whether a connection can be used."""

    ACTIVE = "active"
    NEEDS_REAUTH = "needs_reauth"


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


class TokenGrant(msgspec.Struct, frozen=True):
    """What a provider's token endpoint answered to a refresh.

    Attributes:
        access_token: The new access token.
        refresh_token: The new refresh token; None means that the old one stays good.
        expires_at: When the access token ends, as a Unix time in seconds; None if not told.
    """

    access_token: Secret
    refresh_token: Secret | None
    expires_at: float | None


class Deadline(msgspec.Struct, frozen=True):
    """A moment on the monotonic clock by which an answer must be given."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The deadline that is so many seconds from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds that are left; negative when it is past."""
        return self.at - time.monotonic()
