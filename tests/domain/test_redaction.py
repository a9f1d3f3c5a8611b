"""Secrets in texts of others, in the encodings that texts repeat them in."""

import base64
import html
import json
import sys
import textwrap
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.credentials import Secret
from service.domain.redaction import REDACTED, redact, redact_bytes

SECRET = "m4rk3d/secret+key=~1&<ü>\"'"


def percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def pairs(data: bytes) -> list[bytes]:
    return [data[start : start + 2] for start in range(0, len(data), 2)]


def basic(text: str, alphabet: Callable[[bytes], bytes] = base64.b64encode) -> str:
    return alphabet(f"client-id:{text}".encode()).decode()


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": lambda s: "".join(c.upper() if c.isascii() else c for c in s),
    "percent": lambda s: quote(s, safe=""),
    "percent with lower-case digits": lambda s: quote(s, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    "percent with slashes kept": quote,
    "percent for all": percent,
    "percent twice": lambda s: quote(quote(s, safe=""), safe=""),
    "percent three times": lambda s: quote(quote(quote(s, safe=""), safe=""), safe=""),
    "form": quote_plus,
    "JSON": lambda s: json.dumps(s)[1:-1],
    "JSON with its slashes escaped": lambda s: json.dumps(s)[1:-1].replace("/", "\\/"),
    "JSON in JSON": lambda s: json.dumps(json.dumps(s)[1:-1])[1:-1],
    r"\u": lambda s: "".join(f"\\u{unit.hex().upper()}" for unit in pairs(s.encode("utf-16-be"))),
    r"\x": lambda s: "".join(f"\\x{byte:02x}" for byte in s.encode()),
    "octal": lambda s: "".join(f"\\{byte:03o}" for byte in s.encode()),
    "HTML": html.escape,
    "HTML by number": lambda s: "".join(f"&#{ord(character):05};" for character in s),
    "HTML by hexadecimal number": lambda s: "".join(f"&#x{ord(character):X};" for character in s),
    "HTML twice": lambda s: html.escape(html.escape(s)),
    "HTML in JSON": lambda s: json.dumps(html.escape(s))[1:-1].replace("&", "\\u0026"),
    "percent in HTML": lambda s: html.escape(quote(s, safe="&")),
    "hexadecimal": lambda s: s.encode().hex(),
    "hexadecimal in capitals": lambda s: s.encode().hex().upper(),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 without its end": lambda s: base64.b64encode(s.encode()).decode().rstrip("="),
    "base64url": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "base64 of id:secret": basic,
    "base64url of id:secret": lambda s: basic(s, base64.urlsafe_b64encode),
    "base64 of id:secret, percent-encoded": lambda s: basic(quote_plus(s)),
    "base64 of JSON": lambda s: base64.b64encode(json.dumps({"token": s}).encode()).decode(),
    "base64 of a line with a part of JSON": lambda s: base64.b64encode(
        f"token={json.dumps(s)[1:-1]};".encode()
    ).decode(),
    "base64 in JSON, wrapped": lambda s: json.dumps("\n".join(textwrap.wrap(basic(s), 16)))[1:-1],
    "base64, wrapped": lambda s: "\r\n ".join(textwrap.wrap(basic(s), 16)),
    "base64 in a URL": lambda s: quote(basic(s), safe=""),
    "base64 of UTF-16": lambda s: base64.b64encode(s.encode("utf-16-le")).decode(),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_secret_is_found_in_every_encoding(name: str) -> None:
    for secret in (SECRET, "m4rk3dkey0123456789", "m4rk3d%2Fkey", "m4rk3d key\\n1", "m4rk3d😀", "m4rk3d%80\\xff"):
        encoded = ENCODINGS[name](secret)
        shown = redact(f"the key “{encoded}” is wrong", [Secret("another"), Secret(secret)])
        assert shown == f"the key “{REDACTED}” is wrong"


def test_a_secret_is_found_in_a_text_of_two_bytes_a_character() -> None:
    text = "the key m4rk3d is wrong".encode("utf-16-le").decode()
    assert redact(text, [Secret("m4rk3d")]).replace("\0", "") == f"the key {REDACTED} is wrong"


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_secret_across_the_end_is_left_out_whole(name: str) -> None:
    secret = SECRET.encode("ascii", "ignore").decode()
    encoded = ENCODINGS[name](secret).encode()
    before = b"the key is "
    data = before + encoded + b" and so on" * 1000
    for cut in range(1, 40, 3):
        shown = redact_bytes(data, [Secret(secret)], len(before) + min(cut, len(encoded)))
        assert shown == before + REDACTED.encode(), cut


@pytest.mark.parametrize("around", ["", "x", "xy"])
def test_a_secret_is_found_at_both_ends(around: str) -> None:
    for first, last in (("m4rk3d", "m4rk3d"), ("m%34rk3d", "m4rk3%64")):
        assert redact(f"{first}{around}{last}", [Secret("m4rk3d")]) == f"{REDACTED}{around}{REDACTED}"


def test_what_stands_in_many_texts_by_chance_is_not_looked_for_in_base64() -> None:
    assert redact(base64.b64encode(b"m4rk").decode(), [Secret("m4rk")]) == REDACTED
    assert redact(base64.b64encode(b"abc").decode(), [Secret("abc")]) == "YWJj"


def test_a_secret_behind_the_end_is_not_mentioned() -> None:
    assert redact_bytes(b"the key m4rk3d", [Secret("m4rk3d")], len("the key ")) == b"the key "


def test_a_long_escape_across_the_end_is_left_out_whole() -> None:
    """As far behind the end as a secret can reach that was escaped again and again, also where the end is as far away."""
    encoded = json.dumps(json.dumps(ENCODINGS[r"\u"]("m4rk3dkey"))[1:-1])[1:-1].encode()
    before = b"x" * (36 * len("m4rk3dkey") - 1)
    assert redact_bytes(before + encoded, [Secret("m4rk3dkey")], len(before) + 1) == before + REDACTED.encode()


def test_many_secrets_do_not_bring_up_what_is_behind_the_end() -> None:
    secret = "m4rk3d-secret-of-forty-characters-0123456"
    shown = redact_bytes(secret.encode() * 2000, [Secret(secret)], 16 * 1024)
    assert shown.replace(REDACTED.encode(), b"") == b""


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("after", ["", "z", "yz"])
def test_a_short_secret_is_found_in_base64_wherever_it_begins(before: str, after: str) -> None:
    encoded = base64.b64encode(f"{before}m4rk3{after}".encode()).decode()
    assert redact(f"« {encoded} »", [Secret("m4rk3")]) == f"« {REDACTED} »"


@pytest.mark.parametrize("name", ENCODINGS)
def test_another_text_that_begins_like_a_secret_stays(name: str) -> None:
    secret, other = "m4rk3d-secret-0123456789", "m4rk3d-secret-012345678~"
    text = f"the key “{ENCODINGS[name](other)}” is wrong"
    assert redact(text, [Secret(secret)]) == text


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=8),
    st.sampled_from(sorted(set(ENCODINGS) - {"upper case"})),
    st.text(max_size=8),
)
def test_no_secret_is_left_in_any_text(secret: str, name: str, around: str) -> None:
    encoded = ENCODINGS[name](secret)
    assert encoded not in redact(f"{around} {encoded} {around}", [Secret(secret)])


@given(st.text())
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert redact(text, [Secret("m4rk3d-secret-0123456789"), Secret("")]) == text


def test_the_work_is_linear_in_the_text() -> None:
    """Counted in function calls, since a time would depend on the machine."""

    def calls(text: str) -> int:
        counted = 0

        def count(*_: Any) -> None:
            nonlocal counted
            counted += 1

        sys.setprofile(count)
        try:
            redact(text, [Secret(SECRET)])
        finally:
            sys.setprofile(None)
        return counted

    for piece in (basic(SECRET), percent(SECRET), "%25" * 20, "&amp;", "A" * 100):
        assert calls(piece * 400) < 5 * calls(piece * 100)
