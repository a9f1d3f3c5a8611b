"""Work that goes on without anybody who waits for it, and how it ends when the service stops."""

import asyncio
from collections.abc import Iterable
from typing import Any


async def finish(tasks: Iterable["asyncio.Task[Any]"], seconds: float) -> None:
    """Lets tasks end by themselves for so many seconds, then stops those that have not."""
    running = set(tasks)
    if not running:
        return
    _, late = await asyncio.wait(running, timeout=max(0.0, seconds))
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
