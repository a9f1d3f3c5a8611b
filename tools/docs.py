"""Writes the tables of the documentation from the code and the tests' data, and the page of the contract.

`make generate` calls it.
"""

import re
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Final

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from service.domain.errors import CODES
from service.domain.step import WARNINGS
from service.settings import Settings
from tests.odd_answers.table import rows as odd_answers
from tools import contract_page, manifests

DOCS: Final = Path(__file__).parents[1] / "docs"
_TABLE: Final = re.compile(r"(<!-- table: (?P<name>\w+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def codes() -> Iterator[tuple[str, ...]]:
    """The rows of the table of error codes."""
    yield ("Code", "HTTP", "gRPC status", "Title", "Meaning")
    for code, spec in CODES.items():
        yield (f"`{code.value}`", str(spec.http_status), f"`{spec.grpc_status}`", spec.title, spec.meaning)


def warnings() -> Iterator[tuple[str, ...]]:
    """The rows of the table of warnings."""
    yield ("Warning", "Title", "Meaning")
    for warning, spec in WARNINGS.items():
        yield (f"`{warning.value}`", spec.title, spec.meaning)


def settings() -> Iterator[tuple[str, ...]]:
    """The rows of the table of settings."""
    yield ("Variable", "Default", "Meaning")
    for name, field in Settings.model_fields.items():
        yield (f"`SEQSTEP_{name.upper()}`", _default(field.default), field.description or "")


def _default(value: object) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Enum):
        value = value.value
    if value is None or value in ("", PydanticUndefined):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


TABLES: Final = {"codes": codes, "warnings": warnings, "settings": settings, "odd_answers": odd_answers}
PAGES: Final = ("errors.md", "settings.md", "odd-answers.md")
"""The pages that have them."""


def markdown(rows: Iterator[tuple[str, ...]]) -> str:
    """The rows as a Markdown table; the first one is the head."""
    head, *body = rows
    lines = [head, tuple("---" for _ in head), *body]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def filled(text: str) -> str:
    """The text with all its tables made again."""
    return _TABLE.sub(lambda match: match[1] + markdown(TABLES[match["name"]]()) + match[3], text)


def main() -> None:
    """Makes the tables, the page and the schema of the chart's values again."""
    for path in (DOCS / page for page in PAGES):
        before = path.read_text(encoding="utf-8")
        _write(path, before, filled(before))
    path = DOCS / "contract.md"
    _write(path, path.read_text(encoding="utf-8") if path.exists() else "", contract_page.page())
    _write(manifests.SCHEMA, manifests.SCHEMA.read_text(encoding="utf-8"), manifests.schema())


def _write(path: Path, before: str, after: str) -> None:
    if after != before:
        path.write_text(after, encoding="utf-8")
        sys.stdout.write(f"wrote {path.name}\n")


if __name__ == "__main__":
    main()
