"""What tools show of the service by reflection: grpcurl as locked and as it is now, ghz, buf curl, grpc-health-probe."""

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from service.rpc.server import SERVICE_NAME
from tests.support.go_tools import GHZ, GRPCURL, HEALTH_PROBE, go_tool
from tests.support.grpc_server import RunningGrpcServer
from tools.transcript import steps, transcript

METADATA = {"x-api-key": "good", "x-customer-id": "acme", "x-provider-name": "apollo"}
HEADERS = [part for name, value in METADATA.items() for part in ("-H", f"{name}: {value}")]
METHOD = f"{SERVICE_NAME}/UpdateStep"

# Go compiles the tools once.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    return output


async def built(package: str) -> str:
    tool = await asyncio.to_thread(go_tool, package)
    if tool is None:
        pytest.skip("install Go to build the tool: https://go.dev/dl")
    return tool


@pytest.mark.parametrize("which", ["locked", "current"])
async def test_grpcurl_describes_and_calls(server: RunningGrpcServer, which: str) -> None:
    grpcurl = str(Path(sys.executable).with_name("grpcurl")) if which == "locked" else await built(GRPCURL)
    plain = (grpcurl, "-plaintext")
    method = await run(*plain, server.grpc.address, "describe", f"{SERVICE_NAME}.UpdateStep")
    assert "// Changes the template (subject, HTML body)" in method
    assert "rpc UpdateStep ( .engagement.v1.UpdateStepRequest )" in method
    field = await run(*plain, server.grpc.address, "describe", "engagement.v1.UpdateStepRequest.record")
    assert "// The values to set. Required." in field
    for symbol in ("google.rpc.BadRequest", "grpc.health.v1.Health.Check", "grpc.reflection.v1.ServerReflection"):
        assert symbol in await run(*plain, server.grpc.address, "describe", symbol)
    assert await run(*plain, server.grpc.address, "list", SERVICE_NAME) == "".join(
        f"{SERVICE_NAME}.{name}\n"
        for name in ("GetStep", "GetStepChange", "ListStepChanges", "ListSteps", "RevertStepChange", "UpdateStep")
    )
    await run(*plain, *HEADERS, "-d", '{"record": {}}', server.grpc.address, METHOD)
    assert len(server.updates) == 1
    health = json.loads(await run(*plain, server.grpc.address, "grpc.health.v1.Health/List"))
    assert health["statuses"][SERVICE_NAME] == {"status": "SERVING"}


async def test_ghz_calls_by_reflection(server: RunningGrpcServer) -> None:
    options = ("--insecure", "--call", f"{SERVICE_NAME}.UpdateStep", "-n", "5", "-c", "1", "-O", "json")
    data = ("-d", '{"record": {}}', "-m", json.dumps(METADATA))
    report = json.loads(await run(await built(GHZ), *options, *data, server.grpc.address))
    assert report["statusCodeDistribution"] == {"OK": 5}
    assert len(server.updates) == 5


async def test_buf_curl_lists_and_calls(server: RunningGrpcServer) -> None:
    curl = (str(Path(sys.executable).with_name("buf")), "curl", "--protocol", "grpc", "--http2-prior-knowledge")
    url = f"http://{server.grpc.address}"
    for version in ("grpc-v1", "grpc-v1alpha"):
        listed = await run(*curl, "--reflect-protocol", version, "--list-methods", url)
        assert {METHOD, "grpc.health.v1.Health/List"} <= set(listed.split())
    await run(*curl, *HEADERS, "--data", '{"record": {}}', f"{url}/{METHOD}")
    assert len(server.updates) == 1


@pytest.mark.parametrize("secure", [False, True], ids=["plaintext", "TLS"])
async def test_all_tools_of_today_against_the_service(*, secure: bool) -> None:
    for package in (GRPCURL, GHZ, HEALTH_PROBE):
        await built(package)
    shown = await transcript(secure)
    assert shown.count("$ grpc-health-probe") == 3


def test_the_page_has_the_commands_of_the_transcript() -> None:
    page = (Path(__file__).parents[2] / "docs" / "clients.md").read_text().partition("## Tools\n")[2]
    tried = {step.command for step in steps("127.0.0.1:50051", "")}
    shown = [" ".join(code.replace("\\\n", "").split()) for code in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)]
    assert len(shown) == 2
    assert set(shown) <= tried
