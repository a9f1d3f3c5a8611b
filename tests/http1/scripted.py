"""A server that does what a test tells it, byte by byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service.domain.deadline import Deadline
from service.http1 import Limits, Pool
from service.http1.connection import Answer

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


@dataclass
class Line:
    """One connection, as the server sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def request(self) -> bytes:
        """The head of the next request."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def answer(self, *pieces: bytes) -> None:
        """Sends pieces, each by itself."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def until_closed(self) -> None:
        """Returns when the client has closed the connection, for good or not."""
        try:
            while await self.reader.read(1024):
                pass
        except ConnectionError:
            pass
        self.gone.set()


Script = Callable[[Line], Awaitable[None]]


@dataclass
class Scripted:
    """A server that runs.

    Attributes:
        port: Where.
        lines: The connections that were made to it.
    """

    port: int = 0
    lines: list[Line] = field(default_factory=list)

    def pool(self, limits: Limits | None = None, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Pool:
        """Connections to it."""
        return Pool(host, self.port, limits or Limits(), tls)


@asynccontextmanager
async def serving(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    """A server that follows the script on every connection, and closes it then."""
    server = Scripted()
    tasks: list[asyncio.Task[None]] = []

    async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer)
        server.lines.append(line)
        try:
            await script(line)
        except (asyncio.IncompleteReadError, ConnectionError):
            line.gone.set()
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(follow(reader, writer)))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def exchange(pool: Pool, request: bytes = REQUEST, seconds: float = 20) -> Answer:
    """One request and its answer."""
    return await pool.exchange(request, Deadline.after(seconds))
