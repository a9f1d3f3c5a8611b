"""Runs commands of `seqstep` in processes of their own, as people do."""

import subprocess
from collections.abc import Mapping

from service.cli.demo.environment import SEQSTEP


class CommandFailed(Exception):
    """A command did not succeed; the message is the command, its exit status and its error output."""


def run(environment: Mapping[str, str], *arguments: str, stdin: str = "") -> str:
    """Runs a command and returns its standard output.

    Raises:
        CommandFailed: It did not succeed.
    """
    done = subprocess.run(
        (*SEQSTEP, *arguments), env=environment, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode != 0:
        raise CommandFailed(
            f"seqstep {' '.join(arguments)} failed with status {done.returncode}: {done.stderr.strip()}"
        )
    return done.stdout
