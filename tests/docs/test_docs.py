"""The tables of the documentation, and the lists in the contract's comments, are the ones in the code."""

import re
from pathlib import Path

import grpc
import pytest
from pydantic import SecretStr

from service.api import contract
from service.api.metadata import ErrorMode
from service.cli.options import API_KEY
from service.cli.root import COMMANDS
from service.domain.errors import CODES, ErrorCode
from service.domain.step import WARNINGS, WarningType
from service.providers import providers
from service.settings import Settings
from tools import contract_page, docs

ROOT = Path(__file__).parents[2]
PROTOS = "".join(path.read_text() for path in sorted((ROOT / "protos").rglob("*.proto")))
NAMES = re.compile(r"`([A-Z][A-Z0-9_]+)`")


def table(page: str, head: str) -> list[list[str]]:
    """The rows of the table of a page that starts with a head cell, as a reader sees them."""
    text = (ROOT / "docs" / page).read_text()
    lines = text[text.index(f"| {head} |") :].split("\n\n")[0].splitlines()
    rows = [line.strip("|").split(" | ") for line in lines if line.startswith("|")]
    return [[re.sub(r"^`([^`]*)`$", r"\1", cell.strip()) for cell in row] for row in rows[2:]]


def test_the_codes_are_those_of_the_code() -> None:
    rows = table("errors.md", "Code")
    assert [row[0] for row in rows] == [code.value for code in ErrorCode]
    for name, http, status, title, meaning in rows:
        spec = CODES[ErrorCode(name)]
        assert (int(http), status, title, meaning) == (spec.http_status, spec.grpc_status, spec.title, spec.meaning)


def test_the_warnings_are_those_of_the_code() -> None:
    rows = table("errors.md", "Warning")
    assert [row[0] for row in rows] == [warning.value for warning in WarningType]
    for name, title, meaning in rows:
        spec = WARNINGS[WarningType(name)]
        assert (title, meaning) == (spec.title, spec.meaning)


def test_the_settings_are_those_of_the_code() -> None:
    rows = {row[0]: row for row in table("settings.md", "Variable")}
    assert list(rows) == [f"SEQSTEP_{name.upper()}" for name in Settings.model_fields]
    plain = Settings.model_construct()
    for name in Settings.model_fields:
        _, default, meaning = rows[f"SEQSTEP_{name.upper()}"]
        value = getattr(plain, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        shown = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        assert default == shown
        assert meaning == Settings.model_fields[name].description


@pytest.mark.parametrize("page", docs.PAGES)
def test_the_tables_are_fresh(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert docs.filled(text) == text, "run `make generate`"


def test_the_page_of_the_contract_is_fresh() -> None:
    page = (ROOT / "docs" / "contract.md").read_text()
    assert contract_page.page() == page, "run `make generate`"
    # And has all that there is, with its comment.
    for name in re.findall(r"^(?:service|message|enum) (\w+)", PROTOS, re.MULTILINE):
        assert f"\n## {name}\n\n" in page
    for name in re.findall(r"^  (?:.*\s)?(\w+) = \d+(?: \[deprecated = true\])?;", PROTOS, re.MULTILINE):
        assert re.search(rf"^\| (?:~~)?`{name}`(?:~~)? \| .* \| [A-Z].{{5,}} \|$", page, re.MULTILINE), name


def test_every_code_and_warning_in_the_contract_is_in_the_code() -> None:
    known = {*ErrorCode, *WarningType, *re.findall(r"^\s+([A-Z_]+) = \d", PROTOS, re.MULTILINE)}
    words = {"UPPER_SNAKE_CASE"}
    assert set(NAMES.findall(PROTOS)) - words <= known


def test_the_statuses_in_the_contract_are_grpcs_and_those_of_refusals() -> None:
    [listed] = re.findall(r"ends with a non-OK status:\s+//\s+([A-Z_,\s/or]+)\.", PROTOS)
    statuses = set(re.findall(r"[A-Z_]{3,}", listed))
    assert statuses <= {status.name for status in grpc.StatusCode}
    assert statuses == {
        "INVALID_ARGUMENT",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "INTERNAL",
    }


def test_the_contract_lists_the_metadata_that_is_read() -> None:
    listed = set(re.findall(r"//   - `(x-[a-z-]+)`", PROTOS))
    read = {
        contract.CUSTOMER_ID,
        contract.PROVIDER_NAME,
        contract.API_KEY,
        contract.REQUEST_ID,
        contract.ERROR_MODE,
    }
    assert listed == read
    [listed_providers] = re.findall(r"`x-provider-name` \(required\): ([^;]+);", PROTOS)
    assert set(re.findall(r"`(\w+)`", listed_providers)) == set(providers())
    [modes] = re.findall(r"`x-error-mode` \(optional\): ([^\n]+), see", PROTOS)
    assert set(re.findall(r"`(\w+)`", modes)) == {mode.value for mode in ErrorMode}


def test_every_setting_that_a_page_names_exists() -> None:
    known = {f"SEQSTEP_{name.upper()}" for name in Settings.model_fields} | {API_KEY, "SEQSTEP_ADDRESS"}
    pages = [ROOT / "README.md", ROOT / "Dockerfile", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        assert set(re.findall(r"\bSEQSTEP_[A-Z_]+\b", page.read_text())) <= known, page.name


def test_every_command_that_a_page_names_exists() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        # There it is the name of a release or a resource.
        text = re.sub(r"^(?:helm|kubectl (?:create|delete)) .*", "", page.read_text(), flags=re.MULTILINE)
        for name in re.findall(r"(?:`|^|\s)seqstep ([a-z][a-z-]+)", text):
            assert name in COMMANDS, f"{page.name}: seqstep {name}"
