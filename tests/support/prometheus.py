"""A real Prometheus, with the rules of the repository."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]

from tests.support.plain_client import plain_client
from tests.support.processes import free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
INSTALLED = shutil.which("prometheus") is not None and shutil.which("promtool") is not None

needs_prometheus = pytest.mark.skipif(
    not INSTALLED and not os.environ.get("CI"),
    reason="needs Prometheus: apt-get install -y --no-install-recommends prometheus",
)


@asynccontextmanager
async def running_prometheus(folder: Path, target: str) -> AsyncIterator[httpx.AsyncClient]:
    """A Prometheus that scrapes a target every second; gives a client of its API."""
    scrape = {"job_name": "seqstep", "static_configs": [{"targets": [target]}]}
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "rule_files": [str(DEPLOY / "prometheus" / "alerts.yaml")],
        "scrape_configs": [scrape],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=error",
    )
    try:
        async with plain_client(base_url=f"http://{address}") as client:
            yield client
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def query(prometheus: httpx.AsyncClient, expression: str) -> list[Any]:
    """The series of an expression; none while Prometheus does not answer yet."""
    try:
        response = await prometheus.get("/api/v1/query", params={"query": expression})
    except httpx.TransportError:
        return []
    if response.status_code == 503:
        return []
    assert response.json()["status"] == "success", response.text
    result: list[Any] = response.json()["data"]["result"]
    return result
