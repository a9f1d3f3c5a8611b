"""When calls are welcome."""

import pytest

from service.api.readiness import Readiness


@pytest.mark.parametrize(
    ("is_serving", "has_database", "is_ready"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
def test_both_are_needed(*, is_serving: bool, has_database: bool, is_ready: bool) -> None:
    readiness = Readiness()
    assert not readiness.is_ready
    readiness.is_serving, readiness.has_database = is_serving, has_database
    assert readiness.is_ready is is_ready
