"""Every fault at every call of every provider, made by real sockets: what the caller's response says, and whether it is true."""

import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import trustme
from _pytest.mark import ParameterSet
from engagement.v1 import envelope_pb2

from sandbox import seed
from sandbox.server import running_sandbox
from service.domain.credentials import OAuthCredentials, Secret
from service.domain.errors import Outcome
from service.domain.step import Provider
from service.upstream.http import HttpClient
from tests.conftest import OVER_DEADLINE
from tests.faults.matrix import OWN_FORM, Cell, cells, table
from tests.support.service import CUSTOMER, CallResult, RunningService, outreach_grant, running_service

OUTCOMES = {
    Outcome.NOT_APPLIED: envelope_pb2.ERROR_OUTCOME_NOT_APPLIED,
    Outcome.UNKNOWN: envelope_pb2.ERROR_OUTCOME_UNKNOWN,
    Outcome.PARTIALLY_APPLIED: envelope_pb2.ERROR_OUTCOME_PARTIALLY_APPLIED,
}
PLACES = {
    (Provider("apollo"), "read"): ("GET", "emailer_campaigns"),
    (Provider("apollo"), "write"): ("PUT", "emailer_templates"),
    (Provider("apollo"), "fields"): ("PUT", "emailer_steps"),
    (Provider("outreach"), "read"): ("GET", "sequenceTemplates"),
    (Provider("outreach"), "write"): ("PATCH", "templates"),
    (Provider("outreach"), "fields"): ("PATCH", "sequenceSteps"),
    (Provider("apollo"), "token"): ("POST", "oauth/token"),
    (Provider("outreach"), "token"): ("POST", "oauth/token"),
}
ALL = list(cells())
# `make test` tries one cell in so many; as most faults have eight cells, each kind of call gets its turn.
ONE_IN = 7
SUBJECT, NOTE = "After the fault", "after the fault"


def sampled(cells: list[Cell]) -> list[ParameterSet]:
    """The cells as parameters of a test, all but a sample of them slow."""
    return [
        pytest.param(cell, id=str(cell), marks=[pytest.mark.slow] if index % ONE_IN else [])
        for index, cell in enumerate(cells)
    ]


async def update(service: RunningService, cell: Cell, seconds: float | None = None) -> CallResult:
    ids: tuple[Any, Any] = (seed.APOLLO_SEQUENCE_INACTIVE, seed.APOLLO_STEP_INACTIVE_PLAIN)
    field = "note"
    if cell.provider == Provider("outreach"):
        ids = (seed.OUTREACH_SEQUENCE_DISABLED, seed.OUTREACH_STEP_DISABLED_PLAIN)
        field = "taskNote"
    return await service.update(
        cell.provider, *ids, subject=SUBJECT, custom_fields={field: NOTE}, seconds=seconds or cell.fault.deadline
    )


def ended_grant(provider: Provider) -> OAuthCredentials:
    """A grant whose access token has just ended."""
    ended = time.time() - 1
    if provider == Provider("outreach"):
        return outreach_grant(expires_at=ended)
    return OAuthCredentials(
        Secret(seed.APOLLO_ACCESS_TOKEN),
        Secret(seed.APOLLO_REFRESH_TOKEN),
        ended,
        seed.APOLLO_CLIENT_ID,
        Secret(seed.APOLLO_CLIENT_SECRET),
    )


async def stored(service: RunningService, provider: Provider) -> tuple[Any, Any]:
    """The subject and the note that the provider holds."""
    if provider == Provider("apollo"):
        template = await service.provider_record("apollo", "emailer_templates", seed.APOLLO_TEMPLATE_INACTIVE_PLAIN)
        step = await service.provider_record("apollo", "emailer_steps", seed.APOLLO_STEP_INACTIVE_PLAIN)
        return template["subject"], step["note"]
    template = await service.provider_record("outreach", "templates", seed.OUTREACH_TEMPLATE_DISABLED_PLAIN)
    step = await service.provider_record("outreach", "sequenceSteps", seed.OUTREACH_STEP_DISABLED_PLAIN)
    return template["attributes"]["subject"], step["attributes"]["taskNote"]


def order(cell: Cell) -> dict[str, Any]:
    method, path = PLACES[cell.provider, cell.call]
    given = dict(cell.fault.order)
    if given.pop("own_form", None):
        given["body"] = OWN_FORM[cell.provider]
    if "body" in given and cell.provider == Provider("outreach") and isinstance(given["body"], dict):
        # An answer of Outreach's has its media type.
        given["headers"] = {"content-type": "application/vnd.api+json"} | given.get("headers", {})
    soon = (datetime.now(UTC) + timedelta(seconds=120)).isoformat()
    if "headers" in given:
        given["headers"] = {name: value.format(in_120_seconds=soon) for name, value in given["headers"].items()}
    return {"provider": cell.provider, "method": method, "path": f"{path}\\b", "times": None} | given


@pytest.fixture
def rerouted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Cell, str], list[str]]:
    """Sends one kind of request elsewhere, as if the provider had moved between two requests; gives those it sent."""
    send = HttpClient.send

    def reroute(cell: Cell, elsewhere: str) -> list[str]:
        method, path = PLACES[cell.provider, cell.call]
        sent: list[str] = []

        async def send_elsewhere(self: HttpClient, request: httpx.Request, *more: Any) -> httpx.Response:
            target = request.extensions["target"]
            if request.method == method and path in target.decode():
                sent.append(target.decode())
                there, headers = {"target": target}, request.headers.raw
                request = httpx.Request(method, elsewhere, headers=headers, content=request.read(), extensions=there)
            return await send(self, request, *more)

        monkeypatch.setattr(HttpClient, "send", send_elsewhere)
        return sent

    return reroute


@asynccontextmanager
async def faulty(
    cell: Cell, service: RunningService, rerouted: Callable[[Cell, str], list[str]]
) -> AsyncIterator[Callable[[], int]]:
    """Makes the fault of a cell; yields what counts the requests that met it."""
    method, path = PLACES[cell.provider, cell.call]
    at = cell.fault.order.get("at")
    if at is None:
        service.sandbox.order_fault(**order(cell))
        yield lambda: sum(
            call["method"] == method and f"/{path}" in call["path"] for call in service.sandbox.calls(cell.provider)
        )
        return
    async with AsyncExitStack() as stack:
        if at == "untrusted":
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
            at = (await stack.enter_async_context(running_sandbox(ssl_context=context))).url
        elif at == "plaintext":
            at = service.sandbox.url.replace("http:", "https:")
        sent = rerouted(cell, at)
        yield lambda: len(sent)


@pytest.mark.parametrize("cell", sampled(ALL))
async def test_a_cell_of_the_matrix(
    cell: Cell,
    tmp_path: Path,
    rerouted: Callable[[Cell, str], list[str]],
    record_property: Callable[[str, object], None],
) -> None:
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(running_service(tmp_path, provider_max_answer_bytes=8 * 1024 * 1024))
        before = await stored(service, cell.provider)
        if cell.call == "token":
            await service.connect(CUSTOMER, cell.provider, ended_grant(cell.provider))
        requests = await stack.enter_async_context(faulty(cell, service, rerouted))
        started = time.monotonic()
        answer = await update(service, cell)
        took = time.monotonic() - started
        record_property(OVER_DEADLINE, took - cell.fault.deadline)
        # The typed answer beats the caller's own clock; a bare DEADLINE_EXCEEDED would have no envelope.
        assert answer.code is grpc.StatusCode.OK
        assert took < cell.fault.deadline
        now = await stored(service, cell.provider)
        assert requests() == cell.expected.calls
        if cell.expected.code is None:
            assert answer.errors == []
            assert now == (SUBJECT, NOTE)
            return
        check_envelope(answer, cell)
        check_truth(cell, before, now)


def check_envelope(answer: CallResult, cell: Cell) -> None:
    check_errors(answer, cell)
    applied = {"template.subject"} if cell.call == "fields" else set()
    assert set(answer.changes) == applied


def check_errors(answer: CallResult, cell: Cell) -> None:
    expected = cell.expected
    assert [error.code for error in answer.errors] == [expected.code] * expected.errors
    assert answer.trailers["x-error-code"] == expected.code
    for error in answer.errors:
        assert expected.outcome is not None
        assert error.meta.outcome == OUTCOMES[expected.outcome], error.detail
        assert error.meta.origin == envelope_pb2.ERROR_ORIGIN_REMOTE_PROVIDER
        assert error.meta.HasField("retry_after") == (expected.retry_after is not None)
        if expected.retry_after is not None:
            assert error.meta.retry_after.ToSeconds() == pytest.approx(expected.retry_after, abs=3)


def check_truth(cell: Cell, before: tuple[Any, Any], now: tuple[Any, Any]) -> None:
    """The response says what the provider holds."""
    match cell.expected.outcome:
        case Outcome.NOT_APPLIED:
            assert now == before
        case Outcome.PARTIALLY_APPLIED:
            assert now[0] == SUBJECT
        case _:
            assert now[1] == before[1]


# A read of a caller's fails as that of an update does; some of the cells show it.
READS = [(cell, method) for cell in ALL if cell.call == "read" for method in ("get_step", "list_steps")][::ONE_IN]


@pytest.mark.parametrize(("cell", "method"), READS, ids=[f"{method}-{cell}" for cell, method in READS])
async def test_a_read_fails_as_that_of_an_update(
    cell: Cell,
    method: str,
    tmp_path: Path,
    rerouted: Callable[[Cell, str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if (cell.provider, method) == (Provider("outreach"), "list_steps"):
        monkeypatch.setitem(PLACES, (cell.provider, "read"), ("GET", "sequenceSteps"))
    ids: tuple[Any, Any] = (seed.APOLLO_SEQUENCE_INACTIVE, seed.APOLLO_STEP_INACTIVE_PLAIN)
    if cell.provider == Provider("outreach"):
        ids = (seed.OUTREACH_SEQUENCE_DISABLED, seed.OUTREACH_STEP_DISABLED_PLAIN)
    async with (
        running_service(tmp_path, provider_max_answer_bytes=8 * 1024 * 1024) as service,
        faulty(cell, service, rerouted) as requests,
    ):
        seconds = {"seconds": cell.fault.deadline}
        if method == "get_step":
            answer = await service.get_step(cell.provider, *ids, **seconds)
        else:
            answer = await service.list_steps(cell.provider, ids[0], **seconds)
        assert answer.code is grpc.StatusCode.OK
        assert requests() == cell.expected.calls
        if cell.expected.code is None:
            assert answer.errors == []
            return
        check_errors(answer, cell)
        assert not answer.response.HasField("step" if method == "get_step" else "sequence")


DOUBTFUL = [cell for cell in ALL if cell.expected.outcome is Outcome.UNKNOWN]


@pytest.mark.parametrize("cell", sampled(DOUBTFUL))
async def test_repeating_a_call_that_is_in_doubt_settles_it(cell: Cell, tmp_path: Path) -> None:
    """The fault strikes after the provider has carried the write out."""
    async with running_service(tmp_path, provider_max_answer_bytes=8 * 1024 * 1024) as service:
        service.sandbox.order_fault(**order(cell), when="after")
        answer = await update(service, cell)
        assert answer.error.meta.outcome == envelope_pb2.ERROR_OUTCOME_UNKNOWN
        await service.control_sandbox("DELETE", "/faults")
        assert (await stored(service, cell.provider))[0] == SUBJECT
        again = await update(service, cell, seconds=20)
        assert again.errors == []
        assert await stored(service, cell.provider) == (SUBJECT, NOTE)


def test_the_matrix_has_every_cell() -> None:
    assert len(ALL) == len({str(cell) for cell in ALL})
    assert len(ALL) >= 200


def test_the_documented_table_is_the_one_that_is_tested() -> None:
    document = Path(__file__).parents[2] / "docs" / "faults.md"
    assert table() in document.read_text()
