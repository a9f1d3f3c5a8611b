"""The rules of the HTTP door: headers, body, envelope."""

import asyncio
import json
import re
from typing import Any

import httpx
import pytest

from service.api.admission import Admission
from service.domain.deadline import Deadline
from service.domain.errors import CODES, Cause, ErrorCode, Origin, Outcome, Problem
from service.domain.step import Caller, FieldChange, Provider, StepUpdate, StepWarning, UpdateResult, WarningType
from service.rest.app import MAX_REQUEST_BYTES
from tests.rest.servers import GOOD, PATH, HttpDoor, error_of, exchange
from tests.support.waiting import until


async def test_the_whole_of_the_page_reaches_the_use_case(door: HttpDoor) -> None:
    body = {
        "record": {
            "template": {"subject": "Hi", "body": "<p>Ünïcödé 🚀</p>"},
            "custom_fields": {"b": [1, 2.5, None, True, {"x": "y"}], "a": 3.0},
        }
    }
    answer = await door.patch(body)
    assert answer.status_code == 200
    assert answer.json() == {"errors": [], "warnings": [], "changes": []}
    [update] = door.updates
    assert update == StepUpdate(
        Provider("apollo"),
        "acme",
        "54",
        "7",
        "Hi",
        "<p>Ünïcödé 🚀</p>",
        {"a": 3, "b": [1, 2.5, None, True, {"x": "y"}]},
    )
    assert list(update.custom_fields) == ["a", "b"]
    assert type(update.custom_fields["a"]) is int


async def test_it_is_under_the_prefix_too(door: HttpDoor) -> None:
    assert (await door.patch(path=f"/engagement/v2{PATH}")).status_code == 200
    assert door.updates[0].sequence_step_id == "7"


async def test_presence_means_change(door: HttpDoor) -> None:
    await door.patch({"record": {"template": {"subject": ""}}})
    await door.patch({"record": {"template": {}}})
    await door.patch({"record": {}})
    assert [(update.subject, update.body) for update in door.updates] == [("", None), (None, None), (None, None)]


async def test_unknown_members_are_ignored(door: HttpDoor) -> None:
    body = {"record": {"template": {"subject": "Hi", "name": 1}, "type": "email"}, "id": None}
    assert (await door.patch(body)).status_code == 200
    assert door.updates[0].subject == "Hi"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ([], ["body"]),
        ("text", ["body"]),
        (None, ["body"]),
        ({}, ["record"]),
        ({"record": None}, ["record"]),
        ({"record": []}, ["record"]),
        ({"record": {"template": None}}, ["record.template"]),
        ({"record": {"template": "x"}}, ["record.template"]),
        ({"record": {"template": {"subject": None}}}, ["record.template.subject"]),
        (
            {"record": {"template": {"subject": 1, "body": ["x"]}, "custom_fields": "x"}},
            ["record.template.subject", "record.template.body", "record.custom_fields"],
        ),
        ({"record": {"custom_fields": None}}, ["record.custom_fields"]),
        ({"record": {"custom_fields": {"a": [{"b": 2**70}]}}}, ["record.custom_fields.a[0].b"]),
    ],
)
async def test_wrong_types_are_refused_by_name(door: HttpDoor, body: Any, fields: list[str]) -> None:
    error = await door.refused(body)
    assert (error["code"], error["status"], error["meta"]["origin"]) == ("VALIDATION_ERROR", "400", "supaglue")
    assert re.findall(r"(?:^|; )([\w.\[\]]+): ", error["detail"]) == fields
    assert door.updates == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"record": NaN}', b"\xff", b'{"record": {"template": {"subject": "\\ud800"}}}', b"[" * 100_000,
     b'{"record": {"custom_fields": {"a": 1e999}}}'],
)  # fmt: skip
async def test_what_is_not_json_is_refused(door: HttpDoor, content: bytes) -> None:
    assert (await door.refused(content=content))["code"] == "BAD_REQUEST"


async def test_custom_fields_may_not_be_nested_without_end(door: HttpDoor) -> None:
    content = b'{"record": {"custom_fields": {"a": ' + b"[" * 700 + b"]" * 700 + b"}}}"
    answer = await door.patch(content=content)
    # The use case has the limit that callers are told; here it only must not fall over.
    assert answer.status_code in (200, 400)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "", "application/"]
)
async def test_another_content_type_is_refused(door: HttpDoor, kind: str) -> None:
    error = await door.refused(content_type=kind)
    assert (error["code"], "content-type: application/json" in error["detail"]) == ("BAD_REQUEST", True)


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
async def test_json_may_say_that_it_is_utf8(door: HttpDoor, kind: str) -> None:
    assert (await door.patch(content_type=kind)).status_code == 200


async def test_a_compressed_body_is_refused(door: HttpDoor) -> None:
    assert "compressed" in (await door.refused(content_encoding="gzip"))["detail"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_gets_a_reason(door: HttpDoor, chunked: bool) -> None:  # noqa: FBT001
    async def parts() -> Any:
        for _ in range(MAX_REQUEST_BYTES // 2**20 + 2):
            yield b" " * 2**20

    content: Any = parts() if chunked else b" " * (MAX_REQUEST_BYTES + 1)
    answer = await door.client.patch(PATH, headers=GOOD | {"content-type": "application/json"}, content=content)
    assert error_of(answer)["detail"] == "The body is longer than 15 MiB."


async def test_a_refused_caller_with_a_large_body_hears_why(door: HttpDoor) -> None:
    content = json.dumps({"record": {"template": {"body": "x" * 4 * 2**20}}}).encode()
    assert (await door.refused(content=content, x_api_key="bad"))["code"] == "UNAUTHORIZED_ERROR"


async def test_a_body_that_does_not_come_is_not_waited_for_without_end(door: HttpDoor) -> None:
    door.policy = type(door.policy)(0.2, 0.2)
    await door.stop()
    await door.start()
    head = "".join(f"{name}: {value}\r\n" for name, value in GOOD.items())
    request = f"PATCH {PATH} HTTP/1.1\r\nhost: x\r\n{head}content-type: application/json\r\ncontent-length: 9\r\n\r\n{{"
    answer = await exchange(door.http.address, request.encode())
    assert b"did not arrive in time" in answer


@pytest.mark.parametrize("key", ["x-customer-id", "x-provider-name"])
async def test_a_missing_header_is_named(door: HttpDoor, key: str) -> None:
    error = await door.refused(without=key)
    assert error["code"] == "BAD_REQUEST"
    assert error["detail"].startswith(f"{key}: Required")


async def test_headers_have_the_rules_of_metadata(door: HttpDoor) -> None:
    twice = httpx.Headers([*GOOD.items(), ("x-customer-id", "other"), ("content-type", "application/json")])
    error = error_of(await door.client.patch(PATH, headers=twice, content=b'{"record": {}}'))
    assert "more than once" in error["detail"]
    assert "255 printable" in (await door.refused(x_customer_id="x" * 256))["detail"]
    assert (await door.refused(x_provider_name="hubspot"))["code"] == "BAD_REQUEST"
    assert (await door.patch(x_provider_name="OutReach")).status_code == 200
    # That one is how the RPC is told what HTTP statuses tell here.
    assert (await door.patch(x_error_mode="nonsense")).status_code == 200


@pytest.mark.parametrize("headers", [{"x_api_key": "bad"}, {"without": "x-api-key"}])
async def test_a_caller_without_a_good_key_learns_nothing_else(door: HttpDoor, headers: dict[str, str]) -> None:
    error = await door.refused(content=b"{", content_type="text/plain", x_customer_id="", **headers)
    assert (error["code"], error["meta"]["application_name"]) == ("UNAUTHORIZED_ERROR", "")
    assert "acme" not in error["detail"]


async def test_the_request_id_comes_back_and_is_made_when_absent(door: HttpDoor) -> None:
    assert (await door.patch(x_request_id="r-7")).headers["x-request-id"] == "r-7"
    assert door.records[-1].request_id == "r-7"
    made = (await door.patch()).headers["x-request-id"]
    assert made not in ("r-7", (await door.patch()).headers["x-request-id"])


@pytest.mark.parametrize(
    ("query", "expected"), [("", False), ("?validate_only=true", True), ("?validate_only=false", False)]
)
async def test_validate_only_is_a_flag_of_the_query(door: HttpDoor, query: str, expected: bool) -> None:  # noqa: FBT001
    assert (await door.patch(path=PATH + query)).status_code == 200
    assert door.updates[0].validate_only is expected


@pytest.mark.parametrize("query", ["?validate_only=1", "?validate_only=", "?validate_only=true&validate_only=false"])
async def test_a_flag_that_is_neither_is_refused(door: HttpDoor, query: str) -> None:
    assert (await door.refused(path=PATH + query))["detail"].startswith("validate_only: ")


async def test_a_failure_has_every_member_of_the_page(door: HttpDoor) -> None:
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
    door.failing(
        problem,
        Problem(ErrorCode.NOT_FOUND_ERROR, "And gone."),
        warnings=(StepWarning(WarningType.SEQUENCE_ACTIVE, "It is on."),),
        changes=(FieldChange("template.subject", None, "Hi"),),
    )
    answer = await door.patch(x_request_id="r-8")
    assert answer.status_code == 499
    assert answer.headers["retry-after"] == "2"
    body = answer.json()
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
                    "outcome": "partially-applied",
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
                    "outcome": "not-applied",
                    "request_id": "r-8",
                },
            },
        ],
        "warnings": [{"detail": "It is on.", "problem_type": "SEQUENCE_ACTIVE", "title": "The sequence is on"}],
        "changes": [{"field": "template.subject", "before": None, "after": "Hi"}],
    }


@pytest.mark.parametrize("code", ErrorCode)
async def test_the_status_is_that_of_the_table(door: HttpDoor, code: ErrorCode) -> None:
    door.failing(Problem(code, "No."))
    answer = await door.patch()
    assert answer.status_code == CODES[code].http_status
    assert error_of(answer)["code"] == code
    assert "retry-after" not in answer.headers
    assert (door.records[0].http_status, door.records[0].grpc_status) == (CODES[code].http_status, "")


async def test_a_bug_gives_an_id_and_nothing_else(door: HttpDoor) -> None:
    door.raising(ValueError("the password is hunter2"))
    answer = await door.patch(x_request_id="r-9")
    error = error_of(answer)
    assert (error["code"], error["meta"]["outcome"]) == ("INTERNAL_SERVER_ERROR", "unknown")
    assert "hunter2" not in answer.text
    assert "r-9" in error["detail"]


async def test_a_full_server_says_when_to_come_back(door: HttpDoor) -> None:
    door.admission = Admission(0)
    await door.stop()
    await door.start()
    answer = await door.patch()
    assert error_of(answer)["code"] == "TOO_MANY_REQUESTS_ERROR"
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", PATH),
        ("GET", PATH),
        ("PATCH", "/"),
        ("PATCH", "/sequences/54/sequence_steps/"),
        ("PATCH", f"{PATH}/"),
        ("PATCH", "/sequences/54%2F1/sequence_steps/7"),
        ("GET", "/engagement/v1"),
        ("DELETE", "/healthz"),
    ],
)
async def test_what_is_no_operation_is_told_in_the_envelope(door: HttpDoor, method: str, path: str) -> None:
    answer = await door.client.request(method, path, headers={"x-request-id": "r-1"})
    assert error_of(answer)["code"] == "NOT_FOUND_ERROR"
    assert answer.headers["x-request-id"] == "r-1"
    allowed = set(answer.headers.get("allow", "").split(", "))
    assert allowed == {PATH: {"PATCH"}, "/healthz": {"GET", "HEAD"}}.get(path, {""})


async def test_the_deadline_is_the_default_one(door: HttpDoor) -> None:
    await door.patch()
    assert 29 < door.deadlines[0] <= 30


async def test_a_caller_that_goes_away_stops_the_work(door: HttpDoor) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def wait(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return UpdateResult()

    door.use_case = wait
    call = asyncio.ensure_future(door.patch())
    async with asyncio.timeout(5):
        await started.wait()
        call.cancel()
        await stopped.wait()
    await until(lambda: door.records)
    assert (door.records[0].http_status, door.records[0].code) == (499, "")
    assert door.admission.running == 0


async def test_a_caller_that_goes_away_before_its_body_is_only_logged(door: HttpDoor) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in GOOD.items())
    request = f"PATCH {PATH} HTTP/1.1\r\nhost: x\r\n{head}content-type: application/json\r\ncontent-length: 9\r\n\r\n{{"
    host, _, port = door.http.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.encode())
    await until(lambda: door.admission.running)
    writer.close()
    await until(lambda: door.records)
    assert (door.records[0].http_status, door.updates) == (499, [])


async def test_health_follows_the_servers_life(door: HttpDoor) -> None:
    assert (await door.client.get("/healthz")).status_code == 200
    assert (await door.client.get("/readyz")).json() == {"status": "ready"}


async def test_many_requests_use_one_connection(door: HttpDoor) -> None:
    host, _, port = door.http.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = "".join(f"{name}: {value}\r\n" for name, value in GOOD.items())
    request = f"PATCH {PATH} HTTP/1.1\r\nhost: x\r\n{head}content-type: application/json\r\ncontent-length: 13\r\n\r\n"
    for _ in range(3):
        writer.write(request.encode() + b'{"record":{}}')
        async with asyncio.timeout(5):
            answer = await reader.readuntil(b'"changes":[]}')
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"server:" not in answer.lower()
    writer.close()
