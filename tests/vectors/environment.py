"""Prepares what a runner of vectors needs: the vectors, a sandbox, settings of a service, applications with customers."""

import json
from collections.abc import AsyncIterator, Mapping
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

FOLDER = Path(__file__).parent
CUSTOMERS = FOLDER / "customers.json"


def topics(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """The files of vectors in a folder by their names, in the order in which they run."""
    files = (path for path in sorted(folder.glob("*.json")) if path.name != CUSTOMERS.name)
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


def vectors_of(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """All vectors in a folder, in the order in which they run."""
    return [vector for topic in topics(folder).values() for vector in topic["vectors"]]


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
        """Makes an application with all customers, and returns its API key, which may manage connections."""
        applications = Applications(self._store, 0)
        key = await applications.create(name, may_manage=True)
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

    def given(self, **more: str) -> dict[str, str]:
        """What a runner is given by its environment: all vectors, the sandbox, and what else differs between runs."""
        return {"VECTORS": str(FOLDER), "SANDBOX": self.sandbox_url, **more}


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
            "SEQSTEP_HISTORY_DAYS": "30",
            **provider_settings(sandbox.url),
        }
        store = Store.open(settings["SEQSTEP_DATABASE_URL"])
        try:
            await upgrade(store)
            yield VectorEnvironment(sandbox.url, settings, store)
        finally:
            await store.close()
