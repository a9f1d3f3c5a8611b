"""Shares between commands how the store is opened."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from service.cli import context
from service.connections import Store

T = TypeVar("T")


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs an asynchronous command."""
    return asyncio.run(main())


@asynccontextmanager
async def open_store() -> AsyncIterator[Store]:
    """Opens the store of the settings and checks its schema."""
    opened = Store.open(context.load_settings().database_url.get_secret_value(), create=False)
    try:
        await opened.check_schema()
        yield opened
    finally:
        await opened.close()
