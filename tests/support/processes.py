"""Runs the real service in processes of its own, as people run it."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.forked import ForkedProcess

ROOT = Path(__file__).parents[2]

# The system gives other ports to those who ask for any: nobody else takes one of these before the server listens there.
_PORTS = range(10000, 32768)


def free_port() -> int:
    """A port of this machine that nothing listens on, and that stays free until a process of the test listens there."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class ServerProcess:
    """One process of `seqstep serve`.

    Attributes:
        address: Address of its gRPC server.
        log: The file with what it wrote.
    """

    def __init__(self, process: asyncio.subprocess.Process | ForkedProcess, address: str, log: Path) -> None:
        self.process = process
        self.address = address
        self.log = log

    async def ready(self, seconds: float = 90) -> None:
        """Returns when it says SERVING."""
        async with asyncio.timeout(seconds), grpc.aio.insecure_channel(self.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while True:
                assert self.process.returncode is None, self.log.read_text()
                with contextlib.suppress(grpc.aio.AioRpcError):
                    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                await asyncio.sleep(0.05)

    async def stop(self, number: int = signal.SIGTERM, seconds: float = 30) -> int:
        """Sends a signal and returns the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(seconds):
            return await self.process.wait()


@asynccontextmanager
async def server_process(
    folder: Path, environment: dict[str, str], *, wait: bool = True, **options: Any
) -> AsyncIterator[ServerProcess]:
    """Runs `seqstep serve`, stopped at the end of the block.

    Args:
        folder: Where its log goes.
        environment: Its settings.
        wait: Return only when it says SERVING.
        options: What else the process is started with; with any, it is started from nothing.
    """
    given = {
        "SEQSTEP_GRPC_ADDRESS": f"127.0.0.1:{free_port()}",
        "SEQSTEP_HTTP_ADDRESS": "",
        "SEQSTEP_DRAIN_SECONDS": "0",
    } | environment
    log = folder / f"serve-{given['SEQSTEP_GRPC_ADDRESS'].rpartition(':')[2]}.log"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SEQSTEP_")}
    process: asyncio.subprocess.Process | ForkedProcess
    if options:
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "service.cli", "serve"),
                env=clean | given,
                cwd=ROOT,
                stdout=out,
                stderr=out,
                **options,
            )
    else:
        process = ForkedProcess("service.cli", ["serve"], clean | given, log)
    running = ServerProcess(process, given["SEQSTEP_GRPC_ADDRESS"], log)
    try:
        if wait:
            await running.ready()
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            await running.stop()


async def fails_to_start(folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Runs `seqstep serve` with settings that it refuses; returns its exit status and its log."""
    async with server_process(folder, environment, wait=False) as server:
        async with asyncio.timeout(60):
            status = await server.process.wait()
        return status, server.log.read_text()


def child_processes(pid: int) -> list[int]:
    """Returns the process ids of the children of a process."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def thread_ids(pid: int) -> list[int]:
    """Returns the ids of the threads of a process."""
    return [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]
