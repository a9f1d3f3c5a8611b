"""The rules of requests over HTTP: headers, query, body, and what is read of them."""

import json
import re
import threading
import tracemalloc
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from msgspec.structs import replace

from service.domain.errors import CODES, MAX_VIOLATIONS, CallRefused, ErrorCode, Problem
from service.domain.json_value import json_path
from service.domain.step import Provider, StepUpdate
from service.domain.validation import MAX_BODY_BYTES
from service.rest import request
from service.rest.request import MAX_REQUEST_BYTES
from service.rest.schemas import UpdateSequenceStep, parse_body
from tests.support.http_server import GOOD, PATH, RunningHttpServer, error_of, exchange


async def test_every_member_of_the_page_reaches_the_use_case(server: RunningHttpServer) -> None:
    body = {
        "record": {
            "template": {"subject": "Hi", "body": "<p>Ünïcödé 🚀</p>"},
            "custom_fields": {"b": [1, 2.5, None, True, {"x": "y"}], "a": 3.0},
        }
    }
    response = await server.patch(body)
    assert response.status_code == 200
    assert response.json() == {"errors": [], "warnings": [], "changes": []}
    [update] = server.updates
    assert update.request_id == response.headers["x-request-id"]
    assert replace(update, request_id="") == StepUpdate(
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


async def test_only_members_that_are_present_change(server: RunningHttpServer) -> None:
    await server.patch({"record": {"template": {"subject": ""}}})
    await server.patch({"record": {"template": {}}})
    await server.patch({"record": {}})
    assert [(update.subject, update.body) for update in server.updates] == [("", None), (None, None), (None, None)]


async def test_unknown_members_are_ignored(server: RunningHttpServer) -> None:
    body = {"record": {"template": {"subject": "Hi", "name": 1}, "type": "email"}, "id": None}
    assert (await server.patch(body)).status_code == 200
    assert server.updates[0].subject == "Hi"


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
async def test_wrong_types_are_refused_by_name(server: RunningHttpServer, body: Any, fields: list[str]) -> None:
    error = await server.refused(body)
    assert (error["code"], error["status"], error["meta"]["origin"]) == ("VALIDATION_ERROR", "400", "supaglue")
    assert re.findall(r"(?:^|; )([\w.\[\]]+): ", error["detail"]) == fields
    assert server.updates == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"record": NaN}', b"\xff", b'{"record": {"template": {"subject": "\\ud800"}}}', b"[" * 100_000,
     b'{"record": {"custom_fields": {"a": 1e999}}}', b'{"record": {"template": {"subject": "\xff"}}}'],
)  # fmt: skip
async def test_a_body_that_is_no_json_is_refused(server: RunningHttpServer, content: bytes) -> None:
    assert (await server.refused(content=content))["code"] == "BAD_REQUEST"


async def test_deeply_nested_custom_fields_do_no_harm(server: RunningHttpServer) -> None:
    content = b'{"record": {"custom_fields": {"a": ' + b"[" * 700 + b"]" * 700 + b"}}}"
    # The use case has the limit that callers know.
    assert (await server.patch(content=content)).status_code == 200
    assert list(server.updates[0].custom_fields) == ["a"]


@pytest.mark.parametrize(
    "kind",
    [
        *("text/plain", "application/x-www-form-urlencoded", "", "application/", "; application/json"),
        *("application/json; charset=latin-1", "application/json; a=b; charset=utf-16;", "application/json;charset="),
    ],
)
async def test_another_content_type_is_refused(server: RunningHttpServer, kind: str) -> None:
    error = await server.refused(content_type=kind)
    assert (error["code"], "content-type: application/json" in error["detail"]) == ("BAD_REQUEST", True)


@pytest.mark.parametrize(
    "kind",
    [
        *(
            "application/json",
            "Application/JSON; charset=UTF-8",
            'application/json;charset="utf-8"',
            "application/json;",
        ),
        *(
            "application/json; charset=utf-8;",
            "application/json ; v=1; Charset = utf8 ; ;",
            "application/json; v=charset",
            "application/json; a=latin-1",
        ),
    ],
)
async def test_the_content_type_may_name_utf8(server: RunningHttpServer, kind: str) -> None:
    assert (await server.patch(content_type=kind)).status_code == 200


async def test_a_byte_order_mark_before_the_body_is_ignored(server: RunningHttpServer) -> None:
    assert (await server.patch(content=b'\xef\xbb\xbf{"record": {}}')).status_code == 200


async def test_a_compressed_body_is_refused(server: RunningHttpServer) -> None:
    for encoding in ("gzip", "zstd", "br"):
        assert "compressed" in (await server.refused(content_encoding=encoding))["detail"]
    assert (await server.patch(content_encoding="Identity")).status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_gets_a_reason(server: RunningHttpServer, chunked: bool) -> None:  # noqa: FBT001
    async def parts() -> Any:
        for _ in range(MAX_REQUEST_BYTES // 2**20 + 2):
            yield b" " * 2**20

    content: Any = parts() if chunked else b" " * (MAX_REQUEST_BYTES + 1)
    response = await server.client.patch(PATH, headers=GOOD | {"content-type": "application/json"}, content=content)
    assert error_of(response)["detail"] == "The body is longer than 16 MiB."


async def test_a_refused_caller_with_a_large_body_learns_why(server: RunningHttpServer) -> None:
    content = json.dumps({"record": {"template": {"body": "x" * 4 * 2**20}}}).encode()
    assert (await server.refused(content=content, x_api_key="bad"))["code"] == "UNAUTHORIZED_ERROR"


async def test_the_body_has_to_come_before_the_deadline(server: RunningHttpServer) -> None:
    server.policy = type(server.policy)(0.2, 0.2)
    await server.stop()
    await server.start()
    head = "".join(f"{name}: {value}\r\n" for name, value in GOOD.items())
    request = f"PATCH {PATH} HTTP/1.1\r\nhost: x\r\n{head}content-type: application/json\r\ncontent-length: 9\r\n\r\n{{"
    response = await exchange(server.http.address, request.encode())
    assert b"did not arrive in time" in response


@pytest.mark.parametrize("key", ["x-customer-id", "x-provider-name"])
async def test_a_missing_header_is_named(server: RunningHttpServer, key: str) -> None:
    error = await server.refused(without=key)
    assert error["code"] == "BAD_REQUEST"
    assert error["detail"].startswith(f"{key}: Required")


async def test_headers_have_the_rules_of_metadata(server: RunningHttpServer) -> None:
    twice = httpx.Headers([*GOOD.items(), ("x-customer-id", "other"), ("content-type", "application/json")])
    error = error_of(await server.client.patch(PATH, headers=twice, content=b'{"record": {}}'))
    assert "more than once" in error["detail"]
    assert "255 printable" in (await server.refused(x_customer_id="x" * 256))["detail"]
    assert (await server.refused(x_provider_name="hubspot"))["code"] == "BAD_REQUEST"
    assert (await server.patch(x_provider_name="OutReach")).status_code == 200
    # Over HTTP the status says how the call failed.
    assert (await server.patch(x_error_mode="other")).status_code == 200


@pytest.mark.parametrize("headers", [{"x_api_key": "bad"}, {"without": "x-api-key"}])
async def test_a_caller_without_a_good_key_learns_nothing_else(
    server: RunningHttpServer, headers: dict[str, str]
) -> None:
    error = await server.refused(content=b"{", content_type="text/plain", x_customer_id="", **headers)
    assert (error["code"], error["meta"]["application_name"]) == ("UNAUTHORIZED_ERROR", "")
    assert "acme" not in error["detail"]


async def test_the_request_id_comes_back_and_is_made_when_absent(server: RunningHttpServer) -> None:
    assert (await server.patch(x_request_id="r-7")).headers["x-request-id"] == "r-7"
    assert server.records[-1].request_id == "r-7"
    made = (await server.patch()).headers["x-request-id"]
    assert made not in ("r-7", (await server.patch()).headers["x-request-id"])


@pytest.mark.parametrize(
    ("query", "expected"), [("", False), ("?validate_only=true", True), ("?validate_only=false", False)]
)
async def test_validate_only_is_a_flag_of_the_query(server: RunningHttpServer, query: str, expected: bool) -> None:  # noqa: FBT001
    assert (await server.patch(path=PATH + query)).status_code == 200
    assert server.updates[0].validate_only is expected


@pytest.mark.parametrize("query", ["?validate_only=1", "?validate_only=", "?validate_only=true&validate_only=false"])
async def test_another_value_of_validate_only_is_refused(server: RunningHttpServer, query: str) -> None:
    assert (await server.refused(path=PATH + query))["detail"].startswith("validate_only: ")


async def test_the_query_says_when_not_to_write(server: RunningHttpServer) -> None:
    etag = f"{'a' * 32}.-"
    query = f"?etag={etag}&if_shared=IF_SHARED_REFUSE&variant=5f0000000000000000000401"
    assert (await server.patch(path=PATH + query)).status_code == 200
    update = server.updates[0]
    assert (update.etag, update.refuse_shared, update.variant) == (etag, True, "5f0000000000000000000401")
    assert (await server.patch(path=f"{PATH}?if_shared=IF_SHARED_CHANGE")).status_code == 200
    assert (server.updates[1].etag, server.updates[1].refuse_shared, server.updates[1].variant) == ("", False, "")


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("?if_shared=REFUSE", "if_shared: Must be `IF_SHARED_UNSPECIFIED` or "),
        ("?etag=a&etag=b", "etag: Give it once."),
        ("?if_match=a", "if_match: Is a parameter that this version of the service does not know."),
    ],
)
async def test_a_parameter_that_is_not_understood_is_refused(server: RunningHttpServer, query: str, named: str) -> None:
    """It could say not to write."""
    assert (await server.refused(path=PATH + query))["detail"].startswith(named)
    assert server.updates == []


@pytest.mark.parametrize("code", ErrorCode)
async def test_the_status_is_that_of_the_table(server: RunningHttpServer, code: ErrorCode) -> None:
    server.failing(Problem(code, "No."))
    response = await server.patch()
    assert response.status_code == CODES[code].http_status
    assert error_of(response)["code"] == code
    assert "retry-after" not in response.headers
    assert (server.records[0].http_status, server.records[0].grpc_status) == (CODES[code].http_status, "")


async def test_the_longest_body_is_read(server: RunningHttpServer) -> None:
    content = b'{"record":{}}'.ljust(MAX_REQUEST_BYTES)
    assert (await server.patch(content=content)).status_code == 200


async def test_the_deadline_is_the_default_one(server: RunningHttpServer) -> None:
    await server.patch()
    assert 29 < server.deadlines[0] <= 30


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a": 9007199254740993}', {"a": 9007199254740993}),
        (b'{"a": -9223372036854775808, "b": 18446744073709551615}', {"a": -(2**63), "b": 2**64 - 1}),
        (b'{"a": 3.0, "b": [1e2, 2.5, -0.0]}', {"a": 3, "b": [100, 2.5, 0]}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"b": 1, "a": {"d": 1, "c": 2}}', {"a": {"d": 1, "c": 2}, "b": 1}),
    ],
)
async def test_numbers_of_custom_fields_stay_exact(server: RunningHttpServer, content: bytes, expected: Any) -> None:
    await server.patch(content=b'{"record": {"custom_fields": ' + content + b"}}")
    fields = server.updates[0].custom_fields
    assert json.dumps(fields) == json.dumps(expected)


async def test_all_wrong_values_are_named_together(server: RunningHttpServer) -> None:
    fields = {"a": 2**64, "b": [-(2**63) - 1]}
    error = await server.refused({"record": {"template": {"subject": 1, "body": None}, "custom_fields": fields}})
    assert error["detail"] == (
        "record.template.subject: Must be a string, and is a number. Leave out what is to stay.; "
        "record.template.body: Must be a string, and is null. Leave out what is to stay.; "
        "record.custom_fields.a: Must be an integer of at most 64 bits.; "
        "record.custom_fields.b[0]: Must be an integer of at most 64 bits."
    )


async def test_a_refusal_of_the_body_quotes_nothing_of_it(server: RunningHttpServer) -> None:
    secret = "hunter2-hunter2"
    for content in (
        b'{"record": {"template": "' + secret.encode() + b'"}}',
        b'{"record": {"template": {"subject": ["' + secret.encode() + b'"]}}}',
        b'{"record": "' + secret.encode() + b'", }',
    ):
        response = await server.patch(content=content)
        assert response.status_code == 400
        assert secret not in response.text


MIB = 2**20


LONG_KEY = b'"' + b"k" * (MIB // 4) + b'"'


def in_fields(value: bytes, key: bytes = b'"a"') -> bytes:
    return b'{"record": {"custom_fields": {' + key + b": " + value + b"}}}"


@pytest.mark.parametrize(
    "content",
    [
        in_fields(b"[" + b"0, " * 100_000 + b"0]", LONG_KEY),
        in_fields(b"[" + b"{}," * MIB + b"0]"),
        in_fields(b"{" + b'"a": {},' * MIB + b'"b": 0}'),
        in_fields(b'"' + b"x" * MIB + b'"'),
        in_fields(b"9" * MIB),
        in_fields(b" " * 4 * MIB + b"0"),
    ],
    ids=["issue", "objects", "same keys", "string", "digits", "spaces"],
)
def test_custom_fields_that_are_too_long_are_not_built(content: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CallRefused) as refusal:
            parse_body(content)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(content) + MIB
    finally:
        tracemalloc.stop()
    assert "longer than 64 KiB" in refusal.value.problem.detail


@pytest.mark.parametrize(
    "content",
    [
        b'{"x": [' + b"{}," * MIB + b'0], "record": {}}',
        b'{"record": {"x": [' + b"[]," * MIB + b"0]}}",
        b'{"record": {"template": {"x": {' + b'"a": 0,' * MIB + b'"b": 0}}}}',
        b'{"record": {' + b'"custom_fields": {},' * (MIB // 20) + b'"x": 0}}',
    ],
)
def test_members_that_are_ignored_are_not_built(content: bytes) -> None:
    tracemalloc.start()
    try:
        parse_body(content)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


def test_the_custom_fields_of_the_contract_may_have_spaces_and_escapes() -> None:
    fields = {"a": ["\u0434" * 1000] * 32, "b": [{"c": index} for index in range(10)]}
    for content in (json.dumps(fields, indent=8), json.dumps(fields).replace(" ", " " * 4000)):
        assert parse_body(b'{"record": {"custom_fields": ' + content.encode() + b"}}").record.custom_fields == fields


def test_paths_are_made_for_few_violations_only(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Mock(side_effect=json_path)
    monkeypatch.setattr("service.rest.schemas.json_path", paths)
    key = b'"' + b"k" * 50_000 + b'"'
    parse_body(in_fields(b"{" + key + b": [" + b"0," * 5000 + b"0]}"))
    parse_body(in_fields(b'{"kkkkkkkk": ' * 470 + b"0" + b"}" * 470, LONG_KEY))
    assert paths.call_count == 0
    with pytest.raises(CallRefused) as refusal:
        parse_body(in_fields(b"{" + key + b": [" + b"99999999999999999999," * 500 + b"0]}"))
    assert paths.call_count < 30
    assert len(refusal.value.violations) == MAX_VIOLATIONS
    assert len(refusal.value.problem.detail) < 10_000
    assert refusal.value.problem.detail.endswith("only the first 20 are named.")


async def test_a_long_body_is_served(server: RunningHttpServer) -> None:
    body = "\u0434" * (MAX_BODY_BYTES // 2)
    assert (await server.patch({"record": {"template": {"body": body}}})).status_code == 200
    assert server.updates[0].body == body


async def test_a_long_body_is_parsed_beside_the_event_loop(
    server: RunningHttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def parse(data: bytes) -> UpdateSequenceStep:
        threads.append(threading.current_thread())
        return parse_body(data)

    monkeypatch.setattr(request, "parse_body", parse)
    for length in (10, 600_000):
        assert (await server.patch({"record": {"template": {"body": "x" * length}}})).status_code == 200
    assert [each is threading.main_thread() for each in threads] == [True, False]


async def test_little_of_a_refused_request_is_read(server: RunningHttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "_MAX_DISCARDED_BYTES", 100_000)
    monkeypatch.setattr(request, "_DISCARD_SECONDS", 60)
    head = f"PATCH {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n"
    response = await exchange(server.http.address, head.encode() + b"x" * 100_000, seconds=10)
    assert response.startswith(b"HTTP/1.1 401 ")
