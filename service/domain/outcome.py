"""What is said about the step after a failure: made in one place, from what was done."""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from service.domain.errors import ErrorCode, Outcome, Problem

# What the same call may get past when it is repeated.
_MAY_PASS: Final = frozenset(
    {
        ErrorCode.CONFLICT_ERROR,
        ErrorCode.TOO_MANY_REQUESTS_ERROR,
        ErrorCode.BAD_GATEWAY_ERROR,
        ErrorCode.SERVICE_UNAVAILABLE_ERROR,
        ErrorCode.GATEWAY_TIMEOUT_ERROR,
    }
)

# The provider's own word that it has no such operation, which has the code of its other failures.
_NEVER_SERVED: Final = 501

_EARLIER_ATTEMPT: Final = (
    "An earlier attempt of this call may have been carried out; repeating the call is safe and settles it."
)


def with_outcome(
    problems: Sequence[Problem], title: str, *, requests_sent: int, changed: Sequence[str] = (), in_doubt: bool = False
) -> tuple[Problem, ...]:
    """The problems of an update with what was done to the step: the outcome, and the sentence about it.

    Args:
        problems: What went wrong, each with what became of the request that it is about.
        title: The provider's name.
        requests_sent: How many requests were sent to the provider.
        changed: The fields that had been changed before.
        in_doubt: Whether an earlier attempt of the same call may have changed something, and the present was not read.
    """
    return tuple(
        _with_outcome(problem, title, requests_sent=requests_sent, changed=changed, in_doubt=in_doubt)
        for problem in problems
    )


def stated(problem: Problem, done: str = "") -> Problem:
    """The problem with all that it says in `detail`: what happened, what was done to the step, what to do."""
    detail = " ".join(part for part in (problem.detail, done, problem.advice) if part)
    return replace(problem, detail=detail, advice="")


def doubted(problem: Problem) -> Problem:
    """The problem of a call that was refused, though an earlier attempt of it may have been carried out."""
    return stated(replace(problem, outcome=Outcome.UNKNOWN), _EARLIER_ATTEMPT)


def _may_pass(problem: Problem) -> bool:
    is_never_served = problem.cause is not None and problem.cause.status == _NEVER_SERVED
    return problem.code in _MAY_PASS and not is_never_served


def _with_outcome(
    problem: Problem, title: str, *, requests_sent: int, changed: Sequence[str], in_doubt: bool
) -> Problem:
    outcome, advice = problem.outcome, problem.advice
    names = ", ".join(changed)
    if changed and outcome is Outcome.UNKNOWN:
        outcome = Outcome.PARTIALLY_APPLIED
        done = f"Before that, {names} had been changed; whether the rest was is not known. Repeating the call is safe and settles it."
    elif changed:
        outcome = Outcome.PARTIALLY_APPLIED
        done = f"Before that, {names} had been changed."
        if _may_pass(problem):
            advice = f"{advice} Repeating the call does the rest.".strip()
    elif outcome is Outcome.UNKNOWN:
        done = "The write may have been carried out; repeating the call is safe and settles it."
    elif in_doubt:
        outcome = Outcome.UNKNOWN
        done = _EARLIER_ATTEMPT
    elif requests_sent:
        done = "Nothing was changed."
    else:
        done = f"Nothing was changed: no request for it was sent to {title}."
    return stated(replace(problem, outcome=outcome, advice=advice), done)
