"""Faults: orders to answer the next matching calls in a wrong, slow or broken way."""

import base64
import binascii
import itertools
import random
import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sandbox.messages import JSON, TEXT, Answer, Call, Repeated

CUTS = ("before_headers", "reset", "mid_headers", "mid_body")
_MAX_BODY_BYTES = 2_000_000_000
_MAX_DEPTH = 1_000_000
_BODIES = ("body", "body_base64", "body_repeat", "json_depth")
_CHANGES = ("members", "without", "prefix", "suffix")
_MEMBERS = frozenset(
    {
        "provider", "method", "path", "account", "times", "when", "status", "headers",
        "delay_seconds", "cut", "drip_seconds", "hang", "probability", "seed", *_BODIES,
        *_CHANGES,
    }
)  # fmt: skip
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class InvalidFault(ValueError):
    """An order for a fault that makes no sense; the message says why."""


@dataclass(slots=True)
class Fault:
    """One order.

    Attributes:
        id: Its name in the control API and in the call log.
        order: The order as it was given.
        provider: Whose calls it is for.
        method: The method it is for, None for any.
        path: Searched in the path below the provider's prefix, None for any path.
        account: The account it is for, None for any.
        times: How many more calls it is for, None without end.
        after: Whether the operation is carried out before the answer is replaced.
        answer: What to answer instead; None leaves the normal answer.
        change: What becomes of the body of the normal answer.
        headers: Headers for the answer, which replace those of the same name.
        delay: Seconds to wait.
        cut: One of ``CUTS``, or None to send the answer whole.
        drip: Seconds between two bytes of the body; 0 sends it at once.
        hang: Whether to answer nothing until the client goes away.
        probability: The share of matching calls that it hits.
        used: How many calls it has hit.
    """

    id: str
    order: dict[str, Any]
    provider: str
    method: str | None
    path: re.Pattern[str] | None
    account: str | None
    times: int | None
    after: bool
    answer: Answer | None
    change: "BodyChange | None"
    headers: list[tuple[str, str]]
    delay: float
    cut: str | None
    drip: float
    hang: bool
    probability: float
    used: int = 0
    _random: random.Random = field(default_factory=random.Random)

    @property
    def prevents(self) -> bool:
        """Whether the operation is not carried out.

        A fault that only delays, drips or adds headers leaves the operation alone.
        """
        return not self.after and (self.answer is not None or self.cut is not None or self.hang)

    def matches(self, call: Call) -> bool:
        """Say whether a call is one that the fault is for."""
        return (
            self.times != 0
            and self.provider == call.provider
            and self.method in (None, call.method)
            and (self.path is None or self.path.search(call.path) is not None)
            and (self.account is None or (call.account and call.account.id) == self.account)
            and (self.probability >= 1 or self._random.random() < self.probability)
        )

    def shape(self, normal: Answer | None) -> Answer:
        """Return the answer to send, given the normal one if the operation was carried out."""
        if self.answer is not None:
            return Answer(self.answer.status, self.answer.body, list(self.answer.headers))
        if normal is None:
            return Answer(200, b"{}", merge([("Content-Type", JSON)], self.headers))
        body = normal.body if self.change is None else self.change.apply(normal.body)
        return Answer(normal.status, body, merge(normal.headers, self.headers))

    def describe(self) -> dict[str, Any]:
        """Show the fault for the control API."""
        return {"id": self.id, "used": self.used, "left": self.times, "order": self.order}


@dataclass(frozen=True, slots=True)
class BodyChange:
    """What a fault changes in the JSON object of a normal answer, whose operation is carried out.

    Attributes:
        members: Members that are set; ``{}`` in a text stands for the normal value.
        without: Names of members that are removed.
        prefix: A text before the object.
        suffix: A text after it.
    """

    members: dict[str, Any]
    without: frozenset[str]
    prefix: str
    suffix: str

    def apply(self, body: bytes | Repeated) -> bytes:
        """Return the changed body."""
        normal = msgspec.json.decode(body) if isinstance(body, bytes) else {}
        given = {
            name: value.replace("{}", str(normal.get(name, "")))
            if isinstance(value, str)
            else value
            for name, value in self.members.items()
        }
        kept = {name: value for name, value in normal.items() if name not in self.without}
        return self.prefix.encode() + msgspec.json.encode(kept | given) + self.suffix.encode()


class Faults:
    """The faults in force, in the order in which they were given."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._ids = itertools.count(1)

    def order(self, order: Any) -> Fault:
        """Put a fault in force.

        Raises:
            InvalidFault: The order makes no sense.
        """
        fault = _parse(order, f"fault-{next(self._ids)}")
        self._faults[fault.id] = fault
        return fault

    def take(self, call: Call) -> Fault | None:
        """Return the first fault for a call and count its use."""
        for fault in self._faults.values():
            if fault.matches(call):
                fault.used += 1
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

    def clear(self) -> None:
        """Lift every fault."""
        self._faults.clear()

    def lift(self, fault_id: str) -> bool:
        """Lift one fault; say whether there was one."""
        return self._faults.pop(fault_id, None) is not None

    def describe(self) -> list[dict[str, Any]]:
        """Show all faults, spent ones too."""
        return [fault.describe() for fault in self._faults.values()]


def merge(headers: list[tuple[str, str]], ordered: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Put ordered headers in the place of those with the same name."""
    replaced = {name.lower() for name, _ in ordered}
    return [h for h in headers if h[0].lower() not in replaced] + ordered


def _parse(order: Any, fault_id: str) -> Fault:
    if not isinstance(order, dict):
        raise InvalidFault("a fault is a JSON object")
    unknown = sorted(set(order) - _MEMBERS)
    if unknown:
        raise InvalidFault(f"a fault has no member {unknown[0]!r}")
    provider = _one_of(order, "provider", ("apollo", "outreach"))
    if provider is None:
        raise InvalidFault("provider is required: apollo or outreach")
    method, account = _text(order, "method"), _text(order, "account")
    times = order.get("times", 1)
    if times is not None and not _whole(times, 1):
        raise InvalidFault("times must be a whole number from 1, or null for always")
    if not isinstance(order.get("hang", False), bool):
        raise InvalidFault("hang must be true or false")
    headers = _headers(order.get("headers"))
    delay, drip = _seconds(order, "delay_seconds"), _seconds(order, "drip_seconds")
    cut = _one_of(order, "cut", CUTS)
    answer = _answer(order, headers)
    hang = order.get("hang", False)
    if hang and (cut or drip or answer or headers):
        raise InvalidFault("a fault that hangs sends no answer, so it takes no status, body or cut")
    change = _change(order)
    if change and (hang or answer):
        raise InvalidFault(
            f"{', '.join(_CHANGES)} change the normal answer, so they take no status, body or hang"
        )
    if not (hang or cut or drip or answer or change or headers or delay):
        raise InvalidFault("the fault would change nothing; give a status, body, delay, cut, …")
    return Fault(
        id=fault_id,
        order=order,
        provider=provider,
        method=None if method is None else method.upper(),
        path=_pattern(order),
        account=account,
        times=times,
        after=_one_of(order, "when", ("before", "after")) == "after",
        answer=answer,
        change=change,
        headers=headers,
        delay=delay,
        cut=cut,
        drip=drip,
        hang=hang,
        probability=_probability(order),
        _random=random.Random(order.get("seed")),  # noqa: S311 - repeatable, not secret
    )


def _change(order: dict[str, Any]) -> BodyChange | None:
    if not set(order) & set(_CHANGES):
        return None
    members, without = order.get("members", {}), order.get("without", [])
    if not isinstance(members, dict):
        raise InvalidFault("members must be an object")
    if not isinstance(without, list) or not all(isinstance(name, str) for name in without):
        raise InvalidFault("without must be a list of names")
    return BodyChange(
        members, frozenset(without), _text(order, "prefix") or "", _text(order, "suffix") or ""
    )


def _answer(order: dict[str, Any], headers: list[tuple[str, str]]) -> Answer | None:
    """Build the ordered answer; None when the order leaves the normal one in place."""
    given = [name for name in _BODIES if name in order]
    if len(given) > 1:
        raise InvalidFault(f"give only one of {', '.join(given)}")
    if not given and "status" not in order:
        return None
    status = order.get("status", 200)
    if not _whole(status, 200) or status > 599:
        raise InvalidFault("status must be a whole number from 200 to 599")
    body, content_type = _body(order, given[0]) if given else (b"", None)
    own = [] if content_type is None else [("Content-Type", content_type)]
    return Answer(status, body, merge(own, headers))


def _body(order: dict[str, Any], kind: str) -> tuple[bytes | Repeated, str]:
    value = order[kind]
    if kind == "body":
        if isinstance(value, str):
            return value.encode("utf-8", "surrogatepass"), TEXT
        return msgspec.json.encode(value), JSON
    if kind == "body_base64":
        try:
            return base64.b64decode(value, validate=True), "application/octet-stream"
        except (binascii.Error, TypeError, ValueError) as error:
            raise InvalidFault("body_base64 is not base64") from error
    if kind == "json_depth":
        if not _whole(value, 1) or value > _MAX_DEPTH:
            raise InvalidFault(f"json_depth must be from 1 to {_MAX_DEPTH}")
        return b'{"data":' * value + b"null" + b"}" * value, JSON
    around = {"before", "after"}
    if not isinstance(value, dict) or set(value) - around != {"text", "bytes"}:
        raise InvalidFault(
            'body_repeat is {"text": "x", "bytes": 100000000}, with before and after or not'
        )
    text, size = value["text"], value["bytes"]
    if not isinstance(text, str) or not text:
        raise InvalidFault("body_repeat.text must be a text that is not empty")
    if not _whole(size, 0) or size > _MAX_BODY_BYTES:
        raise InvalidFault(f"body_repeat.bytes must be from 0 to {_MAX_BODY_BYTES}")
    if not around & set(value):
        return Repeated(text.encode(), size), TEXT
    before, after = _text(value, "before") or "", _text(value, "after") or ""
    return f"{before}{text * (size // len(text.encode()))}{after}".encode(), JSON


def _headers(value: Any) -> list[tuple[str, str]]:
    """Read ``{name: value}``; a list of values sends the header several times."""
    if value is None:
        return []
    if not isinstance(value, dict):
        raise InvalidFault("headers must be an object")
    found: list[tuple[str, str]] = []
    for name, given in value.items():
        for item in given if isinstance(given, list) else [given]:
            if not isinstance(item, str) or set(item) & set("\r\n\0"):
                raise InvalidFault(f"the header {name!r} must be a text in one line")
            if not _TOKEN.fullmatch(name):
                raise InvalidFault(f"{name!r} is not a header name")
            found.append((name, item))
    return found


def _pattern(order: dict[str, Any]) -> re.Pattern[str] | None:
    text = _text(order, "path")
    if text is None:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidFault(f"path is not a regular expression: {error}") from error


def _probability(order: dict[str, Any]) -> float:
    value = order.get("probability", 1.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InvalidFault("probability must be from 0 to 1")
    chance = order.get("seed")
    if chance is not None and not _whole(chance, 0):
        raise InvalidFault("seed must be a whole number from 0")
    return float(value)


def _seconds(order: dict[str, Any], name: str) -> float:
    value = order.get(name, 0.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 86_400:
        raise InvalidFault(f"{name} must be seconds from 0 to 86400")
    return float(value)


def _text(order: dict[str, Any], name: str) -> str | None:
    value = order.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidFault(f"{name} must be a text")
    return value


def _one_of(order: dict[str, Any], name: str, choices: tuple[str, ...]) -> str | None:
    value = _text(order, name)
    if value is not None and value not in choices:
        raise InvalidFault(f"{name} must be one of {', '.join(choices)}")
    return value


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
