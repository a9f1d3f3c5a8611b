"""Work that goes on without anybody who waits for it, and how it ends when the service stops."""

import asyncio
from collections.abc import Collection, Iterable
from typing import Any, Final

LAST_RENEWAL_SECONDS: Final = 25.0
"""How long a stop waits, after the grace of calls, for a token that was asked for: the longest request, and its storing."""


async def finish(
    tasks: Iterable["asyncio.Task[Any]"], seconds: float, spared: "Collection[asyncio.Task[Any]]" = ()
) -> None:
    """Lets tasks end by themselves for so many seconds, then stops those that have not, and are not among the spared."""
    running = set(tasks)
    if not running:
        return
    _, late = await asyncio.wait(running, timeout=max(0.0, seconds))
    late -= set(spared)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
