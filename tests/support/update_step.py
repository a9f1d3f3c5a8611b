"""The use case in front of scripted providers: what a provider answers to each request is said by a test."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from service.domain.credentials import ApiKeyCredentials, Connection, Credentials, Secret
from service.domain.deadline import Deadline
from service.domain.errors import Problem, UpdateFailed
from service.domain.step import Caller, FieldChange, Provider, StepUpdate, UpdateResult, WarningType
from service.domain.step_changes import ChangeState
from service.providers import unsupported
from service.providers.apollo import Apollo
from service.providers.outreach import Outreach
from service.update_step import ChangeLog, UpdateStep
from service.upstream.http import WholeResponse
from service.upstream.session import ProviderSessions
from tests.support import apollo

CALLER = Caller(1, "billing")
Respond = Callable[[httpx.Request], httpx.Response]


class FakeConnections:
    """One connection, which can be renewed or not."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        key = ApiKeyCredentials(Secret("key"))
        self.connection = Connection(1, 1, "acme", Provider("any"), credentials or key)
        self.failure: UpdateFailed | None = None
        self.refusal: UpdateFailed | None = None
        self.renewal: Connection | None = None

    async def usable(self, application_id: int, customer_id: str, provider: Provider, deadline: Deadline) -> Connection:
        if self.failure is not None:
            raise self.failure
        return self.connection

    async def renewed(self, connection: Connection, deadline: Deadline) -> Connection:
        if self.refusal is not None:
            raise self.refusal
        return self.renewal or connection


class FakeLog:
    """A history that keeps what it is given: a change that is about to be made, and what became of it."""

    change_id = "c-1"

    def __init__(self) -> None:
        self.failure: UpdateFailed | None = None
        self.recorded: list[tuple[str, list[FieldChange]]] = []
        self.settled: list[tuple[ChangeState | None, list[str] | None]] = []

    async def record(
        self, caller: Caller, update: StepUpdate, template_id: str, fields: Sequence[FieldChange], deadline: Deadline
    ) -> "FakeLog":
        if self.failure is not None:
            raise self.failure
        self.recorded.append((template_id, list(fields)))
        return self

    async def settle(self, state: ChangeState | None, fields: Sequence[FieldChange] | None) -> None:
        named = [f"{each.field}={each.after}" for each in fields] if fields is not None else None
        self.settled.append((state, named))


class ScriptedHttp:
    """Answers requests as the test says, and keeps them."""

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self.requests: list[httpx.Request] = []

    def build_headers(self, headers: dict[str, str]) -> httpx.Headers:
        return httpx.Headers(headers)

    def build_request(self, method: str, url: str, headers: httpx.Headers, body: bytes = b"") -> httpx.Request:
        return httpx.Request(method, url, headers=headers, content=body)

    async def send(self, request: httpx.Request, *_: object) -> httpx.Response:
        self.requests.append(request)
        return self.respond(request)


def made(status: int, body: Any, kind: str = "application/json", *headers: tuple[str, str]) -> WholeResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return WholeResponse(status, [("content-type", kind), *headers], content)


class ApolloFake:
    """A provider that holds one template, and makes of texts what the test says."""

    def __init__(self, clean: Callable[[str, Any], Any] = lambda _, value: value) -> None:
        self.template = apollo.template()
        self.step: dict[str, Any] = {"id": apollo.STEP, "type": "auto_email", "note": "n"}
        self.clean = clean
        self.writes: list[dict[str, Any]] = []
        self.write_status = 200

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            stored = apollo.answer(emailer_templates=[self.template], emailer_steps=[self.step])
            return made(200, stored | {"emailer_campaign": {"active": True}})
        body = json.loads(request.content)
        self.writes.append(body)
        if self.write_status != 200:
            return made(self.write_status, {"error": "No."})
        record = self.template if "emailer_templates" in str(request.url) else self.step
        for name, value in body.items():
            if name in record:
                record[name] = self.clean(name, value)
        return made(200, record)


def use_case(
    respond: Respond, credentials: Credentials | None = None, history: ChangeLog | None = None
) -> tuple[UpdateStep, ScriptedHttp, FakeConnections]:
    http: Any = ScriptedHttp(respond)
    connections = FakeConnections(credentials)
    sessions = {
        Apollo.provider: ProviderSessions(Apollo("http://apollo.example", "http://apollo.example/token"), http),
        Outreach.provider: ProviderSessions(Outreach("http://outreach.example"), http),
    }
    return UpdateStep(sessions, unsupported(), connections, history), http, connections


async def run(update_step: UpdateStep, update: StepUpdate, seconds: float = 5) -> UpdateResult:
    return await update_step(CALLER, update, Deadline.after(seconds))


def kinds(result: UpdateResult) -> list[WarningType]:
    return [warning.type for warning in result.warnings]


def the(result: UpdateResult) -> Problem:
    [problem] = result.problems
    return problem
