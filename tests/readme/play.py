"""Plays a Markdown page as a reader would: runs its fenced commands, in order, in a copy of the repository.

`python play.py PAGE FOLDER` prints, as JSON, how each command ended. The page names fixed ports; started by `unshare --net`
with `--loopback` it has all ports of a network of its own.
"""

import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

FENCE = re.compile(r"^```(?P<language>sh|python|text)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)

# Commands that stay in the foreground, with what they print when they are ready.
FOREGROUND = {
    "make sandbox": "listening on",
    "make serve": "serving",
    "seqstep sandbox": "listening on",
    "seqstep serve": "serving",
}

# The tests run this page, and not the other way round.
NOT_PLAYED = {"make test"}

SECONDS = 60


@dataclass
class Played:
    """One command and how it ended."""

    command: str
    status: int
    output: str
    promised: str


def commands(page: str) -> Iterator[tuple[str, str, str]]:
    """The language and code of each command of a page, and the output that the page shows for it."""
    fences = [(fence["language"], fence["code"].strip("\n")) for fence in FENCE.finditer(page)]
    for (language, code), (following, output) in zip(fences, [*fences[1:], ("", "")], strict=True):
        if language != "text":
            yield language, code, output if following == "text" else ""


def play(page: str, folder: Path, stack: ExitStack) -> Iterator[Played]:
    """Runs the commands; what they export stays for the next ones."""
    environment = dict(os.environ)
    exported = folder.parent / "environment"
    for language, code, promised in commands(page):
        if code in NOT_PLAYED:
            continue
        if code in FOREGROUND:
            yield Played(code, 0, start(code, FOREGROUND[code], folder, environment, stack), promised)
            continue
        if language == "python":
            arguments = ["python", "-c", code]
        else:
            arguments = ["bash", "-c", f"set -eu -o pipefail\n{code}\nenv -0 > {exported}"]
        done = subprocess.run(
            arguments,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        yield Played(code, done.returncode, done.stdout, promised)
        if exported.exists():
            pairs = exported.read_text().split("\0")
            environment = dict(pair.split("=", 1) for pair in pairs if pair)
            exported.unlink()


def start(command: str, ready: str, folder: Path, environment: dict[str, str], stack: ExitStack) -> str:
    """Starts a command that stays, waits until it is ready, and stops it at the end."""
    process = subprocess.Popen(
        command.split(),
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    stack.callback(process.wait, SECONDS)
    # As Ctrl-C does it: make and what it started get the signal.
    stack.callback(os.killpg, process.pid, 2)
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if ready in line:
            return said
    raise SystemExit(f"{command} ended: {said}")


def loopback_up() -> None:
    """Switches on the loopback device of a new network namespace."""
    up = struct.pack("16sh", b"lo", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, up)


if __name__ == "__main__":
    if "--loopback" in sys.argv:
        loopback_up()
    with ExitStack() as at_the_end:
        played = [asdict(each) for each in play(Path(sys.argv[1]).read_text(), Path(sys.argv[2]), at_the_end)]
    sys.stdout.write(json.dumps(played))
