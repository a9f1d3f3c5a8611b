"""The checks of `make check` can fail, and each says what to do."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATH = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
CONTRACT = "protos/engagement/v1/sequence_step_service.proto"


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "GIT_"))}
    return subprocess.run(
        command,
        cwd=folder,
        env=clean | {"PATH": PATH},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of its own with the contract, and nothing committed."""
    for name in ("protos", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    assert run(tmp_path, "git", "init", "--quiet", "--initial-branch", "main").returncode == 0
    return tmp_path


def commit(folder: Path) -> None:
    run(folder, "git", "add", ".")
    author = ("-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    assert run(folder, "git", *author, "commit", "--quiet", "--message", "x").returncode == 0


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / CONTRACT
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


FIELD = "  bool validate_only = 4;"
ADDED = f"{FIELD}\n  // Another one.\n  string another = 99;"


def test_the_first_contract_breaks_nobody(repository: Path) -> None:
    commit(repository)
    done = run(repository, "tools/breaking.sh")
    assert done.returncode == 0
    assert "skipped, there is no earlier contract on main" in done.stdout


def test_a_field_may_be_added_and_none_may_go(repository: Path) -> None:
    commit(repository)
    edit(repository, FIELD, ADDED)
    assert run(repository, "tools/breaking.sh").returncode == 0
    edit(repository, ADDED, "  reserved 4;")
    broken = run(repository, "tools/breaking.sh")
    assert broken.returncode != 0
    assert "validate_only" in broken.stdout


def test_a_break_is_found_after_it_was_committed_too(repository: Path) -> None:
    """As in CI, where main is the commit under test."""
    commit(repository)
    edit(repository, FIELD, "  string validate_only = 4;")
    commit(repository)
    (repository / "later.txt").write_text("another commit, that leaves the contract alone")
    commit(repository)
    assert run(repository, "tools/breaking.sh").returncode != 0


def test_a_changed_go_package_breaks_whoever_compiles_again(repository: Path) -> None:
    commit(repository)
    edit(repository, "github.com/seqstep/seqstep/generated", "example.com/elsewhere")
    broken = run(repository, "tools/breaking.sh")
    assert broken.returncode != 0
    assert "go_package" in broken.stdout


def test_the_one_exception_is_for_one_contract_and_one_rule(repository: Path) -> None:
    commit(repository)
    script = repository / "tools" / "breaking.sh"
    [line] = [line for line in script.read_text().splitlines() if line.startswith("unreleased=")]
    tree = run(repository, "git", "rev-parse", "HEAD:protos").stdout.strip()
    script.write_text(script.read_text().replace(line, f"unreleased={tree}"))
    edit(repository, "github.com/seqstep/seqstep/generated", "example.com/elsewhere")
    assert run(repository, "tools/breaking.sh").returncode == 0
    edit(repository, FIELD, "  reserved 4;")
    broken = run(repository, "tools/breaking.sh")
    assert broken.returncode != 0
    assert "validate_only" in broken.stdout
    assert "go_package" not in broken.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what `make generated-fresh` and `make proto` read, with the virtual environment of this one."""
    assert run(ROOT, "make", "setup").returncode == 0
    for name in ("protos", "generated", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "buf.yaml", "buf.gen.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "clients" / "python").mkdir(parents=True)
    for name in (".venv", "requirements-dev.lock", "pyproject.toml", "clients/python/pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.slow
def test_stubs_that_are_not_what_the_contract_gives_are_found(copy: Path) -> None:
    fresh = run(copy, "make", "generated-fresh")
    assert fresh.returncode == 0, fresh.stdout
    edit(copy, FIELD, ADDED)
    stale = run(copy, "make", "generated-fresh")
    assert stale.returncode != 0
    assert "run make generate and commit what it changes" in stale.stdout


def test_make_says_what_there_is() -> None:
    shown = run(ROOT, "make")
    assert shown.returncode == 0
    for target in (
        "setup",
        "demo",
        "test",
        "check",
        "serve",
        "sandbox",
        "generate",
        "polyglot",
        "packages",
        "first-calls",
        "bench",
        "lock",
        "clean",
    ):
        assert f"  {target} " in shown.stdout


def test_make_keeps_what_python_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    done = run(ROOT, "make", "--eval=show: ; @echo $${PYTHONDONTWRITEBYTECODE-kept}", "show")
    assert done.stdout == "kept\n"


@pytest.mark.slow
def test_setup_without_a_fit_python_says_what_is_needed(copy: Path) -> None:
    (copy / ".venv").unlink()
    done = run(copy, "make", "setup", "PYTHON=/nowhere/python3")
    assert done.returncode != 0
    assert "Python 3.11 or later with venv is needed" in done.stdout


def test_locks_name_no_index_and_hash_everything() -> None:
    for path in ROOT.glob("requirements*.lock"):
        text = path.read_text()
        assert "://" not in text
        packages = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
        assert packages
        assert all(line.endswith("\\") for line in packages)


def test_the_image_is_built_well() -> None:
    done = run(ROOT, "hadolint", "Dockerfile")
    assert done.returncode == 0, done.stdout
    final = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    for needed in ("USER 10001", "HEALTHCHECK", "STOPSIGNAL SIGTERM", "VOLUME", "EXPOSE", "org.opencontainers.image"):
        assert needed in final
    assert "pip" not in final
