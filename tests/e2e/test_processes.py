"""The service as people run it: several processes and workers, one database, restarts and crashes."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1 import sequence_step_service_pb2_grpc

from sandbox import seed
from sandbox.server import running_sandbox
from service.connections import Applications, Connections, Keyring, Store
from service.connections.encryption import generate_key
from service.connections.migrations.upgrade import upgrade
from service.domain.credentials import ApiKeyCredentials, Secret
from service.domain.step import Provider
from tests.support.processes import serving
from tests.support.service import Answer, ended, outreach_grant
from tests.support.waiting import until

RETRYING = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": "engagement.v1.SequenceStepService"}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    # A stopping server answers calls that cross its farewell with CANCELLED.
                    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                },
            }
        ]
    }
)


@dataclass
class Place:
    """A store with one customer, in front of a sandbox, before any service runs."""

    sandbox: Any
    store: Store
    keys: str
    api_key: str
    application_id: int
    environment: dict[str, str]

    def connections(self, keys: str | None = None) -> Connections:
        return Connections(self.store, Keyring.parse(keys or self.keys), {}, cache_seconds=0, refresh_margin_seconds=0)

    def mints(self) -> int:
        return sum(call["path"] == "/oauth/token" for call in self.sandbox.calls("outreach"))


@asynccontextmanager
async def place(database_url: str, **environment: str) -> AsyncIterator[Place]:
    async with running_sandbox() as sandbox:
        store = Store.open(database_url)
        await upgrade(store)
        applications = Applications(store, 0)
        api_key = (await applications.create("billing")).reveal()
        caller = await applications.authenticate(api_key)
        keys = generate_key()
        made = Place(
            sandbox,
            store,
            keys,
            api_key,
            caller.application_id,
            {
                "SEQSTEP_DATABASE_URL": database_url,
                "SEQSTEP_ENCRYPTION_KEYS": keys,
                "SEQSTEP_APOLLO_BASE_URL": sandbox.apollo_url,
                "SEQSTEP_OUTREACH_BASE_URL": sandbox.outreach_url,
                "SEQSTEP_MAX_CONCURRENT_CALLS": "2000",
                "SEQSTEP_STOP_GRACE_SECONDS": "10",
            }
            | environment,
        )
        await made.connections().set(
            caller.application_id, "acme", Provider("apollo"), ApiKeyCredentials(Secret(seed.APOLLO_UNLIMITED_KEY))
        )
        try:
            yield made
        finally:
            await store.close()


@asynccontextmanager
async def channel(address: str, **options: Any) -> AsyncIterator[Any]:
    # Every channel has connections of its own, so that the kernel spreads them over the workers.
    given = {"grpc.use_local_subchannel_pool": 1} | options
    async with grpc.aio.insecure_channel(address, options=list(given.items())) as made:
        yield sequence_step_service_pb2_grpc.SequenceStepServiceStub(made)


async def call(stub: Any, api_key: str, provider: str, subject: str, seconds: float = 30) -> Answer:
    ids = (seed.APOLLO_SEQUENCE_INACTIVE, seed.APOLLO_STEP_INACTIVE_PLAIN)
    if provider == "outreach":
        ids = (str(seed.OUTREACH_SEQUENCE_DISABLED), str(seed.OUTREACH_STEP_DISABLED_PLAIN))
    request = pb.UpdateStepRequest(sequence_id=ids[0], sequence_step_id=ids[1])
    request.record.template.subject = subject
    metadata = (("x-customer-id", "acme"), ("x-provider-name", provider), ("x-api-key", api_key))
    return await ended(stub.UpdateStep(request, metadata=metadata, timeout=seconds, wait_for_ready=True))


async def check_one_mint(made: Place, addresses: list[str]) -> None:
    """400 calls at once on a token that has just ended: one mint, 400 good answers."""
    grant = outreach_grant(expires_at=time.time() - 1)
    await made.connections().set(made.application_id, "acme", Provider("outreach"), grant)
    async with contextlib.AsyncExitStack() as stack:
        stubs = [await stack.enter_async_context(channel(address)) for address in addresses for _ in range(10)]
        answers = await asyncio.gather(
            *(call(stubs[n % len(stubs)], made.api_key, "outreach", f"S{n % 2}") for n in range(400))
        )
    assert [answer.code for answer in answers] == [grpc.StatusCode.OK] * 400
    assert [error.detail for answer in answers for error in answer.errors] == []
    assert made.mints() == 1


async def test_two_servers_with_two_workers_each_mint_once(postgresql_server: Any, tmp_path: Path) -> None:
    from tests.support.databases import new_postgresql

    async with (
        place(new_postgresql(postgresql_server), SEQSTEP_WORKERS="2") as made,
        serving(tmp_path, made.environment) as first,
        serving(tmp_path, made.environment) as second,
    ):
        await check_one_mint(made, [first.address, second.address])


async def test_two_workers_on_sqlite_mint_once(tmp_path: Path) -> None:
    async with (
        place(f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_WORKERS="2") as made,
        serving(tmp_path, made.environment) as server,
    ):
        await check_one_mint(made, [server.address])


class Load:
    """Calls that go on until they are told to stop; every answer is kept."""

    def __init__(self, made: Place, addresses: list[str], **options: Any) -> None:
        self.made = made
        self.answers: list[Answer] = []
        self._addresses = addresses
        self._options = options
        self._stop = asyncio.Event()
        self.api_key = made.api_key

    async def __aenter__(self) -> "Load":  # noqa: PYI034
        self._tasks = [asyncio.create_task(self._run(number)) for number in range(8)]
        await until(lambda: len(self.answers) > 20)
        return self

    async def __aexit__(self, *exc: object) -> None:
        before = len(self.answers)
        await until(lambda: len(self.answers) > before + 20)
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _run(self, number: int) -> None:
        target = self._addresses[number % len(self._addresses)]
        async with channel(target, **self._options) as stub:
            turn = 0
            while not self._stop.is_set():
                turn += 1
                self.answers.append(await call(stub, self.api_key, "apollo", f"S{number}-{turn}"))

    @property
    def failed(self) -> list[Any]:
        return [
            (answer.code, [error.detail for error in answer.errors])
            for answer in self.answers
            if answer.code is not grpc.StatusCode.OK or answer.errors
        ]


async def test_keys_are_changed_under_load_without_a_failed_call(tmp_path: Path) -> None:
    new = generate_key()
    async with place(f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_CACHE_SECONDS="0.1") as made:
        environment = made.environment | {"SEQSTEP_ENCRYPTION_KEYS": f"{new},{made.keys}"}
        async with serving(tmp_path, environment) as server, Load(made, [server.address]) as load:
            # Encryption keys: everything moves to the new one while calls read it.
            mover = made.connections(f"{new},{made.keys}")
            [_ async for _ in mover.reencrypt()]
            assert await mover.count_not_under_current_key() == 0
            before = len(load.answers)
            await until(lambda: len(load.answers) > before + 50)
            # API keys: the old one stays good until its callers have the new one.
            load.api_key = (await Applications(made.store, 0).rotate_key("billing", 30)).reveal()
            before = len(load.answers)
            await until(lambda: len(load.answers) > before + 50)
        assert load.failed == []


async def test_replicas_are_restarted_in_turn_without_a_failed_call(tmp_path: Path) -> None:
    """The client uses gRPC's own retry policy and nothing else."""
    async with place(f"sqlite:///{tmp_path}/store.sqlite3") as made, contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(serving(tmp_path, made.environment))
        second = await stack.enter_async_context(serving(tmp_path, made.environment))
        addresses = f"{first.address},{second.address}"
        options = {"grpc.service_config": RETRYING, "grpc.enable_retries": 1, "grpc.lb_policy_name": "round_robin"}
        async with Load(made, [f"ipv4:{addresses}"], **options) as load:
            for server in (first, second):
                assert await server.stop() == 0
                before = len(load.answers)
                await until(lambda before=before: len(load.answers) > before + 50)  # type: ignore[misc]
                await stack.enter_async_context(
                    serving(tmp_path, made.environment | {"SEQSTEP_GRPC_ADDRESS": server.address})
                )
                before = len(load.answers)
                await until(lambda before=before: len(load.answers) > before + 50)  # type: ignore[misc]
        assert load.failed == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_lets_running_calls_end(tmp_path: Path, number: int) -> None:
    async with place(f"sqlite:///{tmp_path}/store.sqlite3") as made, serving(tmp_path, made.environment) as server:
        made.sandbox.order_fault(provider="apollo", method="PUT", delay_seconds=1.0)
        async with channel(server.address) as stub:
            running = asyncio.ensure_future(call(stub, made.api_key, "apollo", "Slow"))
            await until(lambda: any(each["method"] == "PUT" for each in made.sandbox.calls("apollo")))
            stopping = asyncio.ensure_future(server.stop(number))
            answer = await running
            assert (answer.code, answer.errors) == (grpc.StatusCode.OK, [])
            assert await stopping == 0
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["serving", "stopping", "call", "stopped"]


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


async def test_a_dead_worker_is_replaced_and_its_calls_fail_loudly(tmp_path: Path) -> None:
    async with (
        place(f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_WORKERS="2") as made,
        serving(tmp_path, made.environment) as server,
    ):
        before = children(server.process.pid)
        assert len(before) == 2
        made.sandbox.order_fault(provider="apollo", method="PUT", delay_seconds=20, times=None)
        async with contextlib.AsyncExitStack() as stack:
            stubs = [await stack.enter_async_context(channel(server.address)) for _ in range(8)]
            running = [
                asyncio.ensure_future(call(stub, made.api_key, "apollo", f"S{n}", seconds=15))
                for n, stub in enumerate(stubs)
            ]
            await until(lambda: made.sandbox.calls("apollo"))
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            codes = {(await each).code for each in running}
        assert codes == {grpc.StatusCode.UNAVAILABLE}
        made.sandbox.reset()
        await until(lambda: len(set(children(server.process.pid)) - set(before)) == 2, seconds=20)
        await server.ready()
        async with channel(server.address) as stub:
            answer = await call(stub, made.api_key, "apollo", "After")
            assert (answer.code, answer.errors) == (grpc.StatusCode.OK, [])


async def test_workers_do_not_outlive_their_supervisor(tmp_path: Path) -> None:
    async with (
        place(f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_WORKERS="2") as made,
        serving(tmp_path, made.environment) as server,
    ):
        workers = children(server.process.pid)
        server.process.kill()
        await server.process.wait()
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), seconds=20)


async def fails_to_start(folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    async with serving(folder, environment, wait=False) as server:
        async with asyncio.timeout(20):
            status = await server.process.wait()
        return status, server.log.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_what_keeps_it_from_starting_is_said_and_nothing_else(tmp_path: Path, workers: str) -> None:
    async with place(f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_WORKERS=workers) as made:
        for change, message in (
            ({"SEQSTEP_ENCRYPTION_KEYS": ""}, "seqstep keygen"),
            ({"SEQSTEP_ENCRYPTION_KEYS": generate_key()}, "does not have"),
            ({"SEQSTEP_DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3"}, "seqstep db upgrade"),
            ({"SEQSTEP_DATABASE_URL": "postgresql://u:marked@127.0.0.1:1/x"}, "cannot be reached"),
            ({"SEQSTEP_GRPC_ADDRESS": "0.0.0.0:0"}, "SEQSTEP_ALLOW_PLAINTEXT"),
        ):
            status, log = await fails_to_start(tmp_path, made.environment | change)
            assert status == 78, log
            assert message in log
            assert "Traceback" not in log
            assert "marked" not in log
