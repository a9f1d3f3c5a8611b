"""One exception for each way in which an update fails, told apart by what it left behind.

UpdateFailed
├── NotApplied           the update was judged for the customer, and nothing was changed
├── PartiallyApplied     some of it was carried out; repeating the call does the rest
├── OutcomeUnknown       it may have been carried out; repeating the call is safe and settles it
└── CallRefused          the service did not take the call, and nothing was changed
    ├── Unauthenticated  the API key or the client certificate is not accepted
    └── Unavailable      the service cannot be reached, is full or is stopping; repeat the call
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import grpc
from engagement.v1 import sequence_step_service_pb2 as pb

from service.client.updates import FieldChange, JsonValue, StepWarning


class Outcome(StrEnum):
    """What a failed call did to the step."""

    NOT_APPLIED = "not applied"
    UNKNOWN = "unknown"
    PARTIALLY_APPLIED = "partially applied"


class Origin(StrEnum):
    """Who found fault with a call."""

    PROVIDER = "provider"
    SERVICE = "service"
    UNTOLD = "untold"
    """Neither has answered; the error was found in this process."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What the provider answered, for people who know the provider.

    Attributes:
        code: The HTTP status of its answer.
        body: Its JSON, or its text.
        headers: Its headers, names in lower case, without credentials.
    """

    code: int
    body: JsonValue
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """One thing that went wrong.

    Attributes:
        id: Names this very occurrence.
        code: The kind of error, for programs (`NOT_FOUND_ERROR`).
        status: The HTTP status that belongs to the code.
        title: A few words.
        detail: What happened and what to do, for a person.
        origin: Who found fault.
        outcome: What became of the step.
        retry_after: Seconds after which the same call can succeed; None if not known, or if waiting does not help.
        application_name: The caller, as the service knows it.
        cause: The provider's answer behind it; None if there is none.
    """

    id: str
    code: str
    status: int
    title: str
    detail: str
    origin: Origin
    outcome: Outcome
    retry_after: float | None = None
    application_name: str = ""
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Violation:
    """One part of a call that breaks a rule.

    Attributes:
        field: Its path in the request (`record.template.subject`) or the metadata key.
        description: The rule and how to keep it.
    """

    field: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The facts of a failed call.

    Attributes:
        errors: What went wrong, at least one, in the provider's order.
        outcome: What became of the step.
        request_id: What to quote when asking about the call.
        warnings: What else to know.
        changes: What is known to be changed.
        violations: The parts of the call that break a rule.
        grpc_status: The status that the call ended with; OK for a failure that came in the envelope.
        response: The envelope as it came, or as it would have said the same.
    """

    errors: tuple[ErrorDetail, ...]
    outcome: Outcome
    request_id: str
    warnings: tuple[StepWarning, ...] = ()
    changes: tuple[FieldChange, ...] = ()
    violations: tuple[Violation, ...] = ()
    grpc_status: grpc.StatusCode = grpc.StatusCode.OK
    response: pb.UpdateStepResponse = field(repr=False, compare=False)


class UpdateFailed(Exception):
    """An update did not succeed; its subclasses say what it left behind.

    Attributes:
        failure: All that is known about it. What is asked for most can be had from the exception itself.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__("; ".join(error.detail or error.title for error in failure.errors))
        self.failure = failure

    def __reduce__(self) -> tuple[type["UpdateFailed"], tuple[Failure]]:
        return type(self), (self.failure,)

    @property
    def errors(self) -> tuple[ErrorDetail, ...]:
        """What went wrong, at least one, in the provider's order."""
        return self.failure.errors

    @property
    def code(self) -> str:
        """The kind of the first error, for programs."""
        return self.errors[0].code

    @property
    def status(self) -> int:
        """The HTTP status of the first error."""
        return self.errors[0].status

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the same call can succeed: the longest of the errors'; None if none tells."""
        return max((error.retry_after for error in self.errors if error.retry_after is not None), default=None)

    @property
    def outcome(self) -> Outcome:
        """What became of the step."""
        return self.failure.outcome

    @property
    def request_id(self) -> str:
        """What to quote when asking about the call."""
        return self.failure.request_id

    @property
    def warnings(self) -> tuple[StepWarning, ...]:
        """What else to know."""
        return self.failure.warnings

    @property
    def changes(self) -> tuple[FieldChange, ...]:
        """What is known to be changed."""
        return self.failure.changes


class NotApplied(UpdateFailed):
    """The update was attempted or judged for the customer, and nothing was changed."""


class PartiallyApplied(UpdateFailed):
    """Some of the update was carried out, see `changes`. Repeating the call does the rest."""


class OutcomeUnknown(UpdateFailed):
    """The update may have been carried out. Repeating the call is safe and settles it."""


class CallRefused(UpdateFailed):
    """The service did not take the call, and nothing was changed."""

    @property
    def violations(self) -> tuple[Violation, ...]:
        """The parts of the call that break a rule; empty if that is not what is wrong."""
        return self.failure.violations


class Unauthenticated(CallRefused):
    """The API key or the client certificate is not accepted."""


class Unavailable(CallRefused):
    """The service cannot be reached, is full or is stopping. Repeat the call, after `retry_after` if it is given."""
