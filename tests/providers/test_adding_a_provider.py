"""Follows docs/adding-a-provider.md: one module and one line in the registry make a provider that can be updated."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1 import sequence_step_service_pb2_grpc

from service.connections.encryption import generate_key
from tests.support.processes import ROOT, ServerProcess, free_port
from tests.support.service import CallResult, call_result

COMMAND = (sys.executable, "-m", "tests.support.toy_provider")


@asynccontextmanager
async def toy_stand_in() -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """The provider's stand-in with one step; gives its URL and the step."""
    step = {"id": "7", "sequence": "3", "title": "Old"}

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("x-toy-key") != "toy-key":
            return web.json_response({"error": "who?"}, status=403)
        if request.method == "PUT":
            step.update(await request.json())
        return web.json_response(step)

    app = web.Application()
    app.router.add_route("*", "/steps/7", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", step
    finally:
        await runner.cleanup()


async def seqstep(environment: dict[str, str], *arguments: str, stdin: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        env=environment,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate(stdin.encode())
    assert process.returncode == 0, out.decode()
    return out.decode()


async def update(address: str, key: str, **template: str) -> CallResult:
    request = pb.UpdateStepRequest(sequence_id="3", sequence_step_id="7")
    for name, value in template.items():
        setattr(request.record.template, name, value)
    metadata = (("x-api-key", key), ("x-customer-id", "acme"), ("x-provider-name", "toy"))
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = sequence_step_service_pb2_grpc.SequenceStepServiceStub(channel)
        return await call_result(stub.UpdateStep(request, metadata=metadata, timeout=10))


@pytest.mark.slow
async def test_a_provider_is_one_module_and_one_line(tmp_path: Path) -> None:
    async with toy_stand_in() as (url, step):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SEQSTEP_")} | {
            "SEQSTEP_DATABASE_URL": f"sqlite:///{tmp_path}/store.sqlite3",
            "SEQSTEP_ENCRYPTION_KEYS": generate_key(),
            "SEQSTEP_GRPC_ADDRESS": f"127.0.0.1:{free_port()}",
            "SEQSTEP_HTTP_ADDRESS": "",
            "SEQSTEP_TOY_BASE_URL": url,
        }
        await seqstep(environment, "db", "upgrade")
        key = (await seqstep(environment, "app", "create", "billing")).split()[-1]
        connection = ("--app", "billing", "--customer", "acme", "--provider", "toy")
        assert "ToyMail" in await seqstep(environment, "connection", "set", *connection, stdin="toy-key")
        assert "ToyMail works" in await seqstep(environment, "connection", "check", *connection)
        log = tmp_path / "serve.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *COMMAND, "serve", env=environment, cwd=ROOT, stdout=out, stderr=out
            )
        server = ServerProcess(process, environment["SEQSTEP_GRPC_ADDRESS"], log)
        try:
            await server.ready()
            result = await update(server.address, key, subject="New")
            assert result.changes == {"template.subject": ("Old", "New")}
            assert step["title"] == "New"
            assert (await update(server.address, key, subject="New")).warnings == ["NO_CHANGE"]
            assert "ToyMail has no bodies." in json.dumps((await update(server.address, key, body="x")).violations)
        finally:
            await server.stop()
