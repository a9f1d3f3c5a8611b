"""Bodies of templates as HTML: whether two are the same document, and what a reader sees of one."""

import re
from typing import Final

from selectolax.lexbor import LexborHTMLParser

# Parsing can take time that grows with the square of the nesting; within these bounds it takes less than 0.1 s.
_MAX_CHARACTERS: Final = 256 * 1024
_MAX_TAGS: Final = 4000

_END: Final = "</body></html>"
_WRAPPER: Final = re.compile(r"<(?:!doctype|html|head|body)\b", re.IGNORECASE)


def same_document(left: str, right: str) -> bool:
    """Whether two bodies are the same HTML document, written with or without a doctype and the elements around it.

    Providers put `<html><head></head><body>` around a body (Apollo, observed). Bodies that are too long or have too many
    tags to be parsed at a bounded cost are the same only if they are equal.
    """
    if left == right:
        return True
    if not (_WRAPPER.search(left) or _WRAPPER.search(right)):
        return False
    return _is_bounded(left) and _is_bounded(right) and _serialized(left) == _serialized(right)


def visible_text(body: str) -> str | None:
    """What a reader sees: the text without tags, scripts and styles, white space folded; None if it is too long to tell."""
    if not _is_bounded(body):
        return None
    document = LexborHTMLParser(body)
    document.strip_tags(["script", "style", "head"])
    root = document.body
    return " ".join(root.text(separator=" ").split()) if root is not None else ""


def _is_bounded(body: str) -> bool:
    return len(body) <= _MAX_CHARACTERS and body.count("<") <= _MAX_TAGS


def _serialized(body: str) -> str:
    """The root element without white space at its end; a doctype and what stands behind the body are no part of it."""
    root = LexborHTMLParser(body).root
    return (root.html or "").removesuffix(_END).rstrip() if root is not None else ""
