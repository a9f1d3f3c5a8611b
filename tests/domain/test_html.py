"""Bodies as HTML, within bounds: what is longer is compared as it is."""

import pytest

from service.domain.html import same_document, visible_text

WRAPPED = "<html><head></head><body>{}</body></html>"
LONGEST = 256 * 1024
AROUND = len(WRAPPED.format(""))


@pytest.mark.parametrize("other", [WRAPPED, "<!doctype html>{}", "<body>{}</body>", "<HTML>{}", "<html><body>{}\n"])
def test_a_wrapper_makes_no_other_document(other: str) -> None:
    assert same_document("<p>a</p>", other.format("<p>a</p>"))
    assert same_document(other.format("<p>a</p>"), "<p>a</p>")
    assert not same_document("<p>a</p>", other.format("<p>b</p>"))


def test_without_a_wrapper_only_the_same_text_is_the_same() -> None:
    assert same_document("<p>a", "<p>a")
    assert not same_document("<p>a", "<p>a</p>")


@pytest.mark.parametrize(("length", "same"), [(LONGEST - AROUND, True), (LONGEST - AROUND + 1, False)])
def test_a_document_is_compared_up_to_256_kibibytes(length: int, same: bool) -> None:  # noqa: FBT001
    text = "x" * length
    assert same_document(text, WRAPPED.format(text)) is same
    assert same_document(WRAPPED.format(text), text) is same


@pytest.mark.parametrize(("tags", "is_said"), [(4000, True), (4001, False)])
def test_what_a_reader_sees_is_said_up_to_4000_tags(tags: int, is_said: bool) -> None:  # noqa: FBT001
    assert visible_text("a<br>" * tags) == (" ".join("a" * tags) if is_said else None)


@pytest.mark.parametrize(("length", "is_said"), [(LONGEST, True), (LONGEST + 1, False)])
def test_what_a_reader_sees_is_said_up_to_256_kibibytes(length: int, is_said: bool) -> None:  # noqa: FBT001
    assert (visible_text("x" * length) is not None) is is_said


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<p>a <b>b</b></p>\n<p> c</p>", "a b c"),
        ("<script>x()</script>a<style>p {}</style>", "a"),
        ("<html><head><title>t</title></head><body>a</body></html>", "a"),
        ("", ""),
        ("<p></p>", ""),
    ],
)
def test_what_a_reader_sees_is_the_text(body: str, text: str) -> None:
    assert visible_text(body) == text
