"""Traces by OpenTelemetry: a span for each call, each request to a provider, each renewal of a token, each statement.

Nothing here is loaded unless the standard variables ask for traces. Spans say what the log line says: no text, no credential,
no statement's values and no message of an exception.
"""

import asyncio
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points, version
from typing import Any, Final

import structlog
from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode
from sqlalchemy import Engine, event

from service.observability.call_log import SERVICE, CallRecord
from service.observability.sent_requests import SentRequest

log: Final = structlog.get_logger("service.tracing")

_HTTP_METHODS: Final = {"UpdateStep": "PATCH"}

# How long the spans that are left have to get to the collector when the service stops.
_FLUSH_SECONDS: Final = 3.0

_TABLE: Final = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+\"?(\w+)", re.IGNORECASE)

_FROM_RECORD: Final = (
    "request_id",
    "application",
    "customer",
    "provider",
    "sequence",
    "step",
    "code",
    "outcome",
    "error_id",
    "refusal",
)


class Tracing:
    """Makes spans and sends them where the variables of OpenTelemetry say. A `CallLog` too, for the span of the call."""

    def __init__(self, exporters: Iterable[SpanExporter]) -> None:
        """Starts to trace.

        Args:
            exporters: Where spans go. The sampler, the resource and the batches are as OpenTelemetry's variables say.
        """
        named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        about = {"service.version": version("seqstep")} | ({} if named else {"service.name": "seqstep"})
        self._provider = TracerProvider(resource=Resource.create(about))
        for exporter in exporters:
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("seqstep", version("seqstep"))

    async def stop(self) -> None:
        """Sends what is left, for a few seconds at most."""
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                await asyncio.to_thread(self._provider.shutdown)
        except TimeoutError:
            log.warning("spans lost", reason="the collector took no more of them in time")

    @contextmanager
    def call(self, method: str, pairs: Sequence[tuple[str, str | bytes]], service: str = SERVICE) -> Iterator[None]:
        """A span for a call, for the length of a `with` block; its trace id is in all log lines of the call.

        Args:
            method: The method of the contract.
            pairs: The metadata, which may have the context that the caller's span propagates.
            service: The full name of the service that the method is of.
        """
        carrier = {key: value if isinstance(value, str) else value.decode("latin-1") for key, value in pairs}
        context = propagate.extract(carrier)
        with self._span(f"{service}/{method}", SpanKind.SERVER, context) as span:
            trace_id = trace.format_trace_id(span.get_span_context().trace_id)
            with structlog.contextvars.bound_contextvars(trace_id=trace_id):
                yield

    def record(self, record: CallRecord) -> None:
        """Says in the span of the call how it ended."""
        span = trace.get_current_span()
        if not span.is_recording():
            return
        attributes: dict[str, str | int | bool] = {
            "rpc.service": record.service,
            "rpc.method": record.method,
            "client.address": record.peer.rpartition(":")[0],
            "seqstep.validate_only": record.validate_only,
            "seqstep.provider_calls": record.provider_calls,
        }
        if record.grpc_status:
            attributes |= {"rpc.system": "grpc", "rpc.response.status_code": record.grpc_status}
        else:
            attributes |= {
                "http.request.method": _HTTP_METHODS.get(record.method, "GET"),
                "http.response.status_code": record.http_status,
            }
        for name in _FROM_RECORD:
            value = getattr(record, name)
            if value:
                attributes[f"seqstep.{name}"] = value
        span.set_attributes(attributes)
        if record.code:
            span.set_status(Status(StatusCode.ERROR, record.code))

    def record_request(self, provider: str, request: SentRequest) -> None:
        """Makes the span of a request to a provider that has just ended."""
        end = time.time_ns()
        span = self._tracer.start_span(
            f"{request.method} {request.endpoint}",
            kind=SpanKind.CLIENT,
            start_time=end - int(request.ms * 1e6),
            attributes={
                "http.request.method": request.method,
                "seqstep.provider": provider,
                "seqstep.endpoint": request.endpoint,
                "seqstep.attempt": request.attempt,
            },
        )
        if request.status:
            span.set_attribute("http.response.status_code", request.status)
        if request.error or request.status >= 400:
            span.set_attribute("error.type", request.error or str(request.status))
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def watch_database(self, engine: Engine) -> None:
        """Makes a span of each statement that a call executes from now on."""

        def before(_db: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool) -> None:  # noqa: FBT001
            context.seqstep_began = time.time_ns()

        def after(_db: Any, _cursor: Any, statement: str, _values: Any, context: Any, _many: bool) -> None:  # noqa: FBT001
            if trace.get_current_span().is_recording():
                operation = statement.split(None, 1)[0].upper()
                table = _TABLE.search(statement)
                self._tracer.start_span(
                    f"{operation} {table[1]}" if table else operation,
                    kind=SpanKind.CLIENT,
                    start_time=context.seqstep_began,
                    attributes={"db.system.name": engine.dialect.name, "db.operation.name": operation},
                ).end()

        event.listen(engine, "before_cursor_execute", before)
        event.listen(engine, "after_cursor_execute", after)

    def token_endpoints(self, endpoints: Mapping[Any, Any]) -> dict[Any, Any]:
        """The token endpoints, each of which makes a span of every renewal."""
        return {provider: _TracedTokenEndpoint(self, provider, endpoint) for provider, endpoint in endpoints.items()}

    @contextmanager
    def _span(self, name: str, kind: SpanKind = SpanKind.INTERNAL, context: Any = None) -> Iterator[trace.Span]:
        with self._tracer.start_as_current_span(
            name, context=context, kind=kind, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                # Its message may quote a value.
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise


class _TracedTokenEndpoint:
    """A token endpoint; `service.connections.token_refresh.TokenEndpoint` says what it promises."""

    def __init__(self, tracing: Tracing, provider: str, endpoint: Any) -> None:
        self._tracing = tracing
        self._provider = provider
        self._endpoint = endpoint

    async def refresh(self, *arguments: Any) -> Any:
        """Renews a token."""
        with self._tracing._span("token renewal") as span:  # noqa: SLF001  # a part of the same thing
            span.set_attribute("seqstep.provider", self._provider)
            return await self._endpoint.refresh(*arguments)


def exporters(environment: Mapping[str, str]) -> list[SpanExporter]:
    """What the variables name, found as OpenTelemetry's own set-up finds it.

    Raises:
        LookupError: One of them is not installed; the message says which.
    """
    names = [name.strip() for name in environment.get("OTEL_TRACES_EXPORTER", "").split(",") if name.strip()]
    found = []
    for name in names or ["otlp"]:
        entry = name
        if name == "otlp":
            protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get(
                "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
            )
            entry = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
        matching = list(entry_points(group="opentelemetry_traces_exporter", name=entry))
        if not matching:
            raise LookupError(f"OTEL_TRACES_EXPORTER={name} ({entry}) is not installed")
        found.append(matching[0].load()())
    return found
