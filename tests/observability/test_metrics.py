"""What /metrics counts, by the names that dashboards know, and that no label grows with what callers or providers send."""

import asyncio
import re
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from sandbox import seed
from service.domain.step import Provider
from service.observability.metrics import CallMetrics
from service.observability.sent_requests import SentRequest
from tests.observability.conftest import update
from tests.support.service import CUSTOMER, RunningService, outreach_grant

RPC = {"grpc_type": "unary", "grpc_service": "engagement.v1.SequenceStepService", "grpc_method": "UpdateStep"}
APOLLO = {"provider": "apollo"}
SHOW = {"provider": "apollo", "endpoint": "emailer_campaigns/show"}


class Metrics:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def sum(self, name: str, **labels: str) -> float:
        """The sum of the samples with a name and these labels."""
        return sum(
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def values(self, name: str, label: str) -> set[str]:
        """All values of a label."""
        return {sample.labels[label] for sample in self.samples if sample.name == name}


async def scrape(http: httpx.AsyncClient) -> Metrics:
    return Metrics((await http.get("/metrics")).text)


async def test_calls_are_counted_by_the_names_of_grpc(service: RunningService, http: httpx.AsyncClient) -> None:
    await update(service, "r-1")
    await update(service, "r-2")
    await update(service, "r-3", sequence="not an id")
    headers = {"x-customer-id": CUSTOMER, "x-provider-name": "apollo", "x-api-key": service.key.reveal()}
    await http.patch("/sequences/1/sequence_steps/2", headers=headers, json={"record": {}})
    found = await scrape(http)
    assert found.sum("grpc_server_handled_total", grpc_code="OK", **RPC) == 2
    assert found.sum("grpc_server_handled_total", grpc_code="INVALID_ARGUMENT", **RPC) == 1
    assert found.sum("grpc_server_handling_seconds_count", grpc_code="OK", **RPC) == 2
    assert found.sum("grpc_server_handled_total") == 3
    assert found.sum("seqstep_calls_total") == 4


async def test_requests_to_providers_are_counted_by_endpoint_and_status(
    service: RunningService, http: httpx.AsyncClient
) -> None:
    service.sandbox.order_fault(provider="apollo", method="GET", status=503)
    await update(service, "r-1")
    service.sandbox.order_fault(provider="apollo", method="GET", cut="reset", times=None)
    await update(service, "r-2")
    found = await scrape(http)
    name = "http_client_request_duration_seconds_count"
    assert found.sum(name, http_response_status_code="200", http_request_method="GET", **SHOW) == 1
    assert found.sum(name, http_response_status_code="503", http_request_method="GET", **SHOW) == 1
    failed = found.sum(name, http_response_status_code="", error_type="ConnectionClosed", **SHOW)
    assert failed > 1
    assert found.sum(name, http_request_method="PUT", endpoint="emailer_templates/update", **APOLLO) == 1
    assert found.sum("seqstep_provider_retries_total", **SHOW) == 1 + failed - 1
    assert found.sum("seqstep_rate_limit_remaining_count", window="minute", **SHOW) == 1


async def test_refusals_are_counted_by_reason(service: RunningService, http: httpx.AsyncClient) -> None:
    await update(service, "r-1", sequence="not an id")
    await update(service, "r-2", customer="nobody")
    headers = {"retry-after": "60"}
    service.sandbox.order_fault(
        provider="apollo", method="GET", status=429, headers=headers, body={"message": "Too many"}
    )
    await update(service, "r-3")
    await update(service, "r-4")
    found = await scrape(http)
    counted = {
        sample.labels["reason"]: sample.value for sample in found.samples if sample.name == "seqstep_refusals_total"
    }
    assert counted == {"VALIDATION_ERROR": 1, "NOT_FOUND_ERROR": 1, "rate_limit": 1}


async def test_an_open_breaker_is_shown(service: RunningService, http: httpx.AsyncClient) -> None:
    service.sandbox.order_fault(provider="outreach", method="GET", status=503, times=None)
    await service.connect("other", Provider("outreach"), outreach_grant())
    fields: dict[str, Any] = {
        "provider": "outreach",
        "sequence": seed.OUTREACH_SEQUENCE_DISABLED,
        "step": seed.OUTREACH_STEP_DISABLED_PLAIN,
    }
    assert (await scrape(http)).sum("seqstep_circuit_breakers_open", provider="outreach") == 0
    await asyncio.gather(
        *(update(service, f"r-{n}", customer=customer, **fields) for n in range(12) for customer in (CUSTOMER, "other"))
    )
    async with asyncio.timeout(20):
        while (await scrape(http)).sum("seqstep_circuit_breakers_open", provider="outreach") != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await update(service, "r-refused", **fields)
    found = await scrape(http)
    assert found.sum("seqstep_refusals_total", provider="outreach", reason="circuit_open") >= 1
    assert found.sum("seqstep_circuit_breakers_open", provider="apollo") == 0


async def test_connections_are_counted_by_state_and_versions_shown(
    service: RunningService, http: httpx.AsyncClient
) -> None:
    found = await scrape(http)
    assert found.sum("seqstep_build_info") == 1
    assert "" not in found.values("seqstep_build_info", "version") | found.values("seqstep_build_info", "grpcio")
    assert found.sum("process_resident_memory_bytes") > 0
    counts = await service.connections.count_by_state()
    assert sorted(counts) == [("apollo", "active", 1), ("outreach", "active", 1)]


def test_a_state_that_no_connection_has_any_more_is_none() -> None:
    metrics = CallMetrics(lambda: 0)
    metrics.set_connections([("apollo", "active", 2), ("apollo", "needs_reauth", 1)])
    metrics.set_connections([("apollo", "active", 3)])
    found = Metrics(metrics.render()[0].decode())
    assert found.sum("seqstep_connections", state="active") == 3
    assert found.sum("seqstep_connections", state="needs_reauth") == 0


def test_a_provider_that_makes_up_statuses_makes_no_series() -> None:
    metrics = CallMetrics(lambda: 0)
    for status in range(100, 1000):
        metrics.record_request("apollo", SentRequest("GET", "emailer_campaigns/show", 1, 1.0, status))
    found = Metrics(metrics.render()[0].decode())
    statuses = found.values("http_client_request_duration_seconds_count", "http_response_status_code")
    assert "other" in statuses
    assert len(statuses) < 70


async def test_no_label_grows_with_what_callers_send(service: RunningService, http: httpx.AsyncClient) -> None:
    async def calls(name: str, count: int) -> None:
        for number in range(count):
            mark = f"{name}-{number}"
            await update(service, mark, customer=mark, sequence=mark, step=mark, custom_fields={mark: mark})
            await update(service, mark, provider=mark)
            await service.update("apollo", mark, mark, metadata=(("x-error-mode", mark), ("x-request-id", mark)))
            await http.patch(f"/sequences/{mark}/sequence_steps/{mark}", headers={"x-api-key": mark}, json={})
            await http.get(f"/favicon-{mark}.ico")
            await http.request(f"M{number}", f"/{mark}")

    def series(found: Metrics) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        return {(sample.name, tuple(sorted(sample.labels.items()))) for sample in found.samples}

    await calls("one", 1)
    before = await scrape(http)
    await calls("two", 5)
    after = await scrape(http)
    assert series(after) == series(before)
    assert not re.search(r"one-|two-|favicon|acme|billing", after.text)


async def test_a_request_for_no_operation_counts_nowhere(service: RunningService, http: httpx.AsyncClient) -> None:
    def counted(text: str) -> list[str]:
        return [line for line in text.splitlines() if re.match(r"(seqstep|grpc|http)_\w+_(total|count)", line)]

    before = counted((await http.get("/metrics")).text)
    for path in ("/favicon.ico", "/", "/healthz", "/readyz", "/openapi.json", "/metrics"):
        await http.get(path)
    assert counted((await http.get("/metrics")).text) == before
    await update(service, "r-1")
    assert counted((await http.get("/metrics")).text) != before
