"""Deadlines are moments on the monotonic clock."""

import pytest

from service.domain.deadline import Deadline


def test_what_is_left_of_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("service.domain.deadline.time.monotonic", lambda: now)
    deadline = Deadline.after(5)
    now = 103.0
    assert deadline.remaining() == 2
    now = 107.0
    assert deadline.remaining() == -2
