"""How long a call may take."""

import pytest

from service.api.deadline_policy import DeadlinePolicy


@pytest.mark.parametrize(
    ("remaining", "low", "high"), [(None, 30, 30), (100.0, 60, 60), (60.0, 59, 60), (10.0, 9.4, 9.6), (1.0, 0.9, 0.96)]
)
def test_the_work_ends_shortly_before_the_callers_deadline(remaining: float | None, low: float, high: float) -> None:
    assert low <= DeadlinePolicy().budget(remaining) <= high
