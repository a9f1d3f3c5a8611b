"""The demonstration shows what happened, notices what should not have, and cleans up after itself."""

import asyncio
import contextlib
import io
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from service.cli.demo import scenarios
from tests.support.service import running_service


@asynccontextmanager
async def demo(scratch: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEQSTEP_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service.cli", "demo"),
        env=environment | {"TMPDIR": str(scratch)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_the_demonstration_ends_well_and_leaves_nothing(tmp_path: Path) -> None:
    async with demo(tmp_path) as process, asyncio.timeout(60):
        out, _ = await process.communicate()
    shown = out.decode()
    assert process.returncode == 0, shown
    assert shown.count("✓ as it should be") == 4
    assert shown.endswith("All as it should be.\n")
    assert "\x1b" not in shown
    assert shown.startswith("Starting the sandbox …\n")
    rows = [line.split() for line in shown.splitlines() if line.rstrip().endswith("✓")]
    assert [row[-3:] for row in rows] == [
        ["changed", "2", "✓"],
        ["changed", "2", "✓"],
        ["NOT_IMPLEMENTED_ERROR", "0", "✓"],
        ["NOT_FOUND_ERROR", "1", "✓"],
    ]
    for line in (
        "  PUT /api/v1/emailer_templates/5f0000000000000000000401 → 200",
        "  PATCH /api/v2/templates/18 → 200",
        '      "code": "NOT_IMPLEMENTED_ERROR",',
        '      "code": "NOT_FOUND_ERROR",',
        "  -Quick question",
        "  +A quick question about {{company}}",
        "  +<p>Shall we talk on Thursday?</p>",
        "At the provider nothing changed.",
    ):
        assert f"{line}\n" in shown
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
async def test_an_interrupted_demonstration_leaves_nothing(tmp_path: Path, number: int) -> None:
    async with demo(tmp_path) as process, asyncio.timeout(60):
        assert process.stdout is not None
        async for line in process.stdout:
            if line.startswith(b"Service (gRPC)"):
                break
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) == 2
        process.send_signal(number)
        said = await process.stdout.read()
        assert await process.wait() == 130
    assert said.endswith(b"Interrupted; everything that was started has been stopped.\n")
    assert not [each for each in started if each.is_running()]
    assert left_in(tmp_path) == []


async def test_what_does_not_end_as_it_should_is_noticed(tmp_path: Path) -> None:
    async with running_service(tmp_path) as service:
        service.sandbox.order_fault(provider="apollo", method="PUT", times=None, status=422, body='{"error": "no"}')
        service.sandbox.order_fault(provider="outreach", method="GET", times=None, status=503, body="")
        out = io.StringIO()
        console = Console(file=out, soft_wrap=True)
        wrong = await scenarios.run_scenarios(
            console, service.sandbox.url, service.app.rpc.address, service.key.reveal()
        )
    # Apollo, Outreach and the mistake at Outreach; Salesloft is never asked.
    assert wrong == 3
    assert "✗ not as it should be: it was meant to succeed" in out.getvalue()
    assert "3 of 4 not as it should be." in out.getvalue()
