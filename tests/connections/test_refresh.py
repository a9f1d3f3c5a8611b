"""One renewal of a token, whoever notices and whatever happens."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from sqlalchemy import update as sql_update

from sandbox import seed
from sandbox.server import running_sandbox
from service.connections import Connections, Keyring, KeyringError, Store
from service.connections import connections as module
from service.connections.encryption import generate_key
from service.connections.migrations.upgrade import upgrade
from service.connections.schema import connections as table
from service.domain.credentials import Connection, ConnectionState, OAuthCredentials
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, Problem, UpdateFailed
from service.domain.step import Caller, Provider
from service.providers.outreach import Outreach
from service.upstream.oauth import TokenRefresher
from service.upstream.old_http import Upstream
from tests.connections.refreshing import STEPS
from tests.support.service import outreach_grant
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


class Room:
    """A store with one Outreach connection, in front of the sandbox's token endpoint."""

    def __init__(self, database_url: str, store: Store, caller: Caller, sandbox: Any, upstream: Upstream) -> None:
        self.database_url = database_url
        self.store = store
        self.caller = caller
        self.sandbox = sandbox
        self.key = generate_key()
        endpoint = TokenRefresher(Outreach.provider, Outreach(sandbox.outreach_url).token_url, upstream)
        self._make: Callable[[], Connections] = lambda: Connections(
            store,
            Keyring.parse(self.key),
            {Provider("outreach"): endpoint},
            cache_seconds=5,
            refresh_margin_seconds=300,
        )
        self.connections = self._make()

    def another(self) -> Connections:
        """Connections as another worker has them."""
        return self._make()

    async def connect(self, ends_in: float, **more: Any) -> OAuthCredentials:
        grant = outreach_grant(expires_at=time.time() + ends_in, **more)
        await self.connections.set(self.caller.application_id, "acme", Provider("outreach"), grant)
        return grant

    async def usable(self, connections: Connections | None = None, seconds: float = 20) -> Connection:
        return await (connections or self.connections).usable(
            self.caller.application_id, "acme", Provider("outreach"), Deadline.after(seconds)
        )

    async def problem(self, connections: Connections | None = None, seconds: float = 20) -> Problem:
        with pytest.raises(UpdateFailed) as failure:
            await self.usable(connections, seconds)
        return failure.value.problems[0]

    async def state(self) -> tuple[ConnectionState, str]:
        [summary] = await self.connections.list()
        return summary.state, summary.state_reason

    @property
    def mints(self) -> int:
        return sum(call["path"] == "/oauth/token" and call["status"] == 200 for call in self.sandbox.calls("outreach"))

    @property
    def attempts(self) -> int:
        return sum(call["path"] == "/oauth/token" for call in self.sandbox.calls("outreach"))

    async def control(self, path: str, body: Any) -> None:
        async with httpx.AsyncClient() as client:
            (await client.patch(f"{self.sandbox.url}/_sandbox{path}", json=body)).raise_for_status()

    async def process(self, **wanted: Any) -> Any:
        given = {
            "database_url": self.database_url,
            "outreach_url": self.sandbox.outreach_url,
            "key": self.key,
            "application_id": self.caller.application_id,
        } | wanted
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.connections.refreshing",
            json.dumps(given),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )


@pytest.fixture
async def room(database_url: str, store: Store, caller: Caller) -> AsyncIterator[Room]:
    upstream = Upstream()
    async with running_sandbox() as sandbox:
        yield Room(database_url, store, caller, sandbox, upstream)
    await upstream.close()


def token(connection: Connection) -> str:
    assert isinstance(connection.credentials, OAuthCredentials)
    return connection.credentials.access_token.reveal()


async def test_a_token_with_time_left_is_used_as_it_is(room: Room) -> None:
    await room.connect(ends_in=3600)
    assert token(await room.usable()) == seed.OUTREACH_ACCESS_TOKEN
    assert room.attempts == 0


@pytest.mark.parametrize("ends_in", [-10, 10, 299])
async def test_a_token_that_ends_soon_is_renewed_once_and_kept(room: Room, ends_in: float) -> None:
    await room.connect(ends_in=ends_in)
    connections = await asyncio.gather(*(room.usable() for _ in range(100)))
    assert len({token(connection) for connection in connections}) == 1
    assert token(connections[0]) != seed.OUTREACH_ACCESS_TOKEN
    assert room.mints == room.attempts == 1
    assert token(await room.usable(room.another())) == token(connections[0])
    assert room.mints == 1


async def test_two_workers_mint_once(room: Room) -> None:
    await room.connect(ends_in=-1)
    first, second = room.another(), room.another()
    got = await asyncio.gather(*(room.usable(worker) for worker in (first, second) for _ in range(20)))
    assert len({token(connection) for connection in got}) == 1
    assert room.attempts == 1


async def test_processes_mint_once(room: Room) -> None:
    await room.connect(ends_in=-1)
    processes = [await room.process(calls=100) for _ in range(4)]
    outputs = [json.loads((await process.communicate())[0].splitlines()[-1]) for process in processes]
    assert len({tuple(output) for output in outputs}) == 1
    assert len(outputs[0]) == 1
    assert "ERROR" not in outputs[0][0]
    assert room.attempts == 1


async def test_a_refused_token_is_renewed_though_it_had_time_left(room: Room) -> None:
    await room.connect(ends_in=3600)
    before = await room.usable()
    after = await room.connections.renewed(before, Deadline.after(20))
    assert token(after) != token(before)
    # Whoever comes later with the old token gets the one that is there.
    assert token(await room.connections.renewed(before, Deadline.after(20))) == token(after)
    assert token(await room.another().renewed(before, Deadline.after(20))) == token(after)
    assert room.attempts == 1


async def test_a_void_grant_marks_the_connection_with_when_and_why(room: Room) -> None:
    await room.connect(ends_in=-1)
    await room.control(f"/accounts/{seed.OUTREACH_ACCOUNT}", {"revoke_refresh_token": True})
    problem = await room.problem()
    assert problem.code is ErrorCode.UNAUTHORIZED_ERROR
    assert "Reconnect customer acme to Outreach" in problem.detail
    assert await room.state() == (ConnectionState.NEEDS_REAUTH, "Outreach answered invalid_grant")
    attempts = room.attempts
    # From now on nobody is asked.
    assert (await room.problem(room.another())).code is ErrorCode.UNAUTHORIZED_ERROR
    assert room.attempts == attempts == 1
    await room.connect(ends_in=3600)
    assert (await room.state())[0] is ConnectionState.ACTIVE
    await room.usable()


async def test_a_wrong_client_marks_the_connection(room: Room) -> None:
    await room.connect(ends_in=-1, client_id="nobody")
    assert (await room.problem()).code is ErrorCode.UNAUTHORIZED_ERROR
    assert (await room.state())[0] is ConnectionState.NEEDS_REAUTH


FAULTS: list[tuple[dict[str, Any], ErrorCode]] = [
    ({"status": 500, "body": "oops"}, ErrorCode.BAD_GATEWAY_ERROR),
    ({"status": 503, "body": "<html>", "headers": {"content-type": "text/html"}}, ErrorCode.SERVICE_UNAVAILABLE_ERROR),
    ({"status": 429, "headers": {"retry-after": "42"}}, ErrorCode.TOO_MANY_REQUESTS_ERROR),
    ({"status": 400, "body": {"error": "temporarily_odd"}}, ErrorCode.BAD_GATEWAY_ERROR),
    ({"status": 200, "body": "<html>"}, ErrorCode.BAD_GATEWAY_ERROR),
    ({"status": 200, "body": {"token_type": "bearer"}}, ErrorCode.BAD_GATEWAY_ERROR),
    ({"status": 302, "headers": {"location": "http://other.example/"}}, ErrorCode.BAD_GATEWAY_ERROR),
    ({"cut": "before_headers"}, ErrorCode.SERVICE_UNAVAILABLE_ERROR),
    ({"cut": "mid_body", "status": 200, "body": {"access_token": "x"}}, ErrorCode.SERVICE_UNAVAILABLE_ERROR),
    ({"hang": True}, ErrorCode.GATEWAY_TIMEOUT_ERROR),
]


@pytest.mark.parametrize(("fault", "code"), FAULTS, ids=[str(fault) for fault, _ in FAULTS])
async def test_a_passing_failure_is_typed_and_marks_nothing(room: Room, fault: dict[str, Any], code: ErrorCode) -> None:
    await room.connect(ends_in=-1)
    room.sandbox.order_fault(provider="outreach", path="oauth/token", **fault)
    problem = await room.problem(seconds=1)
    assert problem.code is code
    if fault.get("status") == 429:
        assert problem.retry_after == 42
    assert (await room.state())[0] is ConnectionState.ACTIVE


async def test_a_good_token_is_used_while_the_token_endpoint_fails(room: Room) -> None:
    await room.connect(ends_in=100)
    room.sandbox.order_fault(provider="outreach", path="oauth/token", status=500, times=None)
    for _ in range(20):
        assert token(await room.usable()) == seed.OUTREACH_ACCESS_TOKEN
    # It is asked once, and then left alone for a while.
    assert room.attempts == 1
    assert (await room.state())[0] is ConnectionState.ACTIVE


async def test_a_caller_that_goes_away_does_not_stop_a_renewal(room: Room) -> None:
    await room.connect(ends_in=-1)
    room.sandbox.order_fault(provider="outreach", path="oauth/token", delay_seconds=0.3)
    asked = asyncio.ensure_future(room.usable())
    await until(lambda: room.attempts)
    asked.cancel()
    assert token(await room.usable()) != seed.OUTREACH_ACCESS_TOKEN
    assert room.attempts == 1


async def test_a_connection_that_was_set_meanwhile_is_not_overwritten(room: Room) -> None:
    await room.connect(ends_in=-1)
    room.sandbox.order_fault(provider="outreach", path="oauth/token", delay_seconds=0.3)
    renewing = asyncio.ensure_future(room.usable(room.another()))
    await until(lambda: room.attempts)
    await room.connect(ends_in=3600)
    assert token(await renewing) == seed.OUTREACH_ACCESS_TOKEN
    assert token(await room.usable()) == seed.OUTREACH_ACCESS_TOKEN


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("run", range(2))
async def test_a_crash_at_any_step_leaves_a_connection_that_works_or_says_why_not(
    room: Room, step: str, run: int
) -> None:
    await room.connect(ends_in=-1)
    await room.control(f"/accounts/{seed.OUTREACH_ACCOUNT}", {"mint_interval_seconds": 0})
    if run or step == "request sent":
        room.sandbox.order_fault(provider="outreach", path="oauth/token", delay_seconds=0.2, when="after")
    process = await room.process(die_at=step)
    await process.communicate()
    assert process.returncode == -9
    # What the dead process held ends by itself after 30 seconds; the test does not wait that long.
    async with room.store.begin() as connection:
        await connection.execute(sql_update(table).where(table.c.lease_until.isnot(None)).values(lease_until=0.0))
    try:
        after = token(await room.usable(room.another()))
    except UpdateFailed as failure:
        assert failure.problems[0].code is ErrorCode.UNAUTHORIZED_ERROR  # noqa: PT017
        assert (await room.state())[0] is ConnectionState.NEEDS_REAUTH
        assert step in ("request sent", "token minted", "before commit")
        return
    assert (await room.state())[0] is ConnectionState.ACTIVE
    async with httpx.AsyncClient() as client:
        answer = await client.get(
            f"{room.sandbox.outreach_url}/api/v2/sequenceTemplates",
            headers={"authorization": f"Bearer {after}", "content-type": "application/vnd.api+json"},
        )
        assert answer.status_code == 200


async def test_a_dead_process_holds_its_lease_no_longer_than_it_says(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    await room.connect(ends_in=-1)
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.5)
    async with room.store.begin() as connection:
        await connection.execute(sql_update(table).values(lease_owner="somebody dead", lease_until=time.time() + 0.5))
    started = time.monotonic()
    assert token(await room.usable()) != seed.OUTREACH_ACCESS_TOKEN
    assert time.monotonic() - started >= 0.4


async def test_a_damaged_or_moved_row_fails_alone(room: Room) -> None:
    await room.connect(ends_in=3600)
    application = room.caller.application_id
    await room.connections.set(application, "other", Provider("outreach"), outreach_grant())
    async with room.store.begin() as connection:
        row = (await connection.execute(table.select().where(table.c.customer_id == "other"))).one()
        await connection.execute(
            sql_update(table).where(table.c.customer_id == "acme").values(ciphertext=row.ciphertext)
        )
    problem = await room.problem(room.another())
    assert problem.code is ErrorCode.INTERNAL_SERVER_ERROR
    assert "set the connection again" in problem.detail
    await room.another().usable(application, "other", Provider("outreach"), Deadline.after(5))


async def test_a_removed_key_is_a_clear_error_at_the_start_and_in_a_call(room: Room) -> None:
    await room.connect(ends_in=3600)
    old, room.key = room.key, generate_key()
    with pytest.raises(KeyringError, match="does not have"):
        await room.another().check_keys()
    assert "not in SEQSTEP_ENCRYPTION_KEYS" in (await room.problem(room.another())).detail
    room.key = f"{room.key},{old}"
    await room.another().check_keys()
    await room.usable(room.another())


async def test_everything_moves_to_the_first_key_while_calls_go_on(room: Room) -> None:
    application = room.caller.application_id
    for number in range(60):
        await room.connections.set(application, f"c{number}", Provider("outreach"), outreach_grant())
    new = generate_key()
    room.key = f"{new},{room.key}"
    mover = room.another()
    assert await mover.count_not_under_current_key() == 60
    async for _ in mover.reencrypt():
        break
    [_ async for _ in room.another().reencrypt()]
    assert await mover.count_not_under_current_key() == 0
    room.key = new
    await room.another().check_keys()
    for number in range(60):
        await room.another().usable(application, f"c{number}", Provider("outreach"), Deadline.after(5))


async def test_applications_do_not_see_each_others_customers(room: Room) -> None:
    await room.connect(ends_in=3600)
    with pytest.raises(UpdateFailed) as failure:
        await room.connections.usable(room.caller.application_id + 1, "acme", Provider("outreach"), Deadline.after(5))
    assert failure.value.problems[0].code is ErrorCode.NOT_FOUND_ERROR


async def test_a_change_by_another_process_is_seen_within_the_cache_time(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    await room.connect(ends_in=3600)
    worker = room.another()
    await room.usable(worker)
    await room.connections.delete(room.caller.application_id, "acme", Provider("outreach"))
    await room.usable(worker)
    later = time.monotonic() + 5.01
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert (await room.problem(worker, seconds=20)).code is ErrorCode.NOT_FOUND_ERROR


async def test_a_grant_without_a_refresh_token_cannot_be_renewed(room: Room) -> None:
    grant = await room.connect(ends_in=3600)
    bare = replace(grant, refresh_token=None)
    await room.connections.set(room.caller.application_id, "acme", Provider("outreach"), bare)
    connection = await room.usable()
    with pytest.raises(UpdateFailed) as failure:
        await room.connections.renewed(connection, Deadline.after(5))
    assert failure.value.problems[0].code is ErrorCode.UNAUTHORIZED_ERROR
    assert (await room.state())[0] is ConnectionState.NEEDS_REAUTH


async def test_a_migrated_store_is_used_by_upgrade_only_once(room: Room) -> None:
    await upgrade(room.store)
    await room.connect(ends_in=3600)
    await upgrade(room.store)
    await room.usable()
