"""The service as people run it: several processes and workers, one database, restarts and crashes."""

import asyncio
import contextlib
import gc
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from service import workers
from service.connections import Applications
from service.connections.encryption import generate_key
from service.connections.schema import REVISION
from service.domain.step import Provider
from service.settings import Settings
from tests.support.deployment import Deployment, prepared_deployment, service_stub, update_subject
from tests.support.processes import child_processes, fails_to_start, server_process, thread_ids
from tests.support.service import CallResult, outreach_grant
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


async def check_one_mint(deployment: Deployment, addresses: list[str]) -> None:
    """400 calls at once on a token that has just ended: one mint, 400 good answers."""
    grant = outreach_grant(expires_at=time.time() - 1)
    await deployment.connections().set(deployment.application_id, "acme", Provider("outreach"), grant)
    async with contextlib.AsyncExitStack() as stack:
        stubs = [await stack.enter_async_context(service_stub(address)) for address in addresses for _ in range(10)]
        answers = await asyncio.gather(
            *(update_subject(stubs[n % len(stubs)], deployment.api_key, "outreach", f"S{n % 2}") for n in range(400))
        )
    assert [answer.code for answer in answers] == [grpc.StatusCode.OK] * 400
    assert [error.detail for answer in answers for error in answer.errors] == []
    assert deployment.mints() == 1


@pytest.mark.slow
async def test_two_servers_with_two_workers_each_mint_once(postgresql_server: Any, tmp_path: Path) -> None:
    from tests.support.databases import new_postgresql

    async with (
        prepared_deployment(new_postgresql(postgresql_server), SEQSTEP_WORKERS="2") as deployment,
        server_process(tmp_path, deployment.environment) as first,
        server_process(tmp_path, deployment.environment) as second,
    ):
        await check_one_mint(deployment, [first.address, second.address])


async def test_two_workers_on_sqlite_mint_once(tmp_path: Path) -> None:
    async with (
        prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_WORKERS="2") as deployment,
        server_process(tmp_path, deployment.environment) as server,
    ):
        await check_one_mint(deployment, [server.address])


class Load:
    """Calls that go on until the block ends; every result is kept."""

    def __init__(self, deployment: Deployment, addresses: list[str], **options: Any) -> None:
        self.deployment = deployment
        self.answers: list[CallResult] = []
        self._addresses = addresses
        self._options = options
        self._stop = asyncio.Event()
        self.api_key = deployment.api_key

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
        async with service_stub(target, **self._options) as stub:
            turn = 0
            while not self._stop.is_set():
                turn += 1
                self.answers.append(await update_subject(stub, self.api_key, "apollo", f"S{number}-{turn}"))

    @property
    def failed(self) -> list[Any]:
        return [
            (answer.code, [error.detail for error in answer.errors])
            for answer in self.answers
            if answer.code is not grpc.StatusCode.OK or answer.errors
        ]


async def test_keys_are_changed_under_load_without_a_failed_call(tmp_path: Path) -> None:
    new = generate_key()
    async with prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_CACHE_SECONDS="0.1") as deployment:
        environment = deployment.environment | {"SEQSTEP_ENCRYPTION_KEYS": f"{new},{deployment.keys}"}
        async with server_process(tmp_path, environment) as server, Load(deployment, [server.address]) as load:
            # Encryption keys: everything moves to the new one while calls read it.
            mover = deployment.connections(f"{new},{deployment.keys}")
            [_ async for _ in mover.reencrypt()]
            assert await mover.count_to_reencrypt() == 0
            before = len(load.answers)
            await until(lambda: len(load.answers) > before + 50)
            # API keys: the old one stays good until its callers have the new one.
            load.api_key = (await Applications(deployment.store, 0).rotate_key("billing", 30)).reveal()
            before = len(load.answers)
            await until(lambda: len(load.answers) > before + 50)
        assert load.failed == []


@pytest.mark.slow
async def test_replicas_are_restarted_in_turn_without_a_failed_call(tmp_path: Path) -> None:
    """The client uses gRPC's own retry policy and nothing else."""
    async with (
        prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3") as deployment,
        contextlib.AsyncExitStack() as stack,
    ):
        first = await stack.enter_async_context(server_process(tmp_path, deployment.environment))
        second = await stack.enter_async_context(server_process(tmp_path, deployment.environment))
        addresses = f"{first.address},{second.address}"
        options = {"grpc.service_config": RETRYING, "grpc.enable_retries": 1, "grpc.lb_policy_name": "round_robin"}
        async with Load(deployment, [f"ipv4:{addresses}"], **options) as load:
            for server in (first, second):
                assert await server.stop() == 0
                before = len(load.answers)
                await until(lambda before=before: len(load.answers) > before + 50)  # type: ignore[misc]
                await stack.enter_async_context(
                    server_process(tmp_path, deployment.environment | {"SEQSTEP_GRPC_ADDRESS": server.address})
                )
                before = len(load.answers)
                await until(lambda before=before: len(load.answers) > before + 50)  # type: ignore[misc]
        assert load.failed == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_lets_running_calls_end(tmp_path: Path, number: int) -> None:
    async with (
        prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3") as deployment,
        server_process(tmp_path, deployment.environment) as server,
    ):
        deployment.sandbox.order_fault(provider="apollo", method="PUT", delay_seconds=1.0)
        async with service_stub(server.address) as stub:
            running = asyncio.ensure_future(update_subject(stub, deployment.api_key, "apollo", "Slow"))
            await until(lambda: any(each["method"] == "PUT" for each in deployment.sandbox.calls("apollo")))
            server.process.send_signal(signal.SIGHUP)
            await until(lambda: '"reload"' in server.log.read_text())
            stopping = asyncio.ensure_future(server.stop(number))
            answer = await running
            assert (answer.code, answer.errors) == (grpc.StatusCode.OK, [])
            assert await stopping == 0
    events = [json.loads(line)["event"] for line in server.log.read_text().splitlines()]
    assert events[events.index("serving") :] == ["serving", "reload", "stopping", "call", "stopped"]


async def test_a_dead_worker_is_replaced_and_its_calls_fail_loudly(tmp_path: Path) -> None:
    async with (
        prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_WORKERS="2") as deployment,
        server_process(tmp_path, deployment.environment) as server,
    ):
        before = child_processes(server.process.pid)
        assert len(before) == 2
        async with contextlib.AsyncExitStack() as stack:
            stubs = [await stack.enter_async_context(service_stub(server.address)) for _ in range(8)]
            # A call that is still looking for a connection would find the next worker.
            await asyncio.gather(*(update_subject(each, deployment.api_key, "apollo", "First") for each in stubs))
            deployment.sandbox.reset()
            deployment.sandbox.order_fault(provider="apollo", method="PUT", delay_seconds=20, times=None)
            running = [
                asyncio.ensure_future(update_subject(stub, deployment.api_key, "apollo", f"S{n}", seconds=15))
                for n, stub in enumerate(stubs)
            ]
            await until(lambda: deployment.sandbox.calls("apollo"))
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            codes = {(await each).code for each in running}
        assert codes == {grpc.StatusCode.UNAVAILABLE}
        deployment.sandbox.reset()
        await until(lambda: len(set(child_processes(server.process.pid)) - set(before)) == 2, seconds=20)
        await server.ready()
        async with service_stub(server.address) as stub:
            answer = await update_subject(stub, deployment.api_key, "apollo", "After")
            assert (answer.code, answer.errors) == (grpc.StatusCode.OK, [])


async def test_a_worker_that_cannot_be_replaced_leaves_its_sibling_alone(tmp_path: Path) -> None:
    """In the middle of a rollout, after the newer version's `db upgrade`."""
    async with (
        prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_WORKERS="2") as deployment,
        server_process(tmp_path, deployment.environment) as server,
    ):
        await until(lambda: server.log.read_text().count('"serving"') == 2, seconds=60)
        await set_schema(deployment, "9999")
        killed, sibling = child_processes(server.process.pid)
        os.kill(killed, signal.SIGKILL)
        await until(lambda: "worker cannot start, trying again" in server.log.read_text(), seconds=60)
        async with service_stub(server.address) as stub:
            answer = await update_subject(stub, deployment.api_key, "apollo", "Meanwhile")
            assert (answer.code, answer.errors) == (grpc.StatusCode.OK, [])
        server.process.send_signal(signal.SIGHUP)
        await until(lambda: '"reload"' in server.log.read_text())
        await set_schema(deployment, REVISION)
        await until(lambda: server.log.read_text().count('"serving"') == 3, seconds=60)
        assert sibling in child_processes(server.process.pid)
        assert await server.stop() == 0


async def set_schema(deployment: Deployment, revision: str) -> None:
    async with deployment.store.begin() as db:
        await db.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


async def test_workers_do_not_outlive_their_supervisor(tmp_path: Path) -> None:
    async with (
        prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_WORKERS="2") as deployment,
        server_process(tmp_path, deployment.environment) as server,
    ):
        workers = child_processes(server.process.pid)
        server.process.send_signal(signal.SIGKILL)
        await server.process.wait()
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), seconds=20)


async def test_what_keeps_it_from_starting_is_said_and_nothing_else(tmp_path: Path) -> None:
    async with prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3") as deployment:
        for change, message in (
            ({"SEQSTEP_ENCRYPTION_KEYS": ""}, "seqstep keygen"),
            ({"SEQSTEP_ENCRYPTION_KEYS": generate_key()}, "does not have"),
            ({"SEQSTEP_DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3"}, "seqstep db upgrade"),
            ({"SEQSTEP_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x?connect_timeout=soon"}, "connect_timeout"),
            ({"SEQSTEP_GRPC_ADDRESS": "0.0.0.0:0"}, "SEQSTEP_ALLOW_PLAINTEXT"),
            # What a worker and its supervisor find each.
            ({"SEQSTEP_WORKERS": "2", "SEQSTEP_ENCRYPTION_KEYS": generate_key()}, "does not have"),
            ({"SEQSTEP_WORKERS": "2", "SEQSTEP_GRPC_ADDRESS": "0.0.0.0:0"}, "SEQSTEP_ALLOW_PLAINTEXT"),
        ):
            status, log = await fails_to_start(tmp_path, deployment.environment | change)
            assert status == 78, log
            assert message in log
            assert "Traceback" not in log


async def test_a_database_that_is_away_may_come_back(tmp_path: Path) -> None:
    """So that is no fault of the configuration, which nothing would repair but somebody's change."""
    async with prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3") as deployment:
        away = {"SEQSTEP_DATABASE_URL": "postgresql://u:marked@127.0.0.1:1/x"}
        status, log = await fails_to_start(tmp_path, deployment.environment | away)
    assert status == 75, log
    assert "cannot be reached" in log
    assert "marked" not in log


@pytest.mark.parametrize(("given", "threads"), [({}, "1"), ({"TOKIO_WORKER_THREADS": "3"}, "3")])
def test_a_worker_has_one_thread_to_send_requests_if_nothing_else_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], threads: str
) -> None:
    environment = given.copy()
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(gc, "disable", lambda: None)
    monkeypatch.setattr("uvloop.run", lambda main: main.close())
    assert workers.serve_here(Settings()) == 0
    assert environment["TOKIO_WORKER_THREADS"] == threads


@pytest.mark.parametrize(
    ("given", "policy"), [({}, os.SCHED_BATCH), ({"SEQSTEP_BATCH_SCHEDULING": "false"}, os.SCHED_OTHER)]
)
async def test_the_threads_of_a_worker_do_not_interrupt_each_other_unless_they_shall(
    tmp_path: Path, given: dict[str, str], policy: int
) -> None:
    async with (
        prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_WORKERS="2") as deployment,
        server_process(tmp_path, deployment.environment | given) as server,
    ):
        async with service_stub(server.address) as stub:
            answers = [await update_subject(stub, deployment.api_key, "apollo", f"S{n}") for n in range(2)]
        assert [answer.code for answer in answers] == [grpc.StatusCode.OK] * 2
        threads = [thread for worker in child_processes(server.process.pid) for thread in thread_ids(worker)]
        assert len(threads) > 10
        assert {os.sched_getscheduler(thread) for thread in threads} == {policy}


@pytest.mark.parametrize(("present", "tries"), [(os.SCHED_OTHER, 1), (os.SCHED_IDLE, 0)])
def test_a_worker_serves_as_it_is_scheduled_where_it_may_not_choose_or_somebody_has_chosen(
    monkeypatch: pytest.MonkeyPatch, present: int, tries: int
) -> None:
    tried = []

    def refuse(*arguments: object) -> None:
        tried.append(arguments)
        raise PermissionError

    monkeypatch.setattr(os, "sched_getscheduler", lambda _: present)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(gc, "disable", lambda: None)
    monkeypatch.setattr("uvloop.run", lambda main: main.close())
    assert workers.serve_here(Settings()) == 0
    assert len(tried) == tries
