"""A process that renews a token, and can crash at a step of it, or is killed when it has sent its request; run by the tests.

Reads one JSON object from its arguments, and prints as JSON what its calls ended with.
"""

import asyncio
import json
import os
import signal
import sys
from typing import Any

from service.connections import Connections, Keyring, Store, TokenEndpoint
from service.connections.repository import ConnectionRepository
from service.domain.credentials import OAuthCredentials, Secret
from service.domain.deadline import Deadline
from service.domain.errors import UpdateFailed
from service.domain.step import Provider
from service.domain.token_grant import TokenGrant
from service.providers.outreach import Outreach
from service.upstream.http import HttpClient
from service.upstream.oauth import TokenRefresher

STEPS = ("lease taken", "request sent", "token minted", "before commit", "after commit")


def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class CrashingEndpoint:
    """A token endpoint whose caller crashes around the mint."""

    def __init__(self, endpoint: TokenEndpoint, step: str) -> None:
        self._endpoint = endpoint
        self._step = step

    async def refresh(self, credentials: OAuthCredentials, refresh_token: Secret, deadline: Deadline) -> TokenGrant:
        if self._step == "lease taken":
            crash()
        grant = await self._endpoint.refresh(credentials, refresh_token, deadline)
        if self._step == "token minted":
            crash()
        return grant


def crash_around_commit(step: str) -> None:
    commit = ConnectionRepository.replace_credentials

    async def replace_credentials(*arguments: Any) -> Any:
        if step == "before commit":
            crash()
        stored = await commit(*arguments)
        if step == "after commit":
            crash()
        return stored

    ConnectionRepository.replace_credentials = replace_credentials  # type: ignore[method-assign, assignment]


async def main(options: dict[str, Any]) -> None:
    http = HttpClient()
    store = Store.open(options["database_url"])
    step = options.get("crash_at", "")
    crash_around_commit(step)
    endpoint = CrashingEndpoint(
        TokenRefresher(Outreach.provider, Outreach(options["outreach_url"]).token_url, http), step
    )
    connections = Connections(
        store,
        Keyring.parse(options["keys"]),
        {Provider("outreach"): endpoint},
        cache_seconds=5,
        refresh_margin_seconds=300,
    )

    async def call() -> str:
        try:
            connection = await connections.usable(
                options["application_id"], "acme", Provider("outreach"), Deadline.after(20)
            )
        except UpdateFailed as failure:
            return f"{failure.problems[0].code}: {failure.problems[0].detail}"
        assert isinstance(connection.credentials, OAuthCredentials)
        return connection.credentials.access_token.reveal()

    ended = await asyncio.gather(*(call() for _ in range(options.get("calls", 1))))
    print(json.dumps(sorted(set(ended))), flush=True)  # noqa: T201
    await store.close()
    await http.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
