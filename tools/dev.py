"""Runs the service in front of a sandbox on this machine, with what it needs in var/; `make serve` calls it."""

import os
import shlex
import sys
from pathlib import Path

from service.cli.demo.environment import CUSTOMER, SEQSTEP, DemoEnvironment, write_private
from service.connections import KeyringError, SchemaMismatch, StoreUnavailable

_SANDBOX_URL = "http://127.0.0.1:8090"


def main() -> None:
    """Makes what is missing in var/, says how to call, and becomes the service."""
    sandbox_url = os.environ.get("SANDBOX_URL", _SANDBOX_URL)
    try:
        demo = DemoEnvironment.prepare(Path("var"), "dev", sandbox_url)
    except (KeyringError, SchemaMismatch, StoreUnavailable) as failure:
        sys.exit(str(failure))
    print(
        f"The application dev may call, for its customer {CUSTOMER}. In another terminal, have its key and the settings by:\n"
        f"  source {_write_environment(demo)}\n"
        f"Providers are the sandbox at {sandbox_url} (make sandbox). Ctrl-C stops.",
        flush=True,
    )
    chosen = {name: value for name, value in os.environ.items() if name.startswith("SEQSTEP_")}
    environment = {**chosen, **demo.environment}
    os.execve(SEQSTEP[0], [*SEQSTEP, "serve"], environment)


def _write_environment(demo: DemoEnvironment) -> Path:
    """Writes the settings and the API key as a file for a shell to source, readable by its owner only."""
    path = demo.folder / "env"
    settings = {name: value for name, value in demo.environment.items() if name.startswith("SEQSTEP_")}
    settings["SEQSTEP_API_KEY"] = demo.api_key_file.read_text(encoding="utf-8").strip()
    write_private(path, "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()))
    return path


if __name__ == "__main__":
    main()
