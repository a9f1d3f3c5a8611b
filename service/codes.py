"""What every error code and every warning means: the one table that the doors and the documentation follow."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from service.model import ErrorCode, WarningType


@dataclass(frozen=True, slots=True)
class CodeSpec:
    """What an error code maps to.

    Attributes:
        http_status: The HTTP status, as in `status` of the envelope.
        grpc_status: The name of the gRPC status that the error has where it is not in an OK envelope.
        title: A few words for people.
        meaning: When it is given, and what the caller can do.
    """

    http_status: int
    grpc_status: str
    title: str
    meaning: str


CODES: Final[Mapping[ErrorCode, CodeSpec]] = MappingProxyType(
    {
        ErrorCode.BAD_REQUEST: CodeSpec(
            400,
            "INVALID_ARGUMENT",
            "Bad request",
            "The metadata is wrong, or the provider answered 400. Correct the call.",
        ),
        ErrorCode.VALIDATION_ERROR: CodeSpec(
            400,
            "INVALID_ARGUMENT",
            "Invalid value",
            "A field of the request breaks a rule. Correct the field that is named.",
        ),
        ErrorCode.UNAUTHORIZED_ERROR: CodeSpec(
            401,
            "UNAUTHENTICATED",
            "Not authenticated",
            "The caller's API key is not valid, or the provider refused the customer's credentials. Fix the key, or "
            "reconnect the customer.",
        ),
        ErrorCode.PAYMENT_REQUIRED_ERROR: CodeSpec(
            402,
            "FAILED_PRECONDITION",
            "Not in the plan",
            "The customer's plan at the provider does not include the operation.",
        ),
        ErrorCode.FORBIDDEN_ERROR: CodeSpec(
            403,
            "PERMISSION_DENIED",
            "Not allowed",
            "The customer's key, scopes or role at the provider do not allow it.",
        ),
        ErrorCode.NOT_FOUND_ERROR: CodeSpec(
            404,
            "NOT_FOUND",
            "Not found",
            "There is no such connection, sequence or step, or the step is not in that sequence.",
        ),
        ErrorCode.CONFLICT_ERROR: CodeSpec(
            409, "ABORTED", "Conflict", "Someone else is changing the same record. Try again."
        ),
        ErrorCode.UNPROCESSABLE_ENTITY_ERROR: CodeSpec(
            422,
            "FAILED_PRECONDITION",
            "Cannot be done",
            "The step has no template, or the provider refused a value. Correct the value that is named.",
        ),
        ErrorCode.TOO_MANY_REQUESTS_ERROR: CodeSpec(
            429,
            "RESOURCE_EXHAUSTED",
            "Too many requests",
            "A rate limit is used up. Wait for `retry_after`, if it is given.",
        ),
        ErrorCode.REMOTE_PROVIDER_ERROR: CodeSpec(
            499,
            "UNKNOWN",
            "Refused by the provider",
            "The provider refused the call in a way that has no code of its own; `meta.cause.code` has its status.",
        ),
        ErrorCode.INTERNAL_SERVER_ERROR: CodeSpec(
            500, "INTERNAL", "Internal error", "A bug in this service. Report the `id` of the error."
        ),
        ErrorCode.NOT_IMPLEMENTED_ERROR: CodeSpec(
            501, "UNIMPLEMENTED", "Not supported", "The provider has no such operation. No retry helps."
        ),
        ErrorCode.BAD_GATEWAY_ERROR: CodeSpec(
            502,
            "UNKNOWN",
            "The provider's answer makes no sense",
            "The provider failed, or answered something unreadable.",
        ),
        ErrorCode.SERVICE_UNAVAILABLE_ERROR: CodeSpec(
            503,
            "UNAVAILABLE",
            "Not available",
            "The provider or this service cannot be reached at present. Try again later.",
        ),
        ErrorCode.GATEWAY_TIMEOUT_ERROR: CodeSpec(
            504,
            "DEADLINE_EXCEEDED",
            "The provider took too long",
            "No answer came before the deadline. `meta.outcome` tells whether a write may have been carried out.",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class WarningSpec:
    """What a warning means.

    Attributes:
        title: A few words for people.
        meaning: When it is given.
    """

    title: str
    meaning: str


WARNINGS: Final[Mapping[WarningType, WarningSpec]] = MappingProxyType(
    {
        WarningType.SHARED_TEMPLATE: WarningSpec(
            "Other steps change too",
            "Other steps use the same template and change with it. Told without spending calls on the write path, and "
            "always with `validate_only`.",
        ),
        WarningType.MULTIPLE_VARIANTS: WarningSpec(
            "One of several variants", "The step is an A/B test; only the first variant that is live was changed."
        ),
        WarningType.SEQUENCE_ACTIVE: WarningSpec(
            "The sequence is on", "People who are already in the sequence get the new text."
        ),
        WarningType.REPLY_SUBJECT_IGNORED: WarningSpec(
            "The subject is not used", "The step replies in a thread, so the provider does not use its subject."
        ),
        WarningType.TEMPLATE_ARCHIVED: WarningSpec(
            "The template is archived", "The template is archived at the provider."
        ),
        WarningType.NO_CHANGE: WarningSpec(
            "Nothing to change", "The provider already holds exactly this, so nothing was written."
        ),
        WarningType.CONTENT_NORMALIZED: WarningSpec(
            "Stored differently", "The provider stored something else than was sent; `changes` shows what it holds."
        ),
    }
)
