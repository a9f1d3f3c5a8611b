"""Calls to the gRPC server: statuses, envelopes, trailers, and what happens before a request is decoded."""

import asyncio
import json
from typing import Any

import grpc
import pytest
from engagement.v1 import envelope_pb2
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1 import sequence_step_service_pb2_grpc as pb_grpc
from google.rpc import error_details_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from service.api.admission import Admission
from service.api.deadline_policy import DeadlinePolicy
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, Origin, Problem, Violation, invalid
from service.domain.step import Caller, StepUpdate, UpdateResult
from service.domain.validation import MAX_BODY_BYTES
from tests.support.grpc_server import CUSTOMER, EMPTY, GOOD, RunningGrpcServer, refusal_of
from tests.support.waiting import until

UNKNOWN_CALLERS = pytest.mark.parametrize("key", [(), (("x-api-key", "bad"),)], ids=["no key", "bad key"])


async def test_success_has_the_request_id_as_its_only_trailer(server: RunningGrpcServer) -> None:
    response, trailers = await server.call(*GOOD, ("x-request-id", "r-7"))
    assert not response.errors
    assert trailers == {"x-request-id": "r-7"}
    [record] = server.records
    assert (record.request_id, record.grpc_status, record.provider_calls) == ("r-7", "OK", 2)


async def test_a_failed_update_is_an_ok_status_with_errors(server: RunningGrpcServer) -> None:
    server.failing(Problem(ErrorCode.NOT_FOUND_ERROR, "No such step."))
    response, trailers = await server.call()
    [error] = response.errors
    assert (error.code, error.status, error.meta.application_name) == ("NOT_FOUND_ERROR", "404", "billing")
    assert error.meta.request_id == trailers["x-request-id"]
    assert (trailers["x-error-code"], trailers["x-error-status"]) == ("NOT_FOUND_ERROR", "404")
    assert "grpc-status-details-bin" not in trailers


async def test_status_mode_gives_the_same_failure_as_a_status(server: RunningGrpcServer) -> None:
    server.failing(
        Problem(
            ErrorCode.TOO_MANY_REQUESTS_ERROR, "Wait.", retry_after=2.5, facts={"endpoint": "emailer_campaigns/show"}
        )
    )
    refusal = await server.refused(*GOOD, ("x-error-mode", "Status"), ("x-request-id", "r-8"))
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal.envelope.errors[0].meta.retry_after.ToMilliseconds() == 2500
    assert refusal[error_details_pb2.RetryInfo].retry_delay.ToMilliseconds() == 2500
    info = refusal[error_details_pb2.ErrorInfo]
    assert (info.reason, info.domain) == ("TOO_MANY_REQUESTS_ERROR", "seqstep.github.io")
    assert info.metadata == {
        "http_status": "429",
        "outcome": "ERROR_OUTCOME_NOT_APPLIED",
        "origin": "ERROR_ORIGIN_SERVICE",
        "endpoint": "emailer_campaigns/show",
    }
    assert refusal.envelope.errors[0].meta.facts == {"endpoint": "emailer_campaigns/show"}
    assert refusal.trailers["x-request-id"] == "r-8"
    assert refusal.trailers["x-error-status"] == "429"


async def test_credentials_of_a_customer_are_not_those_of_the_caller(server: RunningGrpcServer) -> None:
    server.failing(Problem(ErrorCode.UNAUTHORIZED_ERROR, "Reconnect.", origin=Origin.PROVIDER))
    refusal = await server.refused(*GOOD, ("x-error-mode", "status"))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    assert (refusal.trailers["x-error-code"], refusal.trailers["x-error-status"]) == ("UNAUTHORIZED_ERROR", "401")
    assert server.records[0].grpc_status == "FAILED_PRECONDITION"


async def test_status_mode_leaves_success_alone(server: RunningGrpcServer) -> None:
    response, _ = await server.call(*GOOD, ("x-error-mode", "status"))
    assert not response.errors


async def test_missing_metadata_is_named_in_the_details(server: RunningGrpcServer) -> None:
    refusal = await server.refused(("x-api-key", "good"))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.violations) == {"x-customer-id", "x-provider-name"}
    assert refusal.envelope.errors[0].code == "BAD_REQUEST"


async def test_refusals_of_the_use_case_name_their_fields(server: RunningGrpcServer) -> None:
    server.raising(invalid([Violation("sequence_id", "Must be an id.")]))
    refusal = await server.refused()
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.violations == {"sequence_id": "Must be an id."}


@UNKNOWN_CALLERS
async def test_an_unknown_caller_learns_nothing_else(server: RunningGrpcServer, key: Any) -> None:
    refusal = await server.refused(("x-customer-id", ""), ("x-request-id", "r-1"), *key)
    assert refusal.code is grpc.StatusCode.UNAUTHENTICATED
    [error] = refusal.envelope.errors
    assert (error.code, error.meta.application_name) == ("UNAUTHORIZED_ERROR", "")
    trailers = {name: value for name, value in refusal.trailers.items() if name.startswith("x-")}
    assert trailers == {"x-request-id": "r-1", "x-error-code": "UNAUTHORIZED_ERROR", "x-error-status": "401"}
    [record] = server.records
    assert (record.request_id, record.grpc_status, record.error_id) == ("r-1", "UNAUTHENTICATED", error.id)


@UNKNOWN_CALLERS
async def test_an_unknown_caller_is_refused_before_its_request(server: RunningGrpcServer, key: Any) -> None:
    refusal = await refusal_of(server.open(*CUSTOMER, *key))
    assert refusal.code is grpc.StatusCode.UNAUTHENTICATED
    assert refusal.envelope.errors[0].code == "UNAUTHORIZED_ERROR"


@pytest.mark.parametrize(
    ("metadata", "decoded"), [(GOOD, 1), (CUSTOMER, 0), ((("x-api-key", "good"),), 0)], ids=["good", "no key", "no ids"]
)
async def test_only_requests_of_good_calls_are_decoded(
    monkeypatch: pytest.MonkeyPatch, metadata: Any, decoded: int
) -> None:
    requests: list[bytes] = []
    decode = pb.UpdateStepRequest.FromString

    class CountedRequest:
        SerializeToString = pb.UpdateStepRequest.SerializeToString

        @staticmethod
        def FromString(data: bytes) -> pb.UpdateStepRequest:  # noqa: N802  # protobuf's name
            requests.append(data)
            return decode(data)

    # The generated function takes the deserializer from here when the service is added to a server.
    monkeypatch.setattr("engagement.v1.sequence_step_service_pb2.UpdateStepRequest", CountedRequest)
    server = RunningGrpcServer()
    await server.start()
    code = await server.call_with_bytes(EMPTY.SerializeToString(), *metadata).code()
    await server.stop()
    assert (code is grpc.StatusCode.OK) == bool(decoded)
    assert len(requests) == decoded


async def test_the_longest_request_of_an_unknown_caller_is_refused(server: RunningGrpcServer) -> None:
    too_long = pb.UpdateStepRequest(sequence_id="x" * (4 * MAX_BODY_BYTES))
    refusal = await server.refused(*CUSTOMER, request=too_long)
    assert refusal.code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_request_that_is_too_long_to_read_is_refused(server: RunningGrpcServer) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await server.call(request=pb.UpdateStepRequest(sequence_id="x" * (4 * MAX_BODY_BYTES)))
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await until(lambda: server.admission.in_flight == 0)
    assert server.caller_names == []


async def test_bytes_that_are_no_request_are_refused_as_such(server: RunningGrpcServer) -> None:
    call = server.call_with_bytes(b"\xff\xff\xff\xff")
    refusal = await refusal_of(call)
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.violations.keys() == {"request"}
    assert [record.code for record in server.records] == ["VALIDATION_ERROR"]


async def test_a_request_that_does_not_arrive_in_time_is_refused(server: RunningGrpcServer) -> None:
    await server.stop()
    server.policy = DeadlinePolicy(default=0.1, longest=0.1)
    await server.start()
    refusal = await refusal_of(server.open())
    assert refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert refusal.envelope.errors[0].code == "GATEWAY_TIMEOUT_ERROR"
    assert server.admission.in_flight == 0


async def test_a_call_that_ends_without_a_request_is_refused(server: RunningGrpcServer) -> None:
    """Not with CANCELLED, which clients and Envoy repeat; in the log it is one, like that of a caller who has left."""
    call = server.open()
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [record.grpc_status for record in server.records] == ["CANCELLED"]


async def test_a_caller_that_leaves_early_frees_its_permits(server: RunningGrpcServer) -> None:
    for _ in range(5):
        server.records.clear()
        call = server.open()
        await until(lambda: server.admission.in_flight == 1)
        call.cancel()
        await until(lambda: server.records)
        assert [record.grpc_status for record in server.records] == ["CANCELLED"]
        assert server.admission.in_flight == 0
    assert not server.admission._permits


async def test_calls_on_one_connection_have_their_own_callers(server: RunningGrpcServer) -> None:
    await server.stop()
    server.admission = Admission(100)
    await server.start()

    async def answer(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        await asyncio.sleep(0)
        return UpdateResult((Problem(ErrorCode.NOT_FOUND_ERROR, caller.application_name),))

    server.use_case = answer
    keys = ["good", "bad", "other", "good", "other", None] * 4
    calls = [server.open(*CUSTOMER, *([("x-api-key", key)] if key else [])) for key in keys]
    await until(lambda: len(server.records) == keys.count("bad") + keys.count(None))

    async def caller_of(call: Any, key: str | None) -> str:
        if key in (None, "bad"):
            return (await refusal_of(call)).code.name
        await call.write(EMPTY.SerializeToString())
        await call.done_writing()
        return pb.UpdateStepResponse.FromString(await call).errors[0].detail

    found = await asyncio.gather(*map(caller_of, calls, keys))
    names = {"good": "billing", "other": "other"}
    assert found == [names.get(key or "", "UNAUTHENTICATED") for key in keys]


async def test_a_bug_gives_an_id_and_nothing_else(server: RunningGrpcServer) -> None:
    server.raising(ValueError("the password is hunter2"))
    refusal = await server.refused(*GOOD, ("x-request-id", "r-9"))
    assert refusal.code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in repr(refusal.trailers)
    assert "r-9" in refusal.message
    assert refusal.envelope.errors[0].meta.request_id == "r-9"


async def test_a_full_server_says_when_to_come_back(server: RunningGrpcServer) -> None:
    await server.stop()
    server.admission = Admission(0)
    await server.start()
    refusal = await server.refused()
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal[error_details_pb2.RetryInfo].retry_delay.ToMilliseconds() > 0


# The key of gRPC's own policy cannot be set by a caller: gRPC keeps it to itself.
RETRY = ("x-envoy-attempt-count", "2")
UNKNOWN = envelope_pb2.ERROR_OUTCOME_UNKNOWN
NOT_APPLIED = envelope_pb2.ERROR_OUTCOME_NOT_APPLIED


@pytest.mark.parametrize(
    ("metadata", "capacity", "outcome"),
    [
        (GOOD, 0, NOT_APPLIED),
        ((*GOOD, RETRY), 0, UNKNOWN),
        ((*GOOD, ("x-envoy-attempt-count", "1")), 0, NOT_APPLIED),
        ((*CUSTOMER, ("x-api-key", "revoked"), RETRY), 9, UNKNOWN),
        ((*CUSTOMER, RETRY), 9, UNKNOWN),
        # What breaks a rule broke it in the first attempt too.
        ((("x-api-key", "good"), RETRY), 9, NOT_APPLIED),
    ],
)
async def test_a_refused_retry_may_have_been_carried_out(
    server: RunningGrpcServer, metadata: Any, capacity: int, outcome: int
) -> None:
    await server.stop()
    server.admission = Admission(capacity)
    await server.start()
    [error] = (await server.refused(*metadata)).envelope.errors
    assert error.meta.outcome == outcome
    assert ("An earlier attempt of this call may have been" in error.detail) == (outcome == UNKNOWN)


async def test_a_stopping_server_sends_callers_elsewhere(server: RunningGrpcServer) -> None:
    server.admission.drain()
    assert (await server.refused()).code is grpc.StatusCode.UNAVAILABLE


async def test_the_deadline_of_the_caller_reaches_the_use_case(server: RunningGrpcServer) -> None:
    seen: list[float] = []

    async def note(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        seen.append(deadline.remaining())
        return UpdateResult()

    server.use_case = note
    await server.call(seconds=10)
    assert 8 < seen[0] < 9.6


async def test_a_caller_that_goes_away_stops_the_work(server: RunningGrpcServer) -> None:
    started = server.waiting()
    call = asyncio.ensure_future(server.call())
    async with asyncio.timeout(5):
        await started.wait()
    call.cancel()
    await until(lambda: server.records)
    assert [record.grpc_status for record in server.records] == ["CANCELLED"]
    assert server.admission.in_flight == 0


HEADER_VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=300)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
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
        server = RunningGrpcServer()
        await server.start()
        try:
            call = server.call_with_bytes(data, ("x-api-key", "good"), *metadata)
            code = await call.code()
            assert code in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT), await call.details()
            assert (code is grpc.StatusCode.OK) != ("grpc-status-details-bin" in dict(await call.trailing_metadata()))
        finally:
            await server.stop()

    asyncio.run(run())


@pytest.mark.parametrize("one_customer", [True, False])
@pytest.mark.parametrize("one_provider", [True, False])
async def test_requests_that_do_not_come_leave_the_others_their_share(
    server: RunningGrpcServer, *, one_provider: bool, one_customer: bool
) -> None:
    server.admission = Admission(16)
    await server.stop()
    await server.start()
    calls = []
    for number in range(40):
        customer = ("x-customer-id", "c" if one_customer else f"c{number}")
        provider = ("x-provider-name", ("apollo", "outreach")[0 if one_provider else number % 2])
        calls.append(server.open(customer, provider, ("x-api-key", "good"), seconds=60))
    await until(lambda: len(server.records) + server.admission.in_flight == len(calls))
    assert {record.grpc_status for record in server.records} == {"RESOURCE_EXHAUSTED"}
    for name in ("apollo", "outreach"):
        await server.call(("x-customer-id", "c"), ("x-provider-name", name), ("x-api-key", "other"))
    for call in calls:
        call.cancel()
    await until(lambda: server.admission.in_flight == 0)


async def test_a_refusal_is_logged_with_its_reason_and_not_each_time(server: RunningGrpcServer) -> None:
    with capture_logs() as logs:
        await server.refused(*CUSTOMER, ("x-api-key", "bad"))
        await server.refused(("x-api-key", "good"))
    # What a caller did wrong is its own business.
    [line] = [each for each in logs if each["event"] == "refused"]
    assert (line["log_level"], line["code"], line["limited"]) == ("warning", "UNAUTHORIZED_ERROR", True)
    assert "API key" in line["reason"]


@pytest.mark.parametrize(("attempts", "is_retry"), [("0", False), ("1", True)])
async def test_a_retry_is_known_to_the_update(server: RunningGrpcServer, attempts: str, *, is_retry: bool) -> None:
    await server.call_with_bytes(EMPTY.SerializeToString(), *GOOD, ("x-envoy-attempt-count", str(int(attempts) + 1)))
    assert server.updates[-1].is_retry is is_retry
    assert server.records[-1].is_retry is is_retry


RETRYING = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": "engagement.v1.SequenceStepService"}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.01s",
                    "maxBackoff": "0.02s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


@pytest.mark.parametrize(
    ("retry_after", "provider_calls", "attempts"),
    [
        pytest.param(None, 1, 1, id="the provider was asked, and a repetition would ask again"),
        pytest.param(2.1, 0, 1, id="a repetition would come too early"),
        pytest.param(2.0, 0, 3, id="a repetition can help"),
        pytest.param(None, 0, 3, id="nothing was sent, and it may have passed"),
    ],
)
async def test_grpc_repeats_no_call_in_vain(
    server: RunningGrpcServer, retry_after: float | None, provider_calls: int, attempts: int
) -> None:
    server.failing(
        Problem(ErrorCode.SERVICE_UNAVAILABLE_ERROR, "Not now.", retry_after=retry_after),
        provider_calls=provider_calls,
    )
    async with grpc.aio.insecure_channel(server.grpc.address, [("grpc.service_config", RETRYING)]) as channel:
        stub = pb_grpc.SequenceStepServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.UpdateStep(EMPTY, metadata=(*GOOD, ("x-error-mode", "status")), timeout=5)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(server.updates) == attempts
