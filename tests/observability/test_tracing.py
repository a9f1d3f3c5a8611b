"""Traces, as a collector receives them."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from engagement.v1 import connection_service_pb2 as pb
from engagement.v1.connection_service_pb2_grpc import ConnectionServiceStub

from sandbox import seed
from service import app
from service.connections import Store
from service.domain.step import Provider
from service.observability.switches import wants_traces
from tests.observability.conftest import Log, update
from tests.support.otlp_receiver import OtlpReceiver, ReceivedSpan, running_otlp_receiver
from tests.support.processes import free_port
from tests.support.service import CUSTOMER, RunningService, outreach_grant, running_service
from tests.support.waiting import until

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = ("traceparent", f"00-{TRACE}-{PARENT}-01")
CALL = "engagement.v1.SequenceStepService/UpdateStep"


@pytest.fixture(autouse=True)
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OtlpReceiver]:
    """A collector; the fixtures of the service find it in the environment."""
    async with running_otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield receiver


async def call_span(collector: OtlpReceiver, request_id: str) -> ReceivedSpan:
    def found() -> list[ReceivedSpan]:
        return [span for span in collector.named(CALL) if span.attributes.get("seqstep.request_id") == request_id]

    await until(found)
    [span] = found()
    return span


async def test_a_call_has_a_span_in_the_callers_trace(
    service: RunningService, log: Log, collector: OtlpReceiver
) -> None:
    await update(service, "r-1", TRACEPARENT)
    span = await call_span(collector, "r-1")
    assert (span.trace_id, span.parent_id, span.kind, span.failed) == (TRACE, PARENT, "SPAN_KIND_SERVER", False)
    assert (
        span.attributes.items()
        >= {
            "rpc.system": "grpc",
            "rpc.method": "UpdateStep",
            "rpc.response.status_code": "OK",
            "seqstep.application": "billing",
            "seqstep.provider": "apollo",
            "seqstep.provider_calls": 2,
        }.items()
    )
    assert span.resource["service.name"] == "seqstep"
    assert (await log.line("r-1"))["trace_id"] == TRACE
    [read], [write] = collector.named("GET emailer_campaigns/show"), collector.named("PUT emailer_templates/update")
    for request in (read, write):
        assert (request.trace_id, request.parent_id, request.kind) == (TRACE, span.span_id, "SPAN_KIND_CLIENT")
        assert (request.attributes["http.response.status_code"], request.attributes["seqstep.attempt"]) == (200, 1)
        assert 0 < request.milliseconds < span.milliseconds
    assert any(each.name.startswith("SELECT") and each.parent_id == span.span_id for each in collector.spans)


async def test_a_call_on_connections_has_a_span(service: RunningService, log: Log, collector: OtlpReceiver) -> None:
    key = await service.applications.rotate_key("billing", None, may_manage=True)
    stub = ConnectionServiceStub(service.channel)
    metadata = (("x-api-key", key.reveal()), ("x-request-id", "r-1"), TRACEPARENT)
    request = pb.CheckConnectionRequest(customer_id=CUSTOMER, provider_name="apollo")
    await stub.CheckConnection(request, metadata=metadata, timeout=10)
    name = "engagement.v1.ConnectionService/CheckConnection"
    await until(lambda: collector.named(name))
    [span] = collector.named(name)
    assert (span.trace_id, span.parent_id, span.kind, span.failed) == (TRACE, PARENT, "SPAN_KIND_SERVER", False)
    assert span.attributes["rpc.service"] == "engagement.v1.ConnectionService"
    assert span.attributes["seqstep.request_id"] == "r-1"
    assert (await log.line("r-1"))["trace_id"] == TRACE
    [probe] = [each for each in collector.spans if "seqstep.endpoint" in each.attributes]
    assert (probe.trace_id, probe.parent_id) == (TRACE, span.span_id)


async def test_every_attempt_has_a_span(service: RunningService, collector: OtlpReceiver) -> None:
    service.sandbox.order_fault(provider="apollo", method="GET", status=503)
    await update(service, "r-1")
    await call_span(collector, "r-1")
    spans = collector.named("GET emailer_campaigns/show")
    attempts = [
        (span.attributes["seqstep.attempt"], span.attributes["http.response.status_code"], span.failed)
        for span in spans
    ]
    assert attempts == [(1, 503, True), (2, 200, False)]
    assert len({span.trace_id for span in spans}) == 1


async def test_a_renewal_has_a_span_with_its_request(service: RunningService, collector: OtlpReceiver) -> None:
    await service.connect(CUSTOMER, Provider("outreach"), outreach_grant(expires_at=1.0))
    ids = {"sequence": seed.OUTREACH_SEQUENCE_DISABLED, "step": seed.OUTREACH_STEP_DISABLED_PLAIN}
    await update(service, "r-1", provider="outreach", **ids)
    span = await call_span(collector, "r-1")
    [renewal], [request] = collector.named("token renewal"), collector.named("POST oauth/token")
    assert (renewal.trace_id, renewal.parent_id) == (span.trace_id, span.span_id)
    assert (request.parent_id, request.attributes["http.response.status_code"]) == (renewal.span_id, 200)
    assert any(each.name == "UPDATE connections" and each.trace_id == span.trace_id for each in collector.spans)


async def test_the_http_server_takes_the_callers_trace(
    service: RunningService, http: httpx.AsyncClient, log: Log, collector: OtlpReceiver
) -> None:
    path = f"/sequences/{seed.APOLLO_SEQUENCE_INACTIVE}/sequence_steps/{seed.APOLLO_STEP_INACTIVE_PLAIN}"
    headers = {
        "x-customer-id": CUSTOMER,
        "x-provider-name": "apollo",
        "x-api-key": service.key.reveal(),
        "x-request-id": "r-1",
    }
    await http.patch(path, headers=headers | dict([TRACEPARENT]), json={"record": {"template": {"subject": "A"}}})
    span = await call_span(collector, "r-1")
    assert (span.trace_id, span.parent_id) == (TRACE, PARENT)
    assert span.attributes["http.response.status_code"] == 200
    assert (await log.line("r-1"))["trace_id"] == TRACE
    await http.get("/favicon.ico")
    await http.get("/healthz")
    await update(service, "r-2")
    await call_span(collector, "r-2")
    assert len(collector.named(CALL)) == 2


async def test_a_failing_call_leads_to_its_line_and_its_trace(
    service: RunningService, log: Log, collector: OtlpReceiver
) -> None:
    service.sandbox.order_fault(provider="apollo", method="GET", status=500, times=None)
    result = await update(service, "r-1")
    line = await log.line(result.error.meta.request_id)
    span = await call_span(collector, "r-1")
    assert (span.failed, span.attributes["seqstep.code"]) == (True, result.error.code)
    assert (line["code"], line["error_id"]) == (result.error.code, result.error.id)
    assert span.attributes["seqstep.error_id"] == result.error.id
    of_trace = {each.name for each in collector.spans if each.trace_id == line["trace_id"]}
    assert {CALL, "GET emailer_campaigns/show"} <= of_trace


async def test_spans_have_no_text_and_no_secret(service: RunningService, collector: OtlpReceiver) -> None:
    text = "<p>Dear customer, your password is hunter2</p>"
    await service.connect(CUSTOMER, Provider("outreach"), outreach_grant(expires_at=1.0))
    ids = {"sequence": seed.OUTREACH_SEQUENCE_DISABLED, "step": seed.OUTREACH_STEP_DISABLED_PLAIN}
    await update(service, "r-1", provider="outreach", body=text, **ids)
    service.sandbox.order_fault(provider="outreach", method="GET", status=422, body={"errors": [{"detail": text}]})
    await update(service, "r-2", provider="outreach", **ids)
    await update(service, "r-3", sequence=text)
    await update(service, "r-4", custom_fields={"hunter2": text})
    await call_span(collector, "r-4")
    secrets = (
        *("hunter2", "Dear", "nobody-logs", service.key.reveal(), seed.APOLLO_MASTER_KEY),
        *(seed.OUTREACH_ACCESS_TOKEN, seed.OUTREACH_REFRESH_TOKEN, seed.OUTREACH_CLIENT_SECRET),
    )
    for secret in secrets:
        assert secret.encode() not in collector.raw
    assert [span.name for span in collector.spans if span.events] == []


async def test_a_collector_that_is_not_there_harms_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    # How long the end of the process waits for it.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    async with running_service(tmp_path) as service:
        assert (await update(service, "r-1")).errors == []
    assert len((await log.line("r-1"))["trace_id"]) == 32


async def test_an_exporter_that_is_not_installed_says_so(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/store.sqlite3")
    with pytest.raises(app.TracingUnavailable, match=r"nosuch.*not installed.*seqstep\[tracing\]"):
        app._tracing({"OTEL_TRACES_EXPORTER": "nosuch"}, store)
    await store.close()


async def test_without_the_variables_nothing_is_traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log, collector: OtlpReceiver
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    monkeypatch.delitem(sys.modules, "service.observability.tracing", raising=False)
    async with running_service(tmp_path) as service:
        await update(service, "r-1", TRACEPARENT)
    assert "trace_id" not in await log.line("r-1")
    assert "service.observability.tracing" not in sys.modules
    assert collector.spans == []


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, False),
        ({"OTEL_SERVICE_NAME": "seqstep", "OTEL_TRACES_SAMPLER": "always_on"}, False),
    ],
)
def test_the_standard_variables_ask_for_traces(environment: dict[str, str], *, wanted: bool) -> None:
    assert wants_traces(environment) is wanted
