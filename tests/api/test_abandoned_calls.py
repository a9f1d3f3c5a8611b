"""Callers that leave during an update: the log line tells what was done, and how it ended."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from engagement.v1 import sequence_step_service_pb2 as pb
from google.protobuf import json_format

from service.observability.call_log import CallRecord
from service.observability.metrics import CallMetrics
from tests.support import apollo
from tests.support.grpc_server import GOOD, RunningGrpcServer
from tests.support.update_step import ApolloFake, made, use_case
from tests.support.waiting import until

RECORD = {"template": {"subject": "New"}, "custom_fields": {"note": "x"}}


class Slow:
    """Apollo whose answers wait for the test, from the one that it names on."""

    def __init__(self, respond: Any, waits_at: str) -> None:
        self.waits_at = waits_at
        self.reached = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.update_step, self.http, _ = use_case(respond)
        self._send = self.http.send
        self.http.send = self.send  # type: ignore[method-assign]

    async def send(self, request: httpx.Request, *_: object) -> httpx.Response:
        if self.waits_at in f"{request.method} {request.url.path}":
            self.reached.set()
            await self.may_answer.wait()
        return await self._send(request)


@pytest.fixture
async def server() -> AsyncIterator[RunningGrpcServer]:
    running = RunningGrpcServer()
    await running.start()
    yield running
    await running.stop()


async def left(server: RunningGrpcServer, provider: Slow, *metadata: tuple[str, str], **record: Any) -> CallRecord:
    """The record of a call whose caller leaves while the provider is slow."""
    server.use_case = provider.update_step
    body = {"sequence_id": apollo.SEQUENCE, "sequence_step_id": apollo.STEP, "record": record or RECORD}
    request = json_format.ParseDict(body, pb.UpdateStepRequest())
    call = asyncio.ensure_future(server.call(*GOOD, *metadata, request=request))
    async with asyncio.timeout(10):
        await provider.reached.wait()
    call.cancel()
    await until(lambda: server.admission.in_flight == 0)
    provider.may_answer.set()
    await until(lambda: server.records)
    [record_of_call] = server.records
    return record_of_call


def refusing(path: str, status: int) -> Any:
    """Apollo that refuses one kind of write."""
    provider = ApolloFake()

    def respond(request: httpx.Request) -> httpx.Response:
        return made(status, {"error": "No."}) if path in str(request.url) else provider(request)

    return respond


@pytest.mark.parametrize(
    ("respond", "waits_at", "calls", "code", "outcome"),
    [
        (ApolloFake(), "PUT /emailer_templates", 3, "", "applied"),
        (ApolloFake(), "PUT /emailer_steps", 3, "", "applied"),
        (refusing("emailer_templates", 422), "PUT", 2, "UNPROCESSABLE_ENTITY_ERROR", "ERROR_OUTCOME_NOT_APPLIED"),
        (refusing("emailer_templates", 500), "PUT", 2, "BAD_GATEWAY_ERROR", "ERROR_OUTCOME_UNKNOWN"),
        (refusing("emailer_steps", 422), "PUT", 3, "UNPROCESSABLE_ENTITY_ERROR", "ERROR_OUTCOME_PARTIALLY_APPLIED"),
        (ApolloFake(), "GET", 1, "", "ERROR_OUTCOME_NOT_APPLIED"),
    ],
)
async def test_the_record_tells_how_it_ended(
    server: RunningGrpcServer, respond: Any, waits_at: str, calls: int, code: str, outcome: str
) -> None:
    record = await left(server, Slow(respond, waits_at))
    assert (record.grpc_status, record.provider_calls, record.code, record.outcome) == (
        "CANCELLED",
        calls,
        code,
        outcome,
    )
    assert bool(record.error_id) == bool(code)


async def test_a_retry_that_was_left_may_have_been_carried_out(server: RunningGrpcServer) -> None:
    record = await left(server, Slow(ApolloFake(), "GET"), ("x-envoy-attempt-count", "2"))
    assert record.outcome == "ERROR_OUTCOME_UNKNOWN"


async def test_a_write_that_is_stopped_is_unknown(server: RunningGrpcServer) -> None:
    provider = Slow(ApolloFake(), "PUT")
    provider.may_answer = asyncio.Event()

    async def stop() -> None:
        await until(lambda: server.admission.in_flight == 0 and provider.reached.is_set())
        await provider.update_step.finish(0)

    stopping = asyncio.create_task(stop())
    provider.may_answer.set = lambda: None  # type: ignore[method-assign]
    record = await left(server, provider)
    await stopping
    assert (record.outcome, record.provider_calls, record.code) == ("ERROR_OUTCOME_UNKNOWN", 2, "")


async def test_a_bug_in_a_write_is_unknown_and_logged(
    server: RunningGrpcServer, capsys: pytest.CaptureFixture[str]
) -> None:
    provider = ApolloFake()

    def respond(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            raise ZeroDivisionError("hunter2")
        return provider(request)

    record = await left(server, Slow(respond, "PUT"))
    assert (record.outcome, record.provider_calls, record.code) == ("ERROR_OUTCOME_UNKNOWN", 2, "INTERNAL_SERVER_ERROR")
    said = capsys.readouterr().out
    assert "ZeroDivisionError" in said
    assert "hunter2" not in said


async def test_the_metrics_tell_the_same(server: RunningGrpcServer) -> None:
    metrics = CallMetrics(lambda: 0)
    metrics.record(await left(server, Slow(ApolloFake(), "PUT")))
    text = metrics.render()[0].decode()
    assert (
        'seqstep_calls_total{code="CANCELLED",method="UpdateStep",outcome="applied",provider="apollo",server="grpc"} 1.0'
        in text
    )
