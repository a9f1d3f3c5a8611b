"""Prints a transcript of the tools that people use with gRPC servers, against the service in plaintext and over TLS.

`python -m tools.transcript > transcript.md` builds grpcurl, ghz and grpc-health-probe by Go, and ends with an error if one of them
does not do what is expected.
"""

import asyncio
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme

from sandbox.server import running_sandbox
from service.cli.demo.environment import DemoEnvironment
from tests.support.certificates import tls_settings
from tests.support.go_tools import GHZ, GRPCURL, HEALTH_PROBE, go_tool
from tests.support.processes import server_process

_SERVICE: Final = "engagement.v1.SequenceStepService"
_UPDATE: Final = '{"sequence_id": "7", "sequence_step_id": "101", "record": {"template": {"subject": "Hello"}}, "validate_only": true}'
_METADATA: Final = {"x-api-key": "${SEQSTEP_API_KEY}", "x-customer-id": "acme", "x-provider-name": "outreach"}


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and what its output has to have.

    Attributes:
        command: The command, as a shell reads it.
        expected: Parts of its output.
        fails: It is expected to end with another status than 0.
    """

    command: str
    expected: Sequence[str]
    fails: bool = False


def steps(address: str, ca: str) -> Iterator[Step]:
    """The commands.

    Args:
        address: Where the service listens.
        ca: A file with the authority of its certificate; empty for plaintext.
    """
    headers = " ".join(f"-H '{name}: {value}'" for name, value in _METADATA.items())
    grpcurl = f"grpcurl {f'-cacert {ca}' if ca else '-plaintext'}"
    yield Step(f"{grpcurl} {address} list", [_SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"])
    yield Step(f"{grpcurl} {address} describe {_SERVICE}.UpdateStep", ["// Changes the template", "rpc UpdateStep"])
    yield Step(
        f"{grpcurl} -expand-headers {headers} -d '{_UPDATE}' {address} {_SERVICE}/UpdateStep", ["template.subject"]
    )
    yield Step(f"{grpcurl} -d '{_UPDATE}' {address} {_SERVICE}/UpdateStep", ["Code: Unauthenticated"], fails=True)
    yield Step(f"{grpcurl} {address} grpc.health.v1.Health/Check", ["SERVING"])

    ghz = f"ghz {f'--cacert {ca}' if ca else '--insecure'} --call {_SERVICE}.UpdateStep -n 20 -c 2"
    metadata = json.dumps(_METADATA).replace("${SEQSTEP_API_KEY}", "'\"$SEQSTEP_API_KEY\"'")
    yield Step(f"{ghz} -m '{metadata}' -d '{_UPDATE}' {address}", ["[OK]", "20 responses"])

    buf = f"buf curl --protocol grpc {f'--cacert {ca}' if ca else '--http2-prior-knowledge'}"
    url = f"{'https' if ca else 'http'}://{address}"
    yield Step(f"{buf} --list-methods {url}", [f"{_SERVICE}/UpdateStep"])
    shown = headers.replace("'x-api-key: ${SEQSTEP_API_KEY}'", '"x-api-key: $SEQSTEP_API_KEY"')
    yield Step(f"{buf} {shown} -d '{_UPDATE}' {url}/{_SERVICE}/UpdateStep", ["template.subject"])

    probe = f"grpc-health-probe -addr {address} {f'-tls -tls-ca-cert {ca}' if ca else ''}".strip()
    yield Step(probe, ["status: SERVING"])
    yield Step(f"{probe} -service {_SERVICE}", ["status: SERVING"])
    yield Step(f"{probe} -service nobody.knows.it", ["NotFound"], fails=True)


async def transcript(secure: bool) -> str:  # noqa: FBT001
    """Runs the commands, and returns them with their outputs in Markdown.

    Raises:
        AssertionError: A command does not do what is expected.
    """
    parts = [f"## {'TLS' if secure else 'Plaintext'}\n"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        tools = [await asyncio.to_thread(go_tool, package) for package in (GRPCURL, GHZ, HEALTH_PROBE)]
        for tool in [*tools, str(Path(sys.executable).with_name("buf"))]:
            assert tool is not None, "Go is needed"
            (path / Path(tool).name).symlink_to(tool)
        async with running_sandbox() as sandbox:
            demo = await asyncio.to_thread(DemoEnvironment.prepare, path / "demo", "dev", sandbox.url)
            settings = {name: value for name, value in demo.environment.items() if name.startswith("SEQSTEP_")}
            if secure:
                settings |= tls_settings(path, trustme.CA())
            async with server_process(path, settings, wait=not secure) as server:
                key = demo.api_key_file.read_text(encoding="utf-8").strip()
                environment = os.environ | {"SEQSTEP_API_KEY": key, "PATH": f"{folder}:{os.environ['PATH']}"}
                ca = str(path / "ca.crt") if secure else ""
                await _wait_for(server.address)
                for step in steps(server.address, ca):
                    output = await _run(step, environment)
                    assert key not in output
                    said = f"$ {step.command}\n{output}".replace(f"{folder}/", "")
                    parts.append(f"```text\n{said.rstrip()}\n```\n")
    return "\n".join(parts)


async def _wait_for(address: str) -> None:
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def _run(step: Step, environment: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", step.command),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output = (await process.communicate())[0].decode()
    assert (process.returncode != 0) == step.fails, f"{shlex.quote(step.command)}: {output}"
    for part in step.expected:
        assert part in output, f"{step.command}: no {part!r} in {output}"
    return output


async def main() -> None:
    """Prints both."""
    for secure in (False, True):
        print(await transcript(secure))


if __name__ == "__main__":
    asyncio.run(main())
