"""Changes one thing in the code at a time, and looks whether the fast tests of its folder notice: `make mutation`.

A change that no test notices shows what could break unseen. The changes are cosmic-ray's. `tests/mutation.toml` names the
tests of each folder, and the changes that make no difference, each with its reason. The tests run once to see which lines
each of them executes (it is remembered until a file changes); a mutant then meets only those that execute its lines, the
fastest first, in a process that is forked from one that has collected them all.
"""

import argparse
import ast
import hashlib
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import warnings
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from itertools import accumulate, zip_longest
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.commands.init import init
from cosmic_ray.plugins import get_operator
from cosmic_ray.tools.filters.git import GitFilter
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkItem
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))
from tools.mutation_tests import IMPORT_INSTEAD, own, pairs

ROOT: Final = Path(__file__).parents[1]
_WHERE: Final = ROOT / "build" / "mutation"
_SETTINGS: Final = ROOT / "tests" / "mutation.toml"
_FAST_TEST_SECONDS: Final = 3.0
"""A test that takes longer is left out."""
_TESTS_SECONDS: Final = 60.0
"""How long the tests of one mutant take together, without it; what is over is left out."""
_MUTANT_SECONDS: Final = (10.0, 2.0)
"""After how long a mutant counts as noticed: so many seconds, and so many times what its tests take without it."""
_COUNTS: Final = ("mutants", "no difference", "tested", "noticed", "of them by time", "not noticed")
_TABLE: Final = r"(<!-- mutation: {} -->\n).*?(<!-- end -->\n)"

# What is no behaviour: `|` joins type annotations, a decorator only says how a class is made, and whether equal numbers, texts
# or members of an enum are one object is Python's matter. `is` as an order fails wherever it is executed, which proves nothing.
_NO_BEHAVIOUR: Final = re.compile(
    r"core/(ReplaceBinaryOperator_BitOr_|RemoveDecorator|ReplaceComparisonOperator_((Is|IsNot)_(Eq|NotEq|Lt|LtE|Gt|GtE)"
    r"|(Eq|NotEq|Lt|LtE|Gt|GtE)_(Is|IsNot))$)"
)
# How a class is made: that it cannot be changed and has no other attributes is checked by the type checker.
# Whether a type variable is covariant is the type checker's matter, too.
_CLASS_OPTION: Final = re.compile(
    r"^(@(dataclasses\.)?dataclass\(|class \w+\(.*\b(frozen|gc|kw_only|slots)=|\w+ = TypeVar\()"
)

# The `*` of a signature, which cosmic-ray takes for an operator: whether arguments are named is checked by the type checker.
_OF_STARS: Final = "core/ReplaceBinaryOperator_Mul_"
_STAR: Final = re.compile(r"[(,]\s*\*,|^\*,$")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change.

    Attributes:
        module: The file, from the root of the repository.
        code: The whole file with the change.
        line: The number of the first line that differs.
        before: That line.
        after: What is there instead.
        lines: The lines of the statement that is changed.
        function: The lines of the function around it.
        item: What cosmic-ray calls it.
        imports: Whether the module has to be imported with the change, since it is not in a function.
    """

    module: Path
    code: str
    line: int
    before: str
    after: str
    lines: range = range(0)
    function: range = range(0)
    item: WorkItem | None = None
    imports: bool = True

    @property
    def part(self) -> str:
        """The part of the service that the module is in."""
        return _part(self.module)


@cache
def _source(module: Path) -> str:
    return module.read_text(encoding="utf-8")


@cache
def _statements(module: Path) -> Sequence[range]:
    """The lines of each statement, of a compound one those of its head, by where they begin."""
    found = []
    for node in ast.walk(ast.parse(_source(module))):
        if isinstance(node, ast.stmt | ast.excepthandler):
            body = [each for each in getattr(node, "body", ()) if isinstance(each, ast.stmt)]
            end = body[0].lineno if body else (node.end_lineno or node.lineno) + 1
            found.append(range(node.lineno, max(end, node.lineno + 1)))
    return sorted(found, key=lambda each: each.start)


@cache
def _functions(module: Path) -> Sequence[range]:
    """The lines of each function; of two within each other the inner one comes first."""
    nodes = [
        each
        for each in ast.walk(ast.parse(_source(module)))
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return sorted((range(each.lineno, (each.end_lineno or each.lineno) + 1) for each in nodes), key=len)


def _statement(module: Path, line: int) -> range:
    statements = _statements(module)
    number = bisect_right(statements, line, key=lambda each: each.start)
    while number and line not in statements[number - 1]:
        number -= 1
    return statements[number - 1] if number else range(line, line + 1)


def work(modules: Sequence[Path], changed: dict[Path, set[int]] | None, folder: Path) -> list[WorkItem]:
    """What cosmic-ray can do to some modules, or to those lines of them.

    Finding it takes half a minute, so that a database in a folder keeps it until a module changes.
    """
    modules = [each for each in modules if changed is None or each in changed]
    if not modules:
        return []
    items = database(modules, folder).work_items
    return sorted((each for each in items if _is_wanted(each.mutations[0], changed)), key=_id)


def _is_wanted(mutation: MutationSpec, changed: dict[Path, set[int]] | None) -> bool:
    lines = range(mutation.start_pos[0], mutation.end_pos[0] + 1)
    return not _NO_BEHAVIOUR.match(mutation.operator_name) and (
        changed is None or not changed[mutation.module_path].isdisjoint(lines)
    )


def database(modules: Sequence[Path], folder: Path) -> WorkDB:
    """cosmic-ray's database of some modules."""
    sources = repr([(str(each), _source(each)) for each in modules])
    opened = WorkDB(folder / f"session-{hashlib.sha256(sources.encode()).hexdigest()[:16]}.sqlite", WorkDB.Mode.create)
    if not opened.num_work_items:
        init(modules, opened, {})
    return opened


@cache
def _tree(module: Path) -> tuple[Any, Sequence[Any]]:
    """The tree of a module, and all its nodes in the order in which cosmic-ray visits them."""
    tree = get_ast(_source(module))
    return tree, list(ast_nodes(tree))


@cache
def _places(module: Path, operator: str) -> Sequence[tuple[Any, int]]:
    """The nodes that an operator of cosmic-ray without arguments can change, each with the number of the change to it."""
    _, nodes = _tree(module)
    positions = get_operator(operator)().mutation_positions
    return [(node, index) for node in nodes for index, _ in enumerate(positions(node))]


def _mutated(mutation: MutationSpec) -> str:
    """The code of a module with a change. Its tree is changed and put back, since to make one takes far longer."""
    (tree, _), (node, index) = (
        _tree(mutation.module_path),
        _places(mutation.module_path, mutation.operator_name)[mutation.occurrence],
    )
    names = ("children", "value", "prefix", "parent")
    before = [(each, {name: getattr(each, name) for name in names if hasattr(each, name)}) for each in ast_nodes(node)]
    for each, kept in before:
        if "children" in kept:
            each.children = list(kept["children"])
    siblings = node.parent.children
    try:
        changed = get_operator(mutation.operator_name)().mutate(node, index)
        node.parent.children = [changed if each is node else each for each in siblings if each is not node or changed]
        return str(tree.get_code())
    finally:
        node.parent.children = siblings
        for each, kept in before:
            for name, value in kept.items():
                setattr(each, name, value)


def mutant_of(item: WorkItem) -> Mutant | None:
    """The mutant, if it can be compiled, and to something else. It takes long, so that only those that are tested are made."""
    [mutation] = item.mutations
    module = mutation.module_path
    source = _source(module)
    try:
        code = _mutated(mutation)
        compiled = pairs(source, code, str(module))
    except (AttributeError, SyntaxError):  # the former for `except a.B`, which cosmic-ray cannot change
        return None
    if code == source:
        return None
    differ = [was for was, now in compiled if own(was) != own(now)] if compiled is not None else None
    if differ == []:
        return None
    lines = zip(source.splitlines(), code.splitlines(), strict=False)
    number, before, after = next((n, was.strip(), now.strip()) for n, (was, now) in enumerate(lines, 1) if was != now)
    if _CLASS_OPTION.match(before) or (mutation.operator_name.startswith(_OF_STARS) and _STAR.search(before)):
        return None
    statement = _statement(module, mutation.start_pos[0])
    is_function = differ is not None and all(code.co_flags & 1 for code in differ)
    function = next((each for each in _functions(module) if statement.start in each), statement)
    return Mutant(module, code, number, before, after, statement, function, item, not is_function)


class Record:
    """Which tests execute which lines, and how long they take."""

    def __init__(self, parts: Iterable[dict[str, Any]], missing: Sequence[str] = ()) -> None:
        """Puts together what was recorded of several files.

        Args:
            parts: What was recorded of each.
            missing: The files whose tests did not run.
        """
        self.seconds: dict[str, float] = {}
        libraries: dict[str, None] = {}
        self._lines: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self._imported: defaultdict[str, set[int]] = defaultdict(set)
        self._missing = missing
        for part in parts:
            self.seconds |= part["seconds"]
            libraries |= dict.fromkeys(part["libraries"])
            for file, numbers in part["imported"].items():
                self._imported[file].update(numbers)
            for file, lines in part["lines"].items():
                for line, names in lines.items():
                    self._lines[file][line] += names
        self.libraries = list(libraries)

    def is_imported(self, mutant: Mutant) -> bool:
        """Whether the statement is executed while modules are imported."""
        return not self._imported[mutant.module.as_posix()].isdisjoint(mutant.lines)

    def has(self, folders: Sequence[str]) -> bool:
        """Whether all tests of some folders ran."""
        return not any(Path(each).is_relative_to(folder) for folder in folders for each in self._missing)

    def tests(self, mutant: Mutant, folders: Sequence[str]) -> Sequence[str]:
        """The tests of some folders that execute the statement; for one that imports execute, all may look at what it makes.

        Those of the file that is named like the module come first, the fastest before others; then one of each other file
        in turn.
        """
        lines = self._lines[mutant.module.as_posix()]
        tests = (
            set(self.seconds) if mutant.imports else set().union(*(lines.get(str(line), ()) for line in mutant.lines))
        )
        if not tests:
            # Python 3.11 misses lines behind an `await` in a `try`.
            tests = set().union(*(lines.get(str(line), ()) for line in mutant.function))
        by_file: defaultdict[str, list[str]] = defaultdict(list)
        for each in sorted(tests, key=lambda each: (self.seconds[each], each)):
            if each.startswith(tuple(folders)) and self.seconds[each] <= _FAST_TEST_SECONDS:
                by_file[each.partition("::")[0]].append(each)
        named = [each for file, names in by_file.items() if mutant.module.stem in file for each in names]
        others = [
            each for same_rank in zip_longest(*by_file.values()) for each in same_rank if each and each not in named
        ]
        until = bisect_right(list(accumulate(self.seconds[each] for each in (*named, *others))), _TESTS_SECONDS)
        return [*named, *others][:until]


def record(console: Console, tests: Sequence[str], end: float = math.inf) -> Record:
    """Runs tests to see what they execute, those of each file unless they are remembered from before something changed.

    What would not end in time, by the monotonic clock, is left out.
    """
    common = _digest("service", "sandbox", "generated/python", "tests/support", "tests/conftest.py")
    files = sorted({file for path in tests for file in _test_files(ROOT / path)})
    remembered = {file: _WHERE / f"record-{_digest(*_belonging(file))}-{common}.json" for file in files}
    new = {file: kept for file, kept in remembered.items() if not kept.exists()}
    if new:
        with console.status("Running tests as they are …"):
            _record(console, new, end - time.monotonic())
    recorded = {file: json.loads(kept.read_text("utf-8")) for file, kept in remembered.items() if kept.exists()}
    for part in recorded.values():
        for name in part["failed"]:
            console.print(f"{name} fails without any change, so that it is left out.", highlight=False)
    return Record(recorded.values(), [file for file in files if file not in recorded])


def _test_files(path: Path) -> Iterator[str]:
    for file in path.rglob("test_*.py") if path.is_dir() else [path]:
        yield str(file.relative_to(ROOT) if file.is_relative_to(ROOT) else file)


def _belonging(file: str) -> Iterator[str]:
    """A file with tests, and what is beside it for all of them."""
    yield file
    beside = (ROOT / file).parent
    yield from (
        str(each.relative_to(ROOT)) for each in sorted(beside.glob("*.py")) if not each.name.startswith("test_")
    )


def _digest(*paths: str) -> str:
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted((ROOT / path).rglob("*.py")) or [ROOT / path]:
            digest.update(file.read_bytes() if file.exists() else b"")
    return digest.hexdigest()[:16]


def _record(console: Console, files: dict[str, Path], seconds: float) -> None:
    """Runs the tests of some files, and writes what they executed where it is kept."""
    folder = Path(tempfile.mkdtemp(prefix="mutation-"))
    running = subprocess.Popen(
        [sys.executable, ROOT / "tools" / "mutation_tests.py", "record", folder / "record.json", *files],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": _python_path(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = running.communicate(timeout=None if math.isinf(seconds) else max(0.0, seconds))
        if running.returncode:
            console.print(output, highlight=False)
            sys.exit(f"These tests do not run: {' '.join(files)}")
        every = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        console.print(f"There was no time to run {' '.join(files)}.", highlight=False)
        return
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for file, kept in files.items():
        kept.write_text(json.dumps(_of_file(every, file)), encoding="utf-8")


def _of_file(every: dict[str, Any], file: str) -> dict[str, Any]:
    """What was recorded of the tests of one file."""

    def own(name: str) -> bool:
        return name.partition("::")[0] == file

    return {
        **every,
        "failed": [name for name in every["failed"] if own(name)],
        "seconds": {name: seconds for name, seconds in every["seconds"].items() if own(name)},
        "lines": {
            module: {line: found for line, names in lines.items() if (found := [*filter(own, names)])}
            for module, lines in every["lines"].items()
        },
    }


def _python_path(root: Path) -> str:
    return f"{root}:{root / 'generated' / 'python'}"


class Workplace:
    """A copy of the repository in which one mutant at a time is tested."""

    def __init__(self, number: int, tests: Sequence[str] = (), libraries: Sequence[str] = ()) -> None:
        self._root = _WHERE / f"copy-{number}"
        self._scratch = tempfile.mkdtemp(prefix="mutation-")  # a short name, since the names of sockets have to be
        shutil.rmtree(self._root, ignore_errors=True)
        names = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name in filter(None, names.split("\0")):
            target = self._root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_file():
                shutil.copy2(ROOT / name, target)
        (self._root / "libraries").write_text("\n".join(libraries), encoding="utf-8")
        self._tested = 0
        self._collected = self._start("collected", *tests)
        self._imported = self._start("imported", "libraries")

    def _start(self, kind: str, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "tools/mutation_tests.py", kind, *arguments, f"--basetemp={self._scratch}/{kind[0]}"],
            cwd=self._root,
            env={**os.environ, "PYTHONPATH": _python_path(self._root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """Ends its processes."""
        for each in (self._collected, self._imported):
            each.communicate("")
        shutil.rmtree(self._scratch, ignore_errors=True)

    def test(self, mutant: Mutant, tests: Sequence[str], seconds: float) -> TestOutcome:
        """Whether a test fails with the change (killed), or does not end (incompetent)."""
        file = self._root / mutant.module
        original = file.read_bytes()
        self._tested += 1
        request = {
            "number": self._tested,
            "module": mutant.module.as_posix(),
            "before": original.decode(),
            "after": mutant.code,
            "tests": tests,
            "seconds": seconds,
        }
        file.write_text(mutant.code, encoding="utf-8")  # for the processes that tests start
        try:
            ended = IMPORT_INSTEAD if mutant.imports else self._ask(self._collected, request)
            if ended == IMPORT_INSTEAD:
                ended = self._ask(self._imported, request)
        finally:
            file.write_bytes(original)
        return TestOutcome.SURVIVED if ended == 0 else TestOutcome.INCOMPETENT if ended == -1 else TestOutcome.KILLED

    @staticmethod
    def _ask(process: "subprocess.Popen[str]", request: dict[str, Any]) -> int:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        while answer.strip() == '"ready"':
            answer = process.stdout.readline()
        return int(json.loads(answer))


def _tests(settings: dict[str, Any], module: Path) -> Sequence[str]:
    """The tests of the longest path that the module is in."""
    paths: dict[str, list[str]] = settings["tests"]
    path = max((each for each in paths if module.as_posix().startswith(each)), key=len)
    return paths[path]


def _is_equivalent(settings: dict[str, Any], mutant: Mutant) -> bool:
    return any(
        each["module"] == mutant.module.as_posix() and each["before"] == mutant.before and mutant.after in each["after"]
        for each in settings.get("equivalent", ())
    )


@dataclass(slots=True)
class Result:
    """What came of the mutants of one part."""

    mutants: int = 0
    equivalent: int = 0
    killed: int = 0
    timed_out: int = 0
    survived: list[Mutant] = field(default_factory=list)

    @property
    def row(self) -> tuple[int, ...]:
        """The numbers of the table."""
        noticed = self.killed + self.timed_out
        tested = noticed + len(self.survived)
        return (self.mutants, self.equivalent, tested, noticed, self.timed_out, len(self.survived))


def main() -> int:
    """Tests mutants, and shows how many were noticed in each part, and those that were not."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("modules", nargs="*", help="files or folders; all that tests/mutation.toml names, if not given")
    parser.add_argument("--sample", type=int, default=0, help="test so many mutants of each part, chosen at random")
    parser.add_argument("--seed", type=int, default=0, help="which")
    parser.add_argument("--changed-since", metavar="REVISION", help="only mutants of lines that differ from a revision")
    parser.add_argument("--changed", action="store_true", help="the same, from where main was left, or the last commit")
    parser.add_argument("--again", action="store_true", help="only mutants that were not noticed the last time")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin none after so long")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="how many to test at once")
    parser.add_argument("--least", type=float, default=100, help="fail if fewer of a hundred are noticed")
    parser.add_argument("--page", nargs=2, metavar=("FILE", "TABLE"), help="write the table into a page, too")
    given = parser.parse_args()
    end = time.monotonic() + given.minutes * 60
    os.chdir(ROOT)
    warnings.simplefilter("ignore", SyntaxWarning)
    console = Console(soft_wrap=True)
    settings = tomllib.loads(_SETTINGS.read_text(encoding="utf-8"))
    wanted = [Path(each).resolve().relative_to(ROOT) for each in given.modules or settings["tests"]]
    modules = sorted({file for each in wanted for file in (each.rglob("*.py") if each.is_dir() else [each])})
    _WHERE.mkdir(parents=True, exist_ok=True)
    with console.status("Looking for what can be changed …"):
        since = given.changed_since or (_base() if given.changed else None)
        changed = GitFilter()._git_news(since) if since else {} if given.changed else None  # noqa: SLF001  # `git diff`
        items = work(modules, changed, _WHERE)
    results: defaultdict[str, Result] = defaultdict(Result)
    for item in items:
        results[_part(item.mutations[0].module_path)].mutants += 1
    random.Random(given.seed).shuffle(items)
    if given.again:
        last = {tuple(each) for each in json.loads((_WHERE / "survived.json").read_text(encoding="utf-8"))}
        items = [each for each in items if _id(each) in last]
    chosen: list[Mutant] = []
    for item in items:
        part = _part(item.mutations[0].module_path)
        if given.sample and sum(each.part == part for each in chosen) == given.sample:
            continue
        mutant = mutant_of(item)
        if mutant is not None and _is_equivalent(settings, mutant):
            results[part].equivalent += 1
        elif mutant is not None:
            chosen.append(mutant)
    if not chosen:
        console.print("Nothing of it can be changed.")
        return 0
    _test_parts(console, settings, chosen, results, end, given.processes)
    survived = [mutant for result in results.values() for mutant in result.survived]
    (_WHERE / "survived.json").write_text(
        json.dumps([_id(each.item) for each in survived if each.item]), encoding="utf-8"
    )
    rows = list(_rows(results))
    console.print("\n".join(rows), highlight=False)
    if given.page:
        _write(Path(given.page[0]), given.page[1], rows)
    tested = sum(result.row[2] for result in results.values())
    return 1 if 100 * len(survived) > (100 - given.least) * tested else 0


def _base() -> str | None:
    """The commit that the present work began with: where it left main, or on main the one before; none if there is none."""
    here = _git("rev-parse", "HEAD")
    for main in ("origin/main", "main"):
        base = _git("merge-base", main, "HEAD")
        if base and base != here:
            return base
    return _git("rev-parse", "--verify", "--quiet", "HEAD~1") or None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=False, capture_output=True, text=True).stdout.strip()


def _id(item: WorkItem) -> tuple[str, str, int]:
    [mutation] = item.mutations
    return mutation.module_path.as_posix(), mutation.operator_name, mutation.occurrence


def _part(module: Path) -> str:
    """The part of the service that a module is in."""
    return "/".join(module.parts[:2])


def _test_parts(
    console: Console,
    settings: dict[str, Any],
    chosen: Sequence[Mutant],
    results: dict[str, Result],
    end: float,
    processes: int,
) -> None:
    """Tests all mutants at once, or one part after the other where they may be more than there is time for."""
    for mutants in [chosen] if math.isinf(end) else _by_part(settings, chosen):
        if time.monotonic() < end:
            _test(console, settings, mutants, results, end, processes)


def _by_part(settings: dict[str, Any], mutants: Sequence[Mutant]) -> Sequence[Sequence[Mutant]]:
    """The mutants of each part, those first that the fewest files of tests are run for: where time ends, some are tested."""
    parts: defaultdict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        parts[mutant.part].append(mutant)

    def files(mutants: Sequence[Mutant]) -> int:
        paths = {path for mutant in mutants for path in _tests(settings, mutant.module)}
        return len({file for path in paths for file in _test_files(ROOT / path)})

    return sorted(parts.values(), key=files)


def _test(
    console: Console,
    settings: dict[str, Any],
    chosen: Sequence[Mutant],
    results: dict[str, Result],
    end: float,
    processes: int,
) -> None:
    tests = sorted({each for mutant in chosen for each in _tests(settings, mutant.module)})
    recorded = record(console, tests, end)
    free: SimpleQueue[Workplace] = SimpleQueue()
    workplaces = [Workplace(number, tests, recorded.libraries) for number in range(processes)]
    for each in workplaces:
        free.put(each)

    def test(mutant: Mutant) -> TestOutcome | None:
        folders = _tests(settings, mutant.module)
        left = end - time.monotonic()
        if left < 0 or not recorded.has(folders):
            return None
        if recorded.is_imported(mutant):
            mutant = replace(mutant, imports=True)
        names = recorded.tests(mutant, folders)
        if not names:
            return TestOutcome.SURVIVED
        least, times = _MUTANT_SECONDS
        workplace = free.get()
        try:
            return workplace.test(mutant, names, least + times * sum(recorded.seconds[each] for each in names))
        finally:
            free.put(workplace)

    with ThreadPoolExecutor(max_workers=processes) as pool, console.status("Testing …") as status:
        running = {pool.submit(test, mutant): mutant for mutant in chosen}
        for done, future in enumerate(as_completed(running), 1):
            mutant, outcome = running[future], future.result()
            if outcome is None:
                continue
            result = results[mutant.part]
            result.killed += outcome is TestOutcome.KILLED
            result.timed_out += outcome is TestOutcome.INCOMPETENT
            if outcome is TestOutcome.SURVIVED:
                result.survived.append(mutant)
                line = f"{mutant.module}:{mutant.line}: {mutant.before} → {mutant.after}"
                console.print(line, highlight=False, markup=False)
            status.update(f"{done} of {len(chosen)} tested")
    for each in workplaces:
        each.close()


def _rows(results: dict[str, Result]) -> Iterator[str]:
    """The table in Markdown."""
    yield f"| part | {' | '.join(_COUNTS)} | share |"
    yield f"| --- |{' ---: |' * (len(_COUNTS) + 1)}"
    sums = Counter[int]()
    for part, result in sorted(results.items()):
        yield _row(f"`{part}`", result.row)
        sums.update(dict(enumerate(result.row)))
    yield _row("all", [sums[number] for number in range(len(_COUNTS))])


def _row(name: str, counts: Sequence[int]) -> str:
    tested, noticed = counts[2], counts[3]
    share = f"{100 * noticed / tested:.1f} %" if tested else ""
    return f"| {name} | {' | '.join(map(str, counts))} | {share} |"


def _write(page: Path, table: str, rows: Iterable[str]) -> None:
    now = f"{datetime.now(UTC):%Y-%m-%d}"
    command = f'make mutation MUTATION_ARGS="{" ".join(sys.argv[1 : sys.argv.index("--page")])}"'
    text = "\n".join((f"`{command}`, {now}:", "", *rows, ""))
    written, found = re.subn(
        _TABLE.format(table),
        lambda match: match[1] + text + match[2],
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    if not found:
        sys.exit(f"{page} has no place for {table}")
    page.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
