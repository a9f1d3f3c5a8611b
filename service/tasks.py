"""Work that goes on without anybody who waits for it, and how it ends when the service stops."""

import asyncio
from collections.abc import Collection, Coroutine, Iterable
from typing import Any, Final, TypeVar

T = TypeVar("T")

LAST_RENEWAL_SECONDS: Final = 25.0
"""How long a stop waits, after the grace of calls, for a token that was asked for: the longest request, and its storing."""

_left: Final = set["asyncio.Task[Any]"]()


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Waits so many seconds for work, and not for its end after that: a database that hangs does not let go at once either.

    Raises:
        TimeoutError: It takes longer, and was cancelled.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task], timeout=max(0.0, seconds))
    finally:
        if not task.done():
            task.cancel()
            _left.add(task)
            task.add_done_callback(_forget)
    if not task.done():
        raise TimeoutError
    return task.result()


def _forget(task: "asyncio.Task[Any]") -> None:
    _left.discard(task)
    # asyncio warns of an exception that nobody retrieved, and nobody is left who wants to know.
    if not task.cancelled():
        task.exception()


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
