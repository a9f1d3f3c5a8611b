"""Everything that a service in front of the sandbox needs, made by the real commands: for `demo` and `make serve`."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox import seed
from service.domain.step import Provider

CUSTOMER: Final = "acme"
"""The customer that is connected to the sandbox's accounts."""

SEQSTEP: Final = (sys.executable, "-m", "service.cli")
"""The command line, wherever it is installed."""

_COMMAND_SECONDS: Final = 60.0

_CREDENTIALS: Final[Mapping[Provider, Mapping[str, str]]] = {
    Provider("apollo"): {"api_key": seed.APOLLO_MASTER_KEY},
    Provider("outreach"): {
        "access_token": seed.OUTREACH_ACCESS_TOKEN,
        "refresh_token": seed.OUTREACH_REFRESH_TOKEN,
        "client_id": seed.OUTREACH_CLIENT_ID,
        "client_secret": seed.OUTREACH_CLIENT_SECRET,
        "redirect_uri": seed.REDIRECT_URI,
    },
}


class CommandFailed(Exception):
    """A command of the set-up did not succeed; the message is the command and what it said."""


@dataclass(frozen=True, slots=True)
class DemoEnvironment:
    """A folder with a database, keys and connections.

    Attributes:
        folder: Where all of it is; its owner's only.
        application: The application that may call.
        environment: The environment of the service.
    """

    folder: Path
    application: str
    environment: Mapping[str, str]

    @property
    def api_key_file(self) -> Path:
        """Where the application's API key is."""
        return self.folder / "api-key"

    @classmethod
    def prepare(cls, folder: Path, application: str, sandbox_url: str) -> "DemoEnvironment":
        """Makes what is not there yet, and connects the customer to the sandbox's accounts.

        Raises:
            CommandFailed: A command did not succeed.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        outside = {name: value for name, value in os.environ.items() if not name.startswith("SEQSTEP_")}
        settings = {
            "SEQSTEP_DATABASE_URL": f"sqlite:///{folder.absolute() / 'seqstep.sqlite3'}",
            "SEQSTEP_APOLLO_BASE_URL": f"{sandbox_url}/apollo/api/v1",
            "SEQSTEP_APOLLO_TOKEN_URL": f"{sandbox_url}/apollo/api/v1/oauth/token",
            "SEQSTEP_OUTREACH_BASE_URL": f"{sandbox_url}/outreach",
        }
        keys = folder / "encryption-keys"
        if not keys.exists():
            _write_private(keys, run(outside, "keygen"))
        settings["SEQSTEP_ENCRYPTION_KEYS"] = keys.read_text(encoding="utf-8").strip()
        demo = cls(folder, application, outside | settings)
        demo._fill()
        return demo

    def _fill(self) -> None:
        run(self.environment, "db", "upgrade")
        known = {each["name"] for each in json.loads(run(self.environment, "app", "list", "--json"))}
        if self.application not in known:
            _write_private(self.api_key_file, run(self.environment, "app", "create", self.application))
        elif not self.api_key_file.exists():
            _write_private(self.api_key_file, run(self.environment, "app", "rotate-key", self.application))
        for provider, credentials in _CREDENTIALS.items():
            owner = ("--app", self.application, "--customer", CUSTOMER, "--provider", provider)
            run(self.environment, "connection", "set", *owner, stdin=json.dumps(credentials))


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
        # Ctrl-C is for whoever wants the command done.
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
