"""The store behind PgBouncer in transaction mode, where each transaction may have another connection of the server."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from service.connections import Applications, Store, StoreUnavailable
from service.connections.migrations.upgrade import upgrade
from tests.connections.refresh_process import STEPS
from tests.support.connections import access_token, check_after_crash, outreach_customer
from tests.support.pgbouncer import pgbouncer


@pytest.mark.slow
async def test_everything_works_behind_a_pooler(postgresql_server: Any, tmp_path: Path) -> None:
    async with pgbouncer(postgresql_server, tmp_path) as url:
        store = Store.open(f"{url}?pgbouncer=true")
        await upgrade(store)
        await store.check_schema()
        applications = Applications(store, 0)
        key = await applications.create("billing")
        caller = await applications.authenticate(key.reveal())
        async with outreach_customer(url, store, caller) as customer:
            await customer.connect(ends_in=-1)
            workers = [customer.another_worker() for _ in range(4)]
            found = await asyncio.gather(*(customer.usable(worker) for worker in workers for _ in range(10)))
            assert len({access_token(connection) for connection in found}) == 1
            assert customer.mints == 1
            await customer.connect(ends_in=3600)
            calls = (applications.authenticate(key.reveal()) for _ in range(100))
            assert set(await asyncio.gather(*calls)) == {caller}
            [_ async for _ in customer.administration.reencrypt()]
        await store.close()


async def test_without_the_parameter_it_is_named(postgresql_server: Any, tmp_path: Path) -> None:
    async with pgbouncer(postgresql_server, tmp_path) as url:
        store = Store.open(url)

        async def use() -> None:
            async with store.begin() as db:
                await db.execute(text("SELECT pg_sleep(0.005)"))

        with pytest.raises(StoreUnavailable, match=r"prepared statement .* pgbouncer=true"):
            await asyncio.gather(*(use() for _ in range(100)))
        await store.close()


async def test_a_pooler_without_places_fails_no_call(postgresql_server: Any, tmp_path: Path) -> None:
    async with pgbouncer(postgresql_server, tmp_path, clients=2) as url:
        store = Store.open(f"{url}?pgbouncer=true", max_connections=10)

        async def use() -> float:
            async with store.begin() as db:
                await db.execute(text("SELECT pg_sleep(0.005)"))
            return time.monotonic()

        assert len(await asyncio.gather(*(use() for _ in range(50)))) == 50
        await store.close()


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
async def test_after_a_crash_behind_a_pooler_nothing_else_is_lost(
    step: str, postgresql_server: Any, tmp_path: Path
) -> None:
    async with pgbouncer(postgresql_server, tmp_path) as server:
        url = f"{server}?pgbouncer=true"
        store = Store.open(url)
        await upgrade(store)
        applications = Applications(store, 0)
        caller = await applications.authenticate((await applications.create("billing")).reveal())
        async with outreach_customer(url, store, caller) as customer:
            await customer.connect(ends_in=-1)
            await customer.change_account(mint_interval_seconds=0)
            if step == "request sent":
                customer.token_fault(delay_seconds=5, when="after")
            await check_after_crash(customer, step, tmp_path)
        await store.close()
