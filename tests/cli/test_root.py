"""`seqstep` itself: its help, its version, its completion, and how little it loads for them."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from service.cli.root import COMMANDS, load_command
from tests.support.command import run_here, run_process
from tests.support.processes import ROOT

# What takes long to load.
HEAVY = {"aiohttp", "alembic", "fastapi", "grpc", "httpx", "pydantic", "pyqwest", "rich", "sqlalchemy", "structlog"}
SHOW_LOADED = """
import os, sys
import service.cli.root as root
root.exit_process = lambda status: print("loaded", *{name.partition(".")[0] for name in sys.modules})
sys.argv = ["seqstep", *sys.argv[1:]]
root.main()
"""


def run_python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-c", script, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_of_a_command_is_the_first_line_of_its_help(name: str) -> None:
    assert (load_command(name).help or "").partition("\n")[0] == COMMANDS[name]


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("--version",), ()])
def test_help_and_version_load_nothing_heavy(arguments: tuple[str, ...]) -> None:
    shown = run_python(SHOW_LOADED, *arguments)
    loaded = set(shown.stdout.rpartition("loaded ")[2].split())
    assert "typer" in loaded, shown.stderr
    assert not loaded & HEAVY


def test_a_service_without_http_does_not_load_fastapi() -> None:
    shown = run_python("import sys, service.app; print(*sys.modules)")
    assert "grpc" in shown.stdout.split()
    assert not {"fastapi", "uvicorn", "alembic", "aiohttp", "typer"} & set(shown.stdout.split()), shown.stderr


def test_the_version_is_that_of_the_package() -> None:
    assert run_process(os.environ, "--version").out == f"seqstep {version('seqstep')}\n"


@pytest.mark.parametrize("arguments", [("-h",), ("app", "-h"), ("app", "create", "-h"), ("update-step", "-h")])
def test_help_has_a_short_option_everywhere(arguments: tuple[str, ...]) -> None:
    shown = run_here(os.environ, *arguments)
    assert shown.status == 0
    assert f"Usage: seqstep {' '.join(arguments[:-1])}".rstrip() in shown.out


def test_an_unknown_command_is_refused() -> None:
    shown = run_process(os.environ, "conection")
    assert shown.status == 2
    assert "No such command 'conection'" in shown.err
    assert "connection" in shown.err


@pytest.mark.parametrize(
    ("line", "word", "offered"), [("seqstep conn", 1, "connection"), ("seqstep app ro", 2, "rotate-key")]
)
def test_a_shell_completes_commands(line: str, word: int, offered: str) -> None:
    variables = {"_SEQSTEP_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(word)}
    assert run_here(os.environ | variables).out.split() == [offered]
