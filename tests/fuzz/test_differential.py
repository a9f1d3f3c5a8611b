"""Answers around valid ones: what each caller learns is so. `python -m tests.fuzz.differential` tries thousands more."""

import pytest

from service.upstream import retry
from tests.fuzz.differential import search


@pytest.mark.parametrize("seed", [101, pytest.param(102, marks=pytest.mark.slow)])
async def test_no_answer_makes_the_service_say_what_is_not_so(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "backoff", lambda _attempt: 0.0)
    findings = await search(250, seed)
    assert findings.untrue == []
    assert findings.outcomes.keys() >= {"succeeded", "no change", "not_applied", "partially_applied", "unknown"}
