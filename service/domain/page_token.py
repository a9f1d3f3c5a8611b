"""Tokens of pages: where the next page of a list begins, readable for the list only that they are of."""

import base64
import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from service.domain.errors import CallRefused, Violation, invalid

_STALE: Final = "Is not one of this list: give `next_page_token` of it, with the same filters."


def filters_digest(*parts: object) -> str:
    """Stands for the filters of a list."""
    return hashlib.blake2b(msgspec.json.encode(list(map(str, parts))), digest_size=12).hexdigest()


def page_token(filters: str, position: Sequence[str]) -> str:
    """The token of the page behind a position.

    Args:
        filters: What the list is of, as `filters_digest` gives it.
        position: The last row of the page before.
    """
    return base64.urlsafe_b64encode(msgspec.json.encode((filters, *position))).decode().rstrip("=")


def position(token: str, filters: str, parts: int) -> Sequence[str]:
    """The position that a token stands for, in so many parts.

    Raises:
        CallRefused: It is no token, or one of another list.
    """
    try:
        content = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
        of_filters, *found = msgspec.json.decode(content, type=list[str])
    except ValueError:
        raise stale_token() from None
    if of_filters != filters or len(found) != parts:
        raise stale_token()
    return found


def stale_token() -> CallRefused:
    """The refusal of a token that is not of the list."""
    return invalid([Violation("page_token", _STALE)])
