"""Reading providers' answers: JSON into structs, statuses into codes, and what of an answer may be shown."""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec

from service.domain.credentials import ApiKeyCredentials, Credentials, Secret
from service.domain.errors import Cause, ErrorCode, Origin, Outcome, Problem, UpdateFailed
from service.domain.json_value import JsonValue, depth
from service.domain.step import Provider
from service.providers.adapter import ProviderResponse

T = TypeVar("T")

MAX_CAUSE_BYTES: Final = 16 * 1024
"""Longest body of a provider's answer that is passed on as a cause."""

MAX_CAUSE_DEPTH: Final = 16
"""Deepest JSON that is passed on as such; protobuf readers stop at about thirty levels of `google.protobuf.Value`."""

CUT: Final = "… [cut]"

_MAX_CAUSE_HEADERS: Final = 64
_MAX_CAUSE_HEADER_CHARACTERS: Final = 512
_SECRET_HEADER: Final = re.compile(r"cookie|authorization|api-?key|token|secret|credential|session", re.IGNORECASE)
_REDACTED: Final = "[redacted]"

_CODES: Final[Mapping[int, ErrorCode]] = {
    400: ErrorCode.BAD_REQUEST,
    401: ErrorCode.UNAUTHORIZED_ERROR,
    402: ErrorCode.PAYMENT_REQUIRED_ERROR,
    403: ErrorCode.FORBIDDEN_ERROR,
    404: ErrorCode.NOT_FOUND_ERROR,
    409: ErrorCode.CONFLICT_ERROR,
    422: ErrorCode.UNPROCESSABLE_ENTITY_ERROR,
    429: ErrorCode.TOO_MANY_REQUESTS_ERROR,
    503: ErrorCode.SERVICE_UNAVAILABLE_ERROR,
    504: ErrorCode.GATEWAY_TIMEOUT_ERROR,
}


def code_of(status: int) -> ErrorCode:
    """The code of a provider's answer with this HTTP status.

    A provider's own 500 is a bad gateway here: an internal error would say that this service has a bug.
    """
    code = _CODES.get(status)
    if code is not None:
        return code
    return ErrorCode.REMOTE_PROVIDER_ERROR if 400 <= status < 500 else ErrorCode.BAD_GATEWAY_ERROR


def decode(provider: Provider, response: ProviderResponse, shape: type[T] | msgspec.json.Decoder[T]) -> T:
    """The JSON body of an answer as a struct; members that it does not know are ignored.

    Raises:
        UpdateFailed: The body is not JSON of that shape. Names the path to what is wrong.
    """
    try:
        if isinstance(shape, msgspec.json.Decoder):
            return shape.decode(response.body)
        return msgspec.json.decode(response.body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpdateFailed(unreadable(provider, response, f"{error}")) from None


def unreadable(
    provider: Provider, response: ProviderResponse, what: str, outcome: Outcome = Outcome.NOT_APPLIED
) -> Problem:
    """The problem of an answer that cannot be understood."""
    kind = redact(response.headers.get("content-type", "no content type"), response)[:100]
    return Problem(
        ErrorCode.BAD_GATEWAY_ERROR,
        f"{provider.title} answered {response.status} with a body that cannot be read ({kind}): {redact(what, response)}. "
        "Try again later; if it stays so, report it with the id of this error.",
        origin=Origin.PROVIDER,
        cause=cause(response),
        outcome=outcome,
    )


def cause(response: ProviderResponse) -> Cause:
    """What of a provider's answer may be shown: cut to size, without cookies, credentials and the answer's secrets."""
    headers = {
        name.lower(): redact(value, response)[:_MAX_CAUSE_HEADER_CHARACTERS]
        for name, value in list(response.headers.items())[:_MAX_CAUSE_HEADERS]
        if not _SECRET_HEADER.search(name)
    }
    # A little more than is shown is searched, so that the cut cannot leave half a secret standing.
    text = redact(response.body[: 2 * MAX_CAUSE_BYTES].decode("utf-8", "replace"), response)
    if len(response.body) > MAX_CAUSE_BYTES:
        return Cause(response.status, text[:MAX_CAUSE_BYTES] + CUT, headers)
    return Cause(response.status, _redact_value(_json_or_text(text), response), headers)


def _json_or_text(text: str) -> JsonValue:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return value if depth(value) <= MAX_CAUSE_DEPTH else text


def _redact_value(value: JsonValue, response: ProviderResponse) -> JsonValue:
    """The same for values that only show a secret once their escapes are undone; at most 16 levels deep here."""
    match value:
        case str():
            return redact(value, response)
        case list():
            return [_redact_value(item, response) for item in value]
        case dict():
            return {redact(key, response): _redact_value(member, response) for key, member in value.items()}
        case _:
            return value


def secrets_of(credentials: Credentials) -> tuple[Secret, ...]:
    """Every secret of a customer's credentials."""
    if isinstance(credentials, ApiKeyCredentials):
        return (credentials.api_key,)
    held = (credentials.access_token, credentials.client_secret, credentials.refresh_token)
    return tuple(secret for secret in held if secret is not None)


def _forms(secrets: Iterable[Secret]) -> Iterable[str]:
    """A provider may echo a credential plainly, in JSON, in a URL or in base64."""
    for secret in secrets:
        plain = secret.reveal()
        if plain:
            yield plain
            yield json.dumps(plain)[1:-1]
            yield json.dumps(plain, ensure_ascii=False)[1:-1]
            yield quote(plain, safe="")
            yield base64.b64encode(plain.encode()).decode().rstrip("=")


def redact(text: str, response: ProviderResponse) -> str:
    """The text without the secrets of the answer that it comes from."""
    for form in _forms(response.secrets):
        text = text.replace(form, _REDACTED)
    return text


def retry_after(headers: Mapping[str, str], *names: str, now: float) -> float | None:
    """Seconds to wait, by the first of the named headers that can be read.

    Providers' documents and integrators disagree about the form, so all four are read: seconds, a Unix time, an HTTP
    date, an ISO 8601 timestamp.

    Args:
        headers: The headers of the response.
        names: The headers to look at, in order.
        now: The present as a Unix time in seconds.
    """
    for name in names:
        value = headers.get(name, "").strip()
        seconds = _seconds(value, now) if value else None
        if seconds is not None:
            return max(0.0, seconds)
    return None


# No window lasts a year, so a larger number is a moment and not a time span.
_LONGEST_WAIT: Final = 366 * 86400.0


def _seconds(value: str, now: float) -> float | None:
    if re.fullmatch(r"\d{1,15}(\.\d{1,9})?", value, re.ASCII):
        number = float(value)
        return number if number < _LONGEST_WAIT else _near(number - now)
    moment = _moment(value)
    return None if moment is None else _near(moment.timestamp() - now)


def _near(seconds: float) -> float | None:
    return seconds if seconds < _LONGEST_WAIT else None


def _moment(value: str) -> datetime | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(value)
        except (ValueError, OverflowError):
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def encode(value: Mapping[str, Any]) -> bytes:
    """A JSON body."""
    return msgspec.json.encode(value)
