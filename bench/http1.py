"""As much of an HTTP/1.1 client as the Node peer needs: one request at a time on a connection that is kept."""

import asyncio
from collections.abc import Callable
from typing import TypeAlias, cast

Done: TypeAlias = Callable[[bytes | None], None]
"""Takes the body of a good answer, or None if there was none."""


class HttpConnection(asyncio.Protocol):
    """A connection to an HTTP server."""

    def __init__(self) -> None:
        self._data = b""
        self._done: Done | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's by type.
        self._transport = cast("asyncio.Transport", transport)

    def call(self, request: bytes, done: Done) -> None:
        """Sends a request."""
        self._done = done
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._data[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._data) < end + 4 + length:
            return
        body = self._data[end + 4 : end + 4 + length]
        self._data = self._data[end + 4 + length :]
        self._end(body if head.startswith(b"http/1.1 200") else None)

    def _end(self, body: bytes | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(body)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio.Protocol names it
        self._end(None)

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()
