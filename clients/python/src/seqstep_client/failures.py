"""The exceptions of the client library, one for each state in which a failed update can leave the step.

UpdateFailed
├── NotApplied           the update was judged for the customer, and nothing was changed
├── PartiallyApplied     some of it was carried out; a repeated call does the rest, if what the error names can pass
├── OutcomeUnknown       it may have been carried out; repeating the call is safe and settles it
└── CallRefused          the service refused the call, and nothing was changed
    ├── Unauthenticated  the API key or the client certificate is not accepted
    └── Unavailable      the service cannot be reached, is full or is stopping; repeat the call
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc
from engagement.v1 import sequence_step_service_pb2 as pb

from seqstep_client.contract import Origin, Outcome
from seqstep_client.updates import FieldChange, StepWarning
from seqstep_client.values import JsonValue


@dataclass(frozen=True, slots=True)
class Violation:
    """One part of a call that breaks a rule.

    Attributes:
        field: Its path in the request (`record.template.subject`) or the metadata key.
        description: The rule and how to keep it.
    """

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class Cause:
    """The provider's response behind an error, for people who know the provider.

    Attributes:
        code: Its HTTP status.
        body: Its JSON, or its text.
        headers: Its headers, names in lower case, without credentials.
        body_truncated: Whether the body was cut.
    """

    code: int
    body: JsonValue
    headers: Mapping[str, str]
    body_truncated: bool = False


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """One thing that went wrong.

    Attributes:
        id: The id of this one occurrence.
        code: The kind of error, for programs (`NOT_FOUND_ERROR`).
        status: The HTTP status that belongs to the code.
        title: A few words, for a person.
        detail: What happened and what to do, for a person.
        origin: Who found fault; None if neither did, such as for an error that was found in this process.
        outcome: What became of the step.
        retry_after: Seconds after which the same call can succeed; None if not known, or if waiting does not help.
        application_name: The name that the service has for the caller.
        cause: The provider's response behind it; None if there is none.
        facts: What `detail` says in words, for programs; docs/errors.md has the names.
    """

    id: str
    code: str
    status: int
    title: str
    detail: str
    origin: Origin | None
    outcome: Outcome
    retry_after: float | None = None
    application_name: str = ""
    cause: Cause | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What is known of a failed call.

    Attributes:
        errors: What went wrong, at least one, in the provider's order.
        outcome: What became of the step.
        request_id: What to quote when asking about the call.
        warnings: What else to know.
        changes: What is known to be changed.
        conflicts: What the provider holds that would have been written over unseen.
        violations: The parts of the call that break a rule.
        grpc_status: The status that the call ended with; OK for a failure that came in the envelope.
        response: The envelope as it came, or one made here that says the same.
    """

    errors: tuple[ErrorDetail, ...]
    outcome: Outcome
    request_id: str
    warnings: tuple[StepWarning, ...] = ()
    changes: tuple[FieldChange, ...] = ()
    conflicts: tuple[FieldChange, ...] = ()
    violations: tuple[Violation, ...] = ()
    grpc_status: grpc.StatusCode = grpc.StatusCode.OK
    response: pb.UpdateStepResponse = field(repr=False, compare=False)


class UpdateFailed(Exception):
    """An update did not succeed; its subclasses say what became of the step.

    Attributes:
        failure: All that is known of it; the exception's own properties show the most used parts.
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
        """Seconds after which the same call can succeed: the longest of the errors'; None if none has it."""
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

    @property
    def conflicts(self) -> tuple[FieldChange, ...]:
        """With `STEP_CHANGED_ERROR`, what the provider holds in `before`, and what would have been written over it in `after`."""
        return self.failure.conflicts

    @property
    def etag(self) -> str:
        """With `STEP_CHANGED_ERROR`, what to give as `etag` to write over what `conflicts` shows; empty otherwise."""
        return self.failure.response.etag


class NotApplied(UpdateFailed):
    """The update was attempted or judged for the customer, and nothing was changed."""


class PartiallyApplied(UpdateFailed):
    """Some of the update was carried out, see `changes`. Repeating the call does the rest, if what the error names can pass."""


class OutcomeUnknown(UpdateFailed):
    """The update may have been carried out. Repeating the call is safe and settles it."""


class CallRefused(UpdateFailed):
    """The service refused the call, and nothing was changed."""

    @property
    def violations(self) -> tuple[Violation, ...]:
        """The parts of the call that break a rule; empty if that is not what is wrong."""
        return self.failure.violations


class Unauthenticated(CallRefused):
    """The API key or the client certificate is not accepted."""


class Unavailable(CallRefused):
    """The service cannot be reached, is full or is stopping. Repeat the call, after `retry_after` if it is given."""
