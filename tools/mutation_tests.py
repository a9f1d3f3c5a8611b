"""Runs the tests of `make mutation`: once to see which of them execute which lines, then those few for each mutant.

It is a program of its own, so that what it imports is of the copy of the repository that it is started in. A process that
has imported and collected everything is forked for each mutant, which costs a tenth of a second where a new one costs several.
"""

import asyncio
import ctypes
import gc
import importlib
import json
import os
import select
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final

import psutil
import pytest

_COMMON: Final = (
    "-q",
    "-n0",
    "-m",
    "not slow",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:randomly",
    "-p",
    "no:xdist.looponfail",
)
_ROOT: Final = Path.cwd()
_PR_SET_CHILD_SUBREAPER: Final = 36
IMPORT_INSTEAD: Final = 77
"""How a process ends that cannot change the code where it is."""


class Recorder:
    """Notes which lines of the service each test executes, and how long it takes."""

    def __init__(self) -> None:
        import coverage  # noqa: PLC0415  # only a recording needs it

        self.coverage = coverage.Coverage(
            data_file=None, source=["service"], concurrency=["thread", "greenlet"], config_file=False, messages=False
        )
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """A test's lines are those from its first fixture to its last clean-up."""
        self.coverage.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self.coverage.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Adds the times of preparation, call and clean-up."""
        if not report.skipped:
            self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed.add(report.nodeid)

    def run(self, tests: Sequence[str]) -> dict[str, Any]:
        """Runs the tests."""
        self.coverage.start()
        result = pytest.main([*_COMMON, *tests], plugins=[self])
        self.coverage.stop()
        if result not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            sys.exit(f"These tests do not run: {' '.join(tests)}")
        for each in self.failed:
            del self.seconds[each]
        data = self.coverage.get_data()
        lines = {
            str(Path(file).relative_to(_ROOT)): {
                line: [context for context in contexts if context in self.seconds]
                for line, contexts in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }
        data.set_query_context("")
        imported = {str(Path(file).relative_to(_ROOT)): data.lines(file) or [] for file in data.measured_files()}
        libraries = [
            name
            for name, module in sys.modules.items()
            if "site-packages" in (getattr(module, "__file__", None) or "") and "coverage" not in name
        ]
        return {
            "failed": sorted(self.failed),
            "seconds": self.seconds,
            "lines": lines,
            "imported": imported,
            "libraries": libraries,
        }


class Forked:
    """Takes requests as lines of JSON from a file, and tests each in a forked process."""

    def __init__(self, requests: Any, answers: Any) -> None:
        self._requests = requests
        self._answers = answers
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def serve(self, test: Callable[[dict[str, Any]], int]) -> None:
        """Answers with how each request's process ended; -1 if it did not in time."""
        self._answer("ready")
        for line in self._requests:
            request = json.loads(line)
            child = os.fork()
            if not child:
                code = 1
                try:
                    code = test(request)
                finally:
                    os._exit(code)
            ended = select.select([file := os.pidfd_open(child)], [], [], request["seconds"])[0]
            os.close(file)
            # What a test has started and left becomes a child of this process.
            for process in psutil.Process().children(recursive=True):
                if process.pid != child or not ended:
                    process.kill()
            _, status = os.waitpid(child, 0)
            while True:
                try:
                    os.waitpid(-1, 0)
                except ChildProcessError:
                    break
            self._answer(os.waitstatus_to_exitcode(status) if ended else -1)

    def _answer(self, answer: Any) -> None:
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()


class Collected:
    """Tests that are collected once, for changes within functions."""

    def __init__(self, forked: Forked) -> None:
        self._forked = forked

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Waits for requests instead of running all."""
        items = {item.nodeid: item for item in session.items}
        if "tests.support.databases" in sys.modules:
            # Migrates SQLite once, and not in each process anew.
            make_tables = sys.modules["tests.support.databases"].make_tables
            with tempfile.TemporaryDirectory() as folder:
                asyncio.run(make_tables(f"sqlite:///{folder}/store.sqlite3"))
        functions = defaultdict(list)
        for each in gc.get_objects():
            if isinstance(each, FunctionType):
                functions[each.__code__.co_filename].append(each)

        def test(request: dict[str, Any]) -> int:
            path = str(_ROOT / request["module"])
            if not replace(path, request["before"], request["after"], functions[path]):
                return IMPORT_INSTEAD
            # One that was renamed since the recording would count as one that fails.
            chosen = [items[name] for name in request["tests"] if name in items]
            for number, item in enumerate(chosen, 1):
                item.config.hook.pytest_runtest_protocol(
                    item=item, nextitem=chosen[number] if number < len(chosen) else None
                )
                if session.testsfailed:
                    session._setupstate.teardown_exact(None)  # noqa: SLF001  # a database's server is stopped, too
                    return 1
            return 0

        self._forked.serve(test)
        return True


def own(code: CodeType) -> object:
    """What a code object does itself, without the functions in it and without the place in the file."""
    constants = [repr(each) for each in code.co_consts if not isinstance(each, CodeType)]
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars, code.co_exceptiontable


def inner(code: CodeType) -> Iterator[CodeType]:
    """A code object and all in it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from inner(each)


def pairs(before: str, after: str, path: str) -> list[tuple[CodeType, CodeType]] | None:
    """The code objects of a module before and after a change; `None` if there are others afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old, new = (list(inner(compile(source, path, "exec", dont_inherit=True))) for source in (before, after))
    same = [each.co_qualname for each in old] == [each.co_qualname for each in new]
    return list(zip(old, new, strict=True)) if same else None


def replace(path: str, before: str, after: str, functions: Sequence[FunctionType]) -> bool:
    """Gives the functions of a module that is imported their new code; not if there is none that has the old one."""
    codes = {old: new for old, new in pairs(before, after, path) or () if old != new}
    found = False
    for function in functions:
        code = codes.get(function.__code__)
        if code is not None:
            try:
                function.__code__ = code
            except ValueError:
                return False  # it needs other variables of the functions around it
            found = True
    return found


def _test_after_import(request: dict[str, Any]) -> int:
    file = Path(request["module"])
    file.write_text(request["after"], encoding="utf-8")
    # Otherwise what was compiled of another mutant of the same size and second would be taken for this one.
    os.utime(file, ns=(request["number"] * 10**9, request["number"] * 10**9))
    return int(pytest.main([*request["options"], *request["tests"]]))


def main() -> None:
    """`record FILE TEST…`, `collected OPTION…` or `imported LIBRARY…`; the latter two are asked on the standard input."""
    match sys.argv[1:]:
        case ["record", file, *tests]:
            Path(file).write_text(json.dumps(Recorder().run(tests)), encoding="utf-8")
            return
        case [kind, *arguments]:
            forked = Forked(os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8"))
            nothing = os.open(os.devnull, os.O_RDWR)
            for number in range(3 if not os.environ.get("MUTATION_DEBUG") else 2):
                os.dup2(nothing, number)
            if kind == "collected":
                pytest.main([*_COMMON, "-x", *arguments], plugins=[Collected(forked)])
                return
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for name in Path(arguments[0]).read_text(encoding="utf-8").split():
                    try:
                        importlib.import_module(name)
                    except Exception:  # noqa: BLE001  # it is imported by whom needs it
                        continue
            options = [*_COMMON, "-x", "-W", "ignore::pytest.PytestAssertRewriteWarning", *arguments[1:]]
            forked.serve(lambda request: _test_after_import({**request, "options": options}))


if __name__ == "__main__":
    main()
