"""The HTTP client that all providers share: one pool for each worker, nothing remembered between customers."""

import asyncio
import re
import ssl
import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from service.domain.credentials import Secret
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode
from service.http1 import Limits, NoAnswer, Pool, Silence
from service.providers.adapter import ProviderRequest, ProviderResponse

SILENCES: Final = {
    Silence.NAME: ErrorCode.SERVICE_UNAVAILABLE_ERROR,
    Silence.REFUSED: ErrorCode.SERVICE_UNAVAILABLE_ERROR,
    Silence.TLS: ErrorCode.SERVICE_UNAVAILABLE_ERROR,
    Silence.CUT: ErrorCode.SERVICE_UNAVAILABLE_ERROR,
    Silence.CONNECT_TIMEOUT: ErrorCode.GATEWAY_TIMEOUT_ERROR,
    Silence.READ_TIMEOUT: ErrorCode.GATEWAY_TIMEOUT_ERROR,
    Silence.DEADLINE: ErrorCode.GATEWAY_TIMEOUT_ERROR,
    Silence.TOO_LONG: ErrorCode.BAD_GATEWAY_ERROR,
    Silence.UNREADABLE: ErrorCode.BAD_GATEWAY_ERROR,
}
"""The kind of error that each is to a caller."""

_PORTS: Final = {"http": 80, "https": 443}

# What would end a line of the head, or a word of the first one; and what UTF-8 has no bytes for.
_BREAKS_OUT: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_BREAKS_TARGET: Final = re.compile(r"[^!-~]")

# An answer that is longer than this, or unpacks to more, is unpacked in a thread, so that other calls have their turn.
_SHORT_BYTES: Final = 256 * 1024

# Servers send one. Each costs a copy of what follows it, so that a file of nothing but empty ones would take minutes.
_MAX_MEMBERS: Final = 16


class _Place(NamedTuple):
    """Where a base URL leads: connections to its server, its path, and the lines that are the same in every head."""

    pool: Pool
    path: str
    lines: str


class Upstream:
    """Sends requests to providers.

    Over our own pool of connections, since requests and answers of libraries cost more than all the rest of a call does;
    what the difference comes to is in docs/performance.md. Redirects are not followed, cookies are not kept, no request is
    sent twice, and nothing is taken from the environment. Belongs to the event loop that it was made in.
    """

    def __init__(self, limits: Limits | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.limits = limits or Limits()
        self._tls = tls if tls is not None else ssl.create_default_context()
        self._pools: dict[tuple[str, str, int], Pool] = {}
        self._places: dict[str, _Place] = {}

    async def close(self) -> None:
        """Closes all connections."""
        for pool in self._pools.values():
            await pool.close()

    async def send(
        self,
        base_url: str,
        request: ProviderRequest,
        headers: Mapping[str, str],
        deadline: Deadline,
        secrets: tuple[Secret, ...] = (),
    ) -> ProviderResponse:
        """Sends one request and reads the whole answer, whatever its status.

        Args:
            base_url: What the path is below.
            request: What to send.
            headers: With what.
            deadline: Until when.
            secrets: What must not be shown of the answer.

        Raises:
            NoAnswer: There is none, or not a whole one.
            ValueError: The path or a header has a character that it cannot have.
        """
        place = self._places.get(base_url) or self._place(base_url)
        answer = await place.pool.exchange(_encoded(place, request, headers), deadline)
        body = answer.body
        if body and (encoding := answer.headers.get("content-encoding")) is not None:
            body = await self._unpacked(body, encoding)
        return ProviderResponse(answer.status, answer.headers, body, secrets)

    def _place(self, base_url: str) -> _Place:
        url = urlsplit(base_url)
        host, port = url.hostname or "", url.port or _PORTS[url.scheme]
        key = (url.scheme, host, port)
        if key not in self._pools:
            self._pools[key] = Pool(host, port, self.limits, self._tls if url.scheme == "https" else None)
        named = url.netloc.rpartition("@")[2]
        lines = f"Host: {named}\r\nUser-Agent: seqstep\r\nAccept-Encoding: gzip\r\n"
        place = self._places[base_url] = _Place(self._pools[key], url.path, lines)
        return place

    async def _unpacked(self, body: bytes, encoding: str) -> bytes:
        match encoding.strip().lower():
            case "identity":
                return body
            case "gzip" | "x-gzip":
                limit = self.limits.max_answer_bytes
                if len(body) <= _SHORT_BYTES:
                    try:
                        # The whole of a short answer, or the sign that it is not a short one.
                        return _gunzip(body, min(limit, _SHORT_BYTES))
                    except NoAnswer as failure:
                        if failure.why is not Silence.TOO_LONG:
                            raise
                return await asyncio.to_thread(_gunzip, body, limit)
            case _:
                raise NoAnswer(Silence.UNREADABLE, sent=True)


def _encoded(place: _Place, request: ProviderRequest, headers: Mapping[str, str]) -> bytes:
    """The request as it goes over the wire."""
    target = f"{place.path}{request.path}" or "/"
    body = request.body or b""
    if _BREAKS_TARGET.search(target) or _BREAKS_OUT.search("".join(headers.values())):
        raise ValueError("a path or header of a request has a character that it cannot have")
    lines = [f"{request.method} {target} HTTP/1.1\r\n", place.lines]
    lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
    if body or request.method != "GET":
        lines.append(f"Content-Length: {len(body)}\r\n")
    lines.append("\r\n")
    return "".join(lines).encode() + body


def _gunzip(packed: bytes, limit: int) -> bytes:
    """All members of a gzip file, as one.

    Raises:
        NoAnswer: It is not gzip, or longer than the limit, or in too many members.
    """
    pieces: list[bytes] = []
    left = limit
    try:
        while packed:
            if len(pieces) == _MAX_MEMBERS:
                raise NoAnswer(Silence.UNREADABLE, sent=True)
            member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            pieces.append(member.decompress(packed, left + 1))
            left -= len(pieces[-1])
            if left < 0:
                raise NoAnswer(Silence.TOO_LONG, sent=True)
            if not member.eof:
                raise NoAnswer(Silence.UNREADABLE, sent=True)
            packed = member.unused_data
    except zlib.error:
        raise NoAnswer(Silence.UNREADABLE, sent=True) from None
    return b"".join(pieces)
