"""Outreach's JSON:API for sequences, their steps and templates, as documented in August 2026."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlencode

from sandbox import oauth
from sandbox.accounts import Account
from sandbox.markup import clean, to_text
from sandbox.messages import Answer, Call, InvalidBody, json_answer
from sandbox.outreach_schema import COLLECTIONS, SCHEMAS, Attribute, Relationship, Schema
from sandbox.records import Json, OutreachData, Resource
from sandbox.seed import display_name
from sandbox.state import State

PREFIX = "/api/v2"
MEDIA_TYPE = "application/vnd.api+json"
PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
_INTEGER = re.compile(r"[0-9]{1,18}")
_FILTER = re.compile(r"filter\[([^\]]*)\](?:\[([^\]]*)\])?")
_FIELDS = re.compile(r"fields\[([^\]]*)\]")


class Refused(Exception):
    """A call that Outreach would refuse; holds the status and the JSON:API errors."""

    def __init__(self, status: int, *errors: Json) -> None:
        super().__init__(status, errors)
        self.status = status
        self.errors = list(errors)


@dataclass(slots=True)
class _Wanted:
    """What a query asks for.

    Attributes:
        include: Paths of relationships, each as its parts.
        fields: The members to show of each type; a type that is missing shows all.
        filters: Names of relationships (empty for the resource itself) and the ids allowed.
        sort: Attributes to sort by, and whether downwards.
        size: Resources on a page.
        after: How many matches come before the page.
        count: Whether to count the matches.
    """

    include: list[list[str]] = field(default_factory=list)
    fields: dict[str, frozenset[str]] = field(default_factory=dict)
    filters: list[tuple[str, frozenset[int]]] = field(default_factory=list)
    sort: list[tuple[str, bool]] = field(default_factory=list)
    size: int = PAGE_SIZE
    after: int = 0
    count: bool = True


def handle(state: State, call: Call) -> Answer:
    """Answer one call below ``/outreach``."""
    if call.path == "/oauth/token":
        return oauth.handle(state, call)
    try:
        account = _authenticate(state, call)
    except Refused as error:
        limits = (call.account or _NOBODY).outreach_limits
        return _errors(error, limits.headers())
    allowed, headers = account.outreach_limits.take()
    if not allowed:
        exceeded = {
            "id": "rateLimitExceeded",
            "title": "Rate Limit Exceeded",
            "detail": "You have exceeded your permitted rate limit.",
        }
        headers.append(("Retry-After", dict(headers)["X-RateLimit-Reset"]))
        return _errors(Refused(429, exceeded), headers)
    try:
        _check_media_type(call)
        answer = _dispatch(state, account, call)
    except Refused as error:
        return _errors(error, headers)
    answer.headers += headers
    return answer


_NOBODY = Account("nobody", "outreach")


def _errors(refused: Refused, headers: list[tuple[str, str]]) -> Answer:
    return json_answer(refused.status, {"errors": refused.errors}, headers, MEDIA_TYPE)


def _unauthorized() -> Refused:
    return Refused(
        401,
        {"title": "Unauthorized", "detail": "The access token is missing, unknown or expired."},
    )


def _authenticate(state: State, call: Call) -> Account:
    token = state.access_tokens.get(call.bearer or "")
    if token is None or token.account.provider != "outreach" or token.expired:
        raise _unauthorized()
    return token.account


def _check_media_type(call: Call) -> None:
    if call.headers.get("Content-Type") != MEDIA_TYPE:
        raise Refused(
            415,
            {
                "id": "unsupportedMediaType",
                "title": "Unsupported Media Type",
                "details": f"Every request must have the Content-Type {MEDIA_TYPE!r}.",
            },
        )


def _require(state: State, call: Call, kind: str, access: str) -> None:
    token = state.access_tokens[call.bearer or ""]
    scope = f"{SCHEMAS[kind].collection}.{access}"
    if not token.allows(scope):
        raise Refused(
            403,
            {
                "id": "unauthorizedOauthScope",
                "title": "Unauthorized OAuth Scope",
                "detail": f"Your authorization does not include the required scope '{scope}'.",
            },
        )


def _dispatch(state: State, account: Account, call: Call) -> Answer:
    data = account.outreach
    match [call.method, *call.segments]:
        case ["GET", "api", "v2", collection] if collection in COLLECTIONS:
            kind = COLLECTIONS[collection]
            _require(state, call, kind, "read")
            wanted = _parse_query(call, kind, collection=True)
            _require_included(state, call, kind, wanted)
            return _list(data, call, kind, wanted)
        case ["GET", "api", "v2", collection, number] if collection in COLLECTIONS:
            kind = COLLECTIONS[collection]
            _require(state, call, kind, "read")
            wanted = _parse_query(call, kind, collection=False)
            _require_included(state, call, kind, wanted)
            resource = _find(data, kind, number)
            return json_answer(
                200, _document(data, call, [resource], wanted, single=True), None, MEDIA_TYPE
            )
        case ["PATCH", "api", "v2", collection, number] if collection in COLLECTIONS:
            kind = COLLECTIONS[collection]
            _require(state, call, kind, "write")
            return _update(account, call, kind, number)
        case [_, "api", "v2", collection, *_] if collection in COLLECTIONS:
            raise Refused(
                405, {"title": "Method Not Allowed", "detail": "The resource has no such method."}
            )
    raise Refused(404, {"title": "Not Found", "detail": f"There is nothing at {call.path}."})


def _find(data: OutreachData, kind: str, number: str) -> Resource:
    resource = data.get(kind, int(number) if _INTEGER.fullmatch(number) else None)
    if resource is None:
        raise Refused(
            404,
            {
                "id": "resourceNotFound",
                "title": "Resource Not Found",
                "detail": f"Could not find '{kind}' with ID '{number}'.",
            },
        )
    return resource


def _bad(parameter: str, why: str) -> Refused:
    return Refused(
        400, {"title": "Bad Request", "details": why, "source": {"parameter": parameter}}
    )


def _parse_query(call: Call, kind: str, *, collection: bool) -> _Wanted:
    wanted = _Wanted()
    seen: set[str] = set()
    for name, value in call.query:
        if name in seen:
            raise _bad(name, f"The parameter '{name}' is given twice.")
        seen.add(name)
        if name == "include" and call.method == "GET":
            wanted.include = [_path(kind, path) for path in value.split(",") if path]
        elif match := _FIELDS.fullmatch(name):
            wanted.fields[match[1]] = _fieldset(name, match[1], value)
        elif collection and (match := _FILTER.fullmatch(name)):
            wanted.filters.append(_filter(name, SCHEMAS[kind], match, value))
        elif collection and name == "sort":
            wanted.sort = [_sort_key(SCHEMAS[kind], key) for key in value.split(",") if key]
        elif collection and name == "count" and value in ("true", "false"):
            wanted.count = value == "true"
        elif collection and name == "page[size]":
            if not _INTEGER.fullmatch(value) or not 1 <= int(value) <= MAX_PAGE_SIZE:
                raise _bad(name, f"The page size must be from 1 to {MAX_PAGE_SIZE}.")
            wanted.size = int(value)
        elif collection and name == "page[after]":
            wanted.after = _cursor(name, value)
        else:
            raise _bad(name, f"The parameter '{name}' is not supported here.")
    return wanted


def _path(kind: str, path: str) -> list[str]:
    """Check one include path against the schemas."""
    parts = path.split(".")
    for part in parts:
        relationship = SCHEMAS[kind].relationships.get(part)
        if relationship is None or relationship.target not in SCHEMAS:
            raise _bad("include", f"'{path}' cannot be included: '{kind}' has no '{part}'.")
        kind = relationship.target
    return parts


def _fieldset(name: str, kind: str, value: str) -> frozenset[str]:
    schema = SCHEMAS.get(kind)
    if schema is None:
        raise _bad(name, f"There is no resource type '{kind}'.")
    names = frozenset(part for part in value.split(",") if part)
    unknown = sorted(names - schema.attributes.keys() - schema.relationships.keys())
    if unknown:
        raise _bad(name, f"'{kind}' has no field '{unknown[0]}'.")
    return names


def _filter(
    name: str, schema: Schema, match: re.Match[str], value: str
) -> tuple[str, frozenset[int]]:
    """Read ``filter[id]`` or ``filter[RELATIONSHIP][id]``, whose values are whole numbers."""
    subject, attribute = match[1], match[2]
    if subject != "id" or attribute is not None:
        relationship = schema.relationships.get(subject)
        if relationship is None or not relationship.filterable or attribute != "id":
            raise _bad(name, f"'{name}' is not a filter of {schema.collection}.")
    parts = value.split(",")
    if not all(_INTEGER.fullmatch(part) for part in parts):
        raise _bad(name, f"The value '{value}' is not an integer.")
    return ("" if attribute is None else subject), frozenset(int(part) for part in parts)


def _sort_key(schema: Schema, key: str) -> tuple[str, bool]:
    name = key.removeprefix("-")
    if name != "id" and name not in schema.attributes:
        raise _bad("sort", f"{schema.collection} cannot be sorted by '{name}'.")
    return name, key.startswith("-")


def _cursor(name: str, value: str) -> int:
    try:
        place = base64.urlsafe_b64decode(value.encode()).decode()
    except (binascii.Error, ValueError):
        place = ""
    if not _INTEGER.fullmatch(place):
        raise _bad(name, f"'{value}' is not a cursor.")
    return int(place)


def _require_included(state: State, call: Call, kind: str, wanted: _Wanted) -> None:
    for path in wanted.include:
        at = kind
        for part in path:
            at = SCHEMAS[at].relationships[part].target
            _require(state, call, at, "read")


def _many(data: OutreachData, resource: Resource, name: str) -> list[Resource]:
    """Return the far ends of a to-many relationship; the sandbox holds none of most types."""
    far = {
        ("sequence", "sequenceSteps"): ("sequenceStep", "sequence"),
        ("sequenceStep", "sequenceTemplates"): ("sequenceTemplate", "sequenceStep"),
        ("template", "sequenceTemplates"): ("sequenceTemplate", "template"),
    }.get((resource.type, name))
    if far is None:
        return []
    kind, back = far
    return [r for r in data.all(kind) if r.links[back] == resource.id]


def _ends(data: OutreachData, resource: Resource, name: str, far: Relationship) -> list[Resource]:
    if far.kind == "many":
        return _many(data, resource, name)
    end = data.get(far.target, resource.links.get(name))
    return [] if end is None else [end]


def _matches(data: OutreachData, resource: Resource, name: str, ids: frozenset[int]) -> bool:
    if not name:
        return resource.id in ids
    far = SCHEMAS[resource.type].relationships[name]
    if far.kind == "one":
        return resource.links[name] in ids
    return any(end.id in ids for end in _ends(data, resource, name, far))


def _list(data: OutreachData, call: Call, kind: str, wanted: _Wanted) -> Answer:
    found = [
        resource
        for resource in data.all(kind)
        if all(_matches(data, resource, name, ids) for name, ids in wanted.filters)
    ]
    for name, down in reversed(wanted.sort):
        found.sort(key=lambda r: _sort_value(r, name), reverse=down)
    # The cursor is a place in the order asked for, so that it works with every sort.
    shown = found[wanted.after : wanted.after + wanted.size]
    document = _document(data, call, shown, wanted, single=False)
    if wanted.count:
        document["meta"] = {"count": len(found), "count_truncated": False}
    if wanted.after + wanted.size < len(found):
        document["links"] = {"next": _next_link(call, wanted.after + wanted.size)}
    return json_answer(200, document, None, MEDIA_TYPE)


def _sort_value(resource: Resource, name: str) -> tuple[bool, Any]:
    value = resource.id if name == "id" else resource.attributes[name]
    return value is not None, str(value) if isinstance(value, list) else value


def _next_link(call: Call, start: int) -> str:
    cursor = base64.urlsafe_b64encode(str(start).encode()).decode()
    query = [pair for pair in call.query if pair[0] != "page[after]"]
    encoded = urlencode([*query, ("page[after]", cursor)])
    return f"{call.origin}/outreach{call.path}?{encoded}"


def _document(
    data: OutreachData, call: Call, primary: list[Resource], wanted: _Wanted, *, single: bool
) -> Json:
    rendered = [_render(data, call, resource, wanted) for resource in primary]
    document: Json = {"data": rendered[0] if single else rendered}
    if wanted.include:
        included = _included(data, primary, wanted.include)
        document["included"] = [_render(data, call, resource, wanted) for resource in included]
    return document


def _included(
    data: OutreachData, primary: list[Resource], paths: list[list[str]]
) -> list[Resource]:
    """Return every resource along the paths once, leaving out the primary ones."""
    found: dict[tuple[str, int], Resource] = {}
    for path in paths:
        level = primary
        for part in path:
            level = [
                end
                for resource in level
                for end in _ends(data, resource, part, SCHEMAS[resource.type].relationships[part])
            ]
            found |= {(end.type, end.id): end for end in level}
    for resource in primary:
        found.pop((resource.type, resource.id), None)
    return list(found.values())


def _render(data: OutreachData, call: Call, resource: Resource, wanted: _Wanted) -> Json:
    schema = SCHEMAS[resource.type]
    names = wanted.fields.get(resource.type)
    link = f"{call.origin}/outreach{PREFIX}/{schema.collection}/{resource.id}"
    rendered: Json = {"type": resource.type, "id": resource.id}
    attributes = resource.attributes
    rendered["attributes"] = (
        attributes if names is None else {n: v for n, v in attributes.items() if n in names}
    )
    rendered["relationships"] = {
        name: _linkage(data, resource, name, far, link)
        for name, far in schema.relationships.items()
        if names is None or name in names
    }
    rendered["links"] = {"self": link}
    return rendered


def _linkage(
    data: OutreachData, resource: Resource, name: str, far: Relationship, link: str
) -> Json:
    if far.kind == "one":
        number = resource.links.get(name)
        return {"data": None if number is None else {"type": far.target, "id": number}}
    related: Json = {"links": {"related": f"{link}/{name}"}}
    if far.kind == "many":
        ends = _many(data, resource, name)
        related["data"] = [{"type": far.target, "id": end.id} for end in ends]
    return related


def _invalid(pointer: str, detail: str) -> Json:
    return {
        "id": "validationError",
        "title": "Validation Error",
        "detail": detail,
        "source": {"pointer": pointer},
    }


def _update(account: Account, call: Call, kind: str, number: str) -> Answer:
    data, habits = account.outreach, account.habits
    wanted = _parse_query(call, kind, collection=False)
    resource = _find(data, kind, number)
    sent = _sent(call, resource)
    errors: list[Json] = []
    attributes = sent.get("attributes", {})
    relationships = sent.get("relationships", {})
    if not isinstance(attributes, dict) or not isinstance(relationships, dict):
        raise Refused(422, _invalid("/data", "Attributes and relationships must be objects."))
    schema = SCHEMAS[kind]
    for name, value in attributes.items():
        problem = _problem(name, schema.attributes.get(name), value)
        if problem is not None:
            errors.append(_invalid(f"/data/attributes/{name}", problem))
    links: dict[str, int | None] = {}
    for name, value in relationships.items():
        problem = _link_problem(data, name, schema.relationships.get(name), value)
        if problem is not None:
            errors.append(_invalid(f"/data/relationships/{name}", problem))
        elif schema.relationships[name].kind == "one":
            links[name] = None if value["data"] is None else value["data"]["id"]
    if errors:
        raise Refused(422, *errors)
    if kind != "template" or "drops_writes" not in habits:
        _store(resource, attributes, links)
    if "no_content" in habits:
        return Answer(204, b"", [])
    if "meta_only" in habits:
        return json_answer(200, {"meta": {}}, None, MEDIA_TYPE)
    document = _document(data, call, [resource], wanted, single=True)
    return json_answer(200, document, None, MEDIA_TYPE)


def _sent(call: Call, resource: Resource) -> Json:
    """Return the ``data`` member of an update, once it names the resource of the URL."""
    try:
        body = call.json()
    except InvalidBody as error:
        raise Refused(
            400, {"title": "Bad Request", "detail": f"The body is not valid JSON: {error}"}
        ) from error
    if not isinstance(body, dict) or not isinstance(body.get("data"), dict) or len(body) > 1:
        raise Refused(
            400, {"title": "Bad Request", "detail": "The body must be an object with just 'data'."}
        )
    sent: Json = body["data"]
    errors = [
        _invalid(f"/data/{name}", f"'{name}' is not a member of a resource.")
        for name in sent
        if name not in ("type", "id", "attributes", "relationships")
    ]
    if sent.get("type") != resource.type:
        errors.append(_invalid("/data/type", f"Type must be '{resource.type}'."))
    number = sent.get("id")
    if isinstance(number, bool) or not isinstance(number, int):
        errors.append(_invalid("/data/id", "Id must be an integer."))
    elif number != resource.id:
        errors.append(_invalid("/data/id", f"Id must be {resource.id}, as in the URL."))
    if errors:
        raise Refused(422, *errors)
    return sent


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


def _problem(name: str, attribute: Attribute | None, value: Any) -> str | None:
    """Say what is wrong with the value of an attribute, None when nothing is."""
    words = _words(name)
    if attribute is None:
        return f"'{name}' is not an attribute."
    if attribute.read_only:
        return f"{words} is read-only."
    if attribute.required and (value is None or (isinstance(value, str) and not value.strip())):
        return f"{words} can't be blank."
    if value is None:
        return None
    if not _is_a(attribute.kind, value):
        return f"{words} must be of type {attribute.kind}."
    if attribute.choices and value not in attribute.choices:
        return f"{words} must be one of {', '.join(attribute.choices)}."
    if attribute.max_length is not None and len(value) > attribute.max_length:
        return f"{words} is too long (maximum is {attribute.max_length} characters)."
    if attribute.kind == "integer" and value < 0:
        return f"{words} must be greater than or equal to 0."
    return None


def _is_a(kind: str, value: Any) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "array":
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        case "date":
            return isinstance(value, str) and _is_date(value)
    return False


def _is_date(value: str) -> bool:
    try:
        return date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _link_problem(
    data: OutreachData, name: str, far: Relationship | None, value: Any
) -> str | None:
    if far is None:
        return f"'{name}' is not a relationship."
    if far.read_only or far.kind == "links":
        return f"{_words(name)} is read-only."
    if not isinstance(value, dict) or set(value) != {"data"}:
        return f"{_words(name)} must be an object with just 'data'."
    end = value["data"]
    if far.kind == "many":
        return f"{_words(name)} cannot be replaced here."
    if end is None:
        return None
    if not isinstance(end, dict) or end.get("type") != far.target:
        return f"{_words(name)} must be of type '{far.target}'."
    number = end.get("id")
    if isinstance(number, bool) or not isinstance(number, int):
        return f"The id of {_words(name)} must be an integer."
    if far.target in SCHEMAS and data.get(far.target, number) is None:
        return f"{_words(name)} {number} does not exist."
    return None


def _store(resource: Resource, changes: Json, links: dict[str, int | None]) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    attributes = resource.attributes
    attributes.update(changes)
    attributes["updatedAt"] = now
    resource.links.update(links)
    if "bodyHtml" in changes:
        html = changes["bodyHtml"]
        html = None if html is None else clean(html)
        attributes |= {"bodyHtml": html, "bodyText": to_text(html)}
    if "archived" in changes:
        attributes["archivedAt"] = now if changes["archived"] else None
    if resource.type == "sequenceStep":
        attributes["displayName"] = display_name(attributes["order"], attributes["stepType"])
