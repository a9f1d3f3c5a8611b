"""One received request and one answer, independent of the HTTP server underneath."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from sandbox.accounts import Account

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
_CHUNK_BYTES = 65_536
_COLLECTIONS = frozenset(
    {
        "emailer_campaigns",
        "emailer_steps",
        "emailer_touches",
        "emailer_templates",
        "sequences",
        "sequenceSteps",
        "sequenceTemplates",
        "templates",
    }
)


class InvalidBody(Exception):
    """A request body that is not UTF-8 JSON; the message says why."""


@dataclass(slots=True)
class Call:
    """A request to a provider.

    Attributes:
        provider: ``apollo`` or ``outreach``.
        method: The HTTP method in capitals.
        path: The undecoded path below the provider's prefix, such as ``/api/v2/templates/18``.
        query: Every query parameter, decoded, in the order sent.
        headers: The request headers, looked up without regard to case.
        body: The body as received.
        connection: A number for the TCP connection, never used twice by one server.
        origin: Scheme and authority that the client used, for links in answers.
        account: Whose credentials the call carries, valid or not; None when nobody's.
        sequence_busy: Whether another write on the same sequence was under way when it came.
    """

    provider: str
    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes
    connection: int
    origin: str
    account: Account | None = None
    sequence_busy: bool = False

    @property
    def segments(self) -> list[str]:
        """The decoded segments of the path."""
        return [unquote(segment) for segment in self.path.split("/")[1:]]

    @property
    def route(self) -> str:
        """The operation's path with ids replaced by ``{id}``, ``unknown`` when there is none."""
        match self.segments:
            case ["oauth", "token"] | ["api", _, "oauth", "token"]:
                return "/oauth/token"
            case ["api", _, collection, "search"] if collection in _COLLECTIONS:
                return f"/{collection}/search"
            case ["api", _, collection, _] if collection in _COLLECTIONS:
                return f"/{collection}/{{id}}"
            case ["api", _, collection] if collection in _COLLECTIONS:
                return f"/{collection}"
        return "unknown"

    @property
    def bearer(self) -> str | None:
        """The token of an ``Authorization: Bearer`` header, or None without one."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" and token.strip() else None

    def json(self) -> Any:
        """Decode the body.

        Raises:
            InvalidBody: It is not JSON in UTF-8.
        """
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidBody(str(error)) from error


@dataclass(frozen=True, slots=True)
class Repeated:
    """A body made of one text over and over, so that large bodies cost no memory.

    Attributes:
        text: What is repeated, in bytes; never empty.
        size: The length of the whole body in bytes.
    """

    text: bytes
    size: int

    def __len__(self) -> int:
        return self.size

    def chunks(self, limit: int) -> Iterator[bytes]:
        """Yield the first ``limit`` bytes of the body, piece by piece."""
        block = self.text * max(1, _CHUNK_BYTES // len(self.text))
        left = min(limit, self.size)
        while left > 0:
            piece = block[:left]
            left -= len(piece)
            yield piece


@dataclass(slots=True)
class Answer:
    """What goes back to the client.

    Attributes:
        status: The HTTP status.
        body: The exact bytes of the body.
        headers: Names and values in order; a name may occur more than once.
    """

    status: int
    body: bytes | Repeated = b""
    headers: list[tuple[str, str]] = field(default_factory=list)


def json_answer(
    status: int,
    value: Any,
    headers: list[tuple[str, str]] | None = None,
    content_type: str = JSON,
) -> Answer:
    """Build an answer with a JSON body."""
    named = [("Content-Type", content_type), *(headers or ())]
    return Answer(status, msgspec.json.encode(value), named)


def text_answer(status: int, text: str, headers: list[tuple[str, str]] | None = None) -> Answer:
    """Build an answer with a plain text body."""
    return Answer(status, text.encode(), [("Content-Type", TEXT), *(headers or ())])


def parse_query(raw: str) -> list[tuple[str, str]]:
    """Decode a raw query string, keeping empty values and the order."""
    return parse_qsl(raw, keep_blank_values=True) if raw else []


def media_type(header: str) -> tuple[str, str]:
    """Split a ``Content-Type`` header into its type in lower case and its raw parameters."""
    kind, _, parameters = header.partition(";")
    return kind.strip().lower(), parameters.strip()
