"""Handles calls, each in a span of a trace."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

from service.api.call_handler import CallHandler, CallOutcome, InboundCall
from service.api.metadata import MetadataPairs
from service.api.methods import Method

CallSpan: TypeAlias = Callable[[str, MetadataPairs], AbstractContextManager[None]]
"""Opens the span of a call, given its method and its metadata."""


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

    async def handle(self, method: Method, inbound: InboundCall) -> CallOutcome:
        """Handles one call, as `CallHandler` does."""
        with self._span(method.name, inbound.metadata_pairs()):
            return await super().handle(method, inbound)
