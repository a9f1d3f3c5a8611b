"""What is fuzzed besides: whatever comes over a connection to a provider, against another reader of HTTP/1.1."""

import asyncio
import re
from collections.abc import Sequence

import h11

from service.http1 import NoAnswer, Silence
from service.http1.connection import Answer, Connection


class FakeTransport(asyncio.Transport):
    """A socket whose other end says what it is told to, and listens to nobody."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._closed = False
        connection.connection_made(self)

    def hear(self, pieces: Sequence[bytes]) -> None:
        """Pieces come, and then the end."""
        for piece in pieces:
            if not self._closed:
                self._connection.data_received(piece)
        if not self._closed:
            self._closed = True
            self._connection.connection_lost(None)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def is_closing(self) -> bool:
        return self._closed

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)


def one_answer(sent: bytes) -> Answer | Silence:
    """Reads what a server sends, before it closes the connection.

    Raises:
        AssertionError: What it is taken for depends on how it is cut into pieces, or another reader of HTTP takes it for
            something else.
        Exception: It failed by a bug.
    """
    at_once = asyncio.run(_read([sent]))
    assert at_once == asyncio.run(_read([bytes([byte]) for byte in sent]))
    if isinstance(at_once, Answer) and not _has_odd_encodings(sent):
        assert _read_by_h11(sent) in ((at_once.status, at_once.body), None)
    return at_once


def _has_odd_encodings(sent: bytes) -> bool:
    """Whether it says more of its transfer encoding than "chunked", which nobody asked for, and readers differ in."""
    said = re.findall(rb"transfer-encoding:?([^\r\n]*)", sent, re.IGNORECASE)
    return said not in ([], [b" chunked"])


async def _read(pieces: Sequence[bytes]) -> Answer | Silence:
    connection = Connection()
    transport = FakeTransport(connection)
    until = asyncio.get_running_loop().time() + 60
    awaited = connection.send(b"GET / HTTP/1.1\r\n\r\n", until=until, longest_silence=60, max_body_bytes=100_000)
    transport.hear(pieces)
    assert awaited.done()
    await connection.lost
    assert not connection.reusable
    try:
        return awaited.result()
    except NoAnswer as failure:
        assert failure.sent  # noqa: PT017  # not always raised
        return failure.why


def _read_by_h11(sent: bytes) -> tuple[int, bytes | None] | None:
    """The status and body, and no body if it is not whole; None if the head is none to this reader, the stricter one.

    Empty lines before an answer, which it does not allow, are kept from it.
    """
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("Host", "test")]))
    reader.send(h11.EndOfMessage())
    status, body, between_answers = 0, b"", True
    try:
        for piece in (*(bytes([byte]) for byte in sent), b""):
            if between_answers and piece in (b"\r", b"\n"):
                continue
            between_answers = False
            reader.receive_data(piece)
            while (event := reader.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                match event:
                    case h11.InformationalResponse():
                        between_answers = True
                    case h11.Response(status_code=status):
                        pass
                    case h11.Data():
                        body += bytes(event.data)
                    case h11.EndOfMessage():
                        return status, body
                    case _:
                        break
    except h11.RemoteProtocolError:
        pass
    return (status, None) if status else None
