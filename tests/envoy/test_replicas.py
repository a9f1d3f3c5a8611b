"""Replicas that are stopped, killed and hung, and a database that goes, behind the shipped Envoy: outcomes are true."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.parts.replicas import break_replicas
from bench.stage import Effort, Stage


@pytest.mark.slow
@pytest.mark.timeout(900)  # each replica is started again three times, and more
async def test_outcomes_are_true_while_replicas_break(postgresql_server: Any, tmp_path: Path) -> None:
    stage = Stage(Effort.quick(), tmp_path, Console(quiet=True))
    findings, happened = await break_replicas(stage, postgresql_server, 2, 2, seconds=0)
    assert set(happened) == {"roll", "kill", "kill_worker", "hang", "cut_database"}
    assert findings.untrue == []
    assert findings.outcomes["applied"] > 50
