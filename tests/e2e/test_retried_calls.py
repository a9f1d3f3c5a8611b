"""Calls that gRPC makes again after a replica died with them: what the last answer says, and what Apollo holds."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from engagement.v1 import envelope_pb2

from sandbox import seed
from seqstep_client import AsyncClient, OutcomeUnknown, StepUpdate
from tests.support.deployment import Deployment, prepared_deployment, service_stub, update_subject
from tests.support.processes import ServerProcess, server_process
from tests.support.retries import RATE_LIMITED, SUBJECT, die_after_the_write, never_answer_writes, stored_subject
from tests.support.waiting import until

SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "engagement.v1.SequenceStepService"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
# The client itself would call the replicas in turn.
FIRST_ONE = (("grpc.service_config", json.dumps(SERVICE_CONFIG)), ("grpc.enable_retries", 1))
UPDATE = StepUpdate(
    sequence_id=seed.APOLLO_SEQUENCE_INACTIVE, sequence_step_id=seed.APOLLO_STEP_INACTIVE_PLAIN, subject=SUBJECT
)

pytestmark = pytest.mark.slow


@dataclass
class Pair:
    """Two replicas; calls go to the first one while it lives."""

    deployment: Deployment
    first: ServerProcess
    second: ServerProcess

    @property
    def address(self) -> str:
        return f"ipv4:{self.first.address},{self.second.address}"


@asynccontextmanager
async def pair(folder: Path, **environment: str) -> AsyncIterator[Pair]:
    async with prepared_deployment(f"sqlite:///{folder}/store.sqlite3") as deployment, AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(server_process(folder, deployment.environment | more, wait=False))
            for more in ({}, environment)
        ]
        await asyncio.gather(first.ready(90), second.ready(90))
        yield Pair(deployment, first, second)


async def test_grpcs_own_retry_never_says_not_applied(tmp_path: Path) -> None:
    async with pair(tmp_path) as replicas, service_stub(replicas.address, **dict(FIRST_ONE)) as stub:
        never_answer_writes(replicas.deployment)
        calling = asyncio.create_task(update_subject(stub, replicas.deployment.api_key, "apollo", SUBJECT))
        await die_after_the_write(replicas.deployment, calling, [replicas.first], then=RATE_LIMITED)
        answer = await calling
        assert await stored_subject(replicas.deployment) == SUBJECT
        assert (answer.code, answer.error.code) == (grpc.StatusCode.OK, "TOO_MANY_REQUESTS_ERROR")
        assert answer.error.meta.outcome == envelope_pb2.ERROR_OUTCOME_UNKNOWN
        assert "An earlier attempt of this call may have been carried out" in answer.error.detail


async def test_a_retry_that_finds_no_capacity_is_unknown(tmp_path: Path) -> None:
    async with (
        pair(tmp_path, SEQSTEP_MAX_CONCURRENT_CALLS="1") as replicas,
        service_stub(replicas.second.address) as stub,
        grpc.aio.insecure_channel(replicas.address, FIRST_ONE) as channel,
    ):
        client = AsyncClient(replicas.address, plaintext=True, api_key=replicas.deployment.api_key, channel=channel)
        sandbox = replicas.deployment.sandbox
        sandbox.order_fault(provider="apollo", method="GET", hang=True)
        occupying = asyncio.create_task(update_subject(stub, replicas.deployment.api_key, "apollo", "never"))
        await until(lambda: sandbox.calls("apollo"), seconds=90)
        never_answer_writes(replicas.deployment)
        calling = asyncio.create_task(client.update_step(UPDATE, customer_id="acme", provider="apollo"))
        await die_after_the_write(replicas.deployment, calling, [replicas.first], then=RATE_LIMITED)
        with pytest.raises(OutcomeUnknown) as raised:
            await calling
        assert await stored_subject(replicas.deployment) == SUBJECT
        assert raised.value.code == "TOO_MANY_REQUESTS_ERROR"
        assert raised.value.failure.grpc_status is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert raised.value.retry_after
        occupying.cancel()
