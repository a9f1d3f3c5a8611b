"""The README's calls with grpcurl and buf curl, in plaintext and over TLS, with grpcurl as locked and as it is now."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
import trustme

from sandbox import seed
from sandbox.server import running_sandbox
from service.cli.demo.environment import DemoEnvironment
from tests.readme.play import commands
from tests.readme.test_readme import PAGE
from tests.support.certificates import tls_settings
from tests.support.go_tools import GRPCURL, go_tool
from tests.support.processes import server_process

CALLS = [
    (code, promised) for _, code, promised in commands(PAGE.read_text()) if code.startswith(("grpcurl ", "buf curl "))
]


@pytest.fixture(scope="module")
def grpcurls() -> dict[str, str]:
    current = go_tool(GRPCURL)
    return {"locked": str(Path(sys.executable).with_name("grpcurl"))} | ({"current": current} if current else {})


def adapted(code: str, grpcurl: str, address: str, ca: Path | None) -> str:
    """A command of the page for a service elsewhere; what docs/clients.md says about TLS is done here."""
    if ca is not None:
        code = code.replace("grpcurl -plaintext", f"grpcurl -cacert {ca}")
        code = code.replace("--http2-prior-knowledge", f"--cacert {ca}").replace(
            "http://127.0.0.1", "https://127.0.0.1"
        )
    return code.replace("127.0.0.1:50051", address).replace("grpcurl ", f"{grpcurl} ", 1)


@pytest.mark.slow
@pytest.mark.timeout(500)  # Go compiles grpcurl once
@pytest.mark.parametrize("secure", [False, True], ids=["plaintext", "TLS"])
async def test_the_calls_of_the_page(
    grpcurls: dict[str, str], authority: trustme.CA, tmp_path: Path, *, secure: bool
) -> None:
    async with running_sandbox() as sandbox:
        demo = await asyncio.to_thread(DemoEnvironment.prepare, tmp_path / "demo", "dev", sandbox.url)
        settings = {name: value for name, value in demo.environment.items() if name.startswith("SEQSTEP_")}
        environment = settings | (tls_settings(tmp_path, authority) if secure else {})
        ca = tmp_path / "ca.crt" if secure else None
        async with server_process(tmp_path, environment, wait=not secure) as service:
            environment = os.environ | {"SEQSTEP_API_KEY": demo.api_key_file.read_text().strip()}
            for grpcurl in grpcurls.values():
                sandbox.reset()
                for code, promised in CALLS:
                    await check(adapted(code, grpcurl, service.address, ca), promised, environment)
        assert sandbox.calls("outreach")
        assert seed.OUTREACH_ACCESS_TOKEN not in json.dumps(sandbox.calls("outreach"))


async def check(code: str, promised: str, environment: dict[str, str]) -> None:
    for _ in range(100):
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", code, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(30):
            output = (await process.communicate())[0].decode()
        # Only until the service listens, which is asked for over TLS here.
        if "connection refused" not in output and "context deadline exceeded" not in output:
            break
    assert (process.returncode != 0) == promised.startswith("ERROR:"), output
    lines = iter(output.splitlines())
    for line in promised.splitlines():
        assert any(each == line for each in lines), f"{line!r} is not in, or not in this order:\n{output}"
