"""Imports point one way: servers, what they share, the use case, providers and connections, the domain."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Each part with what it may import of the service; `service.app` and the command line know every part.
ALLOWED = {
    "service.domain": set[str](),
    "service.settings": {"service.providers"},
    "service.tasks": set[str](),
    "service.providers": {"service.domain"},
    "service.upstream": {"service.domain", "service.providers.adapter", "service.providers.responses"},
    "service.connections": {"service.domain", "service.tasks"},
    "service.update_step": {"service.domain", "service.tasks", "service.providers", "service.upstream"},
    "service.observability": {"service.domain", "service.settings"},
    "service.api": {"service.domain", "service.observability", "service.providers", "service.update_step"},
    "service.rpc": {"service.domain", "service.api", "service.tasks"},
    "service.rest": {"service.domain", "service.api", "service.tasks", "service.providers"},
    "service.client": {"service.domain", "service.api.address", "service.api.contract", "service.api.value"},
}
FOREIGN = {
    "google.protobuf": {"service.api", "service.rpc", "service.rest", "service.client", "service.cli", "tests"},
    "grpc": {"service.rpc", "service.client", "service.cli", "service.app"},
    "engagement": {"service.api", "service.rpc", "service.rest", "service.client", "service.cli"},
    "starlette": {"service.rest", "sandbox"},
    "fastapi": {"service.rest"},
    "h11": {"service.rest.protocol"},
    "uvicorn": {"service.rest", "sandbox"},
    "prometheus_client": {"service.observability"},
    "sqlalchemy": {"service.connections", "service.cli"},
    "aiohttp": {"sandbox"},
    "httptools": set[str](),
    "httpx": {"service.upstream", "service.app", "service.cli"},
    "pyqwest": {"service.upstream"},
}


def modules(package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def part_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def within(module: str, parts: set[str]) -> bool:
    return any(module == part or module.startswith(f"{part}.") for part in parts)


MODULES = list(modules("service")) + list(modules("sandbox"))


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_a_module_imports_only_what_its_part_may(module: str, path: Path) -> None:
    for target in imported(path):
        if module.startswith("sandbox"):
            assert not target.startswith("service"), f"{module} imports {target}"
        elif target.startswith("service") and (allowed := ALLOWED.get(part_of(module))) is not None:
            assert within(target, allowed | {part_of(module)}), f"{module} imports {target}"


@pytest.mark.parametrize(("library", "parts"), FOREIGN.items())
def test_a_library_stays_in_its_parts(library: str, parts: set[str]) -> None:
    for module, path in MODULES:
        for target in imported(path):
            if target == library or target.startswith(f"{library}."):
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


RETIRED = re.compile(r"\b(doors?|rooms?|arrivals?|told|silences?|nonsense|sparing|house|scenes?)\b", re.IGNORECASE)


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_retired_words_do_not_come_back(module: str, path: Path) -> None:
    if module.startswith("service"):
        words = [found[0] for line in path.read_text().splitlines() if (found := RETIRED.search(line))]
        assert words == [], module
