"""`make setup` installs with uv from wherever pip would, and with pip where uv cannot be had."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.setup import uv_environment

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("listed", "environment", "expected"),
    [
        ([], {}, {}),
        (["global.index-url='https://a.example/simple'"], {}, {"UV_DEFAULT_INDEX": "https://a.example/simple"}),
        (
            [":env:.index-url='https://env.example/'", "global.index-url='https://global.example/'"],
            {},
            {"UV_DEFAULT_INDEX": "https://env.example/"},
        ),
        (
            ["install.index-url='https://install.example/'", "global.index-url='https://global.example/'"],
            {},
            {"UV_DEFAULT_INDEX": "https://install.example/"},
        ),
        (
            ["global.extra-index-url='https://a.example/\\nhttps://b.example/'", ":env:.find-links='/wheels /more'"],
            {},
            {"UV_INDEX": "https://a.example/ https://b.example/", "UV_FIND_LINKS": "/wheels,/more"},
        ),
        (
            ["global.index-url='https://a.example/'"],
            {"UV_DEFAULT_INDEX": "https://mine/"},
            {"UV_DEFAULT_INDEX": "https://mine/"},
        ),
        (["download.index-url='https://a.example/'", "global.quiet='1'"], {}, {}),
    ],
)
def test_uv_asks_the_index_that_pip_is_set_up_for(
    listed: list[str], environment: dict[str, str], expected: dict[str, str]
) -> None:
    assert uv_environment(listed, environment) == {"UV_INDEX_STRATEGY": "unsafe-best-match"} | expected


@pytest.mark.slow
def test_pip_installs_where_uv_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "some.lock").write_text("nowhere==1 --hash=sha256:" + "0" * 64 + "\n")
    shutil.copy(ROOT / "requirements-uv.lock", tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "setup.py"), "some.lock"],
        cwd=tmp_path,
        env=environment | {"PIP_NO_INDEX": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode != 0
    said = done.stdout.splitlines()
    assert said[0].startswith("Making .venv with Python 3.")
    assert "Installing uv with pip" in said
    assert any(line.startswith("uv cannot be installed: ") for line in said)
    assert "Installing up to 1 packages with pip, which takes minutes" in said
    assert "install --require-hashes --requirement some.lock failed with status 1" in done.stderr
