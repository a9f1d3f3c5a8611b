"""`own`: what the service's own code takes, called in a loop without sockets."""

import cProfile
import io
import json
import pstats
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import uvloop
from engagement.v1 import sequence_step_service_pb2 as messages

from bench.answers import APOLLO_HEADERS, SEQUENCE_ID, STEP_ID, WANTED_BODY, WANTED_SUBJECT, routes
from bench.report import Row, Section, Spread, Table
from bench.stage import Stage
from service.api.admission import Admission
from service.api.call_handler import CallHandler
from service.api.deadline_policy import DeadlinePolicy
from service.connections import Applications, ConnectionAdministration, Connections, Keyring, Store
from service.connections.encryption import generate_key
from service.connections.migrations.upgrade import upgrade
from service.domain.credentials import ApiKeyCredentials, Secret
from service.domain.deadline import Deadline
from service.domain.step import Caller, Provider
from service.observability import logging
from service.observability.call_log import StructuredCallLog
from service.providers.apollo import Apollo
from service.rpc.request import step_update
from service.rpc.servicer import SequenceStepServicer
from service.settings import LogFormat
from service.step_history import StepHistory
from service.update_step import UpdateStep
from service.upstream.http import HttpClient, WholeResponse
from service.upstream.session import ProviderSessions

_CUSTOMER: Final = "customer-1"
_TURNS: Final = 1000
_SECONDS: Final = 30.0

_Step = Callable[[], Awaitable[Any]]


class _Answers:
    """A provider that answers at once, without a socket."""

    def __init__(self) -> None:
        client = HttpClient()
        self.build_request, self.build_headers = client.build_request, client.build_headers
        by_method = {route.method: route.body for route in routes() if route.prefix.startswith("/api/v1/")}
        headers = {"content-type": "application/json", **APOLLO_HEADERS}
        self._answers = {method: WholeResponse(200, headers.items(), body) for method, body in by_method.items()}

    async def send(self, request: httpx.Request, *_: object) -> WholeResponse:
        return self._answers[request.method]


class _Context:
    """A call as gRPC hands it over."""

    def __init__(self, pairs: tuple[tuple[str, str], ...], data: bytes) -> None:
        self._pairs = pairs
        self._data = data

    async def read(self) -> messages.UpdateStepRequest:
        return messages.UpdateStepRequest.FromString(self._data)

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._pairs

    def time_remaining(self) -> float:
        return _SECONDS

    def peer(self) -> str:
        return "ipv4:127.0.0.1:50000"

    def auth_context(self) -> Mapping[str, Any]:
        return {}

    def set_trailing_metadata(self, _pairs: object) -> None:
        pass


def run(stage: Stage) -> Section:
    """Microseconds of the whole handler, of the use case in it, and of a look-up, each in a loop."""
    with stage.doing("Calling the service's own code in a loop …"):
        found, functions = uvloop.run(_measure(stage.folder, stage.effort.rounds))
    rows: list[Row] = [(name, Spread.of(values).show(0)) for name, values in found.items()]
    rows.append(("Python and C functions that one handler call calls", f"{functions:,.0f}"))
    how = (
        "One change of a subject and a body at Apollo, from the bytes of the request to those of the response, with a log "
        "and a cache, but no socket and no server. `json.loads` is there to compare the decoding with."
    )
    return Section(
        [Table("The service's own code in a loop, µs", ("", "µs"), rows)],
        notes=[how],
        data={"loops": found, "functions": functions},
    )


async def _measure(folder: Path, rounds: int) -> tuple[dict[str, list[float]], float]:
    store = Store.open(f"sqlite:///{folder}/store.sqlite3")
    try:
        await upgrade(store)
        key = await Applications(store, 0).create("bench")
        applications = Applications(store, _SECONDS)
        caller = await applications.authenticate(key.reveal())
        keyring = Keyring.parse(generate_key())
        cached = Connections(store, keyring, {}, cache_seconds=_SECONDS, refresh_margin_seconds=0)
        looked_up = Connections(store, keyring, {}, cache_seconds=0, refresh_margin_seconds=0)
        await ConnectionAdministration(store, keyring).set(
            caller.application_id, _CUSTOMER, Provider("apollo"), ApiKeyCredentials(Secret("key"))
        )
        with (folder / "log").open("w", encoding="utf-8") as log:
            logging.configure(LogFormat.JSON, "info", log)
            handler, use_case = _handler(applications, cached, key), _use_case(caller, cached)
            steps: dict[str, _Step] = {
                "the whole handler": handler,
                "the use case in it": use_case,
                "finding a customer who is not cached, SQLite": lambda: looked_up.usable(
                    caller.application_id, _CUSTOMER, Provider("apollo"), Deadline.after(_SECONDS)
                ),
                "decoding the sequence by msgspec": _decoding(msgspec.json.decode),
                "decoding it by json.loads": _decoding(json.loads),
            }
            found: dict[str, list[float]] = {name: [] for name in steps}
            for _ in range(rounds):
                for name, step in steps.items():
                    found[name].append(await _loop(step))
            return found, await _functions(handler)
    finally:
        await store.close()
        logging.configure(LogFormat.CONSOLE, "warning", sys.stderr)


def _sessions() -> dict[Provider, ProviderSessions]:
    http: Any = _Answers()
    return {Apollo.provider: ProviderSessions(Apollo("http://apollo", "http://apollo"), http)}


def _handler(applications: Applications, connections: Connections, key: Secret) -> _Step:
    update_step: Any = UpdateStep(_sessions(), {}, connections)
    reads: Any = None
    history = StepHistory(None, update_step)
    serving = (applications, [StructuredCallLog()], DeadlinePolicy(), Admission(256))
    calls = CallHandler(update_step, reads, history, *serving)
    servicer = SequenceStepServicer(calls)
    context: Any = _Context(
        (("x-api-key", key.reveal()), ("x-customer-id", _CUSTOMER), ("x-provider-name", "apollo"), ("user-agent", "x")),
        _request(),
    )

    async def step() -> bytes:
        response: messages.UpdateStepResponse = await servicer.UpdateStep(None, context)
        return response.SerializeToString()

    return step


def _use_case(caller: Caller, connections: Connections) -> _Step:
    update_step = UpdateStep(_sessions(), {}, connections)
    update = step_update(messages.UpdateStepRequest.FromString(_request()), Provider("apollo"), _CUSTOMER)
    return lambda: update_step(caller, update, Deadline.after(_SECONDS))


def _decoding(decode: Callable[[bytes], object]) -> _Step:
    [body] = [route.body for route in routes() if route.name == "campaign"]

    async def step() -> None:
        decode(body)

    return step


def _request() -> bytes:
    request = messages.UpdateStepRequest(sequence_id=SEQUENCE_ID, sequence_step_id=STEP_ID)
    request.record.template.subject = WANTED_SUBJECT
    request.record.template.body = WANTED_BODY
    return request.SerializeToString()


async def _loop(step: _Step) -> float:
    """Microseconds of CPU that one turn takes."""
    for _ in range(_TURNS // 10):
        await step()
    begun = time.process_time()
    for _ in range(_TURNS):
        await step()
    return (time.process_time() - begun) / _TURNS * 1e6


async def _functions(step: _Step) -> float:
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(_TURNS):
        await step()
    profile.disable()
    calls: int = pstats.Stats(profile, stream=io.StringIO()).total_calls  # type: ignore[attr-defined]
    return calls / _TURNS
