"""What `make mutation` tells: whether a change of the code is noticed, and only where the tests pass without it."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cosmic_ray import work_item
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from rich.console import Console

from tools import mutation
from tools.mutation import Mutant, Record, Result, Workplace, mutant_of, work

MODULE = Path("service/domain/json_value.py")
FOLDER = "tests/domain/test_json_value.py"


def changed(before: str, after: str, *, imports: bool) -> Mutant:
    code = MODULE.read_text(encoding="utf-8")
    assert before in code
    return Mutant(MODULE, code.replace(before, after), 1, before, after, imports=imports)


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mutation.ROOT)
    monkeypatch.setattr(mutation, "_WHERE", tmp_path)


@pytest.fixture
def recorded() -> Record:
    return mutation.record(Console(), [FOLDER])


@pytest.fixture
def workplace(recorded: Record) -> Iterator[Workplace]:
    made = Workplace(0, [FOLDER], recorded.libraries)
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("imports", [False, True])
def test_a_change_is_noticed_if_a_test_fails(workplace: Workplace, recorded: Record, *, imports: bool) -> None:
    original = MODULE.read_bytes()
    tests = list(recorded.seconds)
    noticed = changed('path += f"[{part}]"', 'path += f"({part})"', imports=imports)
    harmless = changed("for part in parts:", "for part in list(parts):", imports=imports)
    endless = changed('path = ""', 'path = "" * any(iter(int, 1))', imports=imports)
    assert workplace.test(noticed, tests, 60) is work_item.TestOutcome.KILLED
    assert workplace.test(harmless, tests, 60) is work_item.TestOutcome.SURVIVED
    assert workplace.test(endless, tests, 3) is work_item.TestOutcome.INCOMPETENT
    # In the copy alone, and not for long.
    assert MODULE.read_bytes() == original
    assert workplace.test(harmless, tests, 60) is work_item.TestOutcome.SURVIVED


@pytest.mark.slow
def test_tests_that_do_not_run_are_refused() -> None:
    with pytest.raises(SystemExit, match="do not run"):
        mutation.record(Console(), ["tests/domain/no_such_test.py"])


@pytest.mark.slow
def test_a_test_that_fails_anyway_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("tests", "tools"):
        (tmp_path / folder).mkdir()
    shutil.copy(mutation.ROOT / "tools" / "mutation_tests.py", tmp_path / "tools")
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n", encoding="utf-8")
    (tmp_path / "tests" / "test_any.py").write_text(
        "def test_good():\n    pass\n\n\ndef test_bad():\n    assert False\n", encoding="utf-8"
    )
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    recorded = mutation.record(Console(soft_wrap=True), ["tests"])
    assert list(recorded.seconds) == ["tests/test_any.py::test_good"]
    assert "test_any.py::test_bad fails without any change" in capsys.readouterr().out


def test_a_mutant_meets_the_tests_that_execute_it_the_fastest_first() -> None:
    seconds = {"a::slow": 0.2, "a::fast": 0.1, "a::other": 0.1, "b::fast": 0.0, "a::minutes": 60.0}
    lines = {"10": ["a::slow", "a::fast", "b::fast", "a::minutes"], "12": ["a::other"]}
    recorded = Record([{"seconds": seconds, "libraries": [], "lines": {"m.py": lines}, "imported": {"m.py": [1, 3]}}])
    mutant = Mutant(Path("m.py"), "", 11, "", "", range(10, 12), imports=False)
    assert recorded.tests(mutant, ["a"]) == ["a::fast", "a::slow"]
    assert not recorded.is_imported(mutant)
    # What an import executes may be looked at by any test.
    constant = Mutant(Path("m.py"), "", 3, "", "", range(3, 4))
    assert recorded.tests(constant, ["a"]) == ["a::fast", "a::other", "a::slow"]
    # Where no line of a statement was seen, those of its function count.
    unseen = Mutant(Path("m.py"), "", 13, "", "", range(13, 14), range(9, 20), imports=False)
    assert recorded.tests(unseen, ["a"]) == ["a::fast", "a::other", "a::slow"]
    assert recorded.is_imported(constant)


def mutants(module: Path, folder: Path) -> list[Mutant]:
    return [each for each in map(mutant_of, work([module], None, folder)) if each is not None]


def test_mutants_change_one_line_of_a_module(tmp_path: Path) -> None:
    source = Path("service/domain/deadline.py").read_text(encoding="utf-8").splitlines()
    found = mutants(Path("service/domain/deadline.py"), tmp_path)
    assert len(found) >= 3
    assert {each.before for each in found} <= {line.strip() for line in source}
    assert all(each.before != each.after and each.code.splitlines() != source for each in found)
    assert all(each.line in each.lines for each in found)


def test_a_change_is_cosmic_rays_and_leaves_no_trace(tmp_path: Path) -> None:
    source = MODULE.read_text(encoding="utf-8")
    found = work([MODULE], None, tmp_path)
    for item in found[::12]:
        [change] = item.mutations
        expected = mutate_code(source, get_operator(change.operator_name)(), change.occurrence)
        assert mutation._mutated(change) == expected != source
    assert mutation._tree(MODULE)[0].get_code() == source


def test_what_is_no_behaviour_is_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("service").mkdir()
    module = Path("service/module.py")
    module.write_text(
        "from dataclasses import dataclass\n\n\n"
        "@dataclass(frozen=True)\nclass Name:\n    text: str | None = None\n\n\n"
        "LIMIT = 3\n\n\n"
        "def short(name: Name) -> bool:\n    if name is None:\n        return False\n"
        "    return (\n        len(name.text)\n        < LIMIT\n    )\n",
        encoding="utf-8",
    )
    found = {(each.before, each.after, each.imports, each.lines) for each in mutants(module, tmp_path)}
    assert ("LIMIT = 3", "LIMIT = 4", True, range(9, 10)) in found
    assert ("len(name.text)", "len(name.text) <= LIMIT", False, range(15, 19)) in found
    assert ("if name is None:", "if name is not None:", False, range(13, 14)) in found
    assert {before for before, *_ in found} == {"LIMIT = 3", "len(name.text)", "if name is None:", "return False"}


def test_nothing_changed_is_nothing_to_test(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["mutation.py", "service/__init__.py", "--changed-since", "HEAD"])
    assert mutation.main() == 0
    assert capsys.readouterr().out == "Nothing of it can be changed.\n"


def test_the_lines_that_count_are_those_since_main_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def git(*arguments: str) -> str:
        author = ("-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *author, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    def commit() -> str:
        git("commit", "--quiet", "--allow-empty", "--message", "x")
        return git("rev-parse", "HEAD")

    git("init", "--quiet", "--initial-branch", "main")
    assert mutation._base() is None
    first = commit()
    assert mutation._base() is None
    second = commit()
    assert mutation._base() == first
    git("switch", "--quiet", "--create", "work")
    commit()
    commit()
    assert mutation._base() == second
    git("update-ref", "refs/remotes/origin/main", first)
    assert mutation._base() == first


def test_a_page_shows_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- mutation: before -->\nold\n<!-- end -->\n<!-- mutation: after -->\n<!-- end -->\n", encoding="utf-8"
    )
    monkeypatch.setattr(sys, "argv", ["mutation.py", "--sample", "5", "--seed", "2", "--page", str(page), "after"])
    survived = [Mutant(MODULE, "", 1, "", "")]
    results = {"service/domain": Result(mutants=9, equivalent=1, killed=2, timed_out=1, survived=survived)}
    mutation._write(page, "after", list(mutation._rows(results)))
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!-- mutation: before -->\nold\n<!-- end -->\n<!-- mutation: after -->\n")
    assert 'make mutation MUTATION_ARGS="--sample 5 --seed 2"' in text
    assert "| `service/domain` | 9 | 1 | 4 | 3 | 1 | 1 | 75.0 % |\n| all | 9 | 1 | 4 | 3 | 1 | 1 | 75.0 % |\n" in text
    with pytest.raises(SystemExit, match="no place for other"):
        mutation._write(page, "other", [])


def test_what_is_listed_as_no_difference_is_in_the_code() -> None:
    settings = tomllib.loads(mutation._SETTINGS.read_text(encoding="utf-8"))
    for each in settings.get("equivalent", ()):
        lines = {line.strip() for line in Path(each["module"]).read_text(encoding="utf-8").splitlines()}
        assert each["before"] in lines, each
        assert each["reason"]
        assert each["before"] not in each["after"]


def test_every_folder_that_is_mutated_has_tests_that_exist() -> None:
    settings = tomllib.loads(mutation._SETTINGS.read_text(encoding="utf-8"))
    for path, tests in settings["tests"].items():
        assert (mutation.ROOT / path).exists(), path
        assert tests
        assert all((mutation.ROOT / each).exists() for each in tests), path
    module = Path("service/upstream/http.py")
    assert list(mutation._tests(settings, module)) == settings["tests"][module.as_posix()]
