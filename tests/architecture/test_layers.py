"""Imports point one way: doors, then the use case, then providers and connections, then the model."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Each room with what it may import of the house; `service.app` and the command line know every room.
ALLOWED = {
    "service.model": set[str](),
    "service.codes": {"service.model"},
    "service.errors": {"service.model"},
    "service.settings": set[str](),
    "service.http1": {"service.model", "service.http1"},
    "service.providers": {
        "service.http1",
        "service.model",
        "service.errors",
        "service.codes",
        "service.providers",
    },
    "service.connections": {
        "service.tasks",
        "service.model",
        "service.errors",
        "service.codes",
        "service.connections",
        "service.migrations",
    },
    "service.migrations": {"service.connections", "service.migrations"},
    "service.observability": {"service.model", "service.codes", "service.settings", "service.observability"},
    "service.update_step": {
        "service.tasks",
        "service.model",
        "service.errors",
        "service.codes",
        "service.providers",
        "service.observability",
    },
    "service.tasks": set[str](),
    "service.admission": {"service.model", "service.errors"},
    "service.listening": set[str](),
    "service.calls": {
        "service.model",
        "service.codes",
        "service.errors",
        "service.admission",
        "service.observability",
        "service.calls",
    },
    "service.client": {"service.client"},
}
DOORS = {"service.rpc", "service.rest"}
FOREIGN = {
    "google.protobuf": {"service.calls", "service.rpc", "service.rest", "service.client", "service.cli", "tests"},
    "grpc": {"service.rpc", "service.client", "service.cli", "service.app"},
    "engagement": {"service.calls", "service.rpc", "service.rest", "service.client", "service.cli"},
    "starlette": {"service.rest", "sandbox"},
    "uvicorn": {"service.rest", "sandbox"},
    "prometheus_client": {"service.observability"},
    "sqlalchemy": {"service.connections", "service.migrations", "service.cli"},
    "aiohappyeyeballs": {"service.http1"},
    "aiohttp": {"sandbox"},
    "httptools": {"service.http1"},
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


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def within(module: str, rooms: set[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


MODULES = list(modules("service")) + list(modules("sandbox"))


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_a_module_imports_only_what_its_room_may(module: str, path: Path) -> None:
    for target in imported(path):
        if module.startswith("sandbox"):
            assert not target.startswith("service"), f"{module} imports {target}"
        elif target.startswith("service") and (allowed := ALLOWED.get(room_of(module))) is not None:
            assert within(target, allowed), f"{module} imports {target}"
        elif room_of(module) in DOORS and target.startswith("service."):
            other_doors = (DOORS | {"service.cli", "service.app"}) - {room_of(module)}
            assert not within(target, other_doors | {"service.connections"}), f"{module} imports {target}"
            assert not within(target, {"service.providers.apollo", "service.providers.outreach"}), module


@pytest.mark.parametrize(("library", "rooms"), FOREIGN.items())
def test_a_library_stays_in_its_rooms(library: str, rooms: set[str]) -> None:
    for module, path in MODULES:
        for target in imported(path):
            if target == library or target.startswith(f"{library}."):
                assert within(module, rooms), f"{module} imports {target}"
