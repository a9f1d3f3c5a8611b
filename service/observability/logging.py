"""Log lines: one JSON object each, or text for people."""

import logging
import sys
from typing import Any, Final, TextIO

import msgspec
import structlog

from service.settings import LogFormat

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(log_format: LogFormat, level: str, stream: TextIO | None = None) -> None:
    """Sets up structlog for the process, and sends what libraries log by `logging` the same way.

    Args:
        log_format: How lines are written.
        level: The least severe line that is written.
        stream: Where lines go; standard output by default.
    """
    out = stream or sys.stdout
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if log_format is LogFormat.JSON:
        renderers: list[Any] = [structlog.processors.JSONRenderer(serializer=_serialize)]
    else:
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


def _serialize(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


def _drop_internals(logger: Any, name: str, event: Any) -> Any:
    """Leaves out what `logging` adds for itself, and exceptions' texts, which may hold a secret."""
    event.pop("exc_info", None)
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(logger, name, event)
