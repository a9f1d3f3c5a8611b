"""Outreach: a JSON:API provider whose steps are joined to templates by sequenceTemplates.

Facts (documented, August 2026): every request sends `Content-Type: application/vnd.api+json`; ids are integers in bodies;
`sequenceTemplates` can be filtered by step and include the template, the step and its sequence; `PATCH` changes only the
attributes that are sent, and refuses read-only ones.
"""

import re
import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import ClassVar, Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from service.domain.credentials import ApiKeyCredentials, Connection, Credentials, OAuthCredentials
from service.domain.errors import Origin, Outcome, Problem, UpdateFailed, Violation
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
    objects,
    redact,
    response_failure,
    retry_after,
    shown_fields,
    text_member,
    unreadable,
    whole_number,
)

_ID: Final = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_ID_RULE: Final = "An Outreach id is a positive integer in decimal."
_LINK: Final = re.compile(r"[!-~]{1,4000}")

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
)
# What an etag covers: the attributes of a step that can be set (documented).
_COVERED_FIELDS: Final = ("order", "interval", "date", "taskNote", "taskAutoskipDelay")
_STEP_FIELDS: Final = f"&fields[sequenceStep]=stepType,sequence,{','.join(_COVERED_FIELDS)}"


_TEMPLATE_NEEDS: Final = "sequenceTemplates.read, templates.read, sequenceSteps.read and sequences.read"

_STEPS_QUERY: Final = (
    "include=sequence,sequenceTemplates.template"
    f"&fields[sequenceStep]=stepType,sequence,sequenceTemplates,{','.join(_COVERED_FIELDS)}"
    "&fields[sequenceTemplate]=enabled,isReply,sequenceStep,template"
    "&fields[template]=subject,bodyHtml,archived"
    "&fields[sequence]=name,enabled"
)

# Collections have pages of 50 and at the most 1000 (documented); what is counted or searched goes over all of them.
_PAGE: Final = "&page[size]=1000&count=false"
_MAX_PAGES: Final = 50

_ACCEPTED: Final = 202
_UNAUTHORIZED: Final = 401
_VALUE_REFUSALS: Final = frozenset({400, 422})
_NO_CONTENT: Final = 204

# What an error has (JSON:API); gateways have lists of errors of other members, which blame nobody.
_ERROR_MEMBERS: Final = frozenset({"id", "status", "code", "title", "detail", "details", "source"})
_BLAMING_STATUSES: Final = frozenset({401, 403, 404})


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
    # By its OpenAPI document: `subject` and `bodyHtml` of a template are nullable, and not read-only.
    clears_texts: ClassVar[bool] = True

    def __init__(self, base_url: str) -> None:
        root = base_url.rstrip("/")
        self.base_url = f"{root}/api/v2"
        self.token_url = f"{root}/oauth/token"

    def violations(self, update: StepUpdate) -> Sequence[Violation]:
        """Ids are integers (documented)."""
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
        """Reads the step with its variants, templates and sequence in one request.

        A step without variants costs a second read, to tell a call step from one that does not exist. With
        `validate_only`, and to leave a template that others use, one more read finds the other steps that use it.
        """
        if not update.changes_template:
            response = await reader.read(_step_read(update))
            document = decode_object(self.provider, response)
            return decide_fields(update, document)
        query = _TEMPLATE_QUERY if update.custom_fields else _TEMPLATE_QUERY + _STEP_FIELDS
        first, variants, included = await self._read_all(
            "sequenceTemplates",
            f"filter[sequenceStep][id]={update.sequence_step_id}&{query}",
            _TEMPLATE_NEEDS,
            reader,
        )
        if not variants:
            document = decode_object(self.provider, await reader.read(_step_read(update)))
            step = _resource(update, document.get("data"), "sequenceStep", update.sequence_step_id)
            _require_membership(update, step)
            raise StepHasNoTemplate(update, _attributes(step).get("stepType"))
        plan = decide(update, first, variants, included)
        if (update.validate_only or update.refuse_shared) and reader.is_needed(plan.writes[0]):
            sharing = await self._sharing(update, plan.content.template_id, reader)
            if sharing:
                warning = shared_template(plan.content.template_id, sharing)
                return replace(plan, write_warnings=(warning, *plan.write_warnings), sharing=tuple(sharing))
        return plan

    async def read(self, query: StepQuery, reader: Reader) -> ShownSequence:
        """Reads a step as for an update; or the steps of a sequence, and the sequence itself if it has none."""
        if not query.sequence_step_id:
            return await self._read_sequence(query, reader)
        _, variants, included = await self._read_all(
            "sequenceTemplates",
            f"filter[sequenceStep][id]={query.sequence_step_id}&{_TEMPLATE_QUERY}{_STEP_FIELDS}",
            _TEMPLATE_NEEDS,
            reader,
        )
        if variants:
            step = _resource(query, _included(included, "sequenceStep", query.sequence_step_id), "sequenceStep")
        else:
            document = decode_object(self.provider, await reader.read(_step_read(query)))
            step = _resource(query, document.get("data"), "sequenceStep", query.sequence_step_id)
            included = objects(document.get("included"))
        _require_membership(query, step)
        shown = _shown_step(step, variants, _templates(included))
        if query.with_sharing:
            users, are_all = await self._users([each.template_id for each in shown.variants], reader)
            shown = _with_users(shown, users, is_complete=are_all)
        return _shown_sequence(query, _included(included, "sequence", query.sequence_id), [shown])

    async def _read_sequence(self, query: StepQuery, reader: Reader) -> ShownSequence:
        _, steps, included = await self._read_all(
            "sequenceSteps",
            f"filter[sequence][id]={query.sequence_id}&{_STEPS_QUERY}",
            _TEMPLATE_NEEDS,
            reader,
        )
        sequence = _included(included, "sequence", query.sequence_id)
        if not steps:
            request = ProviderRequest(
                "GET",
                _url(f"/sequences/{query.sequence_id}?fields[sequence]=name,enabled"),
                "sequences",
                "sequences.read",
            )
            document = decode_object(self.provider, await reader.read(request))
            sequence = _resource(query, document.get("data"), "sequence", query.sequence_id)
        return show(query, steps, included, sequence)

    async def _sharing(self, update: StepUpdate, template_id: str, reader: Reader) -> list[str]:
        """The other steps that use a template.

        Raises:
            UpdateFailed: None is shown, nor that there is none: not even this step is, or a use is without its step.
        """
        users, are_all = await self._users([template_id], reader)
        steps, own = users.get(int(template_id), set()), int(update.sequence_step_id)
        others = [str(step) for step in sorted(steps - {own})]
        if update.refuse_shared and not others and not (are_all and own in steps):
            raise NotShown(update, "which steps use the template")
        return others

    async def _users(self, template_ids: Sequence[str], reader: Reader) -> tuple[dict[int, set[int]], bool]:
        """The steps that use each of some templates, and whether these are all that do, as far as that can be seen."""
        named = ",".join(sorted({template_id for template_id in template_ids if template_id}))
        if not named:
            return {}, True
        _, found, _ = await self._read_all(
            "sequenceTemplates",
            f"filter[template][id]={named}&fields[sequenceTemplate]=sequenceStep,template",
            "sequenceTemplates.read",
            reader,
        )
        users: dict[int, set[int]] = {}
        are_all = True
        for each in found:
            template, step = _to_one(each, "template"), _to_one(each, "sequenceStep")
            if template is not None and step is not None:
                users.setdefault(template, set()).add(step)
            else:
                are_all = are_all and (_is_empty(each, "template") or _is_empty(each, "sequenceStep"))
        return users, are_all

    async def _read_all(
        self, collection: str, query: str, needs: str, reader: Reader
    ) -> tuple[ProviderResponse, list[dict[str, JsonValue]], list[dict[str, JsonValue]]]:
        """All pages of a collection: the first response, the resources, and what they include.

        Raises:
            UpdateFailed: A page could not be had, is no collection, or does not end.
        """
        first: ProviderResponse | None = None
        found: list[dict[str, JsonValue]] = []
        included: list[dict[str, JsonValue]] = []
        page = _url(f"/{collection}?{query}{_PAGE}")
        read: set[str] = set()
        while page not in read and len(read) < _MAX_PAGES:
            read.add(page)
            response = await reader.read(ProviderRequest("GET", page, collection, needs))
            first = first or response
            document = decode_object(self.provider, response)
            if not isinstance(document.get("data"), list):
                raise UpdateFailed(unreadable(self.provider, response, "`data` is no array"))
            found += objects(document["data"])
            included += objects(document.get("included"))
            following = _next_page(collection, document)
            if following is None:
                return first, found, included
            page = following
        raise UpdateFailed(unreadable(self.provider, response, "the pages of the collection do not end"))

    def failure(
        self, request: ProviderRequest, response: ProviderResponse, connection: Connection
    ) -> ResponseFailure | None:
        """Errors are JSON:API's, several at once; some say `details` for `detail` (documented)."""
        status = response.status
        if 200 <= status < 300:
            return failure_in_between(self.provider, request, response) if is_page_of_edge(response) else None
        errors = _own_errors(response)
        if not errors:
            return failure_in_between(self.provider, request, response)
        shown = cause(response)
        wait = None
        if status in (429, 503):
            names = ("retry-after", "x-ratelimit-reset") if status == 429 else ("retry-after",)
            wait = retry_after(response.headers, *names, now=time.time())
        problems = [
            Problem(
                code_of(status),
                redact(_detail(request, status, error), response),
                advice=_advice(request, status, error, connection),
                title=redact(error["title"], response)[:200]
                if isinstance(error.get("title"), str) and error["title"]
                else None,
                origin=Origin.PROVIDER,
                cause=shown,
                retry_after=wait,
                facts={"endpoint": request.endpoint, "needs": request.needs}
                if error.get("id") == "unauthorizedOauthScope"
                else {"endpoint": request.endpoint},
            )
            for error in errors[:100]
        ]
        # In maintenance nothing is carried out (documented).
        is_maintenance = status == 503 and errors[0].get("id") == "scheduledServerMaintenance"
        return response_failure(problems, response, refused=is_maintenance or None, credentials_refused=status == 401)

    def rate_scope(self, request: ProviderRequest) -> str:  # noqa: ARG002  # the same for all
        """Outreach counts by user, whatever is called (documented)."""
        return "its API"

    def rate_windows(self, response: ProviderResponse) -> Sequence[RateWindow]:
        """One window of an hour for each user (documented)."""
        left = whole_number(response.headers.get("x-ratelimit-remaining", ""))
        if left is None:
            return ()
        # When it ends is only of interest when nothing is left.
        ends_in = retry_after(response.headers, "x-ratelimit-reset", now=time.time()) if not left else None
        return (RateWindow("hourly", left, 3600.0, ends_in),)


def decide(
    update: StepUpdate,
    response: ProviderResponse,
    variants: Sequence[Mapping[str, JsonValue]],
    included: Sequence[Mapping[str, JsonValue]],
) -> Plan:
    """What the update comes to, given the step's variants as Outreach shows them.

    Members that the update does not need may be missing or odd.

    Args:
        update: What is wanted.
        response: The response that shows them.
        variants: The step's sequenceTemplates, at least one.
        included: What they include.

    Raises:
        UpdateFailed: The step is not in the sequence, has no template that could be changed, or is not shown.
    """
    step = _resource(update, _included(included, "sequenceStep", update.sequence_step_id), "sequenceStep")
    _require_membership(update, step)
    named: list[Mapping[str, JsonValue]] = []
    if update.variant:
        named = [each for each in variants if _to_one(each, "template") == int(update.variant)]
    if update.variant and not named:
        raise VariantNotFound(update, [str(used) for each in variants if (used := _to_one(each, "template"))])
    live = [each for each in named or variants if _attributes(each).get("enabled") is True]
    chosen = (live or named or variants)[0]
    template_id = _to_one(chosen, "template")
    if template_id is None:
        raise VariantHasNoTemplate(update) if _is_empty(chosen, "template") else NotShown(update, "its template")
    resource = _included(included, "template", template_id)
    if resource is None:
        raise TemplateNotShown(update, template_id)
    text, where = _attributes(resource), f"template {template_id}"
    template = Template(
        str(template_id),
        text_member(Outreach.provider, response, text, "subject", where) if update.needs_subject else None,
        text_member(Outreach.provider, response, text, "bodyHtml", where) if update.needs_body else None,
        archived=text.get("archived") is True,
    )
    variant = Variant(
        str(_id(chosen.get("id")) or ""),
        len(variants),
        is_live=bool(live),
        is_reply=_attributes(chosen).get("isReply") is True,
        twins=sum(each is not chosen and _to_one(each, "template") == template_id for each in variants),
    )
    writes = [_template_write(template_id, template_fields(update, template))]
    writes += _step_writes(update, step)
    content = StepContent(template.id, texts_of(text, "subject", "bodyHtml"), _covered(step))
    warnings = tuple(template_warnings(update, template, variant))
    return Plan(tuple(writes), warnings, _if_written(update, included), content)


def decide_fields(update: StepUpdate, document: Mapping[str, JsonValue]) -> Plan:
    """What an update of custom fields alone comes to, given the step as Outreach shows it.

    Raises:
        UpdateFailed: The step is not in the sequence, or is not shown.
    """
    step = _resource(update, document.get("data"), "sequenceStep", update.sequence_step_id)
    _require_membership(update, step)
    if_written = _if_written(update, objects(document.get("included")))
    return Plan(tuple(_step_writes(update, step)), (), if_written, StepContent(fields=_covered(step)))


def show(
    query: StepQuery,
    steps: Sequence[Mapping[str, JsonValue]],
    included: Sequence[Mapping[str, JsonValue]],
    sequence: Mapping[str, JsonValue] | None,
) -> ShownSequence:
    """A sequence with its steps as Outreach shows them; what is odd or not shown of one of them is left out.

    Raises:
        UpdateFailed: A step or one of its variants is not shown.

    Args:
        query: What is wanted.
        steps: The sequenceSteps of the sequence.
        included: What they include.
        sequence: The sequence itself, if it is shown.
    """
    variants: dict[int | None, list[Mapping[str, JsonValue]]] = {}
    users: dict[int, set[int]] = {}
    for each in sorted(included, key=lambda each: _id(each.get("id")) or 0):
        if each.get("type") == "sequenceTemplate":
            step_id, template_id = _to_one(each, "sequenceStep"), _to_one(each, "template")
            variants.setdefault(step_id, []).append(each)
            if template_id is not None and step_id is not None:
                users.setdefault(template_id, set()).add(step_id)
    shown = []
    templates = _templates(included)
    for step in steps:
        step_id = _id(step.get("id"))
        own = variants.get(step_id, [])
        if step_id is None or not {*_to_many(step, "sequenceTemplates")} <= {_id(each.get("id")) for each in own}:
            raise NotShown(query, "its steps with all of their variants")
        if _to_one(step, "sequence") in (None, int(query.sequence_id)):
            shown.append(_with_users(_shown_step(step, own, templates), users, is_complete=False))
    shown.sort(key=lambda step: step.order or 0)
    return _shown_sequence(query, sequence, shown)


def _shown_sequence(
    query: StepQuery, sequence: Mapping[str, JsonValue] | None, steps: Sequence[ShownStep]
) -> ShownSequence:
    attributes = _attributes(sequence or {})
    name, enabled = attributes.get("name"), attributes.get("enabled")
    return ShownSequence(
        query.sequence_id,
        name if isinstance(name, str) else "",
        enabled if isinstance(enabled, bool) else None,
        None,
        tuple(steps),
    )


def _templates(included: Sequence[Mapping[str, JsonValue]]) -> dict[int | None, Mapping[str, JsonValue]]:
    return {_id(each.get("id")): each for each in included if each.get("type") == "template"}


def _shown_step(
    step: Mapping[str, JsonValue],
    variants: Sequence[Mapping[str, JsonValue]],
    templates: Mapping[int | None, Mapping[str, JsonValue]],
) -> ShownStep:
    live = [each for each in variants if _attributes(each).get("enabled") is True]
    default = next(iter(live or variants), None)
    attributes = _attributes(step)
    kind = attributes.get("stepType")
    return ShownStep(
        str(_id(step.get("id"))),
        kind if isinstance(kind, str) else "",
        whole(attributes.get("order"), MAX_ORDER),
        whole(attributes.get("interval"), MAX_SECONDS),
        tuple(_shown_variant(each, templates, is_default=each is default) for each in variants),
        _covered(step),
    )


def _shown_variant(
    variant: Mapping[str, JsonValue], templates: Mapping[int | None, Mapping[str, JsonValue]], *, is_default: bool
) -> ShownVariant:
    template_id = _to_one(variant, "template")
    text = _attributes(templates.get(template_id, {}))
    return ShownVariant(
        variant_id=str(_id(variant.get("id")) or ""),
        template_id=str(template_id or ""),
        texts=texts_of(text, "subject", "bodyHtml"),
        is_live=_attributes(variant).get("enabled") is True,
        is_reply=_attributes(variant).get("isReply") is True,
        is_archived=text.get("archived") is True,
        is_default=is_default,
    )


def _with_users(step: ShownStep, users: Mapping[int, set[int]], *, is_complete: bool) -> ShownStep:
    """The step with the other steps that use its templates; they are not all where it is not among them itself."""
    own = int(step.sequence_step_id)
    variants = []
    for each in step.variants:
        found = users.get(int(each.template_id), set()) if each.template_id else set()
        sharing = tuple(str(user) for user in sorted(found - {own}))
        variants.append(replace(each, sharing=sharing, is_sharing_complete=is_complete and own in found))
    return replace(step, variants=tuple(variants))


def _covered(step: Mapping[str, JsonValue]) -> Mapping[str, JsonValue] | None:
    """The attributes of a step that an etag covers; None if none are shown."""
    attributes = step.get("attributes")
    return {name: attributes.get(name) for name in _COVERED_FIELDS} if isinstance(attributes, dict) else None


def _resource(update: StepRef, value: JsonValue, kind: str, resource_id: object = None) -> dict[str, JsonValue]:
    """A resource that the update needs.

    Raises:
        UpdateFailed: It is not shown, or something else is.
    """
    if not isinstance(value, dict) or value.get("type") != kind:
        raise NotShown(update, f"the {kind}")
    if resource_id is not None and _id(value.get("id")) != int(str(resource_id)):
        raise NotShown(update, f"{kind} {resource_id}, but another one")
    return value


def _included(
    included: Sequence[Mapping[str, JsonValue]], kind: str, resource_id: object
) -> Mapping[str, JsonValue] | None:
    wanted = int(str(resource_id))
    return next((each for each in included if each.get("type") == kind and _id(each.get("id")) == wanted), None)


def _require_membership(update: StepRef, step: Mapping[str, JsonValue]) -> None:
    sequence = _to_one(step, "sequence")
    if sequence is None:
        raise NotShown(update, "the sequence of the step")
    if sequence != int(update.sequence_id):
        raise StepNotFound(update)


def _if_written(update: StepUpdate, included: Sequence[Mapping[str, JsonValue]]) -> tuple[StepWarning, ...]:
    sequence = _included(included, "sequence", update.sequence_id)
    return (SEQUENCE_ON,) if sequence is not None and _attributes(sequence).get("enabled") is True else ()


def _attributes(resource: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    attributes = resource.get("attributes")
    return attributes if isinstance(attributes, dict) else {}


def _id(value: JsonValue) -> int | None:
    """An id as the integer that it is (documented); JSON:API's own ids are strings, so one in a string does too."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return None if value % 1 else int(value)
    return int(value) if isinstance(value, str) and _ID.fullmatch(value) else None


def _to_one(resource: Mapping[str, JsonValue], name: str) -> int | None:
    """The id at the end of a to-one relationship; None if it has no end, or does not show it."""
    end = _linkage(resource, name)
    return _id(end.get("id")) if isinstance(end, dict) else None


def _to_many(resource: Mapping[str, JsonValue], name: str) -> Sequence[int | None]:
    """The ids at the ends of a to-many relationship; none if it does not show them."""
    return [_id(end.get("id")) for end in objects(_linkage(resource, name))]


def _is_empty(resource: Mapping[str, JsonValue], name: str) -> bool:
    """Whether a to-one relationship is shown to have no end, which JSON:API writes as null."""
    return _linkage(resource, name) is None


def _linkage(resource: Mapping[str, JsonValue], name: str) -> JsonValue:
    relationships = resource.get("relationships")
    link = relationships.get(name) if isinstance(relationships, dict) else None
    return link.get("data", "missing") if isinstance(link, dict) else "missing"


def _next_page(collection: str, document: Mapping[str, JsonValue]) -> str | None:
    """The path of the next page of a collection: only its query is taken from the link."""
    links = document.get("links")
    link = links.get("next") if isinstance(links, dict) else None
    link = link.get("href") if isinstance(link, dict) else link
    query = urlsplit(link).query if isinstance(link, str) and _LINK.fullmatch(link) else ""
    return f"/{collection}?{_url(query)}" if query else None


def _url(path: str) -> str:
    """The path with the brackets of JSON:API's parameters percent-encoded."""
    return path.replace("[", "%5B").replace("]", "%5D")


def _step_read(update: StepRef) -> ProviderRequest:
    return ProviderRequest(
        "GET",
        _url(f"/sequenceSteps/{update.sequence_step_id}?include=sequence&fields[sequence]=enabled"),
        "sequenceSteps",
        "sequenceSteps.read and sequences.read",
    )


def _template_write(template_id: int, fields: Sequence[FieldChange]) -> Write:
    names = {SUBJECT: "subject", BODY: "bodyHtml"}
    return _patch("template", "templates", template_id, {names[field.field]: field for field in fields}, ())


def _step_writes(update: StepUpdate, step: Mapping[str, JsonValue]) -> list[Write]:
    """The write of the custom fields, if the update names any that ask for something.

    Raises:
        NotShown: What the step holds is not shown.
    """
    attributes = step.get("attributes")
    if update.custom_fields and not isinstance(attributes, dict):
        raise NotShown(update, "the attributes of the step")
    fields = custom_fields(update, _attributes(step))
    if not fields:
        return []
    sent = {field.field.partition(".")[2]: field for field in fields}
    step_id = int(update.sequence_step_id)
    return [_patch("sequenceStep", "sequenceSteps", step_id, sent, sent.keys() - _attributes(step).keys())]


def _patch(
    kind: str, collection: str, resource_id: int, sent: Mapping[str, FieldChange], absent: Collection[str]
) -> Write:
    attributes = {name: field.after for name, field in sent.items()}
    request = ProviderRequest(
        "PATCH",
        f"/{collection}/{resource_id}",
        collection,
        f"{collection}.write",
        encode({"data": {"type": kind, "id": resource_id, "attributes": attributes}}),
    )
    return Write(request, tuple(sent.values()), partial(_stored, kind, resource_id, sent, absent))


def _stored(
    kind: str, resource_id: int, sent: Mapping[str, FieldChange], absent: Collection[str], response: ProviderResponse
) -> Mapping[str, JsonValue] | None:
    """What the record of a write's answer holds; None if there is no record.

    JSON:API lets a server answer 204, or 200 with only `meta`, when it took the values as they were sent.

    Raises:
        UpdateFailed: The answer does not confirm the record that was written; whether it was written is not known.
    """
    if response.status == _NO_CONTENT and not response.body:
        return None
    document = decode_object(Outreach.provider, response, Outcome.UNKNOWN)
    record = document.get("data")
    failure = failure_member(document) or (failure_member(record) if isinstance(record, dict) else None)
    if failure is not None:
        wrong = f"it speaks of failure in `{failure}`"
    elif response.status == _ACCEPTED:
        wrong = "the write was accepted and not carried out yet"
    elif record is None and isinstance(document.get("meta"), dict) and "data" not in document:
        return None
    elif not isinstance(record, dict) or record.get("type") != kind or _id(record.get("id")) != resource_id:
        wrong = f"it does not show {kind} {resource_id}"
    else:
        return shown_fields(Outreach.provider, response, record.get("attributes"), sent, absent)
    raise UpdateFailed(unreadable(Outreach.provider, response, wrong, Outcome.UNKNOWN))


def _own_errors(response: ProviderResponse) -> list[dict[str, JsonValue]]:
    """The errors of a response that is Outreach's own; none if it is not.

    Its form is JSON:API's (documented). A refusal of values, which blames no credentials, may be other JSON too.
    """
    if not response.body and response.status == _UNAUTHORIZED and "www-authenticate" in response.headers:
        return [{}]
    if is_from_edge(response) or not is_json(response):
        return []
    document = json_members(response)
    errors = objects(document.get("errors"))
    if response.status in _BLAMING_STATUSES:
        errors = [error for error in errors if not _ERROR_MEMBERS.isdisjoint(error)]
    is_refusal = response.status in _VALUE_REFUSALS and fault_members(document) and "data" not in document
    return errors or ([document] if is_refusal else [])


def _detail(request: ProviderRequest, status: int, error: Mapping[str, JsonValue]) -> str:
    given = (error.get("detail"), error.get("details"), error.get("title"))
    words = next((text for text in given if isinstance(text, str) and text), None)
    text = " ".join((words or "no reason given").split())[:500].rstrip(".") + "."
    source = error.get("source")
    where = (source.get("pointer") or source.get("parameter")) if isinstance(source, dict) else None
    at = f" at {where[:200]}" if isinstance(where, str) and where else ""
    return f"Outreach answered {status} to {request.endpoint}{at}: {text}"


def _advice(request: ProviderRequest, status: int, error: Mapping[str, JsonValue], connection: Connection) -> str:
    customer = connection.customer_id
    if status == 403 and error.get("id") == "unauthorizedOauthScope":
        return f"Reconnect customer {customer} to Outreach with the scopes {request.needs}."
    return {
        401: f"Reconnect customer {customer} to Outreach.",
        403: f"Ask an Outreach administrator of customer {customer} to allow it to the user who connected.",
        404: "Check the ids; the record may have been deleted.",
        422: "Correct the value and repeat the call.",
        501: NEVER_SERVED,
        429: "The user's hour is used up; wait until it is over before the next call.",
        503: "Outreach is under maintenance; try again later.",
    }.get(status, "Try again later." if status >= 500 else "")
