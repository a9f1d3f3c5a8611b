"""The HTTP server: listening, TLS, and an end that cuts nobody off."""

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import Final

import structlog
import uvicorn

from service.api.address import PortInUse
from service.api.tls import TlsFiles, TlsWatch
from service.domain.deadline import Deadline
from service.rest.app import Door
from service.rest.protocol import MAX_HEAD_BYTES, HttpProtocol
from service.tasks import finish

log: Final = structlog.get_logger("service.rest")

# Longer than the idle times of common proxies (60 s), so that it is they who close.
_KEEP_ALIVE_SECONDS: Final = 75

# How long clients of a stopping server have to learn, by their next answer, that the connection ends.
_FAREWELL_SECONDS: Final = 1.0
_FAREWELL_SHARE: Final = 0.25

_LOOK_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class HttpServer:
    """A server that listens.

    Attributes:
        address: Where it listens, as HOST:PORT with the real port.
    """

    address: str
    _door: Door
    _server: uvicorn.Server
    _listener: socket.socket
    _ticking: "asyncio.Task[None]"

    def set_ready(self) -> None:
        """Tells `/readyz` that calls are welcome."""
        self._door.ready = True

    async def stop(self, grace: float) -> None:
        """Stops listening, turns not ready, and lets running calls end.

        Connections that are open are told by their next answer that it is the last one; those that nobody uses are closed
        a moment later.

        Args:
            grace: Seconds that the calls have.
        """
        end = Deadline.after(grace)
        self._door.drain()
        for server in self._server.servers:
            server.close()
        self._listener.close()
        connections = self._server.server_state.connections
        farewell = Deadline.after(min(_FAREWELL_SECONDS, grace * _FAREWELL_SHARE))
        while connections and farewell.remaining() > 0:  # noqa: ASYNC110  # uvicorn tells nobody when one ends
            await asyncio.sleep(_LOOK_SECONDS)
        for connection in list(connections):
            connection.shutdown()
        await finish(self._server.server_state.tasks, end.remaining())
        for connection in list(connections):
            connection.transport.close()
        self._ticking.cancel()


async def start(door: Door, address: str, tls: TlsFiles | None) -> HttpServer:
    """Starts a server; `/readyz` answers 503 until `set_ready`.

    Args:
        door: What serves the requests.
        address: HOST:PORT; port 0 picks a free one.
        tls: The certificate to show and the clients to trust; None for plaintext.

    Raises:
        PortInUse: The address cannot be listened on.
        TlsError: The TLS files cannot be used.
    """
    context = _tls_context(tls) if tls is not None else None
    listener = _listen(address)
    config = uvicorn.Config(
        door,
        http=HttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
    )
    config.load()
    config.ssl = context
    server = uvicorn.Server(config)
    # uvicorn's own `serve` would take the signals of the process for itself.
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    host = address.rpartition(":")[0]
    port = listener.getsockname()[1]
    return HttpServer(f"{host}:{port}", door, server, listener, asyncio.create_task(server.main_loop()))


def _listen(address: str) -> socket.socket:
    host, _, number = address.rpartition(":")
    try:
        port = int(number)
        if not 0 <= port < 65536:
            raise ValueError(number)  # noqa: TRY301
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (ValueError, OSError):
        raise PortInUse(f"cannot listen on {address}; it is not HOST:PORT") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # All workers listen on one address, and the kernel spreads connections over them.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(where)
    except OSError:
        listener.close()
        raise PortInUse(f"cannot listen on {address}; is something else listening there?") from None
    listener.setblocking(False)
    return listener


def _tls_context(files: TlsFiles) -> ssl.SSLContext:
    """A context that follows the files: every handshake looks whether they changed."""
    watch = TlsWatch(files)
    current = _loaded(files)

    def follow(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        nonlocal current
        if watch.changed() is not None:
            try:
                current = _loaded(files)
            except (OSError, ssl.SSLError) as error:
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
