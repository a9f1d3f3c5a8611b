"""A release: what it is made of, and what has to be right before it."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from tools.release import release, release_notes

ROOT = Path(__file__).parents[2]

CHANGELOG = """# Changelog

## Unreleased

- Next.

## 0.2.0 (2026-01-02)

- Second.

## 0.1.0

- First.
"""


def git(root: Path, *arguments: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    return subprocess.run(("git", *who, *arguments), cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of this repository as it is, on main, with a section for its version."""
    root = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(ROOT), str(root))
    git(root, "checkout", "--quiet", "-B", "main")
    for name, value in (("NAME", "A"), ("EMAIL", "a@example.org")):
        monkeypatch.setenv(f"GIT_COMMITTER_{name}", value)
    changelog = root / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("## Unreleased", "## 0.1.0"))
    git(root, "commit", "--quiet", "--all", "--message", "Release 0.1.0")
    return root


def test_notes_are_the_section_of_the_version() -> None:
    assert release_notes(CHANGELOG, "0.2.0") == "- Second.\n"
    assert release_notes(CHANGELOG, "0.1.0") == "- First.\n"


@pytest.mark.parametrize("version", ["0.2", "0.3.0", "0.1.00", ".*"])
def test_a_version_without_a_section_is_refused(version: str) -> None:
    with pytest.raises(SystemExit, match="no section"):
        release_notes(CHANGELOG, version)


@pytest.mark.parametrize("wrong", ["not committed", "made of main", "there already", "no section"])
def test_what_is_not_ready_is_refused(wrong: str, repository: Path, tmp_path: Path) -> None:
    match wrong:
        case "not committed":
            (repository / "README.md").write_text("changed")
        case "made of main":
            git(repository, "checkout", "--quiet", "-b", "other")
        case "there already":
            git(repository, "tag", "v0.1.0")
        case _:
            git(repository, "reset", "--quiet", "--hard", "HEAD~1")
    with pytest.raises(SystemExit, match=wrong):
        release(repository, tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_release_has_packages_components_sums_and_a_tag(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dist"
    assert release(repository, folder) == "v0.1.0"
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    packages = {
        *("seqstep-0.1.0-py3-none-any.whl", "seqstep-0.1.0.tar.gz", "seqstep-0.1.0.cdx.json", "NOTES.md"),
        *("seqstep_client-0.1.0-py3-none-any.whl", "seqstep_client-0.1.0.tar.gz"),
    }
    assert files.keys() == {*packages, "SHA256SUMS"}
    sums = {name: digest for digest, name in map(str.split, files["SHA256SUMS"].decode().splitlines())}
    assert sums == {name: hashlib.sha256(files[name]).hexdigest() for name in packages}
    components = {each["name"] for each in json.loads(files["seqstep-0.1.0.cdx.json"])["components"]}
    assert {"seqstep", "grpcio", "pyqwest"} <= components
    assert not components & {"hatchling", "pytest"}
    shown = git(repository, "tag", "--list", "--format=%(contents)", "v0.1.0")
    assert shown.strip() == f"v0.1.0\n\n{files['NOTES.md'].decode()}".strip()
    assert git(repository, "status", "--porcelain") == ""
