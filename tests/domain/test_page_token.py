"""Tokens of pages are good for the list that they were given with, and for no other."""

import base64

import pytest

from service.domain.errors import CallRefused
from service.domain.page_token import filters_digest, page_token, position

FILTERS = filters_digest("acme", 7)


def encoded(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


@pytest.mark.parametrize("place", [["a"], ["a", "b"], ["", "é?>~"], ["x" * 5000]])
def test_a_token_gives_the_position_back(place: list[str]) -> None:
    token = page_token(FILTERS, place)
    assert position(token, FILTERS, len(place)) == place
    assert token.replace("-", "").replace("_", "").isalnum()


def test_lists_by_different_filters_have_different_digests() -> None:
    digests = [filters_digest(*each) for each in ((), ("a",), ("b",), ("a", "b"), ("b", "a"), ("ab",), ("a", "", "b"))]
    assert len(set(digests)) == len(digests)
    assert filters_digest("acme", 7) == filters_digest("acme", "7") == FILTERS


@pytest.mark.parametrize(
    "token",
    [
        *(page_token(filters_digest("acme", other), ["a", "b"]) for other in range(8, 16)),
        page_token(FILTERS, ["a"]),
        page_token(FILTERS, ["a", "b", "c"]),
        *("", "a", "????", "a b", "é"),
        *map(encoded, ("[]", "{}", "no JSON", f'["{FILTERS}", 1, 2]', f'"{FILTERS}"')),
        page_token(FILTERS, ["a", "b"]) + "\n",
    ],
)
def test_what_is_no_token_of_the_list_is_refused(token: str) -> None:
    with pytest.raises(CallRefused) as refused:
        position(token, FILTERS, 2)
    assert [each.field for each in refused.value.violations] == ["page_token"]
