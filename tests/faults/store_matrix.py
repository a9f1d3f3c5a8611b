"""What each fault of the database comes to where a history is kept: the data of both the test and the table in docs/faults.md."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from service.domain.errors import ErrorCode as C
from service.domain.errors import Outcome

AWAY: Final = "its connections end, and new ones are refused"
HANGS: Final = "it does not answer"
SLOW: Final = "it answers half a second late"

CALLS: Final[Mapping[str, str]] = {
    "record": "`UpdateStep`, before the write",
    "settle": "`UpdateStep`, after the write",
    "list": "`ListStepChanges`",
    "get": "`GetStepChange`",
    "revert": "`RevertStepChange`, as it reads the change",
    "revert-record": "`RevertStepChange`, before the write",
    "revert-settle": "`RevertStepChange`, after the write",
    "delete": "`DeleteStepChanges`",
}
"""The calls, and where in them the fault strikes."""


@dataclass(frozen=True)
class Expected:
    """What a fault comes to.

    Attributes:
        code: The code that the caller gets; None for success.
        outcome: What the answer says of the step; None for success.
        written: Whether the provider was asked to write.
        state: What the history says of the change when the database is back; empty if it has none.
    """

    code: C | None = None
    outcome: Outcome | None = None
    written: bool = False
    state: str = ""


_REFUSED: Final = Expected(C.SERVICE_UNAVAILABLE_ERROR, Outcome.NOT_APPLIED)
# The answer is the provider's; the database has up to two seconds to note it.
_NOT_SETTLED: Final = Expected(written=True, state="UNKNOWN")
_SETTLED: Final = Expected(written=True, state="APPLIED")

MATRIX: Final[Mapping[str, Mapping[str, Expected]]] = {
    AWAY: dict.fromkeys(CALLS, _REFUSED)
    | dict.fromkeys(("settle", "revert-settle"), _NOT_SETTLED)
    | {"delete": Expected(C.SERVICE_UNAVAILABLE_ERROR, Outcome.UNKNOWN)},
    HANGS: dict.fromkeys(CALLS, _REFUSED)
    # What was on its way to the database arrives when it is back.
    | dict.fromkeys(("settle", "revert-settle"), _SETTLED)
    | {"delete": Expected(C.GATEWAY_TIMEOUT_ERROR, Outcome.UNKNOWN)},
    SLOW: dict.fromkeys(CALLS, Expected())
    | dict.fromkeys(("record", "settle", "revert", "revert-record", "revert-settle"), _SETTLED),
}
"""The faults, each with what it comes to at every call."""


def table() -> str:
    """The table of docs/faults.md."""

    def lines() -> Iterator[str]:
        yield "| fault | call | code | outcome | written | in the history |"
        yield "| --- | --- | --- | --- | --- | --- |"
        for fault, cells in MATRIX.items():
            for call, expected in cells.items():
                code = f"`{expected.code}`" if expected.code else "success"
                outcome = f"`{expected.outcome.value}`" if expected.outcome else ""
                state = f"`{expected.state}`" if expected.state else ""
                written = "yes" if expected.written else "no"
                yield f"| {fault} | {CALLS[call]} | {code} | {outcome} | {written} | {state} |"

    return "\n".join(lines()) + "\n"
