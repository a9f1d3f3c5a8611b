"""The HTTP client under the adapters keeps to its limits."""

import asyncio
import time

import pytest

from sandbox.server import running_sandbox
from service.http1 import Limits, NoAnswer, Silence
from service.model import Deadline
from service.providers.provider import ProviderRequest
from service.providers.upstream import Upstream
from tests.waiting import until

READ = ProviderRequest("GET", "/emailer_campaigns/search", "search", "a key")


async def silence(upstream: Upstream, url: str, request: ProviderRequest = READ) -> Silence:
    with pytest.raises(NoAnswer) as failure:
        await upstream.send(url, request, {}, Deadline.after(20))
    return failure.value.why


async def test_a_request_waits_for_a_free_connection_no_longer_than_it_may() -> None:
    upstream = Upstream(Limits(max_connections=1, connect_timeout=0.1, pool_timeout=0.2))
    async with running_sandbox() as sandbox:
        sandbox.order_fault(provider="apollo", hang=True, times=None)
        holding = asyncio.create_task(silence(upstream, sandbox.apollo_url))
        await until(lambda: sandbox.calls("apollo"))
        started = time.monotonic()
        assert await silence(upstream, sandbox.apollo_url) is Silence.CONNECT_TIMEOUT
        assert 0.2 <= time.monotonic() - started < 10
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
    await upstream.close()
