"""How the service starts beside another one, drains, stops, and says whether calls are welcome."""

import asyncio
import fcntl
import os
import sys
import termios
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from msgspec.structs import replace
from pydantic import SecretStr, ValidationError
from sqlalchemy import update

from sandbox import seed
from service import app, workers
from service.api.address import PortInUse, reserve
from service.connections.encryption import Keyring
from service.connections.repository import ConnectionRepository
from service.connections.schema import connections
from service.domain.credentials import ConnectionKey, OAuthCredentials
from service.domain.deadline import Deadline
from service.domain.step import Provider
from service.settings import Settings
from tests.support.database_proxy import database_proxy
from tests.support.deployment import prepared_deployment
from tests.support.plain_client import plain_client
from tests.support.pooled_databases import DATABASES, database
from tests.support.processes import server_process
from tests.support.service import outreach_grant, running_service, settings_for
from tests.support.waiting import until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
STEP = (seed.APOLLO_SEQUENCE_INACTIVE, seed.APOLLO_STEP_INACTIVE_PLAIN)


async def readiness(address: str) -> int:
    """The status of `/readyz`, over a connection of its own."""
    async with plain_client() as client:
        return (await client.get(f"http://{address}/readyz")).status_code


async def health(address: str) -> int:
    """The status of the health check, over a connection of its own."""
    async with grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        return int(
            (await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)).status
        )


async def until_ready_is(address: str, status: int) -> None:
    async with asyncio.timeout(30):
        while await readiness(address) != status:  # noqa: ASYNC110  # it is another server's state
            await asyncio.sleep(0.05)


async def test_a_draining_service_says_so_and_serves(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(
            running_service(tmp_path, http_address="127.0.0.1:0", drain_seconds=2.0)
        )
        assert service.app.rest is not None
        http, rpc = service.app.rest.address, service.app.rpc.address
        assert (await readiness(http), await health(rpc)) == (200, SERVING)
        stopping = asyncio.ensure_future(stack.aclose())
        await asyncio.sleep(0)
        await until_ready_is(http, 503)
        assert await health(rpc) == NOT_SERVING
        await stopping
        with pytest.raises(httpx.ConnectError):
            await readiness(http)


async def read_all(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


@pytest.fixture
async def long_grace(tmp_path: Path) -> AsyncIterator[tuple[str, AsyncExitStack]]:
    """The address of a service whose calls have a minute to end, and what stops it."""
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(running_service(tmp_path, stop_grace_seconds=60.0))
        yield service.app.rpc.address, stack


async def test_endless_streams_do_not_delay_a_stop(long_grace: tuple[str, AsyncExitStack]) -> None:
    address, stack = long_grace
    async with grpc.aio.insecure_channel(address) as channel:
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        reflecting: Any = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await reflecting.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        first: list[Message] = [await watching.read(), await reflecting.read()]
        assert first[0] == health_pb2.HealthCheckResponse(status=SERVING)
        async with asyncio.timeout(30):
            await stack.aclose()
        for stream in (watching, reflecting):
            with pytest.raises(grpc.aio.AioRpcError) as end:
                await read_all(stream)
            assert end.value.code() is grpc.StatusCode.UNAVAILABLE


# Makes all other writers wait.
LOCK = update(connections).values(state_reason="locked")
STEPS = ("request sent", "token minted", "being stored", "at once")


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("step", STEPS)
async def test_a_stop_loses_no_token(step: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Though the grace is used up by calls; three stops for each step and kind of database."""
    async with database(kind, tmp_path, request) as database_url, prepared_deployment(database_url) as deployment:
        key = ConnectionKey(deployment.application_id, "acme", Provider("outreach"))
        settings = settings_for(
            deployment.sandbox,
            tmp_path,
            database_url=SecretStr(database_url),
            encryption_keys=SecretStr(deployment.keys),
            stop_grace_seconds=0.0,
        )
        async with plain_client() as client:
            account = f"{deployment.sandbox.url}/_sandbox/accounts/{seed.OUTREACH_ACCOUNT}"
            (await client.patch(account, json={"mint_interval_seconds": 0})).raise_for_status()
        rows = ConnectionRepository(deployment.store, Keyring.parse(deployment.keys))
        used, grant = {seed.OUTREACH_ACCESS_TOKEN}, outreach_grant()
        for number in range(3):
            await rows.put(key, replace(grant, expires_at=time.time() - 1))
            if step != "at once":
                deployment.sandbox.order_fault(
                    provider="outreach",
                    path="oauth/token",
                    delay_seconds=0.3,
                    when="before" if step == "request sent" else "after",
                )
            async with AsyncExitStack() as stack:
                running = await stack.enter_async_context(app.running(settings))
                call = asyncio.ensure_future(
                    running.connections.usable(key.application_id, "acme", key.provider, Deadline.after(20))
                )
                await until(lambda number=number: deployment.mints() > number)  # type: ignore[misc]
                if step == "being stored":
                    async with deployment.store.begin() as db:
                        await db.execute(LOCK)
                        stopping = asyncio.ensure_future(stack.aclose())
                        await asyncio.sleep(0.5)
                    await stopping
            call.cancel()
            row = await rows.find(key)
            assert row is not None
            assert isinstance(row.connection.credentials, OAuthCredentials)
            grant = row.connection.credentials
            used.add(grant.access_token.reveal())
        assert len(used) == 4


async def test_no_two_services_get_the_same_address(tmp_path: Path) -> None:
    async with running_service(tmp_path, http_address="127.0.0.1:0") as service:
        assert service.app.rest is not None
        for taken in (
            {"grpc_address": service.app.rpc.address},
            {"http_address": service.app.rest.address},
            {"grpc_address": service.app.rpc.address, "workers": 2},
        ):
            with pytest.raises(PortInUse, match="is something else listening there"):
                async with app.running(service.settings.model_copy(update={"http_address": ""} | taken)):
                    pass
        with pytest.raises(PortInUse, match="is something else listening there"):
            reserve(service.app.rpc.address)


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0", "[::]"])
async def test_both_servers_listen_on_all_that_an_address_means(tmp_path: Path, host: str) -> None:
    async with running_service(
        tmp_path, grpc_address=f"{host}:0", http_address=f"{host}:0", allow_plaintext=True
    ) as service:
        assert service.app.rest is not None
        for address in ("localhost",) if host == "localhost" else ("127.0.0.1", "[::1]"):
            rpc, http = (each.address.rpartition(":")[2] for each in (service.app.rpc, service.app.rest))
            assert await health(f"{address}:{rpc}") == SERVING
            assert await readiness(f"{address}:{http}") == 200


def test_workers_do_not_share_a_path() -> None:
    with pytest.raises(ValidationError, match="cannot share a unix: address"):
        Settings(grpc_address="unix:/run/seqstep.sock", workers=2)


async def test_a_worker_that_ignores_the_stop_is_killed() -> None:
    ignoring = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", ignoring, stdout=asyncio.subprocess.PIPE)
    assert worker.stdout is not None
    await worker.stdout.readline()
    assert await workers._stop(worker, asyncio.ensure_future(worker.wait()), 0.1) == 1
    assert worker.returncode == -9


async def test_an_orphan_that_does_not_stop_ends_itself() -> None:
    program = (
        "import time; from service import workers;"
        "workers._call_when_input_ends(lambda: print('asked', flush=True), 0.1); time.sleep(600)"
    )
    pipe = asyncio.subprocess.PIPE
    orphan = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=pipe, stdout=pipe)
    async with asyncio.timeout(30):
        output, _ = await orphan.communicate(b"")
    assert (output, orphan.returncode) == (b"asked\n", 1)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_closing_its_terminal_stops_the_service(tmp_path: Path, workers: str) -> None:
    ours, theirs = os.openpty()
    async with (
        prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_WORKERS=workers) as deployment,
        server_process(
            tmp_path,
            deployment.environment,
            stdin=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        ) as server,
    ):
        os.close(theirs)
        await until(lambda: server.log.read_text().count('"serving"') == int(workers), seconds=60)
        os.close(ours)
        async with asyncio.timeout(30):
            assert await server.process.wait() == 0
        assert server.log.read_text().count('"stopped"') == int(workers)
        assert '"reload"' not in server.log.read_text()


def test_metrics_of_a_killed_supervisor_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    hour_ago = time.time() - 3600
    for name in ("seqstep-metrics-killed", "seqstep-metrics-running", "other"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (hour_ago, hour_ago))
    lock = workers._lock(tmp_path / "seqstep-metrics-running")
    with workers._metrics_folder() as (folder, _):
        assert {path.name for path in tmp_path.iterdir()} == {"seqstep-metrics-running", "other", folder.name}
    assert {path.name for path in tmp_path.iterdir()} == {"seqstep-metrics-running", "other"}
    os.close(lock)


async def test_a_service_whose_file_was_replaced_is_not_ready(tmp_path: Path) -> None:
    async with running_service(tmp_path, http_address="127.0.0.1:0", cache_seconds=0.0) as service:
        assert service.app.rest is not None
        file = tmp_path / "store.sqlite3"
        moved = file.rename(tmp_path / "moved")
        await until_ready_is(service.app.rest.address, 503)
        assert await health(service.app.rpc.address) == NOT_SERVING
        refused = await service.update("apollo", *STEP, subject="S")
        assert refused.code is grpc.StatusCode.UNAVAILABLE
        moved.rename(file)
        await until_ready_is(service.app.rest.address, 200)
        assert (await service.update("apollo", *STEP, subject="S")).errors == []


async def test_a_database_that_does_not_answer_is_named_in_time(postgresql_server: Any, tmp_path: Path) -> None:
    async with (
        database_proxy(postgresql_server) as proxy,
        running_service(
            tmp_path, database_url=SecretStr(proxy.url), http_address="127.0.0.1:0", cache_seconds=0.0
        ) as service,
    ):
        assert service.app.rest is not None
        proxy.stop_answering()
        calls = [service.update("apollo", *STEP, subject="S", seconds=3) for _ in range(20)]
        results = await asyncio.gather(*calls)
        assert {result.trailers.get("x-error-code") for result in results} == {"SERVICE_UNAVAILABLE_ERROR"}
        await until_ready_is(service.app.rest.address, 503)
        assert await health(service.app.rpc.address) == SERVING
        proxy.come_back()
        await until_ready_is(service.app.rest.address, 200)
        assert (await service.update("apollo", *STEP, subject="S")).errors == []
