from collections.abc import AsyncIterator

import httpx
import pytest

from sandbox import seed
from sandbox.server import RunningSandbox, running_sandbox
from tests.support.plain_client import plain_client


@pytest.fixture
async def sandbox() -> AsyncIterator[RunningSandbox]:
    async with running_sandbox() as running:
        yield running


@pytest.fixture
async def apollo(sandbox: RunningSandbox) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"x-api-key": seed.APOLLO_MASTER_KEY}
    async with plain_client(base_url=sandbox.apollo_url, headers=headers) as client:
        yield client


@pytest.fixture
async def outreach(sandbox: RunningSandbox) -> AsyncIterator[httpx.AsyncClient]:
    headers = {
        "Authorization": f"Bearer {seed.OUTREACH_ACCESS_TOKEN}",
        "Content-Type": "application/vnd.api+json",
    }
    async with plain_client(base_url=f"{sandbox.outreach_url}/api/v2", headers=headers) as client:
        yield client


@pytest.fixture
async def control(sandbox: RunningSandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with plain_client(base_url=f"{sandbox.url}/_sandbox") as client:
        yield client
