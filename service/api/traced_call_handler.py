"""Handles calls, each in a span of a trace."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

from service.api.call_handler import CallHandler, CallOutcome, InboundCall
from service.api.metadata import MetadataPairs

CallSpan: TypeAlias = Callable[[MetadataPairs], AbstractContextManager[None]]
"""Opens the span of a call, given its metadata."""


class TracedCallHandler(CallHandler):
    """A call handler that opens a span before anything else; without traces, nothing of it is in a call's way."""

    def __init__(self, span: CallSpan, *arguments: Any) -> None:
        """Makes the handler.

        Args:
            span: Opens the span of a call.
            arguments: As for `CallHandler`.
        """
        super().__init__(*arguments)
        self._span = span

    async def update_step(self, inbound: InboundCall) -> CallOutcome:
        """Handles one call, as `CallHandler` does."""
        with self._span(inbound.metadata_pairs()):
            return await super().update_step(inbound)
