"""What `make mutation` tells: whether a change of the code is noticed, and only where the tests pass without it."""

from pathlib import Path

import pytest
from rich.console import Console

from tools import mutation
from tools.mutation import Mutant, Workplace, mutants

MODULE = Path("service/domain/redaction.py")
TESTS = ("tests/domain/test_redaction.py",)


def changed(before: str, after: str) -> Mutant:
    code = MODULE.read_text(encoding="utf-8")
    assert before in code
    return Mutant(MODULE, code.replace(before, after), 1, before, after)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    monkeypatch.chdir(mutation.ROOT)
    monkeypatch.setattr(mutation, "_WHERE", tmp_path)
    return Workplace(0)


@pytest.mark.slow
def test_a_change_is_noticed_if_a_test_fails(workplace: Workplace) -> None:
    original = MODULE.read_bytes()
    assert workplace.is_noticed(changed("secret.lower()", "secret.upper()"), TESTS)
    assert not workplace.is_noticed(changed('"""The text without the secrets."""', '"""The text."""'), TESTS)
    # In the copy alone, and not for long.
    assert MODULE.read_bytes() == original
    assert not workplace.fail(TESTS)


@pytest.mark.slow
def test_tests_that_fail_anyway_are_refused(workplace: Workplace) -> None:
    with pytest.raises(SystemExit, match="fail without any change"):
        mutation._check_tests(Console(), [("tests/domain/no_such_test.py",)])


def test_mutants_change_one_line_of_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mutation.ROOT)
    found = list(mutants([Path("service/domain/deadline.py")], None))
    source = Path("service/domain/deadline.py").read_text(encoding="utf-8").splitlines()
    assert len(found) >= 3
    assert {each.before for each in found} <= {line.strip() for line in source}
    assert all(each.before != each.after and each.code.splitlines() != source for each in found)


def test_every_folder_that_is_mutated_has_tests_that_exist() -> None:
    import tomllib

    settings = tomllib.loads(mutation._SETTINGS.read_text(encoding="utf-8"))
    for path, tests in settings["tests"].items():
        assert (mutation.ROOT / path).exists(), path
        assert tests
        assert all((mutation.ROOT / each).exists() for each in tests), path
    module = Path("service/upstream/http.py")
    assert list(mutation._tests(settings, module)) == settings["tests"][module.as_posix()]
