"""Processes that are forked from one that has loaded the service, since loading it is nine tenths of a start.

They have ids, environments, output and ends of their own as all others. What a start from nothing does is tested where
commands are: in `tests/cli`, by the README's commands, and by workers, which their supervisor starts itself.
"""

import asyncio
import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from unittest import mock

_ROOT: Final = Path(__file__).parents[2]

_LOADED: Final = ("service.cli.serve", "service.workers", "service.app")
_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__, *_LOADED])


class ForkedProcess:
    """A process; the methods are those of asyncio's."""

    def __init__(self, module: str, arguments: Sequence[str], environment: Mapping[str, str], output: Path) -> None:
        """Starts `python -m module arguments` in the repository.

        Args:
            module: What runs as `__main__`.
            arguments: Its arguments.
            environment: All of its environment.
            output: The file that standard output and standard error are added to.
        """
        self._process = _CONTEXT.Process(
            target=_run, args=(module, list(arguments), dict(environment), str(output)), daemon=True
        )
        with mock.patch.dict(os.environ, PYTHONPATH=f"{_ROOT}{os.pathsep}{_ROOT}/clients/python/src"):
            self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, or the negative number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Sends a signal.

        Raises:
            ProcessLookupError: It has ended.
        """
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    async def wait(self) -> int:
        """Waits for its end; returns the exit status."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        if self.returncode is None:
            loop.add_reader(self._process.sentinel, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(self._process.sentinel)
        self._process.join()
        status = self.returncode
        assert status is not None
        return status


def _run(module: str, arguments: list[str], environment: dict[str, str], output: str) -> None:
    assert set(_LOADED) <= set(sys.modules)
    os.chdir(_ROOT)
    os.environ.clear()
    os.environ.update(environment)
    out = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for descriptor, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, out), (2, out)):
        os.dup2(source, descriptor)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
