"""An update of one step, what it changes, and what the caller should know about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Self

import msgspec

from service.domain.errors import Problem
from service.domain.json_value import JsonValue

SUBJECT: Final = "template.subject"


BODY: Final = "template.body"


CUSTOM_FIELDS: Final = "custom_fields"


class Provider(str):
    """A sales-engagement provider, by the name that callers give in `x-provider-name`.

    Equal to its name, so that it is also a key and a value in the database. The registry in `service.providers` has all
    of them.
    """

    __slots__ = ("_title",)

    _title: str

    def __new__(cls, name: str, title: str = "") -> Self:
        """Makes the provider.

        Args:
            name: Its name in metadata and in the database, lower case.
            title: The name as people write it.
        """
        provider = super().__new__(cls, name)
        provider._title = title or name.capitalize()  # a string has no __init__ of its own
        return provider

    @property
    def title(self) -> str:  # type: ignore[override]  # a str method that means nothing here
        """The name as people write it."""
        return self._title


class WarningType(StrEnum):
    """The stable name of a kind of warning; `WARNINGS` says when each one is given."""

    SHARED_TEMPLATE = "SHARED_TEMPLATE"
    MULTIPLE_VARIANTS = "MULTIPLE_VARIANTS"
    SEQUENCE_ACTIVE = "SEQUENCE_ACTIVE"
    REPLY_SUBJECT_IGNORED = "REPLY_SUBJECT_IGNORED"
    TEMPLATE_ARCHIVED = "TEMPLATE_ARCHIVED"
    NO_CHANGE = "NO_CHANGE"
    CONTENT_NORMALIZED = "CONTENT_NORMALIZED"
    NOT_RESTORED = "NOT_RESTORED"


class Caller(msgspec.Struct, frozen=True):
    """The application that makes a call.

    Attributes:
        application_id: The key of its row in the store.
        application_name: What people call it; appears in `meta.application_name`.
        may_manage: Whether it may set and delete its connections, by the key or certificate of this call.
    """

    application_id: int
    application_name: str
    may_manage: bool = False


class StepRef(msgspec.Struct, frozen=True):
    """Names a step, or a sequence as a whole.

    Attributes:
        provider: Where the step lives.
        customer_id: The caller's own id of its customer.
        sequence_id: The provider's id of the sequence.
        sequence_step_id: The provider's id of the step; empty for the sequence.
    """

    provider: Provider
    customer_id: str
    sequence_id: str
    sequence_step_id: str


class StepUpdate(StepRef, frozen=True):
    """What a caller wants to hold of one step.

    Attributes:
        subject: The subject to set, or None to leave it.
        body: The HTML body to set, or None to leave it.
        custom_fields: Fields of the provider's step resource to set, by the provider's names.
        validate_only: Do everything but the writes.
        is_retry: Whether the call repeats an earlier attempt, which may have been carried out.
        etag: What the caller has seen of the step; empty to write over whatever is there.
        refuse_shared: Leave a template that other steps use, too.
        variant: The template of the variant to change; empty for the first one that is live.
        request_id: The id of the call.
        reverts: The id of the change that is taken back; empty if the caller itself says what to set.
        only_over: With `reverts`, what that change left, by field: other values are not written over. Empty to write over
            whatever is there.
        clears: With `reverts`, the texts that the template is to be without again; for providers that take a null there.
    """

    subject: str | None = None
    body: str | None = None
    custom_fields: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)
    validate_only: bool = False
    is_retry: bool = False
    etag: str = ""
    refuse_shared: bool = False
    variant: str = ""
    request_id: str = ""
    reverts: str = ""
    only_over: Mapping[str, JsonValue] = msgspec.field(default_factory=dict)
    clears: frozenset[str] = frozenset()

    @property
    def changes_template(self) -> bool:
        """Whether the update names the subject or the body."""
        return self.subject is not None or self.body is not None or bool(self.clears)

    @property
    def needs_subject(self) -> bool:
        """Whether the update cannot do without the present subject."""
        return self.subject is not None or bool(self.etag) or SUBJECT in self.clears

    @property
    def needs_body(self) -> bool:
        """Whether the update cannot do without the present body."""
        return self.body is not None or bool(self.etag) or BODY in self.clears

    @property
    def is_empty(self) -> bool:
        """Whether the update names nothing at all."""
        return not self.changes_template and not self.custom_fields


class FieldChange(msgspec.Struct, frozen=True):
    """One value that was changed, or would be.

    Attributes:
        field: `template.subject`, `template.body` or `custom_fields.KEY`.
        before: The value at the provider before.
        after: What it holds now, or would hold.
        before_truncated: Whether a response shows only the beginning of `before`.
        after_truncated: Whether a response shows only the beginning of `after`.
        is_new: Whether the record had no member of that name before.
    """

    field: str
    before: JsonValue
    after: JsonValue
    before_truncated: bool = False
    after_truncated: bool = False
    is_new: bool = False


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
            "Other steps use the same template and change with it. Reported without spending calls on the write path, and "
            "always with `validate_only`.",
        ),
        WarningType.MULTIPLE_VARIANTS: WarningSpec(
            "One of several variants",
            "The step is an A/B test, and only one variant was changed: the one that the call names, or else the first one "
            "that is live.",
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
            "Nothing to change",
            "The provider already holds exactly this, or what it makes of it, so nothing was written.",
        ),
        WarningType.CONTENT_NORMALIZED: WarningSpec(
            "Stored differently",
            "The provider holds something else than was sent; `changes` shows it if it became different.",
        ),
        WarningType.NOT_RESTORED: WarningSpec(
            "Not set back",
            "Values that were not there before the change that is taken back, and that the provider lets nobody take away, stay.",
        ),
    }
)


class StepWarning(msgspec.Struct, frozen=True):
    """Something that the caller should know about an update that did not fail for it.

    Attributes:
        type: The kind of warning.
        detail: What is the case, for a person.
        facts: The same for programs; docs/errors.md has the names.
    """

    type: WarningType
    detail: str
    facts: Mapping[str, str] = msgspec.field(default_factory=dict)


class UpdateResult(msgspec.Struct, frozen=True):
    """What became of an update.

    Attributes:
        problems: Why it failed; empty when it did not.
        warnings: What else the caller should know.
        changes: What was changed, or would be with `validate_only`.
        provider_calls: Requests that were sent to the provider for it.
        etag: What stands for the step as the caller has seen it by this; empty if nothing was read.
        conflicts: What the provider holds, and the caller had not seen, that would have been overwritten.
        change_id: The id that the change is kept by; empty if nothing was written, or nothing is kept.
    """

    problems: tuple[Problem, ...] = ()
    warnings: tuple[StepWarning, ...] = ()
    changes: tuple[FieldChange, ...] = ()
    provider_calls: int = 0
    etag: str = ""
    conflicts: tuple[FieldChange, ...] = ()
    change_id: str = ""
