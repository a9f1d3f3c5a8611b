"""What the matrix came to, at the end of the run."""

import pytest

_OVER_DEADLINE = pytest.StashKey[list[float]]()


@pytest.fixture
def over_deadline(pytestconfig: pytest.Config) -> list[float]:
    """Seconds by which each cell was later than its deadline; negative if it was earlier."""
    return pytestconfig.stash.setdefault(_OVER_DEADLINE, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    late = config.stash.get(_OVER_DEADLINE, [])
    if late:
        terminalreporter.write_line(
            f"fault matrix: {len(late)} cells, the latest answer {1000 * max(late):+.0f} ms over its deadline"
        )
