"""Failures as gRPC statuses with details."""

import base64
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest
from engagement.v1 import envelope_pb2
from engagement.v1 import sequence_step_service_pb2 as pb
from google.rpc import error_details_pb2, status_pb2

from service.api.call_handler import CallOutcome
from service.api.envelope import envelope
from service.api.metadata import ErrorMode
from service.domain.errors import Cause, ErrorCode, Outcome, Problem, Violation
from service.domain.step import StepWarning, WarningType
from service.rpc.status import MAX_STATUS_BYTES, pushback, status_details, status_name


def response_of(*problems: Problem, **more: Any) -> pb.UpdateStepResponse:
    return envelope(problems, **more, application_name="billing", request_id="r-1")


def refused(
    problem: Problem, response: pb.UpdateStepResponse, violations: Sequence[Violation] = ()
) -> tuple[str, bytes]:
    return status_details(CallOutcome("r-1", response, problem, refused=True, violations=violations), problem)


@pytest.mark.parametrize(
    ("code", "refused", "mode", "name"),
    [
        (None, False, ErrorMode.STATUS, "OK"),
        (ErrorCode.NOT_FOUND_ERROR, False, ErrorMode.ENVELOPE, "OK"),
        (ErrorCode.NOT_FOUND_ERROR, False, ErrorMode.STATUS, "NOT_FOUND"),
        (ErrorCode.NOT_FOUND_ERROR, True, ErrorMode.ENVELOPE, "NOT_FOUND"),
        # The caller's own key, and the customer's credentials at the provider.
        (ErrorCode.UNAUTHORIZED_ERROR, True, ErrorMode.STATUS, "UNAUTHENTICATED"),
        (ErrorCode.UNAUTHORIZED_ERROR, False, ErrorMode.STATUS, "FAILED_PRECONDITION"),
    ],
)
def test_which_status_a_call_ends_with(code: ErrorCode | None, *, refused: bool, mode: ErrorMode, name: str) -> None:
    problem = Problem(code, "No.") if code is not None else None
    assert status_name(CallOutcome("r-1", response_of(), problem, refused=refused, error_mode=mode)) == name


@pytest.mark.parametrize(
    ("name", "retry_after", "calls", "is_vain"),
    [
        ("UNAVAILABLE", None, 0, False),
        # The policy's longest wait, in docs/clients.md and the Python client.
        ("UNAVAILABLE", 2.0, 0, False),
        ("UNAVAILABLE", 2.1, 0, True),
        ("UNAVAILABLE", None, 1, True),
        ("RESOURCE_EXHAUSTED", 60.0, 3, False),
    ],
)
def test_a_repetition_that_cannot_help_is_kept_off(
    name: str, retry_after: float | None, calls: int, *, is_vain: bool
) -> None:
    problem = Problem(ErrorCode.SERVICE_UNAVAILABLE_ERROR, "No.", retry_after=retry_after)
    outcome = CallOutcome("r-1", response_of(problem), problem, refused=True, provider_calls=calls)
    assert pushback(outcome, name) == ((("grpc-retry-pushback-ms", "-1"),) if is_vain else ())


def test_a_status_stays_small_and_keeps_what_matters() -> None:
    cause = Cause(400, "x" * 16_000, {f"h{n}": "v" * 500 for n in range(60)})
    problem = Problem(ErrorCode.BAD_REQUEST, "d" * 3000, cause=cause, retry_after=2, outcome=Outcome.UNKNOWN)
    warnings = tuple(StepWarning(WarningType.SHARED_TEMPLATE, "w" * 500) for _ in range(20))
    response = response_of(*[problem] * 10, warnings=warnings)
    _, status = refused(problem, response)
    assert len(status) <= MAX_STATUS_BYTES
    assert response.errors[0].meta.outcome == envelope_pb2.ERROR_OUTCOME_UNKNOWN
    assert response.errors[0].meta.request_id == "r-1"
    assert response.errors[0].meta.cause.body_truncated
    assert response.truncated


def as_sent(message: str, status: bytes) -> int:
    """Bytes of the trailers by the count of HTTP/2: each with 32 more, and space for our own three and gRPC's."""
    encoded = quote(message.encode(), safe="".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%"))
    details = len(base64.b64encode(status))
    return len(encoded) + details + len("grpc-message" + "grpc-status-details-bin") + 2 * 32 + 700


@pytest.mark.parametrize(
    ("detail", "violations"),
    [
        ("No.", [Violation(f"record.custom_fields.{'n' * 43}{number}", "Must be finite.") for number in range(25)]),
        ("é🚀%" * 2000, []),
        ("é" * 3000, [Violation("ü" * 255, "ß" * 300)] * 200),
        ("\n" * 5000, [Violation("a", "b")]),
        ("d" * 5000, [Violation("f" * 300, "r" * 900)] * 3),
        # Short in characters, and long as they are sent.
        ("é" * 1100, []),
        ("🚀" * 600, [Violation("ü" * 200, "ß" * 200)] * 20),
        ("%" * 1199, [Violation("a" * 200, "b" * 200)] * 20),
    ],
)
def test_trailers_stay_below_what_default_clients_take(detail: str, violations: list[Violation]) -> None:
    problem = Problem(ErrorCode.VALIDATION_ERROR, detail, cause=Cause(400, "x" * 9000, {"a": "b" * 500}), retry_after=1)
    message, status = refused(problem, response_of(problem), violations)
    assert as_sent(message, status) < 8192
    assert len(status) <= MAX_STATUS_BYTES
    details = status_pb2.Status.FromString(status).details
    bad = error_details_pb2.BadRequest()
    shown = [bad.field_violations[:] for each in details if each.Unpack(bad)]
    assert len(shown) == (1 if violations else 0)
    if violations:
        named = [each for each in shown[0] if each.field]
        left_out = len(violations) - len(named)
        assert named
        more = [each.description for each in shown[0] if not each.field]
        assert more == ([f"{left_out} more are not shown."] if left_out else [])


def test_facts_do_not_make_a_status_too_long() -> None:
    facts = {f"fact_{number}": "é" * 5000 for number in range(4)}
    problem = Problem(ErrorCode.CONFLICT_ERROR, "é" * 3000, facts=facts)
    response = response_of(problem)
    message, status = refused(problem, response)
    assert as_sent(message, status) < 8192
    assert len(status) <= MAX_STATUS_BYTES
    assert response.truncated
    info = error_details_pb2.ErrorInfo()
    assert any(each.Unpack(info) for each in status_pb2.Status.FromString(status).details)
    assert info.metadata["fact_0"].endswith("… [cut]")


def test_a_small_status_keeps_its_cause() -> None:
    problem = Problem(ErrorCode.BAD_REQUEST, "No.", cause=Cause(400, {"error": "no"}, {}))
    response = response_of(problem)
    refused(problem, response)
    assert response.errors[0].meta.cause.body.struct_value.fields["error"].string_value == "no"
    assert not response.errors[0].meta.cause.body_truncated
    assert not response.truncated


@pytest.mark.parametrize("character", ["d", "%", "é", "🚀", " ", "~", "\x1f", "\x7f"])
def test_a_message_is_cut_where_it_becomes_too_long_as_it_is_sent(character: str) -> None:
    as_it_is = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
    width = len(quote(character, safe=as_it_is))
    most = 1200 // width
    for length in (most, most + 1):
        problem = Problem(ErrorCode.CONFLICT_ERROR, character * length)
        message, _ = refused(problem, response_of(problem))
        whole, cut = character * length, character * ((1200 - len(quote("…"))) // width) + "…"
        assert message == (whole if length == most else cut)


@pytest.mark.parametrize(("seconds", "milliseconds"), [(0.0, 0), (1.5, 1500), (1.0001, 1001)])
def test_a_status_says_when_to_repeat_the_call(seconds: float, milliseconds: int) -> None:
    problem = Problem(ErrorCode.CONFLICT_ERROR, "No.", retry_after=seconds)
    _, status = refused(problem, response_of(problem))
    retry = error_details_pb2.RetryInfo()
    assert any(each.Unpack(retry) for each in status_pb2.Status.FromString(status).details)
    assert retry.retry_delay.ToMilliseconds() == milliseconds


def test_a_status_uses_the_bytes_that_it_may_have() -> None:
    cause = Cause(400, "x" * 3000, {f"h{n}": "v" * 60 for n in range(60)})
    problem = Problem(ErrorCode.BAD_REQUEST, "No.", cause=cause)
    for count in (1, 5, 30):
        violations = [Violation(f"field.{n}", "r" * 150) for n in range(count)]
        response = response_of(problem)
        _, status = refused(problem, response, violations)
        bad = error_details_pb2.BadRequest()
        assert any(each.Unpack(bad) for each in status_pb2.Status.FromString(status).details)
        *named, last = bad.field_violations
        assert [each.field for each in named] == [f"field.{n}" for n in range(len(named))]
        if count == 30:
            assert 3800 < len(status) <= MAX_STATUS_BYTES
            assert last.description == f"{count - len(named)} more are not shown."
            assert last.field == ""
        else:
            assert len(named) + 1 == count
            assert last.description == "r" * 150


def test_no_word_about_more_stands_for_the_last_one_alone() -> None:
    problem = Problem(ErrorCode.BAD_REQUEST, "No.", cause=Cause(400, "x" * 3000, {}))
    counts = set()
    for length in range(60, 200):
        violations = [Violation(f"field.{n}", "r" * length) for n in range(18)]
        _, status = refused(problem, response_of(problem), violations)
        bad = error_details_pb2.BadRequest()
        assert any(each.Unpack(bad) for each in status_pb2.Status.FromString(status).details)
        left_out = 18 - len(bad.field_violations) + (not bad.field_violations[-1].field)
        counts.add(left_out)
        assert (
            bad.field_violations[-1].field or bad.field_violations[-1].description == f"{left_out} more are not shown."
        )
    assert min(counts) == 0
    assert 1 not in counts
    assert max(counts) == 2
