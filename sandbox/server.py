"""The HTTP server: one port for both providers and for the control API."""

import asyncio
import contextlib
import itertools
import signal
import socket
import ssl
import struct
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from sandbox import apollo, control, oauth, outreach, seed
from sandbox.calls import LoggedCall
from sandbox.faults import Fault
from sandbox.messages import Answer, Call, Repeated, json_answer, parse_query
from sandbox.stand_ins import STAND_INS
from sandbox.state import State

MAX_BODY_BYTES = 20 * 1024 * 1024
_CHUNK_BYTES = 65_536
_FRAMING = frozenset({"content-length", "transfer-encoding"})


class _Connection(RequestHandler):
    """One TCP connection with a number of its own, and an event for its end."""

    __slots__ = ("gone", "number")
    _numbers = itertools.count(1)

    def __init__(self, manager: "_Listener", loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(manager, loop=loop)
        self.number = next(self._numbers)
        self.gone = asyncio.Event()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.gone.set()
        super().connection_lost(exc)


class _Listener(web.Server):
    """Makes numbered connections."""

    def __call__(self) -> RequestHandler:
        return _Connection(self, asyncio.get_running_loop())


class _AlreadySent(web.StreamResponse):
    """Stands for an answer that was written to the transport by hand, or never will be."""

    async def prepare(self, _request: web.BaseRequest) -> AbstractStreamWriter | None:
        self.force_close()
        return None

    async def write_eof(self, _data: Any = b"") -> None:
        return None


class Server:
    """The sandbox on a port of this machine, within the running event loop."""

    def __init__(self) -> None:
        self.state = State()
        self.host = ""
        self.port = 0
        self._scheme = "http"
        self._closing = asyncio.Event()
        self._listener = _Listener(self._serve, request_factory=self._request)
        self._sockets: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Scheme, host and port, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self._scheme}://{host}:{self.port}"

    async def start(
        self, host: str = "127.0.0.1", port: int = 0, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        """Listen; port 0 takes a free one.

        Raises:
            OSError: The address cannot be had.
        """
        loop = asyncio.get_running_loop()
        self._sockets = await loop.create_server(
            self._listener, host, port, ssl=ssl_context, backlog=1024
        )
        self.host, self.port = host, self._sockets.sockets[0].getsockname()[1]
        self._scheme = "http" if ssl_context is None else "https"

    async def stop(self) -> None:
        """Stop listening, end calls that hang or are delayed, and close every connection."""
        self._closing.set()
        if self._sockets is not None:
            self._sockets.close()
        await self._listener.shutdown(0.5)
        if self._sockets is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._sockets.wait_closed(), 1.0)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES
        )

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._route(request)
        except (ConnectionError, web.HTTPException):
            raise
        except Exception:  # noqa: BLE001 - no client may bring the sandbox down
            traceback.print_exc()
            error = "The sandbox failed; its own output says why."
            return _response(json_answer(500, {"error": error}))

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await request.read()
        path, _, query = request.raw_path.partition("?")
        _, first, *rest = path.split("/", 2)
        below = "/" + rest[0] if rest else ""
        if first == "_sandbox":
            segments = [unquote(segment) for segment in below.split("/")[1:]]
            pairs = dict(parse_query(query))
            return _response(control.handle(self.state, request.method, segments, pairs, body))
        if first not in STAND_INS:
            hint = {"error": "Nothing is here; see /_sandbox/, /apollo/api/v1, /outreach/api/v2."}
            return _response(json_answer(404, hint))
        connection = cast("_Connection", request.protocol)
        call = Call(
            provider=first,
            method=request.method,
            path=below,
            query=parse_query(query),
            headers=request.headers,
            body=body,
            connection=connection.number,
            origin=f"{self._scheme}://{request.headers.get('Host', '')}",
        )
        return await self._provider(request, connection, call)

    async def _provider(
        self, request: web.BaseRequest, connection: _Connection, call: Call
    ) -> web.StreamResponse:
        entry = self.state.log.received(call)
        is_token_call = call.path.endswith("/oauth/token")
        call.account = (oauth.owner if is_token_call else State.identify)(self.state, call)
        fault = self.state.faults.take(call)
        answer = await self._operate(call, fault)
        if fault is None and answer is not None:
            self.state.log.answered(entry, answer.status)
            return _response(answer)
        assert fault is not None  # noqa: S101 - for the type checker: only faults withhold answers
        entry.fault = fault.id
        return await self._deliver(request, connection, entry, fault, answer)

    async def _operate(self, call: Call, fault: Fault | None) -> Answer | None:
        """Carry out the operation, with all delays; None when the fault prevents it.

        A write locks its sequences until it is done, so that another one meanwhile is refused.
        """
        account = call.account
        latency = self.state.latency + (account.latency if account else 0.0)
        delay = fault.delay if fault else 0.0
        before, after = (latency, delay) if fault and fault.after else (latency + delay, 0.0)
        locked: set[str] = set()
        if account is not None and (account.busy or before or after):
            written = STAND_INS[call.provider].sequences_written(account, call)
            call.sequence_busy = bool(written & account.busy)
            locked = set() if call.sequence_busy else written
            account.busy |= locked
        try:
            await self._pause(before)
            answer = None
            if not (fault and fault.prevents):
                answer = STAND_INS[call.provider].handle(self.state, call)
            await self._pause(after)
        finally:
            if account is not None:
                account.busy -= locked
        return answer

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the sandbox."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), seconds)

    async def _until_gone(self, connection: _Connection, seconds: float | None = None) -> None:
        """Wait for the client to leave, for the sandbox to stop, or for some seconds."""
        waits = [
            asyncio.create_task(connection.gone.wait()),
            asyncio.create_task(self._closing.wait()),
        ]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _deliver(
        self,
        request: web.BaseRequest,
        connection: _Connection,
        entry: LoggedCall,
        fault: Fault,
        normal: Answer | None,
    ) -> web.StreamResponse:
        """Send what a fault makes of the answer."""
        transport = connection.transport
        log = self.state.log
        if fault.hang:
            log.answered(entry, None)
            await self._until_gone(connection)
            return _AlreadySent()
        if fault.cut in ("before_headers", "reset") and transport is not None:
            log.answered(entry, None)
            if fault.cut == "reset":
                _reset(transport)
            else:
                transport.close()
            return _AlreadySent()
        answer = fault.shape(normal)
        framed = any(name.lower() in _FRAMING for name, _ in fault.headers)
        log.answered(entry, None if fault.cut else answer.status)
        if fault.cut or framed:
            if transport is not None:
                await self._send_raw(transport, answer, fault.cut)
            return _AlreadySent()
        if fault.drip and len(answer.body):
            return await self._drip(request, connection, answer, fault.drip)
        if isinstance(answer.body, Repeated):
            return await _stream(request, answer, answer.body)
        return _response(answer)

    async def _drip(
        self, request: web.BaseRequest, connection: _Connection, answer: Answer, seconds: float
    ) -> web.StreamResponse:
        """Send the headers at once, and then the body byte by byte."""
        response = _head(answer)
        await response.prepare(request)
        for piece in _pieces(answer.body):
            for position in range(len(piece)):
                await response.write(piece[position : position + 1])
                await self._until_gone(connection, seconds)
                if connection.gone.is_set() or self._closing.is_set():
                    connection.force_close()
                    return _AlreadySent()
        return response

    async def _send_raw(
        self, transport: asyncio.Transport, answer: Answer, cut: str | None
    ) -> None:
        """Write the answer by hand, as far as the cut allows, and close the connection."""
        names = {name.lower() for name, _ in answer.headers}
        headers = list(answer.headers)
        if not names & _FRAMING:
            headers.append(("Content-Length", str(len(answer.body))))
        lines = [f"HTTP/1.1 {answer.status} {_reason(answer.status)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")
        if cut == "mid_headers":
            transport.write(head[: len(head) * 2 // 3])
        else:
            transport.write(head)
            limit = len(answer.body) // 2 if cut == "mid_body" else len(answer.body)
            for piece in _pieces(answer.body, limit):
                transport.write(piece)
                # A client that does not read must not fill this process's memory.
                while transport.get_write_buffer_size() > 16 * _CHUNK_BYTES:
                    if transport.is_closing() or self._closing.is_set():
                        return
                    await asyncio.sleep(0.005)
        transport.close()


def _pieces(body: bytes | Repeated, limit: int | None = None) -> Iterator[bytes]:
    end = len(body) if limit is None else limit
    if isinstance(body, Repeated):
        yield from body.chunks(end)
        return
    for start in range(0, end, _CHUNK_BYTES):
        yield body[start : min(start + _CHUNK_BYTES, end)]


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"


def _response(answer: Answer) -> web.StreamResponse:
    body = b"" if isinstance(answer.body, Repeated) else answer.body
    response = web.Response(status=answer.status, body=body or None)
    _put_headers(response, answer)
    return response


def _head(answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status)
    _put_headers(response, answer)
    response.content_length = len(answer.body)
    return response


def _put_headers(response: web.StreamResponse, answer: Answer) -> None:
    for name in {name for name, _ in answer.headers}:
        response.headers.popall(name, None)
    for name, value in answer.headers:
        response.headers.add(name, value)


async def _stream(request: web.BaseRequest, answer: Answer, body: Repeated) -> web.StreamResponse:
    response = _head(answer)
    await response.prepare(request)
    for piece in body.chunks(len(body)):
        await response.write(piece)
    return response


def _reset(transport: asyncio.Transport) -> None:
    """Close with RST: a lingering time of zero throws unsent data away and says so."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


@dataclass(frozen=True, slots=True)
class RunningSandbox:
    """A sandbox that answers, for tests in the same process.

    Attributes:
        url: Scheme, host and port.
        state: Everything that the sandbox holds.
    """

    url: str
    state: State = field(repr=False)

    @property
    def apollo_url(self) -> str:
        """Base URL of Apollo's API."""
        return f"{self.url}/apollo{apollo.PREFIX}"

    @property
    def apollo_token_url(self) -> str:
        """Apollo's token endpoint."""
        return f"{self.apollo_url}/oauth/token"

    @property
    def outreach_url(self) -> str:
        """Outreach's base URL; the API is below ``/api/v2``, tokens come from ``/oauth/token``."""
        return f"{self.url}/outreach"

    def calls(self, provider: str | None = None) -> list[dict[str, Any]]:
        """Return the calls received, in order, as ``GET /_sandbox/calls`` shows them."""
        return self.state.log.describe(provider)

    def clear_calls(self) -> None:
        """Forget calls and counters."""
        self.state.log.clear()

    def order_fault(self, **order: Any) -> str:
        """Order a fault with the members of ``POST /_sandbox/faults``; return its id.

        Raises:
            InvalidFault: The order makes no sense.
        """
        return self.state.faults.order(order).id

    def reset(self) -> None:
        """Bring everything back to the seed."""
        self.state.reset()


@contextlib.asynccontextmanager
async def running_sandbox(
    port: int = 0, host: str = "127.0.0.1", ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[RunningSandbox]:
    """Run a sandbox in the current event loop for as long as the context lasts."""
    server = Server()
    await server.start(host, port, ssl_context)
    try:
        yield RunningSandbox(server.url, server.state)
    finally:
        await server.stop()


def main(
    host: str = "127.0.0.1", port: int = 8090, ssl_context: ssl.SSLContext | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; port 0 takes a free port, which the first line names."""
    asyncio.run(_run(host, port, ssl_context))


async def _run(host: str, port: int, ssl_context: ssl.SSLContext | None) -> None:
    server = Server()
    await server.start(host, port, ssl_context)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows: Ctrl-C interrupts the loop itself.
            break
    sys.stdout.write(_greeting(server.url))
    sys.stdout.flush()
    try:
        await stop.wait()
    finally:
        await server.stop()


def _greeting(url: str) -> str:
    return f"""Sandbox listening on {url}

  Apollo    {url}/apollo{apollo.PREFIX}
    API key         {seed.APOLLO_MASTER_KEY}
    sequence, step  {seed.APOLLO_SEQUENCE_ACTIVE} {seed.APOLLO_STEP_PLAIN}
  Outreach  {url}/outreach{outreach.PREFIX}
    access token    {seed.OUTREACH_ACCESS_TOKEN}
    refresh token   {seed.OUTREACH_REFRESH_TOKEN}
    sequence, step  {seed.OUTREACH_SEQUENCE_ENABLED} {seed.OUTREACH_STEP_PLAIN}
  Control   {url}{control.PREFIX}/

All credentials: {url}{control.PREFIX}/accounts. Ctrl-C stops.
"""
