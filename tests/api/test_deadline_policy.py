"""How long a call may take."""

import pytest

from service.api.contract import DEFAULT_DEADLINE_SECONDS, MAX_DEADLINE_SECONDS
from service.api.deadline_policy import DeadlinePolicy
from service.settings import Settings


@pytest.mark.parametrize(
    ("remaining", "low", "high"), [(None, 30, 30), (100.0, 60, 60), (60.0, 59, 60), (10.0, 9.4, 9.6), (1.0, 0.9, 0.96)]
)
def test_the_work_ends_shortly_before_the_callers_deadline(remaining: float | None, low: float, high: float) -> None:
    assert low <= DeadlinePolicy().budget(remaining) <= high


def test_the_deadlines_of_the_settings_are_those_of_the_contract() -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert defaults["default_deadline_seconds"] == DEFAULT_DEADLINE_SECONDS
    assert defaults["max_deadline_seconds"] == MAX_DEADLINE_SECONDS
