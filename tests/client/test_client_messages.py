"""What the client library sends, and what it returns or raises for every way in which a call can end."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import grpc_testing
import pytest
from engagement.v1 import envelope_pb2
from engagement.v1 import sequence_step_service_pb2 as pb
from google.protobuf import any_pb2, json_format
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

from seqstep_client import (
    AsyncClient,
    CallRefused,
    Client,
    FieldChange,
    InvalidArgument,
    NotApplied,
    Origin,
    Outcome,
    OutcomeUnknown,
    PartiallyApplied,
    StepUpdate,
    StepWarning,
    Unauthenticated,
    Unavailable,
    UpdateFailed,
    UpdateResult,
    Violation,
)

UPDATE = pb.DESCRIPTOR.services_by_name["SequenceStepService"].methods_by_name["UpdateStep"]
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].methods_by_name["Check"]
STEP = StepUpdate(sequence_id="7", sequence_step_id="101", subject="Hello")
NOT_APPLIED = envelope_pb2.ERROR_OUTCOME_NOT_APPLIED
UNKNOWN = envelope_pb2.ERROR_OUTCOME_UNKNOWN
PARTIALLY_APPLIED = envelope_pb2.ERROR_OUTCOME_PARTIALLY_APPLIED


class ClientOnChannel:
    """A client on a channel whose other end is the test."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.channel = grpc_testing.channel(pb.DESCRIPTOR.services_by_name.values(), grpc_testing.strict_real_time())
        self.client = Client("service:443", api_key="secret", plaintext=True, key_in_clear=True, channel=self.channel)
        self._pool = pool

    def call(self, update: StepUpdate = STEP, **more: Any) -> "Future[UpdateResult]":
        return self._pool.submit(self.client.update_step, update, customer_id="acme", provider="outreach", **more)

    def take_health(self) -> Any:
        return self.channel.take_unary_unary(HEALTH)[2]

    def take(self) -> tuple[dict[str, str], pb.UpdateStepRequest, Any]:
        metadata, request, rpc = self.channel.take_unary_unary(UPDATE)
        return dict(metadata), request, rpc

    def healthy(self) -> None:
        end(self.take_health(), health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING))

    def ending(
        self,
        code: grpc.StatusCode = grpc.StatusCode.OK,
        response: pb.UpdateStepResponse | None = None,
        *,
        details: status_pb2.Status | None = None,
        update: StepUpdate = STEP,
    ) -> UpdateResult:
        """What the client returns for a call that ends so."""
        future = self.call(update)
        self.healthy()
        _, _, rpc = self.take()
        trailers = () if details is None else (("grpc-status-details-bin", details.SerializeToString()),)
        message = details.message if details is not None else "no words"
        end(rpc, response, trailers, code, message)
        return future.result(10)

    def failing(self, *arguments: Any, **more: Any) -> UpdateFailed:
        with pytest.raises(UpdateFailed) as raised:
            self.ending(*arguments, **more)
        return raised.value


def end(
    rpc: Any, response: Any, trailers: Any = (), code: grpc.StatusCode = grpc.StatusCode.OK, message: str = ""
) -> None:
    rpc.send_initial_metadata(())
    rpc.terminate(response, trailers, code, message)


@pytest.fixture
def channel() -> Iterator[ClientOnChannel]:
    with ThreadPoolExecutor() as pool:
        yield ClientOnChannel(pool)


def error(outcome: Any = NOT_APPLIED, **more: Any) -> envelope_pb2.Error:
    given: dict[str, Any] = {
        "id": "e1",
        "code": "NOT_FOUND_ERROR",
        "status": "404",
        "title": "Not found",
        "detail": "No such step.",
    }
    meta = {"origin": envelope_pb2.ERROR_ORIGIN_SERVICE, "outcome": outcome, "request_id": "r1"}
    return envelope_pb2.Error(**given | {"meta": envelope_pb2.ErrorMeta(**meta)} | more)


def status(code: int, *details: Any) -> status_pb2.Status:
    filled = status_pb2.Status(code=code, message="in words")
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        filled.details.append(packed)
    return filled


@pytest.mark.parametrize(
    ("update", "record"),
    [
        (StepUpdate(sequence_id="7", sequence_step_id="101"), {}),
        (
            StepUpdate(sequence_id="7", sequence_step_id="101", subject="", body=""),
            {"template": {"subject": "", "body": ""}},
        ),
        (StepUpdate(sequence_id="7", sequence_step_id="101", subject="Hello"), {"template": {"subject": "Hello"}}),
        (
            StepUpdate(
                sequence_id="7",
                sequence_step_id="101",
                custom_fields={"interval": 3, "note": None, "deep": {"a": [True, 1.5, "x", {}]}},
            ),
            {"custom_fields": {"interval": 3.0, "note": None, "deep": {"a": [True, 1.5, "x", {}]}}},
        ),
    ],
)
def test_what_is_absent_is_not_sent(channel: ClientOnChannel, update: StepUpdate, record: dict[str, Any]) -> None:
    future = channel.call(update)
    channel.healthy()
    _, request, rpc = channel.take()
    end(rpc, pb.UpdateStepResponse())
    future.result(10)
    assert (request.sequence_id, request.sequence_step_id, request.validate_only) == ("7", "101", False)
    assert request.HasField("record")
    assert json_format.MessageToDict(request.record, preserving_proto_field_name=True) == record


def test_a_call_has_all_of_its_metadata(channel: ClientOnChannel) -> None:
    future = channel.call(StepUpdate(sequence_id="7", sequence_step_id="1", validate_only=True), request_id="mine")
    channel.healthy()
    metadata, request, rpc = channel.take()
    end(rpc, pb.UpdateStepResponse())
    assert future.result(10).request_id == "mine"
    assert request.validate_only
    assert {key: value for key, value in metadata.items() if key.startswith("x-")} == {
        "x-customer-id": "acme",
        "x-provider-name": "outreach",
        "x-api-key": "secret",
        "x-request-id": "mine",
    }


@pytest.mark.parametrize("value", [2**53 + 1, float("nan"), float("inf"), {1, 2}, b"bytes", object()])
def test_a_value_that_cannot_be_sent_exactly_is_refused(channel: ClientOnChannel, value: Any) -> None:
    update = StepUpdate(sequence_id="7", sequence_step_id="1", custom_fields={"deep": {"list": [0, value]}})
    with pytest.raises(InvalidArgument, match=r"deep\.list\[1\]"):
        channel.call(update).result(10)


@pytest.mark.parametrize("key", ["secret\n", "sec\r\nret", "s\x00cret", "schlüssel", "\ufeffsecret", "s" * 256])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_key_that_cannot_be_sent_is_refused_here(kind: Any, key: str) -> None:
    with pytest.raises(InvalidArgument, match="x-api-key") as raised:
        kind("service:443", api_key=key)
    assert key.strip() not in str(raised.value)


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"customer_id": "acme\n"}, "x-customer-id"),
        ({"provider": "out\x7freach"}, "x-provider-name"),
        ({"request_id": "nummer-ä"}, "x-request-id"),
    ],
)
def test_an_id_that_cannot_be_sent_is_refused_here(channel: ClientOnChannel, more: dict[str, str], name: str) -> None:
    given: dict[str, Any] = {"customer_id": "acme", "provider": "outreach"} | more
    with pytest.raises(InvalidArgument, match=name):
        channel.client.update_step(STEP, **given)


@pytest.mark.parametrize(
    "more",
    [
        {"subject": "\udcff"},
        {"body": "a\ud800"},
        {"custom_fields": {"note": "\udc80"}},
        {"custom_fields": {"\udc80": 1}},
    ],
)
def test_half_a_character_is_refused_here(channel: ClientOnChannel, more: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="lone surrogate"):
        channel.call(StepUpdate(sequence_id="7", sequence_step_id="1", **more)).result(10)


def test_a_result_has_changes_and_warnings(channel: ClientOnChannel) -> None:
    response = json_format.ParseDict(
        {
            "changes": [
                {"field": "template.subject", "before": None, "after": "Hello"},
                {"field": "custom_fields.interval", "before": 3, "after": {"days": [1, 2.5]}},
            ],
            "warnings": [{"problem_type": "SEQUENCE_ACTIVE", "title": "On", "detail": "It is on."}],
        },
        pb.UpdateStepResponse(),
    )
    result = channel.ending(response=response)
    assert result.changes == (
        FieldChange("template.subject", None, "Hello"),
        FieldChange("custom_fields.interval", 3, {"days": [1, 2.5]}),
    )
    assert isinstance(result.changes[1].before, int)
    assert result.warnings == (StepWarning("SEQUENCE_ACTIVE", "On", "It is on."),)
    assert result.response == response


@pytest.mark.parametrize(
    ("outcomes", "kind", "outcome"),
    [
        ([NOT_APPLIED], NotApplied, Outcome.NOT_APPLIED),
        ([PARTIALLY_APPLIED], PartiallyApplied, Outcome.PARTIALLY_APPLIED),
        ([UNKNOWN], OutcomeUnknown, Outcome.UNKNOWN),
        ([NOT_APPLIED, UNKNOWN], OutcomeUnknown, Outcome.UNKNOWN),
        ([NOT_APPLIED, PARTIALLY_APPLIED], PartiallyApplied, Outcome.PARTIALLY_APPLIED),
        ([envelope_pb2.ERROR_OUTCOME_UNSPECIFIED], OutcomeUnknown, Outcome.UNKNOWN),
        ([97], OutcomeUnknown, Outcome.UNKNOWN),
    ],
)
def test_a_failed_update_raises_by_its_outcome(
    channel: ClientOnChannel, outcomes: list[int], kind: type[UpdateFailed], outcome: Outcome
) -> None:
    failure = channel.failing(response=pb.UpdateStepResponse(errors=[error(each) for each in outcomes]))
    assert type(failure) is kind
    assert failure.outcome is outcome
    assert failure.failure.grpc_status is grpc.StatusCode.OK
    assert len(failure.errors) == len(outcomes)


def test_a_failure_has_all_the_facts(channel: ClientOnChannel) -> None:
    first = json_format.ParseDict(
        {
            "id": "e1",
            "code": "TOO_MANY_REQUESTS_ERROR",
            "status": "429",
            "title": "Slow down",
            "detail": "The hour is used up.",
            "meta": {
                "origin": "ERROR_ORIGIN_REMOTE_PROVIDER",
                "outcome": "ERROR_OUTCOME_PARTIALLY_APPLIED",
                "application_name": "billing",
                "retry_after": "1.5s",
                "request_id": "r1",
                "cause": {"code": 429, "body": {"message": ["no"]}, "headers": {"retry-after": "2"}},
            },
        },
        envelope_pb2.Error(),
    )
    response = pb.UpdateStepResponse(errors=[first, error(PARTIALLY_APPLIED)])
    response.changes.add(field="template.subject").after.string_value = "Hello"
    failure = channel.failing(response=response)
    assert (failure.code, failure.status, failure.retry_after) == ("TOO_MANY_REQUESTS_ERROR", 429, 1.5)
    assert failure.request_id == "r1"
    assert failure.changes == (FieldChange("template.subject", None, "Hello"),)
    assert str(failure) == "The hour is used up.; No such step."
    first_error = failure.errors[0]
    assert (first_error.id, first_error.title, first_error.origin, first_error.application_name) == (
        "e1",
        "Slow down",
        Origin.PROVIDER,
        "billing",
    )
    assert first_error.cause is not None
    assert (first_error.cause.code, first_error.cause.body, first_error.cause.headers) == (
        429,
        {"message": ["no"]},
        {"retry-after": "2"},
    )


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, CallRefused),
        (grpc.StatusCode.UNAUTHENTICATED, Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, CallRefused),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Unavailable),
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, CallRefused),
    ],
)
def test_a_refusal_is_read_from_its_status_details(
    channel: ClientOnChannel, code: grpc.StatusCode, kind: type[UpdateFailed]
) -> None:
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="x-customer-id", description="Required.")
    info = error_details_pb2.ErrorInfo(reason="SOMETHING")
    envelope = pb.UpdateStepResponse(errors=[error()])
    failure = channel.failing(code, details=status(code.value[0], info, envelope, bad))
    assert type(failure) is kind
    assert isinstance(failure, CallRefused)
    assert failure.violations == (Violation("x-customer-id", "Required."),)
    assert (failure.code, failure.request_id, failure.outcome) == ("NOT_FOUND_ERROR", "r1", Outcome.NOT_APPLIED)
    assert failure.failure.grpc_status is code
    assert failure.failure.response == envelope


def test_a_bug_of_the_service_leaves_the_outcome_unknown(channel: ClientOnChannel) -> None:
    envelope = pb.UpdateStepResponse(errors=[error(UNKNOWN, code="INTERNAL_SERVER_ERROR")])
    failure = channel.failing(grpc.StatusCode.INTERNAL, details=status(13, envelope))
    assert type(failure) is OutcomeUnknown


@pytest.mark.parametrize(
    ("code", "kind", "error_code"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, OutcomeUnknown, "GATEWAY_TIMEOUT_ERROR"),
        (grpc.StatusCode.UNAVAILABLE, OutcomeUnknown, "SERVICE_UNAVAILABLE_ERROR"),
        (grpc.StatusCode.CANCELLED, OutcomeUnknown, "BAD_GATEWAY_ERROR"),
        (grpc.StatusCode.INTERNAL, OutcomeUnknown, "BAD_GATEWAY_ERROR"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, OutcomeUnknown, "BAD_GATEWAY_ERROR"),
        (grpc.StatusCode.UNKNOWN, OutcomeUnknown, "BAD_GATEWAY_ERROR"),
        (grpc.StatusCode.UNIMPLEMENTED, OutcomeUnknown, "BAD_GATEWAY_ERROR"),
        (grpc.StatusCode.UNAUTHENTICATED, OutcomeUnknown, "BAD_GATEWAY_ERROR"),
        (grpc.StatusCode.PERMISSION_DENIED, OutcomeUnknown, "BAD_GATEWAY_ERROR"),
    ],
)
def test_a_status_without_an_envelope_promises_little(
    channel: ClientOnChannel, code: grpc.StatusCode, kind: type[UpdateFailed], error_code: str
) -> None:
    failure = channel.failing(code)
    assert type(failure) is kind
    assert failure.code == error_code
    assert failure.errors[0].origin is None
    assert failure.failure.response.errors[0].code == error_code
    assert failure.request_id


def test_a_dry_run_without_a_response_changed_nothing(channel: ClientOnChannel) -> None:
    update = StepUpdate(sequence_id="7", sequence_step_id="1", validate_only=True)
    failure = channel.failing(grpc.StatusCode.DEADLINE_EXCEEDED, update=update)
    assert type(failure) is NotApplied


def test_details_of_another_status_are_not_believed(channel: ClientOnChannel) -> None:
    envelope = pb.UpdateStepResponse(errors=[error()])
    failure = channel.failing(grpc.StatusCode.UNAVAILABLE, details=status(3, envelope))
    assert type(failure) is OutcomeUnknown


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_a_service_that_is_not_reached_is_sent_no_update(channel: ClientOnChannel, code: grpc.StatusCode) -> None:
    future = channel.call()
    end(channel.take_health(), None, (), code, "connection refused")
    with pytest.raises(Unavailable, match=r"service:443 cannot be reached.*connection refused") as raised:
        future.result(10)
    assert raised.value.outcome is Outcome.NOT_APPLIED
    # The next call asks again, and goes through.
    assert channel.ending(response=pb.UpdateStepResponse()).changes == ()


def test_a_service_without_a_health_check_is_called(channel: ClientOnChannel) -> None:
    future = channel.call()
    end(channel.take_health(), None, (), grpc.StatusCode.UNIMPLEMENTED)
    _, _, rpc = channel.take()
    end(rpc, pb.UpdateStepResponse())
    assert future.result(10).changes == ()


def test_health_is_checked_again_after_a_lost_connection(channel: ClientOnChannel) -> None:
    channel.ending(response=pb.UpdateStepResponse())
    future = channel.call()
    _, _, rpc = channel.take()
    end(rpc, None, (), grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(OutcomeUnknown):
        future.result(10)
    channel.ending(response=pb.UpdateStepResponse())


def test_a_given_channel_is_not_closed(channel: ClientOnChannel) -> None:
    closed = []
    channel.channel.close = lambda: closed.append(True)
    with channel.client:
        channel.ending(response=pb.UpdateStepResponse())
    assert not closed
