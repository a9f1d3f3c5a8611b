"""The HTTP client that all providers share: one pool for each worker, nothing remembered between customers."""

import io
import math
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from service.model import Deadline, ErrorCode, Secret
from service.providers.provider import ProviderAnswer, ProviderRequest

_LONG_BODY_BYTES: Final = 256 * 1024


class Silence(StrEnum):
    """Why no answer came."""

    NAME = "its name could not be resolved"
    REFUSED = "the connection was refused"
    TLS = "the TLS handshake failed"
    CONNECT_TIMEOUT = "no connection could be made in time"
    READ_TIMEOUT = "it stayed silent for too long"
    DEADLINE = "the deadline of the call was reached"
    CUT = "the connection broke"
    TOO_LONG = "its answer is too long"
    UNREADABLE = "its answer is not HTTP, or its compression is broken"


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


class NoAnswer(Exception):
    """A request that got no answer.

    Attributes:
        why: What happened.
        sent: Whether the provider may have received the request.
    """

    def __init__(self, why: Silence, *, sent: bool) -> None:
        super().__init__(why.value)
        self.why = why
        self.sent = sent


@dataclass(slots=True)
class _Sent:
    """Whether a request has been handed to a connection, so that the provider may have received it."""

    at_all: bool = False


_SENT: Final[ContextVar[_Sent]] = ContextVar("_SENT")


class _Request(aiohttp.ClientRequest):
    """A request that notes when it is sent. aiohttp's own tracing tells it too, at several times the cost."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Sends it."""
        _SENT.get().at_all = True
        return await super().send(conn)


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """What bounds every request.

    Attributes:
        connect_timeout: Seconds to make a connection.
        pool_timeout: Seconds to wait for one of the connections, beside that, when all are in use.
        read_timeout: Seconds of silence while an answer is awaited or read.
        max_connections: Open connections to one host.
        max_answer_bytes: Longest answer, after decompression.
    """

    connect_timeout: float = 5.0
    pool_timeout: float = 5.0
    read_timeout: float = 20.0
    max_connections: int = 200
    max_answer_bytes: int = 32 * 1024 * 1024


class Upstream:
    """Sends requests to providers.

    aiohttp and not httpx, whose request and response objects alone cost more than all the rest of a call does; what the
    difference comes to is in docs/performance.md. Redirects are not followed, cookies are not kept, and nothing is taken
    from the environment. Belongs to the event loop that it was made in.
    """

    def __init__(self, limits: UpstreamLimits | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.limits = limits or UpstreamLimits()
        self._connector = aiohttp.TCPConnector(
            limit=0,
            limit_per_host=self.limits.max_connections,
            ttl_dns_cache=60,
            keepalive_timeout=30,
            ssl=tls if tls is not None else True,
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "seqstep"},
            request_class=_Request,
        )
        # aiohttp would send some requests again by itself, uncounted, when a kept connection breaks. Whether a request is
        # worth another call of the customer's quota is decided in `calls`; the fault matrix counts what is sent.
        self._session._retry_connection = False  # noqa: SLF001  # aiohttp has no public switch for it

    async def close(self) -> None:
        """Closes all connections."""
        await self._session.close()

    async def send(
        self,
        base_url: str,
        request: ProviderRequest,
        headers: Mapping[str, str],
        deadline: Deadline,
        secrets: tuple[Secret, ...] = (),
    ) -> ProviderAnswer:
        """Sends one request and reads the whole answer, whatever its status.

        Args:
            base_url: What the path is below.
            request: What to send.
            headers: With what.
            deadline: Until when.
            secrets: What must not be shown of the answer.

        Raises:
            NoAnswer: There is none, or not a whole one.
        """
        sent = _Sent()
        _SENT.set(sent)
        try:
            async with self._session.request(
                request.method,
                URL(base_url + request.path, encoded=True),
                data=_payload(request.body),
                headers=headers,
                allow_redirects=False,
                timeout=self._timeout(deadline),
            ) as response:
                body = await self._body(response)
                return ProviderAnswer(response.status, response.headers, body, secrets)
        except TimeoutError as error:
            raise _timed_out(error, sent=sent.at_all) from None
        except aiohttp.ClientConnectorDNSError:
            raise NoAnswer(Silence.NAME, sent=False) from None
        except aiohttp.ClientSSLError:
            raise NoAnswer(Silence.TLS, sent=False) from None
        except aiohttp.ClientConnectorError:
            raise NoAnswer(Silence.REFUSED, sent=False) from None
        except (aiohttp.ClientResponseError, aiohttp.ContentTypeError):
            raise NoAnswer(Silence.UNREADABLE, sent=True) from None
        except aiohttp.ClientPayloadError as error:
            broken = isinstance(error.__cause__, aiohttp.http_exceptions.ContentEncodingError)
            raise NoAnswer(Silence.UNREADABLE if broken else Silence.CUT, sent=True) from None
        except (aiohttp.ClientConnectionError, ConnectionError):
            raise NoAnswer(Silence.CUT, sent=True) from None

    def _timeout(self, deadline: Deadline) -> aiohttp.ClientTimeout:
        limits = self.limits
        return aiohttp.ClientTimeout(
            total=max(0.001, deadline.remaining()),
            connect=limits.connect_timeout + limits.pool_timeout,
            sock_connect=limits.connect_timeout,
            sock_read=limits.read_timeout,
            # aiohttp rounds longer times up to whole seconds, which is past the deadline.
            ceil_threshold=math.inf,
        )

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        limit = self.limits.max_answer_bytes
        chunks: list[bytes] = []
        size = 0
        while chunk := await response.content.readany():
            size += len(chunk)
            if size > limit:
                response.close()
                raise NoAnswer(Silence.TOO_LONG, sent=True)
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    """The body, if it is a long one in a form that is sent in pieces, so that other calls have their turn."""
    return io.BytesIO(body) if body is not None and len(body) > _LONG_BODY_BYTES else body


def _timed_out(error: TimeoutError, *, sent: bool) -> NoAnswer:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return NoAnswer(Silence.CONNECT_TIMEOUT, sent=False)
    if isinstance(error, aiohttp.ServerTimeoutError):
        return NoAnswer(Silence.READ_TIMEOUT, sent=True)
    return NoAnswer(Silence.DEADLINE, sent=sent)
