"""A provider that closes each connection soon after it has answered on it."""

import asyncio
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sandbox import seed
from tests.support.scripted_apollo import ScriptedApollo, updates_at
from tests.support.scripted_server import ServerConnection, scripted_server
from tests.support.service import running_service

UPDATES = 40
IDS = {
    "apollo": ("PUT", seed.APOLLO_SEQUENCE_INACTIVE, seed.APOLLO_STEP_INACTIVE_PLAIN),
    "outreach": ("PATCH", seed.OUTREACH_SEQUENCE_DISABLED, seed.OUTREACH_STEP_DISABLED_PLAIN),
}


@pytest.mark.parametrize("provider", IDS)
async def test_a_server_that_closes_after_5_ms_costs_no_update(provider: str, tmp_path: Path) -> None:
    method, sequence, step = IDS[provider]
    sandbox_url = ""

    async def follow(connection: ServerConnection) -> None:
        """Passes one request on, and reads no other."""
        head, body = await connection.request()
        where = urlsplit(sandbox_url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(head[:-2].encode() + b"Connection: close\r\n\r\n" + body)
        answer = await reader.read()
        writer.close()
        await connection.send(answer.replace(b"Connection: close\r\n", b""))
        await asyncio.sleep(0.005)

    async with scripted_server(follow) as front:
        url = f"http://127.0.0.1:{front.port}"
        urls = {"apollo_base_url": f"{url}/apollo/api/v1", "outreach_base_url": f"{url}/outreach"}
        async with running_service(tmp_path, **urls) as service:
            sandbox_url = service.sandbox.url
            results = [await service.update(provider, sequence, step, subject=f"No. {n}") for n in range(UPDATES)]
            writes = [call for call in service.provider_calls(provider) if call.startswith(method)]
    assert [result.errors for result in results] == [[]] * UPDATES
    # None was carried out twice.
    assert len(writes) == UPDATES


@pytest.mark.parametrize(("customers", "sequences"), [(8, 5), (40, 1), (1, 40)], ids=str)
async def test_a_closing_server_costs_none_of_many_updates_at_once(customers: int, sequences: int) -> None:
    apollo = ScriptedApollo()
    writes: Counter[bytes] = Counter()

    async def serve(connection: ServerConnection) -> None:
        """Answers one request, and reads no other."""
        head, body = await connection.request()
        if body:
            writes[body] += 1
        await connection.send(apollo.answer(head, body))
        await asyncio.sleep(0.005)

    async with updates_at(serve) as update:
        for number in range(3):
            results = await asyncio.gather(
                *(
                    update(f"customer-{one}", f"5f{two:022x}", subject=f"{one} {two} {number}")
                    for one in range(customers)
                    for two in range(sequences)
                )
            )
            assert [result.problems for result in results] == [()] * customers * sequences
            assert all(len(result.changes) == 1 for result in results)
    assert len(writes) == 3 * customers * sequences
    assert set(writes.values()) == {1}
