"""Prepares what a service in front of the sandbox needs: for `demo` and `make serve`."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.stand_ins import STAND_INS, provider_settings
from service.cli.credentials import parse_credentials
from service.connections import Applications, ConnectionAdministration, Keyring, Store
from service.connections.encryption import generate_key
from service.connections.migrations.upgrade import upgrade
from service.domain.step import Provider

CUSTOMER: Final = "acme"
"""The customer that is connected to the sandbox's accounts."""

_OLD_KEYS_SECONDS: Final = 86400.0

SEQSTEP: Final = (sys.executable, "-m", "service.cli")
"""The command line, wherever it is installed."""


@dataclass(frozen=True, slots=True)
class DemoEnvironment:
    """A folder with a database, encryption keys and connections.

    Attributes:
        folder: Where all of it is; only its owner can read it.
        application: The application that may call.
        environment: The environment of the service.
    """

    folder: Path
    application: str
    environment: Mapping[str, str]

    @property
    def api_key_file(self) -> Path:
        """The file with the application's API key."""
        return self.folder / "api-key"

    @classmethod
    def prepare(cls, folder: Path, application: str, sandbox_url: str) -> "DemoEnvironment":
        """Makes what is missing, and connects the customer to the sandbox's accounts.

        Raises:
            StoreUnavailable: The database cannot be used.
            SchemaMismatch: A newer version has made it.
            KeyringError: The encryption key in the folder is not one.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SEQSTEP_")}
        settings = {
            "SEQSTEP_DATABASE_URL": f"sqlite:///{folder.absolute() / 'seqstep.sqlite3'}",
            **provider_settings(sandbox_url),
        }
        keys = folder / "encryption-keys"
        if not keys.exists():
            write_private(keys, f"{generate_key()}\n")
        settings["SEQSTEP_ENCRYPTION_KEYS"] = keys.read_text(encoding="utf-8").strip()
        demo = cls(folder, application, inherited | settings)
        asyncio.run(demo._prepare_database())
        return demo

    async def _prepare_database(self) -> None:
        store = Store.open(self.environment["SEQSTEP_DATABASE_URL"])
        try:
            await upgrade(store)
            await self._connect_customer(store)
        finally:
            await store.close()

    async def _connect_customer(self, store: Store) -> None:
        applications = Applications(store, 0)
        if self.application not in {each.name for each in await applications.list()}:
            key = await applications.create(self.application)
            write_private(self.api_key_file, f"{key.reveal()}\n")
        elif not self.api_key_file.exists():
            key = await applications.rotate_key(self.application, _OLD_KEYS_SECONDS)
            write_private(self.api_key_file, f"{key.reveal()}\n")
        application = await applications.find(self.application)
        connections = ConnectionAdministration(store, Keyring.parse(self.environment["SEQSTEP_ENCRYPTION_KEYS"]))
        for name, stand_in in STAND_INS.items():
            provider = Provider(name)
            credentials = parse_credentials(provider, json.dumps(stand_in.credentials))
            await connections.set(application.id, CUSTOMER, provider, credentials)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
