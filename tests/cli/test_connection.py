"""`seqstep app` and `seqstep connection`, on a real store and in front of the sandbox."""

import asyncio
import json
import os
import pty
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox import seed
from sandbox.server import RunningSandbox, running_sandbox
from sandbox.stand_ins import provider_settings
from service.cli.demo.environment import SEQSTEP, DemoEnvironment
from service.connections.encryption import generate_key
from service.process_exit import EXIT_CONFIGURATION
from tests.support.command import run_here, run_process

GRANT = {
    "access_token": seed.OUTREACH_ACCESS_TOKEN,
    "refresh_token": seed.OUTREACH_REFRESH_TOKEN,
    "client_id": seed.OUTREACH_CLIENT_ID,
    "client_secret": seed.OUTREACH_CLIENT_SECRET,
    "redirect_uri": seed.REDIRECT_URI,
}
ACME = ("--app", "dev", "--customer", "acme")


class CommandLine:
    """A store with an application `dev`, whose customer `acme` is connected, and the commands that change it."""

    def __init__(self, environment: dict[str, str], sandbox: RunningSandbox) -> None:
        self.sandbox = sandbox
        self.environment = environment

    async def run(self, *arguments: str, stdin: str = "") -> str:
        ended = await asyncio.to_thread(run_here, self.environment, *arguments, stdin=stdin)
        assert ended.status == 0, ended.err
        return ended.out

    async def refused(self, *arguments: str, stdin: str = "") -> str:
        ended = await asyncio.to_thread(run_here, self.environment, *arguments, stdin=stdin)
        assert ended.status in (1, 2, EXIT_CONFIGURATION)
        return ended.err

    async def on_a_terminal(self, *arguments: str, answers: tuple[str, ...] = ()) -> str:
        """What a command shows to a person who answers each prompt, that is, each time it waits for a line."""
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *SEQSTEP, *arguments, env=self.environment | {"TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        shown = bytearray()
        waiting = list(answers)

        def read() -> None:
            try:
                while part := os.read(ours, 4096):
                    shown.extend(part)
                    if waiting and shown.rstrip(b" ").endswith(b":"):
                        os.write(ours, waiting.pop(0).encode() + b"\n")
            except OSError:
                # How the end of the other side shows on Linux.
                pass

        async with asyncio.timeout(30):
            await asyncio.gather(asyncio.to_thread(read), process.wait())
        os.close(ours)
        assert process.returncode == 0, shown.decode()
        return shown.decode()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> DemoEnvironment:
    """Made once, and copied for each test."""
    return DemoEnvironment.prepare(tmp_path_factory.mktemp("prepared") / "cli", "dev", "http://127.0.0.1:9")


@pytest.fixture
async def cli(prepared: DemoEnvironment, tmp_path: Path) -> AsyncIterator[CommandLine]:
    folder = shutil.copytree(prepared.folder, tmp_path / "cli")
    async with running_sandbox() as sandbox:
        own = {
            "SEQSTEP_DATABASE_URL": f"sqlite:///{folder}/seqstep.sqlite3",
            **provider_settings(sandbox.url),
        }
        yield CommandLine({**prepared.environment, **own}, sandbox)


async def test_an_application_and_its_keys(cli: CommandLine) -> None:
    key = (await cli.run("app", "create", "billing")).strip()
    second = json.loads(await cli.run("app", "rotate-key", "billing", "--json"))["api_key"]
    assert key != second
    listed = await cli.run("app", "list")
    assert listed.startswith("name\tstate\tkeys\tcertificates\tmade\n")
    [line] = [line for line in listed.splitlines() if line.startswith("billing\t")]
    assert line.split("\t")[1] == "active"
    assert line.count("…") == 2
    assert " until " in line
    assert key not in listed
    assert second not in listed

    assert "billing is disabled" in await cli.run("app", "disable", "billing")
    assert "billing\tdisabled" in await cli.run("app", "list")
    await cli.run("app", "enable", "billing")
    assert "billing\tactive" in await cli.run("app", "list")


async def test_a_key_may_manage_connections_only_if_it_is_said(cli: CommandLine) -> None:
    async def keys() -> list[bool]:
        listed = json.loads(await cli.run("app", "list", "--json"))
        [application] = [each for each in listed if each["name"] == "billing"]
        return [key["may_manage"] for key in application["keys"]]

    await cli.run("app", "create", "billing")
    await cli.run("app", "add-key", "billing", "--manage")
    assert await keys() == [False, True]
    assert " until " not in await cli.run("app", "list")
    await cli.run("app", "rotate-key", "billing")
    await cli.run("app", "rotate-key", "billing", "--no-manage")
    await cli.run("app", "add-key", "billing")
    assert await keys() == [False, True, True, False, False]
    assert (await cli.run("app", "list")).count("… may manage") == 2


async def test_programs_get_times_in_iso_8601(cli: CommandLine) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    await cli.run("app", "create", "billing")
    await cli.run("app", "rotate-key", "billing")
    [made] = [each for each in json.loads(await cli.run("app", "list", "--json")) if each["name"] == "billing"]
    assert before <= datetime.fromisoformat(made["created_at"]) <= datetime.now(UTC)
    assert made["disabled_at"] is None
    ends = [datetime.fromisoformat(key["expires_at"]) for key in made["keys"] if key["expires_at"]]
    assert [(each - before).days for each in ends] == [1]
    [shown, *_] = json.loads(await cli.run("connection", "list", "--json"))
    assert datetime.fromisoformat(shown["state_since"]).tzinfo is UTC


async def test_commands_end_their_processes_with_a_status(cli: CommandLine) -> None:
    """The other tests run them in a process that goes on."""
    beta = ("--app", "dev", "--customer", "beta", "--provider", "apollo")
    made = await asyncio.to_thread(run_process, cli.environment, "connection", "set", *beta, stdin="wrong\n")
    assert (made.status, made.err) == (0, "")
    assert "made" in made.out
    refused = await asyncio.to_thread(run_process, cli.environment, "connection", "check", *beta)
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith("seqstep: ")
    usage = await asyncio.to_thread(run_process, cli.environment, "connection", "set", *beta, stdin="two words")
    assert (usage.status, usage.out) == (2, "")
    assert "Traceback" not in refused.err + usage.err


async def test_what_an_application_cannot_be_is_said(cli: CommandLine) -> None:
    assert "dev" in await cli.refused("app", "create", "dev")
    for command in ("rotate-key", "disable", "enable"):
        assert "nobody" in await cli.refused("app", command, "nobody")


async def test_a_certificate_stands_for_an_application_until_it_does_not(cli: CommandLine) -> None:
    await cli.run("app", "map-certificate", "dev", "spiffe://example.com/dev")
    assert "spiffe://example.com/dev" in await cli.run("app", "list")
    await cli.run("app", "unmap-certificate", "spiffe://example.com/dev")
    assert "spiffe://example.com/dev" not in await cli.run("app", "list")


async def test_a_connection_from_first_to_last(cli: CommandLine) -> None:
    beta = ("--app", "dev", "--customer", "beta", "--provider", "apollo")
    assert "made" in await cli.run("connection", "set", *beta, stdin=f"{seed.APOLLO_SECOND_KEY}\n")
    assert "replaced" in await cli.run(
        "connection", "set", *beta, stdin=json.dumps({"api_key": seed.APOLLO_SECOND_KEY})
    )
    shown = json.loads(await cli.run("connection", "show", *beta, "--json"))
    assert [(each["customer_id"], each["provider"], each["state"]) for each in shown] == [("beta", "apollo", "active")]
    assert seed.APOLLO_SECOND_KEY not in json.dumps(shown)
    listed = await cli.run("connection", "list", "--app", "dev")
    assert [line.split("\t")[1:3] for line in listed.splitlines()] == [
        ["customer", "provider"],
        ["acme", "apollo"],
        ["acme", "outreach"],
        ["beta", "apollo"],
    ]
    assert "deleted" in await cli.run("connection", "delete", *beta)
    for command in ("show", "check", "delete"):
        assert "beta" in await cli.refused("connection", command, *beta)


async def test_a_terminal_asks_for_secrets_and_does_not_show_them(cli: CommandLine) -> None:
    shown = await cli.on_a_terminal(
        *("connection", "set", "--app", "dev", "--customer", "typed", "--provider", "apollo"),
        answers=(seed.APOLLO_SECOND_KEY,),
    )
    assert "API key (empty for OAuth):" in shown
    assert "connection of typed to Apollo made" in shown
    assert seed.APOLLO_SECOND_KEY not in shown
    assert "works" in await cli.run(
        "connection", "check", "--app", "dev", "--customer", "typed", "--provider", "apollo"
    )


@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        ("", "standard input is empty"),
        ("two words", "must be JSON"),
        ('{"api_kay": "x"}', "api_kay"),
        ('{"api_key": "x", ', "not as expected"),
        ("{}", "neither api_key nor access_token"),
        ('{"access_token": "a", "refresh_token": "b"}', "needs client_id and client_secret"),
    ],
)
async def test_credentials_that_make_no_sense_are_refused_and_nothing_is_stored(
    cli: CommandLine, stdin: str, said: str
) -> None:
    where = ("--app", "dev", "--customer", "new", "--provider", "apollo")
    assert said in await cli.refused("connection", "set", *where, stdin=stdin)
    assert json.loads(await cli.run("connection", "list", "--customer", "new", "--json")) == []


async def test_a_customer_that_could_not_be_called_for_is_refused(cli: CommandLine) -> None:
    for customer in ("", " acme", "é", "x" * 256):
        where = ("--app", "dev", "--customer", customer, "--provider", "apollo")
        assert "1 to 255 printable ASCII" in await cli.refused("connection", "set", *where, stdin="key")


async def test_a_connection_to_salesloft_has_no_use(cli: CommandLine) -> None:
    assert "Salesloft" in await cli.refused("connection", "set", *ACME, "--provider", "salesloft", stdin="key")


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        ({"api_key": "a\nb"}, "api_key has a line break"),
        ({"api_key": "kéy"}, "api_key has a character in it that is not ASCII"),
        ({"api_key": " \n"}, "api_key is empty"),
        ({"access_token": "a\r\nb"}, "access_token has a line break"),
        (GRANT | {"refresh_token": "a\tb"}, "refresh_token has a line break"),
        (GRANT | {"client_secret": "a\0b"}, "client_secret has a line break"),
    ],
)
async def test_secrets_that_cannot_be_sent_are_refused(
    cli: CommandLine, credentials: dict[str, str], said: str
) -> None:
    where = ("--app", "dev", "--customer", "new", "--provider", "apollo")
    shown = await cli.refused("connection", "set", *where, stdin=json.dumps(credentials))
    assert said in shown
    assert not any(secret in shown for secret in credentials.values() if len(secret) > 3)


@pytest.mark.parametrize("text", ["\ufeff{}\r\n", " \n{}\u200b", '\ufeff{{"api_key": "\\n{}\\r\\n"}}'])
async def test_marks_around_secrets_are_removed(cli: CommandLine, text: str) -> None:
    where = ("--app", "dev", "--customer", "new", "--provider", "apollo")
    await cli.run("connection", "set", *where, stdin=text.format(seed.APOLLO_SECOND_KEY))
    assert "works" in await cli.run("connection", "check", *where)


async def test_a_client_secret_is_replaced_everywhere(cli: CommandLine) -> None:
    grant = GRANT | {"access_token": seed.OUTREACH_EXPIRED_TOKEN, "client_secret": "wrong", "expires_in": -1}
    outreach = ("--app", "dev", "--provider", "outreach")
    await cli.run("connection", "set", *outreach, "--customer", "acme", stdin=json.dumps(grant))
    assert "set-client-secret" in await cli.refused("connection", "check", *outreach, "--customer", "acme")
    listed = await cli.run("connection", "list", "--customer", "acme")
    assert "active" in listed
    assert "token not renewed since" in listed
    assert "invalid_client" in listed
    client = ("--client-id", "nobody")
    assert "no such connection" in await cli.refused("connection", "set-client-secret", *outreach, *client, stdin="x")
    for wrong in ("", "\n", "a\nb"):
        assert "the client secret" in await cli.refused("connection", "set-client-secret", *outreach, stdin=wrong)
    secret = f"{seed.OUTREACH_CLIENT_SECRET}\n"
    assert "have it: 1" in await cli.run("connection", "set-client-secret", *outreach, stdin=secret)
    assert "works" in await cli.run("connection", "check", *outreach, "--customer", "acme")
    assert "invalid_client" not in await cli.run("connection", "list", "--customer", "acme")


async def test_several_clients_have_to_be_distinguished(cli: CommandLine) -> None:
    outreach = ("--app", "dev", "--provider", "outreach")
    other = json.dumps(GRANT | {"client_id": "other-client"})
    await cli.run("connection", "set", *outreach, "--customer", "other", stdin=other)
    shown = await cli.refused("connection", "set-client-secret", *outreach, stdin="new")
    assert f"other-client, {seed.OUTREACH_CLIENT_ID}" in shown
    client = ("--client-id", "other-client")
    assert "have it: 1" in await cli.run("connection", "set-client-secret", *outreach, *client, stdin="new")


async def test_a_terminal_asks_for_a_client_secret(cli: CommandLine) -> None:
    shown = await cli.on_a_terminal(
        *("connection", "set-client-secret", "--app", "dev", "--provider", "outreach"), answers=("marked-secret",)
    )
    assert "have it: 1" in shown
    assert "marked-secret" not in shown


async def test_a_check_renews_an_ended_token_as_a_call_does(cli: CommandLine) -> None:
    grant = GRANT | {"access_token": seed.OUTREACH_EXPIRED_TOKEN}
    where = (*ACME, "--provider", "outreach")
    await cli.run("connection", "set", *where, stdin=json.dumps(grant))
    assert "works" in await cli.run("connection", "check", *where)
    assert [call["path"] for call in cli.sandbox.calls("outreach")].count("/oauth/token") == 1


async def test_a_check_takes_the_mark_of_a_good_grant_back(cli: CommandLine) -> None:
    where = (*ACME, "--provider", "outreach")
    await cli.run("connection", "set", *where, stdin=json.dumps(GRANT | {"expires_in": -1}))
    refusal = {"status": 400, "body": {"error": "invalid_grant"}}
    cli.sandbox.order_fault(provider="outreach", path="oauth/token", times=2, **refusal)
    assert "Reconnect customer acme" in await cli.refused("connection", "check", *where)
    assert "needs_reauth" in await cli.run("connection", "list", "--customer", "acme")
    assert "works" in await cli.run("connection", "check", *where)
    assert "needs_reauth" not in await cli.run("connection", "list", "--customer", "acme")


@pytest.mark.parametrize("provider", ["apollo", "outreach"])
async def test_a_check_makes_one_read(cli: CommandLine, provider: str) -> None:
    assert "works" in await cli.run("connection", "check", *ACME, "--provider", provider)
    [call] = cli.sandbox.calls(provider)
    assert call["status"] == 200


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        ({"api_key": seed.APOLLO_SCOPED_KEY}, "master"),
        ({"api_key": seed.APOLLO_FREE_KEY}, "plan"),
        ({"api_key": "wrong"}, "key"),
        ({"access_token": seed.APOLLO_EXPIRED_TOKEN}, "expired"),
    ],
    ids=["scope", "plan", "wrong", "expired"],
)
async def test_a_check_says_what_is_wrong(cli: CommandLine, credentials: dict[str, str], said: str) -> None:
    where = (*ACME, "--provider", "apollo")
    await cli.run("connection", "set", *where, stdin=json.dumps(credentials))
    output = await cli.refused("connection", "check", *where)
    assert said in output
    assert not any(secret in output for secret in credentials.values() if secret != "wrong")


async def test_everything_moves_to_a_new_key_with_progress_for_people(cli: CommandLine) -> None:
    new = generate_key()
    old = cli.environment["SEQSTEP_ENCRYPTION_KEYS"]
    cli.environment["SEQSTEP_ENCRYPTION_KEYS"] = f"{new},{old}"
    shown = await cli.on_a_terminal("connection", "reencrypt")
    assert "Re-encrypting" in shown
    assert "100%" in shown
    assert "2 moved to the first key" in shown
    assert "0 moved" in await cli.run("connection", "reencrypt")
    cli.environment["SEQSTEP_ENCRYPTION_KEYS"] = new
    assert "works" in await cli.run("connection", "check", *ACME, "--provider", "outreach")


async def test_keys_that_are_none_are_a_wrong_setting(cli: CommandLine) -> None:
    ended = await asyncio.to_thread(run_here, cli.environment | {"SEQSTEP_ENCRYPTION_KEYS": "x"}, "connection", "list")
    assert ended.status == EXIT_CONFIGURATION
    assert "SEQSTEP_ENCRYPTION_KEYS" in ended.err


async def test_a_row_that_no_key_opens_is_counted_and_left_alone(cli: CommandLine) -> None:
    cli.environment["SEQSTEP_ENCRYPTION_KEYS"] = generate_key()
    output = await cli.refused("connection", "reencrypt")
    assert "2 could not be read" in output
