"""Reads what token endpoints answer (RFC 6749, section 5), and tolerates whatever of it is odd.

A refresh token often ends with its use, so that an answer may hold the only copy of the next one: every answer with an
access token that can be used is used, whatever else is wrong with it.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from service.domain.credentials import InvalidSecret, Secret, checked_scope, header_secret_from, strip_secret
from service.domain.errors import ErrorCode
from service.domain.token_grant import (
    CLIENT_ERRORS,
    INVALID_GRANT,
    ClientRefused,
    GrantRefused,
    RefreshFailed,
    TokenGrant,
)
from service.providers.responses import code_of, retry_after

_LONGEST_LIFETIME: Final = 10 * 366 * 86_400.0

# Integers are read as floats, since Python refuses to read integers of some thousand digits.
_DECODER: Final = json.JSONDecoder(strict=False, parse_int=float)
_WHOLE_MEMBER: Final = re.compile(r'"(access_token|refresh_token|error)"\s*:\s*("(?:[^"\\\x00-\x1f]|\\["\\/bfnrt])*")')
_FORM: Final = re.compile(r"[\w.~%+&=*-]+", re.ASCII)

_KNOWN_ERRORS: Final = {error.replace("_", ""): error for error in (INVALID_GRANT, *CLIENT_ERRORS)}

# RFC 6749 says `error`; the others are where APIs put the name of an error elsewhere.
_ERROR_MEMBERS: Final = ("error", "errors", "error_code", "code", "id", "type")


def parse_token_response(
    title: str, status: int, headers: Mapping[str, str], body: bytes, asked_at: float
) -> TokenGrant:
    """Reads the answer to a refresh.

    Args:
        title: The name of the provider, for people.
        status: The HTTP status.
        headers: The headers, names in lower case.
        body: The body.
        asked_at: When the request was sent, as a Unix time in seconds.

    Raises:
        GrantRefused: The customer's grant is void.
        ClientRefused: The OAuth client is refused.
        RefreshFailed: There is no usable access token for another reason.
    """
    members = _members(body)
    access_token, refresh_token = _access_token(members), _refresh_token(members)
    is_success = 200 <= status < 300
    error = _oauth_error(members)
    if access_token is not None and (is_success or error is None):
        # Counted from the moment of asking, so that the token is never thought good for longer than it is.
        lifetime = _lifetime(members.get("expires_in"))
        ends_at = None if lifetime is None else asked_at + lifetime
        return TokenGrant(access_token, refresh_token, asked_at, ends_at, _scope(members.get("scope")))
    if error == INVALID_GRANT:
        raise GrantRefused
    if error is not None:
        raise ClientRefused(error)
    if is_success:
        raise RefreshFailed(
            f"{title}'s token endpoint answered {status} without an access token that can be used",
            ErrorCode.BAD_GATEWAY_ERROR,
            refresh_token=refresh_token,
        )
    # A refusal that is none of the above is not the caller's doing, nor the customer's.
    may_pass = status == 429 or status >= 500
    raise RefreshFailed(
        f"{title}'s token endpoint answered {status}",
        code_of(status) if may_pass else ErrorCode.BAD_GATEWAY_ERROR,
        retry_after(headers, "retry-after", "x-ratelimit-reset", now=asked_at) if may_pass else None,
    )


def _members(body: bytes) -> Mapping[str, Any]:
    """The members of a JSON object or of a form; empty if the body is neither.

    Marks and other text around the object are passed over, and bytes that are no text are replaced. Of JSON that is cut off
    or otherwise broken, the members are read that are whole.
    """
    text = body.decode(json.detect_encoding(body), "replace")
    start = text.find("{")
    if start < 0:
        form = strip_secret(text)
        return dict(parse_qsl(form)) if _FORM.fullmatch(form) else {}
    try:
        value, _ = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return {} if "<" in text else {name: _DECODER.decode(value) for name, value in _WHOLE_MEMBER.findall(text)}
    return value if isinstance(value, dict) else {}


def _access_token(members: Mapping[str, Any]) -> Secret | None:
    value = members.get("access_token")
    try:
        return header_secret_from(value) if isinstance(value, str) else None
    except InvalidSecret:
        return None


def _refresh_token(members: Mapping[str, Any]) -> Secret | None:
    value = members.get("refresh_token")
    text = strip_secret(value) if isinstance(value, str) else ""
    try:
        text.encode()
    except UnicodeEncodeError:
        # A lone surrogate, which JSON can spell, and nobody can send.
        return None
    return Secret(text) if text else None


def _scope(value: object) -> str:
    """The scopes that an answer names; empty for what says nothing usable."""
    names = value if isinstance(value, list) else [value]
    try:
        return checked_scope(" ".join(name for name in names if isinstance(name, str)))
    except InvalidSecret:
        return ""


def _lifetime(value: object) -> float | None:
    """Seconds that an access token lives, or None for what says nothing usable: then its refusal will tell.

    Zero and less are among that: a token that had ended when it was given would be renewed for every call.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except ValueError:
        return None
    return min(seconds, _LONGEST_LIFETIME) if math.isfinite(seconds) and seconds > 0 else None


def _oauth_error(members: Mapping[str, Any]) -> str | None:
    """The error of RFC 6749 that an answer names, however it is spelled; None if it names none of them."""
    for name in _ERROR_MEMBERS:
        for text in _error_names(members.get(name)):
            known = _KNOWN_ERRORS.get(re.sub(r"[^a-z]", "", text.lower()))
            if known is not None:
                return known
    return None


def _error_names(value: object) -> Iterator[str]:
    """A name itself, those in an object of one error, or those in a list of errors."""
    for item in value if isinstance(value, list) else [value]:
        for text in map(item.get, _ERROR_MEMBERS) if isinstance(item, dict) else [item]:
            if isinstance(text, str):
                yield text
