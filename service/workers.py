"""Runs the service in this process, or in several worker processes that are watched and replaced."""

import asyncio
import gc
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
import uvloop

from service.observability import logging
from service.process_exit import exit_process
from service.settings import Settings

log: Final = structlog.get_logger("service.workers")

# A worker that cannot start will not start the next time either; exit statuses follow sysexits.h.
EXIT_CONFIGURATION: Final = 78

_QUICK_DEATH_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 1.0
_INDEX: Final = "SEQSTEP_WORKER_INDEX"
# Where the workers count together; prometheus-client reads it.
_METRICS: Final = "PROMETHEUS_MULTIPROC_DIR"


def serve(settings: Settings) -> int:
    """Serves until SIGTERM or SIGINT, with as many processes as the settings say.

    Returns:
        The exit status: 0 after a stop that was asked for.
    """
    logging.configure(settings.log_format, settings.log_level)
    if settings.workers == 1:
        return serve_here(settings)
    return uvloop.run(_supervise(settings))


def serve_here(settings: Settings, *, until_closed: bool = False) -> int:
    """Serves in this process.

    Args:
        settings: The settings.
        until_closed: Stop too when standard input ends, that is, when the supervisor is gone.
    """
    # Nothing that is loaded goes away again: looking for it again and again takes a tenth of the start.
    gc.disable()
    from service import app  # noqa: PLC0415  # gRPC must not be loaded in a supervisor, which never serves
    from service.api.descriptors import raise_limit  # noqa: PLC0415

    log.info("open files", limit=raise_limit())

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if until_closed:
            _call_when_input_ends(lambda: loop.call_soon_threadsafe(stop.set))
        async with app.running(settings):
            # What is loaded by now stays. Collecting it again and again made all calls of the moment wait for 60 ms.
            gc.enable()
            gc.collect()
            gc.freeze()
            await stop.wait()

    try:
        uvloop.run(main())
    except app.STARTUP_FAILURES as failure:
        log.error("cannot start", reason=str(failure))  # noqa: TRY400  # the reason is all there is to say
        return EXIT_CONFIGURATION
    return 0


def _call_when_input_ends(act: Callable[[], object]) -> None:
    def watch() -> None:
        while os.read(0, 1024):
            pass
        act()

    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()


async def _supervise(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="seqstep-metrics-") as metrics:
        watchers = [
            asyncio.create_task(_keep_alive(index, stop, settings, Path(metrics))) for index in range(settings.workers)
        ]
        try:
            await asyncio.wait(watchers, return_when=asyncio.FIRST_COMPLETED)
            stop.set()
            statuses = await asyncio.gather(*watchers)
        finally:
            for watcher in watchers:
                watcher.cancel()
    return max(statuses)


async def _keep_alive(index: int, stop: asyncio.Event, settings: Settings, metrics: Path) -> int:
    """Runs one worker, and another in its place when it dies."""
    while True:
        started = time.monotonic()
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "service.workers",
            stdin=asyncio.subprocess.PIPE,
            env={**os.environ, _INDEX: str(index), _METRICS: str(metrics)},
            # Ctrl-C on a terminal reaches the whole group; only the supervisor is to act on it.
            start_new_session=True,
        )
        log.info("worker started", worker=index, pid=worker.pid)
        stopping = asyncio.create_task(stop.wait())
        ended = asyncio.create_task(worker.wait())
        await asyncio.wait({stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if stop.is_set():
            return await _stop(worker, ended, settings.stop_grace_seconds)
        status = ended.result()
        _forget(metrics, worker.pid)
        if status == EXIT_CONFIGURATION:
            return status
        log.error("worker died, starting another", worker=index, pid=worker.pid, status=status)
        if time.monotonic() - started < _QUICK_DEATH_SECONDS:
            await asyncio.wait({asyncio.create_task(stop.wait())}, timeout=_PAUSE_SECONDS)
        if stop.is_set():
            return 0


def _forget(metrics: Path, pid: int) -> None:
    from service.observability.metrics import forget_worker  # noqa: PLC0415  # slow to load, and seldom needed

    forget_worker(metrics, pid)


async def _stop(worker: asyncio.subprocess.Process, ended: "asyncio.Task[int]", grace: float) -> int:
    if worker.returncode is None:
        worker.terminate()
    try:
        async with asyncio.timeout(grace + 5):
            return max(0, await ended)
    except TimeoutError:
        log.error("worker does not stop, killing it", pid=worker.pid)  # noqa: TRY400
        worker.kill()
        await worker.wait()
        return 1


def main() -> int:
    """Runs one worker process for a supervisor; returns its exit status."""
    settings = Settings()
    logging.configure(settings.log_format, settings.log_level)
    structlog.contextvars.bind_contextvars(worker=int(os.environ.get(_INDEX, "0")))
    return serve_here(settings, until_closed=True)


if __name__ == "__main__":
    exit_process(main())
