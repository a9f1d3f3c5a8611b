"""Tests that share what takes long to make run in one process, and others wherever one is free."""

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conftest import TOGETHER

ROOT = Path(__file__).parents[2]

TESTS = """
import time

import pytest

@pytest.mark.parametrize("number", range(5))
def test_one(number, worker_id):
    print("ran", __file__, "in", worker_id)
    time.sleep(0.05)
"""


def test_the_files_that_belong_together_are_there() -> None:
    assert [file for file in TOGETHER if not (ROOT / file).is_file()] == []


@pytest.mark.slow
def test_what_belongs_together_runs_in_one_process(tmp_path: Path) -> None:
    together = [file for file, word in TOGETHER.items() if word == "commands of pages"]
    assert len(together) == 2
    for file in (*together, "tests/other/test_other.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("pytest"), "-n2", "--dist=loadgroup", "-rP", "-p", "tests.conftest"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = defaultdict(set)
    for file, process in re.findall(r"ran \S*(tests/\S+) in (gw\d)", done.stdout):
        ran["together" if file in together else "others"].add(process)
    assert len(ran["together"]) == 1
    assert ran["others"] - ran["together"]
