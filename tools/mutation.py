"""Changes one thing in the code at a time, and looks whether the fast tests of its folder notice: `make mutation`.

A change that no test notices shows what could break unseen. `tests/mutation.toml` names the tests of each folder, and
the changes that make no difference, each with its reason.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.tools.filters.git import GitFilter
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec
from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).parents[1]
_WHERE: Final = ROOT / "build" / "mutation"
_SETTINGS: Final = ROOT / "tests" / "mutation.toml"
_LONGEST_TEST_SECONDS: Final = 300

# What is no behaviour: type annotations, which `|` joins, and decorators that only say how a class is made.
_NO_BEHAVIOUR: Final = ("core/ReplaceBinaryOperator_BitOr_", "core/RemoveDecorator")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change.

    Attributes:
        module: The file, from the root of the repository.
        code: The whole file with the change.
        line: The number of the first line that differs.
        before: That line.
        after: What is there instead.
    """

    module: Path
    code: str
    line: int
    before: str
    after: str


def mutants(modules: Sequence[Path], changed_since: str | None) -> Iterator[Mutant]:
    """All changes to some modules, or those to the lines that differ from a revision."""
    changed = GitFilter()._git_news(changed_since) if changed_since else None  # noqa: SLF001  # reads `git diff`
    database = WorkDB(":memory:", WorkDB.Mode.create)
    init(modules, database, {})
    for item in database.work_items:
        [mutation] = item.mutations
        lines = set(range(mutation.start_pos[0], mutation.end_pos[0] + 1))
        if mutation.operator_name.startswith(_NO_BEHAVIOUR) or (
            changed is not None and not lines & changed.get(mutation.module_path, set())
        ):
            continue
        mutant = _mutant(mutation)
        if mutant is not None:
            yield mutant


def _mutant(mutation: MutationSpec) -> Mutant | None:
    source = mutation.module_path.read_text(encoding="utf-8")
    code = mutate_code(source, get_operator(mutation.operator_name)(**mutation.operator_args), mutation.occurrence)
    if code is None or code == source:
        return None
    pairs = zip(source.splitlines(), code.splitlines(), strict=False)
    number, before, after = next((n, was, now) for n, (was, now) in enumerate(pairs, 1) if was != now)
    return Mutant(mutation.module_path, code, number, before.strip(), after.strip())


class Workplace:
    """A copy of the repository in which one mutant at a time is tested."""

    def __init__(self, number: int) -> None:
        self._root = _WHERE / f"copy-{number}"
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

    def is_noticed(self, mutant: Mutant, tests: Sequence[str]) -> bool:
        """Whether a test fails with the change, or does not end."""
        file = self._root / mutant.module
        original = file.read_bytes()
        file.write_text(mutant.code, encoding="utf-8")
        try:
            return self.fail(tests)
        finally:
            file.write_bytes(original)

    def fail(self, tests: Sequence[str]) -> bool:
        """Whether any of the tests fails."""
        command = [
            sys.executable,
            "-B",
            "-m",
            "pytest",
            "-q",
            "-x",
            "-m",
            "not slow",
            "-n0",
            "-p",
            "no:cacheprovider",
        ]
        environment = {**os.environ, "PYTHONPATH": f"{self._root}:{self._root / 'generated' / 'python'}"}
        with subprocess.Popen(
            [*command, *tests],
            cwd=self._root,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as running:
            try:
                return running.wait(_LONGEST_TEST_SECONDS) != 0
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, 9)
                return True


def _check_tests(console: Console, tests: Iterable[tuple[str, ...]]) -> None:
    """Makes sure that the tests pass as long as nothing is changed."""
    workplace = Workplace(0)
    for each in sorted(tests):
        with console.status(f"Running {' '.join(each)} as they are …"):
            if workplace.fail(each):
                sys.exit(f"These tests fail without any change, so that they can tell nothing: {' '.join(each)}")


def _tests(settings: dict[str, Any], module: Path) -> Sequence[str]:
    """The tests of the longest path that the module is in."""
    paths: dict[str, list[str]] = settings["tests"]
    path = max((each for each in paths if module.as_posix().startswith(each)), key=len)
    return paths[path]


def _is_equivalent(settings: dict[str, Any], mutant: Mutant) -> bool:
    return any(
        (each["module"], each["before"], each["after"]) == (mutant.module.as_posix(), mutant.before, mutant.after)
        for each in settings.get("equivalent", ())
    )


def main() -> int:
    """Tests mutants, and shows how many were noticed in each module, and those that were not."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("modules", nargs="*", help="files or folders; all that tests/mutation.toml names, if not given")
    parser.add_argument("--sample", type=int, default=0, help="test so many mutants of each module, chosen at random")
    parser.add_argument("--seed", type=int, default=0, help="which")
    parser.add_argument("--changed-since", metavar="REVISION", help="only mutants of lines that differ from a revision")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin none after so long")
    given = parser.parse_args()
    os.chdir(ROOT)
    console = Console(soft_wrap=True)
    settings = tomllib.loads(_SETTINGS.read_text(encoding="utf-8"))
    wanted = [Path(each).resolve().relative_to(ROOT) for each in given.modules or settings["tests"]]
    modules = sorted({file for each in wanted for file in (each.rglob("*.py") if each.is_dir() else [each])})
    by_module: defaultdict[Path, list[Mutant]] = defaultdict(list)
    with console.status("Looking for what can be changed …"):
        for mutant in mutants(modules, given.changed_since):
            by_module[mutant.module].append(mutant)
    chooser = random.Random(given.seed)
    chosen = [
        mutant
        for each in by_module.values()
        for mutant in (chooser.sample(each, given.sample) if 0 < given.sample < len(each) else each)
    ]
    chooser.shuffle(chosen)
    equivalent = [mutant for mutant in chosen if _is_equivalent(settings, mutant)]
    noticed, survived = _test(
        console, settings, [mutant for mutant in chosen if mutant not in equivalent], given.minutes * 60
    )
    _show(console, by_module, noticed, survived, Counter(mutant.module for mutant in equivalent))
    return 1 if survived else 0


def _test(
    console: Console, settings: dict[str, Any], chosen: Sequence[Mutant], seconds: float
) -> tuple[Counter[Path], list[Mutant]]:
    noticed: Counter[Path] = Counter()
    survived: list[Mutant] = []
    _check_tests(console, {tuple(_tests(settings, mutant.module)) for mutant in chosen})
    free: SimpleQueue[Workplace] = SimpleQueue()
    count = len(os.sched_getaffinity(0))
    for number in range(count):
        free.put(Workplace(number))
    end = time.monotonic() + seconds

    def test(mutant: Mutant) -> bool | None:
        workplace = free.get()
        try:
            if time.monotonic() > end:
                return None
            return workplace.is_noticed(mutant, _tests(settings, mutant.module))
        finally:
            free.put(workplace)

    with ThreadPoolExecutor(max_workers=count) as pool, console.status("Testing …") as status:
        running = {pool.submit(test, mutant): mutant for mutant in chosen}
        for done, future in enumerate(as_completed(running), 1):
            mutant, result = running[future], future.result()
            if result:
                noticed[mutant.module] += 1
            elif result is False:
                survived.append(mutant)
                console.print(f"{mutant.module}:{mutant.line}: {mutant.before} → {mutant.after}", highlight=False)
            status.update(f"{done} of {len(chosen)} tested, {len(survived)} not noticed")
    return noticed, survived


def _show(
    console: Console,
    by_module: dict[Path, list[Mutant]],
    noticed: Counter[Path],
    survived: Sequence[Mutant],
    equivalent: Counter[Path],
) -> None:
    missed = Counter(mutant.module for mutant in survived)
    table = Table(title="Mutants that the tests of their folder noticed")
    table.add_column("module", no_wrap=True)
    for name in ("mutants", "tested", "noticed", "not", "no difference", "share"):
        table.add_column(name, justify="right")
    for module in sorted(by_module):
        tested = noticed[module] + missed[module]
        share = f"{100 * noticed[module] / tested:.0f} %" if tested else ""
        table.add_row(
            str(module),
            *map(str, (len(by_module[module]), tested, noticed[module], missed[module], equivalent[module])),
            share,
        )
    tested = noticed.total() + missed.total()
    share = f"{100 * noticed.total() / tested:.0f} %" if tested else ""
    total = (sum(map(len, by_module.values())), tested, noticed.total(), missed.total(), equivalent.total())
    table.add_section()
    table.add_row("all", *map(str, total), share)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
