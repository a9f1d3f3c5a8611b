"""One server for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.support.http_server import RunningHttpServer, running_http_server


@pytest.fixture
async def server() -> AsyncIterator[RunningHttpServer]:
    async with running_http_server() as running:
        yield running
