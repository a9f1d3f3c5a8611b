"""Runs commands of `seqstep`, in this process or in one of their own, as people do."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from service.cli import root
from service.cli.demo.environment import SEQSTEP


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, and what it wrote to standard output and to standard error."""

    status: int
    out: str
    err: str


def run_here(environment: Mapping[str, str], *arguments: str, stdin: str = "", folder: Path | None = None) -> Ended:
    """Runs a command in this process, which takes a tenth of the time of one of its own.

    Nothing else may use the environment, the standard streams or the working directory meanwhile. An exception that would
    be a traceback in a process is raised.
    """
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        contextlib.chdir(folder or Path.cwd()),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")),
        mock.patch.dict(os.environ, environment, clear=True),
    ):
        status = root.run(arguments)
    return Ended(status, out.getvalue(), err.getvalue())


def run_process(environment: Mapping[str, str], *arguments: str, stdin: str = "", folder: Path | None = None) -> Ended:
    """Runs a command in a process of its own."""
    done = subprocess.run(
        (*SEQSTEP, *arguments),
        env=environment,
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def without_settings() -> dict[str, str]:
    """Returns the environment without settings of the service and without proxies."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SEQSTEP_") and not name.lower().endswith("_proxy")
    }
