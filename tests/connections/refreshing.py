"""A process that renews a token, and can be made to die at a step of it; run by the tests of renewal.

Reads one JSON object from its arguments, prints one line for what became of it.
"""

import asyncio
import json
import os
import signal
import sys
from typing import Any

from service.connections import Connections, Keyring, Store
from service.domain.credentials import OAuthCredentials, TokenGrant
from service.domain.deadline import Deadline
from service.domain.errors import UpdateFailed
from service.domain.step import Provider
from service.providers.outreach import Outreach
from service.upstream.oauth import TokenRefresher
from service.upstream.old_http import Upstream

STEPS = ("lease taken", "request sent", "token minted", "before commit", "after commit")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Dying:
    """A token endpoint that dies around the mint."""

    def __init__(self, inner: Any, step: str) -> None:
        self._inner = inner
        self._step = step

    async def refresh(self, credentials: OAuthCredentials, deadline: Deadline) -> TokenGrant:
        if self._step == "lease taken":
            die()
        if self._step == "request sent":
            asyncio.get_running_loop().call_later(0.01, die)
        grant: TokenGrant = await self._inner.refresh(credentials, deadline)
        if self._step == "token minted":
            die()
        return grant


class DyingConnections(Connections):
    """Connections that die around the commit."""

    step = ""

    async def _commit(self, owner: Any, held: Any, renewed: Any) -> bool:
        if self.step == "before commit":
            die()
        stored = await super()._commit(owner, held, renewed)
        if self.step == "after commit":
            die()
        return stored


async def main(wanted: dict[str, Any]) -> None:
    upstream = Upstream()
    store = Store.open(wanted["database_url"])
    endpoint = TokenRefresher(Outreach.provider, Outreach(wanted["outreach_url"]).token_url, upstream)
    connections = DyingConnections(
        store,
        Keyring.parse(wanted["key"]),
        {Provider("outreach"): Dying(endpoint, wanted.get("die_at", ""))},
        cache_seconds=5,
        refresh_margin_seconds=300,
    )
    connections.step = wanted.get("die_at", "")

    async def one() -> str:
        try:
            connection = await connections.usable(
                wanted["application_id"], "acme", Provider("outreach"), Deadline.after(wanted.get("seconds", 20))
            )
        except UpdateFailed as failure:
            return f"{failure.problems[0].code}: {failure.problems[0].detail}"
        assert isinstance(connection.credentials, OAuthCredentials)
        return connection.credentials.access_token.reveal()

    print(json.dumps(sorted(set(await asyncio.gather(*(one() for _ in range(wanted.get("calls", 1))))))), flush=True)  # noqa: T201
    await store.close()
    await upstream.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
