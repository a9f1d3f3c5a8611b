"""The admin server: health, readiness and metrics beside servers that want certificates."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from service.api.tls import TlsFiles
from service.connections import Store, StoreUnavailable
from tests.support.plain_client import plain_client
from tests.support.service import running_service

ROOT = Path(__file__).parents[2]


async def test_probes_get_in_where_callers_need_certificates(tmp_path: Path, mutual_tls_files: TlsFiles) -> None:
    tls = {
        "tls_certificate": mutual_tls_files.certificate,
        "tls_private_key": mutual_tls_files.private_key,
        "tls_client_ca": mutual_tls_files.client_ca,
    }
    async with running_service(tmp_path, admin_address="127.0.0.1:0", **tls) as service:
        assert service.app.admin is not None
        async with plain_client(base_url=f"http://{service.app.admin.address}") as client:
            assert (await client.get("/healthz")).json() == {"status": "alive"}
            assert (await client.get("/readyz")).json() == {"status": "ready"}
            metrics = await client.get("/metrics")
            assert "seqstep_calls" in metrics.text
            assert metrics.headers["content-type"].startswith("text/plain")
            assert (await client.patch("/sequences/1/sequence_steps/2")).status_code == 404


async def test_readiness_follows_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.app._WATCH_SECONDS", 0.01)
    is_away = asyncio.Event()

    async def check(_: Store) -> None:
        if is_away.is_set():
            raise StoreUnavailable("away")

    monkeypatch.setattr(Store, "check", check)
    both = {"admin_address": "127.0.0.1:0", "http_address": "127.0.0.1:0"}
    async with running_service(tmp_path, **both) as service, plain_client() as client:
        assert service.app.admin is not None
        assert service.app.rest is not None
        urls = [f"http://{server.address}" for server in (service.app.admin, service.app.rest)]

        async def both_say(expected: int) -> None:
            async with asyncio.timeout(10):
                while {(await client.get(f"{url}/readyz")).status_code for url in urls} != {expected}:
                    pass

        await both_say(200)
        is_away.set()
        await both_say(503)
        assert (await client.get(f"{urls[0]}/healthz")).status_code == 200
        is_away.clear()
        await both_say(200)


async def test_the_admin_server_answers_while_the_others_stop(tmp_path: Path) -> None:
    async with running_service(tmp_path, admin_address="127.0.0.1:0") as service, plain_client() as client:
        assert service.app.admin is not None
        await service.app.stop(0)
        assert (await client.get(f"http://{service.app.admin.address}/healthz")).status_code == 200


async def test_the_images_health_check_needs_no_python(tmp_path: Path) -> None:
    [command] = re.findall(r"HEALTHCHECK .*?CMD (\[.*?\"\])\n", (ROOT / "Dockerfile").read_text(), flags=re.DOTALL)
    shell = json.loads(command.replace("\\\n", ""))

    async def ask(address: str) -> int | None:
        process = await asyncio.create_subprocess_exec(
            *shell,
            env={"SEQSTEP_ADMIN_ADDRESS": address, "PATH": "/usr/bin:/bin"},
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await process.wait()

    async with running_service(tmp_path, admin_address="127.0.0.1:0") as service:
        assert service.app.admin is not None
        address = service.app.admin.address
        assert await ask(address) == 0
    assert await ask(address) != 0
