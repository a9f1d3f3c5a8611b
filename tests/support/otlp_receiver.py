"""A receiver of traces by OTLP over HTTP, as a collector is, which shows them as Tempo and Jaeger do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1 import trace_pb2


class ReceivedSpan:
    """One span."""

    def __init__(self, span: trace_pb2.Span, resource: dict[str, Any]) -> None:
        self.name = span.name
        self.kind = trace_pb2.Span.SpanKind.Name(span.kind)
        self.trace_id = span.trace_id.hex()
        self.span_id = span.span_id.hex()
        self.parent_id = span.parent_span_id.hex()
        self.failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
        self.milliseconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
        self.attributes = _plain(span.attributes)
        self.events = list(span.events)
        self.resource = resource


class OtlpReceiver:
    """What came in.

    Attributes:
        spans: The spans, in their order.
        raw: The bytes of all requests.
    """

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self.raw = b""
        self.url = ""

    async def receive(self, request: web.Request) -> web.Response:
        data = await request.read()
        self.raw += data
        for group in trace_service_pb2.ExportTraceServiceRequest.FromString(data).resource_spans:
            resource = _plain(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [ReceivedSpan(span, resource) for span in scope.spans]
        return web.Response(body=b"", content_type="application/x-protobuf")

    async def show(self, request: web.Request) -> web.Response:
        spans = [span for span in self.spans if span.trace_id == request.match_info["trace"]]
        shown = [{"operationName": span.name, "tags": span.attributes} for span in spans]
        return web.json_response({"spans": shown}, status=200 if shown else 404)

    def named(self, name: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.name == name]


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@asynccontextmanager
async def running_otlp_receiver() -> AsyncIterator[OtlpReceiver]:
    """A receiver on a free port, until the end of the block."""
    receiver = OtlpReceiver()
    application = web.Application()
    application.router.add_post("/v1/traces", receiver.receive)
    application.router.add_get("/api/traces/{trace}", receiver.show)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()
