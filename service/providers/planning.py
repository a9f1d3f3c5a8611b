"""Decisions that are the same whatever the provider: what changes, and what the caller should know about it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from service.domain.errors import ErrorCode, Origin, UpdateFailed, Violation, failed
from service.domain.json_value import JsonValue, json_equal
from service.domain.step import BODY, CUSTOM_FIELDS, SUBJECT, FieldChange, StepUpdate, StepWarning, WarningType
from service.providers.adapter import Plan

_NAMED_STEPS: Final = 20

_NO_CHANGE: Final = StepWarning(WarningType.NO_CHANGE, "The provider already holds exactly this; nothing was written.")


class Template(msgspec.Struct, frozen=True):
    """A template as the provider holds it."""

    id: str
    subject: str | None
    body: str | None
    archived: bool


class Variant(msgspec.Struct, frozen=True):
    """The variant of a step whose template is changed.

    Attributes:
        of: How many variants the step has.
        is_reply: Whether it sends in the thread of an earlier mail, so that its subject is not used.
    """

    of: int
    is_reply: bool


def template_fields(update: StepUpdate, held: Template) -> tuple[FieldChange, ...]:
    """The subject and the body as far as the update names them; none if the provider holds all of it already."""
    wanted = ((SUBJECT, held.subject, update.subject), (BODY, held.body, update.body))
    return _unless_equal([FieldChange(name, before, after) for name, before, after in wanted if after is not None])


def custom_fields(update: StepUpdate, held: Mapping[str, JsonValue]) -> tuple[FieldChange, ...]:
    """The custom fields that the update names; none if the provider holds all of them already.

    A null for a field that is not there asks for nothing.
    """
    return _unless_equal(
        [
            FieldChange(f"{CUSTOM_FIELDS}.{key}", held.get(key), value)
            for key, value in update.custom_fields.items()
            if value is not None or key in held
        ]
    )


def _unless_equal(fields: Sequence[FieldChange]) -> tuple[FieldChange, ...]:
    return () if all(json_equal(field.before, field.after) for field in fields) else tuple(fields)


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


def template_warnings(
    update: StepUpdate, held: Template, variant: Variant, sharing: Sequence[str]
) -> list[StepWarning]:
    """What the caller should know about changing this template.

    Args:
        update: What is wanted.
        held: The template.
        variant: The variant of the step that it belongs to.
        sharing: The ids of other steps that are known to use the template; only of interest if it changes.
    """
    warnings: list[StepWarning] = []
    if sharing:
        warnings.append(shared_template(held.id, sharing))
    if variant.of > 1:
        warnings.append(
            StepWarning(
                WarningType.MULTIPLE_VARIANTS,
                f"Step {update.sequence_step_id} is an A/B test with {variant.of} variants. The update concerns only the first "
                f"one that is live, whose template is {held.id}; the others stay as they are.",
            )
        )
    if variant.is_reply and update.subject is not None:
        warnings.append(
            StepWarning(
                WarningType.REPLY_SUBJECT_IGNORED,
                f"Step {update.sequence_step_id} replies in the thread of an earlier mail, so {update.provider.title} sends it "
                "with that mail's subject, whatever subject the template has.",
            )
        )
    if held.archived:
        warnings.append(
            StepWarning(
                WarningType.TEMPLATE_ARCHIVED,
                f"Template {held.id} is archived at {update.provider.title}. Restore it there if it is to be used.",
            )
        )
    return warnings


def shared_template(template_id: str, sharing: Sequence[str]) -> StepWarning:
    """The warning that other steps change too."""
    named = ", ".join(sharing[:_NAMED_STEPS])
    more = f" and {len(sharing) - _NAMED_STEPS} more" if len(sharing) > _NAMED_STEPS else ""
    noun = "step" if len(sharing) == 1 else "steps"
    return StepWarning(
        WarningType.SHARED_TEMPLATE,
        f"Template {template_id} is also used by {noun} {named}{more}, which change with it.",
    )


def with_no_change(plan: Plan, *, active: bool) -> Plan:
    """The plan with the warning that nothing changes, or, if the sequence is on, whom the change reaches."""
    if not plan.writes:
        note = _NO_CHANGE
    elif active:
        note = StepWarning(
            WarningType.SEQUENCE_ACTIVE, "The sequence is on: people who are already in it get the step as changed."
        )
    else:
        return plan
    return replace(plan, warnings=(*plan.warnings, note))


def nothing_named() -> StepWarning:
    """The warning for an update that names nothing."""
    return StepWarning(
        WarningType.NO_CHANGE,
        "The record names nothing to change; the provider was not called. Set a subject, a body or custom fields.",
    )


def no_such_step(update: StepUpdate) -> UpdateFailed:
    """The failure of an update whose step is not in its sequence."""
    return failed(
        ErrorCode.NOT_FOUND_ERROR,
        f"Sequence {update.sequence_id} of customer {update.customer_id} at {update.provider.title} has no step "
        f"{update.sequence_step_id}; nothing was changed. Check both ids.",
    )


def no_template(update: StepUpdate, step_type: str | None) -> UpdateFailed:
    """The failure of a template change on a step that sends nothing."""
    return failed(
        ErrorCode.UNPROCESSABLE_ENTITY_ERROR,
        f"Step {update.sequence_step_id} is of type {(step_type or 'unknown')[:100]} and has no template, so its subject and body "
        "cannot be set; nothing was changed. Choose an email or message step, or send custom fields only.",
    )


def unreadable_template(update: StepUpdate, template_id: object) -> UpdateFailed:
    """The failure of a template change whose template the provider does not show."""
    which = f"template {template_id}" if template_id else "no template"
    return failed(
        ErrorCode.BAD_GATEWAY_ERROR,
        f"The variant of step {update.sequence_step_id} that the update concerns refers to {which}, which "
        f"{update.provider.title} does not show; nothing was changed. Give the step a template there.",
        origin=Origin.PROVIDER,
    )
