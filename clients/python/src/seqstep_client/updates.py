"""The update that a caller asks for, and the result of one that did not fail."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from engagement.v1 import sequence_step_service_pb2 as pb

from seqstep_client.values import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUpdate:
    """Which step to change, and how.

    Attributes:
        sequence_id: The provider's id of the sequence.
        sequence_step_id: The provider's id of the step.
        subject: The subject to set; None leaves it, an empty string is a value.
        body: The HTML body to set; None leaves it, an empty string is a value.
        custom_fields: Fields of the provider's own step resource to set, by the provider's names.
        validate_only: Do everything but the write.
        etag: Write only over what this stands for: the etag of an earlier answer; empty to write over whatever is there.
        refuse_shared: Leave a template that other steps use, too; the failure names them.
        variant: The template of the variant to change; empty for the first variant that is live.
    """

    sequence_id: str
    sequence_step_id: str
    subject: str | None = None
    body: str | None = None
    custom_fields: Mapping[str, JsonValue] = field(default_factory=dict)
    validate_only: bool = False
    etag: str = ""
    refuse_shared: bool = False
    variant: str = ""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One value that was changed, or would be.

    Attributes:
        field: `template.subject`, `template.body` or `custom_fields.KEY`.
        before: The value at the provider before.
        after: What it holds now, or would hold.
        before_truncated: Whether `before` is only the beginning of it.
        after_truncated: Whether `after` is only the beginning of it.
    """

    field: str
    before: JsonValue
    after: JsonValue
    before_truncated: bool = False
    after_truncated: bool = False


@dataclass(frozen=True, slots=True)
class StepWarning:
    """Something to know about an update, which did not make it fail.

    Attributes:
        problem_type: The kind of warning, for programs (`SHARED_TEMPLATE`).
        title: A few words, the same for all of the kind.
        detail: What it is about, for a person.
        facts: The same for programs (`step_ids`); docs/errors.md has the names.
    """

    problem_type: str
    title: str
    detail: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """What became of an update that did not fail.

    Attributes:
        changes: What was changed, or would be with `validate_only`; empty if the provider already had it all. Long texts in
            them are cut, and marked so.
        warnings: What else to know.
        request_id: What to quote when asking about the call.
        response: The response as it came.
    """

    changes: tuple[FieldChange, ...]
    warnings: tuple[StepWarning, ...]
    request_id: str
    response: pb.UpdateStepResponse = field(repr=False, compare=False)

    @property
    def etag(self) -> str:
        """What to give as `etag` of the next update of the step; empty if nothing was read."""
        return self.response.etag

    @property
    def change_id(self) -> str:
        """The id of the change, to read it or to take it back; empty if nothing was written, and where no history is kept."""
        return self.response.change_id
