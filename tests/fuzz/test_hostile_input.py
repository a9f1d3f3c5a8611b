"""Whatever callers send and providers answer: no crash, no broken promise, nothing injected."""

import asyncio
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from engagement.v1 import sequence_step_service_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import seed
from service.api.methods import GET_STEP, LIST_STEPS, Method
from service.domain.deadline import Deadline
from service.domain.step import Provider
from service.providers.adapter import ProviderResponse
from service.upstream.http import HttpClient, request_was_sent
from tests.fuzz.targets import IDS, MARK, one_read, one_update, request_of, whole_metadata
from tests.support import outreach
from tests.support.scripted_server import ServerConnection, scripted_server

ROOT = Path(__file__).parents[2]
CLIENT = HttpClient()
PROVIDERS = st.sampled_from([Provider("apollo"), Provider("outreach")])
# Every plane of Unicode; surrogates cannot be in a protobuf string, and are tried in providers' JSON below.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | TEXT | st.just(f"echo {MARK}"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
STATUSES = st.sampled_from([200, 201, 204, 302, 400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504]) | (
    st.integers(100, 999)
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["content-type", "retry-after", "x-minute-requests-left", "x-ratelimit-reset", "set-cookie", "x-a"]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40),
)
JSON_API = st.fixed_dictionaries(
    {},
    optional={
        "data": JSON,
        "included": JSON,
        "errors": st.lists(st.fixed_dictionaries({}, optional={"id": JSON, "detail": JSON, "source": JSON}) | JSON),
        "emailer_campaign": JSON,
        "emailer_steps": JSON,
        "emailer_touches": JSON,
        "emailer_templates": JSON,
        "emailer_template": JSON,
        "error": JSON,
        "error_code": JSON,
        "message": JSON,
    },
)
BODIES = (
    st.binary(max_size=200)
    | (JSON | JSON_API).map(lambda value: json.dumps(value).encode())
    | TEXT.map(lambda text: f'{{"error": "\\ud83d{json.dumps(text)[1:-1]}"}}'.encode())
)
ANSWERS = st.lists(st.builds(ProviderResponse, STATUSES, HEADERS, BODIES), max_size=4)
NUMBERS = st.sampled_from([float("nan"), float("inf"), 1e308, -0.0, 2.0**53 + 2, 5e-324]) | st.floats()


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(PROVIDERS, st.binary(max_size=300), ANSWERS)
def test_any_bytes(provider: Provider, request: bytes, answers: list[ProviderResponse]) -> None:
    one_update(provider, request, answers)


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(PROVIDERS, TEXT, TEXT, st.dictionaries(TEXT, JSON.filter(lambda value: value == value), max_size=3), ANSWERS)
def test_any_update_and_any_answer(
    provider: Provider, subject: str, body: str, fields: dict[str, Any], answers: list[ProviderResponse]
) -> None:
    request = pb.UpdateStepRequest.FromString(request_of(provider, template={"subject": subject, "body": body}))
    try:
        request.record.custom_fields.update(fields)
    except (ValueError, OverflowError):
        request.record.custom_fields.Clear()
    one_update(provider, request.SerializeToString(), answers)


@settings(max_examples=300, deadline=None)
@given(PROVIDERS, TEXT, TEXT)
def test_any_id(provider: Provider, sequence: str, step: str) -> None:
    request = pb.UpdateStepRequest(sequence_id=sequence, sequence_step_id=step)
    request.record.template.subject = "x"
    one_update(provider, request.SerializeToString(), [])


@settings(max_examples=200, deadline=None)
@given(PROVIDERS, NUMBERS)
def test_any_number(provider: Provider, number: float) -> None:
    request = pb.UpdateStepRequest.FromString(request_of(provider))
    name = "note" if provider == Provider("apollo") else "taskNote"
    request.record.custom_fields.fields[name].number_value = number
    one_update(provider, request.SerializeToString(), [])


KEYS = st.sampled_from(["x-customer-id", "x-provider-name", "x-request-id", "x-error-mode", "x-api-key", "other"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(KEYS, st.text(max_size=300) | st.binary(max_size=50)), max_size=8))
def test_any_metadata(pairs: list[tuple[str, str | bytes]]) -> None:
    whole_metadata(pairs)


def apollo_answers(template_id: str) -> list[ProviderResponse]:
    """What Apollo answers to a read, and to the write of the template that it names."""
    campaign = {
        "emailer_campaign": {"id": seed.APOLLO_SEQUENCE_ACTIVE, "active": True},
        "emailer_steps": [{"id": seed.APOLLO_STEP_PLAIN, "type": "auto_email"}],
        "emailer_touches": [
            {
                "id": "t",
                "emailer_step_id": seed.APOLLO_STEP_PLAIN,
                "emailer_template_id": template_id,
                "status": "approved",
            }
        ],
        "emailer_templates": [{"id": template_id, "subject": "old", "body_html": "old"}],
    }
    template = {"emailer_template": {"id": template_id, "subject": "new", "body_html": "old"}}
    return [ProviderResponse(200, {}, json.dumps(body).encode()) for body in (campaign, template)]


def test_what_is_fuzzed_does_reach_the_provider() -> None:
    """Without this, everything above could be refused before it reaches a provider."""
    response = one_update(
        Provider("apollo"), request_of(Provider("apollo"), template={"subject": "new"}), apollo_answers("a" * 24)
    )
    assert response is not None
    assert [change.field for change in response.changes] == ["template.subject"]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["..", ".", "", "../users/1", "..%2fusers", "a/b", "a?b", "a#b"]) | TEXT)
def test_an_id_in_an_answer_leads_nowhere_else(template_id: str) -> None:
    response = one_update(
        Provider("apollo"), request_of(Provider("apollo"), template={"subject": "new"}), apollo_answers(template_id)
    )
    assert response is not None
    assert [error.code for error in response.errors] == ["BAD_GATEWAY_ERROR"]


METHODS = st.sampled_from([GET_STEP, LIST_STEPS])


def read_request(provider: Provider, method: Method) -> bytes:
    sequence, step = IDS[provider]
    if method is GET_STEP:
        return pb.GetStepRequest(sequence_id=sequence, sequence_step_id=step, with_sharing=True).SerializeToString()
    return pb.ListStepsRequest(sequence_id=sequence, view=pb.STEP_VIEW_FULL).SerializeToString()


def valid_answer(provider: Provider, method: Method) -> Any:
    """What the provider answers to a read."""
    sequence, step = IDS[provider]
    if provider == Provider("apollo"):
        return json.loads(apollo_answers("a" * 24)[0].body)
    link = {"sequence": outreach.link("sequence", int(sequence))}
    own = outreach.step(int(sequence), order=1) | {"id": int(step), "relationships": link}
    variant = outreach.variant()
    variant["relationships"]["sequenceStep"] = outreach.link("sequenceStep", int(step))
    others = [outreach.template(), outreach.sequence() | {"id": int(sequence)}]
    if method is GET_STEP:
        return {"data": [variant], "included": [own, *others]}
    return {"data": [own], "included": [variant, *others]}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all that is in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, each in inner for place in places(each, (*path, name)))]


def replaced(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """The JSON value with another one at a path."""
    if not path:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], other)
    return copy


@pytest.mark.parametrize("provider", [Provider("apollo"), Provider("outreach")])
@pytest.mark.parametrize("method", [GET_STEP, LIST_STEPS])
def test_what_is_fuzzed_does_read_a_step(provider: Provider, method: Method) -> None:
    answer = ProviderResponse(200, {}, json.dumps(valid_answer(provider, method)).encode())
    response = one_read(provider, method, read_request(provider, method), [answer, answer])
    assert response is not None
    assert not response.errors
    found = response.step if isinstance(response, pb.GetStepResponse) else response.steps[0]  # type: ignore[union-attr]
    assert found.variants[0].HasField("body")


@settings(max_examples=300, deadline=None)
@given(st.data(), PROVIDERS, METHODS)
def test_a_read_of_an_odd_answer(data: st.DataObject, provider: Provider, method: Method) -> None:
    """Around a valid answer, with members of other types and values in it."""
    answer = valid_answer(provider, method)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(answer)))
        answer = replaced(answer, path, data.draw(JSON))
    body = json.dumps(answer).encode()
    one_read(provider, method, read_request(provider, method), [ProviderResponse(200, {}, body)] * 3)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(PROVIDERS, METHODS, st.binary(max_size=100), ANSWERS)
def test_any_bytes_of_a_read(
    provider: Provider, method: Method, request: bytes, answers: list[ProviderResponse]
) -> None:
    one_read(provider, method, request, answers)
    one_read(provider, method, read_request(provider, method), answers)


HEAD_LINES = st.sampled_from(
    [
        b"Content-Length: 4\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: +4\r\n",
        b"Content-Length: 4, 4\r\n",
        b"Content-Length : 4\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Connection: close\r\n",
        b"Connection: upgrade\r\nUpgrade: x\r\n",
        b"A: b\r\n",
        b" folded\r\n",
        b"A: \x00\r\n",
        b": b\r\n",
    ]
)
STATUS_LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 304 Not Modified\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n",
        b"HTTP/1.1 404\r\n",
        b"HTTP/1.1 2000 OK\r\n",
        b"HTTP/9.9 200 OK\r\n",
    ]
)
BODY_PIECES = st.sampled_from(
    [
        b"4\r\nbody\r\n",
        b"4;extension=1\r\nbody\r\n",
        b"0004\r\nbody\r\n",
        b"-4\r\nbody\r\n",
        b"ffffffffffffffff1\r\n",
        b"0\r\n",
        b"0\r\n\r\n",
        b"body",
        b"\r\n",
        b"\n",
        b"\r",
    ]
)
ANY_PIECES = st.lists(STATUS_LINES | HEAD_LINES | BODY_PIECES | st.binary(max_size=3), max_size=8).map(b"".join)
HEADS = st.tuples(STATUS_LINES, st.lists(HEAD_LINES, max_size=4).map(b"".join), st.just(b"\r\n")).map(b"".join)
ANSWERS_BY_WIRE = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.0 404 Not Found\r\n\r\nbody",
    ]
)
BY_WIRE = st.one_of(
    ANY_PIECES,
    st.tuples(HEADS, ANY_PIECES).map(b"".join),
    # Answers one after the other, of which a part came.
    st.tuples(st.lists(ANSWERS_BY_WIRE | HEADS, min_size=1, max_size=3).map(b"".join), st.integers(0, 20)).map(
        lambda sent: sent[0][: -sent[1] or None]
    ),
)


async def received(client: HttpClient, sent: bytes) -> httpx.Response | httpx.HTTPError:
    """What a request comes to whose server sends these bytes and closes the connection."""

    async def follow(connection: ServerConnection) -> None:
        await connection.request()
        await connection.send(sent)

    async with scripted_server(follow) as server:
        try:
            return await client.send(client.build_request("GET", server.url, {}), Deadline.after(20))
        except httpx.HTTPError as error:
            return error


@settings(max_examples=500, deadline=None)
@given(BY_WIRE)
def test_whatever_comes_over_a_connection(sent: bytes) -> None:
    """It is a response or a typed failure, and no request waits for what cannot come."""
    outcome = asyncio.run(received(CLIENT, sent))
    assert isinstance(outcome, httpx.Response) or request_was_sent(outcome)
    assert not isinstance(outcome, httpx.TimeoutException)


def test_what_comes_over_a_connection_can_be_a_response() -> None:
    """Without this, nothing above need be one."""
    sent = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
    outcome = asyncio.run(received(CLIENT, sent))
    assert isinstance(outcome, httpx.Response)
    assert outcome.content == b"body"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("atheris") is None, reason="there is no atheris for this machine")
def test_coverage_guides_a_fuzzer_to_nothing_bad(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--seconds", "10", "--folder", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done" in done.stderr
