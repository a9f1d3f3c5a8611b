"""The limit of open files."""

import resource
import subprocess
import sys
from collections.abc import Iterator

import pytest

from service.api import descriptors

SHOW = "from service.api import descriptors; print(descriptors.raise_limit(), descriptors.max_connections())"


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """This process's limits, which the test may change."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_limit_is_raised_to_what_the_process_may_have(limits: tuple[int, int]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, limits[1]))
    assert descriptors.raise_limit() == min(limits[1], 65_536)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(limits[1], 65_536), limits[1])
    assert descriptors.max_files() == min(limits[1], 65_536)


@pytest.mark.parametrize(("hard", "connections"), [(256, 32), (1024, 256), (4096, 1792)])
def test_callers_leave_files_for_everything_else(hard: int, connections: int) -> None:
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({hard // 2}, {hard})); {SHOW}"
    shown = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, check=True).stdout
    assert shown.split() == [str(hard), str(connections)]


@pytest.mark.parametrize(
    ("soft", "hard", "most", "raised_to"),
    [
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 65_536, None),
        (1024, resource.RLIM_INFINITY, 1024, 65_536),
        (1024, 4096, 1024, 4096),
        (100_000, 100_000, 100_000, None),
    ],
)
def test_a_limit_that_is_none_is_as_much_as_is_of_use(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, most: int, raised_to: int | None
) -> None:
    wanted: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: wanted.append(limits))
    assert descriptors.max_files() == most
    assert descriptors.raise_limit() == (raised_to or most)
    assert wanted == ([(raised_to, hard)] if raised_to else [])


@pytest.mark.parametrize(
    ("files", "connections"), [(1025, 256), (1024, 256), (1023, 255), (578, 33), (577, 32), (512, 32), (65_536, 32_512)]
)
def test_half_of_what_is_left_is_for_each_server(monkeypatch: pytest.MonkeyPatch, files: int, connections: int) -> None:
    monkeypatch.setattr(descriptors, "max_files", lambda: files)
    assert descriptors.max_connections() == connections
