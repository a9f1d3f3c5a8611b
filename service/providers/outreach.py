"""Outreach: a JSON:API provider whose steps are joined to templates by sequenceTemplates.

Facts (documented, August 2026): every request sends `Content-Type: application/vnd.api+json`; ids are integers in bodies;
`sequenceTemplates` can be filtered by step and include the template, the step and its sequence; `PATCH` changes only the
attributes that are sent, and refuses read-only ones.
"""

import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Final

import msgspec

from service.domain.credentials import ApiKeyCredentials, Connection, Credentials, OAuthCredentials
from service.domain.errors import Origin, Outcome, Problem, UpdateFailed, Violation
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
    shared_template,
    template_fields,
    template_warnings,
    unreadable_template,
    with_no_change,
)
from service.providers.responses import cause, code_of, decode, encode, redact, retry_after, unreadable

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
        base_url: Where its API is.
        token_url: Where it renews OAuth tokens.
    """

    provider: ClassVar[Provider] = Provider("outreach")
    credential_kinds: ClassVar[tuple[type[Credentials], ...]] = (OAuthCredentials,)
    urls: ClassVar[UrlSettings] = {
        "base_url": UrlSetting(
            "https://api.outreach.io", "Where Outreach is; `/api/v2` and `/oauth/token` are below it.", "Outreach"
        )
    }
    unsupported: ClassVar[str] = ""

    def __init__(self, base_url: str) -> None:
        root = base_url.rstrip("/")
        self.base_url = f"{root}/api/v2"
        self.token_url = f"{root}/oauth/token"

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

    async def plan(self, update: StepUpdate, reader: Reader) -> Plan:
        """Reads the step with its variants, templates and sequence in one call.

        A step without variants costs a second read, to tell a call step from one that does not exist. With
        `validate_only`, one more read finds the other steps that use the template.
        """
        if not update.changes_template:
            return await self._plan_fields_only(update, reader)
        query = _TEMPLATE_QUERY if update.custom_fields else _TEMPLATE_QUERY + _STEP_FIELDS
        response = await reader.read(
            ProviderRequest(
                "GET",
                _url(f"/sequenceTemplates?filter[sequenceStep][id]={update.sequence_step_id}&{query}"),
                "sequenceTemplates",
                "sequenceTemplates.read, templates.read, sequenceSteps.read and sequences.read",
            )
        )
        found = decode(self.provider, response, _COLLECTION)
        if not found.data:
            raise await self._why_no_template(update, reader)
        raw = decode(self.provider, response, _RawIncluded).included if update.custom_fields else None
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
            plan = _with_sharing(plan, template_id, await self._sharing(update, template_id, reader))
        return plan

    async def _plan_fields_only(self, update: StepUpdate, reader: Reader) -> Plan:
        response = await reader.read(_step_read(update))
        step = decode(self.provider, response, _Single)
        _prove_membership(update, step.data)
        held = decode(self.provider, response, _RawSingle).data.attributes or {}
        fields = custom_fields(update, held)
        writes = (_step_write(step.data.id, fields),) if fields else ()
        return with_no_change(Plan(writes), active=_sequence_is_on(update, step.included))

    async def _why_no_template(self, update: StepUpdate, reader: Reader) -> UpdateFailed:
        step = decode(self.provider, await reader.read(_step_read(update)), _Single).data
        _prove_membership(update, step)
        return no_template(update, step.attributes.step_type if step.attributes else None)

    async def _sharing(self, update: StepUpdate, template_id: str, reader: Reader) -> list[str]:
        response = await reader.read(
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
        users = {_to_one(each, "sequence_step") for each in decode(self.provider, response, _COLLECTION).data}
        return [
            str(step)
            for step in sorted(step for step in users if step is not None)
            if str(step) != update.sequence_step_id
        ]

    def problems(
        self, request: ProviderRequest, response: ProviderResponse, connection: Connection
    ) -> tuple[Problem, ...]:
        """Errors are JSON:API's, several at once; some say `details` for `detail` (documented)."""
        if 200 <= response.status < 300:
            return ()
        shown = cause(response)
        try:
            errors = msgspec.json.decode(response.body, type=_Errors).errors
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            errors = []
        code = code_of(response.status)
        wait = None
        if response.status in (429, 503):
            names = ("retry-after", "x-ratelimit-reset") if response.status == 429 else ("retry-after",)
            wait = retry_after(response.headers, *names, now=time.time())
        return tuple(
            Problem(
                code,
                redact(_detail(request, response.status, error, connection), response),
                title=redact(error.title, response)[:200] if isinstance(error.title, str) and error.title else None,
                origin=Origin.PROVIDER,
                cause=shown,
                retry_after=wait,
            )
            for error in errors[:100] or [_Error()]
        )

    def rate_scope(self, request: ProviderRequest) -> str:  # noqa: ARG002  # the same for all
        """Outreach counts by user, whatever is called (documented)."""
        return "its API"

    def rate_windows(self, response: ProviderResponse) -> Sequence[RateWindow]:
        """One window of an hour for each user (documented)."""
        left = response.headers.get("x-ratelimit-remaining", "")
        if not left.isdecimal():
            return ()
        # When it ends is only of interest when nothing is left.
        ends_in = retry_after(response.headers, "x-ratelimit-reset", now=time.time()) if int(left) == 0 else None
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
    if fields := template_fields(update, template):
        writes.append(_template_write(held.id, fields))
    if fields := custom_fields(update, held_fields):
        writes.append(_step_write(step.id, fields))
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


def _template_write(template_id: int, fields: Sequence[FieldChange]) -> Write:
    return _patch("template", "templates", template_id, {"subject": SUBJECT, "bodyHtml": BODY}, fields)


def _step_write(sequence_step_id: int, fields: Sequence[FieldChange]) -> Write:
    names = {field.field.partition(".")[2]: field.field for field in fields}
    return _patch("sequenceStep", "sequenceSteps", sequence_step_id, names, fields)


def _patch(
    kind: str, collection: str, resource_id: int, names: Mapping[str, str], fields: Sequence[FieldChange]
) -> Write:
    wanted = {field.field: field.after for field in fields}
    attributes = {name: wanted[field] for name, field in names.items() if field in wanted}
    request = ProviderRequest(
        "PATCH",
        f"/{collection}/{resource_id}",
        collection,
        f"{collection}.write",
        encode({"data": {"type": kind, "id": resource_id, "attributes": attributes}}),
    )
    return Write(request, tuple(fields), partial(_stored, names))


def _stored(names: Mapping[str, str], response: ProviderResponse) -> Mapping[str, JsonValue]:
    try:
        held = msgspec.json.decode(response.body, type=_RawSingle).data.attributes or {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpdateFailed(unreadable(Outreach.provider, response, f"{error}", Outcome.UNKNOWN)) from None
    return {field: held[name] for name, field in names.items() if name in held}


def _detail(request: ProviderRequest, status: int, error: _Error, connection: Connection) -> str:
    words = next((text for text in (error.detail, error.details, error.title) if isinstance(text, str) and text), None)
    text = " ".join((words or "no reason given").split())[:500].rstrip(".") + "."
    where = error.source and (error.source.pointer or error.source.parameter)
    at = f" at {str(where)[:200]}" if where else ""
    return f"Outreach answered {status} to {request.endpoint}{at}: {text} {_advice(request, status, error, connection)}".rstrip()


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
