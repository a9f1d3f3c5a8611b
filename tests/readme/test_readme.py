"""The README's commands, run as they stand there, do what it says."""

import re
from pathlib import Path

import pytest

from tests.readme.play import NOT_PLAYED, Played, commands
from tests.readme.reader import play_as_reader

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "README.md"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
COMMANDS = [code for _, code, _ in commands(PAGE.read_text()) if code not in NOT_PLAYED]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> list[Played]:
    return play_as_reader(PAGE, tmp_path_factory.mktemp("reader"))


def masked(text: str) -> str:
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", text)


@pytest.mark.parametrize(
    "index", range(len(COMMANDS)), ids=lambda index: f"{index}-{COMMANDS[index].split(maxsplit=1)[0]}"
)
def test_a_command_does_what_the_page_says(played: list[Played], index: int) -> None:
    command = played[index]
    assert command.command == COMMANDS[index]
    # The one kind of command that is shown to fail says so in its output.
    refused = command.promised.startswith("ERROR:")
    assert (command.status != 0) == refused, command.output
    lines = iter(masked(command.output).splitlines())
    for promised in masked(command.promised).splitlines():
        assert any(line == promised for line in lines), (
            f"{promised!r} is not in, or not in this order:\n{command.output}"
        )


def test_the_details_of_a_refused_call_are_readable(played: list[Played]) -> None:
    [refused] = [each for each in played if each.promised.startswith("ERROR:")]
    assert '"field_violations":[{"field":"x-customer-id"' in refused.output
    assert '"@type":"type.googleapis.com/engagement.v1.UpdateStepResponse"' in refused.output


def test_every_link_of_the_pages_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    named |= set(re.findall(r"entry: make ([a-z-]+)", hooks))
    assert {"test", "check", "generate", "lint", "generated-fresh"} <= named <= targets


def test_hooks_run_what_the_check_runs() -> None:
    [checks] = re.findall(r"^check: (.*?) ##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    hooks = re.findall(r"entry: make ([a-z-]+)", (ROOT / ".pre-commit-config.yaml").read_text())
    assert set(hooks) == set(checks.split()) - {"test", "test-slow"}
