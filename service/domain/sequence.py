"""Sequences and their steps as a provider shows them, and what a caller wants to see of them."""

from collections.abc import Mapping

import msgspec

from service.domain.errors import Problem
from service.domain.etag import StepContent, StepEtag
from service.domain.json_value import JsonValue
from service.domain.step import BODY, SUBJECT, StepRef, StepWarning


class StepQuery(StepRef, frozen=True):
    """What a caller wants to see: one step, or all steps of a sequence.

    Attributes:
        names_step: Whether one step is wanted, and not all.
        with_bodies: Whether bodies are wanted.
        with_sharing: Find all steps that use its templates, at the cost of calls.
    """

    names_step: bool = True
    with_bodies: bool = False
    with_sharing: bool = False

    @property
    def validate_only(self) -> bool:
        """Nothing is written."""
        return False


class ShownVariant(msgspec.Struct, frozen=True):
    """One use of a template by a step.

    Attributes:
        variant_id: The provider's id of it; empty if it is not shown.
        template_id: The provider's id of the template; empty if it has none, or it is not shown.
        texts: Its `template.subject` and `template.body`, each None if there is none; None if they are not shown.
        is_live: Whether it sends anything.
        is_reply: Whether it sends in the thread of an earlier mail, so that its subject is not used.
        is_archived: Whether its template is archived.
        is_default: Whether it is the one that an update changes which names none.
        sharing: Other steps that are known to use the template.
        is_sharing_complete: Whether these are all.
    """

    variant_id: str
    template_id: str
    texts: Mapping[str, JsonValue] | None
    is_live: bool
    is_reply: bool
    is_archived: bool
    is_default: bool = False
    sharing: tuple[str, ...] = ()
    is_sharing_complete: bool = False

    @property
    def subject(self) -> JsonValue:
        """The subject."""
        return self.texts[SUBJECT] if self.texts is not None else None

    @property
    def body(self) -> JsonValue:
        """The body."""
        return self.texts[BODY] if self.texts is not None else None


class ShownStep(msgspec.Struct, frozen=True):
    """A step.

    Attributes:
        sequence_step_id: The provider's id of it.
        type: The provider's word for what it does; empty if it is not shown.
        order: Its place in the sequence; None if it has none.
        interval_seconds: How long after the step before it begins; None if it is not known.
        variants: Its variants, in the provider's order.
        fields: Its own fields that an etag covers; None if they are not shown.
    """

    sequence_step_id: str
    type: str
    order: int | None
    interval_seconds: int | None
    variants: tuple[ShownVariant, ...]
    fields: Mapping[str, JsonValue] | None

    def etag(self, variant: ShownVariant | None) -> str:
        """What stands for a variant and the step's own fields; without a variant, for the one that an update changes."""
        variant = variant or next((each for each in self.variants if each.is_default), None)
        texts = variant.texts if variant is not None and variant.template_id else None
        return str(StepEtag.of(StepContent(variant.template_id if variant is not None else "", texts, self.fields)))


class ShownSequence(msgspec.Struct, frozen=True):
    """A sequence, with the steps that were asked for.

    Attributes:
        sequence_id: The provider's id of it.
        name: Its name; empty if it has none, or it was not asked for.
        is_enabled: Whether it is on; None if it is not shown.
        is_archived: Whether it is archived; None if it is not shown.
        steps: Its steps in order, or the one that was asked for.
    """

    sequence_id: str
    name: str
    is_enabled: bool | None
    is_archived: bool | None
    steps: tuple[ShownStep, ...]


class SequenceResult(msgspec.Struct, frozen=True):
    """What came of reading.

    Attributes:
        problems: Why it failed; empty when it did not.
        warnings: What else the caller should know.
        sequence: What was read; None if there are problems.
        query: What was asked for; None if that is not known.
        provider_calls: Requests that were sent to the provider for it.
    """

    problems: tuple[Problem, ...] = ()
    warnings: tuple[StepWarning, ...] = ()
    sequence: ShownSequence | None = None
    query: StepQuery | None = None
    provider_calls: int = 0
