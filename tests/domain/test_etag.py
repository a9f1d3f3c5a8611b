"""What makes an etag another one, and what does not."""

from typing import Any

import pytest
from msgspec.structs import replace

from service.domain.etag import NOTHING_READ, StepContent, StepEtag

CONTENT = StepContent("18", {"template.subject": "Hi", "template.body": "<p>Hi</p>"}, {"note": None, "wait_time": 3})


def etag(**different: Any) -> StepEtag:
    return StepEtag.of(replace(CONTENT, **different))


def texts(subject: str | None = "Hi", body: str | None = "<p>Hi</p>") -> dict[str, str | None]:
    return {"template.subject": subject, "template.body": body}


@pytest.mark.parametrize(
    "texts", [texts("Ho"), texts("hi"), texts(None), texts(body="<p>Hi </p>"), texts("<p>Hi</p>", "Hi")]
)
def test_another_text_is_another_template(texts: Any) -> None:
    assert etag(texts=texts).template != etag().template
    assert etag(texts=texts).fields == etag().fields


def test_the_same_text_in_another_template_is_another_template() -> None:
    assert etag(template_id="19").template != etag().template


@pytest.mark.parametrize(
    "fields", [{"note": "", "wait_time": 3}, {"note": None, "wait_time": 4}, {"note": None, "wait_time": "3"}]
)
def test_another_value_is_another_step(fields: Any) -> None:
    assert etag(fields=fields).fields != etag().fields
    assert etag(fields=fields).template == etag().template


@pytest.mark.parametrize(
    "body",
    ["<html><head></head><body><p>Hi</p></body></html>", " <HTML>\n<head> </head><body><p>Hi</p></body>\n</html>\n"],
)
def test_a_wrapper_that_a_provider_shows_or_not_is_no_difference(body: str) -> None:
    assert etag(texts=texts(body=body)) == etag()


@pytest.mark.parametrize(
    "body", ["<html><head><style>p{}</style></head><body><p>Hi</p></body></html>", "<div><p>Hi</p></div>"]
)
def test_what_says_something_around_a_body_is_a_difference(body: str) -> None:
    assert etag(texts=texts(body=body)).template != etag().template


def test_order_and_spelling_of_numbers_are_no_difference() -> None:
    assert etag(fields={"wait_time": 3.0, "note": None}) == etag()


def test_a_text_is_the_etag_that_it_was_made_of() -> None:
    for each in (etag(), etag(texts=None), etag(fields=None), NOTHING_READ):
        assert StepEtag.parse(str(each)) == each


@pytest.mark.parametrize(
    "text", ["", "-", "a.b", f"{etag()}x", f" {etag()}", f"{etag()}\n", f'"{etag()}"', "٣" * 32 + ".-"]
)
def test_other_texts_are_none(text: str) -> None:
    assert StepEtag.parse(text) is None


def test_what_was_written_becomes_the_content() -> None:
    after = CONTENT.with_values({"template.subject": "Ho"}, {"custom_fields.note": "x", "custom_fields.unknown": 1})
    assert (after.texts, after.fields) == (texts("Ho"), {"note": "x", "wait_time": 3})


@pytest.mark.parametrize("unread", [{"texts": None}, {"fields": None}])
def test_what_was_not_read_stays_so(unread: dict[str, None]) -> None:
    content = replace(CONTENT, **unread)
    after = content.with_values({"template.subject": "Hi"}, {"custom_fields.wait_time": 3})
    assert after == content
    assert content.with_values({}, {}) == content
