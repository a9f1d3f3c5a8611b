"""Processes of a measurement: started on chosen cores, watched, and stopped."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


class NotHere(Exception):
    """Something cannot be measured on this machine; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where.

    Attributes:
        server: The cores of what is measured.
        load: The cores of all else: the load generator and the stand-in for the providers.
    """

    server: tuple[int, ...]
    load: tuple[int, ...]

    @classmethod
    def apart(cls) -> "Cores":
        """One core for the server; the other ones for all else. On a machine with one core they share it."""
        available = sorted(os.sched_getaffinity(0))
        return cls((available[0],), tuple(available[1:3]) or (available[0],))

    @classmethod
    def together(cls) -> "Cores":
        """Two cores that all share."""
        available = tuple(sorted(os.sched_getaffinity(0))[:2])
        return cls(available, available)


@dataclass(frozen=True, slots=True)
class Running:
    """A process with all that it started.

    Attributes:
        pid: Its process id.
    """

    pid: int

    def tree(self) -> list[psutil.Process]:
        """The process and its descendants."""
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """CPU time that the whole tree has used, by its user's code and by the kernel for it."""
        total = 0.0
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def memory_bytes(self) -> int:
        """Resident memory of the largest process of the tree, that is, of one worker."""
        return max(process.memory_info().rss for process in self.tree())


@contextmanager
def started(
    command: Sequence[str],
    *,
    cores: Sequence[int],
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Iterator[Running]:
    """A process in the repository's folder on the given cores, stopped at the end of the block.

    Args:
        command: What to run.
        cores: Where.
        environment: Variables beside this process's own; those that begin with SEQSTEP_ are not passed on.
        log: Where its output goes; nowhere by default.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SEQSTEP_")}
    clean["PYTHONPATH"] = str(ROOT)
    with Path(log or os.devnull).open("ab") as out:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=clean | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out if log else subprocess.DEVNULL,
        )
    # What it starts later inherits this.
    os.sched_setaffinity(process.pid, cores)
    try:
        yield Running(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port of this machine that nothing listens on at the moment, nor on the one after it."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port


def wait_for_port(port: int, seconds: float = 30.0) -> None:
    """Returns when something listens.

    Raises:
        TimeoutError: Nothing does in time.
    """
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.005)
    raise TimeoutError(f"nothing listens on port {port} after {seconds:.0f} s")
