"""What is said about the step after a failure."""

import pytest

from service.domain.errors import MAX_VIOLATIONS, Cause, ErrorCode, Outcome, Problem, Violation, invalid
from service.domain.outcome import doubted, with_outcome

AGAIN = "Repeating the call does the rest."


def said(problem: Problem, **more: object) -> Problem:
    [found] = with_outcome([problem], "Apollo", **{"requests_sent": 1, **more})  # type: ignore[arg-type]
    assert found.advice == ""
    return found


@pytest.mark.parametrize(
    ("more", "outcome", "sentence"),
    [
        ({}, Outcome.NOT_APPLIED, "No. Nothing was changed. Wait."),
        (
            {"requests_sent": 0},
            Outcome.NOT_APPLIED,
            "No. Nothing was changed: no request for it was sent to Apollo. Wait.",
        ),
        ({"in_doubt": True}, Outcome.UNKNOWN, "An earlier attempt of this call may have been carried out"),
        ({"changed": ["a", "b"]}, Outcome.PARTIALLY_APPLIED, f"No. Before that, a, b had been changed. Wait. {AGAIN}"),
        ({"changed": ["a"], "in_doubt": True}, Outcome.PARTIALLY_APPLIED, "Before that, a had been changed."),
    ],
)
def test_a_refusal_says_what_was_done(more: dict[str, object], outcome: Outcome, sentence: str) -> None:
    problem = said(Problem(ErrorCode.CONFLICT_ERROR, "No.", advice="Wait."), **more)
    assert problem.outcome is outcome
    assert sentence in problem.detail


@pytest.mark.parametrize(
    ("changed", "outcome", "sentence"),
    [
        ((), Outcome.UNKNOWN, "The write may have been carried out; repeating the call is safe and settles it."),
        (("a",), Outcome.PARTIALLY_APPLIED, "Before that, a had been changed; whether the rest was is not known."),
    ],
)
def test_a_doubt_stays_one(changed: tuple[str, ...], outcome: Outcome, sentence: str) -> None:
    problem = said(Problem(ErrorCode.BAD_GATEWAY_ERROR, "No.", outcome=Outcome.UNKNOWN), changed=changed)
    assert problem.outcome is outcome
    assert sentence in problem.detail
    assert AGAIN not in problem.detail


@pytest.mark.parametrize(
    ("code", "status", "may_pass"),
    [
        (ErrorCode.BAD_GATEWAY_ERROR, 500, True),
        (ErrorCode.BAD_GATEWAY_ERROR, 501, False),
        (ErrorCode.BAD_GATEWAY_ERROR, 502, True),
        (ErrorCode.SERVICE_UNAVAILABLE_ERROR, None, True),
        (ErrorCode.UNPROCESSABLE_ENTITY_ERROR, 422, False),
    ],
)
def test_the_rest_is_promised_only_where_it_may_work(code: ErrorCode, status: int | None, may_pass: bool) -> None:  # noqa: FBT001
    cause = Cause(status, "", {}) if status is not None else None
    assert (AGAIN in said(Problem(code, "No.", cause=cause), changed=["a"]).detail) is may_pass


def test_a_refused_retry_may_have_been_carried_out() -> None:
    problem = doubted(Problem(ErrorCode.TOO_MANY_REQUESTS_ERROR, "Full."))
    assert problem.outcome is Outcome.UNKNOWN
    assert problem.detail.startswith("Full. An earlier attempt of this call may have been carried out")


@pytest.mark.parametrize("count", [1, MAX_VIOLATIONS, MAX_VIOLATIONS + 1, 100])
def test_twenty_broken_parts_are_named_and_more_are_mentioned(count: int) -> None:
    refusal = invalid([Violation(f"f{number}", "Must not.") for number in range(count)])
    assert [each.field for each in refusal.violations] == [f"f{number}" for number in range(min(count, 20))]
    assert ("only the first 20 are named" in refusal.problem.detail) is (count > 20)
