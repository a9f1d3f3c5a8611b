"""A reader who tries the commands of a page, in a copy of the repository and, where that can be had, on ports of his own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.readme.play import Played

ROOT = Path(__file__).parents[2]
PRIVATE_NETWORK = ["unshare", "--map-root-user", "--net"]


def play_as_reader(page: Path, folder: Path, seconds: float = 110) -> list[Played]:
    """Runs the commands of a page; the copy is made in a folder.

    Raises:
        RuntimeError: A command that stays in the foreground did not start.
    """
    # The virtual environment is made before, since the copy has no network; most often it is there.
    subprocess.run(["make", "setup"], cwd=ROOT, check=True, capture_output=True)
    copy = folder / "seqstep"
    copy.mkdir()
    for path in ROOT.iterdir():
        # What the commands make is the reader's own.
        if path.name not in {"var", ".git"}:
            (copy / path.name).symlink_to(path)
    arguments = [sys.executable, str(Path(__file__).with_name("play.py")), str(page), str(copy)]
    if _has_private_networks():
        arguments = [*PRIVATE_NETWORK, *arguments, "--loopback"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SEQSTEP_", "MAKE", "MFLAGS"))}
    done = subprocess.run(arguments, env=clean, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [Played(**each) for each in json.loads(done.stdout)]


def _has_private_networks() -> bool:
    try:
        return subprocess.run([*PRIVATE_NETWORK, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
