"""What is remembered of texts that a provider stored differently: the latest, and only where it differs."""

import pytest

from service.domain.step import BODY, FieldChange
from service.upstream import stored_forms
from service.upstream.stored_forms import StoredForms

ACME = (1, b"key of acme")
PATH = "/templates/1"


def field(before: str, after: str) -> FieldChange:
    return FieldChange(BODY, before, after)


def learned(forms: StoredForms, text: str) -> bool:
    return forms.is_stored_form(ACME, PATH, field(f"<p>{text}</p>", text))


def test_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_forms, "_MAX_REMEMBERED", 3)
    forms = StoredForms()
    for text in ("a", "b", "c", "a", "d"):
        forms.remember(ACME, PATH, field("old", text), f"<p>{text}</p>")
    assert {text: learned(forms, text) for text in "abcd"} == {"a": True, "b": False, "c": True, "d": True}


def test_a_text_that_is_stored_as_sent_is_forgotten() -> None:
    forms = StoredForms()
    forms.remember(ACME, PATH, field("old", "a"), "<p>a</p>")
    assert learned(forms, "a")
    forms.remember(ACME, PATH, field("<p>a</p>", "a"), "a")
    assert not learned(forms, "a")


def test_what_was_not_shown_is_learned_from_what_reads_the_same() -> None:
    forms = StoredForms()
    forms.remember_unshown(ACME, PATH, field("old", "<p>a <b>b</b></p>"))
    assert not forms.is_stored_form(ACME, PATH, field("<p>old</p>", "<p>a <b>b</b></p>"))
    assert forms.is_stored_form(ACME, PATH, field("<p>a b</p>", "<p>a <b>b</b></p>"))
    assert not forms.is_stored_form(ACME, PATH, field("a b", "<p>a <b>b</b></p>"))


def test_what_was_not_shown_counts_until_the_next_write() -> None:
    forms = StoredForms()
    forms.remember_unshown(ACME, PATH, field("old", "<b>a</b>"))
    forms.forget_unshown(ACME, PATH)
    assert not forms.is_stored_form(ACME, PATH, field("a", "<b>a</b>"))


def test_only_bodies_that_can_be_read_read_the_same() -> None:
    forms = StoredForms()
    forms.remember_unshown(ACME, PATH, field("old", "a"))
    assert not forms.is_stored_form(ACME, PATH, FieldChange(BODY, None, "a"))
    long = "a" * 300_000
    forms.remember_unshown(ACME, PATH, field("old", long))
    assert not forms.is_stored_form(ACME, PATH, field(f"{long} b", long))
    forms.remember_unshown(ACME, PATH, FieldChange(BODY, "old", None))
    assert not forms.is_stored_form(ACME, PATH, FieldChange(BODY, "a", None))
