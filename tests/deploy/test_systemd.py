"""The systemd unit: verified by systemd's own tools, and what it names compared with the service."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.process_exit import EXIT_CONFIGURATION
from service.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = (FOLDER / "seqstep.service").read_text()
KNOWN = {f"SEQSTEP_{name.upper()}" for name in Settings.model_fields}

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze") and not os.environ.get("CI"),
    reason="needs systemd's tools: apt-get install -y --no-install-recommends systemd",
)


def analyze(*arguments: str | Path) -> str:
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_systemd
def test_systemd_takes_every_line(tmp_path: Path) -> None:
    """It looks for the program too, which is in another place here."""
    unit = tmp_path / "seqstep.service"
    unit.write_text(UNIT.replace("/opt/seqstep/bin/seqstep", sys.executable))
    assert "seqstep.service" not in analyze("verify", "--man=no", unit)


@needs_systemd
def test_systemd_finds_little_exposed() -> None:
    """In tenths; 9.6 is a unit that says nothing. What is left is the network, which it serves on."""
    analyze("security", "--offline=true", "--threshold=15", FOLDER / "seqstep.service")


def test_the_unit_names_what_the_service_has() -> None:
    given = dict(re.findall(r"^Environment=(SEQSTEP_\w+)=(.*)$", UNIT, re.MULTILINE))
    assert set(given) <= KNOWN
    loaded = re.findall(r"^LoadCredential=([\w-]+):", UNIT, re.MULTILINE)
    assert sorted(given.values()) == sorted(f"%d/{name}" for name in loaded)
    assert f"RestartPreventExitStatus={EXIT_CONFIGURATION}\n" in UNIT
    drain, grace = (Settings.model_fields[name].default for name in ("drain_seconds", "stop_grace_seconds"))
    assert f"TimeoutStopSec={drain + grace + 30:.0f}\n" in UNIT


def test_the_environment_has_settings_that_are_no_secrets() -> None:
    lines = [line for line in (FOLDER / "environment").read_text().splitlines() if not line.startswith("#")]
    given = dict(line.split("=", 1) for line in lines)
    secrets = ("DATABASE_URL", "ENCRYPTION_KEYS", "PROVIDER_PROXY")
    assert set(given) <= KNOWN - {f"SEQSTEP_{name}" for name in secrets}


def test_the_page_installs_what_the_unit_reads() -> None:
    page = (FOLDER.parents[1] / "docs" / "one-machine.md").read_text()
    for path in re.findall(r"(?:EnvironmentFile=|LoadCredential=[\w-]+:)(\S+)", UNIT):
        assert re.search(rf"(?:> |install -m 0600 \S+ ){path}$", page, re.MULTILINE), path
