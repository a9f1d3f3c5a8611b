"""Takes secrets out of texts that others wrote, in whatever encoding they repeat them."""

import base64
import contextlib
import html
import json
import re
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Final
from urllib.parse import quote, quote_plus

from service.domain.credentials import Secret

REDACTED: Final = "[redacted]"

# A text that was escaped, quoted in another text and escaped again.
_MOST_LEVELS: Final = 3

_ESCAPE: Final = re.compile(
    rb"""
      %(?P<percent>[0-9a-f]{2})
    | (?:%|\\)u(?P<high>d[89ab][0-9a-f]{2})(?:%|\\)u(?P<low>d[c-f][0-9a-f]{2})
    | (?:%|\\)u(?P<unit>[0-9a-f]{4})
    | \\u\{0*(?P<point>[0-9a-f]{1,5})\}
    | \\x(?P<hex>[0-9a-f]{2})
    | \\(?P<octal>[0-3][0-7]{2})
    | (?P<entity>&(?:\#[0-9]{1,16}|\#x[0-9a-f]{1,16}|[a-z][a-z0-9]{1,31});?)
    # A long secret is wrapped over lines, and a text in UTF-16 has a zero byte in each of its ASCII characters.
    | (?P<nothing>\x00|\\[bfnrt]|[\r\n]+[\t ]*)
    | \\(?P<itself>[\x20-\x7e])
    """,
    re.IGNORECASE | re.VERBOSE,
)

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=]+")
_FROM_BASE64URL: Final = bytes.maketrans(b"-_", b"+/")

# Fewer characters than this stand in many texts by chance.
_SHORTEST_BASE64: Final = 5


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """The text without the secrets."""
    data = text.encode("utf-8", "surrogatepass")
    return redact_bytes(data, secrets, len(data)).decode("utf-8", "surrogatepass")


def redact_bytes(data: bytes, secrets: Iterable[Secret], length: int) -> bytes:
    """The beginning of a text without the secrets, in a time that is linear in its length and in theirs.

    A secret is found plainly and in either case, percent-encoded, with the escapes of JSON and of programming languages,
    with HTML's entities, in hexadecimal, in base64 of either alphabet alone or amid other text, and in mixtures of these.

    Args:
        data: The text.
        secrets: What must not be in it.
        length: How much of the text is wanted. A secret that begins there and ends behind it is found too.
    """
    known = [secret.reveal().encode("utf-8", "surrogatepass") for secret in secrets]
    longest = max(map(len, known), default=0)
    # An escape takes up to 12 bytes, and each of them can be escaped once more.
    data = data[: length + 36 * longest]
    spans: list[tuple[int, int]] = []
    view, places = data, list(range(len(data) + 1))
    needles = [secret for secret in known if secret]
    for _ in range(_MOST_LEVELS + 1):
        spans += [(places[start], places[end]) for start, end in _found(view, needles)]
        unescaped = _unescape(view, places)
        if unescaped is None:
            break
        view, places = unescaped
        # A secret that itself looks escaped has been unescaped with the text.
        needles = list(dict.fromkeys(form for needle in needles for form in (needle, _unescaped(needle)) if form))
    return _without(data, sorted(spans), length)


def _found(view: bytes, secrets: list[bytes]) -> Iterator[tuple[int, int]]:
    """Where secrets stand in a text: plainly, in hexadecimal, in base64."""
    lower = view.lower()
    canonical = view.translate(_FROM_BASE64URL)
    for secret in secrets:
        for form in {secret.lower(), secret.replace(b" ", b"+").lower(), secret.hex().encode()}:
            yield from ((start, start + len(form)) for start in _occurrences(lower, form))
        # All of the base64 is left out: its other characters have bits of the secret in them too.
        cores = [core for core in _base64_cores(secret) if core in canonical]
        if cores:
            yield from (run.span() for run in _BASE64.finditer(canonical) if any(core in run[0] for core in cores))


def _occurrences(text: bytes, part: bytes) -> Iterator[int]:
    start = text.find(part)
    while start >= 0:
        yield start
        start = text.find(part, start + len(part))


def _base64_cores(secret: bytes) -> set[bytes]:
    """What is in the base64 of every text that has the secret in it, however long the text before it is."""
    # OAuth wants the id and the secret percent-encoded before they go into base64 (RFC 6749, 2.3.1).
    texts = {secret, quote(secret, safe="").encode(), quote_plus(secret).encode()}
    # Unescaped, a secret may be no text.
    with contextlib.suppress(UnicodeDecodeError):
        plain = secret.decode("utf-8", "surrogatepass")
        texts |= {json.dumps(plain)[1:-1].encode(), plain.encode("utf-16-le", "surrogatepass")}
    cores = set()
    for text in texts:
        for shift in range(3):
            # The first and the last characters depend on the neighbours of the secret too.
            first, end = -(-8 * shift // 6), 8 * (shift + len(text)) // 6
            core = base64.b64encode(bytes(shift) + text)[first:end]
            if len(core) >= _SHORTEST_BASE64:
                cores.add(core)
    return cores


def _unescape(view: bytes, places: list[int]) -> tuple[bytes, list[int]] | None:
    """The text with one level of escapes undone, and the place in the original of each of its bytes; None without escapes."""
    parts: list[bytes] = []
    moved: list[int] = []
    end = 0
    for match in _ESCAPE.finditer(view):
        start = match.start()
        value = _value(match)
        parts += (view[end:start], value)
        moved += places[end:start]
        moved += repeat(places[start], len(value))
        end = match.end()
    if not parts:
        return None
    return b"".join((*parts, view[end:])), moved + places[end:]


def _unescaped(text: bytes) -> bytes:
    return _ESCAPE.sub(_value, text)


def _value(match: re.Match[bytes]) -> bytes:
    """What an escape stands for, in UTF-8."""
    kind = str(match.lastgroup)
    text = match[kind]
    match kind:
        case "percent" | "hex" | "octal":
            return bytes([int(text, 8 if kind == "octal" else 16)])
        case "unit" | "point":
            return chr(int(text, 16)).encode("utf-8", "surrogatepass")
        case "low":
            return bytes.fromhex((match["high"] + text).decode()).decode("utf-16-be").encode()
        case "entity":
            return html.unescape(text.decode()).encode("utf-8", "surrogatepass")
        case "itself":
            return text
        case _:
            return b""


def _without(data: bytes, spans: list[tuple[int, int]], length: int) -> bytes:
    parts: list[bytes] = []
    shown = 0
    for start, end in spans:
        if start >= length:
            break
        if start >= shown:
            parts += (data[shown:start], REDACTED.encode())
        shown = max(shown, end)
    return b"".join((*parts, data[shown:length]))
