"""Runs commands of `seqstep`, in this process or in one of their own, as people do."""

import contextlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from unittest import mock

from service.cli import root
from service.cli.demo.environment import SEQSTEP


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, and what it wrote to standard output and to standard error."""

    status: int
    out: str
    err: str


class _Output:
    """A standard stream of one thread; what other threads write meanwhile, as a service of the test, goes where it went."""

    def __init__(self, others: TextIO) -> None:
        self.written = io.StringIO()
        self._others = others
        self._thread = threading.get_ident()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.written if threading.get_ident() == self._thread else self._others, name)


def run_here(environment: Mapping[str, str], *arguments: str, stdin: str = "", folder: Path | None = None) -> Ended:
    """Runs a command in this process, which takes a tenth of the time of one of its own.

    Nothing else may use the environment, standard input or the working directory meanwhile. An exception that would be a
    traceback in a process is raised.
    """
    out, err = _Output(sys.stdout), _Output(sys.stderr)
    with (
        mock.patch.object(sys, "stdout", out),
        mock.patch.object(sys, "stderr", err),
        contextlib.chdir(folder or Path.cwd()),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")),
        mock.patch.dict(os.environ, environment, clear=True),
    ):
        status = root.run(arguments)
    return Ended(status, out.written.getvalue(), err.written.getvalue())


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
