"""What a step that is shown stands for."""

import pytest

from service.domain.etag import StepContent, StepEtag
from service.domain.sequence import ShownStep, ShownVariant, StepQuery
from service.domain.step import Provider

FIELDS = {"note": "n"}


def variant(template_id: str, *, is_default: bool = False, is_shown: bool = True) -> ShownVariant:
    texts = {"template.subject": f"S{template_id}", "template.body": "B"} if is_shown else None
    return ShownVariant("v", template_id, texts, True, False, False, is_default)


def step(*variants: ShownVariant) -> ShownStep:
    return ShownStep("7", "email", 1, None, variants, FIELDS)


def etag(template_id: str, texts: object) -> str:
    return str(StepEtag.of(StepContent(template_id, texts, FIELDS)))  # type: ignore[arg-type]


def test_an_etag_stands_for_the_variant_or_the_one_that_an_update_changes() -> None:
    first, second = variant("1"), variant("2", is_default=True)
    shown = step(first, second)
    assert shown.etag(first) == etag("1", first.texts)
    assert shown.etag(second) == shown.etag(None) == etag("2", second.texts)
    assert shown.etag(first) != shown.etag(second)


@pytest.mark.parametrize("shown", [step(), step(variant("1")), step(variant("", is_default=True))])
def test_without_a_template_it_stands_for_the_fields_alone(shown: ShownStep) -> None:
    assert shown.etag(None) == etag("", None)


def test_texts_that_are_not_shown_are_none() -> None:
    assert (variant("1").subject, variant("1").body) == ("S1", "B")
    hidden = variant("1", is_shown=False)
    assert (hidden.subject, hidden.body) == (None, None)


def test_a_read_is_no_rehearsal() -> None:
    assert not StepQuery(Provider("apollo"), "acme", "1", "2").validate_only
