"""What is fuzzed: a whole update, from the caller's bytes to the answer's, with whatever a provider may answer.

No socket and no clock is in it, so that thousands of calls a second are tried; the same code meets real sockets elsewhere.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from engagement.v1 import sequence_step_service_pb2 as pb
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from sandbox import seed
from service.api import metadata
from service.api.envelope import MAX_RESPONSE_BYTES, Response, envelope
from service.api.methods import GET_STEP, MAX_READ_BYTES, Method
from service.domain.credentials import ApiKeyCredentials, Connection, Credentials, OAuthCredentials, Secret
from service.domain.deadline import Deadline
from service.domain.errors import CallRefused, Outcome
from service.domain.step import Caller, Provider
from service.providers.adapter import ProviderResponse
from service.providers.apollo import Apollo
from service.providers.outreach import Outreach
from service.read_steps import ReadSteps
from service.rpc.request import DECODERS, step_query, step_update, steps_query
from service.update_step import UpdateStep
from service.upstream.http import ConnectionClosed, WholeResponse
from service.upstream.session import ProviderSessions

MARK = "s3cr3t-of-the-customer"
# What may be in a path that is built from ids: anything else would lead elsewhere.
SEGMENT = r"/(?!\.{1,2}(?:[/?]|$))[\w.~-]+"
SAFE_PATH = re.compile(rf"({SEGMENT})+(\?[\w.~,=&\[\]%-]*)?", re.ASCII)
# Too short for a repetition, which would wait.
SECONDS = 0.19
BASE_URL = "http://provider"

IDS = {
    Provider("apollo"): (seed.APOLLO_SEQUENCE_ACTIVE, seed.APOLLO_STEP_PLAIN),
    Provider("outreach"): ("7", "101"),
}
CREDENTIALS: Mapping[Provider, Credentials] = {
    Provider("apollo"): ApiKeyCredentials(Secret(MARK)),
    Provider("outreach"): OAuthCredentials(Secret(MARK), Secret(MARK), None, "client", Secret(MARK)),
}


class FakeConnections:
    """Every customer is connected."""

    async def usable(self, application_id: int, customer: str, provider: Provider, _deadline: Deadline) -> Connection:
        return Connection(1, application_id, customer, provider, CREDENTIALS[provider])

    async def renewed(self, connection: Connection, _deadline: Deadline) -> Connection:
        return connection


class FakeHttp:
    """Gives the responses that it was given; then none."""

    def __init__(self, responses: Sequence[ProviderResponse]) -> None:
        self._responses = list(responses)

    def build_headers(self, headers: Mapping[str, str]) -> httpx.Headers:
        return httpx.Headers(dict(headers))

    def build_request(self, method: str, url: str, headers: httpx.Headers, body: bytes) -> httpx.Request:
        path = url.removeprefix(BASE_URL)
        assert SAFE_PATH.fullmatch(path), path
        assert not any("\r" in value or "\n" in value for value in headers.values())
        if body:
            json.loads(body)
        return httpx.Request(method, url, headers=headers, content=body)

    async def send(self, *_: object) -> WholeResponse:
        if not self._responses:
            raise ConnectionClosed("closed")
        given = self._responses.pop(0)
        headers = [(name.lower(), value) for name, value in given.headers.items()]
        return WholeResponse(given.status, headers, given.body)


def one_update(
    provider: Provider, request: bytes, responses: Sequence[ProviderResponse]
) -> pb.UpdateStepResponse | None:
    """Makes an update of whatever the caller sends; None if it is refused as such.

    Raises:
        AssertionError: It broke a promise.
        Exception: It failed by a bug.
    """
    return asyncio.run(_one_update(provider, request, responses))


async def _one_update(
    provider: Provider, request: bytes, responses: Sequence[ProviderResponse]
) -> pb.UpdateStepResponse | None:
    http: Any = FakeHttp(responses)
    adapters = (Apollo(BASE_URL, f"{BASE_URL}/token"), Outreach(BASE_URL))
    sessions = {adapter.provider: ProviderSessions(adapter, http) for adapter in adapters}
    use_case = UpdateStep(sessions, {}, FakeConnections())
    try:
        update = step_update(pb.UpdateStepRequest.FromString(request), provider, "acme")
        result = await use_case(Caller(1, "fuzz"), update, Deadline.after(SECONDS))
    except DecodeError:
        return None
    except CallRefused as refused:
        assert refused.problem.detail  # noqa: PT017  # not always refused
        return None
    for problem in result.problems:
        assert problem.detail
        assert problem.outcome in set(Outcome)
    response = envelope(result.problems, result.warnings, result.changes, application_name="fuzz", request_id="request")
    data = response.SerializeToString()
    assert len(data) < MAX_RESPONSE_BYTES
    shown = json_format.MessageToJson(pb.UpdateStepResponse.FromString(data))
    assert MARK not in shown or MARK.encode() in request
    return response


def one_read(
    provider: Provider, method: Method, request: bytes, responses: Sequence[ProviderResponse]
) -> Response | None:
    """Makes a read of whatever the caller sends; None if it is refused as such.

    Raises:
        AssertionError: It broke a promise.
        Exception: It failed by a bug.
    """
    return asyncio.run(_one_read(provider, method, request, responses))


async def _one_read(
    provider: Provider, method: Method, request: bytes, responses: Sequence[ProviderResponse]
) -> Response | None:
    http: Any = FakeHttp(responses)
    adapters = (Apollo(BASE_URL, f"{BASE_URL}/token"), Outreach(BASE_URL))
    sessions = {adapter.provider: ProviderSessions(adapter, http) for adapter in adapters}
    parse: Any = step_query if method is GET_STEP else steps_query
    try:
        query = parse(DECODERS[method.name](request), provider, "acme")
        result = await ReadSteps(sessions, FakeConnections())(Caller(1, "fuzz"), query, Deadline.after(SECONDS))
    except CallRefused as refused:
        assert refused.problem.detail  # noqa: PT017  # not always refused
        return None
    for problem in result.problems:
        assert problem.detail
        assert problem.outcome is Outcome.NOT_APPLIED
    response, problems = method.respond(result, "fuzz", "request")
    data = response.SerializeToString()
    assert len(data) < MAX_READ_BYTES
    assert len(response.errors) == len(problems)
    shown = json_format.MessageToJson(type(response).FromString(data))
    assert not problems or MARK not in shown or MARK.encode() in request
    return response


def whole_metadata(pairs: Sequence[tuple[str, str | bytes]]) -> None:
    """Reads whatever metadata a caller sends.

    Raises:
        AssertionError: A value that is accepted could break a header or a log line.
    """
    values, violations = metadata.gather(pairs)
    for value in (*values.values(), metadata.request_id(values)):
        assert value.isascii()
        assert value.isprintable()
    try:
        metadata.parse(values, violations)
    except CallRefused as refused:
        assert refused.violations  # noqa: PT017  # not always refused


def request_of(provider: Provider, **record: Any) -> bytes:
    """A request that the provider is asked for."""
    sequence, step = IDS[provider]
    body = {"sequence_id": sequence, "sequence_step_id": step, "record": record}
    return json_format.ParseDict(body, pb.UpdateStepRequest()).SerializeToString()
