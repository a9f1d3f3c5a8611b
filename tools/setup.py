"""Makes the virtual environment and installs a lock into it: by uv in seconds, by pip in minutes where uv cannot be had.

`python tools/setup.py requirements-dev.lock` runs with any Python 3.11 or later that has venv, and needs nothing else.
"""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

_VENV: Final = Path(".venv")
_PYTHON: Final = _VENV / "bin" / "python"
_PIP: Final = (str(_PYTHON), "-m", "pip", "--disable-pip-version-check")
_UV_LOCK: Final = "requirements-uv.lock"
_OWN: Final = ("--editable", ".", "--editable", "clients/python")

# pip's settings, and what uv calls them.
_SETTINGS: Final = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "timeout": "UV_HTTP_TIMEOUT",
}
# The later ones win, as they do for pip.
_SECTIONS: Final = ("global", "install", ":env:")


def uv_environment(listed: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Makes uv ask the package index that pip is set up for.

    Args:
        listed: The lines of `pip config list`.
        environment: The environment; what it says to uv itself stays.
    """
    found: dict[str, str] = {}
    for section in _SECTIONS:
        for line in listed:
            name, _, value = line.partition("=")
            where, _, key = name.rpartition(".")
            if where == section and key in _SETTINGS:
                words = str(ast.literal_eval(value)).split()
                found[_SETTINGS[key]] = ("," if key == "find-links" else " ").join(words)
    # pip takes the best version of all indexes; what is taken is checked by its hash.
    return {"UV_INDEX_STRATEGY": "unsafe-best-match"} | found | dict(environment)


def main() -> None:
    """Makes what is missing, and says what it does before each step that takes long."""
    lock = sys.argv[1]
    if not _PYTHON.exists():
        _say(f"Making {_VENV} with Python {sys.version.split()[0]}")
        _run(sys.executable, "-m", "venv", str(_VENV))
    count = sum("==" in line for line in Path(lock).read_text(encoding="utf-8").splitlines())
    uv = _find_uv()
    if uv is None:
        _say(f"Installing up to {count} packages with pip, which takes minutes")
        _run(*_PIP, "install", "--require-hashes", "--requirement", lock)
        _run(*_PIP, "install", "--quiet", "--no-deps", "--no-build-isolation", *_OWN)
        return
    _say(f"Installing up to {count} packages with uv")
    listed = subprocess.run([*_PIP, "config", "list"], capture_output=True, text=True, check=True).stdout.splitlines()
    environment = uv_environment(listed, os.environ)
    # uv draws its progress on a terminal; elsewhere it would list every package.
    quiet = () if sys.stderr.isatty() else ("--quiet",)
    install = (uv, "pip", "install", *quiet, "--python", str(_PYTHON))
    _run(*install, "--require-hashes", "--requirement", lock, environment=environment)
    _run(*install, "--no-deps", "--no-build-isolation", *_OWN, environment=environment)


def _find_uv() -> str | None:
    """The uv of this machine, or the one that pip installs; None if that fails."""
    own = _VENV / "bin" / "uv"
    if found := shutil.which("uv") or (str(own) if own.exists() else None):
        return found
    _say("Installing uv with pip")
    done = subprocess.run(
        [*_PIP, "install", "--quiet", "--require-hashes", "--requirement", _UV_LOCK],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return str(own)
    _say(f"uv cannot be installed: {(done.stderr.strip().splitlines() or ['pip says nothing'])[-1]}")
    return None


def _run(*command: str, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed with status {done.returncode}")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
