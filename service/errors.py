"""The two ways in which a call fails, as exceptions that hold their facts and know nothing of transport."""

from collections.abc import Sequence

from service.model import ErrorCode, Origin, Outcome, Problem, Violation


class CallRefused(Exception):
    """The call itself is wrong or cannot be served.

    Attributes:
        problem: What went wrong; nothing was changed at the provider.
        violations: The parts of the call that break a rule, if that is what is wrong.
    """

    def __init__(self, problem: Problem, violations: Sequence[Violation] = ()) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.violations = tuple(violations)


class UpdateFailed(Exception):
    """The update was attempted, or judged on the customer's behalf, and failed.

    Attributes:
        problems: What went wrong, in the provider's order; at least one.
    """

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.detail for problem in problems))
        self.problems = problems


def invalid(violations: Sequence[Violation], code: ErrorCode = ErrorCode.VALIDATION_ERROR) -> CallRefused:
    """The refusal of a call because of the parts of it that break a rule; `violations` has at least one."""
    detail = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
    return CallRefused(Problem(code, detail), violations)


def unauthenticated() -> CallRefused:
    """The refusal of a caller, in the same words whatever is wrong with its key, so that they give nothing away."""
    return CallRefused(
        Problem(
            ErrorCode.UNAUTHORIZED_ERROR,
            "The API key is missing or not valid. Send the key of your application as `x-api-key`; "
            "`seqstep app create` or `seqstep app rotate-key` makes one.",
        )
    )


def failed(
    code: ErrorCode,
    detail: str,
    *,
    origin: Origin = Origin.SERVICE,
    outcome: Outcome = Outcome.NOT_APPLIED,
    retry_after: float | None = None,
) -> UpdateFailed:
    """A failure with one problem that no provider answer stands behind."""
    return UpdateFailed(Problem(code, detail, origin=origin, outcome=outcome, retry_after=retry_after))


class RefreshRefused(Exception):
    """A token cannot be renewed, and no retry helps: the customer has to connect again.

    Attributes:
        reason: What the provider said, for people.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RefreshFailed(Exception):
    """A token could not be renewed this time.

    Attributes:
        reason: What happened, for people.
        code: The kind of error that it is to a caller who cannot go on without the token.
        retry_after: Seconds after which it may work, if known.
    """

    def __init__(self, reason: str, code: ErrorCode, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.retry_after = retry_after
