"""One service for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.service import RunningService, running_service


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[RunningService]:
    async with running_service(tmp_path) as running:
        yield running
