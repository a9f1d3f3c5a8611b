"""Imports point one way: servers, what they share, the use case, providers and connections, the domain."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "python" / "src"

# Each part with what it may import of the service; `service.app` and the command line know every part.
ALLOWED = {
    "service.domain": set[str](),
    "service.settings": {"service.providers"},
    "service.tasks": set[str](),
    "service.providers": {"service.domain"},
    "service.upstream": {"service.domain", "service.providers.adapter", "service.providers.responses"},
    "service.connections": {"service.domain", "service.tasks"},
    "service.read_steps": {"service.domain", "service.update_step", "service.upstream"},
    "service.history": {"service.domain", "service.connections", "service.tasks"},
    "service.update_step": {"service.domain", "service.tasks", "service.providers", "service.upstream"},
    "service.step_history": {"service.domain"},
    "service.manage_connections": {
        "service.domain",
        "service.connections",
        "service.history",
        "service.providers",
        "service.upstream",
    },
    "service.observability": {"service.settings"},
    "service.api": {
        "service.domain",
        "service.manage_connections",
        "service.observability",
        "service.providers",
        "service.tasks",
        "service.update_step",
    },
    "service.rpc": {"service.domain", "service.api"},
    "service.rest": {"service.domain", "service.api", "service.tasks", "service.providers"},
}
FOREIGN = {
    "google.protobuf": {"service.api", "service.rpc", "service.rest", "service.cli", "tests"},
    "grpc": {"service.rpc", "service.cli", "service.app"},
    "engagement": {"service.api", "service.rpc", "service.rest", "service.cli"},
    "seqstep_client": {"service.api", "service.cli"},
    "starlette": {"service.rest", "sandbox"},
    "fastapi": {"service.rest"},
    "uvicorn": {"service.rest", "sandbox"},
    "prometheus_client": {"service.observability"},
    "sqlalchemy": {"service.connections", "service.history", "service.cli", "service.observability.tracing"},
    "opentelemetry": {"service.observability.tracing"},
    "aiohttp": {"sandbox"},
    "httptools": {"service.rest.protocol"},
    "httpx": {"service.upstream", "service.app", "service.cli", "service.observability.sent_requests"},
    "pyqwest": {"service.upstream"},
}


def modules(package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


@cache
def imported(path: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
    return found


def part_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def within(module: str, parts: set[str]) -> bool:
    return any(module == part or module.startswith(f"{part}.") for part in parts)


MODULES = list(modules("service")) + list(modules("sandbox"))


def test_a_module_imports_only_what_its_part_may() -> None:
    assert len(MODULES) > 100
    for module, path in MODULES:
        for target in imported(path):
            if module.startswith("sandbox"):
                assert not target.startswith("service"), f"{module} imports {target}"
            elif target.startswith("service") and (allowed := ALLOWED.get(part_of(module))) is not None:
                assert within(target, allowed | {part_of(module)}), f"{module} imports {target}"


@pytest.mark.parametrize("path", sorted((CLIENT / "seqstep_client").glob("*.py")), ids=lambda path: path.stem)
def test_the_client_imports_what_its_distribution_depends_on(path: Path) -> None:
    own = {"seqstep_client", "engagement", "google", "grpc", "grpc_status"}
    assert {target.split(".")[0] for target in imported(path)} <= own | sys.stdlib_module_names


def test_a_library_stays_in_its_parts() -> None:
    for module, path in MODULES:
        for target in imported(path):
            for library, parts in FOREIGN.items():
                if within(target, {library}):
                    assert within(module, parts), f"{module} imports {target}"


def table_of(page: str, head: str) -> dict[str, str]:
    """The rows of a table in a page of docs/, by their first cell."""
    text = (ROOT / page).read_text(encoding="utf-8")
    rows = text[text.index(head) :].split("\n\n", 1)[0].splitlines()[2:]
    return {(cells := row.strip("| ").split(" | "))[0]: cells[1] for row in rows}


def test_the_page_names_what_each_part_may_import() -> None:
    listed = {
        part.strip("`"): set(re.findall(r"`([\w.]+)`", allowed))
        for part, allowed in table_of("docs/architecture.md", "| part | may import |").items()
    }
    assert listed == ALLOWED


def test_the_page_and_the_readme_name_every_folder() -> None:
    folders = {path.name for path in (ROOT / "service").iterdir() if (path / "__init__.py").exists()}
    page = " ".join(table_of("docs/architecture.md", "| folder | what it holds |"))
    readme = " ".join(table_of("README.md", "| Where | What |"))
    assert {name for name in folders if f"`{name}/`" not in page} == set()
    assert {name for name in folders if f"`service/{name}/`" not in readme} == set()


def test_every_path_that_the_readme_names_exists() -> None:
    for cell in table_of("README.md", "| Where | What |"):
        first, *others = re.findall(r"`([^`]+)`", cell)
        for path in (first, *(str(Path(first).parent / other) for other in others)):
            assert (ROOT / path).exists(), path


def test_the_pictures_arrows_are_the_imports() -> None:
    """Left out are what every part stands on, and what puts the parts together."""
    left_out = {"domain", "settings", "tasks", "app", "workers", "cli", "process_exit", "service"}
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    picture = page[page.index("```mermaid") :].split("```")[1]
    arrows = set(re.findall(r"(\w+)(?:\[[^\]]*\])? --> (\w+)", picture))
    imports = {
        (part_of(module).removeprefix("service."), part_of(target).removeprefix("service."))
        for module, path in MODULES
        if module.startswith("service")
        for target in imported(path)
        if within(target, {"service"})
    }
    assert arrows == {(a, b) for a, b in imports if a != b and not {a, b} & left_out}


@pytest.mark.parametrize(("part", "allowed"), ALLOWED.items())
def test_nothing_is_allowed_that_no_module_needs(part: str, allowed: set[str]) -> None:
    targets = {target for module, path in MODULES if within(module, {part}) for target in imported(path)}
    assert {each for each in allowed if not any(within(target, {each}) for target in targets)} == set()


WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
RETIRED = {
    *(
        "arrival",
        "arrivals",
        "door",
        "doors",
        "guard",
        "guards",
        "held",
        "house",
        "houses",
        "nonsense",
        "room",
        "rooms",
    ),
    *("scene", "scenes", "silence", "silences", "silent", "sparing", "told", "trial", "trials"),
}
SOURCES = [
    *(path for folder in ("service", "sandbox", "tools", "tests", "bench") for _, path in modules(folder)),
    *(CLIENT / "seqstep_client").glob("*.py"),
]


def test_retired_words_do_not_come_back() -> None:
    """In names and in sentences."""
    found: dict[str, set[str]] = {}
    for path in SOURCES:
        text = path.read_text(encoding="utf-8").replace("TypeGuard", "")  # Python's own name
        words = {word.lower() for word in WORD.findall(text)} & RETIRED
        if words and path != Path(__file__):
            found[str(path.relative_to(ROOT))] = words
    assert len(SOURCES) > 300
    assert found == {}


def test_a_file_name_says_which_file_is_meant() -> None:
    """Two servers have the same parts, and each package its failures; commands are named as they are called."""
    shared = {"__init__.py", "app.py", "errors.py", "request.py", "server.py"}
    paths = [path for _, path in modules("service") if path.parent != ROOT / "service" / "cli"]
    counts = Counter(path.name for path in paths if path.name not in shared)
    assert [name for name, count in counts.items() if count > 1] == []
