"""Prepares what one or more `seqstep serve` processes share: a database, keys, an application, a sandbox."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1 import sequence_step_service_pb2_grpc

from sandbox import seed
from sandbox.server import running_sandbox
from sandbox.stand_ins import provider_settings
from service.connections import Applications, ConnectionAdministration, Keyring, Store
from service.connections.encryption import generate_key
from service.domain.credentials import ApiKeyCredentials, Secret
from service.domain.step import Provider
from tests.support.databases import make_tables
from tests.support.service import CallResult, call_result


@dataclass
class Deployment:
    """A store with one customer, in front of a sandbox, before any service runs."""

    sandbox: Any
    store: Store
    keys: str
    api_key: str
    application_id: int
    environment: dict[str, str]

    def connections(self, keys: str | None = None) -> ConnectionAdministration:
        return ConnectionAdministration(self.store, Keyring.parse(keys or self.keys))

    def mints(self) -> int:
        return sum(call["path"] == "/oauth/token" for call in self.sandbox.calls("outreach"))


@asynccontextmanager
async def prepared_deployment(database_url: str, **environment: str) -> AsyncIterator[Deployment]:
    """Runs a sandbox and fills an empty database with one application and its Apollo connection."""
    async with running_sandbox() as sandbox:
        await make_tables(database_url)
        store = Store.open(database_url)
        applications = Applications(store, 0)
        api_key = (await applications.create("billing")).reveal()
        caller = await applications.authenticate(api_key)
        keys = generate_key()
        deployment = Deployment(
            sandbox,
            store,
            keys,
            api_key,
            caller.application_id,
            {
                "SEQSTEP_DATABASE_URL": database_url,
                "SEQSTEP_ENCRYPTION_KEYS": keys,
                **provider_settings(sandbox.url),
                "SEQSTEP_MAX_CONCURRENT_CALLS": "4000",
                "SEQSTEP_STOP_GRACE_SECONDS": "10",
            }
            | environment,
        )
        await deployment.connections().set(
            caller.application_id, "acme", Provider("apollo"), ApiKeyCredentials(Secret(seed.APOLLO_UNLIMITED_KEY))
        )
        try:
            yield deployment
        finally:
            await store.close()


@asynccontextmanager
async def service_stub(address: str, **options: Any) -> AsyncIterator[Any]:
    """Opens a channel with connections of its own, so that the kernel spreads channels over the workers."""
    given = {"grpc.use_local_subchannel_pool": 1} | options
    async with grpc.aio.insecure_channel(address, options=list(given.items())) as channel:
        yield sequence_step_service_pb2_grpc.SequenceStepServiceStub(channel)


async def update_subject(stub: Any, api_key: str, provider: str, subject: str, seconds: float = 30) -> CallResult:
    """Sets the subject of the plain step of a provider's inactive sequence."""
    ids = (seed.APOLLO_SEQUENCE_INACTIVE, seed.APOLLO_STEP_INACTIVE_PLAIN)
    if provider == "outreach":
        ids = (str(seed.OUTREACH_SEQUENCE_DISABLED), str(seed.OUTREACH_STEP_DISABLED_PLAIN))
    request = pb.UpdateStepRequest(sequence_id=ids[0], sequence_step_id=ids[1])
    request.record.template.subject = subject
    metadata = (("x-customer-id", "acme"), ("x-provider-name", provider), ("x-api-key", api_key))
    return await call_result(stub.UpdateStep(request, metadata=metadata, timeout=seconds, wait_for_ready=True))
