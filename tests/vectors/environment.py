"""Prepares what a runner of vectors needs: the vectors, a sandbox, settings of a service, applications with customers."""

import json
import os
import signal
from asyncio import create_subprocess_exec, subprocess
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.server import running_sandbox
from sandbox.stand_ins import provider_settings
from service.connections import Applications, ConnectionAdministration, Keyring, Store
from service.connections.encryption import generate_key
from service.connections.migrations.upgrade import upgrade
from service.domain.credentials import ApiKeyCredentials, Credentials, OAuthCredentials, Secret
from service.domain.step import Provider
from tests.support.processes import ROOT

FOLDER = Path(__file__).parent
CUSTOMERS = FOLDER / "customers.json"


def topics() -> dict[str, dict[str, Any]]:
    """The files of vectors by their names, in the order in which they run."""
    files = (path for path in sorted(FOLDER.glob("*.json")) if path != CUSTOMERS)
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


@dataclass(frozen=True)
class Result:
    """What a runner said of one vector; `why` is empty if it passed."""

    name: str
    why: str


@dataclass(frozen=True)
class VectorEnvironment:
    """A running sandbox, and a store that the services in front of it share.

    Attributes:
        sandbox_url: Where the sandbox is.
        settings: Environment variables of a service.
    """

    sandbox_url: str
    settings: Mapping[str, str]
    _store: Store

    async def application(self, name: str) -> str:
        """Makes an application with all customers, and returns its API key."""
        applications = Applications(self._store, 0)
        key = await applications.create(name)
        owner = (await applications.find(name)).id
        good = self._connections(self.settings["SEQSTEP_ENCRYPTION_KEYS"])
        lost = self._connections(generate_key())
        for each in json.loads(CUSTOMERS.read_text(encoding="utf-8"))["customers"]:
            keyring = lost if each.get("encryption_key") == "lost" else good
            provider = Provider(each["provider"])
            await keyring.set(owner, each["customer_id"], provider, _credentials(each["credentials"]))
        return key.reveal()

    def _connections(self, key: str) -> ConnectionAdministration:
        return ConnectionAdministration(self._store, Keyring.parse(key))

    async def run(self, command: Sequence[str | Path], **environment: str) -> AsyncIterator[Result]:
        """Runs a runner and yields what it says, and in the end a result without a name if it broke.

        Args:
            command: The runner.
            environment: `TARGET`, `API_KEY`, and what else differs between runs.
        """
        given = {"VECTORS": str(FOLDER), "SANDBOX": self.sandbox_url, **environment}
        process = await create_subprocess_exec(
            *command,
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name != "CA"} | given,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            limit=16 * 1024 * 1024,
            start_new_session=True,
        )
        assert process.stdout is not None
        failed, output = False, []
        try:
            async for line in process.stdout:
                text = line.decode("utf-8", "replace").rstrip("\n")
                match text.split(" ", 2):
                    case ["passed", name]:
                        yield Result(name, "")
                    case ["failed", name, why]:
                        failed = True
                        yield Result(name.rstrip(":"), why)
                    case _:
                        output.append(text)
            if await process.wait() and not failed:
                yield Result("", "\n".join(output[-20:]) or f"ended with status {process.returncode}")
        finally:
            if process.returncode is None:
                # A runner may have started others, such as a virtual machine.
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


def _credentials(given: Mapping[str, str]) -> Credentials:
    if "api_key" in given:
        return ApiKeyCredentials(Secret(given["api_key"]))
    refresh_token = given.get("refresh_token")
    return OAuthCredentials(
        access_token=Secret(given["access_token"]),
        refresh_token=Secret(refresh_token) if refresh_token else None,
        expires_at=None,
        client_id=given.get("client_id", ""),
        client_secret=Secret(given.get("client_secret", "")),
        redirect_uri=given.get("redirect_uri", ""),
    )


@asynccontextmanager
async def running_environment(folder: Path) -> AsyncIterator[VectorEnvironment]:
    """A sandbox and an empty store, whose file is in `folder`."""
    async with running_sandbox() as sandbox:
        settings = {
            "SEQSTEP_DATABASE_URL": f"sqlite:///{folder}/store.sqlite3",
            "SEQSTEP_ENCRYPTION_KEYS": generate_key(),
            **provider_settings(sandbox.url),
        }
        store = Store.open(settings["SEQSTEP_DATABASE_URL"])
        try:
            await upgrade(store)
            yield VectorEnvironment(sandbox.url, settings, store)
        finally:
            await store.close()


def missing(results: Iterable[Result], expected: Iterable[str]) -> list[str]:
    """The vectors that a runner did not report."""
    reported = {result.name for result in results}
    return [name for name in expected if name not in reported]
