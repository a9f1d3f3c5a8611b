"""The HTTP server: listens, speaks TLS, and drains its connections when it stops."""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from socket import socket
from typing import Final

import structlog
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.address import bind
from service.api.tls import TlsFiles, TlsWatch
from service.domain.deadline import Deadline
from service.rest.protocol import HttpProtocol
from service.tasks import finish

log: Final = structlog.get_logger("service.rest")

# Longer than the idle times of common proxies (60 s), so that it is they who close.
_KEEP_ALIVE_SECONDS: Final = 75

# How long idle clients of a stopping server have to learn, by their next response, that the connection ends.
_DRAIN_SECONDS: Final = 1.0
_DRAIN_SHARE: Final = 0.25

_POLL_SECONDS: Final = 0.02


class _DrainingApp:
    """The application as uvicorn calls it: once the server drains, each response ends its connection."""

    def __init__(self, app: ASGIApp) -> None:
        self.draining = False
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""

        async def send_last(message: Message) -> None:
            if self.draining and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, send_last)


@dataclass(frozen=True, slots=True)
class HttpServer:
    """A server that listens.

    Attributes:
        address: Where it listens, as HOST:PORT with the real port.
    """

    address: str
    _draining_app: _DrainingApp
    _server: uvicorn.Server
    _listeners: Sequence[socket]
    _ticking: "asyncio.Task[None]"

    async def stop(self, grace: float) -> None:
        """Stops listening, and lets running calls end.

        The next response on a connection that is open says that it is the last one; connections without requests are closed
        a moment later.

        Args:
            grace: Seconds that the calls have.
        """
        end = Deadline.after(grace)
        self._draining_app.draining = True
        for server in self._server.servers:
            server.close()
        for listener in self._listeners:
            listener.close()
        connections = self._server.server_state.connections
        drain = Deadline.after(min(_DRAIN_SECONDS, grace * _DRAIN_SHARE))
        while connections and drain.remaining() > 0:  # noqa: ASYNC110  # uvicorn has no event for the end of one
            await asyncio.sleep(_POLL_SECONDS)
        for connection in list(connections):
            connection.shutdown()
        await finish(self._server.server_state.tasks, end.remaining())
        for connection in list(connections):
            connection.transport.close()
        self._ticking.cancel()


async def start(app: ASGIApp, address: str, tls: TlsFiles | None, *, shared: bool = False) -> HttpServer:
    """Starts a server.

    Args:
        app: What serves the requests.
        address: HOST:PORT; port 0 picks a free one.
        tls: The certificate to show and the clients to trust; None for plaintext.
        shared: Share the address with other workers.

    Raises:
        PortInUse: The address cannot be listened on.
        TlsError: The TLS files cannot be used.
    """
    context = _tls_context(tls) if tls is not None else None
    listeners = bind(address, shared=shared)
    draining_app = _DrainingApp(app)
    config = uvicorn.Config(
        draining_app,
        http=HttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    config.load()
    config.ssl = context
    server = uvicorn.Server(config)
    # uvicorn's own `serve` would take the signals of the process for itself.
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=listeners)
    host = address.rpartition(":")[0]
    port = listeners[0].getsockname()[1]
    ticking = asyncio.create_task(server.main_loop())
    return HttpServer(f"{host}:{port}", draining_app, server, listeners, ticking)


def _tls_context(files: TlsFiles) -> ssl.SSLContext:
    """A context that follows the files: every handshake looks whether they changed."""
    watch = TlsWatch(files)
    current = _loaded(files)

    def follow(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        nonlocal current
        if watch.changed() is not None:
            try:
                current = _loaded(files)
            except OSError as error:
                # They changed again in between; the next handshake looks again.
                log.warning("tls files not usable, keeping the last good ones", reason=str(error))
        connection.context = current

    # The context that is listened with only picks the current one.
    front = _loaded(files)
    front.sni_callback = follow
    return front


def _loaded(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.private_key)
    context.set_alpn_protocols(["http/1.1"])
    if files.client_ca is not None:
        context.load_verify_locations(files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
