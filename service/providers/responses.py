"""Reading providers' answers: JSON into structs, statuses into codes, and what of an answer may be shown."""

import json
import math
import re
import time
from codecs import BOM_UTF8
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from service.domain.credentials import ApiKeyCredentials, Credentials, Secret
from service.domain.errors import Cause, ErrorCode, Origin, Outcome, Problem, UpdateFailed
from service.domain.html import visible_text
from service.domain.json_value import JsonValue, depth, json_equal
from service.domain.redaction import redact as redact_secrets
from service.domain.redaction import redact_bytes
from service.domain.step import BODY, SUBJECT, FieldChange, Provider
from service.providers.adapter import ProviderRequest, ProviderResponse, ResponseFailure
from service.providers.statuses import rule_of

MAX_CAUSE_BYTES: Final = 16 * 1024
"""Longest body of a provider's answer that is passed on as a cause."""

MAX_CAUSE_DEPTH: Final = 16
"""Deepest JSON that is passed on as such; protobuf readers stop at about thirty levels of `google.protobuf.Value`."""

CUT: Final = "… [cut]"

_MAX_CAUSE_HEADERS: Final = 64
_MAX_CAUSE_HEADER_CHARACTERS: Final = 512
_SECRET_HEADER: Final = re.compile(r"cookie|authorization|api-?key|token|secret|credential|session", re.IGNORECASE)

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


NEVER_SERVED: Final = "No retry helps: the provider says that it has no such operation."
"""What to do about a 501."""


def code_of(status: int) -> ErrorCode:
    """The code of a provider's answer with this HTTP status.

    A provider's own 500 is a bad gateway here: an internal error would say that this service has a bug.
    """
    code = _CODES.get(status)
    if code is not None:
        return code
    return ErrorCode.REMOTE_PROVIDER_ERROR if status // 100 == 4 else ErrorCode.BAD_GATEWAY_ERROR


def decode_object(
    provider: Provider, response: ProviderResponse, outcome: Outcome = Outcome.NOT_APPLIED
) -> dict[str, JsonValue]:
    """The JSON object of a response.

    Raises:
        UpdateFailed: The body is something else.
    """
    try:
        return _json_object(response)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpdateFailed(unreadable(provider, response, f"{error}", outcome)) from None


def json_members(response: ProviderResponse) -> dict[str, JsonValue]:
    """The members of the JSON object of a response; none if it has no such object."""
    try:
        return _json_object(response)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _json_object(response: ProviderResponse) -> dict[str, JsonValue]:
    body = response.body.removeprefix(BOM_UTF8)
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        return _with_any_number(body, error)


def _with_any_number(body: bytes, error: msgspec.DecodeError) -> dict[str, JsonValue]:
    """Reads JSON with numbers that no double holds, such as 1e400 and NaN; what is wrong otherwise stays so."""
    try:
        value = json.loads(body)
        msgspec.json.encode(value)
    except ValueError:
        raise error from None
    if not isinstance(value, dict):
        raise error
    return value


def objects(value: JsonValue) -> list[dict[str, JsonValue]]:
    """The objects of an array; whatever else is in it is passed over, since only what is used may fail an update."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_member(
    provider: Provider, response: ProviderResponse, record: Mapping[str, JsonValue], name: str, where: str
) -> str | None:
    """A text of a record that the update needs, or None for null.

    Raises:
        UpdateFailed: The record does not show it, or shows something else.
    """
    if name not in record:
        raise UpdateFailed(unreadable(provider, response, f"{where} does not show `{name}`"))
    value = record[name]
    if value is None or isinstance(value, str):
        return value
    raise UpdateFailed(unreadable(provider, response, f"`{name}` of {where} is not a text"))


def shown_fields(
    provider: Provider,
    response: ProviderResponse,
    record: JsonValue,
    sent: Mapping[str, FieldChange],
    absent: Collection[str] = (),
) -> Mapping[str, JsonValue]:
    """What the record of a write's answer holds of the fields that were sent, by the names of the contract.

    Args:
        provider: Who answered.
        response: The answer.
        record: The members of the record.
        sent: The fields, by the provider's names.
        absent: Those of these names that the provider did not have before: it may ignore them, or make anything of them.

    Raises:
        UpdateFailed: It does not show one of them, or something that cannot have become of what was sent; whether it was
            written is not known.
    """
    members = record if isinstance(record, dict) else {}
    for name, field in sent.items():
        if name in absent:
            continue
        if name not in members:
            raise UpdateFailed(unreadable(provider, response, f"it does not show `{name}`", Outcome.UNKNOWN))
        if not _may_be_stored_as(field, members.get(name)):
            raise UpdateFailed(unreadable(provider, response, f"`{name}` has another type", Outcome.UNKNOWN))
    return {field.field: members.get(name) for name, field in sent.items()}


def _may_be_stored_as(field: FieldChange, value: JsonValue) -> bool:
    """Whether a provider may hold this after a write: what was there, or the value cleaned, or in another spelling."""
    sent = field.after
    if field.field in (SUBJECT, BODY):
        if value is not None:
            return isinstance(value, str)
        return not sent or (field.field == BODY and visible_text(sent) == "")
    is_known = json_equal(value, field.before) or json_equal(value, sent)
    return sent is None or is_known or type(value) is type(sent) or str(value).lower() == str(sent).lower()


def unreadable(
    provider: Provider, response: ProviderResponse, what: str, outcome: Outcome = Outcome.NOT_APPLIED
) -> Problem:
    """The problem of a response that cannot be understood."""
    kind = redact(response.headers.get("content-type", "no content type"), response)[:100]
    return Problem(
        ErrorCode.BAD_GATEWAY_ERROR,
        f"{provider.title} answered {response.status} with a body that cannot be used ({kind}): "
        f"{redact(what, response)[:500]}.",
        advice="Try again later; if it stays so, report it with the id of this error.",
        origin=Origin.PROVIDER,
        cause=cause(response),
        outcome=outcome,
    )


def media_type(response: ProviderResponse) -> str:
    """The media type of a response without its parameters, in lower case; empty if there is none."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


_PAGE: Final = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*(?:<!doctype|<html|<head|<body|<\?xml)", re.IGNORECASE)
_EDGE_TEXT: Final = re.compile(rb"\s*error code: \d+", re.IGNORECASE)
_EDGE_JSON: Final = b'"cloudflare_error"'


def is_from_edge(response: ProviderResponse) -> bool:
    """Whether a page, or a sign of Cloudflare, shows that the response is not the provider's own (observed)."""
    return (
        "cf-mitigated" in response.headers
        or 520 <= response.status <= 530
        or media_type(response) in ("text/html", "application/xhtml+xml", "text/xml", "application/xml")
        or _PAGE.match(response.body[:200]) is not None
        or _EDGE_TEXT.match(response.body[:200]) is not None
        or _EDGE_JSON in response.body[:MAX_CAUSE_BYTES]
    )


def is_page_of_edge(response: ProviderResponse) -> bool:
    """Whether a response with a good status is not the provider's own: a challenge, or a page to log in at a network."""
    return bool(response.body) and response.body[:1] not in (b"{", b"[") and is_from_edge(response)


def is_json(response: ProviderResponse) -> bool:
    """Whether a response says that it is JSON."""
    kind = media_type(response)
    return kind == "application/json" or kind.endswith("+json")


def response_failure(
    problems: Sequence[Problem],
    response: ProviderResponse,
    *,
    refused: bool | None = None,
    credentials_refused: bool = False,
) -> ResponseFailure:
    """The failure of a response that the provider itself gave.

    Args:
        problems: What is wrong.
        response: The response.
        refused: Whether the request cannot have had an effect; None if its status tells.
        credentials_refused: Whether the provider did not accept the credentials.
    """
    rule = rule_of(response.status)
    return ResponseFailure(
        tuple(problems),
        by_provider=True,
        refused=not rule.may_be_applied if refused is None else refused,
        may_pass=rule.may_pass,
        credentials_refused=credentials_refused,
    )


def failure_in_between(provider: Provider, request: ProviderRequest, response: ProviderResponse) -> ResponseFailure:
    """The failure of a response that a proxy or an edge gave in the provider's place.

    It says nothing about the customer, its key, its plan or the record. A request that was turned away with 4xx on the
    way there, or with a page and a good status, may get through in a moment.
    """
    # Without secrets before it is taken apart: a server may repeat anything anywhere.
    kind = redact(response.headers.get("content-type", ""), response).partition(";")[0].strip() or "no content type"
    waits = response.status in (429, 503)
    code = code_of(response.status) if response.status in (429, 503, 504) else ErrorCode.BAD_GATEWAY_ERROR
    problem = Problem(
        code,
        f"The request to {provider.title} ({request.endpoint}) was answered {response.status} with {kind[:100]} that is not "
        f"in {provider.title}'s own form, so by a proxy or an edge on the way there.",
        advice="Try again later; if it stays so, report it with the id of this error.",
        origin=Origin.PROVIDER,
        cause=cause(response),
        retry_after=retry_after(response.headers, "retry-after", now=time.time()) if waits else None,
    )
    is_turned_away = response.status // 100 in (2, 4) and response.status != 429
    may_pass = rule_of(response.status).may_pass or is_turned_away
    return ResponseFailure((problem,), by_provider=False, refused=False, may_pass=may_pass)


_FAILURE_MEMBERS: Final = (
    "error",
    "errors",
    "error_message",
    "error_code",
    "error_details",
    "exception",
    "failed",
    "failure",
)
_SUCCESS_MEMBERS: Final = ("success", "ok", "saved")
_SPEAKING_MEMBERS: Final = frozenset({*_FAILURE_MEMBERS, *_SUCCESS_MEMBERS, "status"})
_FAILURE_WORDS: Final = frozenset({"error", "fail", "failed", "failure", "rejected"})
_NO_WORDS: Final = frozenset({"false", "no", "0"})


FAULT_MEMBERS: Final = frozenset(
    {"error", "errors", "error_code", "error_details", "error_message", "message", "retry_after_seconds"}
)
"""What a refusal in JSON has at least one of, whichever provider's it is."""

_NOTHING: Final[tuple[JsonValue, ...]] = (None, "", False, [], {})


def fault_members(members: Mapping[str, JsonValue]) -> frozenset[str]:
    """Those of `FAULT_MEMBERS` that an answer has, with a content."""
    return frozenset(name for name in FAULT_MEMBERS & members.keys() if members[name] not in _NOTHING)


def failure_member(members: Mapping[str, JsonValue]) -> str | None:
    """The member of a write's answer, or of its `meta`, that speaks of failure, if there is one with a content."""
    meta = members.get("meta")
    return _failure_member(members) or (_failure_member(meta) if isinstance(meta, dict) else None)


def _failure_member(members: Mapping[str, JsonValue]) -> str | None:
    if _SPEAKING_MEMBERS.isdisjoint(members):
        return None
    for name in _FAILURE_MEMBERS:
        if members.get(name) not in _NOTHING:
            return name
    for name in _SUCCESS_MEMBERS:
        if str(members.get(name)).lower() in _NO_WORDS:
            return name
    status = members.get("status")
    is_status = isinstance(status, int) and status >= 400
    return "status" if is_status or (isinstance(status, str) and status.lower() in _FAILURE_WORDS) else None


def cause(response: ProviderResponse) -> Cause:
    """What of a provider's answer may be shown: cut to size, without cookies, credentials and the answer's secrets."""
    headers = {
        name.lower(): redact(value, response)[:_MAX_CAUSE_HEADER_CHARACTERS]
        for name, value in list(response.headers.items())[:_MAX_CAUSE_HEADERS]
        if not _SECRET_HEADER.search(name)
    }
    body = redact_bytes(response.body, response.secrets, MAX_CAUSE_BYTES).decode("utf-8", "replace")
    if len(response.body) > MAX_CAUSE_BYTES:
        return Cause(response.status, body + CUT, headers, body_truncated=True)
    return Cause(response.status, _json_or_text(body), headers)


def _json_or_text(text: str) -> JsonValue:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return value if depth(value) <= MAX_CAUSE_DEPTH else text


def secrets_of(credentials: Credentials) -> tuple[Secret, ...]:
    """Every secret of a customer's credentials."""
    if isinstance(credentials, ApiKeyCredentials):
        return (credentials.api_key,)
    secrets = (credentials.access_token, credentials.client_secret, credentials.refresh_token)
    return tuple(secret for secret in secrets if secret is not None)


def redact(text: str, response: ProviderResponse) -> str:
    """The text without the secrets of the answer that it comes from."""
    return redact_secrets(text, response.secrets)


def retry_after(headers: Mapping[str, str], *names: str, now: float) -> float | None:
    """Seconds to wait, by the first of the named headers that can be read, and a day at the most.

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
            return min(max(0.0, seconds), LONGEST_WAIT_SECONDS)
    return None


# No window is longer than a day (documented), so a longer wait is a mistake, and a larger number is a moment.
LONGEST_WAIT_SECONDS: Final = 86400.0
_LEAST_MOMENT: Final = 1e9


# Counts have fewer digits.
_COUNT: Final = re.compile(r"\s*\d{1,15}\s*", re.ASCII)


def whole_number(value: str) -> int | None:
    """A count from a header; None if it is none, or has more digits than any count."""
    return int(value) if _COUNT.fullmatch(value) else None


def wait_seconds(value: JsonValue) -> float | None:
    """A waiting time from a body, bounded to a day; None if it is none."""
    if isinstance(value, str):
        value = _seconds(value.strip(), time.time())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return min(max(0.0, seconds), LONGEST_WAIT_SECONDS) if math.isfinite(seconds) else None


def _seconds(value: str, now: float) -> float | None:
    if re.fullmatch(r"\d{1,15}(\.\d{1,9})?", value, re.ASCII):
        number = float(value)
        return number if number < _LEAST_MOMENT else number - now
    moment = _moment(value)
    return None if moment is None else moment.timestamp() - now


def _moment(value: str) -> datetime | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(value)
            # Years at the edge of the calendar have no moment in every time zone.
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
        return moment
    return None


def encode(value: Mapping[str, Any]) -> bytes:
    """A JSON body."""
    return msgspec.json.encode(value)
