"""Prepares what a service in front of the sandbox needs, by the real commands: for `demo` and `make serve`."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.stand_ins import STAND_INS, provider_settings

CUSTOMER: Final = "acme"
"""The customer that is connected to the sandbox's accounts."""

SEQSTEP: Final = (sys.executable, "-m", "service.cli")
"""The command line, wherever it is installed."""

_COMMAND_SECONDS: Final = 60.0


class CommandFailed(Exception):
    """A command of the preparation failed; the message is the command and its error output."""


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
            CommandFailed: A command did not succeed.
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
            _write_private(keys, run(inherited, "keygen"))
        settings["SEQSTEP_ENCRYPTION_KEYS"] = keys.read_text(encoding="utf-8").strip()
        demo = cls(folder, application, inherited | settings)
        demo._prepare_database()
        return demo

    def _prepare_database(self) -> None:
        run(self.environment, "db", "upgrade")
        known = {each["name"] for each in json.loads(run(self.environment, "app", "list", "--json"))}
        if self.application not in known:
            _write_private(self.api_key_file, run(self.environment, "app", "create", self.application))
        elif not self.api_key_file.exists():
            _write_private(self.api_key_file, run(self.environment, "app", "rotate-key", self.application))
        for provider, stand_in in STAND_INS.items():
            connection = ("--app", self.application, "--customer", CUSTOMER, "--provider", provider)
            run(self.environment, "connection", "set", *connection, stdin=json.dumps(stand_in.credentials))


def run(environment: Mapping[str, str], *arguments: str, stdin: str = "") -> str:
    """Runs a command of `seqstep` and returns its standard output.

    Raises:
        CommandFailed: It did not succeed.
    """
    command = (*SEQSTEP, *arguments)
    done = subprocess.run(  # noqa: S603  # a command of our own
        command,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS,
        check=False,
        # Ctrl-C on the terminal is handled by the caller, who still needs this command to finish.
        start_new_session=True,
    )
    if done.returncode != 0:
        raise CommandFailed(
            f"seqstep {' '.join(arguments)} failed with status {done.returncode}: {done.stderr.strip()}"
        )
    return done.stdout


def _write_private(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
