"""The log line of a call: what it has, and that it has no text and no secret."""

from typing import Any

import httpx
import pytest

from sandbox import seed
from service.domain.step import Provider
from tests.observability.conftest import Log, update
from tests.support.service import CUSTOMER, RunningService, outreach_grant

OUTREACH = {
    "provider": "outreach",
    "sequence": seed.OUTREACH_SEQUENCE_DISABLED,
    "step": seed.OUTREACH_STEP_DISABLED_PLAIN,
}


def sent(line: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The requests of a line, without their milliseconds, which are checked to be some."""
    requests = line["provider_requests"]
    assert all(0 < request["ms"] < 30_000 for request in requests)
    return [
        (request["method"], request["endpoint"], request["attempt"], request.get("status", request.get("error")))
        for request in requests
    ]


async def test_the_line_says_what_was_asked_and_what_was_sent(service: RunningService, log: Log) -> None:
    await update(service, "r-1", ("x-envoy-attempt-count", "2"))
    line = await log.line("r-1")
    assert (line.pop("peer").startswith("127.0.0.1:"), line.pop("ms") > 0) == (True, True)
    assert sent(line) == [("GET", "emailer_campaigns/show", 1, 200), ("PUT", "emailer_templates/update", 1, 200)]
    del line["provider_requests"]
    assert line == {
        "event": "call",
        "request_id": "r-1",
        "method": "UpdateStep",
        "application": "billing",
        "customer": CUSTOMER,
        "provider": "apollo",
        "sequence": seed.APOLLO_SEQUENCE_INACTIVE,
        "step": seed.APOLLO_STEP_INACTIVE_PLAIN,
        "validate_only": False,
        "is_retry": True,
        "grpc_status": "OK",
        "outcome": "succeeded",
        "provider_calls": 2,
        "attempts": 1,
    }


async def test_the_line_has_warnings_and_validate_only(service: RunningService, log: Log) -> None:
    await update(service, "r-1")
    await update(service, "r-2", validate_only=True)
    line = await log.line("r-2")
    assert (line["validate_only"], line["warnings"], line["provider_calls"]) == (True, ["NO_CHANGE"], 1)


async def test_the_line_has_every_attempt_with_its_status(service: RunningService, log: Log) -> None:
    service.sandbox.order_fault(provider="apollo", method="GET", status=503)
    await update(service, "r-1")
    line = await log.line("r-1")
    assert (line["outcome"], line["attempts"]) == ("succeeded", 2)
    assert sent(line)[:2] == [("GET", "emailer_campaigns/show", 1, 503), ("GET", "emailer_campaigns/show", 2, 200)]


async def test_the_line_names_the_failure_of_a_request(service: RunningService, log: Log) -> None:
    service.sandbox.order_fault(provider="apollo", method="GET", cut="reset", times=None)
    await update(service, "r-1")
    line = await log.line("r-1")
    assert (line["code"], line["outcome"]) == ("SERVICE_UNAVAILABLE_ERROR", "ERROR_OUTCOME_NOT_APPLIED")
    assert {request[3] for request in sent(line)} == {"ConnectionClosed"}


async def test_the_line_has_the_request_for_a_token(service: RunningService, log: Log) -> None:
    await service.connect(CUSTOMER, Provider("outreach"), outreach_grant(expires_at=1.0))
    await update(service, "r-1", **OUTREACH)
    line = await log.line("r-1")
    assert sent(line)[0] == ("POST", "oauth/token", 1, 200)
    assert line["provider_calls"] == len(sent(line)) - 1


async def test_a_refused_http_call_has_its_line(service: RunningService, http: httpx.AsyncClient, log: Log) -> None:
    headers = {"x-customer-id": CUSTOMER, "x-provider-name": "apollo", "x-api-key": "no", "x-request-id": "r-1"}
    await http.patch("/sequences/1/sequence_steps/2", headers=headers, json={"record": {}})
    line = await log.line("r-1")
    assert (line["http_status"], line["code"], line["method"]) == (401, "UNAUTHORIZED_ERROR", "UpdateStep")
    assert line["peer"].startswith("127.0.0.1:")
    assert sent(line) == []


@pytest.mark.parametrize("path", ["/favicon.ico", "/sequences/hunter2/sequence_steps"])
async def test_a_request_for_no_operation_is_no_call(
    service: RunningService, http: httpx.AsyncClient, log: Log, path: str
) -> None:
    response = await http.get(path, params={"q": "hunter2"}, headers={"x-request-id": "r-1"})
    assert response.status_code == 404
    [line] = log.lines("r-1")
    assert (line.pop("peer").startswith("127.0.0.1:"), line) == (
        True,
        {"event": "no such operation", "request_id": "r-1", "http_status": 404},
    )
    metrics = (await http.get("/metrics")).text
    assert 'code="' not in metrics


async def test_the_line_never_has_a_text_or_a_secret(service: RunningService, log: Log) -> None:
    text = "<p>Dear customer, your password is hunter2</p>"
    await update(service, "r-1", sequence=text)
    line = await log.line("r-1")
    assert (line["code"], "sequence" in line, "step" in line) == ("VALIDATION_ERROR", False, False)
    service.sandbox.order_fault(provider="apollo", method="GET", status=422, body={"error": text})
    await update(service, "r-2")
    service.sandbox.order_fault(provider="apollo", method="GET", cut="reset", times=None)
    await update(service, "r-3", body=text, custom_fields={"hunter2": text})
    await log.line("r-3")
    written = log.stream.getvalue()
    for secret in ("hunter2", "Dear", "nobody-logs", service.key.reveal(), seed.APOLLO_MASTER_KEY):
        assert secret not in written
