"""The gRPC door through a real channel, in front of a use case that does as the test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
import pytest
from engagement.v1 import sequence_step_service_pb2, sequence_step_service_pb2_grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api.admission import Admission
from service.api.call_handler import CallHandler
from service.api.deadline_policy import DeadlinePolicy
from service.domain.deadline import Deadline
from service.domain.errors import CallRefused, ErrorCode, Outcome, Problem, unauthenticated
from service.domain.step import Caller, StepUpdate, UpdateResult
from service.observability.call_log import CallRecord
from service.rpc import server
from service.rpc.servicer import SequenceStepServicer

METHOD = "/engagement.v1.SequenceStepService/UpdateStep"
GOOD = (("x-customer-id", "acme"), ("x-provider-name", "apollo"), ("x-api-key", "good"))
EMPTY = sequence_step_service_pb2.UpdateStepRequest(record=sequence_step_service_pb2.SequenceStepRecord())

UseCase = Callable[[Caller, StepUpdate, Deadline], Awaitable[UpdateResult]]


class Keys:
    """Lets in whoever has the key `good`."""

    async def authenticate(self, api_key: str | None) -> Caller:
        if api_key != "good":
            raise unauthenticated()
        return Caller(1, "billing")

    async def by_certificate(self, identities: Sequence[str]) -> Caller:
        raise unauthenticated()


class Door:
    """A server with one use case, and a channel to it."""

    def __init__(self) -> None:
        self.records: list[CallRecord] = []
        self.logged: asyncio.Queue[CallRecord] = asyncio.Queue()
        self.admission = Admission(4)
        self.use_case: UseCase = self.succeed

    def record(self, record: CallRecord) -> None:
        self.records.append(record)
        self.logged.put_nowait(record)

    async def succeed(self, caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        return UpdateResult(provider_calls=2)

    async def _run(self, caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        return await self.use_case(caller, update, deadline)

    async def start(self) -> None:
        calls = CallHandler(self._run, Keys(), self, DeadlinePolicy(), self.admission)
        self.rpc = await server.start(SequenceStepServicer(calls), "127.0.0.1:0", None)
        await self.rpc.set_serving()
        self.channel = grpc.aio.insecure_channel(self.rpc.address)
        self.stub = sequence_step_service_pb2_grpc.SequenceStepServiceStub(self.channel)

    async def stop(self) -> None:
        await self.channel.close()
        await self.rpc.stop(0)

    def failing(self, *problems: Problem) -> None:
        async def fail(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
            return UpdateResult(problems, provider_calls=1)

        self.use_case = fail

    def raising(self, error: BaseException) -> None:
        async def fail(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
            raise error

        self.use_case = fail

    async def call(self, *metadata: tuple[str, str | bytes], request: Any = EMPTY, seconds: float = 5) -> Any:
        call = self.stub.UpdateStep(request, metadata=metadata or GOOD, timeout=seconds)
        return await call, dict(await call.trailing_metadata())

    async def refused(self, *metadata: tuple[str, str | bytes], **more: Any) -> "Refusal":
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.call(*metadata, **more)
        return Refusal(error.value)


class Refusal:
    """A non-OK status with its details."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        self.message = error.details() or ""
        self.trailers = dict(error.trailing_metadata())
        status = status_pb2.Status.FromString(self.trailers["grpc-status-details-bin"])
        assert status.code == self.code.value[0]
        assert status.message == self.message
        self._details = status.details

    def __getitem__(self, kind: Any) -> Any:
        message = kind()
        [packed] = [detail for detail in self._details if detail.Is(kind.DESCRIPTOR)]
        packed.Unpack(message)
        return message

    @property
    def envelope(self) -> Any:
        return self[sequence_step_service_pb2.UpdateStepResponse]

    @property
    def violations(self) -> dict[str, str]:
        return {v.field: v.description for v in self[error_details_pb2.BadRequest].field_violations}


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    await door.start()
    yield door
    await door.stop()


async def test_success_carries_the_request_id_and_nothing_of_failure(door: Door) -> None:
    response, trailers = await door.call(*GOOD, ("x-request-id", "r-7"))
    assert not response.errors
    assert trailers == {"x-request-id": "r-7"}
    [record] = door.records
    assert (record.request_id, record.grpc_status, record.provider_calls) == ("r-7", "OK", 2)


async def test_a_failed_update_is_an_ok_answer_with_errors(door: Door) -> None:
    door.failing(Problem(ErrorCode.NOT_FOUND_ERROR, "No such step."))
    response, trailers = await door.call()
    [error] = response.errors
    assert (error.code, error.status, error.meta.application_name) == ("NOT_FOUND_ERROR", "404", "billing")
    assert error.meta.request_id == trailers["x-request-id"]
    assert (trailers["x-error-code"], trailers["x-error-status"]) == ("NOT_FOUND_ERROR", "404")
    assert "grpc-status-details-bin" not in trailers


async def test_status_mode_gives_the_same_failure_as_a_status(door: Door) -> None:
    door.failing(Problem(ErrorCode.TOO_MANY_REQUESTS_ERROR, "Wait.", retry_after=2.5, outcome=Outcome.NOT_APPLIED))
    refusal = await door.refused(*GOOD, ("x-error-mode", "Status"), ("x-request-id", "r-8"))
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal.envelope.errors[0].meta.retry_after.ToMilliseconds() == 2500
    assert refusal[error_details_pb2.RetryInfo].retry_delay.ToMilliseconds() == 2500
    info = refusal[error_details_pb2.ErrorInfo]
    assert (info.reason, info.domain) == ("TOO_MANY_REQUESTS_ERROR", "seqstep")
    assert info.metadata["outcome"] == "not applied"
    assert refusal.trailers["x-request-id"] == "r-8"
    assert refusal.trailers["x-error-status"] == "429"


async def test_status_mode_leaves_success_alone(door: Door) -> None:
    response, _ = await door.call(*GOOD, ("x-error-mode", "status"))
    assert not response.errors


async def test_missing_metadata_is_named_in_the_details(door: Door) -> None:
    refusal = await door.refused(("x-api-key", "good"))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.violations) == {"x-customer-id", "x-provider-name"}
    assert refusal.envelope.errors[0].code == "BAD_REQUEST"


@pytest.mark.parametrize("key", [(), (("x-api-key", "bad"),)])
async def test_a_caller_without_a_good_key_learns_nothing_else(door: Door, key: Any) -> None:
    refusal = await door.refused(("x-customer-id", ""), *key)
    assert refusal.code is grpc.StatusCode.UNAUTHENTICATED
    assert refusal.envelope.errors[0].code == "UNAUTHORIZED_ERROR"
    assert not refusal.envelope.errors[0].meta.application_name


async def test_a_bug_gives_an_id_and_nothing_else(door: Door) -> None:
    door.raising(ValueError("the password is hunter2"))
    refusal = await door.refused(*GOOD, ("x-request-id", "r-9"))
    assert refusal.code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in repr(refusal.trailers)
    assert "r-9" in refusal.message
    assert refusal.envelope.errors[0].meta.request_id == "r-9"


async def test_a_full_server_says_when_to_come_back(door: Door) -> None:
    release = asyncio.Event()

    async def wait(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        await release.wait()
        return UpdateResult()

    door.use_case = wait
    door.admission = Admission(0)
    await door.stop()
    await door.start()
    refusal = await door.refused()
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal[error_details_pb2.RetryInfo].retry_delay.ToMilliseconds() > 0
    release.set()


async def test_a_stopping_server_sends_callers_elsewhere(door: Door) -> None:
    door.admission.drain()
    assert (await door.refused()).code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("remaining", "low", "high"), [(None, 30, 30), (100.0, 60, 60), (60.0, 59, 60), (10.0, 9.4, 9.6), (1.0, 0.9, 0.96)]
)
def test_the_work_ends_shortly_before_the_callers_clock(remaining: float | None, low: float, high: float) -> None:
    assert low <= DeadlinePolicy().budget(remaining) <= high


async def test_the_deadline_of_the_caller_reaches_the_use_case(door: Door) -> None:
    seen: list[float] = []

    async def note(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        seen.append(deadline.remaining())
        return UpdateResult()

    door.use_case = note
    await door.call(seconds=10)
    assert 8 < seen[0] < 9.6


async def test_a_caller_that_goes_away_stops_the_work(door: Door) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def wait(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return UpdateResult()

    door.use_case = wait
    call = asyncio.ensure_future(door.call())
    async with asyncio.timeout(5):
        await started.wait()
        call.cancel()
        await stopped.wait()
        record = await door.logged.get()
    assert record.grpc_status == "CANCELLED"


async def test_health_follows_the_servers_life(door: Door) -> None:
    health = health_pb2_grpc.HealthStub(door.channel)
    for name in ("", server.SERVICE_NAME):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await door.rpc.health.enter_graceful_shutdown()
    answer = await health.Check(health_pb2.HealthCheckRequest(service=server.SERVICE_NAME))
    assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_answers_under_both_names(door: Door, version: str) -> None:
    ask = door.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        *(
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
            for symbol in (
                server.SERVICE_NAME,
                "google.rpc.BadRequest",
                "google.rpc.RetryInfo",
                "grpc.reflection.v1.ServerReflection",
                "grpc.health.v1.Health",
            )
        ),
    ]
    answers = [answer async for answer in ask(iter(requests))]
    names = {service.name for service in answers[0].list_services_response.service}
    assert {server.SERVICE_NAME, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= names
    for answer in answers[1:]:
        assert answer.file_descriptor_response.file_descriptor_proto, answer


async def test_bytes_that_are_no_message_are_refused_kindly(door: Door) -> None:
    raw: Any = door.channel.unary_unary(METHOD)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await raw(b"\xff\xff\xff\xff", metadata=GOOD)
    assert Refusal(error.value).violations.keys() == {"request"}


HEADER_VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=300)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=200),
    metadata=st.lists(
        st.tuples(
            st.sampled_from(["x-customer-id", "x-provider-name", "x-request-id", "x-error-mode", "other"]),
            HEADER_VALUES,
        )
        | st.tuples(st.just("x-trash-bin"), st.binary(max_size=50)),
        max_size=6,
    ),
)
def test_no_call_breaks_the_server(data: bytes, metadata: Any) -> None:
    async def run() -> None:
        door = Door()
        await door.start()
        try:
            raw: Any = door.channel.unary_unary(METHOD)
            call = raw(data, metadata=(("x-api-key", "good"), *metadata), timeout=5)
            code = await call.code()
            assert code in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT), await call.details()
            assert (code is grpc.StatusCode.OK) != ("grpc-status-details-bin" in dict(await call.trailing_metadata()))
        finally:
            await door.stop()

    asyncio.run(run())


async def test_refusals_of_the_use_case_name_their_fields(door: Door) -> None:
    from service.domain.errors import Violation, invalid

    door.raising(invalid([Violation("sequence_id", "Must be an id.")]))
    refusal = await door.refused()
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.violations == {"sequence_id": "Must be an id."}
    assert isinstance(invalid([]), CallRefused)
