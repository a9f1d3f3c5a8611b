"""The operations of the HTTP server: their paths, what they answer, and who leaves."""

import asyncio

import pytest

from service.api.admission import Admission
from service.domain.deadline import Deadline
from service.domain.errors import Cause, ErrorCode, Origin, Outcome, Problem
from service.domain.sequence import SequenceResult
from service.domain.step import Caller, FieldChange, StepUpdate, StepWarning, UpdateResult, WarningType
from tests.support.http_server import GOOD, PATH, RunningHttpServer, error_of
from tests.support.waiting import until


async def test_the_operation_is_under_the_prefix_too(server: RunningHttpServer) -> None:
    assert (await server.patch(path=f"/engagement/v2{PATH}")).status_code == 200
    assert server.updates[0].sequence_step_id == "7"


async def test_the_present_values_come_with_a_refusal(server: RunningHttpServer) -> None:
    problem = Problem(ErrorCode.STEP_CHANGED_ERROR, "It changed.")
    server.failing(problem, etag="new", conflicts=(FieldChange("template.subject", "Theirs", "Mine"),))
    answer = await server.patch()
    assert (answer.status_code, answer.json()["etag"]) == (412, "new")
    assert answer.json()["conflicts"] == [{"field": "template.subject", "before": "Theirs", "after": "Mine"}]


async def test_a_failure_has_every_member_of_the_page(server: RunningHttpServer) -> None:
    cause = Cause(418, {"message": "no", "list": [1, 2.5, None, True, 2**60]}, {"server": "x"})
    problem = Problem(
        ErrorCode.REMOTE_PROVIDER_ERROR,
        "It is a teapot.",
        "Teapot",
        Origin.PROVIDER,
        cause,
        Outcome.PARTIALLY_APPLIED,
        retry_after=1.2,
    )
    server.failing(
        problem,
        Problem(ErrorCode.NOT_FOUND_ERROR, "And gone."),
        warnings=(StepWarning(WarningType.SEQUENCE_ACTIVE, "It is on."),),
        changes=(FieldChange("template.subject", None, "Hi"),),
    )
    response = await server.patch(x_request_id="r-8")
    assert response.status_code == 499
    assert response.headers["retry-after"] == "2"
    body = response.json()
    ids = [error.pop("id") for error in body["errors"]]
    assert len(set(ids)) == 2
    assert body == {
        "errors": [
            {
                "detail": "It is a teapot.",
                "problem_type": "REMOTE_PROVIDER_ERROR",
                "title": "Teapot",
                "code": "REMOTE_PROVIDER_ERROR",
                "status": "499",
                "meta": {
                    "cause": {
                        "code": 418,
                        "body": {"message": "no", "list": [1, 2.5, None, True, str(2**60)]},
                        "headers": {"server": "x"},
                    },
                    "origin": "remote-provider",
                    "application_name": "billing",
                    "outcome": "ERROR_OUTCOME_PARTIALLY_APPLIED",
                    "request_id": "r-8",
                    "retry_after": 1.2,
                },
            },
            {
                "detail": "And gone.",
                "problem_type": "NOT_FOUND_ERROR",
                "title": "Not found",
                "code": "NOT_FOUND_ERROR",
                "status": "404",
                "meta": {
                    "origin": "supaglue",
                    "application_name": "billing",
                    "outcome": "ERROR_OUTCOME_NOT_APPLIED",
                    "request_id": "r-8",
                },
            },
        ],
        "warnings": [{"detail": "It is on.", "problem_type": "SEQUENCE_ACTIVE", "title": "The sequence is on"}],
        "changes": [{"field": "template.subject", "before": None, "after": "Hi"}],
    }


async def test_a_bug_is_shown_by_an_id_and_nothing_else(server: RunningHttpServer) -> None:
    server.raising(ValueError("the password is hunter2"))
    response = await server.patch(x_request_id="r-9")
    error = error_of(response)
    assert (error["code"], error["meta"]["outcome"]) == ("INTERNAL_SERVER_ERROR", "ERROR_OUTCOME_UNKNOWN")
    assert "hunter2" not in response.text
    assert "r-9" in error["detail"]


async def test_a_full_server_says_when_to_come_back(server: RunningHttpServer) -> None:
    server.admission = Admission(0)
    await server.stop()
    await server.start()
    response = await server.patch()
    assert error_of(response)["code"] == "TOO_MANY_REQUESTS_ERROR"
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/"),
        ("PATCH", "/sequences/54/sequence_steps/"),
        ("PATCH", f"{PATH}/"),
        ("PATCH", "/sequences/54%2F1/sequence_steps/7"),
        ("GET", "/engagement/v1"),
        ("GET", "/docs/"),
        ("GET", "/docs/__init__.py"),
    ],
)
async def test_an_unknown_path_is_answered_in_the_envelope(server: RunningHttpServer, method: str, path: str) -> None:
    response = await server.client.request(method, path, headers={"x-request-id": "r-1"})
    assert error_of(response)["code"] == "NOT_FOUND_ERROR"
    assert response.headers["x-request-id"] == "r-1"
    assert "allow" not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", PATH, "GET, PATCH"),
        ("PUT", f"/engagement/v2{PATH}", "GET, PATCH"),
        ("PROPFIND", PATH, "GET, PATCH"),
        ("PATCH", "/sequences/54", "GET"),
        ("DELETE", "/healthz", "GET, HEAD"),
        ("PATCH", "/metrics", "GET, HEAD"),
        ("POST", "/openapi.json", "GET, HEAD"),
    ],
)
async def test_another_method_is_answered_with_those_allowed(
    server: RunningHttpServer, method: str, path: str, allowed: str
) -> None:
    response = await server.client.request(method, path, headers={"x-request-id": "r-1"}, content=b"{")
    error = error_of(response)
    assert (response.status_code, error["code"]) == (405, "METHOD_NOT_ALLOWED_ERROR")
    assert (response.headers["allow"], response.headers["x-request-id"]) == (allowed, "r-1")


async def test_a_long_path_is_named_in_part(server: RunningHttpServer) -> None:
    response = await server.client.get("/" + "x" * 300)
    assert error_of(response)["detail"].startswith(f"GET /{'x' * 199} is no operation")


async def test_a_step_is_read_by_get(server: RunningHttpServer) -> None:
    response = await server.client.get(f"{PATH}?with_sharing=true", headers=GOOD)
    template = {"id": "18", "subject": "Hi", "body": "<p>Hi</p>"}
    found = response.json()
    [variant] = found.pop("variants")
    etag = found["etag"]
    assert (response.status_code, found) == (
        200,
        {
            "id": "7",
            "sequence_id": "54",
            "type": "auto_email",
            "order": 1,
            "interval_seconds": 3600,
            "is_reply": False,
            "is_sequence_enabled": True,
            "etag": etag,
            "template": template,
            "custom_fields": {"note": None},
        },
    )
    assert variant == {
        "id": "1",
        "is_live": True,
        "is_reply": False,
        "is_archived": False,
        "updated_by_default": True,
        "etag": etag,
        "sharing_step_ids": [],
        "sharing_complete": False,
        "template": template,
    }
    [query] = server.queries
    assert (query.sequence_id, query.sequence_step_id, query.with_bodies, query.with_sharing) == ("54", "7", True, True)
    assert (server.records[-1].method, server.records[-1].step, server.records[-1].http_status) == ("GetStep", "7", 200)


async def test_a_sequence_is_read_by_get(server: RunningHttpServer) -> None:
    response = await server.client.get("/sequences/54", headers=GOOD)
    found = response.json()
    [step] = found.pop("steps")
    assert (response.status_code, found) == (
        200,
        {"id": "54", "name": "Spring", "is_enabled": True, "is_archived": False, "num_steps": 1},
    )
    assert step["template"] == {"id": "18", "subject": "Hi"}
    full = await server.client.get("/engagement/v2/sequences/54?view=STEP_VIEW_FULL", headers=GOOD)
    assert full.json()["steps"][0]["template"]["body"] == "<p>Hi</p>"
    assert (server.records[-1].method, server.records[-1].sequence, server.records[-1].step) == ("ListSteps", "54", "")


@pytest.mark.parametrize("path", [PATH, "/sequences/54"])
async def test_a_read_that_fails_is_an_envelope(server: RunningHttpServer, path: str) -> None:
    problem = Problem(ErrorCode.NOT_FOUND_ERROR, "It is gone.")
    server.read_result = lambda query: SequenceResult((problem,))
    response = await server.client.get(path, headers=GOOD)
    assert (response.status_code, error_of(response)["code"]) == (404, "NOT_FOUND_ERROR")
    assert set(response.json()) == {"errors", "warnings", "changes"}
    for query in ("?view=FULL", "?etag=x"):
        refused = await server.client.get(path + query, headers=GOOD)
        assert (refused.status_code, error_of(refused)["code"]) == (400, "VALIDATION_ERROR")


async def test_a_caller_that_leaves_stops_the_work(server: RunningHttpServer) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def wait(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return UpdateResult()

    server.use_case = wait
    call = asyncio.ensure_future(server.patch())
    async with asyncio.timeout(5):
        await started.wait()
        call.cancel()
        await stopped.wait()
    await until(lambda: server.records)
    assert (server.records[0].http_status, server.records[0].code) == (499, "")
    assert server.admission.in_flight == 0


async def test_a_caller_that_leaves_before_its_body_is_only_logged(
    server: RunningHttpServer, caplog: pytest.LogCaptureFixture
) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in GOOD.items())
    request = f"PATCH {PATH} HTTP/1.1\r\nhost: x\r\n{head}content-type: application/json\r\ncontent-length: 9\r\n\r\n{{"
    host, _, port = server.http.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.encode())
    await until(lambda: server.admission.in_flight)
    writer.close()
    await until(lambda: server.records)
    assert (server.records[0].http_status, server.updates) == (499, [])
    assert caplog.records == []


async def test_health_and_readiness_have_no_body_for_head(server: RunningHttpServer) -> None:
    for path, status in (("/healthz", "alive"), ("/readyz", "ready")):
        response = await server.client.get(path)
        assert (response.status_code, response.json()) == (200, {"status": status})
        assert response.headers["cache-control"] == "no-store"
        response = await server.client.head(path)
        assert (response.status_code, response.content) == (200, b"")
    assert (await server.client.head("/metrics")).status_code == 200


async def test_many_requests_use_one_connection(server: RunningHttpServer) -> None:
    host, _, port = server.http.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = "".join(f"{name}: {value}\r\n" for name, value in GOOD.items())
    request = f"PATCH {PATH} HTTP/1.1\r\nhost: x\r\n{head}content-type: application/json\r\ncontent-length: 13\r\n\r\n"
    for _ in range(3):
        writer.write(request.encode() + b'{"record":{}}')
        async with asyncio.timeout(5):
            response = await reader.readuntil(b'"changes":[]}')
        assert response.startswith(b"HTTP/1.1 200 ")
        assert b"server:" not in response.lower()
    writer.close()
