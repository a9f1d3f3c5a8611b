"""Updates that crash at a step, each in a process of its own; run by the tests of crashes.

Reads one JSON object a line, makes the update that it names in a process that is forked for it, and prints how that ended: the
number of the signal, or 0.
"""

import asyncio
import gc
import importlib
import json
import os
import signal
import sys
from typing import Any

from service import app, providers
from service.connections import Keyring, Store
from service.domain.deadline import Deadline
from service.domain.step import Caller, Provider, StepUpdate
from service.history import History
from service.history.change_history import Recorded
from service.settings import Settings
from service.update_step import UpdateStep
from service.upstream.session import ProviderSession

LOADED_LATER = ("aiosqlite", "asyncpg", "opentelemetry.propagate")
STEPS = ("before the record", "after the record", "after the write", "after the settlement")


def crash_at(step: str) -> None:
    """Lets the update crash at a step."""
    record, write, settle = History.record, ProviderSession.write, Recorded.settle

    async def recorded(*arguments: Any) -> Any:
        crash_if(step, STEPS[0])
        made = await record(*arguments)
        crash_if(step, STEPS[1])
        return made

    async def written(*arguments: Any) -> Any:
        answer = await write(*arguments)
        crash_if(step, STEPS[2])
        return answer

    async def settled(*arguments: Any) -> None:
        await settle(*arguments)
        crash_if(step, STEPS[3])

    History.record, ProviderSession.write = recorded, written  # type: ignore[method-assign, assignment]
    Recorded.settle = settled  # type: ignore[method-assign, assignment]


def crash_if(step: str, here: str) -> None:
    if step == here:
        os.kill(os.getpid(), signal.SIGKILL)


async def update(order: dict[str, Any]) -> None:
    settings = Settings(**order["settings"])
    store = Store.open(settings.database_url.get_secret_value(), create=False)
    async with app.provider_access(settings, store) as (connections, sessions):
        history = History(store, Keyring.parse(settings.encryption_keys.get_secret_value()), 30)
        update_step = UpdateStep(sessions, providers.unsupported(), connections, history)
        wanted = StepUpdate(Provider(order["provider"]), "acme", *order["ids"], **order["record"])
        await update_step(Caller(order["application_id"], "billing"), wanted, Deadline.after(20))


def main() -> None:
    # What is loaded at the first use, so that no child has to.
    for name in ("sqlalchemy.dialects.sqlite.aiosqlite", "sqlalchemy.dialects.postgresql.asyncpg", *LOADED_LATER):
        importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            order = json.loads(line)
            crash_at(order["step"])
            asyncio.run(update(order))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
