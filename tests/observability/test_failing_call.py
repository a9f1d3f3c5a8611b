"""From a failing call to its log line and its trace, by the commands of docs/observability.md as they stand there."""

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1 import sequence_step_service_pb2_grpc

from sandbox.server import running_sandbox
from service.cli.demo.environment import CUSTOMER, DemoEnvironment
from tests.support.otlp_receiver import running_otlp_receiver
from tests.support.processes import server_process
from tests.support.waiting import until

PAGE = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()
SECTION = PAGE.partition("## From an error to its line and its trace\n")[2]
COMMANDS = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
REQUEST_ID, TRACE_ID = "r-7", "4bf92f3577b34da6a3ce929d0e0e4736"


async def run(command: str, folder: Path) -> Any:
    """What a command prints, as JSON."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-eu", "-c", command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error
    return json.loads(out)


async def failing_call(address: str, key: str) -> Any:
    """Asks for a step that is not there; returns the error."""
    async with grpc.aio.insecure_channel(address) as channel:
        record = pb.SequenceStepRecord(template=pb.StepTemplate(subject="x"))
        request = pb.UpdateStepRequest(sequence_id="7", sequence_step_id="7777", record=record)
        metadata = (
            ("x-api-key", key),
            ("x-customer-id", CUSTOMER),
            ("x-provider-name", "outreach"),
            ("x-request-id", REQUEST_ID),
        )
        stub = sequence_step_service_pb2_grpc.SequenceStepServiceStub(channel)
        response = await stub.UpdateStep(request, metadata=metadata, timeout=20)
    [error] = response.errors
    return error


@pytest.mark.slow
async def test_one_command_leads_to_the_line_and_another_to_the_trace(tmp_path: Path) -> None:
    async with running_sandbox() as sandbox, running_otlp_receiver() as collector:
        demo = await asyncio.to_thread(DemoEnvironment.prepare, tmp_path / "demo", "dev", sandbox.url)
        environment = {name: value for name, value in demo.environment.items() if name.startswith("SEQSTEP_")}
        environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "20"}
        async with server_process(tmp_path, environment) as server:
            error = await failing_call(server.address, demo.api_key_file.read_text().strip())
            assert error.meta.request_id == REQUEST_ID
            os.link(server.log, tmp_path / "seqstep.log")
            await until(lambda: '"event":"call"' in server.log.read_text())
            to_line, to_trace = COMMANDS[:2]
            line = await run(to_line, tmp_path)
            assert (line["error_id"], line["code"]) == (error.id, "NOT_FOUND_ERROR")
            await until(lambda: collector.named("engagement.v1.SequenceStepService/UpdateStep"))
            assert TRACE_ID in to_trace
            for command in to_trace.splitlines()[:2]:
                there = re.sub(r"http://localhost:\d+", collector.url, command.replace(TRACE_ID, line["trace_id"]))
                trace = json.dumps(await run(there, tmp_path))
                assert error.id in trace
                assert "GET sequenceTemplates" in trace
    # The page shows a line with the members that it has.
    [shown] = re.findall(r"```text\n(.*?)```", SECTION, re.DOTALL)
    assert list(json.loads(shown.replace("\n", ""))) == list(line)
