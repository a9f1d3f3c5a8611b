"""What a part of the measurements found: shown on a terminal, kept as JSON, and written into docs/performance.md."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeAlias

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

_MARKED: Final = re.compile(r"(<!-- bench: (?P<name>\w+) -->\n).*?(<!-- end -->\n)", re.DOTALL)

Row: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """Values of several rounds: their median, the least and the greatest."""

    middle: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(median(values), min(values), max(values))

    @classmethod
    def ratio(cls, values: Sequence[float], to: Sequence[float]) -> "Spread":
        """Of each round's value to the other one of the same round."""
        return cls.of([value / other for value, other in zip(values, to, strict=True)])

    def show(self, digits: int = 0, unit: str = "") -> str:
        if self.least == self.greatest:
            return f"{self.middle:,.{digits}f}{unit}"
        return f"{self.middle:,.{digits}f}{unit} ({self.least:,.{digits}f}..{self.greatest:,.{digits}f})"


def percentiles(values: Sequence[float], scale: float = 1.0) -> dict[str, float]:
    """Values by percentile, multiplied; nothing if there are none."""
    ordered = sorted(values)
    if not ordered:
        return {}
    shares = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
    return {name: ordered[int(share * (len(ordered) - 1))] * scale for name, share in shares}


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        title: What it shows, in a few words.
        columns: Its head.
        rows: Its cells.
    """

    title: str
    columns: Row
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Goal:
    """Something that was to be reached.

    Attributes:
        what: The goal.
        measured: What was found.
        met: Whether that is the goal.
    """

    what: str
    measured: str
    met: bool


@dataclass(frozen=True, slots=True)
class Section:
    """What one part found.

    Attributes:
        tables: Its tables.
        goals: The goals that it speaks to.
        notes: What has to be known to read the tables.
        data: The numbers behind them.
        wrong: Whether it found an error, rather than a slow moment.
    """

    tables: Sequence[Table]
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = ()
    data: dict[str, Any] = field(default_factory=dict)
    wrong: bool = False


def show(section: Section, console: Console) -> None:
    """Prints a part."""
    for table in section.tables:
        rich = RichTable(title=table.title, title_justify="left", title_style="bold")
        for number, column in enumerate(table.columns):
            rich.add_column(column, justify="right" if number else "left")
        for row in table.rows:
            rich.add_row(*map(Text, row))
        console.print(rich)
    for note in section.notes:
        console.print(note, markup=False, highlight=False)
    for goal in section.goals:
        mark = "[green]✓[/]" if goal.met else "[red]✗[/]"
        console.print(f"{mark} {goal.what}: [bold]{goal.measured}[/]", highlight=False)
    console.print()


def keep(folder: Path, name: str, section: Section, circumstances: dict[str, Any]) -> dict[str, Any]:
    """Puts a part in the place of an earlier one in `performance.json`, and returns all parts."""
    path = folder / "performance.json"
    parts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    parts[name] = circumstances | asdict(section)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(parts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return parts


def write_tables(document: Path, parts: dict[str, Any]) -> None:
    """Makes the tables between the marks of a document again."""
    before = document.read_text(encoding="utf-8")

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        if name == "goals":
            return match[1] + "\n" + _goals(parts) + "\n" + match[3]
        return match[1] + "\n" + _markdown(parts[name]) + "\n" + match[3] if name in parts else match[0]

    document.write_text(_MARKED.sub(fill, before), encoding="utf-8")


def _goals(parts: dict[str, Any]) -> str:
    rows = [
        (goal["what"], goal["measured"], "yes" if goal["met"] else "**no**", f"`{name}`")
        for name, part in parts.items()
        for goal in part["goals"]
    ]
    return _markdown_table(("goal", "measured", "met", "part"), rows)


def _markdown(part: dict[str, Any]) -> str:
    blocks = [f"**{table['title']}**\n\n{_markdown_table(table['columns'], table['rows'])}" for table in part["tables"]]
    blocks += [f"{note}\n" for note in part["notes"]]
    blocks.append(f"Measured on {part['at']}, in {part['took']:.0f} s, on {'; '.join(part['machine'])}.\n")
    return "\n".join(blocks)


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    marks = ["---", *("---:" for _ in columns[1:])]
    lines = [columns, marks, *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
