"""A TCP proxy in front of the tests' PostgreSQL, which can stop answering or refuse connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.databases import new_postgresql


class DatabaseProxy:
    """A proxy that runs.

    Attributes:
        url: The URL of the database by way of it.
        direct_url: The URL of the same database without it.
        refused: Connections that it refused.
        round_trips: What clients sent and then waited for.
    """

    def __init__(self, socket_path: str, direct_url: str) -> None:
        self.direct_url = direct_url
        self.url = ""
        self.refused = 0
        self.round_trips = 0
        self._socket_path = socket_path
        self._answers = asyncio.Event()
        self._answers.set()
        self._accepts = True
        self._writers: set[asyncio.StreamWriter] = set()

    def stop_answering(self) -> None:
        """Keeps all connections, old and new, and passes nothing on."""
        self._answers.clear()

    def go_away(self) -> None:
        """Ends all connections and refuses new ones."""
        self._accepts = False
        for writer in self._writers:
            writer.transport.abort()

    def come_back(self) -> None:
        """Passes everything on again."""
        self._accepts = True
        self._answers.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._accepts:
            self.refused += 1
            writer.transport.abort()
            return
        server_reader, server_writer = await asyncio.open_unix_connection(self._socket_path)
        both = {writer, server_writer}
        self._writers |= both
        try:
            await asyncio.gather(
                self._pass_on(reader, server_writer, counts=True), self._pass_on(server_reader, writer)
            )
        finally:
            self._writers -= both
            for each in both:
                each.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool = False
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.round_trips += counts
                await self._answers.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def database_proxy(server: Any) -> AsyncIterator[DatabaseProxy]:
    """A proxy in front of a new, empty database, until the end of the block."""
    direct_url = new_postgresql(server)
    name, folder = direct_url.partition("?")[0].rpartition("/")[2], direct_url.partition("host=")[2]
    proxy = DatabaseProxy(f"{folder}/.s.PGSQL.5432", direct_url)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    proxy.url = f"postgresql://postgres@127.0.0.1:{port}/{name}"
    try:
        yield proxy
    finally:
        listener.close()
        proxy.come_back()
        proxy.go_away()
