"""Prints results: colours and tables for people on a terminal, plain lines on a pipe, JSON for programs."""

import difflib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    # gRPC is slow to load.
    from seqstep_client import ErrorDetail, FieldChange, StepWarning

# Texts come from providers and their customers. Characters that would control the terminal are printed as escapes.
_CONTROL_CHARACTERS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_ORIGINS: Final = {"provider": "the provider", "service": "the service"}
_TIMES: Final = ("_at", "_since")
_BETWEEN_TAGS: Final = re.compile(r"(?<=>)(?=<)")


def console(*, stderr: bool = False) -> Console:
    """Makes a console that leaves long lines to the terminal, so that they can be copied and searched."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False, markup=False)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows: as a table on a terminal, as lines with tabs elsewhere, of which the first has the names of the columns."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            typer.echo("\t".join(row))
        return
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    # Texts of providers are no markup.
    Console(markup=False, emoji=False, highlight=False).print(table)


def print_json(value: Any) -> None:
    """Prints a value as JSON, for programs: dataclasses as objects, and their times in ISO 8601, in UTC."""
    plain = msgspec.json.decode(msgspec.json.encode(value, enc_hook=str))
    typer.echo(msgspec.json.format(msgspec.json.encode(_with_iso_times(plain)), indent=2).decode())


def _with_iso_times(value: Any) -> Any:
    """Replaces Unix times, which are known by the names of their fields."""
    if isinstance(value, list):
        return [_with_iso_times(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: datetime.fromtimestamp(int(each), UTC).isoformat().replace("+00:00", "Z")
        if isinstance(each, float) and name.endswith(_TIMES)
        else _with_iso_times(each)
        for name, each in value.items()
    }


def format_time(seconds: float | None) -> str:
    """Formats a Unix time for people, in UTC; a dash for none."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if seconds is not None else "-"


def escape(text: str) -> str:
    """Replaces control characters by their escapes."""
    return _CONTROL_CHARACTERS.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def format_change(item: "FieldChange") -> Text:
    """Formats a change as a unified diff; HTML is broken between tags to be readable."""
    out = Text.assemble((f"  {escape(item.field)}\n", "bold"))
    for line in _diff(_lines(item.before), _lines(item.after)):
        out.append(f"  {line}\n", style={"+": "green", "-": "red", "@": "cyan"}.get(line[0], ""))
    out.rstrip()
    return out


def _lines(value: Any) -> list[str]:
    if value is None:
        return []
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    return [escape(line) for line in _BETWEEN_TAGS.sub("\n", text).split("\n")]


def _diff(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    lines = difflib.unified_diff(before, after, lineterm="", n=2)
    # The first two lines name files, and there are none.
    next(lines, None)
    next(lines, None)
    # A value of one line needs no line numbers.
    short = len(before) <= 1 and len(after) <= 1
    return (line for line in lines if not (short and line.startswith("@@")))


def body_lines(body: str) -> list[str]:
    """A body in lines, broken between tags to be readable."""
    return _lines(body)


def format_variant(variant: Any) -> str:
    """What is to know of a variant, in a few words."""
    words = ["live" if variant.live else "not live"]
    words += [
        word
        for word, holds in (
            ("reply", variant.reply),
            ("archived template", variant.template_archived),
            ("changed by default", variant.updated_by_default),
        )
        if holds
    ]
    return ", ".join(words)


def format_states(sequence: Any) -> str:
    """Whether a sequence is on, and archived."""
    on = ("on" if sequence.enabled else "off") if sequence.HasField("enabled") else "not known whether on"
    return f"{on}, archived" if sequence.archived else on


def format_wait(seconds: int) -> str:
    """Formats a waiting time for people, in its largest whole unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def format_warning(item: "StepWarning") -> Text:
    """Formats a warning in one line."""
    return Text.assemble(
        ("! ", "bold yellow"), (escape(item.problem_type), "yellow"), f": {escape(item.detail or item.title)}"
    )


def format_error(item: "ErrorDetail") -> Text:
    """Formats an error: what happened and what to do, then its outcome, origin and cause."""
    facts = [f"outcome: {item.outcome}"]
    if item.origin in _ORIGINS:
        facts.append(f"found by {_ORIGINS[item.origin]}")
    if item.cause is not None:
        facts.append(f"the provider answered {item.cause.code}")
    if item.retry_after is not None:
        facts.append(f"try again in {item.retry_after:g} s")
    return Text.assemble(
        ("✗ ", "bold red"),
        (f"{escape(item.code)} ({item.status})", "red"),
        f": {escape(item.detail or item.title)}\n",
        (f"  {', '.join(facts)}", "dim"),
    )
