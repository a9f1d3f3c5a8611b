"""Apollo: an API-key provider whose steps are joined to templates by touches.

Facts: a sequence is read whole by `GET /emailer_campaigns/{id}` (observed, stable since 2023); a template is written by
`PUT /emailer_templates/{id}` and a step by `PUT /emailer_steps/{id}` (observed through 2026). `PUT /emailer_touches` is
broken, and the documented `PUT /sequences/{id}` removes every step that is not in its body, so neither is used.
"""

import re
import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import ClassVar, Final

from service.domain.credentials import ApiKeyCredentials, Connection, Credentials, OAuthCredentials
from service.domain.errors import ErrorCode, Origin, Outcome, Problem, UpdateFailed, Violation
from service.domain.etag import StepContent
from service.domain.json_value import JsonValue
from service.domain.sequence import ShownSequence, ShownStep, ShownVariant, StepQuery
from service.domain.step import BODY, SUBJECT, FieldChange, Provider, StepRef, StepUpdate, StepWarning
from service.providers.adapter import (
    Plan,
    ProviderRequest,
    ProviderResponse,
    RateWindow,
    Reader,
    ResponseFailure,
    UrlSetting,
    UrlSettings,
    Write,
)
from service.providers.planning import (
    MAX_ORDER,
    MAX_SECONDS,
    SEQUENCE_ON,
    NotShown,
    StepHasNoTemplate,
    StepNotFound,
    Template,
    TemplateNotShown,
    Variant,
    VariantHasNoTemplate,
    VariantNotFound,
    custom_field_violations,
    custom_fields,
    shared_template,
    template_fields,
    template_warnings,
    texts_of,
    uncovered_field_violations,
    whole,
)
from service.providers.responses import (
    FAULT_MEMBERS,
    NEVER_SERVED,
    cause,
    code_of,
    decode_object,
    encode,
    failure_in_between,
    failure_member,
    fault_members,
    is_from_edge,
    is_json,
    is_page_of_edge,
    json_members,
    media_type,
    objects,
    redact,
    response_failure,
    retry_after,
    shown_fields,
    text_member,
    unreadable,
    wait_seconds,
    whole_number,
)

_ID: Final = re.compile(r"[0-9a-fA-F]{24}")
_ID_RULE: Final = "An Apollo id has 24 hexadecimal characters."

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

_WAIT_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}

# What an etag covers: the members of a step that can be set, without those that change by themselves.
_COVERED_FIELDS: Final = (
    "position",
    "wait_mode",
    "wait_time",
    "exact_datetime",
    "note",
    "priority",
    "max_emails_per_day",
    "auto_skip_in_x_days",
)

_PLAN_WORDS: Final = re.compile(r"\bpaying\b|\bpaid\b|\bonly available\b|\bupgrade\b|\byour plan\b")

# "We are already processing the request" is over in about the time that one write takes.
_OVERLAP_WAIT_SECONDS: Final = 1.0


_MASTER_KEY: Final = "a master API key"

# What an answer with a good status has that is a refusal, and has nothing else.
_REFUSAL_MEMBERS: Final = FAULT_MEMBERS | {"success", "status", "code"}

# Gateways refuse with a `message` or with `errors`, too; where that would blame the customer, Apollo has others (observed).
_BLAMING_STATUSES: Final = frozenset({401, 403, 404})
_BLAMING_MEMBERS: Final = frozenset({"error", "error_code", "error_details"})

# In plain text these come from an edge or a proxy (observed), and 401 and others from Apollo.
_NEVER_IN_TEXT: Final = frozenset({403, 404})

_ACCEPTED: Final = 202

# The windows, by the header that tells what is left of each, with their lengths in seconds.
_WINDOWS: Final = tuple(
    (name, f"x-{name}-requests-left", length)
    for name, length in (("minute", 60.0), ("hourly", 3600.0), ("24-hour", 86400.0))
)


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
    # Apollo documents no write of a template, and what was seen of it (2023 to 2026) are texts. Its answers have null for the
    # subject of a reply; what it makes of a null that it is sent, nobody has said.
    clears_texts: ClassVar[bool] = False

    def __init__(self, base_url: str, token_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self.token_url = token_url

    def violations(self, update: StepUpdate) -> Sequence[Violation]:
        """Ids are 24 hexadecimal characters (documented)."""
        found = [
            Violation(name, _ID_RULE)
            for name, value in (("sequence_id", update.sequence_id), ("sequence_step_id", update.sequence_step_id))
            if not _ID.fullmatch(value)
        ]
        if update.variant and not _ID.fullmatch(update.variant):
            found.append(Violation("variant", _ID_RULE))
        found += custom_field_violations(update, _FIXED_FIELDS)
        return found + uncovered_field_violations(update, _COVERED_FIELDS) if update.etag else found

    def id_violations(self, step: StepRef) -> Sequence[Violation]:
        """As for an update."""
        ids = {"sequence_id": step.sequence_id, "sequence_step_id": step.sequence_step_id}
        return [Violation(name, _ID_RULE) for name, value in ids.items() if value and not _ID.fullmatch(value)]

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
            _MASTER_KEY,
        )

    async def plan(self, update: StepUpdate, reader: Reader) -> Plan:
        """Reads the sequence, which holds its steps, touches and templates, in one request."""
        return decide(update, await reader.read(_sequence_read(update)))

    async def read(self, query: StepQuery, reader: Reader) -> ShownSequence:
        """Reads the sequence as for an update."""
        return show(query, await reader.read(_sequence_read(query)))

    def failure(
        self, request: ProviderRequest, response: ProviderResponse, connection: Connection
    ) -> ResponseFailure | None:
        """An error is plain JSON or text of varying shape, and may come with a 2xx status (observed)."""
        good_status = 200 <= response.status < 300
        if good_status and is_page_of_edge(response):
            return failure_in_between(self.provider, request, response)
        # A search for the bytes spares good responses, which have no member of that name, a second decoding.
        if good_status and b'"error' not in response.body:
            return None
        fault = json_members(response)
        if good_status:
            # Beside anything else it is the reader of the record that weighs it: the write may have been carried out.
            if failure_member(fault) is None or fault.keys() - _REFUSAL_MEMBERS:
                return None
            return response_failure([_problem(request, response, fault, connection)], response, refused=True)
        if not _is_own(response, fault):
            return failure_in_between(self.provider, request, response)
        return response_failure(
            [_problem(request, response, fault, connection)],
            response,
            credentials_refused=response.status == 401 and not _is_inaccessible(fault),
        )

    def rate_scope(self, request: ProviderRequest) -> str:
        """Apollo counts by team and endpoint (documented)."""
        return request.endpoint

    def rate_windows(self, response: ProviderResponse) -> Sequence[RateWindow]:
        """Three fixed windows for each endpoint; an unlimited one has no count (documented)."""
        headers = response.headers
        return [
            RateWindow(name, left, length)
            for name, header, length in _WINDOWS
            if (left := whole_number(headers.get(header, ""))) is not None
        ]


def decide(update: StepUpdate, response: ProviderResponse) -> Plan:
    """What the update comes to, given the sequence as Apollo shows it.

    Members that the update does not need may be missing or odd; they appear so all the time (observed).

    Raises:
        UpdateFailed: The step is not in the sequence, has no template that could be changed, or is not shown.
    """
    sequence, campaign = _sequence(update, response)
    steps = _array(update, sequence, "emailer_steps")
    step = next(iter(_matching(steps, "id", update.sequence_step_id)), None)
    if step is None or _is_another(step.get("emailer_campaign_id"), update.sequence_id):
        raise StepNotFound(update)
    writes: list[Write] = []
    warnings: list[StepWarning] = []
    write_warnings = [SEQUENCE_ON] if campaign.get("active") is True else []
    template_id, texts = "", None
    sharing: Sequence[str] = ()
    if update.changes_template:
        write, notes, template_id, texts, sharing = _plan_template(update, response, sequence, steps, step)
        writes.append(write)
        warnings += notes
        if sharing:
            write_warnings = [shared_template(template_id, sharing), *write_warnings]
    if update.custom_fields and (fields := custom_fields(update, step)):
        writes.append(_step_write(update.sequence_step_id.lower(), fields, step))
    content = StepContent(template_id, texts, {name: step.get(name) for name in _COVERED_FIELDS})
    return Plan(tuple(writes), tuple(warnings), tuple(write_warnings), content, tuple(sharing))


def show(query: StepQuery, response: ProviderResponse) -> ShownSequence:
    """The steps that are wanted, given the sequence as Apollo shows it; what is odd or not shown of one of them is left out.

    Raises:
        UpdateFailed: The step is not in the sequence, or the steps are not all shown.
    """
    sequence, campaign = _sequence(query, response)
    steps = _array(query, sequence, "emailer_steps")
    touches = _array(query, sequence, "emailer_touches")
    records = {
        each["id"].lower(): each for each in _array(query, sequence, "emailer_templates") if _is_id(each.get("id"))
    }
    own = [
        each
        for each in steps
        if _is_id(each.get("id")) and not _is_another(each.get("emailer_campaign_id"), query.sequence_id)
    ]
    if query.sequence_step_id:
        wanted = _matching(own, "id", query.sequence_step_id)[:1]
        if not wanted:
            raise StepNotFound(query)
    else:
        raw = sequence["emailer_steps"] or []
        if len(raw) != len(steps) or not all(_is_id(each.get("id")) for each in steps):
            raise NotShown(query, "all of its steps")
        wanted = sorted(own, key=lambda each: whole(each.get("position"), MAX_ORDER) or 0)
    by_step: dict[str, list[dict[str, JsonValue]]] = {}
    users: dict[str, dict[str, None]] = {}
    for touch in touches:
        step_id, template_id = (
            _text(touch.get("emailer_step_id")).lower(),
            _text(touch.get("emailer_template_id")).lower(),
        )
        by_step.setdefault(step_id, []).append(touch)
        users.setdefault(template_id, {})[step_id] = None
    known = {each["id"].lower() for each in own}
    shown = []
    for step in wanted:
        step_id = step["id"].lower()
        own_touches = by_step.get(step_id, [])
        live = [touch for touch in own_touches if touch.get("status") == "approved"]
        default = next(iter(live or own_touches), None)
        variants = []
        for touch in own_touches:
            template_id = _text(touch.get("emailer_template_id")).lower()
            template_id = template_id if _is_id(template_id) else ""
            record = records.get(template_id, {})
            variants.append(
                ShownVariant(
                    variant_id=_shown_id(touch),
                    template_id=template_id,
                    texts=texts_of(record, "subject", "body_html"),
                    is_live=touch.get("status") == "approved",
                    is_reply=touch.get("type") == "reply_to_thread",
                    is_archived=record.get("archived") is True,
                    is_default=touch is default,
                    sharing=tuple(user for user in users[template_id] if user != step_id and user in known)
                    if template_id
                    else (),
                )
            )
        unit, time = _WAIT_SECONDS.get(_text(step.get("wait_mode"))), whole(step.get("wait_time"), MAX_SECONDS // 86400)
        shown.append(
            ShownStep(
                step_id,
                _text(step.get("type")),
                whole(step.get("position"), MAX_ORDER),
                unit * time if unit is not None and time is not None else None,
                tuple(variants),
                {name: step.get(name) for name in _COVERED_FIELDS},
            )
        )
    return ShownSequence(
        query.sequence_id.lower(),
        _text(campaign.get("name")),
        _flag(campaign.get("active")),
        _flag(campaign.get("archived")),
        tuple(shown),
    )


def _sequence_read(step: StepRef) -> ProviderRequest:
    path = f"/emailer_campaigns/{step.sequence_id.lower()}"
    return ProviderRequest("GET", path, "emailer_campaigns/show", _MASTER_KEY)


def _sequence(step: StepRef, response: ProviderResponse) -> tuple[Mapping[str, JsonValue], Mapping[str, JsonValue]]:
    """The members of a response, and of the campaign in it.

    Raises:
        UpdateFailed: It shows another one.
    """
    sequence = decode_object(Apollo.provider, response)
    campaign = sequence.get("emailer_campaign")
    campaign = campaign if isinstance(campaign, dict) else {}
    if _is_another(campaign.get("id"), step.sequence_id):
        raise NotShown(step, "that sequence, but another one")
    return sequence, campaign


def _plan_template(
    update: StepUpdate,
    response: ProviderResponse,
    sequence: Mapping[str, JsonValue],
    steps: Sequence[Mapping[str, JsonValue]],
    step: Mapping[str, JsonValue],
) -> tuple[Write, list[StepWarning], str, Mapping[str, JsonValue] | None, Sequence[str]]:
    """The write of the template, the warnings about it, its id, its texts, and the other steps that use it."""
    all_touches = _array(update, sequence, "emailer_touches")
    touches = _matching(all_touches, "emailer_step_id", update.sequence_step_id)
    if not touches:
        raise StepHasNoTemplate(update, step.get("type"))
    named = _matching(touches, "emailer_template_id", update.variant) if update.variant else []
    if update.variant and not named:
        raise VariantNotFound(
            update, [shown for touch in touches if _ID.fullmatch(shown := _text(touch.get("emailer_template_id")))]
        )
    live = [touch for touch in named or touches if touch.get("status") == "approved"]
    touch = (live or named or touches)[0]
    template_id = touch.get("emailer_template_id", "missing")
    if template_id is None:
        raise VariantHasNoTemplate(update)
    # It becomes part of a path and of messages, so it has to be an id.
    if not isinstance(template_id, str) or not _ID.fullmatch(template_id):
        raise NotShown(update, "which template the variant has")
    template_id = template_id.lower()
    record = next(iter(_matching(_array(update, sequence, "emailer_templates"), "id", template_id)), None)
    if record is None:
        raise TemplateNotShown(update, template_id)
    where = f"template {template_id}"
    template = Template(
        template_id,
        text_member(Apollo.provider, response, record, "subject", where) if update.needs_subject else None,
        text_member(Apollo.provider, response, record, "body_html", where) if update.needs_body else None,
        archived=record.get("archived") is True,
    )
    users = _matching(all_touches, "emailer_template_id", template_id)
    other_users = {_text(each.get("emailer_step_id")).lower() for each in users if each not in touches}
    if update.refuse_shared and not all(map(_is_id, other_users)):
        raise NotShown(update, "which steps use the template")
    # In the order of the steps; those that are not shown themselves come last.
    order = {_text(each.get("id")).lower(): place for place, each in enumerate(steps)}
    sharing = sorted(filter(_is_id, other_users), key=lambda user: (order.get(user, len(order)), user))
    variant = Variant(
        _shown_id(touch),
        len(touches),
        is_live=bool(live),
        is_reply=touch.get("type") == "reply_to_thread",
        twins=sum(each is not touch for each in touches if each in users),
    )
    return (
        _template_write(template_id, template_fields(update, template)),
        template_warnings(update, template, variant),
        template_id,
        texts_of(record, "subject", "body_html"),
        sharing,
    )


def _array(step: StepRef, sequence: Mapping[str, JsonValue], name: str) -> list[dict[str, JsonValue]]:
    """The records of an array, which may be null (observed); one that is missing is not an empty one."""
    value = sequence.get(name, "missing")
    if value is not None and not isinstance(value, list):
        raise NotShown(step, f"`{name}`")
    return objects(value)


def _is_id(value: JsonValue) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _flag(value: JsonValue) -> bool | None:
    return value if isinstance(value, bool) else None


def _same_id(value: JsonValue, wanted: str) -> bool:
    """Whether two ids are the same; Apollo's are in lower case, and callers may write them in upper case."""
    return isinstance(value, str) and value.lower() == wanted.lower()


def _matching(records: Sequence[dict[str, JsonValue]], member: str, wanted: str) -> list[dict[str, JsonValue]]:
    """The records that have an id in this member, written as `_same_id` has it."""
    wanted = wanted.lower()
    return [each for each in records if isinstance(value := each.get(member), str) and value.lower() == wanted]


def _is_another(value: JsonValue, wanted: str) -> bool:
    """Whether a member names another record; one that is null, or no id at all, names none."""
    return _is_id(value) and not _same_id(value, wanted)


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def _shown_id(record: Mapping[str, JsonValue]) -> str:
    """The id of a record that is only named; empty if it shows none."""
    return _text(record.get("id"))


def _template_write(template_id: str, fields: Sequence[FieldChange]) -> Write:
    names = {SUBJECT: "subject", BODY: "body_html"}
    sent = {names[field.field]: field for field in fields}
    body = encode({name: field.after for name, field in sent.items()})
    request = ProviderRequest("PUT", f"/emailer_templates/{template_id}", "emailer_templates/update", _MASTER_KEY, body)
    return Write(request, tuple(fields), partial(_stored, "emailer_template", template_id, sent, ()))


def _step_write(sequence_step_id: str, fields: Sequence[FieldChange], step: Mapping[str, JsonValue]) -> Write:
    sent = {field.field.partition(".")[2]: field for field in fields}
    body = encode({name: field.after for name, field in sent.items()})
    request = ProviderRequest("PUT", f"/emailer_steps/{sequence_step_id}", "emailer_steps/update", _MASTER_KEY, body)
    return Write(
        request, tuple(fields), partial(_stored, "emailer_step", sequence_step_id, sent, sent.keys() - step.keys())
    )


def _stored(
    wrapper: str,
    record_id: str,
    sent: Mapping[str, FieldChange],
    absent: Collection[str],
    response: ProviderResponse,
) -> Mapping[str, JsonValue]:
    """What the record of a write's answer holds; it comes bare or in a member of its own name.

    Raises:
        UpdateFailed: The answer does not confirm the record that was written; whether it was written is not known.
    """
    answer = decode_object(Apollo.provider, response, Outcome.UNKNOWN)
    inner = answer.get(wrapper)
    record = inner if isinstance(inner, dict) else answer
    failure = failure_member(answer) or failure_member(record)
    if failure is not None:
        wrong = f"it speaks of failure in `{failure}`"
    elif not _same_id(record.get("id"), record_id):
        wrong = f"it does not show {wrapper} {record_id}"
    elif response.status == _ACCEPTED:
        wrong = "the write was accepted and not carried out yet"
    else:
        return shown_fields(Apollo.provider, response, record, sent, absent)
    raise UpdateFailed(unreadable(Apollo.provider, response, wrong, Outcome.UNKNOWN))


def _is_own(response: ProviderResponse, fault: Mapping[str, JsonValue]) -> bool:
    """Whether Apollo itself answered: JSON that names an error, or text where it gives text (observed)."""
    if is_from_edge(response):
        return False
    if is_json(response) or response.body.lstrip()[:1] in (b"{", b"["):
        named = fault_members(fault)
        return bool(named & _BLAMING_MEMBERS if response.status in _BLAMING_STATUSES else named)
    if media_type(response) == "text/plain":
        return response.status not in _NEVER_IN_TEXT
    return not response.body and "www-authenticate" in response.headers


def _problem(
    request: ProviderRequest, response: ProviderResponse, fault: Mapping[str, JsonValue], connection: Connection
) -> Problem:
    shown = cause(response)
    words = redact(_provider_words(fault, shown.body), response)
    code, wait, advice = _judged(request, response, fault, words, connection)
    return Problem(
        code,
        f"Apollo answered {response.status} to {request.endpoint}: {words}",
        advice=advice,
        origin=Origin.PROVIDER,
        cause=shown,
        retry_after=wait,
        facts={"endpoint": request.endpoint},
    )


def _judged(  # noqa: PLR0911  # one for each kind of failure
    request: ProviderRequest,
    response: ProviderResponse,
    fault: Mapping[str, JsonValue],
    words: str,
    connection: Connection,
) -> tuple[ErrorCode, float | None, str]:
    """The code of a failure, how long to wait, and what to do."""
    status, customer = response.status, connection.customer_id
    # The lock of a sequence comes with 429, and has been seen with other statuses too.
    if 400 <= status < 500 and "already processing" in words.lower():
        return (
            ErrorCode.CONFLICT_ERROR,
            _wait(response, fault) or _OVERLAP_WAIT_SECONDS,
            "Another change to this sequence is under way; repeat the call in a moment.",
        )
    if status == 429:
        return _too_many(response, fault, words.lower())
    if 200 <= status < 300:
        return (
            ErrorCode.UNPROCESSABLE_ENTITY_ERROR,
            None,
            "Apollo did not carry it out although it answered with a good status; correct the value that it names.",
        )
    if status == 403 or _is_inaccessible(fault):
        is_token = isinstance(connection.credentials, OAuthCredentials)
        advice = (
            f"The OAuth token of customer {customer} may not use {request.endpoint}, which wants {_MASTER_KEY}; set one."
            if is_token
            else f"Give customer {customer} {request.needs}, or an Apollo plan that includes {request.endpoint}: the present "
            "key may not use it."
        )
        return ErrorCode.FORBIDDEN_ERROR, None, advice
    if status == 401:
        return (
            ErrorCode.UNAUTHORIZED_ERROR,
            None,
            f"Set a valid Apollo API key for customer {customer}, or connect the customer again.",
        )
    if status == 404:
        return ErrorCode.NOT_FOUND_ERROR, None, "Check the ids; the record may have been deleted."
    if status == 501:
        return code_of(status), None, NEVER_SERVED
    if status >= 500:
        wait = retry_after(response.headers, "retry-after", now=time.time()) if status == 503 else None
        return code_of(status), wait, "Try again later."
    return code_of(status), None, "Correct the value and repeat the call." if status in (400, 422) else ""


def _is_inaccessible(fault: Mapping[str, JsonValue]) -> bool:
    """Whether it is about permission: of the key's scope or of the plan; comes with 403, and with 401 too (observed)."""
    return fault.get("error_code") == "API_INACCESSIBLE"


def _provider_words(fault: Mapping[str, JsonValue], body: JsonValue) -> str:
    """Apollo's own words, wherever in the answer they are."""
    error = fault.get("error")
    given = [error, fault.get("message"), fault.get("error_message"), *_texts(error), *_texts(fault.get("errors"))]
    for words in (*given, body):
        if isinstance(words, str) and words.strip():
            text = " ".join(words.split())
            text = text if len(text) <= 500 else text[:500] + "…"
            return text if text.endswith((".", "!", "?", "…")) else text + "."
    return "no reason given."


def _texts(value: JsonValue) -> Sequence[JsonValue]:
    """What may be words in an object of one error or in a list of errors."""
    if isinstance(value, dict):
        return (value.get("message"), value.get("detail"))
    return value if isinstance(value, list) else ()


def _wait(response: ProviderResponse, fault: Mapping[str, JsonValue]) -> float | None:
    wait = retry_after(response.headers, "retry-after", now=time.time())
    return wait if wait is not None else wait_seconds(fault.get("retry_after_seconds"))


def _too_many(
    response: ProviderResponse, fault: Mapping[str, JsonValue], words: str
) -> tuple[ErrorCode, float | None, str]:
    """Apollo's other two kinds of 429 (documented and observed), which call for different things.

    Newer answers have a code in `error_details`; where it is not there, the words tell, since a `retry-after` comes with
    both.
    """
    details = fault.get("error_details")
    named = details.get("code") if isinstance(details, dict) else None
    is_window = isinstance(named, str) and "RATE_LIMIT" in named.upper()
    if not is_window and "maximum number" not in words and _PLAN_WORDS.search(words):
        return (
            ErrorCode.PAYMENT_REQUIRED_ERROR,
            None,
            "Waiting does not help: the customer's Apollo plan has to include this operation.",
        )
    wait = _wait(response, fault)
    return ErrorCode.TOO_MANY_REQUESTS_ERROR, wait, "Wait until the window is over before the next call."
