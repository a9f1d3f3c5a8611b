"""Decisions that are the same whatever the provider: what changes, and what the caller should know about it."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from service.domain.errors import ErrorCode, Origin, Problem, UpdateFailed, Violation
from service.domain.etag import StepEtag
from service.domain.json_value import JsonValue, json_equal
from service.domain.step import BODY, CUSTOM_FIELDS, SUBJECT, FieldChange, StepRef, StepUpdate, StepWarning, WarningType

_NAMED_STEPS: Final = 20
_LISTED_STEPS: Final = 1000

# What is shown of a step's type; anything else in its place is not a type.
_STEP_TYPE: Final = re.compile(r"[a-z]{1,20}(?:_[a-z]{1,20}){0,4}")


class Template(msgspec.Struct, frozen=True):
    """A template as the provider holds it."""

    id: str
    subject: str | None
    body: str | None
    archived: bool


class Variant(msgspec.Struct, frozen=True):
    """The variant of a step whose template is changed.

    Attributes:
        id: The provider's id of it.
        of: How many variants the step has.
        is_live: Whether it sends anything.
        is_reply: Whether it sends in the thread of an earlier mail, so that its subject is not used.
        twins: How many other variants of the step use the same template.
    """

    id: str
    of: int
    is_live: bool
    is_reply: bool
    twins: int


def texts_of(record: Mapping[str, JsonValue], subject: str, body: str) -> dict[str, JsonValue] | None:
    """The subject and the body of a record of a template, by its names for them; None if it does not show both."""
    texts = (record.get(subject, 0), record.get(body, 0))
    is_shown = all([text is None or isinstance(text, str) for text in texts])  # noqa: C419  # a generator costs more
    return dict(zip((SUBJECT, BODY), texts, strict=True)) if is_shown else None


def whole(value: JsonValue, most: int) -> int | None:
    """A whole number as an integer; None if it is none, or larger than `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= most:
        return None
    return int(value) if value == int(value) else None


MAX_ORDER: Final = 2**31 - 1
MAX_SECONDS: Final = 2**53


def template_fields(update: StepUpdate, template: Template) -> tuple[FieldChange, ...]:
    """The subject and the body, as far as the update names them."""
    wanted = ((SUBJECT, template.subject, update.subject), (BODY, template.body, update.body))
    return tuple(
        FieldChange(name, before, after) for name, before, after in wanted if after is not None or name in update.clears
    )


def custom_fields(update: StepUpdate, current: Mapping[str, JsonValue]) -> tuple[FieldChange, ...]:
    """The custom fields that the update names; a null for one that is not there asks for nothing."""
    return tuple(
        FieldChange(f"{CUSTOM_FIELDS}.{key}", current.get(key), value, is_new=key not in current)
        for key, value in update.custom_fields.items()
        if value is not None or key in current
    )


def custom_field_violations(update: StepUpdate, fixed: Collection[str]) -> list[Violation]:
    """Custom fields by names that would make the step another step or hang it elsewhere."""
    return [
        Violation(
            f"record.custom_fields.{key}",
            f"`{key}` says what the step is and where it belongs, and cannot be changed here. Leave it out.",
        )
        for key in update.custom_fields
        if key in fixed
    ]


def uncovered_field_violations(update: StepUpdate, covered: Collection[str]) -> list[Violation]:
    """Custom fields that an etag says nothing about, and so cannot keep from being overwritten."""
    return [
        Violation(
            f"record.custom_fields.{key}",
            f"An `etag` covers {', '.join(covered)}, and not `{key}`. Set it in a call without an `etag`.",
        )
        for key in update.custom_fields
        if key not in covered
    ]


def template_warnings(update: StepUpdate, template: Template, variant: Variant) -> list[StepWarning]:
    """What the caller should know about this template, whether it changes or not.

    Args:
        update: What is wanted.
        template: The template.
        variant: The variant of the step that it belongs to.
    """
    warnings: list[StepWarning] = []
    if variant.of > 1:
        facts = {"template_id": template.id, "variant_id": variant.id, "variant_count": str(variant.of)}
        warnings.append(StepWarning(WarningType.MULTIPLE_VARIANTS, _which_variant(update, template, variant), facts))
    if variant.is_reply and update.subject is not None:
        warnings.append(
            StepWarning(
                WarningType.REPLY_SUBJECT_IGNORED,
                f"Step {update.sequence_step_id} replies in the thread of an earlier mail, so {update.provider.title} sends "
                "it with that mail's subject, whatever subject the template has.",
                {"template_id": template.id},
            )
        )
    if template.archived:
        warnings.append(
            StepWarning(
                WarningType.TEMPLATE_ARCHIVED,
                f"Template {template.id} is archived at {update.provider.title}. Restore it there if it is to be used.",
                {"template_id": template.id},
            )
        )
    return warnings


def _which_variant(update: StepUpdate, template: Template, variant: Variant) -> str:
    if update.variant:
        which = "the one that the call names"
    else:
        which = "the first one that is live" if variant.is_live else "the first one, since none is live"
    others = variant.of - 1 - variant.twins
    rest = []
    if variant.twins:
        noun = "other variant uses" if variant.twins == 1 else "other variants use"
        rest.append(f"{variant.twins} {noun} the same template and changes with it")
    if others:
        rest.append(f"{others} with {'another template stays' if others == 1 else 'other templates stay'} as they are")
    return (
        f"Step {update.sequence_step_id} is an A/B test with {variant.of} variants. The update concerns {which}, whose "
        f"template is {template.id}; {'; '.join(rest)}."
    )


def shared_template(template_id: str, sharing: Sequence[str]) -> StepWarning:
    """The warning that other steps change too."""
    return StepWarning(
        WarningType.SHARED_TEMPLATE,
        f"Template {template_id} is also used by {_named(sharing)}, which change with it.",
        _sharing_facts(template_id, sharing),
    )


def _named(steps: Sequence[str]) -> str:
    more = f" and {len(steps) - _NAMED_STEPS} more" if len(steps) > _NAMED_STEPS else ""
    return f"{'step' if len(steps) == 1 else 'steps'} {', '.join(steps[:_NAMED_STEPS])}{more}"


def _sharing_facts(template_id: str, sharing: Sequence[str]) -> dict[str, str]:
    return {
        "template_id": template_id,
        "step_ids": ",".join(sharing[:_LISTED_STEPS]),
        "step_count": str(len(sharing)),
    }


SEQUENCE_ON: Final = StepWarning(
    WarningType.SEQUENCE_ACTIVE, "The sequence is on: people who are already in it get the step as changed."
)


def no_change(fields: Sequence[FieldChange]) -> StepWarning:
    """The warning that nothing was written, since the provider holds what the fields would leave there."""
    differing = [field.field for field in fields if not json_equal(field.before, field.after)]
    what = f"what it makes of the value of {', '.join(differing)}" if differing else "exactly this"
    return StepWarning(WarningType.NO_CHANGE, f"The provider already holds {what}; nothing was written.")


def nothing_named() -> StepWarning:
    """The warning for an update that names nothing."""
    return StepWarning(
        WarningType.NO_CHANGE,
        "The record names nothing to change; the provider was not called. Set a subject, a body or custom fields.",
    )


class StepNotFound(UpdateFailed):
    """The step is not in its sequence."""

    def __init__(self, update: StepRef) -> None:
        super().__init__(
            Problem(
                ErrorCode.NOT_FOUND_ERROR,
                f"Sequence {update.sequence_id} of customer {update.customer_id} at {update.provider.title} has no step "
                f"{update.sequence_step_id}.",
                advice="Check both ids.",
                facts={"resource": "sequence_step"},
            )
        )


class VariantNotFound(UpdateFailed):
    """No variant of the step uses the template that the update names."""

    def __init__(self, update: StepUpdate, template_ids: Sequence[str]) -> None:
        named = ", ".join(dict.fromkeys(template_ids))
        super().__init__(
            Problem(
                ErrorCode.VARIANT_NOT_FOUND_ERROR,
                f"Step {update.sequence_step_id} has no variant with the template {update.variant}.",
                advice=f"Its variants have these templates: {named or 'none'}.",
                facts={"resource": "variant", "template_ids": named.replace(", ", ",")},
            )
        )


class SharedTemplateRefused(UpdateFailed):
    """Other steps use the template, and the update is to leave it then."""

    def __init__(self, template_id: str, sharing: Sequence[str]) -> None:
        super().__init__(
            Problem(
                ErrorCode.SHARED_TEMPLATE_ERROR,
                f"Template {template_id} is also used by {_named(sharing)}, which would have changed with it.",
                advice="Give the step a template of its own at the provider, or repeat the call without `if_shared`.",
                facts=_sharing_facts(template_id, sharing),
            )
        )


class StepChanged(UpdateFailed):
    """What the update would overwrite is not what its caller has seen.

    Attributes:
        conflicts: What the provider holds, and what would have become of it.
        etag: Stands for that.
    """

    def __init__(self, update: StepUpdate, conflicts: Sequence[FieldChange], etag: StepEtag) -> None:
        parts = dict.fromkeys(field.field.partition(".")[0] for field in conflicts)
        changed = " and the ".join({"template": "template", CUSTOM_FIELDS: "fields"}[part] for part in parts)
        verb = "are" if CUSTOM_FIELDS in parts else "is"
        expected = f"what change {update.reverts} left there" if update.reverts else "what `etag` stands for"
        how = "with `overwrite`" if update.reverts else "with the `etag` of this response"
        super().__init__(
            Problem(
                ErrorCode.STEP_CHANGED_ERROR,
                f"The {changed} of step {update.sequence_step_id} {verb} not {expected}; `conflicts` has the present values.",
                advice=f"To write over them, repeat the call {how}.",
                facts={"fields": ",".join(field.field for field in conflicts)},
            )
        )
        self.conflicts = tuple(conflicts)
        self.etag = etag


class StepHasNoTemplate(UpdateFailed):
    """The update changes the template of a step that sends nothing."""

    def __init__(self, update: StepUpdate, step_type: object) -> None:
        named = step_type if isinstance(step_type, str) and _STEP_TYPE.fullmatch(step_type) else "unknown"
        super().__init__(
            Problem(
                ErrorCode.UNPROCESSABLE_ENTITY_ERROR,
                f"Step {update.sequence_step_id} is of type {named} and has no template, so its subject and body cannot be "
                "set.",
                advice="Choose an email or message step, or send custom fields only.",
            )
        )


class NotShown(UpdateFailed):
    """The update needs something that the provider's response does not show."""

    def __init__(self, update: StepRef, what: str) -> None:
        super().__init__(
            Problem(
                ErrorCode.BAD_GATEWAY_ERROR,
                f"{update.provider.title}'s answer about sequence {update.sequence_id} does not show {what}, so what the step "
                "has is not known.",
                advice="Try again later; if it stays so, report it with the id of this error.",
                origin=Origin.PROVIDER,
            )
        )


class TemplateNotShown(UpdateFailed):
    """The provider does not show the template of the variant that the update concerns."""

    def __init__(self, update: StepUpdate, template_id: str | int) -> None:
        title = update.provider.title
        super().__init__(
            Problem(
                ErrorCode.BAD_GATEWAY_ERROR,
                f"The variant of step {update.sequence_step_id} that the update concerns refers to template {template_id}, "
                f"which {title} does not show.",
                advice=f"Look at the step in {title}; if the template is there, try again later.",
                origin=Origin.PROVIDER,
            )
        )


class VariantHasNoTemplate(UpdateFailed):
    """The variant that the update concerns has no template."""

    def __init__(self, update: StepUpdate) -> None:
        title = update.provider.title
        super().__init__(
            Problem(
                ErrorCode.BAD_GATEWAY_ERROR,
                f"The variant of step {update.sequence_step_id} that the update concerns has no template at {title}.",
                advice="Give it a template there.",
                origin=Origin.PROVIDER,
            )
        )
