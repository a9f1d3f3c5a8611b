"""Apollo: an API-key provider whose steps are joined to templates by touches.

Facts: a sequence is read whole by `GET /emailer_campaigns/{id}` (observed, stable since 2023); a template is written by
`PUT /emailer_templates/{id}` and a step by `PUT /emailer_steps/{id}` (observed through 2026). `PUT /emailer_touches` is
broken, and the documented `PUT /sequences/{id}` removes every step that is not in its body, so neither is used.
"""

import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Final

import msgspec

from service.domain.credentials import ApiKeyCredentials, Connection, Credentials, OAuthCredentials
from service.domain.errors import ErrorCode, Origin, Outcome, Problem, UpdateFailed, Violation
from service.domain.json_value import JsonValue
from service.domain.step import BODY, SUBJECT, FieldChange, Provider, StepUpdate, StepWarning
from service.providers.adapter import (
    Plan,
    ProviderRequest,
    ProviderResponse,
    RateWindow,
    Reader,
    UrlSetting,
    UrlSettings,
    Write,
)
from service.providers.planning import (
    Template,
    Variant,
    custom_field_violations,
    custom_fields,
    no_such_step,
    no_template,
    template_fields,
    template_warnings,
    unreadable_template,
    with_no_change,
)
from service.providers.responses import cause, code_of, decode, encode, redact, retry_after, unreadable

_ID: Final = re.compile(r"[0-9a-fA-F]{24}")

# Names that would make a step another step, or hang it elsewhere.
_FIXED_FIELDS: Final = frozenset(
    {
        "id",
        "_id",
        "type",
        "emailer_campaign_id",
        "emailer_step_id",
        "emailer_template",
        "emailer_template_id",
        "emailer_touch",
        "emailer_touches",
        "team_id",
        "user_id",
    }
)

_PLAN_WORDS: Final = re.compile(r"\bpaying\b|\bpaid\b|\bonly available\b|\bupgrade\b|\byour plan\b")

# "We are already processing the request" is over in about the time that one write takes.
_OVERLAP_WAIT_SECONDS: Final = 1.0


# The windows, by the header that tells what is left of each, with their lengths in seconds.
_WINDOWS: Final = tuple(
    (name, f"x-{name}-requests-left", length)
    for name, length in (("minute", 60.0), ("hourly", 3600.0), ("24-hour", 86400.0))
)


class _Campaign(msgspec.Struct):
    active: bool | None = None


class _Step(msgspec.Struct):
    id: str
    type: str | None = None


class _Touch(msgspec.Struct):
    id: str
    emailer_step_id: str | None = None
    emailer_template_id: str | None = None
    status: str | None = None
    type: str | None = None


class _Template(msgspec.Struct):
    id: str
    subject: str | None = None
    body_html: str | None = None
    archived: bool | None = None


class _Sequence(msgspec.Struct):
    emailer_campaign: _Campaign
    emailer_steps: list[_Step] | None = None
    emailer_touches: list[_Touch] | None = None
    emailer_templates: list[_Template] | None = None


class _RawSteps(msgspec.Struct):
    emailer_steps: list[dict[str, JsonValue]] | None = None


class _Fault(msgspec.Struct):
    error: JsonValue = None
    error_code: JsonValue = None
    message: JsonValue = None
    retry_after_seconds: JsonValue = None


SEQUENCE: Final = msgspec.json.Decoder(_Sequence)
_FAULT: Final = msgspec.json.Decoder(_Fault)


class Apollo:
    """The adapter for Apollo.

    Attributes:
        base_url: Where its API is.
        token_url: Where it renews OAuth tokens.
    """

    provider: ClassVar[Provider] = Provider("apollo")
    credential_kinds: ClassVar[tuple[type[Credentials], ...]] = (ApiKeyCredentials, OAuthCredentials)
    urls: ClassVar[UrlSettings] = {
        "base_url": UrlSetting("https://api.apollo.io/api/v1", "Where Apollo's API is.", "Apollo"),
        "token_url": UrlSetting(
            "https://app.apollo.io/api/v1/oauth/token", "Where Apollo renews OAuth tokens.", "Apollo tokens"
        ),
    }
    unsupported: ClassVar[str] = ""

    def __init__(self, base_url: str, token_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self.token_url = token_url

    def violations(self, update: StepUpdate) -> Sequence[Violation]:
        """Ids are 24 hexadecimal characters (documented)."""
        rule = "An Apollo id has 24 hexadecimal characters."
        found = [
            Violation(name, rule)
            for name, value in (("sequence_id", update.sequence_id), ("sequence_step_id", update.sequence_step_id))
            if not _ID.fullmatch(value)
        ]
        return found + custom_field_violations(update, _FIXED_FIELDS)

    def headers(self, credentials: Credentials) -> Mapping[str, str]:
        """An API key goes into `x-api-key`, a partner's OAuth token into `Authorization` (documented)."""
        headers = {"Accept": "application/json", "Content-Type": "application/json", "Cache-Control": "no-cache"}
        match credentials:
            case ApiKeyCredentials(api_key):
                headers["x-api-key"] = api_key.reveal()
            case OAuthCredentials(access_token=token):
                headers["Authorization"] = f"Bearer {token.reveal()}"
        return headers

    def probe(self) -> ProviderRequest:
        """The search for sequences is the cheapest documented read that wants the same kind of key."""
        return ProviderRequest(
            "POST",
            "/emailer_campaigns/search?per_page=1",
            "emailer_campaigns/search",
            "a master API key",
        )

    async def plan(self, update: StepUpdate, reader: Reader) -> Plan:
        """Reads the sequence, which holds its steps, touches and templates, in one call."""
        response = await reader.read(
            ProviderRequest(
                "GET", f"/emailer_campaigns/{update.sequence_id}", "emailer_campaigns/show", "a master API key"
            )
        )
        sequence = decode(self.provider, response, SEQUENCE)
        raw_steps = decode(self.provider, response, _RawSteps).emailer_steps if update.custom_fields else None
        return decide(update, sequence, raw_steps or [])

    def problems(
        self, request: ProviderRequest, response: ProviderResponse, connection: Connection
    ) -> tuple[Problem, ...]:
        """An error is plain JSON or text of varying shape, and may come with a 2xx status (observed)."""
        good_status = 200 <= response.status < 300
        # A search for the bytes spares good answers, which have no member of that name, a second decoding.
        if good_status and b'"error"' not in response.body:
            return ()
        fault = _fault(response)
        if good_status and fault.error is None:
            return ()
        return (_problem(request, response, fault, connection),)

    def rate_scope(self, request: ProviderRequest) -> str:
        """Apollo counts by team and endpoint (documented)."""
        return request.endpoint

    def rate_windows(self, response: ProviderResponse) -> Sequence[RateWindow]:
        """Three fixed windows for each endpoint; an unlimited one has no count (documented)."""
        headers = response.headers
        return [
            RateWindow(name, int(left), length)
            for name, header, length in _WINDOWS
            if (left := headers.get(header, "")).isdecimal()
        ]


def decide(update: StepUpdate, sequence: _Sequence, raw_steps: Sequence[Mapping[str, JsonValue]]) -> Plan:
    """What the update comes to, given the sequence as Apollo holds it.

    Args:
        update: What is wanted.
        sequence: Apollo's response.
        raw_steps: The steps with all their members; needed only for custom fields.

    Raises:
        UpdateFailed: The step is not in the sequence, or has no template that could be changed.
    """
    steps = {step.id: step for step in sequence.emailer_steps or []}
    step = steps.get(update.sequence_step_id)
    if step is None:
        raise no_such_step(update)
    active = bool(sequence.emailer_campaign.active)
    writes: list[Write] = []
    warnings: list[StepWarning] = []
    if update.changes_template:
        write, notes = _decide_template(update, sequence, steps, step)
        writes += write
        warnings += notes
    if update.custom_fields:
        raw = next((each for each in raw_steps if each.get("id") == step.id), {})
        fields = custom_fields(update, raw)
        if fields:
            writes.append(_step_write(step.id, fields))
    return with_no_change(Plan(tuple(writes), tuple(warnings)), active=active)


def _decide_template(
    update: StepUpdate, sequence: _Sequence, steps: Mapping[str, _Step], step: _Step
) -> tuple[list[Write], list[StepWarning]]:
    touches = [touch for touch in sequence.emailer_touches or [] if touch.emailer_step_id == step.id]
    if not touches:
        raise no_template(update, step.type)
    live = [touch for touch in touches if touch.status == "approved"]
    touch = (live or touches)[0]
    held = next(
        (each for each in sequence.emailer_templates or [] if each.id == touch.emailer_template_id),
        None,
    )
    # Its id becomes part of a path, so it has to be one.
    if held is None or not _ID.fullmatch(held.id):
        raise unreadable_template(update, touch.emailer_template_id)
    template = Template(held.id, held.subject, held.body_html, archived=bool(held.archived))
    fields = template_fields(update, template)
    users = {touch.emailer_step_id for touch in sequence.emailer_touches or [] if touch.emailer_template_id == held.id}
    sharing = [other.id for other in steps.values() if other.id in users and other.id != step.id]
    variant = Variant(len(touches), is_reply=touch.type == "reply_to_thread")
    warnings = template_warnings(update, template, variant, sharing if fields else ())
    return [_template_write(held.id, fields)] if fields else [], warnings


def _template_write(template_id: str, fields: Sequence[FieldChange]) -> Write:
    names = {SUBJECT: "subject", BODY: "body_html"}
    # Members that are left out stay as they are (observed), so a value that is right already is not sent.
    body = encode({names[field.field]: field.after for field in fields})
    request = ProviderRequest(
        "PUT", f"/emailer_templates/{template_id}", "emailer_templates/update", "a master API key", body
    )
    return Write(request, tuple(fields), partial(_stored, "emailer_template", {v: k for k, v in names.items()}))


def _step_write(sequence_step_id: str, fields: Sequence[FieldChange]) -> Write:
    keys = {field.field.partition(".")[2]: field.field for field in fields}
    body = encode({key: field.after for key, field in zip(keys, fields, strict=True)})
    request = ProviderRequest(
        "PUT", f"/emailer_steps/{sequence_step_id}", "emailer_steps/update", "a master API key", body
    )
    return Write(request, tuple(fields), partial(_stored, "emailer_step", keys))


def _stored(wrapper: str, names: Mapping[str, str], response: ProviderResponse) -> Mapping[str, JsonValue]:
    """The record of an response, which comes bare or in a member of its own name."""
    record = decode_write(response)
    inner = record.get(wrapper)
    if isinstance(inner, dict):
        record = inner
    if "id" not in record:
        raise UpdateFailed(unreadable(Apollo.provider, response, f"no `{wrapper}` in it", Outcome.UNKNOWN))
    return {field: record[name] for name, field in names.items() if name in record}


def decode_write(response: ProviderResponse) -> dict[str, JsonValue]:
    """The JSON object that a write answered.

    Raises:
        UpdateFailed: It is something else; whether the write was carried out is not known.
    """
    try:
        return msgspec.json.decode(response.body, type=dict[str, JsonValue])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpdateFailed(unreadable(Apollo.provider, response, f"{error}", Outcome.UNKNOWN)) from None


def _fault(response: ProviderResponse) -> _Fault:
    try:
        return _FAULT.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Fault()


def _problem(request: ProviderRequest, response: ProviderResponse, fault: _Fault, connection: Connection) -> Problem:
    shown = cause(response)
    words = redact(_provider_words(fault, shown.body), response)
    code = code_of(response.status)
    wait = None
    advice = ""
    customer = connection.customer_id
    if response.status == 429:
        code, wait, advice = _too_many(response, fault, words)
    elif 200 <= response.status < 300:
        code = ErrorCode.UNPROCESSABLE_ENTITY_ERROR
        advice = "Apollo did not carry it out although it answered with a good status; correct the value that it names."
    elif response.status == 401:
        advice = f"Set a valid Apollo API key for customer {customer}, or connect the customer again."
    elif response.status == 403:
        advice = (
            f"Give customer {customer} {request.needs}, or an Apollo plan that includes {request.endpoint}: "
            "the present key may not use it."
        )
    elif response.status == 503:
        wait = retry_after(response.headers, "retry-after", now=time.time())
        advice = "Try again later."
    elif response.status == 404:
        advice = "Check the ids; the record may have been deleted."
    return Problem(
        code,
        f"Apollo answered {response.status} to {request.endpoint}: {words} {advice}".rstrip(),
        origin=Origin.PROVIDER,
        cause=shown,
        retry_after=wait,
    )


def _provider_words(fault: _Fault, body: JsonValue) -> str:
    """Apollo's own words, wherever in the answer they are."""
    for words in (fault.error, fault.message, body if isinstance(body, str) else None):
        if isinstance(words, str) and words.strip():
            text = " ".join(words.split())
            text = text if len(text) <= 500 else text[:500] + "…"
            return text if text.endswith((".", "!", "?", "…")) else text + "."
    return "no reason given."


def _too_many(response: ProviderResponse, fault: _Fault, text: str) -> tuple[ErrorCode, float | None, str]:
    """Apollo's three kinds of 429 (documented and observed), which call for three different things."""
    wait = retry_after(response.headers, "retry-after", now=time.time())
    if wait is None and isinstance(fault.retry_after_seconds, int | float):
        wait = max(0.0, float(fault.retry_after_seconds))
    words = text.lower()
    if "already processing" in words:
        return (
            ErrorCode.CONFLICT_ERROR,
            wait if wait is not None else _OVERLAP_WAIT_SECONDS,
            "Another change to this sequence is under way; repeat the call in a moment.",
        )
    # The kind is told by the words alone: a `retry-after` comes with every 429, whether waiting helps or not.
    if "maximum number" not in words and _PLAN_WORDS.search(words):
        return (
            ErrorCode.PAYMENT_REQUIRED_ERROR,
            None,
            "Waiting does not help: the customer's Apollo plan has to include this operation.",
        )
    return ErrorCode.TOO_MANY_REQUESTS_ERROR, wait, "Wait until the window is over before the next call."
