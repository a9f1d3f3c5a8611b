"""Apollo's sequence operations, as documented and as observed by integrators until 2026."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sandbox import oauth, seed
from sandbox.accounts import Account
from sandbox.limits import Refusal
from sandbox.markup import clean, to_text, wrap
from sandbox.messages import JSON, Answer, Call, InvalidBody, json_answer, media_type, text_answer
from sandbox.records import ApolloData, Json
from sandbox.state import State

PREFIX = "/api/v1"
WAIT_MODES = ("second", "minute", "hour", "day")
STEP_TYPES = (
    "auto_email",
    "manual_email",
    "call",
    "action_item",
    "linkedin_step_message",
    "linkedin_step_connect",
    "linkedin_step_view_profile",
    "linkedin_step_interact_post",
)
_ID = re.compile(r"[0-9a-f]{24}", re.IGNORECASE)
_EMPTY_BODY = "Please make sure your template has a non-empty body before turning it on."
_SEQUENCE_BUSY = "We are already processing the request for your sequence"
_WRITES = ("PUT", "PATCH")
_SIGNED_OUT = "Invalid access credentials."
_WRONG_KEY = (
    "Invalid API key. See https://docs.apollo.io/reference/authentication for how to authenticate."
)


class Refused(Exception):
    """An operation that Apollo would refuse; holds the answer."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.answer = json_answer(status, {"error": error})


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """One operation: its name in rate limits and key scopes, and what it does."""

    name: str
    query: tuple[str, ...]
    run: Callable[[Account, str, Call], Answer]


def handle(state: State, call: Call) -> Answer:
    """Answer one call below ``/apollo``."""
    if call.path == f"{PREFIX}/oauth/token":
        return oauth.handle(state, call)
    refusal = _authenticate(state, call)
    if refusal is not None:
        return refusal
    account = call.account
    if account is None:
        return text_answer(401, _SIGNED_OUT)
    endpoint, record_id = _route(call)
    if endpoint is None:
        return json_answer(404, {"error": "Not Found"})
    if not _in_scope(state, call, endpoint.name):
        return json_answer(
            403,
            {
                "error": f"{endpoint.name} is not accessible with this api_key.",
                "error_code": "API_INACCESSIBLE",
            },
        )
    if endpoint is _SHOW and "sequences_need_a_key" in account.habits and call.bearer is not None:
        return json_answer(403, {"error": "This endpoint requires a master api_key."})
    if not account.plan_has_access:
        return json_answer(
            429,
            {"error": f"The {endpoint.name} endpoint is only available to paying teams."},
            [("retry-after", "60")],
        )
    refused, headers = account.apollo_limits.take(endpoint.name)
    if refused is not None:
        return _used_up(endpoint.name, refused, headers)
    try:
        _check_query(call, endpoint.query)
        answer = endpoint.run(account, record_id, call)
    except Refused as error:
        answer = error.answer
    answer.headers += headers
    return answer


def sequences_written(account: Account, call: Call) -> set[str]:
    """Return the sequences that a write would change, none when the call is not a write."""
    if call.method not in _WRITES:
        return set()
    data = account.apollo
    match [segment.lower() for segment in call.segments[2:]]:
        case ["emailer_templates", record_id]:
            return data.campaigns_using(record_id)
        case ["emailer_steps", record_id] if record_id in data.steps:
            return {data.steps[record_id]["emailer_campaign_id"]}
        case ["sequences", record_id] if record_id in data.campaigns:
            return {record_id}
    return set()


def _authenticate(state: State, call: Call) -> Answer | None:
    key = call.headers.get("X-Api-Key")
    if key is not None:
        return None if key in state.api_keys else text_answer(401, _WRONG_KEY)
    if call.bearer is None:
        return text_answer(401, _SIGNED_OUT)
    token = state.access_tokens.get(call.bearer)
    if token is None or token.account.provider != "apollo":
        return text_answer(401, _SIGNED_OUT)
    if token.expired:
        return json_answer(
            401,
            {"error": "The access token has expired.", "error_code": "INVALID_ACCESS_TOKEN"},
        )
    return None


def _in_scope(state: State, call: Call, endpoint: str) -> bool:
    key = state.api_keys.get(call.headers.get("X-Api-Key", ""))
    scopes = key.scopes if key is not None else call.account.scopes if call.account else None
    return scopes is None or endpoint in scopes


def _used_up(endpoint: str, refused: Refusal, headers: list[tuple[str, str]]) -> Answer:
    message = (
        f"The maximum number of api calls allowed for {endpoint} is {refused.limit} times per "
        f"{refused.period}. Please upgrade your plan from https://app.apollo.io/."
    )
    details = {"code": "USAGE.RATE_LIMIT.API_RATE_LIMIT_EXCEEDED"}
    return json_answer(
        429,
        {"message": message, "error_details": details},
        [("retry-after", str(refused.retry_after)), *headers],
    )


def _route(call: Call) -> tuple[_Endpoint | None, str]:
    match [call.method, *call.segments]:
        case ["POST", "api", "v1", "emailer_campaigns", "search"]:
            return _SEARCH, ""
        case [method, "api", "v1", collection, record_id] if record_id:
            return _ENDPOINTS.get((method, collection)), record_id
    return None, ""


def _check_query(call: Call, known: tuple[str, ...]) -> None:
    for name, _ in call.query:
        if name not in known:
            raise Refused(422, f"Unknown parameter: {name}")


def _known(records: dict[str, Json], record_id: str) -> Json:
    if not _ID.fullmatch(record_id):
        raise Refused(422, f"{record_id!r} is not a valid id.")
    record = records.get(record_id.lower())
    if record is None:
        raise Refused(404, "Record not found.")
    return record


def _object(call: Call) -> Json:
    """Return the JSON object in a request body."""
    kind, parameters = media_type(call.headers.get("Content-Type", ""))
    charset = parameters.lower().replace('"', "").replace(" ", "")
    if kind != JSON or charset not in ("", "charset=utf-8"):
        raise Refused(415, "Send the body as application/json.")
    try:
        value = call.json()
    except InvalidBody as error:
        raise Refused(400, f"The body is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise Refused(415, "The body must be a JSON object.")
    return value


def _show_campaign(account: Account, record_id: str, _call: Call) -> Answer:
    data = account.apollo
    campaign = _known(data.campaigns, record_id)
    return json_answer(200, _sequence_view(data, campaign))


def _sequence_view(data: ApolloData, campaign: Json) -> Json:
    bare = data.bare.get(campaign["id"])
    names = ("emailer_steps", "emailer_touches", "emailer_templates", "attachments")
    if bare is not None:
        return {"emailer_campaign": campaign} | (dict.fromkeys(names) if bare else {})
    steps = data.steps_of(campaign["id"])
    touches = data.touches_of({step["id"] for step in steps})
    used = dict.fromkeys(touch["emailer_template_id"] for touch in touches)
    templates = [data.templates[key] for key in used if key in data.templates]
    return {
        "emailer_campaign": campaign,
        **dict(zip(names, (steps, touches, templates, []), strict=True)),
        "is_viewer_owner": True,
    }


def _search(account: Account, _record_id: str, call: Call) -> Answer:
    query = dict(call.query)
    try:
        page, size = int(query.get("page", "1")), int(query.get("per_page", "25"))
    except ValueError as error:
        raise Refused(422, "page and per_page must be whole numbers.") from error
    if page < 1 or not 1 <= size <= 100:
        raise Refused(422, "page and per_page are out of range.")
    wanted = query.get("q_name", "").lower()
    found = [c for c in account.apollo.campaigns.values() if wanted in c["name"].lower()]
    pagination = {
        "page": page,
        "per_page": size,
        "total_entries": len(found),
        "total_pages": -(-len(found) // size),
    }
    shown = found[(page - 1) * size : page * size]
    return json_answer(
        200, {"pagination": pagination, "breadcrumbs": [], "emailer_campaigns": shown}
    )


def _text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _count_or_null(value: Any) -> bool:
    return value is None or _count(value)


def _position(value: Any) -> bool:
    return _count(value) and value >= 1


def _moment(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, str):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


_TEMPLATE_MEMBERS: dict[str, Callable[[Any], bool]] = {
    "name": _name,
    "subject": _text,
    "body_html": _text,
    "archived": _flag,
    "global": _flag,
    "folder_id": _text,
    "label_ids": _texts,
    "prompt_id": _text,
}
_STEP_MEMBERS: dict[str, Callable[[Any], bool]] = {
    "position": _position,
    "wait_mode": lambda value: value in WAIT_MODES,
    "wait_time": _count,
    "note": _text,
    "exact_datetime": _moment,
    "priority": _text,
    "max_emails_per_day": _count_or_null,
    "auto_skip_in_x_days": _count_or_null,
}


def _check_members(record: Json, rules: dict[str, Callable[[Any], bool]]) -> None:
    """Refuse members that cannot be written, and values of a wrong kind."""
    for name, value in record.items():
        rule = rules.get(name)
        if rule is None:
            raise Refused(422, f"Unknown parameter: {name}")
        if not rule(value):
            raise Refused(422, f"{name.replace('_', ' ').capitalize()} must be valid")


def _not_busy(call: Call) -> None:
    if call.sequence_busy:
        refused = Refused(429, _SEQUENCE_BUSY)
        refused.answer.headers.append(("retry-after", "1"))
        raise refused


def _has_body(html: str | None) -> bool:
    return bool(html and html.strip())


def _update_template(account: Account, record_id: str, call: Call) -> Answer:
    data = account.apollo
    template = _known(data.templates, record_id)
    changes = _object(call)
    if changes.keys() == {"emailer_template"}:
        # The nested form is answered 200 and does nothing (observed in May 2026).
        return json_answer(200, {"emailer_template": template})
    changes.pop("body_text", None)
    _check_members(changes, _TEMPLATE_MEMBERS)
    _not_busy(call)
    if "body_html" in changes:
        html = None if changes["body_html"] is None else clean(changes["body_html"])
        sending = data.campaigns_using(template["id"], "approved")
        if not _has_body(html) and any(data.campaigns[key]["active"] for key in sending):
            raise Refused(422, _EMPTY_BODY)
        changes |= {"body_html": html, "body_text": to_text(html)}
        if html is not None and "wraps_bodies" in account.habits:
            changes["body_html"] = wrap(html)
    if "drops_writes" not in account.habits:
        template.update(changes)
    return json_answer(200, {"emailer_template": template})


def _update_step(account: Account, record_id: str, call: Call) -> Answer:
    data = account.apollo
    step = _known(data.steps, record_id)
    changes = _object(call)
    _check_members(changes, _STEP_MEMBERS)
    _not_busy(call)
    step.update(changes)
    if "position" in changes:
        _renumber(data, step)
    return json_answer(200, {"emailer_step": step})


def _renumber(data: ApolloData, moved: Json) -> None:
    """Move a step to its new position and number all steps of its sequence from 1."""
    siblings = [s for s in data.steps_of(moved["emailer_campaign_id"]) if s is not moved]
    siblings.sort(key=lambda step: step["position"])
    siblings.insert(min(moved["position"] - 1, len(siblings)), moved)
    for position, step in enumerate(siblings, 1):
        step["position"] = position


def _update_touch(account: Account, record_id: str, call: Call) -> Answer:
    """Fail without the whole template, and with it approve the touch too (observed in 2026)."""
    data = account.apollo
    touch = _known(data.touches, record_id)
    content = _object(call).get("emailer_template")
    if not isinstance(content, dict) or not {"id", "subject", "body_html"} <= content.keys():
        return text_answer(500, "undefined method '[]' for nil")
    _not_busy(call)
    template = _known(data.templates, touch["emailer_template_id"])
    changes = {name: content[name] for name in ("subject", "body_html")}
    _check_members(changes, _TEMPLATE_MEMBERS)
    html = None if changes["body_html"] is None else clean(changes["body_html"])
    template.update(changes | {"body_html": html, "body_text": to_text(html)})
    touch["status"] = "approved"
    return json_answer(200, {"emailer_touch": touch})


def _update_sequence(account: Account, record_id: str, call: Call) -> Answer:
    """Carry out the documented update: steps that are not in the array are removed."""
    data = account.apollo
    campaign = _known(data.campaigns, record_id)
    changes = _object(call)
    steps = changes.pop("emailer_steps", None)
    _check_members(changes, _SEQUENCE_MEMBERS)
    _not_busy(call)
    if steps is not None:
        _check_steps(data, campaign["id"], steps)
    # Removal and approval are judged on a copy, so that a refusal leaves everything as it was.
    draft = data.copy()
    draft.campaigns[campaign["id"]].update(changes)
    if steps is not None:
        _replace_steps(draft, campaign["id"], steps)
    _check_sending(draft, campaign["id"])
    account.apollo = draft
    updated = draft.campaigns[campaign["id"]]
    updated["updated_at"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    shown = ("id", "position", "wait_time", "wait_mode", "auto_skip_in_x_days")
    brief = [
        {name: step[name] for name in shown} | {"step_type": step["type"]}
        for step in draft.steps_of(campaign["id"])
    ]
    return json_answer(200, updated | {"steps": brief} | _sequence_view(draft, updated))


_SEQUENCE_MEMBERS: dict[str, Callable[[Any], bool]] = {
    "name": _name,
    "active": _flag,
    "creation_type": lambda value: value in ("draft", "new", "ai_assistant"),
    "permissions": _text,
    "sharing_permission": lambda value: isinstance(value, dict),
    "user_id": lambda value: isinstance(value, str) and bool(_ID.fullmatch(value)),
    "emailer_schedule_id": lambda value: isinstance(value, str) and bool(_ID.fullmatch(value)),
    "label_names": _texts,
    "max_emails_per_day": _count_or_null,
    "same_account_reply_delay_days": _count,
    "cc_emails": _text,
    "bcc_emails": _text,
}
_SEQUENCE_STEP_MEMBERS = _STEP_MEMBERS | {
    "id": _name,
    "type": lambda value: value in STEP_TYPES,
    "emailer_touches": lambda value: isinstance(value, list),
}
_SEQUENCE_TOUCH_MEMBERS: dict[str, Callable[[Any], bool]] = {
    "id": _name,
    "status": lambda value: value in ("to_be_reviewed", "approved"),
    "type": lambda value: value in ("new_thread", "reply_to_thread"),
    "attachment_ids": _texts,
    "emailer_template": lambda value: isinstance(value, dict),
    "generation_options": lambda value: isinstance(value, list),
    "generation_tone": lambda value: isinstance(value, dict),
}


def _check_steps(data: ApolloData, campaign_id: str, steps: Any) -> None:
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise Refused(422, "Emailer steps must be valid")
    for step in steps:
        _check_members(step, _SEQUENCE_STEP_MEMBERS)
        known = data.steps.get(step.get("id", ""))
        if "id" in step and (known is None or known["emailer_campaign_id"] != campaign_id):
            raise Refused(404, "Record not found.")
        if "id" not in step and not {"type", "wait_mode"} <= step.keys():
            raise Refused(422, "A new step needs a type and a wait mode.")
        for touch in step.get("emailer_touches", ()):
            if not isinstance(touch, dict):
                raise Refused(422, "Emailer touches must be valid")
            _check_members(touch, _SEQUENCE_TOUCH_MEMBERS)
            _check_members(
                touch.get("emailer_template", {}), {"subject": _text, "body_html": _text}
            )
            owned = data.touches.get(touch.get("id", ""))
            if "id" in touch and (owned is None or owned["emailer_step_id"] != step.get("id")):
                raise Refused(404, "Record not found.")


def _replace_steps(data: ApolloData, campaign_id: str, steps: list[Json]) -> None:
    kept = {step["id"] for step in steps if "id" in step}
    for step in data.steps_of(campaign_id):
        if step["id"] not in kept:
            _remove_step(data, step["id"])
    data.bare.pop(campaign_id, None)
    for position, order in enumerate(steps, 1):
        changes = {k: v for k, v in order.items() if k not in ("id", "emailer_touches")}
        known = data.steps.get(order.get("id", ""))
        step = known or seed.new_apollo_step(secrets.token_hex(12), campaign_id, position)
        data.steps[step["id"]] = step
        step.update({"position": position} | changes)
        if "emailer_touches" in order:
            _replace_touches(data, step["id"], order["emailer_touches"])
    data.campaigns[campaign_id]["num_steps"] = len(steps)


def _remove_step(data: ApolloData, step_id: str) -> None:
    del data.steps[step_id]
    for touch in data.touches_of({step_id}):
        del data.touches[touch["id"]]


def _replace_touches(data: ApolloData, step_id: str, touches: list[Json]) -> None:
    kept = {touch["id"] for touch in touches if "id" in touch}
    for touch in data.touches_of({step_id}):
        if touch["id"] not in kept:
            del data.touches[touch["id"]]
    for order in touches:
        known = data.touches.get(order.get("id", ""))
        touch = known or seed.new_apollo_touch(
            secrets.token_hex(12), step_id, secrets.token_hex(12)
        )
        data.touches[touch["id"]] = touch
        touch.update({k: order[k] for k in ("status", "type") if k in order})
        content = dict(order.get("emailer_template", {}))
        if "body_html" in content:
            html = content["body_html"]
            html = None if html is None else clean(html)
            content |= {"body_html": html, "body_text": to_text(html)}
        template_id = touch["emailer_template_id"]
        if template_id not in data.templates:
            data.templates[template_id] = seed.apollo_template(template_id, "", None, None)
        data.templates[template_id].update(content)


def _check_sending(data: ApolloData, campaign_id: str) -> None:
    """Refuse a sequence that is on while an approved touch has nothing to send."""
    if not data.campaigns[campaign_id]["active"]:
        return
    for touch in data.touches_of({step["id"] for step in data.steps_of(campaign_id)}):
        template = data.templates.get(touch["emailer_template_id"])
        if touch["status"] == "approved" and template and not _has_body(template["body_html"]):
            raise Refused(422, _EMPTY_BODY)


_SEARCH = _Endpoint("api/v1/emailer_campaigns/search", ("q_name", "page", "per_page"), _search)
_TEMPLATE_UPDATE = _Endpoint("api/v1/emailer_templates/update", (), _update_template)
_STEP_UPDATE = _Endpoint("api/v1/emailer_steps/update", (), _update_step)
_SHOW = _Endpoint("api/v1/emailer_campaigns/show", (), _show_campaign)
_ENDPOINTS: dict[tuple[str, str], _Endpoint] = {
    ("GET", "emailer_campaigns"): _SHOW,
    ("PUT", "emailer_templates"): _TEMPLATE_UPDATE,
    ("PATCH", "emailer_templates"): _TEMPLATE_UPDATE,
    ("PUT", "emailer_steps"): _STEP_UPDATE,
    ("PATCH", "emailer_steps"): _STEP_UPDATE,
    ("PUT", "emailer_touches"): _Endpoint("api/v1/emailer_touches/update", (), _update_touch),
    ("PUT", "sequences"): _Endpoint("api/v1/sequences/update", (), _update_sequence),
}
