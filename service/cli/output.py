"""How results look to a person: colours and folding on a terminal, plain lines on a pipe."""

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    # gRPC is slow to load.
    from service.client import ErrorDetail, FieldChange, StepWarning

# Texts come from providers and their customers. What would steer a terminal is shown, not obeyed.
_STEERING: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_FINDERS: Final = {"provider": "the provider", "service": "the service"}
_BETWEEN_TAGS: Final = re.compile(r"(?<=>)(?=<)")


def console(*, stderr: bool = False) -> Console:
    """Where things are shown; long lines are left to the terminal, so that they can be copied and searched."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False, markup=False)


def harmless(text: str) -> str:
    """The text with control characters written out."""
    return _STEERING.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def change(item: "FieldChange") -> Text:
    """What a change does to a value, as a unified diff; HTML is broken between tags to be readable."""
    out = Text.assemble((f"  {harmless(item.field)}\n", "bold"))
    for line in _diff(_lines(item.before), _lines(item.after)):
        out.append(f"  {line}\n", style={"+": "green", "-": "red", "@": "cyan"}.get(line[0], ""))
    out.rstrip()
    return out


def _lines(value: Any) -> list[str]:
    if value is None:
        return []
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    return [harmless(line) for line in _BETWEEN_TAGS.sub("\n", text).split("\n")]


def _diff(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    lines = difflib.unified_diff(before, after, lineterm="", n=2)
    # The first two lines name files, and there are none.
    next(lines, None)
    next(lines, None)
    # A value of one line needs no line numbers.
    short = len(before) <= 1 and len(after) <= 1
    return (line for line in lines if not (short and line.startswith("@@")))


def warning(item: "StepWarning") -> Text:
    """A warning in one line."""
    return Text.assemble(
        ("! ", "bold yellow"), (harmless(item.problem_type), "yellow"), f": {harmless(item.detail or item.title)}"
    )


def error(item: "ErrorDetail") -> Text:
    """An error: what happened and what to do, then the facts for whoever digs deeper."""
    facts = [f"outcome: {item.outcome}"]
    if item.origin in _FINDERS:
        facts.append(f"found by {_FINDERS[item.origin]}")
    if item.cause is not None:
        facts.append(f"the provider answered {item.cause.code}")
    if item.retry_after is not None:
        facts.append(f"try again in {item.retry_after:g} s")
    return Text.assemble(
        ("✗ ", "bold red"),
        (f"{harmless(item.code)} ({item.status})", "red"),
        f": {harmless(item.detail or item.title)}\n",
        (f"  {', '.join(facts)}", "dim"),
    )
