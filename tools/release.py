"""Makes a release of what is committed: packages, list of components, checksums, notes, and a tag.

`make release` calls it. The version is that of pyproject.toml, and its notes are its section of CHANGELOG.md. Nothing leaves
the machine; what to do next is shown at the end.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final, NoReturn

ROOT: Final = Path(__file__).parents[1]


def release(root: Path, folder: Path) -> str:
    """Makes the release of a repository in a folder, and returns the tag that it was given.

    Raises:
        SystemExit: Something that a release needs is missing; nothing was made.
    """
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    tag = f"v{version}"
    notes = release_notes((root / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    if _git(root, "status", "--porcelain"):
        _refuse("There are changes that are not committed; commit or stash them.")
    if _git(root, "branch", "--show-current") != "main":
        _refuse("Releases are made of main; switch to it.")
    if _git(root, "tag", "--list", tag):
        _refuse(f"{tag} is there already; set the next version in pyproject.toml, with its section in CHANGELOG.md.")
    if folder.exists():
        _refuse(f"{folder} is there already; remove it, or keep it and set the next version.")
    folder.mkdir(parents=True)
    build, shipped = _environment(root, folder / "build", "requirements-build.lock"), folder / "shipped"
    for project in (root / "clients" / "python", root):
        _run(project, build, "-m", "hatchling", "build", "--directory", folder)
    python = _environment(root, shipped, "requirements.lock")
    _install(root, python, "--no-deps", "--no-index", *folder.glob("*.whl"))
    _run(
        root,
        build.with_name("cyclonedx-py"),
        *("environment", "--output-reproducible", "--output-file", folder / f"seqstep-{version}.cdx.json", python),
    )
    for environment in (folder / "build", shipped):
        shutil.rmtree(environment)
    (folder / "NOTES.md").write_text(notes, encoding="utf-8")
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    _git(root, "tag", "--annotate", tag, "--message", f"{tag}\n\n{notes}", "--cleanup=whitespace")
    return tag


def release_notes(changelog: str, version: str) -> str:
    """The section of a version.

    Raises:
        SystemExit: There is none.
    """
    section = re.search(rf"^## {re.escape(version)}(?: [^\n]*)?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if section is None or not section[1].strip():
        _refuse(f"CHANGELOG.md has no section `## {version}`; give the changes since the last release that heading.")
    return section[1].strip() + "\n"


def _environment(root: Path, folder: Path, lock: str) -> Path:
    """Makes a virtual environment of what is locked; returns its Python."""
    _run(root, sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    _install(root, python, "--require-hashes", "--requirement", root / lock)
    return python


def _install(root: Path, python: Path, *what: str | Path) -> None:
    pip = ("-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet")
    _run(root, sys.executable, *pip, *what)


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(("git", *arguments), cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def _run(root: Path, *command: str | Path) -> None:
    subprocess.run(command, cwd=root, check=True)


def _refuse(reason: str) -> NoReturn:
    sys.exit(reason)


if __name__ == "__main__":
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    where = ROOT / "dist" / version
    made = release(ROOT, where)
    print(*(f"{file.relative_to(ROOT)}" for file in sorted(where.iterdir())), sep="\n")
    print(f"\nLook at them. Then: git push origin {made}, and publish them with NOTES.md as the text of the release.")
