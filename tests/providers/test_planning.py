"""What is the same whatever the provider: which steps share a template, and which variant is changed."""

import pytest

from service.domain.etag import StepContent, StepEtag
from service.domain.step import FieldChange
from service.providers.planning import (
    StepChanged,
    Template,
    Variant,
    VariantNotFound,
    no_change,
    shared_template,
    template_warnings,
)
from tests.support.apollo import update


@pytest.mark.parametrize(
    ("count", "named", "more"), [(1, 1, ""), (2, 2, ""), (20, 20, ""), (21, 20, " and 1 more"), (25, 20, " and 5 more")]
)
def test_twenty_steps_are_named_and_more_are_counted(count: int, named: int, more: str) -> None:
    warning = shared_template("7", [f"s{number}" for number in range(count)])
    steps = ", ".join(f"s{number}" for number in range(named))
    noun = "step" if count == 1 else "steps"
    assert warning.detail == f"Template 7 is also used by {noun} {steps}{more}, which change with it."
    assert warning.facts["step_count"] == str(count)


@pytest.mark.parametrize(("count", "listed"), [(999, 999), (1000, 1000), (1001, 1000)])
def test_a_thousand_steps_are_listed_for_programs(count: int, listed: int) -> None:
    facts = shared_template("7", [str(number) for number in range(count)]).facts
    assert facts["step_ids"].split(",") == [str(number) for number in range(listed)]


@pytest.mark.parametrize(
    ("of", "twins", "rest"),
    [
        (2, 0, "1 with another template stays as they are"),
        (3, 0, "2 with other templates stay as they are"),
        (2, 1, "1 other variant uses the same template and changes with it"),
        (3, 2, "2 other variants use the same template and changes with it"),
        (
            4,
            1,
            "1 other variant uses the same template and changes with it; 2 with other templates stay as they are",
        ),
    ],
)
@pytest.mark.parametrize("is_live", [True, False])
def test_the_variants_that_change_are_counted(of: int, twins: int, rest: str, *, is_live: bool) -> None:
    variant = Variant("v", of, is_live=is_live, is_reply=False, twins=twins)
    [warning] = template_warnings(update(body="x"), Template("7", None, None, archived=False), variant)
    which = "the first one that is live" if is_live else "the first one, since none is live"
    assert f"with {of} variants. The update concerns {which}, whose template is 7; {rest}." in warning.detail
    assert warning.facts == {"template_id": "7", "variant_id": "v", "variant_count": str(of)}


def test_a_step_with_one_variant_has_no_warning() -> None:
    variant = Variant("v", 1, is_live=True, is_reply=False, twins=0)
    assert template_warnings(update(body="x"), Template("7", None, None, archived=False), variant) == []


def test_what_the_provider_makes_of_a_value_is_said() -> None:
    same, other = FieldChange("a", 1, 1), FieldChange("b", 1, 2)
    assert no_change([same]).detail == "The provider already holds exactly this; nothing was written."
    assert "what it makes of the value of b;" in no_change([same, other]).detail


@pytest.mark.parametrize(
    ("ids", "listed", "fact"), [(["7", "8", "7"], "7, 8", "7,8"), (["7"], "7", "7"), ([], "none", "")], ids=str
)
def test_the_templates_of_the_variants_are_listed(ids: list[str], listed: str, fact: str) -> None:
    [problem] = VariantNotFound(update(body="x", variant="9"), ids).problems
    assert problem.advice == f"Its variants have these templates: {listed}."
    assert problem.facts == {"resource": "variant", "template_ids": fact}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (["template.body"], "The template of step 5f0000000000000000000101 is not what"),
        (["template.subject", "template.body"], "The template of step 5f0000000000000000000101 is not what"),
        (["custom_fields.note"], "The fields of step 5f0000000000000000000101 are not what"),
        (
            ["template.body", "custom_fields.note"],
            "The template and the fields of step 5f0000000000000000000101 are not what",
        ),
    ],
)
def test_what_has_changed_is_said(fields: list[str], said: str) -> None:
    conflicts = [FieldChange(name, "a", "b") for name in fields]
    found = StepChanged(update(body="x"), conflicts, StepEtag.of(StepContent("7", None, None)))
    [problem] = found.problems
    assert problem.detail.startswith(said)
    assert problem.facts == {"fields": ",".join(fields)}
    assert found.conflicts == tuple(conflicts)


@pytest.mark.parametrize(
    ("reverts", "expected", "how"),
    [("", "not what `etag` stands for", "with the `etag`"), ("c-1", "not what change c-1 left", "with `overwrite`")],
)
def test_how_to_write_over_it_is_said(reverts: str, expected: str, how: str) -> None:
    conflicts = [FieldChange("template.body", "a", "b")]
    [problem] = StepChanged(update(reverts=reverts), conflicts, StepEtag.of(StepContent("7", None, None))).problems
    assert expected in problem.detail
    assert how in problem.advice


def test_a_named_variant_is_said_to_be_named() -> None:
    variant = Variant("v", 2, is_live=True, is_reply=False, twins=0)
    [warning] = template_warnings(update(body="x", variant="7"), Template("7", None, None, archived=False), variant)
    assert "The update concerns the one that the call names" in warning.detail
