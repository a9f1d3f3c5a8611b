"""A service that is stopped or killed at each step of an update: what the caller learns, and what a repeated call settles."""

import asyncio
import signal
from pathlib import Path

import grpc
import pytest

from tests.support.deployment import Deployment, prepared_deployment, service_stub, update_subject
from tests.support.pooled_databases import DATABASES, database
from tests.support.processes import server_process
from tests.support.retries import SUBJECT, stored_subject
from tests.support.waiting import until

STEPS = {
    "read sent": {"method": "GET", "when": "before"},
    "read carried out": {"method": "GET", "when": "after"},
    "write sent": {"method": "PUT", "when": "before"},
    "write carried out": {"method": "PUT", "when": "after"},
}


async def reach(deployment: Deployment, step: str) -> None:
    """Waits until the provider has come to a step of the update, which it then does not leave for a second."""
    method = STEPS[step]["method"]
    await until(lambda: any(call["method"] == method for call in deployment.sandbox.calls("apollo")))
    if step == "write carried out":
        async with asyncio.timeout(10):
            while await stored_subject(deployment) != SUBJECT:  # noqa: ASYNC110  # the sandbox tells no other way
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("step", STEPS)
async def test_a_stop_during_an_update_lets_it_end(
    step: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    async with (
        database(kind, tmp_path, request) as url,
        prepared_deployment(url) as deployment,
        server_process(tmp_path, deployment.environment) as server,
        service_stub(server.address) as stub,
    ):
        deployment.sandbox.order_fault(provider="apollo", delay_seconds=1.0, **STEPS[step])
        calling = asyncio.ensure_future(update_subject(stub, deployment.api_key, "apollo", SUBJECT))
        await reach(deployment, step)
        stopping = asyncio.ensure_future(server.stop())
        answer = await calling
        assert (answer.code, answer.errors, list(answer.changes)) == (grpc.StatusCode.OK, [], ["template.subject"])
        assert await stored_subject(deployment) == SUBJECT
        assert await stopping == 0


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("step", STEPS)
async def test_after_a_kill_during_an_update_the_same_call_settles_it(
    step: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    async with database(kind, tmp_path, request) as url, prepared_deployment(url) as deployment:
        before = await stored_subject(deployment)
        deployment.sandbox.order_fault(provider="apollo", delay_seconds=1.0, **STEPS[step])
        async with server_process(tmp_path, deployment.environment) as server, service_stub(server.address) as stub:
            calling = asyncio.ensure_future(update_subject(stub, deployment.api_key, "apollo", SUBJECT))
            await reach(deployment, step)
            server.process.send_signal(signal.SIGKILL)
            # Nobody says that nothing was changed.
            answer = await calling
            assert (answer.code, answer.errors) == (grpc.StatusCode.UNAVAILABLE, [])
        if STEPS[step]["method"] == "GET":
            assert await stored_subject(deployment) == before
        async with server_process(tmp_path, deployment.environment) as server, service_stub(server.address) as stub:
            again = await update_subject(stub, deployment.api_key, "apollo", SUBJECT)
        assert (again.code, again.errors) == (grpc.StatusCode.OK, [])
        assert await stored_subject(deployment) == SUBJECT
        if step == "write carried out":
            assert (again.changes, again.warnings) == ({}, ["NO_CHANGE"])
        elif STEPS[step]["method"] == "GET":
            assert list(again.changes) == ["template.subject"]
