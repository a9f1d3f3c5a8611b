"""What the stand-in providers do to the HTML that they store."""

import re
from html import unescape

_SCRIPT = re.compile(r"<script\b[^>]*>.*?</script\s*>", re.IGNORECASE | re.DOTALL)
_BREAK = re.compile(r"<br\s*/?>|</(?:p|div|li|h[1-6]|tr)\s*>", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")


def clean(html: str) -> str:
    """Return the HTML as a provider would store it: without its ``<script>`` elements.

    Providers clean bodies in ways that they do not document. Removing scripts stands for all of
    those ways; everything else is stored exactly as it was sent.
    """
    if "<" not in html:
        return html
    return _SCRIPT.sub("", html)


def wrap(html: str) -> str:
    """Return the HTML with a document around it, as Apollo gives it back (recorded in 2023)."""
    if "<html" in html.lower():
        return html
    return f"<html><head></head><body>{html}</body></html>"


def to_text(html: str | None) -> str | None:
    """Return the plain text that a provider derives from a stored body, or None without a body."""
    if html is None:
        return None
    return unescape(_TAG.sub("", _BREAK.sub("\n", html))).strip()
