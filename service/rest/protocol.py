"""A connection of the HTTP server: uvicorn's, which waits for no request for long and answers bad ones in the envelope."""

import asyncio
import ssl
import uuid
from typing import Final

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.descriptors import max_connections
from service.api.envelope import envelope
from service.domain.certificate_names import certificate_names
from service.domain.errors import ErrorCode, Problem
from service.rest.schemas import render

log: Final = structlog.get_logger("service.rest")

MAX_HEAD_BYTES: Final = 16 * 1024
"""Longest head of a request, as over gRPC."""

HEAD_SECONDS: Final = 10.0
"""How long the head of a request may take to arrive."""

CERTIFICATE_NAMES: Final = "certificate_names"
"""Where in the state of a request the names in the client's certificate are."""

# Each piece of a body costs the same, however short. A body may have so many, and one more for each so many bytes.
_PIECES: Final = 512
_PIECE_BYTES: Final = 512


class HttpProtocol(HttpToolsProtocol):
    """One connection, which serves one request at a time.

    uvicorn would parse and keep all requests that a client sends without waiting for responses; here the second one ends the
    connection after the first one's response, so that the client sends it again on another. uvicorn would also lose the body
    of a request that offers an upgrade to HTTP/2, as Java's client does by default; here the offer is taken for none.
    """

    _header_timeout: asyncio.TimerHandle | None = None
    _waiting_since: float

    # Bytes since the parser last came to the end of a head, to a piece of a body, or to the end of a request.
    _incomplete_bytes = 0
    _is_last_request = False

    # Of the request that began last.
    _pieces: int
    _body_bytes: int
    _in_head: bool

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
        """Parses what arrived; of a request, at most the longest head before its end was seen."""
        self._unset_keepalive_if_required()
        head_bytes = MAX_HEAD_BYTES if self._is_waiting() else 0
        for part in (data[:head_bytes], data[head_bytes:]):
            if part and not self._is_last_request and not self.transport.is_closing():
                self._parse(part)
        self._update_header_timeout()

    def _parse(self, data: bytes) -> None:
        self._incomplete_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            if not self._is_last_request:
                self.send_400_response("Invalid HTTP request received.")
        else:
            if self._incomplete_bytes >= MAX_HEAD_BYTES:
                self.send_400_response("Too much came that is no body.")

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            rest = data[offer.args[0] :]
        else:
            return
        # The parser takes what follows for another protocol. So it gets the head again, without the offer.
        version = self.parser.get_http_version().encode()
        fields = b"".join(b"%s: %s\r\n" % field for field in self.headers if field[0] != b"upgrade")
        head = b"%s %s HTTP/%s\r\n%s\r\n" % (self.parser.get_method(), self.url, version, fields)
        self.parser = httptools.HttpRequestParser(self)
        # As uvicorn's own: what comes after the last request does not end that one.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed(head + rest)

    def on_message_begin(self) -> None:
        """A request begins; called by the parser, as are the next ones."""
        if not self._is_waiting():
            # What else comes is read, and dropped, so that no reset of the connection takes the response from the client.
            self._is_last_request = True
            self.cycle.keep_alive = False
            raise httptools.HttpParserError
        super().on_message_begin()
        self._in_head = True
        self._pieces = self._body_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or one after the body, which means nothing here."""
        if self._in_head:
            # The parser leaves the white space at the end.
            super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        """Starts the request, if its head is as HTTP/1.1 wants it."""
        version = self.parser.get_http_version()
        hosts = sum(name == b"host" for name, _ in self.headers)
        if version not in {"1.0", "1.1"} or hosts > 1 or (version == "1.1" and hosts == 0):
            raise httptools.HttpParserError
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise httptools.HttpParserError
            # It is parsed once more, without the offer.
            return
        self._in_head = False
        self._incomplete_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._incomplete_bytes = 0
        self._pieces += 1
        self._body_bytes += len(body)
        if self._pieces > _PIECES + self._body_bytes // _PIECE_BYTES:
            raise httptools.HttpParserError
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request."""
        if not self._in_head:
            self._incomplete_bytes = 0
            super().on_message_complete()

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

    def _is_waiting(self) -> bool:
        """Whether the head of a request is to come."""
        return self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]  # it is None at first

    def _update_header_timeout(self) -> None:
        """Starts the timer if the head of a request is to come, and stops it if one has come."""
        waiting = self._is_waiting()
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
            f"{msg} It has to be HTTP/1.1, with at most {MAX_HEAD_BYTES // 1024} KiB before the body and at most {_PIECES} "
            f"chunks, beside one for each {_PIECE_BYTES} bytes.",
        )
        log.warning("refused", code=problem.code.value, reason=problem.detail, limited=True)
        body = render(envelope([problem], application_name="", request_id=request_id))
        if self.cycle is None or self._in_head or not self.cycle.response_started:  # type: ignore[redundant-expr]  # as above
            self.transport.write(
                b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                b"x-request-id: %s\r\nconnection: close\r\n\r\n%s" % (len(body), request_id.encode(), body)
            )
        self.transport.close()


def _certificate_names(connection: ssl.SSLObject | None) -> tuple[str, ...]:
    """The names in a client certificate that TLS has verified; empty without one."""
    certificate = connection.getpeercert(binary_form=True) if connection is not None else None
    return certificate_names(certificate) if certificate else ()
