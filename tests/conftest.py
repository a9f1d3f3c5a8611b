"""The fixtures that tests of several folders use, which tests run in one process, and the line of the fault matrix."""

import gc
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.support.certificates import authority, mutual_tls_files, tls_files
from tests.support.databases import database_url, postgresql_server
from tests.support.service import service

__all__ = ["authority", "database_url", "mutual_tls_files", "postgresql_server", "service", "tls_files"]

# What is loaded and collected stays. Looking through it for what has gone takes half a second each time, and a tenth of all.
gc.disable()

# How fast examples are made says how busy the machine is.
settings.register_profile("seqstep", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("seqstep")

OVER_DEADLINE: Final = "over_deadline"
"""What a test records the seconds as by which a response was later than its deadline; negative if it was earlier."""

TOGETHER: Final[Mapping[str, str]] = {
    "tests/deploy/test_chart.py": "Helm, which Go compiles",
    "tests/deploy/test_first_day.py": "Helm, which Go compiles",
    "tests/rpc/test_reflection_tools.py": "tools that Go compiles",
    "tests/readme/test_tools.py": "tools that Go compiles",
    "tests/packaging/test_image.py": "the image",
    "tests/docs/test_pages.py": "the site",
    "tests/packaging/test_packages.py": "a wheel",
    # Where there are no private networks, both take the ports of the pages.
    "tests/readme/test_readme.py": "commands of pages",
    "tests/readme/test_tutorial.py": "commands of pages",
}
"""Files whose tests run in one process with the others of the same word: what they share takes long to make."""


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each test to the process that is free, and those that belong together to one.

    xdist's own `loadgroup` does nothing under pytest 9.2, which does not let it rename tests.
    """

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER.get(nodeid.partition("::")[0], nodeid)

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        """Forgets what is done, which is counted again after every test otherwise: for thousands that takes seconds."""
        super().mark_test_complete(node, item_index, duration)
        scope = self._split_scope(self.registered_collections[node][item_index])
        if all(self.assigned_work[node][scope].values()):
            del self.assigned_work[node][scope]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    """Where `--dist loadgroup` is asked for."""
    return Scheduling(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collects garbage again from where the tests begin, and of what they leave only."""
    yield
    gc.enable()
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Writes how late the latest response of the fault matrix was; the figures come from all processes that ran tests."""
    late = [
        seconds
        for report in terminalreporter.getreports("passed")
        for name, seconds in report.user_properties
        if name == OVER_DEADLINE
    ]
    if late:
        terminalreporter.write_line(
            f"fault matrix: {len(late)} cells, the latest response {1000 * max(late):+.0f} ms over its deadline"
        )
