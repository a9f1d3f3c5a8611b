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


@pytest.mark.parametrize(
    ("remaining", "budget"),
    [(60.0, 59.5), (60.1, 60.0), (20.0, 19.5), (10.0, 9.5), (2.0, 1.9), (1.0, 0.95), (0.5, 0.45)],
)
def test_a_twentieth_is_kept_for_the_response(remaining: float, budget: float) -> None:
    assert DeadlinePolicy().budget(remaining) == pytest.approx(budget)


@pytest.mark.parametrize(("default", "longest", "budget"), [(30, 60, 30), (60, 30, 30)])
def test_callers_without_a_deadline_have_the_default(default: float, longest: float, budget: float) -> None:
    assert DeadlinePolicy(default, longest).budget(None) == budget


def test_the_deadlines_of_the_settings_are_those_of_the_contract() -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert defaults["default_deadline_seconds"] == DEFAULT_DEADLINE_SECONDS
    assert defaults["max_deadline_seconds"] == MAX_DEADLINE_SECONDS
