"""One door for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.rest.servers import HttpDoor, open_door


@pytest.fixture
async def door() -> AsyncIterator[HttpDoor]:
    async with open_door() as running:
        yield running
