"""This service in one process, with its settings from the environment, which tells every second how many tasks it has."""

import asyncio
import gc
import sys

import uvloop

from service import app
from service.observability import logging
from service.settings import Settings


async def main() -> None:
    settings = Settings()
    logging.configure(settings.log_format, settings.log_level)
    async with app.running(settings):
        while True:
            print(f"watched {len(asyncio.all_tasks())} {len(gc.get_objects())}", file=sys.stderr, flush=True)
            await asyncio.sleep(1)


if __name__ == "__main__":
    uvloop.run(main())
