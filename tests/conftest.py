"""The fixtures that tests of several folders use, and the line that the fault matrix ends with."""

from typing import Final

import pytest

from tests.support.certificates import authority, mutual_tls_files, tls_files
from tests.support.databases import database_url, postgresql_server
from tests.support.service import service

__all__ = ["authority", "database_url", "mutual_tls_files", "postgresql_server", "service", "tls_files"]

OVER_DEADLINE: Final = "over_deadline"
"""What a test records the seconds as by which a response was later than its deadline; negative if it was earlier."""


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
