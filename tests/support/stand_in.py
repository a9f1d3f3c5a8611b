"""A provider that holds one step, and whose answers can be odd: what it holds is always known, whatever it says."""

import asyncio
import contextlib
import copy
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from tests.support import apollo, outreach
from tests.support.scripted_server import ServerConnection, scripted_server

READ: Final = "read"
LIST: Final = "list"
SHARING: Final = "sharing"
WRITE: Final = "write"
FIELDS: Final = "fields"
TOKEN: Final = "token"

Texts: TypeAlias = dict[str, Any]
"""What a provider holds: `subject`, `body`, `note`."""

FIELD_NAMES: Final = {
    "apollo": {"subject": "template.subject", "body": "template.body", "note": "custom_fields.note"},
    "outreach": {"subject": "template.subject", "body": "template.body", "note": "custom_fields.taskNote"},
}
"""What the contract calls each of them."""

_OWN_NAMES: Final = {
    "apollo": {"subject": "subject", "body_html": "body", "note": "note"},
    "outreach": {"subject": "subject", "bodyHtml": "body", "taskNote": "note"},
}
_MEDIA_TYPES: Final = {"apollo": "application/json; charset=utf-8", "outreach": "application/vnd.api+json"}
_IDS: Final = {
    "apollo": (apollo.SEQUENCE, apollo.STEP),
    "outreach": (str(outreach.SEQUENCE), str(outreach.STEP)),
}


@dataclass(frozen=True)
class Edit:
    """A change to the JSON of an answer.

    Attributes:
        what: `set`, `drop`, `rename`, `nest` or `double`.
        path: Where, as in `data.0.id`.
        value: The new value, the new name, or the name of the member that it is nested in.
    """

    what: str
    path: str
    value: Any = None

    def apply(self, document: Any) -> Any:
        """The document after the change; as it is if it has no such place."""
        document = copy.deepcopy(document)
        *way, last = self.path.split(".")
        parent = document
        for name in way:
            parent = _member(parent, name)
        key: Any = int(last) if isinstance(parent, list) and last.isdigit() else last
        is_there = (isinstance(parent, dict) and key in parent) or (
            isinstance(parent, list) and isinstance(key, int) and key < len(parent)
        )
        if self.what == "set" and (is_there or isinstance(parent, dict)):
            parent[key] = self.value
        elif is_there:
            self._change(parent, key)
        return document

    def _change(self, parent: Any, key: Any) -> None:
        match self.what:
            case "drop":
                del parent[key]
            case "rename" if isinstance(parent, dict):
                parent[self.value] = parent.pop(key)
            case "nest":
                parent[key] = {self.value: parent[key]}
            case "double":
                parent[key] = [parent[key], copy.deepcopy(parent[key])]


def _member(parent: Any, name: str) -> Any:
    if isinstance(parent, dict):
        return parent.get(name)
    if isinstance(parent, list) and name.isdigit() and int(name) < len(parent):
        return parent[int(name)]
    return None


@dataclass(frozen=True)
class Odd:
    """What is odd about an answer; what is not said is as it should be.

    Attributes:
        at: The request that it answers: `read`, `list` (of the steps of a sequence), `sharing` (who uses a template),
            `write` (of the template), `fields` (the write of custom fields), `token`.
        status: The status in the place of 200.
        headers: Headers beside the usual ones, in their place, or away with None.
        body: The body in the place of the usual one: a text or JSON.
        edits: Changes to the JSON of the answer.
        prefix: Bytes before the body.
        length: Bytes of the body that are sent before the connection is closed.
        applies: Whether a write is carried out.
        stores: What becomes of a text that is written.
        closes: Whether the connection is closed in the place of an answer.
        times: How many requests are answered so; None for all.
    """

    at: str
    status: int = 200
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: Any = None
    edits: Sequence[Edit] = ()
    prefix: bytes = b""
    length: int | None = None
    applies: bool = True
    stores: Callable[[str, Any, Any], Any] | None = None
    closes: bool = False
    times: int | None = None

    def shape(self, reply: "Reply") -> "Reply":
        """The answer in the place of the usual one."""
        headers = {name.lower(): value for name, value in (dict(reply.headers) | dict(self.headers)).items()}
        document = reply.document
        for edit in self.edits:
            document = edit.apply(document)
        if self.body is not None:
            document = self.body
        return Reply(
            self.status,
            {name: value for name, value in headers.items() if value is not None},
            document,
            self.prefix,
            self.length,
            closes=self.closes,
        )


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        status: Its status.
        headers: Its headers, names in lower case.
        document: Its JSON; a text or bytes are sent as they are, None as nothing.
        prefix: Bytes before the body.
        length: Bytes of it that are sent before the connection is closed; None for all.
        closes: Whether the connection is closed instead.
    """

    status: int
    headers: Mapping[str, str]
    document: Any
    prefix: bytes = b""
    length: int | None = None
    closes: bool = False

    def body(self) -> bytes:
        """Its body."""
        if self.document is None or self.status in (204, 304):
            return b""
        if isinstance(self.document, bytes):
            return self.prefix + self.document
        text = self.document if isinstance(self.document, str) else json.dumps(self.document)
        return self.prefix + text.encode("utf-8", "surrogatepass")


class StandIn:
    """One provider with one step.

    Attributes:
        provider: Its name.
        stored: What it holds.
        requests: What it was asked, in order, as `Odd.at` names it.
        odd: What is odd about its answers; the first that fits counts.
        token: The access token that it accepts; None for any.
        document: What a read of the step answers, made of what it holds; tests may change it.
    """

    def __init__(self, provider: str, *odd: Odd) -> None:
        self.provider = provider
        self.stored: Texts = {"subject": "Old", "body": "<p>Old</p>", "note": "n"}
        self.requests: list[str] = []
        self.odd = list(odd)
        self.used: dict[int, int] = {}
        self.mints = 0

    @property
    def ids(self) -> tuple[str, str]:
        """The sequence and the step."""
        return _IDS[self.provider]

    def record(self, *names: str, **texts: Any) -> dict[str, Any]:
        """The record of a request that sets texts by their names here."""
        template = {name: texts[name] for name in ("subject", "body") if name in texts}
        record: dict[str, Any] = {"template": template} if template else {}
        if "note" in texts:
            own = FIELD_NAMES[self.provider]["note"].partition(".")[2]
            record["custom_fields"] = {own: texts["note"]}
        return record

    def answer(self, method: str, target: str, body: bytes) -> Reply:
        """Answers one request, and carries it out unless the oddity says otherwise."""
        at = self._operation(method, target)
        self.requests.append(at)
        number, odd = self._odd(at)
        if odd is not None:
            self.used[number] = self.used.get(number, 0) + 1
        if at in (WRITE, FIELDS) and (odd is None or odd.applies):
            self._write(json.loads(body), odd)
        if at == TOKEN:
            self.mints += 1
        reply = Reply(200, {"content-type": _MEDIA_TYPES[self.provider]}, self._document(at, target))
        return reply if odd is None else odd.shape(reply)

    def _odd(self, at: str) -> tuple[int, Odd | None]:
        for number, odd in enumerate(self.odd):
            if odd.at == at and (odd.times is None or self.used.get(number, 0) < odd.times):
                return number, odd
        return -1, None

    def _operation(self, method: str, target: str) -> str:
        if "token" in target.rpartition("/")[2]:
            return TOKEN
        if method == "GET" and "filter%5Btemplate%5D" in target:
            return SHARING
        if method == "GET" and "filter%5Bsequence%5D" in target:
            return LIST
        if method == "GET":
            return READ
        return FIELDS if "teps/" in target else WRITE

    def _write(self, document: Any, odd: Odd | None) -> None:
        given = document if self.provider == "apollo" else document["data"]["attributes"]
        for own, value in given.items():
            name = _OWN_NAMES[self.provider].get(own)
            if name is not None:
                stores = odd.stores if odd is not None else None
                self.stored[name] = stores(name, value, self.stored[name]) if stores else value

    def _document(self, at: str, target: str) -> Any:
        subject, body, note = (self.stored[name] for name in ("subject", "body", "note"))
        if at == TOKEN:
            return {
                "access_token": f"access-{self.mints}",
                "refresh_token": f"refresh-{self.mints}",
                "token_type": "Bearer",
                "expires_in": 7200,
            }
        if self.provider == "apollo":
            template = apollo.template(subject=subject, body_html=body)
            step = {"id": apollo.STEP, "type": "auto_email", "position": 1, "wait_time": 3, "note": note}
            if at == READ:
                other = {"id": apollo.OTHER, "type": "call", "position": 2}
                return apollo.answer(emailer_templates=[template], emailer_steps=[step, other])
            return template if at == WRITE else step
        resource = outreach.template(subject=subject, bodyHtml=body)
        own_step = outreach.step(taskNote=note)
        if at == SHARING:
            return {"data": [outreach.variant()]}
        if at == LIST:
            own_step["relationships"]["sequenceTemplates"] = {"data": [{"type": "sequenceTemplate", "id": 1}]}
            return {"data": [own_step], "included": [outreach.variant(), resource, outreach.sequence()]}
        if at == READ and "/sequenceSteps/" in target:
            return {"data": own_step, "included": [outreach.sequence()]}
        if at == READ:
            return outreach.answer(included=[resource, own_step, outreach.sequence()])
        return {"data": resource if at == WRITE else own_step}


class Switch:
    """Answers for one stand-in after the other.

    Attributes:
        current: The present one.
    """

    def __init__(self) -> None:
        self.current = StandIn("apollo")

    def answer(self, method: str, target: str, body: bytes) -> Reply:
        """Answers one request."""
        return self.current.answer(method, target, body)


@asynccontextmanager
async def serving(stand_in: StandIn | Switch) -> AsyncIterator[str]:
    """Serves a stand-in over a real socket; yields its URL."""

    async def follow(connection: ServerConnection) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await _exchange(stand_in, connection):
                pass

    async with scripted_server(follow) as server:
        yield f"http://127.0.0.1:{server.port}"


async def _exchange(stand_in: StandIn | Switch, connection: ServerConnection) -> bool:
    """Answers one request; returns whether another one may follow."""
    head, body = await connection.request()
    method, target, _ = head.split(" ", 2)
    reply = stand_in.answer(method, target, body)
    if reply.closes:
        return False
    content = reply.body()
    reason = HTTPStatus(reply.status).phrase if reply.status in set(HTTPStatus) else "Odd"
    lines = [f"HTTP/1.1 {reply.status} {reason}", *(f"{name}: {value}" for name, value in reply.headers.items())]
    if reply.status not in (204, 304):
        lines.append(f"content-length: {len(content)}")
    sent = content if reply.length is None else content[: reply.length]
    await connection.send("\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + sent)
    return reply.length is None
