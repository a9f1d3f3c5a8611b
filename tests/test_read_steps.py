"""The use case of reading: what is refused before a call, what a failure says, and what is shown of a caller who left."""

import asyncio
from typing import Any

import pytest

from service.domain.deadline import Deadline
from service.domain.errors import CallRefused, ErrorCode, Outcome, failed
from service.domain.sequence import SequenceResult, StepQuery
from service.domain.step import Provider
from service.providers.apollo import Apollo
from service.providers.outreach import Outreach
from service.read_steps import ReadSteps
from service.update_step import UpdateAbandoned
from service.upstream.session import ProviderSessions
from tests.support import apollo
from tests.support.update_step import CALLER, FakeConnections, Respond, ScriptedHttp, made
from tests.support.waiting import until


def reading(respond: Respond) -> tuple[ReadSteps, ScriptedHttp, FakeConnections]:
    http: Any = ScriptedHttp(respond)
    connections = FakeConnections()
    sessions = {
        Apollo.provider: ProviderSessions(Apollo("http://apollo.example", "http://apollo.example/token"), http),
        Outreach.provider: ProviderSessions(Outreach("http://outreach.example"), http),
    }
    return ReadSteps(sessions, connections), http, connections


def query(**given: Any) -> StepQuery:
    ids = {"sequence_id": apollo.SEQUENCE, "sequence_step_id": apollo.STEP}
    return StepQuery(**{"provider": Provider("apollo"), "customer_id": "acme"} | ids | given)


async def run(read_steps: ReadSteps, wanted: StepQuery) -> SequenceResult:
    return await read_steps(CALLER, wanted, Deadline.after(5))


async def test_a_step_is_read_in_one_call() -> None:
    read_steps, http, _ = reading(lambda _: made(200, apollo.answer()))
    result = await run(read_steps, query())
    assert result.sequence is not None
    assert [each.sequence_step_id for each in result.sequence.steps] == [apollo.STEP]
    assert (result.problems, result.query, result.provider_calls, len(http.requests)) == ((), query(), 1, 1)


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"sequence_id": ""}, ["sequence_id"]),
        ({"sequence_step_id": ""}, ["sequence_step_id"]),
        ({"sequence_id": "7", "sequence_step_id": "8"}, ["sequence_id", "sequence_step_id"]),
        ({"sequence_id": "7", "sequence_step_id": "", "names_step": False}, ["sequence_id"]),
        ({"provider": Provider("salesloft"), "sequence_id": "a/b"}, ["sequence_id"]),
    ],
)
async def test_ids_that_cannot_be_are_refused_before_all_else(given: dict[str, Any], fields: list[str]) -> None:
    read_steps, http, connections = reading(lambda _: made(200, apollo.answer()))
    connections.failure = failed(ErrorCode.NOT_FOUND_ERROR, "no connection")
    with pytest.raises(CallRefused) as refused:
        await run(read_steps, query(**given))
    assert ([each.field for each in refused.value.violations], http.requests) == (fields, [])


async def test_a_sequence_needs_no_step() -> None:
    read_steps, _, _ = reading(lambda _: made(200, apollo.answer()))
    result = await run(read_steps, query(sequence_step_id="", names_step=False))
    assert result.sequence is not None
    assert len(result.sequence.steps) == 2


async def test_a_provider_that_cannot_be_read_is_not_asked() -> None:
    read_steps, _, connections = reading(lambda _: made(200, apollo.answer()))
    connections.failure = failed(ErrorCode.NOT_FOUND_ERROR, "no connection")
    [problem] = (await run(read_steps, query(provider=Provider("salesloft")))).problems
    assert problem.code is ErrorCode.NOT_IMPLEMENTED_ERROR


async def test_a_refusal_changed_nothing_and_cost_a_call() -> None:
    read_steps, _, _ = reading(lambda _: made(404, {"error": "No."}))
    result = await run(read_steps, query())
    [problem] = result.problems
    assert (problem.code, problem.outcome) == (ErrorCode.NOT_FOUND_ERROR, Outcome.NOT_APPLIED)
    assert "Nothing was changed." in problem.detail
    assert (result.sequence, result.provider_calls) == (None, 1)


async def test_without_a_connection_no_request_is_sent() -> None:
    read_steps, http, connections = reading(lambda _: made(200, apollo.answer()))
    connections.failure = failed(ErrorCode.NOT_FOUND_ERROR, "There is no connection.")
    result = await run(read_steps, query())
    assert "no request for it was sent to Apollo" in result.problems[0].detail
    assert (result.provider_calls, http.requests) == (0, [])


@pytest.mark.parametrize("sent", [0, 1])
async def test_of_a_caller_who_left_it_is_known_what_was_sent(sent: int) -> None:
    read_steps, http, connections = reading(lambda _: made(200, apollo.answer()))
    waiting = False

    async def wait(*_: object) -> Any:
        nonlocal waiting
        waiting = True
        await asyncio.Event().wait()

    if sent:
        http.send = wait  # type: ignore[method-assign,assignment]
    else:
        connections.usable = wait  # type: ignore[method-assign,assignment]
    call = asyncio.create_task(run(read_steps, query()))
    await until(lambda: waiting)
    call.cancel()
    with pytest.raises(UpdateAbandoned) as abandoned:
        await call
    assert (abandoned.value.requests_sent, abandoned.value.writing) == (sent, None)
