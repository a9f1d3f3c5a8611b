"""Outreach: a JSON:API provider whose steps are joined to templates by sequenceTemplates.

Facts (documented, August 2026): every request sends `Content-Type: application/vnd.api+json`; ids are integers in bodies;
`sequenceTemplates` can be filtered by step and include the template, the step and its sequence; `PATCH` changes only the
attributes that are sent, and refuses read-only ones.
"""

import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from service.domain.credentials import ApiKeyCredentials, Connection, Credentials, OAuthCredentials
from service.domain.errors import Origin, Outcome, Problem, UpdateFailed, Violation
from service.domain.json_value import JsonValue
from service.domain.step import BODY, SUBJECT, FieldChange, Provider, StepUpdate, StepWarning
from service.providers.adapter import Calls, Plan, ProviderRequest, ProviderResponse, RateWindow, Write
from service.providers.planning import (
    Template,
    Variant,
    custom_field_changes,
    custom_field_violations,
    no_such_step,
    no_template,
    shared_template,
    template_changes,
    template_warnings,
    unreadable_template,
    with_no_change,
)
from service.providers.responses import cause, code_of, decode, encode, nonsense, redact, retry_after
from service.upstream.oauth import OAuthEndpoint

_ID: Final = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)

# Names that would make a step another step, or hang it elsewhere.
_FIXED_FIELDS: Final = frozenset(
    {"id", "type", "stepType", "attributes", "relationships", "links", "sequence", "sequenceId", "sequenceTemplates"}
)

# Sparse fieldsets leave out relationships that are not named, too.
_TEMPLATE_QUERY: Final = (
    "include=template,sequenceStep.sequence"
    "&fields[sequenceTemplate]=enabled,isReply,sequenceStep,template"
    "&fields[template]=subject,bodyHtml,archived"
    "&fields[sequence]=enabled"
    "&count=false"
)
_STEP_FIELDS: Final = "&fields[sequenceStep]=stepType,sequence"


class _Reference(msgspec.Struct):
    id: int


class _ToOne(msgspec.Struct):
    data: _Reference | None = None


class _Relationships(msgspec.Struct, rename="camel"):
    sequence: _ToOne | None = None
    sequence_step: _ToOne | None = None
    template: _ToOne | None = None


class _Attributes(msgspec.Struct, rename="camel"):
    enabled: bool | None = None
    is_reply: bool | None = None
    step_type: str | None = None
    subject: str | None = None
    body_html: str | None = None
    archived: bool | None = None


class _Resource(msgspec.Struct):
    id: int
    type: str
    attributes: _Attributes | None = None
    relationships: _Relationships | None = None


class _Collection(msgspec.Struct):
    data: list[_Resource]
    included: list[_Resource] | None = None


class _Single(msgspec.Struct):
    data: _Resource
    included: list[_Resource] | None = None


class _RawResource(msgspec.Struct):
    id: int
    type: str
    attributes: dict[str, JsonValue] | None = None


class _RawIncluded(msgspec.Struct):
    included: list[_RawResource] | None = None


class _RawSingle(msgspec.Struct):
    data: _RawResource


class _Source(msgspec.Struct):
    pointer: JsonValue = None
    parameter: JsonValue = None


class _Error(msgspec.Struct):
    id: JsonValue = None
    title: JsonValue = None
    detail: JsonValue = None
    details: JsonValue = None
    source: _Source | None = None


class _Errors(msgspec.Struct):
    errors: list[_Error]


_COLLECTION: Final = msgspec.json.Decoder(_Collection)


class Outreach:
    """The adapter for Outreach.

    Attributes:
        base_url: Where its API is, `https://api.outreach.io/api/v2` unless told otherwise.
    """

    provider = Provider.OUTREACH

    def __init__(self, base_url: str) -> None:
        root = base_url.rstrip("/")
        self.base_url = f"{root}/api/v2"
        self.tokens = OAuthEndpoint(self.provider, f"{root}/oauth/token")

    def violations(self, update: StepUpdate) -> Sequence[Violation]:
        """Ids are integers (documented)."""
        rule = "An Outreach id is a positive integer in decimal."
        found = [
            Violation(name, rule)
            for name, value in (("sequence_id", update.sequence_id), ("sequence_step_id", update.sequence_step_id))
            if not _ID.fullmatch(value)
        ]
        return found + custom_field_violations(update, _FIXED_FIELDS)

    def headers(self, credentials: Credentials) -> Mapping[str, str]:
        """Every request, a GET too, names the JSON:API media type, or is answered 415 (documented)."""
        match credentials:
            case OAuthCredentials(access_token=token) | ApiKeyCredentials(api_key=token):
                return {
                    "Accept": "application/vnd.api+json",
                    "Content-Type": "application/vnd.api+json",
                    "Authorization": f"Bearer {token.reveal()}",
                }

    def probe(self) -> ProviderRequest:
        """The smallest page of the resource that every update reads first."""
        return ProviderRequest(
            "GET", _url("/sequenceTemplates?page[size]=1&count=false"), "sequenceTemplates", "sequenceTemplates.read"
        )

    async def plan(self, update: StepUpdate, calls: Calls) -> Plan:
        """Reads the step with its variants, templates and sequence in one call.

        A step without variants costs a second read, to tell a call step from one that does not exist. With
        `validate_only`, one more read finds the other steps that use the template.
        """
        if not update.changes_template:
            return await self._plan_fields_only(update, calls)
        query = _TEMPLATE_QUERY if update.custom_fields else _TEMPLATE_QUERY + _STEP_FIELDS
        answer = await calls.read(
            ProviderRequest(
                "GET",
                _url(f"/sequenceTemplates?filter[sequenceStep][id]={update.sequence_step_id}&{query}"),
                "sequenceTemplates",
                "sequenceTemplates.read, templates.read, sequenceSteps.read and sequences.read",
            )
        )
        found = decode(self.provider, answer, _COLLECTION)
        if not found.data:
            raise await self._why_no_template(update, calls)
        raw = decode(self.provider, answer, _RawIncluded).included if update.custom_fields else None
        held_fields = next(
            (
                each.attributes or {}
                for each in raw or []
                if (each.type, str(each.id)) == ("sequenceStep", update.sequence_step_id)
            ),
            {},
        )
        plan = decide(update, found, held_fields)
        if update.validate_only and any(write.request.endpoint == "templates" for write in plan.writes):
            template_id = plan.writes[0].request.path.rpartition("/")[2]
            plan = _with_sharing(plan, template_id, await self._sharing(update, template_id, calls))
        return plan

    async def _plan_fields_only(self, update: StepUpdate, calls: Calls) -> Plan:
        answer = await calls.read(_step_read(update))
        step = decode(self.provider, answer, _Single)
        _prove_membership(update, step.data)
        held = decode(self.provider, answer, _RawSingle).data.attributes or {}
        changes = custom_field_changes(update, held)
        writes = (_step_write(step.data.id, changes),) if changes else ()
        return with_no_change(Plan(writes), active=_sequence_is_on(update, step.included))

    async def _why_no_template(self, update: StepUpdate, calls: Calls) -> UpdateFailed:
        step = decode(self.provider, await calls.read(_step_read(update)), _Single).data
        _prove_membership(update, step)
        return no_template(update, step.attributes.step_type if step.attributes else None)

    async def _sharing(self, update: StepUpdate, template_id: str, calls: Calls) -> list[str]:
        answer = await calls.read(
            ProviderRequest(
                "GET",
                _url(
                    f"/sequenceTemplates?filter[template][id]={template_id}"
                    "&fields[sequenceTemplate]=sequenceStep&count=false"
                ),
                "sequenceTemplates",
                "sequenceTemplates.read",
            )
        )
        users = {_to_one(each, "sequence_step") for each in decode(self.provider, answer, _COLLECTION).data}
        return [
            str(step)
            for step in sorted(step for step in users if step is not None)
            if str(step) != update.sequence_step_id
        ]

    def problems(
        self, request: ProviderRequest, answer: ProviderResponse, connection: Connection
    ) -> tuple[Problem, ...]:
        """Errors are JSON:API's, several at once; some say `details` for `detail` (documented)."""
        if 200 <= answer.status < 300:
            return ()
        shown = cause(answer)
        try:
            errors = msgspec.json.decode(answer.body, type=_Errors).errors
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            errors = []
        code = code_of(answer.status)
        wait = None
        if answer.status in (429, 503):
            names = ("retry-after", "x-ratelimit-reset") if answer.status == 429 else ("retry-after",)
            wait = retry_after(answer.headers, *names, now=time.time())
        return tuple(
            Problem(
                code,
                redact(_detail(request, answer.status, error, connection), answer),
                title=redact(error.title, answer)[:200] if isinstance(error.title, str) and error.title else None,
                origin=Origin.PROVIDER,
                cause=shown,
                retry_after=wait,
            )
            for error in errors[:100] or [_Error()]
        )

    def rate_scope(self, request: ProviderRequest) -> str:  # noqa: ARG002  # the same for all
        """Outreach counts by user, whatever is called (documented)."""
        return "its API"

    def rate_windows(self, answer: ProviderResponse) -> Sequence[RateWindow]:
        """One window of an hour for each user (documented)."""
        left = answer.headers.get("x-ratelimit-remaining", "")
        if not left.isdecimal():
            return ()
        # When it ends is only of interest when nothing is left.
        ends_in = retry_after(answer.headers, "x-ratelimit-reset", now=time.time()) if int(left) == 0 else None
        return (RateWindow("hourly", int(left), 3600.0, ends_in),)


def decide(update: StepUpdate, found: _Collection, held_fields: Mapping[str, JsonValue]) -> Plan:
    """What the update comes to, given the step's variants as Outreach holds them.

    Args:
        update: What is wanted.
        found: The step's sequenceTemplates, at least one, with what they include.
        held_fields: The step's attributes; needed only for custom fields.

    Raises:
        UpdateFailed: The step is not in the sequence, or has no template that could be changed.
    """
    included = {(each.type, each.id): each for each in found.included or []}
    step = included.get(("sequenceStep", int(update.sequence_step_id)))
    if step is None:
        raise no_such_step(update)
    _prove_membership(update, step)
    live = [each for each in found.data if each.attributes and each.attributes.enabled]
    variant = (live or found.data)[0]
    template_id = _to_one(variant, "template")
    held = included.get(("template", template_id)) if template_id is not None else None
    if held is None:
        raise unreadable_template(update, template_id)
    text = held.attributes or _Attributes()
    template = Template(str(held.id), text.subject, text.body_html, archived=bool(text.archived))
    is_reply = bool(variant.attributes and variant.attributes.is_reply)
    warnings = template_warnings(update, template, Variant(len(found.data), is_reply), ())
    writes = []
    if changes := template_changes(update, template):
        writes.append(_template_write(held.id, changes))
    if changes := custom_field_changes(update, held_fields):
        writes.append(_step_write(step.id, changes))
    return with_no_change(Plan(tuple(writes), tuple(warnings)), active=_sequence_is_on(update, found.included))


def _prove_membership(update: StepUpdate, step: _Resource) -> None:
    if _to_one(step, "sequence") != int(update.sequence_id):
        raise no_such_step(update)


def _sequence_is_on(update: StepUpdate, included: Sequence[_Resource] | None) -> bool:
    return any(
        each.type == "sequence"
        and each.id == int(update.sequence_id)
        and bool(each.attributes and each.attributes.enabled)
        for each in included or ()
    )


def _to_one(resource: _Resource, name: str) -> int | None:
    link: _ToOne | None = getattr(resource.relationships, name, None)
    return link.data.id if link is not None and link.data is not None else None


def _with_sharing(plan: Plan, template_id: str, sharing: Sequence[str]) -> Plan:
    warnings: tuple[StepWarning, ...] = (shared_template(template_id, sharing),) if sharing else ()
    return Plan(plan.writes, warnings + plan.warnings)


def _url(path: str) -> str:
    """The path with the brackets of JSON:API's parameters percent-encoded."""
    return path.replace("[", "%5B").replace("]", "%5D")


def _step_read(update: StepUpdate) -> ProviderRequest:
    return ProviderRequest(
        "GET",
        _url(f"/sequenceSteps/{update.sequence_step_id}?include=sequence&fields[sequence]=enabled"),
        "sequenceSteps",
        "sequenceSteps.read and sequences.read",
    )


def _template_write(template_id: int, changes: Sequence[FieldChange]) -> Write:
    return _patch("template", "templates", template_id, {"subject": SUBJECT, "bodyHtml": BODY}, changes)


def _step_write(sequence_step_id: int, changes: Sequence[FieldChange]) -> Write:
    names = {change.field.partition(".")[2]: change.field for change in changes}
    return _patch("sequenceStep", "sequenceSteps", sequence_step_id, names, changes)


def _patch(
    kind: str, collection: str, resource_id: int, names: Mapping[str, str], changes: Sequence[FieldChange]
) -> Write:
    wanted = {change.field: change.after for change in changes}
    attributes = {name: wanted[field] for name, field in names.items() if field in wanted}
    request = ProviderRequest(
        "PATCH",
        f"/{collection}/{resource_id}",
        collection,
        f"{collection}.write",
        encode({"data": {"type": kind, "id": resource_id, "attributes": attributes}}),
    )
    return Write(request, tuple(changes), partial(_stored, names))


def _stored(names: Mapping[str, str], answer: ProviderResponse) -> Mapping[str, JsonValue]:
    try:
        held = msgspec.json.decode(answer.body, type=_RawSingle).data.attributes or {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpdateFailed(nonsense(Provider.OUTREACH, answer, f"{error}", Outcome.UNKNOWN)) from None
    return {field: held[name] for name, field in names.items() if name in held}


def _detail(request: ProviderRequest, status: int, error: _Error, connection: Connection) -> str:
    words = next((text for text in (error.detail, error.details, error.title) if isinstance(text, str) and text), None)
    told = " ".join((words or "no reason given").split())[:500].rstrip(".") + "."
    where = error.source and (error.source.pointer or error.source.parameter)
    at = f" at {str(where)[:200]}" if where else ""
    return f"Outreach answered {status} to {request.endpoint}{at}: {told} {_advice(request, status, error, connection)}".rstrip()


def _advice(request: ProviderRequest, status: int, error: _Error, connection: Connection) -> str:
    customer = connection.customer_id
    if status == 403 and error.id == "unauthorizedOauthScope":
        return f"Reconnect customer {customer} to Outreach with the scopes {request.needs}."
    return {
        401: f"Reconnect customer {customer} to Outreach.",
        403: f"Ask an Outreach administrator of customer {customer} to allow it to the user who connected.",
        404: "Check the ids; the record may have been deleted.",
        422: "Correct the value and repeat the call.",
        429: "The user's hour is used up; wait until it is over before the next call.",
        503: "Outreach is under maintenance; try again later.",
    }.get(status, "")
