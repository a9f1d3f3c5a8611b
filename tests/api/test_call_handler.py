"""What a call comes to, whatever server brings it: the outcome, the record, and what is logged; without a server."""

import asyncio
from typing import Any

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from service.api.call_handler import Asked, CallerGone, CallOutcome, TransportStatus
from service.api.deadline_policy import DeadlinePolicy
from service.api.metadata import CallMetadata
from service.api.methods import GET_STEP, LIST_STEPS, UPDATE_STEP, Method
from service.domain.deadline import Deadline
from service.domain.errors import CallRefused, ErrorCode, Origin, Outcome, Problem, Violation, invalid
from service.domain.sequence import SequenceResult, StepQuery
from service.domain.step import Provider, StepUpdate, StepWarning, WarningType
from tests.support.call_handler import FakeService

APOLLO = Provider("apollo")
GOOD = (("x-customer-id", "acme"), ("x-provider-name", "apollo"), ("x-api-key", "good"), ("x-request-id", "r-1"))
RETRY = (*GOOD, ("x-envoy-attempt-count", "2"))
UPDATE = StepUpdate(APOLLO, "acme", "54", "7")
QUERY = StepQuery(APOLLO, "acme", "54", "7")


class Inbound:
    """A call that asks for something, or whose request is refused."""

    def __init__(
        self, asked: Asked | BaseException, pairs: tuple[tuple[str, str], ...] = GOOD, seconds: float | None = None
    ) -> None:
        self._asked = asked
        self._pairs = pairs
        self._seconds = seconds

    def metadata_pairs(self) -> tuple[tuple[str, str], ...]:
        return self._pairs

    def time_remaining(self) -> float | None:
        return self._seconds

    def certificate_names(self) -> tuple[str, ...]:
        return ()

    def peer(self) -> str:
        return "192.0.2.1:7"

    async def read_request(self, call_metadata: CallMetadata, deadline: Deadline) -> Asked:
        if isinstance(self._asked, BaseException):
            raise self._asked
        return self._asked

    def transport_status(self, outcome: CallOutcome | None) -> TransportStatus:
        return TransportStatus(grpc="GONE" if outcome is None else "ENDED")


async def handled(service: FakeService, inbound: Inbound, method: Method = UPDATE_STEP) -> CallOutcome:
    return await service.call_handler().handle(method, inbound)


def recorded(service: FakeService) -> dict[str, Any]:
    """The record of the only call, without what it took."""
    [record] = service.records
    assert 0 < record.seconds < 0.9
    return {name: value for name, value in structs.asdict(record).items() if value} | {"seconds": 0}


KNOWN = {
    "request_id": "r-1",
    "application": "billing",
    "customer": "acme",
    "provider": "apollo",
    "grpc_status": "ENDED",
    "seconds": 0,
    "peer": "192.0.2.1:7",
    "method": "UpdateStep",
    "service": "engagement.v1.SequenceStepService",
    "sequence": "54",
    "step": "7",
}


async def test_the_record_of_a_success_says_what_is_known() -> None:
    service = FakeService()
    outcome = await handled(service, Inbound(UPDATE))
    assert (outcome.request_id, outcome.problem, outcome.refused, outcome.provider_calls) == ("r-1", None, False, 2)
    assert recorded(service) == KNOWN | {"provider_calls": 2}


async def test_the_record_of_a_failure_has_the_first_problem() -> None:
    service = FakeService()
    problems = Problem(ErrorCode.NOT_FOUND_ERROR, "Gone."), Problem(ErrorCode.CONFLICT_ERROR, "And more.")
    warning = StepWarning(WarningType.NO_CHANGE, "Nothing.")
    service.failing(*problems, warnings=(warning,), provider_calls=1)
    outcome = await handled(service, Inbound(structs.replace(UPDATE, validate_only=True), RETRY))
    assert (outcome.problem, outcome.refused) == (problems[0], False)
    assert recorded(service) == KNOWN | {
        "provider_calls": 1,
        "code": "NOT_FOUND_ERROR",
        "outcome": "ERROR_OUTCOME_NOT_APPLIED",
        "error_id": outcome.response.errors[0].id,
        "warnings": ["NO_CHANGE"],
        "validate_only": True,
        "is_retry": True,
    }


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (StepUpdate(APOLLO, "acme", "54", "Dear customer"), False),
        (StepUpdate(APOLLO, "acme", "Dear customer", "7"), False),
        (StepUpdate(APOLLO, "acme", "54", ""), False),
        (StepQuery(APOLLO, "acme", "54", "", names_step=False), True),
        (StepQuery(APOLLO, "acme", "54", ""), False),
        (StepQuery(APOLLO, "acme", "Dear customer", "", names_step=False), False),
    ],
)
async def test_only_ids_are_recorded_as_ids(asked: Any, *, named: bool) -> None:
    service = FakeService()
    method = UPDATE_STEP if isinstance(asked, StepUpdate) else LIST_STEPS
    await handled(service, Inbound(asked), method)
    assert service.records[0].sequence == ("54" if named else "")
    assert service.records[0].step == ""


DOUBTED, CERTAIN = Outcome.UNKNOWN, Outcome.NOT_APPLIED


@pytest.mark.parametrize(
    ("code", "pairs", "method", "outcome"),
    [
        (ErrorCode.TOO_MANY_REQUESTS_ERROR, GOOD, UPDATE_STEP, CERTAIN),
        (ErrorCode.TOO_MANY_REQUESTS_ERROR, RETRY, UPDATE_STEP, DOUBTED),
        (ErrorCode.TOO_MANY_REQUESTS_ERROR, RETRY, GET_STEP, CERTAIN),
        # What breaks a rule broke it at the first attempt, too.
        (ErrorCode.VALIDATION_ERROR, RETRY, UPDATE_STEP, CERTAIN),
        (ErrorCode.BAD_REQUEST, RETRY, UPDATE_STEP, CERTAIN),
    ],
)
async def test_a_refused_repetition_says_nothing_of_the_attempt_before(
    code: ErrorCode, pairs: Any, method: Method, outcome: Outcome
) -> None:
    service = FakeService()
    refusal = CallRefused(Problem(code, "No."), [Violation("record", "Required.")])
    ended = await handled(service, Inbound(refusal, pairs), method)
    assert ended.problem is not None
    assert (ended.problem.outcome, ended.refused, ended.violations) == (outcome, True, refusal.violations)
    assert (service.records[0].outcome, service.records[0].provider_calls) == (outcome.value, 0)


@pytest.mark.parametrize(
    ("pairs", "method", "outcome"),
    [(GOOD, UPDATE_STEP, CERTAIN), (RETRY, UPDATE_STEP, DOUBTED), (RETRY, GET_STEP, CERTAIN)],
)
@pytest.mark.parametrize("left", [CallerGone(), asyncio.CancelledError()])
async def test_who_leaves_before_its_request_has_changed_nothing_now(
    left: BaseException, pairs: Any, method: Method, outcome: Outcome
) -> None:
    service = FakeService()
    with pytest.raises(type(left)):
        await handled(service, Inbound(left, pairs), method)
    assert (service.records[0].grpc_status, service.records[0].outcome) == ("GONE", outcome.value)


@pytest.mark.parametrize(
    ("method", "outcome", "said"),
    [(UPDATE_STEP, DOUBTED, "repeating the call is safe."), (GET_STEP, CERTAIN, "report the request id r-1.")],
)
async def test_a_bug_says_what_may_have_been_done(method: Method, outcome: Outcome, said: str) -> None:
    service = FakeService()
    with capture_logs() as logs:
        ended = await handled(service, Inbound(ZeroDivisionError("hunter2")), method)
    assert ended.problem is not None
    assert (ended.problem.code, ended.problem.outcome) == (ErrorCode.INTERNAL_SERVER_ERROR, outcome)
    assert ended.problem.detail.endswith(said)
    assert [line["event"] for line in logs] == ["bug", "refused"]
    assert "hunter2" not in str(logs)


@pytest.mark.parametrize(
    ("problem", "is_logged"),
    [
        (Problem(ErrorCode.SERVICE_UNAVAILABLE_ERROR, "Away."), True),
        (Problem(ErrorCode.SERVICE_UNAVAILABLE_ERROR, "Away.", origin=Origin.PROVIDER), False),
        (Problem(ErrorCode.NOT_FOUND_ERROR, "Gone."), False),
    ],
)
async def test_what_those_who_run_the_service_can_mend_is_logged(problem: Problem, *, is_logged: bool) -> None:
    service = FakeService()
    service.failing(problem)
    with capture_logs() as logs:
        await handled(service, Inbound(UPDATE))
    lines = [{"event": "refused", "code": problem.code.value, "reason": problem.detail, "limited": True}]
    assert [{name: line[name] for name in lines[0]} for line in logs] == (lines if is_logged else [])


@pytest.mark.parametrize(("budget", "is_served"), [(0.5, True), (0.0, False), (-0.5, False)])
async def test_a_call_whose_time_is_over_is_not_begun(budget: float, *, is_served: bool) -> None:
    service = FakeService()
    service.policy = DeadlinePolicy(default=budget)
    outcome = await handled(service, Inbound(UPDATE))
    assert (len(service.updates), outcome.refused) == ((1, False) if is_served else (0, True))
    if not is_served:
        assert outcome.problem is not None
        assert outcome.problem.code is ErrorCode.GATEWAY_TIMEOUT_ERROR


async def test_what_is_no_operation_is_no_call() -> None:
    service = FakeService()
    with capture_logs() as logs:
        refusal = invalid([Violation("path", "Is none.")], ErrorCode.NOT_FOUND_ERROR)
        outcome = service.call_handler().refuse(Inbound(UPDATE, RETRY), refusal)
    assert outcome.problem is not None
    assert (outcome.request_id, outcome.problem.outcome, outcome.refused) == ("r-1", CERTAIN, True)
    assert service.records == []
    [line] = logs
    assert (line["event"], line["request_id"], line["peer"]) == ("no such operation", "r-1", "192.0.2.1:7")


async def test_a_read_has_its_own_use_case() -> None:
    service = FakeService()
    service.read_result = lambda query: SequenceResult((Problem(ErrorCode.NOT_FOUND_ERROR, query.sequence_id),))
    outcome = await handled(service, Inbound(QUERY), GET_STEP)
    assert outcome.problem is not None
    assert (outcome.problem.detail, service.updates, service.records[0].method) == ("54", [], "GetStep")


async def test_an_update_knows_its_call() -> None:
    service = FakeService()
    await handled(service, Inbound(UPDATE, RETRY))
    assert service.updates == [structs.replace(UPDATE, is_retry=True, request_id="r-1")]
