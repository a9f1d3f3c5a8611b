"""A gRPC server at the level of HTTP/2 frames, and one of gRPC-Web, which do with each attempt what a script says."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import trustme
from aiohttp import web
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hpack import NeverIndexedHeaderTuple

from tests.peer.script import GRPC_HEADERS, RESPONSES, Attempt, Headers, Script

REFILL: Final = "refill"
"""The customer whose calls are answered with OK and are not counted: successes give a client its retries back."""

API_KEY: Final = "key-for-the-peer"
"""What runners are given as their key; vectors say where the peer wants it."""

_HEALTH: Final = "/grpc.health.v1.Health/"
_SERVING: Final = b"\x00\x00\x00\x00\x02\x08\x01"
_WINDOW: Final = 4 * 1024 * 1024
_WEB_TRAILERS: Final = 0x80


@dataclass
class _Stream:
    path: str
    metadata: dict[str, str]
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    may_send: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class _Connection(asyncio.Protocol):
    """One connection with its streams."""

    def __init__(self, peer: "Peer") -> None:
        self._peer = peer
        config = H2Configuration(
            client_side=False,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._h2 = H2Connection(config)
        self._streams: dict[int, _Stream] = {}
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._peer.connections.add(self)
        self._h2.initiate_connection()
        self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW})
        self._h2.increment_flow_control_window(_WINDOW)
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._h2.receive_data(data):
                self._take(event)
        except ProtocolError:
            self._transport.close()
            return
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._peer.connections.discard(self)
        for stream in self._streams.values():
            if stream.task is not None:
                stream.task.cancel()

    def close(self) -> None:
        """Closes it at once."""
        self._transport.abort()

    def _take(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=int() as number, headers=headers):
                metadata = {str(key): str(value) for key, value in headers or ()}
                stream = _Stream(metadata[":path"], metadata)
                self._streams[number] = stream
                stream.task = asyncio.create_task(self._serve(number, stream))
            case DataReceived(stream_id=int() as number, flow_controlled_length=int() as length):
                self._h2.acknowledge_received_data(length, number)
            case StreamEnded(stream_id=int() as number) if number in self._streams:
                self._streams[number].ended.set()
            case StreamReset(stream_id=int() as number) if number in self._streams:
                stream = self._streams.pop(number)
                if stream.task is not None:
                    stream.task.cancel()
            case WindowUpdated():
                for stream in self._streams.values():
                    stream.may_send.set()
            case ConnectionTerminated():
                self._transport.close()

    def _flush(self) -> None:
        self._transport.write(self._h2.data_to_send())

    async def _serve(self, number: int, stream: _Stream) -> None:
        # The caller may have gone by now.
        with contextlib.suppress(ProtocolError):
            if stream.path.startswith(_HEALTH):
                await self._say_serving(number, stream)
            elif stream.path not in RESPONSES:
                self._send_headers(number, [*GRPC_HEADERS, ("grpc-status", "12")], is_last=True)
            else:
                await self._act(number, stream, self._peer.next_attempt(stream.metadata))
        self._streams.pop(number, None)

    async def _say_serving(self, number: int, stream: _Stream) -> None:
        await stream.ended.wait()
        self._send_headers(number, [*GRPC_HEADERS])
        await self._send(number, stream, _SERVING)
        if stream.path.endswith("/Watch"):
            await asyncio.Event().wait()
        self._send_headers(number, [("grpc-status", "0")], is_last=True)

    async def _act(self, number: int, stream: _Stream, attempt: Attempt) -> None:
        if attempt.at == "end":
            await stream.ended.wait()
        if unmet := attempt.unmet(stream.metadata):
            attempt = Attempt(trailers_only=True, status="FAILED_PRECONDITION", status_message=unmet)
        await asyncio.sleep(attempt.wait_seconds)
        if attempt.hang:
            await asyncio.Event().wait()
        if attempt.goaway:
            last = number if attempt.goaway == "after" else max(0, number - 2)
            self._h2.close_connection(last_stream_id=last)
            self._flush()
        else:
            await self._answer(number, stream, attempt)
        if attempt.close:
            # What was written is still sent.
            self._transport.close()

    async def _answer(self, number: int, stream: _Stream, attempt: Attempt) -> None:
        data = attempt.data(stream.path, stream.metadata)
        ends_here = attempt.close or attempt.reset is not None
        if not attempt.trailers_only and (data or not ends_here):
            self._send_headers(number, attempt.response_headers(stream.metadata))
            await self._send(number, stream, data, is_last=attempt.no_trailers and not ends_here)
        if attempt.reset is not None:
            self._h2.reset_stream(number, ErrorCodes[attempt.reset])
            self._flush()
        elif attempt.trailers_only:
            headers = GRPC_HEADERS if attempt.headers is None else attempt.headers
            self._send_headers(number, [*headers, *attempt.response_trailers()], is_last=True)
        elif not attempt.no_trailers and not ends_here:
            self._send_headers(number, attempt.response_trailers(), is_last=True)

    def _send_headers(self, number: int, headers: Headers, *, is_last: bool = False) -> None:
        # What a client refuses to parse must not stay in the table that both sides keep of headers.
        fields = [NeverIndexedHeaderTuple(*each) for each in headers]
        self._h2.send_headers(number, fields, end_stream=is_last)
        self._flush()

    async def _send(self, number: int, stream: _Stream, data: bytes, *, is_last: bool = False) -> None:
        while data or is_last:
            most = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
            part, data = data[:most], data[most:]
            if part or is_last:
                self._h2.send_data(number, part, end_stream=is_last and not data)
                self._flush()
                if not data:
                    return
            else:
                stream.may_send.clear()
                await stream.may_send.wait()


@dataclass
class Peer:
    """The peer on several ports of this machine.

    Attributes:
        control_url: Where its control API is.
        plaintext: Where it is without TLS.
        mutual: Where it is with TLS and wants a client certificate.
        other_name: Where it shows a certificate for another host.
        grpc_web: Where it speaks gRPC-Web without TLS, over HTTP/1.1.
        files: PEM files by name: `ca`, `other_ca`, `certificate`, `key`.
        script: What it does with attempts.
        attempts: The metadata of each that has come since the last reset.
        connections: Those that are open.
    """

    control_url: str = ""
    plaintext: str = ""
    mutual: str = ""
    other_name: str = ""
    grpc_web: str = ""
    files: dict[str, str] = field(default_factory=dict)
    script: Script = field(default_factory=Script)
    attempts: list[dict[str, str]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)

    def next_attempt(self, metadata: dict[str, str]) -> Attempt:
        """What to do with an attempt that has come."""
        if metadata.get("x-customer-id") == REFILL:
            return Attempt()
        self.attempts.append(metadata)
        return self.script.attempts[min(len(self.attempts), len(self.script.attempts)) - 1]

    def reset(self) -> None:
        """Forgets the script and the attempts."""
        self.script, self.attempts = Script(), []

    async def control(self, request: web.BaseRequest) -> web.Response:
        """Answers a call of the control API, which has the shape of the sandbox's."""
        match request.method, request.path:
            case "POST", "/_sandbox/reset":
                self.reset()
                return web.Response(status=204)
            case "POST", "/_sandbox/script":
                try:
                    self.script = msgspec.json.decode(await request.read(), type=Script)
                except msgspec.ValidationError as error:
                    return web.json_response({"error": str(error)}, status=400)
                return web.Response(status=204)
            case "GET", "/_sandbox/calls":
                return web.json_response(self.attempts)
        return web.json_response({"error": "not found"}, status=404)

    async def web_call(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers a call of gRPC-Web as the script says; what is a frame of HTTP/2 there closes the connection here."""
        if request.path not in RESPONSES:
            return web.Response(status=404)
        metadata = {key.lower(): value for key, value in request.headers.items()}
        attempt = self.next_attempt(metadata)
        async for _ in request.content.iter_any():
            pass
        if unmet := attempt.unmet(metadata):
            attempt = Attempt(trailers_only=True, status="FAILED_PRECONDITION", status_message=unmet)
        await asyncio.sleep(attempt.wait_seconds)
        if attempt.hang:
            await asyncio.Event().wait()
        data = attempt.data(request.path, metadata)
        ends_here = attempt.close or attempt.reset is not None
        response = web.StreamResponse()
        response.content_type = "application/grpc-web+proto"
        for name, value in attempt.headers or ():
            if name == ":status":
                response.set_status(int(value))
            else:
                response.headers[name] = value
        if attempt.trailers_only:
            response.headers.extend(attempt.response_trailers())
        elif not attempt.no_trailers and not ends_here:
            data += _web_trailers(attempt.response_trailers())
        if data or not ends_here:
            await response.prepare(request)
            await response.write(data)
        if ends_here and request.transport is not None:
            # What was written is still sent.
            request.transport.close()
        return response


def _web_trailers(trailers: Headers) -> bytes:
    content = "".join(f"{name}:{value}\r\n" for name, value in trailers).encode()
    return bytes([_WEB_TRAILERS]) + len(content).to_bytes(4, "big") + content


@asynccontextmanager
async def running_peer(folder: Path) -> AsyncIterator[Peer]:
    """Runs a peer on free ports; its certificates are in `folder`."""
    peer = Peer()
    authority, stranger = trustme.CA(), trustme.CA()
    own, client = authority.issue_cert("localhost", "127.0.0.1"), authority.issue_cert("client.example")
    for name, blob in (
        ("ca", authority.cert_pem),
        ("other_ca", stranger.cert_pem),
        ("certificate", client.cert_chain_pems[0]),
        ("key", client.private_key_pem),
    ):
        peer.files[name] = str(folder / f"peer-{name}.pem")
        blob.write_to_path(peer.files[name])
    loop = asyncio.get_running_loop()

    async def listen(context: ssl.SSLContext | None) -> asyncio.Server:
        return await loop.create_server(lambda: _Connection(peer), "127.0.0.1", 0, ssl=context, backlog=256)

    servers = [
        await listen(None),
        await listen(_context(own, authority)),
        await listen(_context(authority.issue_cert("other.example"), None)),
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    peer.plaintext = f"127.0.0.1:{ports[0]}"
    # Some libraries do not check certificates against addresses.
    peer.mutual, peer.other_name = (f"localhost:{port}" for port in ports[1:])
    async with _http_server(peer.control) as control, _http_server(peer.web_call) as web_address:
        peer.control_url, peer.grpc_web = f"http://{control}", web_address
        try:
            yield peer
        finally:
            for server in servers:
                server.close()
            for connection in [*peer.connections]:
                connection.close()


@asynccontextmanager
async def _http_server(handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """Serves HTTP/1.1 on a free port of this machine, and gives its address. Who has gone needs no answer."""
    server = web.Server(handler, handler_cancellation=True, max_field_size=64 * 1024)
    runner = web.ServerRunner(server, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=256)
        await site.start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _context(certificate: trustme.LeafCert, clients: trustme.CA | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    certificate.configure_cert(context)
    if clients is not None:
        clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
