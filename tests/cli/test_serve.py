"""`seqstep serve` and `seqstep sandbox` start, stop, and say why they cannot."""

import asyncio
import signal
import socket
import stat
import sys
from pathlib import Path

import pytest

from sandbox.stand_ins import provider_settings
from seqstep_client import AsyncClient, StepUpdate
from service.cli.demo.environment import DemoEnvironment
from service.connections.encryption import generate_key
from service.process_exit import EXIT_CONFIGURATION
from tests.support.command import run_here, run_process, without_settings
from tests.support.processes import server_process


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.mark.parametrize(
    ("command", "settings", "said"),
    [
        (("serve",), {"SEQSTEP_WORKERS": "many"}, "SEQSTEP_WORKERS: "),
        (("serve",), {}, "seqstep keygen"),
        (
            ("connection", "list"),
            {"SEQSTEP_TLS_CERTIFICATE": "chain.pem"},
            "set both SEQSTEP_TLS_CERTIFICATE and SEQSTEP_TLS_PRIVATE_KEY",
        ),
        (("connection", "list"), {"SEQSTEP_LOG_LEVEL": "loud"}, "SEQSTEP_LOG_LEVEL: "),
        (("connection", "list"), {"SEQSTEP_DATABASE_URL": "mysql://nowhere"}, "SEQSTEP_DATABASE_URL"),
        (("db", "upgrade"), {"SEQSTEP_DATABASE_URL": "mysql://nowhere"}, "SEQSTEP_DATABASE_URL"),
    ],
)
async def test_settings_that_make_no_sense_are_named(
    tmp_path: Path, command: tuple[str, ...], settings: dict[str, str], said: str
) -> None:
    run = run_process if command == ("serve",) else run_here
    ended = await asyncio.to_thread(run, without_settings() | settings, *command, folder=tmp_path)
    assert ended.status == EXIT_CONFIGURATION
    assert said in ended.out + ended.err
    assert "Traceback" not in ended.out + ended.err


async def test_a_sandbox_whose_port_is_taken_says_so(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = await asyncio.to_thread(run_process, without_settings(), "sandbox", "--port", str(port))
    assert ended.status == 1
    assert f"cannot listen on 127.0.0.1:{port}" in ended.err
    assert "Traceback" not in ended.err


async def test_a_prepared_environment_serves_and_can_be_prepared_again(tmp_path: Path) -> None:
    """What `make serve` stands on: made once, private, and kept from then on."""
    sandbox = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service.cli", "sandbox", "--port", "0"), stdout=asyncio.subprocess.PIPE
    )
    assert sandbox.stdout is not None
    url = (await sandbox.stdout.readline()).decode().split()[-1]
    folder = tmp_path / "var"
    try:
        demo = await asyncio.to_thread(DemoEnvironment.prepare, folder, "dev", url)
        key = demo.api_key_file.read_text()
        again = await asyncio.to_thread(DemoEnvironment.prepare, folder, "dev", url)
        assert again.api_key_file.read_text() == key
        assert again.environment == demo.environment
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for name in ("api-key", "encryption-keys", "seqstep.sqlite3"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        settings = {name: value for name, value in again.environment.items() if name.startswith("SEQSTEP_")}
        async with server_process(tmp_path, settings) as service:
            async with AsyncClient(service.address, plaintext=True, api_key=key.strip()) as client:
                result = await client.update_step(
                    StepUpdate(sequence_id="7", sequence_step_id="101", subject="Hello"),
                    customer_id="acme",
                    provider="outreach",
                )
                assert [change.after for change in result.changes] == ["Hello"]
            assert await service.stop(signal.SIGTERM) == 0
    finally:
        sandbox.terminate()
        assert await sandbox.wait() == 0


async def test_a_lost_key_is_replaced(tmp_path: Path) -> None:
    demo = await asyncio.to_thread(DemoEnvironment.prepare, tmp_path, "dev", "http://127.0.0.1:1")
    lost = demo.api_key_file.read_text()
    demo.api_key_file.unlink()
    again = await asyncio.to_thread(DemoEnvironment.prepare, tmp_path, "dev", "http://127.0.0.1:1")
    assert again.api_key_file.read_text() not in ("", lost)


@pytest.mark.parametrize(
    "arguments", [("app", "list"), ("connection", "list"), ("db", "status"), ("serve",), ("doctor",)]
)
async def test_what_only_reads_makes_no_database(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    settings = {"SEQSTEP_ENCRYPTION_KEYS": generate_key(), "SEQSTEP_GRPC_ADDRESS": "127.0.0.1:0"}
    # Nothing listens there, so that the doctor does not ask the real providers.
    environment = without_settings() | settings | provider_settings("http://127.0.0.1:9")
    run = run_process if arguments == ("serve",) else run_here
    ended = await asyncio.to_thread(run, environment, *arguments, folder=tmp_path)
    assert ended.status != 0
    assert "seqstep.sqlite3 does not exist; run `seqstep db upgrade`" in " ".join((ended.out + ended.err).split())
    assert left_in(tmp_path) == []
