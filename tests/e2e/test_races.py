"""Two updates of one step at almost the same time: the provider never holds a mixture, and both results are true.

`SEQSTEP_RACE_PAIRS=1000 pytest tests/e2e/test_races.py` runs a thousand pairs at each provider in each test.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from engagement.v1 import sequence_step_service_pb2_grpc
from pydantic import SecretStr

from sandbox import seed
from sandbox.server import running_sandbox
from service import app
from service.connections import Applications, ConnectionAdministration, Keyring, Store
from service.connections.migrations.upgrade import upgrade
from service.domain.credentials import ApiKeyCredentials, Secret
from service.domain.step import Provider
from tests.support.databases import new_postgresql
from tests.support.races import CUSTOMER, STEPS, Findings, Racing
from tests.support.service import outreach_grant, settings_for

PAIRS = int(os.environ.get("SEQSTEP_RACE_PAIRS", "20"))


@asynccontextmanager
async def servers(folder: Path, database_url: str, count: int) -> AsyncIterator[tuple[Any, list[Any], str]]:
    """A sandbox, stubs of so many replicas on one database, and a key."""
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(running_sandbox())
        settings = settings_for(sandbox, folder, database_url=SecretStr(database_url))
        store = Store.open(database_url)
        stack.push_async_callback(store.close)
        await upgrade(store)
        applications = Applications(store, 0)
        key = (await applications.create("billing")).reveal()
        caller = await applications.authenticate(key)
        connections = ConnectionAdministration(store, Keyring.parse(settings.encryption_keys.get_secret_value()))
        for provider, credentials in (
            ("apollo", ApiKeyCredentials(Secret(seed.APOLLO_UNLIMITED_KEY))),
            ("outreach", outreach_grant()),
        ):
            await connections.set(caller.application_id, CUSTOMER, Provider(provider), credentials)
        stubs = []
        for _ in range(count):
            running = await stack.enter_async_context(app.running(settings))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(running.rpc.address))
            stubs.append(sequence_step_service_pb2_grpc.SequenceStepServiceStub(channel))
        yield sandbox, stubs, key


async def race(sandbox: Any, stubs: list[Any], key: str) -> Findings:
    racing = Racing(f"{sandbox.url}/_sandbox", stubs, key, gap=0.3 if PAIRS > 100 else 0.03)
    await asyncio.gather(*(racing.run(step, PAIRS) for step in STEPS))
    return racing.findings


@pytest.mark.timeout(1200)
async def test_races_in_one_process_never_mix(tmp_path: Path) -> None:
    async with servers(tmp_path, f"sqlite:///{tmp_path}/store.sqlite3", 1) as (sandbox, stubs, key):
        assert await race(sandbox, stubs, key) == Findings(PAIRS * len(STEPS))


@pytest.mark.timeout(1200)
async def test_races_across_replicas_never_mix(tmp_path: Path, postgresql_server: Any) -> None:
    async with servers(tmp_path, new_postgresql(postgresql_server), 2) as (sandbox, stubs, key):
        assert await race(sandbox, stubs, key) == Findings(PAIRS * len(STEPS))
