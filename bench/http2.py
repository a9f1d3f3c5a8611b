"""As much of an HTTP/2 client as unary gRPC calls need, at a few dozen microseconds a call.

A generator must not be what is measured, and gRPC's own Python client costs as much as the server that it calls. The
headers that all calls share are put into the connection's HPACK table by the first call and named by their index from then
on, as gRPC's own clients do, so that the server has the same work with them.
"""

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, cast

Header: TypeAlias = tuple[bytes, bytes]
Done: TypeAlias = Callable[[bytes | None], None]
"""Takes the message of an answer, or None if there was none, which is so for every status but OK."""

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK: Final = 0x1
_END_STREAM: Final = 0x1
_END_HEADERS: Final = 0x4
_INITIAL_WINDOW_SIZE: Final = 4
_LARGEST_WINDOW: Final = 2**31 - 1
_WINDOW_REFILL: Final = 2**26
_DEFAULT_WINDOW: Final = 65_535
_STATIC_ENTRIES: Final = 61

# Fields of HPACK's static table that have the right value already.
_METHOD_POST: Final = b"\x83"
_SCHEME_HTTP: Final = b"\x86"
_SCHEME_HTTPS: Final = b"\x87"


class GrpcConnection(asyncio.Protocol):
    """A connection to a gRPC server. The caller keeps to the server's limit of concurrent streams.

    Attributes:
        running: Calls that have no answer yet.
    """

    def __init__(self, path: str, authority: str, shared: Sequence[Header], *, tls: bool = False) -> None:
        """Prepares a connection.

        Args:
            path: The method that is called.
            authority: The server's name.
            shared: The metadata that all calls have.
            tls: Whether the connection is inside TLS.
        """
        self.running: dict[int, Done] = {}
        self.ready = asyncio.Event()
        headers: list[Header] = [
            (b":path", path.encode()),
            (b":authority", authority.encode()),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
            (b"user-agent", b"seqstep-bench"),
            (b"grpc-timeout", b"30S"),
            *shared,
        ]
        scheme = _SCHEME_HTTPS if tls else _SCHEME_HTTP
        self._first_block = _METHOD_POST + scheme + b"".join(_remembered(name, value) for name, value in headers)
        # The newest entry of the table has the lowest index.
        indexes = range(_STATIC_ENTRIES + len(headers), _STATIC_ENTRIES, -1)
        self._block = _METHOD_POST + scheme + bytes(0x80 | index for index in indexes)
        self._used = False
        self._data = b""
        self._next_stream = 1
        self._window = _DEFAULT_WINDOW
        self._waiting: list[tuple[bytes, bytes, Done]] = []
        self._received = 0
        self._messages: dict[int, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's by type.
        self._transport = cast("asyncio.Transport", transport)
        settings = struct.pack("!HI", _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW)
        self._transport.write(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW_UPDATE, 0, 0, struct.pack("!I", _LARGEST_WINDOW - _DEFAULT_WINDOW))
        )

    def call(self, own: bytes, message: bytes, done: Done) -> None:
        """Makes a call.

        Args:
            own: The call's own metadata, encoded by `literal`.
            message: The request.
            done: Called with the answer.
        """
        framed = b"\x00" + struct.pack("!I", len(message)) + message
        if len(framed) > self._window:
            self._waiting.append((own, framed, done))
            return
        self._send(own, framed, done)

    def _send(self, own: bytes, framed: bytes, done: Done) -> None:
        self._window -= len(framed)
        stream = self._next_stream
        self._next_stream += 2
        self.running[stream] = done
        block = (self._block if self._used else self._first_block) + own
        self._used = True
        self._transport.write(
            _frame(_HEADERS, _END_HEADERS, stream, block) + _frame(_DATA, _END_STREAM, stream, framed)
        )

    def data_received(self, data: bytes) -> None:
        data = self._data + data if self._data else data
        at, end = 0, len(data)
        while end - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            if end - at < 9 + length:
                break
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            self._take(data[at + 3], data[at + 4], stream, data[at + 9 : at + 9 + length])
            at += 9 + length
        self._data = data[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            self._refill(len(payload))
            self._messages[stream] = self._messages.get(stream, b"") + payload
            if flags & _END_STREAM:
                self._end(stream)
        elif kind == _HEADERS:
            if flags & _END_STREAM:
                self._end(stream)
        elif kind == _SETTINGS:
            if not flags & _ACK:
                self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
                self.ready.set()
        elif kind == _PING:
            if not flags & _ACK:
                self._transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE:
            if stream == 0:
                self._window += int.from_bytes(payload, "big")
                self._send_waiting()
        elif kind == _RST_STREAM:
            self._messages.pop(stream, None)
            self._end(stream)
        elif kind == _GOAWAY:
            self._transport.close()

    def _send_waiting(self) -> None:
        while self._waiting and len(self._waiting[0][1]) <= self._window:
            self._send(*self._waiting.pop(0))

    def _refill(self, count: int) -> None:
        self._received += count
        if self._received >= _WINDOW_REFILL:
            self._transport.write(_frame(_WINDOW_UPDATE, 0, 0, struct.pack("!I", self._received)))
            self._received = 0

    def _end(self, stream: int) -> None:
        framed = self._messages.pop(stream, b"")
        done = self.running.pop(stream, None)
        if done is not None:
            done(framed[5:] if len(framed) >= 5 else None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio.Protocol names it
        lost, self.running = self.running, {}
        for done in lost.values():
            done(None)

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()


def literal(name: bytes, value: bytes) -> bytes:
    """A header field that the connection does not remember."""
    return b"\x00" + _string(name) + _string(value)


def _remembered(name: bytes, value: bytes) -> bytes:
    return b"\x40" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    if len(text) >= 127:
        raise ValueError("header strings of 127 bytes and more are not needed here")
    return bytes([len(text)]) + text


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
