"""A server that does what a test says, byte by byte."""

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class ServerConnection:
    """One connection, as the server sees it.

    Attributes:
        gone: Set when the client has closed it, as far as the script has read.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def request(self) -> tuple[str, bytes]:
        """The head and the body of the next request."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"^content-length: *(\d+)", head, re.IGNORECASE | re.MULTILINE)
        return head, await self.reader.readexactly(int(length[1])) if length else b""

    async def send(self, *pieces: bytes) -> None:
        """Sends pieces, each by itself."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def until_closed(self) -> None:
        """Returns when the client has closed the connection, in whatever way."""
        try:
            while await self.reader.read(1024):
                pass
        except ConnectionError:
            pass
        self.gone.set()

    def reset(self) -> None:
        """Ends the connection by a reset."""
        end = self.writer.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[ServerConnection], Awaitable[None]]


@dataclass
class ScriptedServer:
    """A server that runs.

    Attributes:
        port: Where it listens.
        url: The same, with a path.
        connections: Those that were made to it.
    """

    port: int = 0
    scheme: str = "http"
    connections: list[ServerConnection] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/path"


@asynccontextmanager
async def scripted_server(
    script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[ScriptedServer]:
    """A server that follows the script on every connection, and then closes it."""
    server = ScriptedServer(scheme="https" if tls else "http")
    tasks: list[asyncio.Task[None]] = []

    async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = ServerConnection(reader, writer)
        server.connections.append(connection)
        try:
            await script(connection)
        except (asyncio.IncompleteReadError, ConnectionError):
            connection.gone.set()
        finally:
            # In Python 3.11.2 a TLS transport that is closed twice can no longer be aborted.
            if not writer.is_closing():
                writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(follow(reader, writer)))

    listening = await asyncio.start_server(accept, host, 0, ssl=tls, limit=2**20)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in server.connections:
            # Otherwise what a client did not read would keep it open beyond the event loop.
            connection.writer.transport.abort()
        await asyncio.sleep(0)
