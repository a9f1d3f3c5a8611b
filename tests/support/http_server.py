"""The HTTP server over real sockets, in front of a use case that does as the test says."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from service.api.readiness import Readiness
from service.api.tls import TlsFiles
from service.observability.call_log import CallRecord
from service.observability.metrics import CallMetrics
from service.rest.app import create_app
from service.rest.server import start
from tests.support.call_handler import FakeService
from tests.support.plain_client import plain_client

PATH = "/sequences/54/sequence_steps/7"
GOOD = {"x-customer-id": "acme", "x-provider-name": "apollo", "x-api-key": "good"}
EMPTY: dict[str, Any] = {"record": {}}


class RunningHttpServer(FakeService):
    """A server with one use case, and a client of it."""

    def __init__(self) -> None:
        super().__init__()
        self.readiness = Readiness()
        self.metrics = CallMetrics(lambda: self.admission.in_flight)

    def record(self, record: CallRecord) -> None:
        super().record(record)
        self.metrics.record(record)

    async def start(self, tls: TlsFiles | None = None, address: str = "127.0.0.1:0", *, shared: bool = False) -> None:
        self.http = await start(
            create_app(self.call_handler(), self.metrics.render, self.readiness), address, tls, shared=shared
        )
        self.readiness.is_serving = True
        self.client = plain_client(base_url=f"http://{self.http.address}")

    async def stop(self) -> None:
        await self.client.aclose()
        await self.http.stop(0)

    async def patch(
        self, body: Any = EMPTY, path: str = PATH, without: str = "", content: bytes | None = None, **headers: str
    ) -> httpx.Response:
        """Sends a PATCH; keyword arguments are headers, with underscores for hyphens."""
        given = GOOD | {"content-type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        given.pop(without, None)
        sent = json.dumps(body).encode() if content is None else content
        return await self.client.patch(path, headers=given, content=sent)

    async def refused(self, *arguments: Any, **more: Any) -> Any:
        """The one error of a PATCH that fails, checked to be in the envelope."""
        response = await self.patch(*arguments, **more)
        return error_of(response)


def error_of(response: httpx.Response) -> Any:
    """The one error of a response, after what holds for all errors was checked."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"errors", "warnings", "changes"}
    [error] = body["errors"]
    assert set(error) == {"id", "detail", "problem_type", "title", "code", "status", "meta"}
    assert str(response.status_code) == error["status"]
    assert error["problem_type"] == error["code"]
    assert error["meta"]["request_id"] == response.headers["x-request-id"]
    return error


@asynccontextmanager
async def running_http_server(**more: Any) -> AsyncIterator[RunningHttpServer]:
    """A server until the end of the block."""
    server = RunningHttpServer()
    await server.start(**more)
    try:
        yield server
    finally:
        await server.stop()


async def exchange(address: str, *sent: bytes, seconds: float = 10) -> bytes:
    """What a server answers to bytes, up to the end of the connection."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(seconds):
        for part in sent:
            writer.write(part)
            await writer.drain()
        response = await reader.read()
    writer.close()
    return response
