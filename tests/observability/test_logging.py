"""What a process writes in JSON mode, and how often it repeats itself."""

import asyncio
import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
import structlog

from service.observability import logging as service_logging
from service.settings import LogFormat

SCRIPT = """
import asyncio, gc, logging, socket, threading, warnings
from service.observability.logging import configure
from service.settings import LogFormat
configure(LogFormat.JSON, "info")
import grpc, structlog

async def fail():
    raise ValueError("a secret")

async def main():
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    for _ in range(2):
        try:
            await channel.unary_unary("/a/b")(b"", timeout=1)
        except grpc.aio.AioRpcError:
            pass
    with socket.create_server(("127.0.0.1", 0)) as taken:
        try:
            server.add_insecure_port(f"127.0.0.1:{taken.getsockname()[1]}")
        except RuntimeError:
            pass
    task = asyncio.ensure_future(fail())
    await asyncio.sleep(0)
    del task
    gc.collect()
    await server.stop(0)

class Unraisable:
    def __del__(self):
        raise ValueError("a secret")

def thread():
    raise ValueError("a secret")

asyncio.run(main())
warnings.warn("a library's warning")
logging.getLogger("library").error("a library's error")
Unraisable()
started = threading.Thread(target=thread)
started.start()
started.join()
structlog.get_logger().info("an event")
raise ValueError("a secret")
"""


async def test_all_that_a_process_writes_is_json() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 1
    assert err.decode() == ""
    assert b"a secret" not in out
    events = [json.loads(line)["event"] for line in out.decode().splitlines()]
    assert events[0] == "Task exception was never retrieved"
    assert "a library's warning" in events[1]
    assert events[2:] == [
        "a library's error",
        "unhandled exception",
        "unhandled exception",
        "an event",
        "unhandled exception",
    ]


@contextmanager
def configured(log_format: LogFormat | None, written: StringIO) -> Iterator[None]:
    """Has logging set up as in a process, until the end of the block."""
    before, hooks = structlog.get_config(), (sys.excepthook, sys.unraisablehook, threading.excepthook)
    handlers = logging.root.handlers[:]
    service_logging.configure(log_format, "info", written)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.root.handlers[:] = handlers
        sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
        structlog.configure(**before)


@pytest.fixture
def lines() -> Iterator[StringIO]:
    """What is written in JSON mode."""
    written = StringIO()
    with configured(LogFormat.JSON, written):
        yield written


@pytest.mark.parametrize(
    ("chosen", "terminal", "is_json"),
    [
        (None, True, False),
        (None, False, True),
        (LogFormat.JSON, True, True),
        (LogFormat.CONSOLE, False, False),
    ],
)
def test_people_get_text_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, chosen: LogFormat | None, *, terminal: bool, is_json: bool
) -> None:
    written = StringIO()
    monkeypatch.setattr(written, "isatty", lambda: terminal)
    with configured(chosen, written):
        structlog.get_logger("test").info("hello")
    assert ('{"event":"hello"' in written.getvalue()) is is_json
    assert "hello" in written.getvalue()


def test_a_line_that_repeats_itself_is_written_once_a_while(lines: StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    log = structlog.get_logger("test")
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    for reason in ("disk full", "away", "disk full", "disk full"):
        log.warning("database unavailable", reason=reason, limited=True)
    for reason in ("for a", "for b"):
        log.warning("refused", code="TOO_MANY", reason=reason, limited=True)
    log.warning("not limited")
    log.warning("not limited")
    now += service_logging.LIMIT_SECONDS
    log.warning("database unavailable", reason="disk full", limited=True)
    written: list[Any] = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [(line["event"], line.get("reason"), line.get("repeated")) for line in written] == [
        ("database unavailable", "disk full", None),
        ("database unavailable", "away", None),
        ("refused", "for a", None),
        ("not limited", None, None),
        ("not limited", None, None),
        ("database unavailable", "disk full", 2),
    ]
