"""As much of HTTP/2 as a test needs to do what no gRPC client does: unfinished messages, pings, idle connections."""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def _header(name: str, value: str) -> bytes:
    """A header field as HPACK has it in its longest form."""
    return b"\x00" + b"".join(_length(len(text)) + text.encode() for text in (name, value))


def _length(length: int) -> bytes:
    if length < 127:
        return bytes([length])
    encoded, length = b"\x7f", length - 127
    while length > 127:
        encoded, length = encoded + bytes([length & 127 | 128]), length >> 7
    return encoded + bytes([length])


class Http2Connection:
    """A connection to a gRPC server, and what the server has sent on it.

    Attributes:
        settings: The server's settings.
        streams: What came on each stream, headers and data.
        ended: Streams that the server has ended.
        pongs: How many pings were answered.
        goaway: The debug data of GOAWAY; None without one.
        is_closed: Whether the server has closed the connection.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.settings: dict[int, int] = {}
        self.streams: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.pongs = 0
        self.goaway: bytes | None = None
        self.is_closed = False
        self._more = {0: 65_535}
        self._changed = asyncio.Event()
        self._reader = reader
        self._writer = writer
        self._next_stream = 1

    def send(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        self._writer.write(frame(kind, flags, stream, payload))

    def open(self, path: str, metadata: Sequence[tuple[str, str]] = ()) -> int:
        """Opens a stream for a call; returns its number."""
        stream = self._next_stream
        self._next_stream += 2
        fields = (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "test"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *metadata,
        )
        self.send(HEADERS, END_HEADERS, stream, b"".join(_header(*field) for field in fields))
        return stream

    async def send_data(self, stream: int, data: bytes, *, is_last: bool = False) -> int:
        """Sends data as far as the server's windows let it; returns how much was sent when the stream or connection ended."""
        sent = 0
        while sent < len(data) and stream not in self.ended and not self.is_closed:
            window = self.settings.get(INITIAL_WINDOW_SIZE, 65_535) + self._more.get(stream, 0) - sent
            part = data[sent : sent + min(16_384, self._more[0], window)]
            if not part:
                self._changed.clear()
                await self._changed.wait()
                continue
            sent += len(part)
            self._more[0] -= len(part)
            self.send(DATA, END_STREAM if is_last and sent == len(data) else 0, stream, part)
            await self._writer.drain()
        return sent

    async def read(self) -> None:
        """Takes what the server sends until it closes the connection."""
        try:
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                self._take(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
                self._changed.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.is_closed = True
        finally:
            self._changed.set()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            for name, value in struct.iter_unpack("!HI", payload):
                self.settings[name] = value
            self.send(SETTINGS, ACK)
        elif kind == WINDOW_UPDATE:
            self._more[stream] = self._more.get(stream, 0) + int.from_bytes(payload, "big")
        elif kind == PING and flags & ACK:
            self.pongs += 1
        elif kind == PING:
            self.send(PING, ACK, payload=payload)
        elif kind == GOAWAY:
            self.goaway = payload[8:]
        elif kind in (HEADERS, DATA):
            self.streams[stream] = self.streams.get(stream, b"") + payload
            if flags & END_STREAM:
                self.ended.add(stream)
        elif kind == RST_STREAM:
            self.ended.add(stream)


@asynccontextmanager
async def http2_connection(address: str) -> AsyncIterator[Http2Connection]:
    """A connection to HOST:PORT, until the end of the block."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    connection = Http2Connection(reader, writer)
    writer.write(_PREFACE + frame(SETTINGS, 0, 0, b""))
    reading = asyncio.create_task(connection.read())
    try:
        yield connection
    finally:
        reading.cancel()
        writer.transport.abort()
