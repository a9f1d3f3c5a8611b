"""Log lines: one JSON object each, or text for people."""

import logging
import math
import os
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec
import structlog

from service.observability.exceptions import exception_fields
from service.settings import LogFormat

log: Final = structlog.get_logger("service.process")

LIMIT_SECONDS: Final = 10.0
"""How often a line with `limited=True` is written at most, for the same event with its code, or else its reason."""

_MAX_LIMITED: Final = 1_000

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(log_format: LogFormat | None, level: str, stream: TextIO | None = None) -> None:
    """Sets up structlog for the process, and sends what libraries log by `logging`, warn of or raise the same way.

    Args:
        log_format: How lines are written; None for text on a terminal and JSON elsewhere.
        level: The least severe line that is written.
        stream: Where lines go; standard output by default.
    """
    # gRPC's library writes lines of its own to standard error, in a form of its own. It reads this when it is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    out = stream or sys.stdout
    shared: list[Any] = [
        _Limit(),
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
    ]
    if log_format is LogFormat.JSON or (log_format is None and not out.isatty()):
        shared.append(_add_time)
        renderers: list[Any] = [structlog.processors.JSONRenderer(serializer=_serialize)]
    else:
        shared.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
        renderers = [structlog.dev.ConsoleRenderer(colors=out.isatty())]
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=[_drop_internals, *renderers], foreign_pre_chain=shared)
    )
    logging.basicConfig(handlers=[handler], level=max(_LEVELS[level], logging.WARNING), force=True)
    logging.captureWarnings(True)
    sys.excepthook = lambda _type, error, _where: _log_unhandled(error)
    threading.excepthook = lambda unhandled: _log_unhandled(unhandled.exc_value)
    sys.unraisablehook = lambda unhandled: _log_unhandled(unhandled.exc_value)


def _log_unhandled(error: BaseException | None) -> None:
    log.error("unhandled exception", **(exception_fields(error) if error is not None else {}))


class _Limit:
    """Drops lines with `limited=True` that repeat an event with its code, or else its reason, too soon.

    The next line says how many there were.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[object, object], tuple[float, int]] = {}

    def __call__(self, _logger: Any, _name: str, event: Any) -> Any:
        """Returns the line, or ends its way."""
        if not event.pop("limited", False):
            return event
        key, now = (event.get("event"), event.get("code") or event.get("reason")), time.monotonic()
        last, dropped = self._last.get(key, (-math.inf, 0))
        if now - last < LIMIT_SECONDS:
            self._last[key] = last, dropped + 1
            raise structlog.DropEvent
        if len(self._last) >= _MAX_LIMITED:
            self._last.clear()
        self._last[key] = now, 0
        return event | {"repeated": dropped} if dropped else event


def _add_time(_logger: Any, _name: str, event: Any) -> Any:
    """Adds the time in UTC, which msgspec writes in ISO 8601 faster than `TimeStamper` does."""
    event["timestamp"] = datetime.now(UTC)
    return event


def _serialize(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


def _drop_internals(logger: Any, name: str, event: Any) -> Any:
    """Leaves out what `logging` adds for itself, and exceptions' texts, which may hold a secret."""
    error = event.pop("exc_info", None)
    if isinstance(error, tuple) and error[1] is not None:
        event |= exception_fields(error[1])
    # asyncio describes its objects in further lines, with the texts of their exceptions.
    event["event"] = str(event["event"]).partition("\n")[0]
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(logger, name, event)
