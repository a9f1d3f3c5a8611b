"""The service over real sockets, and the lines that it logs."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from sandbox import seed
from service.api import call_handler
from service.connections import token_refresh
from service.observability import call_log, logging
from tests.support.plain_client import plain_client
from tests.support.service import RunningService, running_service
from tests.support.waiting import until


class Log:
    """What was logged."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.logger = structlog.wrap_logger(
            structlog.WriteLogger(self.stream),
            processors=[structlog.contextvars.merge_contextvars, structlog.processors.JSONRenderer(logging._serialize)],
            wrapper_class=structlog.BoundLogger,
        )

    def lines(self, request_id: str) -> list[dict[str, Any]]:
        """The lines with a request id."""
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [line for line in lines if line.get("request_id") == request_id]

    async def line(self, request_id: str) -> dict[str, Any]:
        """The one line with a request id, which a server may write after its response."""
        await until(lambda: self.lines(request_id))
        [line] = self.lines(request_id)
        return line


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    written = Log()
    for module in (call_log, call_handler, token_refresh):
        monkeypatch.setattr(module, "log", written.logger)
    return written


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[RunningService]:
    async with running_service(tmp_path, http_address="127.0.0.1:0") as running:
        yield running


@pytest.fixture
async def http(service: RunningService) -> AsyncIterator[httpx.AsyncClient]:
    assert service.app.rest is not None
    async with plain_client(base_url=f"http://{service.app.rest.address}") as client:
        yield client


async def update(service: RunningService, request_id: str, *more: tuple[str, str], **fields: Any) -> Any:
    """Makes a call, at Apollo if nothing else is said; returns its result."""
    given: dict[str, Any] = {
        "provider": "apollo",
        "sequence": seed.APOLLO_SEQUENCE_INACTIVE,
        "step": seed.APOLLO_STEP_INACTIVE_PLAIN,
        "subject": "Subject-nobody-logs",
    }
    return await service.update(**(given | fields), metadata=(("x-request-id", request_id), *more))
