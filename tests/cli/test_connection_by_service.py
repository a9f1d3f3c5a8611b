"""`seqstep connection` by a service: the same commands, with an address in the place of the database."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox import seed
from tests.support.command import Ended, run_here
from tests.support.service import RunningService, outreach_grant, running_service

APOLLO = ("--customer", "beta", "--provider", "apollo")
OUTREACH = ("--customer", "beta", "--provider", "outreach")


class CommandLine:
    """The commands, in an environment that knows a service and a key, and no database."""

    def __init__(self, service: RunningService, environment: dict[str, str]) -> None:
        self.service = service
        self.environment = environment

    async def end(self, command: str, *arguments: str, options: tuple[str, ...] = (), stdin: str = "") -> Ended:
        return await asyncio.to_thread(
            run_here, self.environment, "connection", *options, command, *arguments, stdin=stdin
        )

    async def run(self, command: str, *arguments: str, stdin: str = "") -> str:
        ended = await self.end(command, *arguments, stdin=stdin)
        assert ended.status == 0, ended.err
        return ended.out


@pytest.fixture
async def cli(tmp_path: Path) -> AsyncIterator[CommandLine]:
    async with running_service(tmp_path) as service:
        key = await service.applications.rotate_key("billing", None, may_manage=True)
        yield CommandLine(service, {"SEQSTEP_ADDRESS": service.app.rpc.address, "SEQSTEP_API_KEY": key.reveal()})


async def test_a_connection_from_first_to_last(cli: CommandLine) -> None:
    assert "beta to Apollo set;" in await cli.run("set", *APOLLO, stdin=f"{seed.APOLLO_SECOND_KEY}\n")
    assert "same credentials before" in await cli.run("set", *APOLLO, stdin=f"{seed.APOLLO_SECOND_KEY}\n")
    [shown] = json.loads(await cli.run("show", *APOLLO, "--json"))
    assert (shown["customer_id"], shown["provider_name"], shown["state"]) == (
        "beta",
        "apollo",
        "CONNECTION_STATE_ACTIVE",
    )
    listed = await cli.run("list", "--customer", "beta")
    assert [line.split("\t")[:3] for line in listed.splitlines()] == [
        ["customer", "provider", "state"],
        ["beta", "apollo", "active"],
    ]
    assert len((await cli.run("list")).splitlines()) == 4
    assert "works" in await cli.run("check", *APOLLO)
    assert "deleted" in await cli.run("delete", *APOLLO)
    for command in ("show", "check", "delete"):
        ended = await cli.end(command, *APOLLO)
        assert (ended.status, "beta" in ended.err) == (1, True)


async def test_a_grant_arrives_whole(cli: CommandLine) -> None:
    grant = outreach_grant()
    assert grant.refresh_token is not None
    given = {
        "access_token": grant.access_token.reveal(),
        "refresh_token": grant.refresh_token.reveal(),
        "client_id": grant.client_id,
        "client_secret": grant.client_secret.reveal(),
        "redirect_uri": grant.redirect_uri,
        "expires_at": 4_000_000_000,
        "scope": "sequences.all templates.all",
    }
    await cli.run("set", *OUTREACH, stdin=json.dumps(given))
    connection = await cli.service.stored_grant("beta")
    assert (connection.access_token, connection.refresh_token) == (grant.access_token, grant.refresh_token)
    assert (connection.client_id, connection.client_secret) == (grant.client_id, grant.client_secret)
    assert (connection.redirect_uri, connection.expires_at) == (grant.redirect_uri, 4_000_000_000)
    assert connection.scope == "sequences.all templates.all"


async def test_a_connection_that_does_not_work_says_why(cli: CommandLine) -> None:
    await cli.run("set", *APOLLO, stdin="wrong")
    ended = await cli.end("check", *APOLLO)
    assert (ended.status, "Apollo answered 401" in ended.err) == (1, True)


async def test_a_key_that_may_not_manage_is_refused(cli: CommandLine) -> None:
    cli.environment["SEQSTEP_API_KEY"] = cli.service.key.reveal()
    ended = await cli.end("set", *APOLLO, stdin=seed.APOLLO_SECOND_KEY)
    assert (ended.status, "may not manage connections" in ended.err) == (1, True)


async def test_what_a_service_that_is_not_there_has_done_is_not_known(cli: CommandLine) -> None:
    ended = await cli.end("delete", *APOLLO, options=("--address", "127.0.0.1:9", "--timeout", "1"))
    assert ended.status == 3
    assert ended.err.startswith("seqstep: ")


async def test_a_service_and_a_database_are_not_both_meant(cli: CommandLine) -> None:
    ended = await cli.end("show", *APOLLO, "--app", "billing", options=("--address", "127.0.0.1:9"))
    assert (ended.status, "the application by its key" in ended.err) == (2, True)
    del cli.environment["SEQSTEP_ADDRESS"]
    ended = await cli.end("show", *APOLLO)
    assert (ended.status, "give --app" in ended.err) == (2, True)
