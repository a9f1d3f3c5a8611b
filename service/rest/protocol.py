"""A connection of the HTTP server: uvicorn's, which waits for no request for long and answers bad ones in the envelope."""

import asyncio
import ssl
import uuid
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.api.descriptors import max_connections
from service.api.envelope import envelope
from service.domain.certificate_names import certificate_names
from service.domain.errors import ErrorCode, Problem
from service.rest.schemas import render

MAX_HEAD_BYTES: Final = 16 * 1024
"""Longest head of a request, as over gRPC."""

HEAD_SECONDS: Final = 10.0
"""How long the head of a request may take to arrive."""

CERTIFICATE_NAMES: Final = "certificate_names"
"""Where in the state of a request the names in the client's certificate are."""

# Each piece of a body costs the same, however short. So many short ones cost less than one long request.
_SHORT_PIECE_BYTES: Final = 64
_MAX_SHORT_PIECES: Final = 512


class HttpProtocol(H11Protocol):
    """One connection.

    uvicorn's parser in C would be faster, but loses the body of a request that offers an upgrade to HTTP/2, as Java's client
    does by default, and reads it as the next request.
    """

    _header_timeout: asyncio.TimerHandle | None = None
    _waiting_since = 0.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn = _Connection(h11.SERVER, MAX_HEAD_BYTES)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Reads the names in the client's certificate, and starts to wait for a request.

        One connection too many ends the one that has waited longest for a request, or itself if none waits: connections that
        do nothing keep nobody out.
        """
        super().connection_made(transport)
        self._make_place()
        names = _certificate_names(transport.get_extra_info("ssl_object"))
        self.app_state = {**self.app_state, CERTIFICATE_NAMES: names}
        self._update_header_timeout()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timer."""
        if self._header_timeout is not None:
            self._header_timeout.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses what arrived."""
        super().data_received(data)
        self._update_header_timeout()

    def _make_place(self) -> None:
        if len(self.connections) <= max_connections():
            return
        waiting = [
            each
            for each in self.connections
            if isinstance(each, HttpProtocol) and each._header_timeout is not None  # noqa: SLF001  # of the same class
        ]
        longest = min(waiting, key=lambda each: each._waiting_since, default=self)  # noqa: SLF001
        # The connection is counted until it has closed, which happens at once.
        self.connections.discard(longest)
        longest.transport.abort()

    def _update_header_timeout(self) -> None:
        """Starts the timer if the head of a request is to come, and stops it if one has come."""
        waiting = self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]  # it is None at first
        if waiting and self._header_timeout is None:
            self._waiting_since = self.loop.time()
            self._header_timeout = self.loop.call_later(HEAD_SECONDS, self.timeout_keep_alive_handler)
        elif not waiting and self._header_timeout is not None:
            self._header_timeout.cancel()
            self._header_timeout = None

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP/1.1, or has too long a head, in the envelope."""
        request_id = str(uuid.uuid4())
        problem = Problem(
            ErrorCode.BAD_REQUEST,
            f"{msg} It has to be HTTP/1.1, with at most {MAX_HEAD_BYTES // 1024} KiB before the body and at most "
            f"{_MAX_SHORT_PIECES} chunks of less than {_SHORT_PIECE_BYTES} bytes.",
        )
        body = render(envelope([problem], application_name="", request_id=request_id))
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("x-request-id", request_id),
            ("connection", "close"),
        ]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            for event in (
                h11.Response(status_code=400, headers=headers, reason="Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event))
        self.transport.close()


class _Connection(h11.Connection):
    """h11's parser with a limit for bodies in short pieces, which would keep it busy while other requests wait."""

    _short_pieces = 0

    def next_event(self) -> Any:
        """The next event; raises what h11 raises, also for a body in too many short pieces."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._short_pieces = 0
        elif isinstance(event, h11.Data) and len(event.data) < _SHORT_PIECE_BYTES:
            self._short_pieces += 1
            if self._short_pieces > _MAX_SHORT_PIECES:
                raise h11.RemoteProtocolError("the body comes in too many short pieces")
        return event


def _certificate_names(connection: ssl.SSLObject | None) -> tuple[str, ...]:
    """The names in a client certificate that TLS has verified; empty without one."""
    certificate = connection.getpeercert(binary_form=True) if connection is not None else None
    return certificate_names(certificate) if certificate else ()
