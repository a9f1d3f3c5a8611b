"""One connection: a request goes out, the answer to it comes back, and nothing else is taken for one."""

import asyncio
from collections.abc import Mapping
from typing import Final, cast

import httptools
import msgspec

from service.http1.failures import NoAnswer, Silence

# Longer bodies go out in pieces, as the socket takes them, so that other calls have their turn.
_PIECE_BYTES: Final = 256 * 1024

# Status line, headers and framing come on top of the body that is allowed for.
_HEAD_BYTES: Final = 64 * 1024


class Answer(msgspec.Struct, frozen=True):
    """What came back.

    Attributes:
        status: The HTTP status.
        headers: The headers by their names in lower case; of those that come several times, the first.
        body: The body as it came, without the framing of its transfer.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """One connection to a server, for one request at a time. Belongs to the event loop that it was made in.

    Attributes:
        lost: Done when the connection is gone.
        idle_since: Since when it has nothing to do, by the clock of the loop.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.idle_since = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._awaited: asyncio.Future[Answer] | None = None
        self._reusable = True
        self._unsent = memoryview(b"")
        self._may_write = True

    @property
    def reusable(self) -> bool:
        """Whether it can take a request: the last answer came whole, and the server lets the connection live."""
        return self._reusable and self._awaited is None and not self._transport.is_closing()

    def send(
        self, request: bytes, *, until: float, longest_silence: float, max_body_bytes: int
    ) -> asyncio.Future[Answer]:
        """Sends a request, head and body; the answer is still to come.

        Whoever stops waiting for it has to close the connection, which the answer may still come from.

        Args:
            request: What to send, as it goes over the wire.
            until: When to give up, by the clock of the loop.
            longest_silence: Seconds in which something has to come, or something of the request has to go.
            max_body_bytes: Longest body.

        Returns:
            The answer, or NoAnswer.
        """
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._is_whole = False
        self._received = 0
        self._max_bytes = max_body_bytes + _HEAD_BYTES
        self._until = until
        self._longest_silence = longest_silence
        self._heard_at = self._loop.time()
        self._timer = self._loop.call_at(min(until, self._heard_at + longest_silence), self._look_at_the_clock)
        self._awaited = answer = self._loop.create_future()
        if len(request) <= _PIECE_BYTES:
            self._transport.write(request)
        else:
            self._unsent = memoryview(request)
            self._send_pieces()
        return answer

    def close(self) -> None:
        """Closes at once; an answer that is still awaited is NoAnswer then."""
        self._reusable = False
        self._transport.abort()

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It can be written to."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Something came."""
        if self._awaited is None:
            # Nobody asked. Whatever it is, it must not be taken for the answer to the next request.
            self.close()
            return
        self._heard_at = self._loop.time()
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._reusable = False
            if not self._is_whole:
                self._give_up(Silence.UNREADABLE)
                return
        if self._is_whole:
            self._end_well()
        elif self._received > (self._max_bytes if self._status else _HEAD_BYTES):
            self._give_up(Silence.TOO_LONG)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._reusable = False
        self.lost.set_result(None)
        if self._awaited is not None:
            # A body that says nothing of its length ends with the connection (RFC 9112, section 6.3).
            framed = not self._headers.keys().isdisjoint(("content-length", "transfer-encoding"))
            if exc is None and self._status and not framed:
                self._end_well()
            else:
                self._give_up(Silence.CUT)

    def pause_writing(self) -> None:
        """The socket takes no more for now."""
        self._may_write = False

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._may_write = True
        self._heard_at = self._loop.time()
        self._send_pieces()

    # What the parser tells.

    def on_message_begin(self) -> None:
        """An answer begins; a second one to the same request is none."""
        if self._is_whole:
            raise ValueError("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; or a trailer, which nobody needs."""
        if not self._status:
            self._headers.setdefault(name.decode("latin-1").lower(), value.decode("utf-8", "replace"))

    def on_headers_complete(self) -> None:
        """The body follows."""
        status = self._parser.get_status_code()
        if status >= 200:
            self._status = status

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it was one that only announces another (100 to 199)."""
        if not self._status:
            self._headers.clear()
            return
        self._is_whole = True
        self._reusable = self._parser.should_keep_alive() and not self._unsent

    # What comes of it.

    def _send_pieces(self) -> None:
        while self._unsent and self._may_write and not self._transport.is_closing():
            self._transport.write(self._unsent[:_PIECE_BYTES])
            self._unsent = self._unsent[_PIECE_BYTES:]

    def _look_at_the_clock(self) -> None:
        now = self._loop.time()
        if now >= self._until:
            self._give_up(Silence.DEADLINE)
        elif now >= self._heard_at + self._longest_silence:
            self._give_up(Silence.READ_TIMEOUT)
        else:
            at = min(self._until, self._heard_at + self._longest_silence)
            self._timer = self._loop.call_at(at, self._look_at_the_clock)

    def _end_well(self) -> None:
        awaited, self._awaited = self._awaited, None
        self._timer.cancel()
        if awaited is not None and not awaited.done():
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            awaited.set_result(Answer(self._status, self._headers, body))

    def _give_up(self, why: Silence) -> None:
        awaited, self._awaited = self._awaited, None
        self._timer.cancel()
        self.close()
        if awaited is not None and not awaited.done():
            awaited.set_exception(NoAnswer(why, sent=True))
