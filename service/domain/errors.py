"""What goes wrong: error codes with their HTTP and gRPC statuses, problems, and the exceptions that carry them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from service.domain.json_value import JsonValue


class ErrorCode(StrEnum):
    """The stable name of a kind of error; `CODES` says what each one maps to."""

    BAD_REQUEST = "BAD_REQUEST"
    VALIDATION_ERROR = "VALIDATION_ERROR"
    UNAUTHORIZED_ERROR = "UNAUTHORIZED_ERROR"
    PAYMENT_REQUIRED_ERROR = "PAYMENT_REQUIRED_ERROR"
    FORBIDDEN_ERROR = "FORBIDDEN_ERROR"
    NOT_FOUND_ERROR = "NOT_FOUND_ERROR"
    METHOD_NOT_ALLOWED_ERROR = "METHOD_NOT_ALLOWED_ERROR"
    VARIANT_NOT_FOUND_ERROR = "VARIANT_NOT_FOUND_ERROR"
    CONFLICT_ERROR = "CONFLICT_ERROR"
    STEP_CHANGED_ERROR = "STEP_CHANGED_ERROR"
    SHARED_TEMPLATE_ERROR = "SHARED_TEMPLATE_ERROR"
    UNPROCESSABLE_ENTITY_ERROR = "UNPROCESSABLE_ENTITY_ERROR"
    RESPONSE_TOO_LONG_ERROR = "RESPONSE_TOO_LONG_ERROR"
    TOO_MANY_REQUESTS_ERROR = "TOO_MANY_REQUESTS_ERROR"
    REMOTE_PROVIDER_ERROR = "REMOTE_PROVIDER_ERROR"
    INTERNAL_SERVER_ERROR = "INTERNAL_SERVER_ERROR"
    NOT_IMPLEMENTED_ERROR = "NOT_IMPLEMENTED_ERROR"
    BAD_GATEWAY_ERROR = "BAD_GATEWAY_ERROR"
    SERVICE_UNAVAILABLE_ERROR = "SERVICE_UNAVAILABLE_ERROR"
    GATEWAY_TIMEOUT_ERROR = "GATEWAY_TIMEOUT_ERROR"


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
            "reconnect the customer. About the customer's credentials, the gRPC status is `FAILED_PRECONDITION`.",
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
            "The customer's key, scopes or role at the provider do not allow it; of a call on connections, the caller's own key.",
        ),
        ErrorCode.NOT_FOUND_ERROR: CodeSpec(
            404,
            "NOT_FOUND",
            "Not found",
            "There is no such connection, sequence, step or change, or the step is not in that sequence.",
        ),
        ErrorCode.METHOD_NOT_ALLOWED_ERROR: CodeSpec(
            405,
            "UNIMPLEMENTED",
            "Method not allowed",
            "Over HTTP only: the path has no such method. The header `allow` has those that it has.",
        ),
        ErrorCode.VARIANT_NOT_FOUND_ERROR: CodeSpec(
            404, "NOT_FOUND", "No such variant", "The step has no variant with the template that `variant` names."
        ),
        ErrorCode.CONFLICT_ERROR: CodeSpec(
            409, "ABORTED", "Conflict", "Someone else is changing the same record. Try again."
        ),
        ErrorCode.STEP_CHANGED_ERROR: CodeSpec(
            412,
            "ABORTED",
            "Not what was seen",
            "The step is not, or no longer, what `etag` stands for, or what the change left that is to be taken back; `conflicts` "
            "has the present values. Decide by them, and repeat the call with the `etag` of this response or with `overwrite`, or "
            "not at all.",
        ),
        ErrorCode.SHARED_TEMPLATE_ERROR: CodeSpec(
            412,
            "FAILED_PRECONDITION",
            "Other steps would change too",
            "Other steps use the template, and the call says to leave it then. The facts name them.",
        ),
        ErrorCode.UNPROCESSABLE_ENTITY_ERROR: CodeSpec(
            422,
            "FAILED_PRECONDITION",
            "Cannot be done",
            "The step has no template, or the provider refused a value. Correct the value that is named.",
        ),
        ErrorCode.RESPONSE_TOO_LONG_ERROR: CodeSpec(
            422,
            "FAILED_PRECONDITION",
            "The answer would be too long",
            "What was asked for does not fit into an answer, which has less than 4,000,000 bytes. Ask for it without bodies, or "
            "for one step at a time; of a change, the list shows the beginnings.",
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
            501,
            "UNIMPLEMENTED",
            "Not supported",
            "The provider has no such operation, or this service keeps no history. No retry helps.",
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


class Origin(StrEnum):
    """Who found fault with a call."""

    PROVIDER = "provider"
    SERVICE = "service"


class Outcome(StrEnum):
    """What a failed call did to the step at the provider, by the names of the contract's `ErrorOutcome`."""

    NOT_APPLIED = "ERROR_OUTCOME_NOT_APPLIED"
    UNKNOWN = "ERROR_OUTCOME_UNKNOWN"
    PARTIALLY_APPLIED = "ERROR_OUTCOME_PARTIALLY_APPLIED"


class Cause(msgspec.Struct, frozen=True):
    """A provider's answer that stands behind a problem, already freed of credentials.

    Attributes:
        status: Its HTTP status.
        body: Its JSON, or its text.
        headers: Its headers, names in lower case.
        body_truncated: Whether the body was cut.
    """

    status: int
    body: JsonValue
    headers: Mapping[str, str]
    body_truncated: bool = False


class Problem(msgspec.Struct, frozen=True):
    """One thing that went wrong.

    Attributes:
        code: The kind of error.
        detail: What happened, for a person.
        title: The provider's own short name for it; None means that of the code.
        origin: Who found fault.
        cause: The provider's answer behind it, if there is one.
        outcome: What became of the step.
        retry_after: Seconds after which the same call can succeed, if known.
        advice: What to do about it, for a person. Between `detail` and it, the use case says what was done to the step.
        facts: What `detail` says in words, for programs; docs/errors.md has the names.
        refusal: Which limit of this service kept the request from being sent, in a word for logs and metrics; empty if none.
    """

    code: ErrorCode
    detail: str
    title: str | None = None
    origin: Origin = Origin.SERVICE
    cause: Cause | None = None
    outcome: Outcome = Outcome.NOT_APPLIED
    retry_after: float | None = None
    advice: str = ""
    facts: Mapping[str, str] = msgspec.field(default_factory=dict)
    refusal: str = ""


class Violation(msgspec.Struct, frozen=True):
    """One part of a call that breaks a rule.

    Attributes:
        field: Its path in the request (`record.template.subject`) or the metadata key.
        description: The rule and how to keep it.
    """

    field: str
    description: str


class CallRefused(Exception):
    """The call itself is wrong or cannot be served.

    Attributes:
        problem: What went wrong; nothing was changed at the provider.
        violations: The parts of the call that break a rule, if that is what is wrong.
    """

    def __init__(self, problem: Problem, violations: Sequence[Violation] = ()) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.violations = tuple(violations)


class UpdateFailed(Exception):
    """The update was attempted, or judged on the customer's behalf, and failed.

    Attributes:
        problems: What went wrong, in the provider's order; at least one.
    """

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.detail for problem in problems))
        self.problems = problems


MAX_VIOLATIONS: Final = 20
"""How many parts of a call that break a rule are named in its refusal."""


def invalid(violations: Sequence[Violation], code: ErrorCode = ErrorCode.VALIDATION_ERROR) -> CallRefused:
    """The refusal of a call because of the parts of it that break a rule; `violations` has at least one.

    The first `MAX_VIOLATIONS` are named, so whoever finds them can stop at one more.
    """
    named = violations[:MAX_VIOLATIONS]
    detail = "; ".join(f"{violation.field}: {violation.description}" for violation in named)
    if len(violations) > MAX_VIOLATIONS:
        detail += f"; only the first {MAX_VIOLATIONS} are named."
    return CallRefused(Problem(code, detail), named)


def unauthenticated() -> CallRefused:
    """The refusal of a caller, in the same words whatever is wrong with its key, so that they give nothing away."""
    return CallRefused(
        Problem(
            ErrorCode.UNAUTHORIZED_ERROR,
            "The API key is missing or not valid. Send the key of your application as `x-api-key`; "
            "`seqstep app create` or `seqstep app rotate-key` makes one.",
        )
    )


def failed(
    code: ErrorCode,
    detail: str,
    advice: str = "",
    *,
    origin: Origin = Origin.SERVICE,
    outcome: Outcome = Outcome.NOT_APPLIED,
    retry_after: float | None = None,
    facts: Mapping[str, str] = MappingProxyType({}),
    refusal: str = "",
) -> UpdateFailed:
    """A failure with one problem that no response of a provider stands behind."""
    return UpdateFailed(
        Problem(
            code,
            detail,
            advice=advice,
            origin=origin,
            outcome=outcome,
            retry_after=retry_after,
            facts=dict(facts),
            refusal=refusal,
        )
    )
