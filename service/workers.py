"""Runs the service in this process, or in several worker processes that are watched and replaced."""

import asyncio
import fcntl
import gc
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import structlog
import uvloop

from service.api.address import PortInUse, reserve
from service.observability import logging
from service.process_exit import EXIT_CONFIGURATION, exit_process
from service.settings import Settings
from service.tasks import LAST_RENEWAL_SECONDS

log: Final = structlog.get_logger("service.workers")

EXIT_TEMPORARY: Final = 75
"""The exit status where it cannot start at present: `EX_TEMPFAIL` of sysexits.h."""

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_MARGIN_SECONDS: Final = 5.0
_STALE_SECONDS: Final = 60.0
_INDEX: Final = "SEQSTEP_WORKER_INDEX"
# Where the workers count together; prometheus-client reads it.
_METRICS: Final = "PROMETHEUS_MULTIPROC_DIR"
_METRICS_PREFIX: Final = "seqstep-metrics-"
_SERVING: Final = b"1"


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
    # What sends requests to providers has threads of its own, by default as many as there are processors. Each worker process
    # has enough with one, and with more of them wakes up those that find nothing to do.
    os.environ.setdefault("TOKIO_WORKER_THREADS", "1")
    if settings.batch_scheduling:
        _schedule_as_batch()
    # Nothing that is loaded goes away again: looking for it again and again takes a tenth of the start.
    gc.disable()
    from service import app  # noqa: PLC0415  # gRPC must not be loaded in a supervisor, which never serves
    from service.api.descriptors import raise_limit  # noqa: PLC0415

    log.info("open files", limit=raise_limit())

    async def main() -> None:
        stop = asyncio.Event()
        _handle_signals(stop, _log_reload)
        if until_closed:
            loop = asyncio.get_running_loop()
            _call_when_input_ends(lambda: loop.call_soon_threadsafe(stop.set), _longest_stop(settings))
        async with app.running(settings):
            if until_closed:
                os.write(0, _SERVING)
            # What is loaded by now stays. Collecting it again and again made all calls of the moment wait for 60 ms.
            gc.enable()
            gc.collect()
            gc.freeze()
            await stop.wait()

    try:
        uvloop.run(main())
    except app.STARTUP_FAILURES as failure:
        log.error("cannot start", reason=str(failure))  # noqa: TRY400  # the reason is all there is to say
        return EXIT_TEMPORARY if app.may_pass(failure) else EXIT_CONFIGURATION
    return 0


def _schedule_as_batch() -> None:
    """Lets this thread, and those that it begins from now on, interrupt none that runs when they wake up.

    The threads of gRPC, of what sends requests, and of the event loop wake each other up some forty times for a call. Where
    each comes in at once, all of them find the processor's caches full of what another one needs. What whoever started this
    process has chosen stays.
    """
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with suppress(OSError):  # where it may not be chosen
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _handle_signals(stop: asyncio.Event, reload: Callable[[], object]) -> None:
    """Stops at SIGTERM and SIGINT, and at SIGHUP where that means that the terminal is gone; it means a reload elsewhere."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, stop.set if os.isatty(0) else reload)


def _log_reload() -> None:
    log.info("reload", tls="files that changed are used from the next handshake on", settings="need a restart")


def _longest_stop(settings: Settings) -> float:
    """Seconds after which a worker that was asked to stop is not going to."""
    return settings.drain_seconds + settings.stop_grace_seconds + LAST_RENEWAL_SECONDS + _MARGIN_SECONDS


def _call_when_input_ends(act: Callable[[], object], seconds: float) -> None:
    """Acts when the supervisor is gone, and ends this process if it is still there so many seconds later."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        act()
        time.sleep(seconds)
        os._exit(1)

    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()


async def _supervise(settings: Settings) -> int:
    stop = asyncio.Event()
    try:
        with _reserved(settings) as addresses, _metrics_folder() as (metrics, lock):
            supervisor = _Supervisor(settings, stop, addresses, metrics, lock)
            _handle_signals(stop, supervisor.reload)
            return await supervisor.run()
    except PortInUse as failure:
        log.error("cannot start", reason=str(failure))  # noqa: TRY400  # the reason is all there is to say
        return EXIT_CONFIGURATION


@contextmanager
def _reserved(settings: Settings) -> Iterator[Mapping[str, str]]:
    """Reserves the addresses for the workers until the end of the block; gives them with the real ports, as variables."""
    reserved: list[socket.socket] = []
    variables: dict[str, str] = {}
    try:
        for name, address in (
            ("GRPC", settings.grpc_address),
            ("HTTP", settings.http_address),
            ("ADMIN", settings.admin_address),
        ):
            if address:
                reserved += reserve(address)
                port = reserved[-1].getsockname()[1]
                variables[f"SEQSTEP_{name}_ADDRESS"] = f"{address.rpartition(':')[0]}:{port}"
        yield variables
    finally:
        for each in reserved:
            each.close()


@contextmanager
def _metrics_folder() -> Iterator[tuple[Path, int]]:
    """A folder for the workers' metrics, and a lock on it that lasts as long as any process has it; removes stale ones."""
    for stale in Path(tempfile.gettempdir()).glob(f"{_METRICS_PREFIX}*"):
        with suppress(OSError):
            if time.time() - stale.stat().st_mtime > _STALE_SECONDS:
                os.close(_lock(stale))
                shutil.rmtree(stale)
    with tempfile.TemporaryDirectory(prefix=_METRICS_PREFIX, ignore_cleanup_errors=True) as name:
        lock = _lock(Path(name))
        try:
            yield Path(name), lock
        finally:
            os.close(lock)


def _lock(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class _Supervisor:
    """Keeps the workers running until a stop."""

    def __init__(
        self, settings: Settings, stop: asyncio.Event, addresses: Mapping[str, str], metrics: Path, lock: int
    ) -> None:
        """Prepares the workers.

        Args:
            settings: The settings.
            stop: Set when the workers are to stop.
            addresses: Where they listen, as variables of their environment.
            metrics: The folder that they count in.
            lock: Its lock.
        """
        self._settings = settings
        self._stop = stop
        self._environment = {**os.environ, **addresses, _METRICS: str(metrics)}
        self._metrics = metrics
        self._lock = lock
        self._workers: dict[int, asyncio.subprocess.Process] = {}
        self._has_served = False

    def reload(self) -> None:
        """Passes SIGHUP on."""
        for worker in self._workers.values():
            with suppress(ProcessLookupError):
                worker.send_signal(signal.SIGHUP)

    async def run(self) -> int:
        """Runs the workers; returns the exit status."""
        watchers = [asyncio.create_task(self._keep_alive(index)) for index in range(self._settings.workers)]
        try:
            await asyncio.wait(watchers, return_when=asyncio.FIRST_COMPLETED)
            self._stop.set()
            return max(await asyncio.gather(*watchers))
        finally:
            for watcher in watchers:
                watcher.cancel()

    async def _keep_alive(self, index: int) -> int:
        """Runs one worker, and another in its place when it dies or cannot start.

        Only what keeps the first workers from starting, and will not pass, ends the service.
        """
        pause = _FIRST_PAUSE_SECONDS
        while not self._stop.is_set():
            async with self._started(index) as (worker, serving):
                ended = asyncio.create_task(worker.wait())
                await self._unless_stopped(ended)
                if self._stop.is_set():
                    return await _stop(worker, ended, _longest_stop(self._settings))
                status, has_served = ended.result(), serving.done() and serving.result() == _SERVING
            _forget(self._metrics, worker.pid)
            if has_served:
                pause = _FIRST_PAUSE_SECONDS
            if status == EXIT_CONFIGURATION and not self._has_served:
                return status
            event = "worker died, starting another" if has_served else "worker cannot start, trying again"
            log.error(event, worker=index, pid=worker.pid, status=status, pause_seconds=pause)
            await self._unless_stopped(asyncio.create_task(asyncio.sleep(pause)))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return 0

    @asynccontextmanager
    async def _started(self, index: int) -> AsyncIterator[tuple[asyncio.subprocess.Process, "asyncio.Task[bytes]"]]:
        """A worker, and what says that it serves; the end of their connection tells the worker that nobody watches it."""
        ours, theirs = socket.socketpair()
        with theirs:
            worker = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "service.workers",
                stdin=theirs.fileno(),
                pass_fds=(self._lock,),
                env={**self._environment, _INDEX: str(index)},
                # Ctrl-C on a terminal reaches the whole group; only the supervisor is to act on it.
                start_new_session=True,
            )
        log.info("worker started", worker=index, pid=worker.pid)
        self._workers[index] = worker
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        serving = asyncio.create_task(reader.read(1))
        serving.add_done_callback(self._note_serving)
        try:
            yield worker, serving
        finally:
            serving.cancel()
            writer.close()
            del self._workers[index]

    def _note_serving(self, serving: "asyncio.Task[bytes]") -> None:
        self._has_served = self._has_served or (not serving.cancelled() and serving.result() == _SERVING)

    async def _unless_stopped(self, task: "asyncio.Task[object]") -> None:
        """Waits for a task, or for the stop."""
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({stopping, task}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()


def _forget(metrics: Path, pid: int) -> None:
    from service.observability.metrics import forget_worker  # noqa: PLC0415  # slow to load, and seldom needed

    forget_worker(metrics, pid)


async def _stop(worker: asyncio.subprocess.Process, ended: "asyncio.Task[int]", seconds: float) -> int:
    """Stops a worker, and kills it if it has not stopped in so many seconds."""
    if worker.returncode is None:
        worker.terminate()
    try:
        async with asyncio.timeout(seconds):
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
