"""Runs the service in front of a sandbox on this machine, with what it needs in var/; `make serve` calls it."""

import os
import sys
from pathlib import Path

from service.cli.demo.environment import CUSTOMER, SEQSTEP, CommandFailed, DemoEnvironment

_SANDBOX_URL = "http://127.0.0.1:8090"


def main() -> None:
    """Makes what is missing in var/, says how to call, and becomes the service."""
    sandbox_url = os.environ.get("SANDBOX_URL", _SANDBOX_URL)
    try:
        demo = DemoEnvironment.prepare(Path("var"), "dev", sandbox_url)
    except CommandFailed as failure:
        sys.exit(str(failure))
    print(
        f"The application dev may call, for its customer {CUSTOMER}; its key is in {demo.api_key_file}:\n"
        f'  export SEQSTEP_API_KEY="$(cat {demo.api_key_file})"\n'
        f"Providers are the sandbox at {sandbox_url} (make sandbox). Ctrl-C stops.",
        flush=True,
    )
    chosen = {name: value for name, value in os.environ.items() if name.startswith("SEQSTEP_")}
    environment = {"SEQSTEP_LOG_FORMAT": "console", **chosen, **demo.environment}
    os.execve(SEQSTEP[0], [*SEQSTEP, "serve"], environment)


if __name__ == "__main__":
    main()
