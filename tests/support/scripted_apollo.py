"""An Apollo of many customers that answers as a test says, and the use case in front of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from service.domain.credentials import ApiKeyCredentials, Connection, Secret
from service.domain.deadline import Deadline
from service.domain.step import Caller, Provider, UpdateResult
from service.providers.apollo import Apollo
from service.update_step import UpdateStep
from service.upstream.http import HttpClient, HttpLimits
from service.upstream.session import ProviderSessions
from tests.support import apollo
from tests.support.scripted_server import Script, ServerConnection, scripted_server


class ScriptedApollo:
    """The records of all customers.

    The ids are the same for all of them, so that only the texts show whose answer it is.

    Attributes:
        subjects: The subject of each template, by the API key of the customer and the id.
    """

    def __init__(self) -> None:
        self.subjects: dict[tuple[str, str], str] = {}

    def subject(self, key: str, template: str) -> str:
        """The subject that a customer's template has now."""
        return self.subjects.get((key, template), f"{key} {template}")

    def answer(self, head: str, body: bytes) -> bytes:
        """Carries out a request; the template of a sequence has its id."""
        method, path, _ = head.split(" ", 2)
        key, record_id = api_key(head), path.rpartition("/")[2]
        if method == "PUT":
            self.subjects[key, record_id] = json.loads(body)["subject"]
        shown: dict[str, Any] = apollo.template(record_id, subject=self.subject(key, record_id))
        if method == "GET":
            campaign = {"id": record_id, "active": False}
            touches = [apollo.touch(template=record_id)]
            shown = apollo.answer(emailer_campaign=campaign, emailer_touches=touches, emailer_templates=[shown])
        return response(200, shown)

    async def serve(self, connection: ServerConnection) -> None:
        """A script that answers each request once."""
        while True:
            await connection.send(self.answer(*await connection.request()))

    def serving_twice(self, gap: float | None) -> Script:
        """A script that sends each answer twice, so many seconds apart; in one write if that is None."""

        async def serve(connection: ServerConnection) -> None:
            while True:
                answer = self.answer(*await connection.request())
                if gap is None:
                    await connection.send(answer + answer)
                    continue
                await connection.send(answer)
                await asyncio.sleep(gap)
                await connection.send(answer)

        return serve


def api_key(head: str) -> str:
    """The API key in the head of a request."""
    return head.partition("x-api-key: ")[2].partition("\r\n")[0]


def response(status: int, content: Any, headers: str = "") -> bytes:
    """A JSON response."""
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


@dataclass
class Updates:
    """The use case in front of a scripted Apollo.

    Attributes:
        sessions: What it shares.
        keys: The API keys of the customers; each that is not named has its id for a key.
    """

    sessions: ProviderSessions
    keys: dict[str, str] = field(default_factory=dict)
    _rows: dict[tuple[int, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._use_case = UpdateStep({self.sessions.adapter.provider: self.sessions}, {}, self)

    async def __call__(
        self,
        customer: str,
        sequence: str = apollo.SEQUENCE,
        *,
        application: int = 1,
        seconds: float = 20,
        **wanted: Any,
    ) -> UpdateResult:
        """Makes an update."""
        update = apollo.update(customer_id=customer, sequence_id=sequence, **wanted)
        return await self._use_case(Caller(application, f"{application}"), update, Deadline.after(seconds))

    async def usable(self, application_id: int, customer_id: str, provider: Provider, deadline: Deadline) -> Connection:
        """The customer's connection."""
        row = self._rows.setdefault((application_id, customer_id), len(self._rows) + 1)
        key = self.keys.get(customer_id, customer_id)
        return Connection(row, application_id, customer_id, provider, ApiKeyCredentials(Secret(key)))

    async def renewed(self, connection: Connection, deadline: Deadline) -> Connection:
        """The same connection, since an API key cannot be renewed."""
        return connection


@asynccontextmanager
async def updates_at(script: Script, limits: HttpLimits | None = None) -> AsyncIterator[Updates]:
    """The use case in front of an Apollo that follows the script."""
    async with scripted_server(script) as server:
        http = HttpClient(limits)
        try:
            yield Updates(ProviderSessions(Apollo(f"http://127.0.0.1:{server.port}", ""), http))
        finally:
            await http.close()
