"""The connections to one server: how many there may be, who gets one, and how one is made."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from aiohappyeyeballs import start_connection

from service.domain.deadline import Deadline
from service.http1.connection import Answer, Connection
from service.http1.failures import NoAnswer, Silence

_IDLE_SECONDS: Final = 30.0
_NAME_SECONDS: Final = 60.0

# How long an address has before the next one is tried beside it (RFC 8305, section 5).
_NEXT_ADDRESS_SECONDS: Final = 0.25

_Addresses: TypeAlias = Sequence[tuple[Any, Any, int, str, tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds every request.

    Attributes:
        connect_timeout: Seconds to make a connection.
        pool_timeout: Seconds to wait for one of the connections, beside that, when all are in use.
        read_timeout: Seconds of silence while an answer is awaited or read.
        max_connections: Open connections to one server.
        max_answer_bytes: Longest answer, as it comes and after decompression.
    """

    connect_timeout: float = 5.0
    pool_timeout: float = 5.0
    read_timeout: float = 20.0
    max_connections: int = 200
    max_answer_bytes: int = 32 * 1024 * 1024


class Pool:
    """The connections to one server. Belongs to the event loop that it was made in."""

    def __init__(self, host: str, port: int, limits: Limits, tls: ssl.SSLContext | None = None) -> None:
        self._host = host
        self._port = port
        self._limits = limits
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(limits.max_connections)
        # The one that was used last is at the end, and is used next; those that are not needed grow old at the beginning.
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._reaper: asyncio.TimerHandle | None = None
        self._resolving = asyncio.Lock()
        self._addresses: _Addresses = ()
        self._addresses_until = 0.0

    async def exchange(self, request: bytes, deadline: Deadline) -> Answer:
        """Sends a request and waits for the answer.

        Args:
            request: Head and body, as they go over the wire.
            deadline: Until when.

        Raises:
            NoAnswer: There is none, or not a whole one.
        """
        if self._slots.locked():
            await self._wait_for_a_slot(deadline)
        else:  # which does not wait
            await self._slots.acquire()
        connection = None
        try:
            connection = self._kept() or await self._connect(deadline)
            return await connection.send(
                request,
                until=self._loop.time() + deadline.remaining(),
                longest_silence=self._limits.read_timeout,
                max_body_bytes=self._limits.max_answer_bytes,
            )
        finally:
            self._slots.release()
            if connection is not None:
                self._give_back(connection)

    async def close(self) -> None:
        """Closes all connections."""
        connections = list(self._open)
        for connection in connections:
            connection.close()
        for connection in connections:
            await connection.lost

    async def _wait_for_a_slot(self, deadline: Deadline) -> None:
        seconds, late = _sooner(self._limits.pool_timeout, deadline)
        try:
            async with asyncio.timeout(seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise late from None

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        return None

    def _give_back(self, connection: Connection) -> None:
        if not connection.reusable:
            connection.close()
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._reaper is None:
            self._reaper = self._loop.call_later(_IDLE_SECONDS, self._reap)

    def _reap(self) -> None:
        self._reaper = None
        oldest = self._loop.time() - _IDLE_SECONDS
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.pop(0).close()
        if self._idle:
            self._reaper = self._loop.call_at(self._idle[0].idle_since + _IDLE_SECONDS, self._reap)

    async def _connect(self, deadline: Deadline) -> Connection:
        seconds, late = _sooner(self._limits.connect_timeout, deadline)
        try:
            async with asyncio.timeout(seconds):
                connection = await self._open_one()
        except TimeoutError:
            raise late from None
        except socket.gaierror:
            raise NoAnswer(Silence.NAME, sent=False) from None
        except ssl.SSLError:
            raise NoAnswer(Silence.TLS, sent=False) from None
        except OSError:
            self._addresses_until = 0.0
            raise NoAnswer(Silence.REFUSED, sent=False) from None
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._forget(connection))
        return connection

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    async def _open_one(self) -> Connection:
        addresses = await self._resolve()
        plain = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, interleave=1)
        _, connection = await self._loop.create_connection(
            Connection, sock=plain, ssl=self._tls, server_hostname=self._host if self._tls else None
        )
        return connection

    async def _resolve(self) -> _Addresses:
        async with self._resolving:
            if self._loop.time() >= self._addresses_until:
                self._addresses = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                self._addresses_until = self._loop.time() + _NAME_SECONDS
        return self._addresses


def _sooner(seconds: float, deadline: Deadline) -> tuple[float, NoAnswer]:
    """How long to wait for a connection, and what it means to have waited in vain."""
    left = deadline.remaining()
    if left <= seconds:
        return left, NoAnswer(Silence.DEADLINE, sent=False)
    return seconds, NoAnswer(Silence.CONNECT_TIMEOUT, sent=False)
