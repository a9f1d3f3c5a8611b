"""A proxy on this machine, which knows where the hosts of a test are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.scripted_server import ServerConnection, scripted_server


@dataclass
class ProxyServer:
    """A proxy that runs.

    Attributes:
        port: Where it listens.
        heads: The heads of the requests that it got.
        places: The ports on this machine that it takes HOST:PORT to.
        answer: What it answers in place of what it is asked for.
    """

    port: int = 0
    heads: list[str] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    answer: bytes | None = None

    def url(self, user: str = "") -> str:
        """Its URL, with `USER:PASSWORD@` where given."""
        return f"http://{user}127.0.0.1:{self.port}"

    async def serve(self, connection: ServerConnection) -> None:
        head, _ = await connection.request()
        self.heads.append(head)
        if self.answer is not None:
            await connection.send(self.answer)
        elif head.startswith("CONNECT "):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.places[head.split(" ")[1]])
            await connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_copy(connection.reader, writer), _copy(reader, connection.writer))
        else:
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nforwarded")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def proxy_server() -> AsyncIterator[ProxyServer]:
    """A proxy, until the end of the block."""
    proxy = ProxyServer()
    async with scripted_server(proxy.serve) as server:
        proxy.port = server.port
        yield proxy
