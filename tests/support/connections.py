"""A store with one Outreach connection, in front of the sandbox's token endpoint."""

import json
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from sandbox import seed
from sandbox.server import running_sandbox
from service.connections import (
    ConnectionAdministration,
    Connections,
    Keyring,
    Store,
    TokenEndpoint,
    token_refresh,
)
from service.connections.encryption import generate_key
from service.connections.repository import ConnectionRepository, StoredConnection
from service.connections.schema import connections as table
from service.domain.credentials import Connection, ConnectionKey, ConnectionState, ConnectionSummary, OAuthCredentials
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, Problem, UpdateFailed
from service.domain.step import Caller, Provider
from service.providers.outreach import Outreach
from service.upstream.http import HttpClient
from service.upstream.oauth import TokenRefresher
from tests.support.certificates import one_authority
from tests.support.forked import ForkedProcess
from tests.support.plain_client import plain_client
from tests.support.service import outreach_grant
from tests.support.waiting import until

CUSTOMER = "acme"
TOKEN_PATH = "oauth/token"


class OutreachCustomer:
    """One customer of one application, whom a test connects to the sandbox's Outreach.

    Attributes:
        keys: The encryption keys, as `SEQSTEP_ENCRYPTION_KEYS` has them; may be replaced.
        connections: Connections as the first worker has them.
        results: What each request of any worker to the token endpoint came to.
    """

    def __init__(
        self,
        database_url: str,
        store: Store,
        caller: Caller,
        sandbox: Any,
        token_endpoints: Mapping[Provider, TokenEndpoint],
    ) -> None:
        self.database_url = database_url
        self.store = store
        self.application_id = caller.application_id
        self.sandbox = sandbox
        self.keys = generate_key()
        self.results: list[str] = []
        self._token_endpoints = token_endpoints
        self._workers: list[Connections] = []
        self.connections = self.another_worker()

    def another_worker(self, margin: float = 300) -> Connections:
        """Connections as another worker has them, with nothing in its cache."""
        worker = Connections(
            self.store,
            Keyring.parse(self.keys),
            self._token_endpoints,
            cache_seconds=5,
            refresh_margin_seconds=margin,
            observe_refresh=lambda _provider, result: self.results.append(result),
        )
        self._workers.append(worker)
        return worker

    async def close(self) -> None:
        """Stops renewals that are under way, also those that a service would wait for."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(token_refresh, "LAST_RENEWAL_SECONDS", 0.1)
            for worker in self._workers:
                await worker.finish(0)

    @property
    def administration(self) -> ConnectionAdministration:
        """What the command line does, under the present keys."""
        return ConnectionAdministration(self.store, Keyring.parse(self.keys))

    async def connect(self, ends_in: float | None, customer: str = CUSTOMER, **more: Any) -> OAuthCredentials:
        """Stores the seeded grant, with an access token that ends in so many seconds."""
        grant = outreach_grant(**({"expires_at": None if ends_in is None else time.time() + ends_in} | more))
        await self.administration.set(self.application_id, customer, Provider("outreach"), grant)
        return grant

    async def usable(
        self, connections: Connections | None = None, seconds: float = 20, customer: str = CUSTOMER
    ) -> Connection:
        """Finds the connection as a call does."""
        return await (connections or self.connections).usable(
            self.application_id, customer, Provider("outreach"), Deadline.after(seconds)
        )

    async def problem(self, connections: Connections | None = None, seconds: float = 20) -> Problem:
        """The problem of a call that cannot use the connection."""
        with pytest.raises(UpdateFailed) as failure:
            await self.usable(connections, seconds)
        return failure.value.problems[0]

    async def summary(self) -> ConnectionSummary:
        """What the command line shows of the only connection."""
        [summary] = await self.administration.list()
        return summary

    async def state(self) -> tuple[ConnectionState, str]:
        """The state of the connection, and its reason."""
        summary = await self.summary()
        return summary.state, summary.state_reason

    @property
    def repository(self) -> ConnectionRepository:
        """The rows, under the present keys."""
        return ConnectionRepository(self.store, Keyring.parse(self.keys))

    async def row(self) -> StoredConnection:
        """The connection's row."""
        found = await self.repository.find(ConnectionKey(self.application_id, CUSTOMER, Provider("outreach")))
        assert found is not None
        return found

    async def stored(self) -> OAuthCredentials:
        """The credentials in the connection's row."""
        credentials = (await self.row()).connection.credentials
        assert isinstance(credentials, OAuthCredentials)
        return credentials

    async def column(self, name: str) -> Any:
        """A column of the connection's row."""
        async with self.store.begin() as db:
            return (await db.execute(select(table.c[name]).where(table.c.customer_id == CUSTOMER))).scalar()

    async def set_columns(self, customer: str = CUSTOMER, **columns: Any) -> None:
        """Changes columns of the connection's row."""
        async with self.store.begin() as db:
            await db.execute(update(table).where(table.c.customer_id == customer).values(**columns))

    def token_fault(self, **fault: Any) -> None:
        """Makes the token endpoint answer otherwise, once if `times` does not say more."""
        self.sandbox.order_fault(provider="outreach", path=TOKEN_PATH, **fault)

    @property
    def token_requests(self) -> int:
        """How often the token endpoint was asked."""
        return len(self._token_calls())

    @property
    def mints(self) -> int:
        """How often it gave a token."""
        return sum(call["status"] == 200 for call in self._token_calls())

    def _token_calls(self) -> list[dict[str, Any]]:
        return [call for call in self.sandbox.calls("outreach") if call["path"] == f"/{TOKEN_PATH}"]

    async def change_account(self, **settings: Any) -> None:
        """Changes settings of the account at the sandbox."""
        async with plain_client() as client:
            url = f"{self.sandbox.url}/_sandbox/accounts/{seed.OUTREACH_ACCOUNT}"
            (await client.patch(url, json=settings)).raise_for_status()

    async def works_at_outreach(self, access_token: str) -> bool:
        """Whether Outreach accepts the token."""
        async with plain_client() as client:
            response = await client.get(
                f"{self.sandbox.outreach_url}/api/v2/sequenceTemplates",
                headers={"authorization": f"Bearer {access_token}", "content-type": "application/vnd.api+json"},
            )
        return response.status_code == 200

    def start_process(self, output: Path, **options: Any) -> ForkedProcess:
        """Starts a process that finds the connection, and writes to a file; see `tests.connections.refresh_process`."""
        given = {
            "database_url": self.database_url,
            "outreach_url": self.sandbox.outreach_url,
            "keys": self.keys,
            "application_id": self.application_id,
        } | options
        return ForkedProcess("tests.connections.refresh_process", [json.dumps(given)], os.environ, output)


@asynccontextmanager
async def outreach_customer(database_url: str, store: Store, caller: Caller) -> AsyncIterator[OutreachCustomer]:
    """A customer in front of a sandbox that runs until the end of the block."""
    with one_authority():
        http = HttpClient()
    async with running_sandbox() as sandbox:
        endpoint = TokenRefresher(Outreach.provider, Outreach(sandbox.outreach_url).token_url, http)
        customer = OutreachCustomer(database_url, store, caller, sandbox, {Provider("outreach"): endpoint})
        yield customer
        await customer.close()
    await http.close()


def access_token(connection: Connection) -> str:
    """The access token of an OAuth connection."""
    assert isinstance(connection.credentials, OAuthCredentials)
    return connection.credentials.access_token.reveal()


async def check_after_crash(customer: OutreachCustomer, step: str, folder: Path) -> None:
    """Kills a process at a step of a renewal: whoever comes next gets a good token, or hears that the customer has to connect.

    The token endpoint takes each refresh token once. So what was minted and not stored is lost, and nothing else.
    """
    process = customer.start_process(folder / "output", crash_at=step)
    if step == "request sent":
        await until(lambda: customer.token_requests, seconds=30)
        process.send_signal(signal.SIGKILL)
    assert await process.wait() == -9
    # The crashed process's lease ends by itself after half a minute; the test does not wait that long.
    await customer.set_columns(lease_until=None)
    if step in {"request sent", "token minted", "before commit"}:
        assert (await customer.problem()).code is ErrorCode.UNAUTHORIZED_ERROR
        assert (await customer.state())[0] is ConnectionState.NEEDS_REAUTH
    else:
        after = access_token(await customer.usable())
        assert (await customer.state())[0] is ConnectionState.ACTIVE
        assert await customer.works_at_outreach(after)
