"""Sends HTTP requests to providers: httpx's requests, responses and exceptions, with pyqwest (hyper) as the engine."""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx
import pyqwest
import structlog

from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode
from service.upstream.authorities import system_authorities
from service.upstream.kept_connections import IDLE_SECONDS, KeptConnection, KeptConnections
from service.upstream.proxy import LOOPBACK, InvalidHttpSettings, Proxies

USER_AGENT: Final = f"seqstep/{version('seqstep')}"

log: Final = structlog.get_logger("service.http")

_USER_AGENT_HEADER: Final = (b"user-agent", USER_AGENT.encode())

# Extensions of a request: what it is to the engine, and the connections that it may use.
_ENGINE_REQUEST: Final = "engine_request"
_SERVER: Final = "server"

# How long a server that closed a kept connection in the face of a request is asked over new connections only.
_UNKEPT_SECONDS: Final = 60.0

# Without an explicit proxy the engine would read the environment by its own rules; this one is for no host and no address.
_NO_PROXY: Final = pyqwest.Proxy("http://127.0.0.1:9", no_proxy="*,0.0.0.0/0,::/0")

# What the engine's messages begin with: each error repeats the kind of the one that caused it.
_PREFIXES: Final = re.compile(
    r"(?:Request failed: error sending request(?: for url \(\S*\))?: |Error reading content: )?"
    r"(?:(?:request or response body error|client error \(\w+\)|error resolving DNS|dns error): )*"
)
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_FROM_BODY: Final = "error reading a body from connection: "
_TLS: Final = re.compile(
    r"invalid peer certificate|received (?:corrupt|unexpected) message|fatal alert|^peer |tls handshake"
)
_CLOSED: Final = re.compile(r"closed before message completed|connection error|end of file before|unexpected EOF")
_PLAIN_WORDS: Final = {
    "invalid peer certificate: UnknownIssuer": "its certificate is signed by an unknown authority",
    "invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))": "its certificate is self-signed",
    "received corrupt message of type InvalidContentType": "it does not speak TLS there",
}
_PROXY_WORDS: Final = {
    "tunnel error: failed to create underlying connection": "to the proxy",
    "tunnel error: unsuccessful": "the proxy did not make one",
}

# The server, and what is asked for there, in the characters that a URL may have.
_URL: Final = re.compile(r"(\w+://[^/?#]+)([!-~]*)", re.ASCII)

_Origin: TypeAlias = tuple[bytes, bytes]

RequestObserver: TypeAlias = Callable[[httpx.Request, httpx.Response | None, float], None]
"""Gets each request when it has ended, its response (None if it failed), and when it began by `time.perf_counter`."""


class TlsFailed(httpx.ConnectError):
    """The TLS handshake failed; the message says why."""


class ConnectionClosed(httpx.NetworkError):
    """The server closed the connection, or the network broke it, before a response came.

    Attributes:
        was_kept: Whether it may have been a connection from an earlier request, which the server was about to close.
    """

    was_kept = False


class ResponseTooLarge(httpx.TransportError):
    """The response is longer than a response may be, as it comes or after decompression."""


class DeadlineExceeded(httpx.TimeoutException):
    """The deadline of the call was reached.

    Attributes:
        request_was_sent: Whether the request may have been sent by then.
    """

    def __init__(self, *, request_was_sent: bool) -> None:
        super().__init__("the deadline of the call was reached")
        self.request_was_sent = request_was_sent


def request_was_sent(error: httpx.HTTPError) -> bool:
    """Whether the server may have received the request that failed so."""
    if isinstance(error, DeadlineExceeded):
        return error.request_was_sent
    never_sent = (
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ProxyError,
        httpx.LocalProtocolError,
    )
    return not isinstance(error, never_sent)


def may_pass(error: httpx.HTTPError) -> bool:
    """Whether the failure may be over in a moment: not a broken certificate, an endless response or a spent deadline."""
    if isinstance(error, TlsFailed | DeadlineExceeded):
        return False
    return isinstance(error, httpx.NetworkError | httpx.TimeoutException)


def error_code(error: httpx.HTTPError) -> ErrorCode:
    """The kind of error that a failed request is to a caller."""
    match error:
        case httpx.TimeoutException():
            return ErrorCode.GATEWAY_TIMEOUT_ERROR
        case httpx.NetworkError() | httpx.ProxyError():
            return ErrorCode.SERVICE_UNAVAILABLE_ERROR
        case _:
            return ErrorCode.BAD_GATEWAY_ERROR


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What bounds every request.

    Attributes:
        connect_timeout: Seconds to make a connection, with its TLS handshake and the way through a proxy.
        pool_timeout: Seconds to wait for a connection when all are in use.
        read_timeout: Seconds to wait for the head of a response, and for each further part of it.
        max_connections: Connections to one server that are in use at a time; as many are kept.
        max_response_bytes: Longest response, as it comes and after decompression.
    """

    connect_timeout: float = 5.0
    pool_timeout: float = 5.0
    read_timeout: float = 20.0
    max_connections: int = 200
    max_response_bytes: int = 32 * 1024 * 1024


class NoSystemAuthorities(Exception):
    """The system has no certificate authorities."""


class WholeResponse(httpx.Response):
    """A response whose body is here, and unpacked.

    Attributes:
        header_values: The values of its headers by their names in lower case; of several with one name, the last one's.
    """

    def __init__(
        self, status: int, headers: Iterable[tuple[str, str]], body: bytes, request: httpx.Request | None = None
    ) -> None:
        """Makes a response.

        Args:
            status: The HTTP status.
            headers: The headers, with names in lower case.
            body: The body, unpacked.
            request: What it is the response to.
        """
        self._whole = body
        # What the engine unpacks comes without this header, and what it leaves alone is taken as it is.
        self._pairs = [pair for pair in headers if pair[0] != "content-encoding"]
        self.header_values: Final[Mapping[str, str]] = dict(self._pairs)
        super().__init__(status, stream=httpx.ByteStream(body), request=request)
        # Made when they are asked for, which takes longer than all else of a response; nothing on the way of a call does.
        del self.headers

    @cached_property
    def headers(self) -> httpx.Headers:  # type: ignore[override]  # can be set, like any cached property
        """The headers."""
        return httpx.Headers(self._pairs)

    def read(self) -> bytes:
        """The body, which httpx would decode again as a stream."""
        return self._whole

    @property
    def content(self) -> bytes:
        """The body."""
        return self._whole


class RequestHeaders(httpx.Headers):
    """The headers of requests.

    Attributes:
        of_engine: The same as the engine has them.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        """Takes the headers, to which the `user-agent` is added.

        Raises:
            ValueError: One has a character that it cannot have.
        """
        super().__init__([_USER_AGENT_HEADER, *[(name.encode(), value.encode()) for name, value in headers.items()]])
        self.of_engine: Final = _engine_headers(self)


class _Request(httpx.Request):
    """A request of parts that are what httpx would make of them."""

    def __init__(
        self, method: str, url: httpx.URL, headers: httpx.Headers, body: bytes, extensions: dict[str, Any]
    ) -> None:
        # Not by httpx's own constructor, which would copy the URL and the headers.
        self.method = method
        self.url = url
        self.headers = headers
        self.stream = httpx.ByteStream(body)
        self.extensions = extensions


class HttpTransport(httpx.AsyncBaseTransport):
    """Sends httpx's requests by pyqwest, and reads each response to its end, or to the longest that it may be.

    What a request asks for may be in its `target` extension, as a path that is added to its URL.

    HTTP/1.1. Redirects are not followed, cookies are not kept, and no request is sent twice that a server may have received.
    """

    def __init__(
        self,
        limits: HttpLimits,
        proxies: Proxies,
        authorities: bytes | None,
        *,
        system_authorities: bool,
        keeps_connection: bool,
    ) -> None:
        """Makes a transport.

        Args:
            limits: What bounds every request.
            proxies: Where requests go through.
            authorities: PEM certificates that are trusted.
            system_authorities: Whether the engine looks up the system's too; for each transport again, which takes 4 ms.
            keeps_connection: Whether a connection is kept for further requests.

        Raises:
            NoSystemAuthorities: The system has none.
            InvalidHttpSettings: The authorities or a proxy cannot be used.
        """
        self._limits = limits
        try:
            self._engine = pyqwest.HTTPTransport(
                http_version=pyqwest.HTTPVersion.HTTP1,
                tls_ca_cert=authorities,
                tls_include_system_certs=system_authorities,
                proxy=_engine_proxies(proxies),
                connect_timeout=limits.connect_timeout,
                read_timeout=limits.read_timeout,
                pool_idle_timeout=IDLE_SECONDS,
                pool_max_idle_per_host=1 if keeps_connection else 0,
                use_system_dns=True,
                enable_brotli=False,
                enable_zstd=False,
                follow_redirects=False,
                enable_otel=False,
            )
        except RuntimeError as error:
            if "No CA certificates were loaded" in str(error):
                raise NoSystemAuthorities from None
            raise InvalidHttpSettings(_reason(error)) from None
        except ValueError as error:
            raise InvalidHttpSettings(_reason(error)) from None

    async def aclose(self) -> None:
        """Closes the connections that are not in use."""
        await self._engine.aclose()

    async def handle_async_request(self, request: httpx.Request) -> WholeResponse:
        """Sends one request and reads the whole response, whatever its status.

        Raises:
            httpx.TransportError: There is none, or not a whole one.
        """
        try:
            response = await self._engine.execute(request.extensions.get(_ENGINE_REQUEST) or _taken_apart(request))
        except ValueError:
            raise _unsendable() from None
        except (OSError, RuntimeError, pyqwest.RemoteProtocolError, pyqwest.WriteError, pyqwest.ReadError) as error:
            raise self._failure_before_response(error) from None
        if response.status < 200:
            await response.aclose()
            raise httpx.RemoteProtocolError(f"its answer cannot be understood (status {response.status})")
        body = await self._read(response)
        return WholeResponse(response.status, response.headers.items(), body, request)

    async def _read(self, response: pyqwest.Response) -> bytes:
        chunks = []
        length = 0
        # The engine takes this header away from what it unpacks, so that it is the length of what comes from here.
        promised = response.headers.get("content-length")
        try:
            async for chunk in response.content:
                length += len(chunk)
                if length > self._limits.max_response_bytes:
                    await response.aclose()
                    raise ResponseTooLarge(f"its answer is longer than {self._limits.max_response_bytes} bytes")
                chunks.append(chunk)
                # Nothing comes after this; to wait until the engine says so takes another turn between its thread and this.
                if promised == str(length):
                    break
        except (OSError, RuntimeError, pyqwest.RemoteProtocolError, pyqwest.ReadError) as error:
            raise self._failure_in_body(error) from None
        return b"".join(chunks)

    def _failure_before_response(self, error: Exception) -> httpx.TransportError:
        reason = _reason(error)
        match error:
            case pyqwest.ConnectTimeout():
                return httpx.ConnectTimeout(f"no connection could be made within {self._limits.connect_timeout:g} s")
            case ConnectionError():
                return _connect_failure(reason)
            case TimeoutError():
                return self._read_timeout()
            case pyqwest.RemoteProtocolError() if not _CLOSED.search(reason):
                return httpx.RemoteProtocolError(f"its answer is not HTTP ({reason})")
            case _:
                return ConnectionClosed(f"the connection was closed before an answer came ({reason})")

    def _failure_in_body(self, error: Exception) -> httpx.TransportError | httpx.DecodingError:
        reason = _reason(error)
        if isinstance(error, TimeoutError):
            return self._read_timeout()
        if not reason.startswith(_FROM_BODY):
            return httpx.DecodingError(f"its answer cannot be decompressed ({reason})")
        reason = reason.removeprefix(_FROM_BODY)
        if isinstance(error, pyqwest.RemoteProtocolError) and not _CLOSED.search(reason):
            return httpx.RemoteProtocolError(f"its answer is not HTTP ({reason})")
        return httpx.ReadError(f"the connection broke in the middle of its answer ({reason})")

    def _read_timeout(self) -> httpx.ReadTimeout:
        return httpx.ReadTimeout(f"nothing came for {self._limits.read_timeout:g} s")


class _Server:
    """The connections to one server."""

    def __init__(self, kept: KeptConnections[HttpTransport], limits: HttpLimits) -> None:
        self.kept: Final = kept
        self._slots = asyncio.Semaphore(limits.max_connections)
        self._pool_timeout = limits.pool_timeout
        self._unkept_until = 0.0

    async def acquire(self) -> None:
        """Waits until one more connection may be used.

        Raises:
            httpx.PoolTimeout: All were in use for too long.
        """
        if not self._slots.locked():  # and then this does not wait
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(self._pool_timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout(f"all connections were in use for {self._pool_timeout:g} s") from None

    def take(self, owner: Hashable) -> KeptConnection[HttpTransport] | None:
        """The connection that is kept for an owner; None to make one that is not kept."""
        return self.kept.take(owner) if owner is not None and time.monotonic() >= self._unkept_until else None

    def release(self, kept: KeptConnection[HttpTransport] | None) -> None:
        """Ends the use of a connection."""
        if kept is not None:
            self.kept.release(kept)
        self._slots.release()

    def note_closed(self) -> None:
        """Asks the server over new connections for a while, since it closes those that are kept."""
        self._unkept_until = time.monotonic() + _UNKEPT_SECONDS


class HttpClient:
    """Sends requests to providers, within limits and deadlines. Belongs to the event loop that it is used in."""

    def __init__(
        self,
        limits: HttpLimits | None = None,
        *,
        proxies: Proxies | None = None,
        ca_file: Path | None = None,
        observe: RequestObserver | None = None,
    ) -> None:
        """Makes a client.

        Args:
            limits: What bounds every request.
            proxies: Where requests go through; None for none, whatever the environment says.
            ca_file: PEM certificates of authorities that are trusted beside the system's.
            observe: Gets every request when it has ended.

        Raises:
            InvalidHttpSettings: The file or a proxy cannot be used.
        """
        self.limits = limits or HttpLimits()
        self._observe = observe
        self._proxies = proxies or Proxies()
        own = _read_authorities(ca_file) if ca_file else None
        self._trusted: tuple[bytes | None, bool] = own, False
        # Finds out whether the file and the proxies can be used.
        self._not_keeping = self._transport(keeps_connection=False)
        self._trust_system(own)
        self._servers: dict[_Origin, _Server] = {}
        self._origins: dict[str, tuple[httpx.URL, str, _Server]] = {}

    async def close(self) -> None:
        """Closes the connections that are not in use."""
        await self._not_keeping.aclose()
        for server in self._servers.values():
            for transport in server.kept.engines:
                await transport.aclose()

    def build_headers(self, headers: Mapping[str, str]) -> RequestHeaders:
        """Makes the headers of requests, which take longer to make than all else of one; several may have the same.

        Raises:
            httpx.LocalProtocolError: One has a character that it cannot have; the message does not show it.
        """
        try:
            return RequestHeaders(headers)
        except ValueError:
            raise _unsendable() from None

    def build_request(
        self, method: str, url: str, headers: Mapping[str, str] | RequestHeaders, body: bytes = b""
    ) -> httpx.Request:
        """Makes a request.

        Its URL is that of the server, and the `target` extension what is asked for there: httpx would take a URL apart and
        put it together again for each request, which takes longer than all else that it does. Another extension has what
        it is to the engine, so that the transport does not take it apart again.

        Raises:
            httpx.LocalProtocolError: The URL or a header has a character that it cannot have; the message shows neither.
        """
        try:
            parts = _URL.fullmatch(url)
            if parts is None:
                raise _unsendable()
            origin, target = parts[1], parts[2] or "/"
            known = self._origins.get(origin)
            if known is None:
                server_url = httpx.URL(origin)
                known = self._origins[origin] = server_url, str(server_url), self._server(server_url)
            server_url, shown, server = known
            if not isinstance(headers, RequestHeaders):
                headers = self.build_headers(headers)
            engine_request = _engine_request(method, f"{shown}{target}", headers.of_engine, body)
            extensions = {"target": target.encode(), _ENGINE_REQUEST: engine_request, _SERVER: server}
            return _Request(method, server_url, headers, body, extensions)
        except (ValueError, httpx.InvalidURL):
            raise _unsendable() from None

    async def send(self, request: httpx.Request, deadline: Deadline, owner: Hashable = None) -> WholeResponse:
        """Sends one request and reads the whole response, whatever its status.

        A caller who is cancelled ends the request: its connection is closed.

        Args:
            request: The request.
            deadline: When the response must be there.
            owner: For whose requests the connection is kept: nobody else's are ever sent over it. None to keep none.

        Raises:
            httpx.HTTPError: There is none, or not a whole one; `request_was_sent` tells whether it may have arrived.
        """
        seconds = deadline.remaining()
        if seconds <= 0:
            raise DeadlineExceeded(request_was_sent=False)
        server = request.extensions.get(_SERVER) or self._server(request.url)
        was_sent = False
        response: WholeResponse | None = None
        began = time.perf_counter()
        try:
            async with asyncio.timeout(seconds):
                await server.acquire()
                kept = None
                try:
                    kept = server.take(owner)
                    was_sent = True
                    response = await (kept.engine if kept else self._not_keeping).handle_async_request(request)
                except ConnectionClosed as error:
                    if kept is not None and kept.may_be_open:
                        error.was_kept = True
                        server.note_closed()
                    raise
                finally:
                    server.release(kept)
        except TimeoutError:
            raise DeadlineExceeded(request_was_sent=was_sent) from None
        finally:
            if self._observe is not None:
                self._observe(request, response, began)
        return response

    def _trust_system(self, own: bytes | None) -> None:
        """Trusts the system's authorities too, as they are read here or, if they cannot be used so, by the engine."""
        system = system_authorities()
        for trusted in (*([(b"\n".join((own or b"", system)), False)] if system else []), (own, True)):
            self._trusted = trusted
            with contextlib.suppress(InvalidHttpSettings, NoSystemAuthorities):
                self._not_keeping = self._transport(keeps_connection=False)
                return
        self._trusted = own, False
        # Enough for plain HTTP, and every TLS handshake fails and says why.
        log.warning("no_certificate_authorities", what_to_do="install the system's, or set SEQSTEP_PROVIDER_CA_FILE")

    def _server(self, url: httpx.URL) -> _Server:
        origin = (url.raw_scheme, url.netloc)
        server = self._servers.get(origin)
        if server is None:
            kept = KeptConnections(lambda: self._transport(keeps_connection=True), self.limits.max_connections)
            server = self._servers[origin] = _Server(kept, self.limits)
        return server

    def _transport(self, *, keeps_connection: bool) -> HttpTransport:
        authorities, system = self._trusted
        return HttpTransport(
            self.limits, self._proxies, authorities, system_authorities=system, keeps_connection=keeps_connection
        )


def _read_authorities(ca_file: Path) -> bytes:
    try:
        return ca_file.read_bytes()
    except OSError as error:
        raise InvalidHttpSettings(f"cannot read {ca_file}: {error.strerror}") from None


def _engine_proxies(proxies: Proxies) -> list[pyqwest.Proxy]:
    excluded = ",".join((*LOOPBACK, *proxies.no_proxy))
    found = []
    if proxies.http:
        found.append(pyqwest.Proxy(proxies.http, scheme="http", no_proxy=excluded))
    if proxies.https:
        found.append(pyqwest.Proxy(proxies.https, scheme="https", no_proxy=excluded))
    return found or [_NO_PROXY]


def _engine_headers(headers: httpx.Headers) -> pyqwest.Headers:
    return pyqwest.Headers([(name.decode(), value.decode()) for name, value in headers.raw])


def _engine_request(method: str, url: str, headers: pyqwest.Headers, body: bytes) -> pyqwest.Request:
    if not body and method in _WITH_BODY:
        headers = pyqwest.Headers([*headers.items(), ("content-length", "0")])
    return pyqwest.Request(method, url, headers, body or None)


def _taken_apart(request: httpx.Request) -> pyqwest.Request:
    """What a request that was not made here is to the engine."""
    url = f"{request.url}{request.extensions.get('target', b'').decode()}"
    return _engine_request(request.method, url, _engine_headers(request.headers), request.read())


def _connect_failure(reason: str) -> httpx.TransportError:
    if "proxy authorization required" in reason:
        return httpx.ProxyError("the proxy requires another user or password")
    if _TLS.search(reason):
        return TlsFailed(f"the TLS handshake failed: {_PLAIN_WORDS.get(reason, reason)}")
    for engine_words, words in _PROXY_WORDS.items():
        reason = reason.replace(engine_words, words)
    return httpx.ConnectError(f"no connection could be made ({reason})")


def _unsendable() -> httpx.LocalProtocolError:
    return httpx.LocalProtocolError("the URL or a header of the request has a character that it cannot have")


def _reason(error: Exception) -> str:
    """What the engine says, without what it repeats, and without the URL."""
    text = str(error)
    prefixes = _PREFIXES.match(text)
    return text[prefixes.end() :] if prefixes else text
