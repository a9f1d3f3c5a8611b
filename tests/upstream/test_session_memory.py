"""What sessions remember of a provider, and whom it concerns: present credentials, and one application."""

import asyncio
from typing import Any

import pytest

from service.domain.errors import ErrorCode, Origin
from service.domain.step import UpdateResult
from service.upstream import session
from service.upstream.http import HttpLimits
from tests.support.scripted_apollo import ScriptedApollo, Updates, api_key, response, updates_at
from tests.support.scripted_server import Script, ServerConnection

CALLS = 24
REFUSED = response(429, {"error": "The maximum number of calls per hour was reached."}, "Retry-After: 3600\r\n")


def codes(result: UpdateResult) -> list[ErrorCode]:
    return [problem.code for problem in result.problems]


def refused_unsent(result: UpdateResult) -> bool:
    return result.provider_calls == 0 and [problem.origin for problem in result.problems] == [Origin.SERVICE]


async def updates_at_once(update: Updates, application: int = 1, seconds: float = 20) -> list[UpdateResult]:
    """One for each of several sequences of three customers."""
    calls = [
        update(f"customer-{n % 3}", f"5f{n:022x}", application=application, seconds=seconds, subject="New")
        for n in range(CALLS)
    ]
    return await asyncio.gather(*calls)


async def test_a_refusal_is_remembered_for_the_present_credentials() -> None:
    apollo = ScriptedApollo()

    async def serve(connection: ServerConnection) -> None:
        while True:
            head, body = await connection.request()
            await connection.send(REFUSED if api_key(head) == "old" else apollo.answer(head, body))

    async with updates_at(serve) as update:
        update.keys["acme"] = "old"
        assert codes(await update("acme", subject="New")) == [ErrorCode.TOO_MANY_REQUESTS_ERROR]
        assert refused_unsent(await update("acme", subject="New"))
        # The row is the same: the customer has connected again, or a new customer has the id of one that was deleted.
        update.keys["acme"] = "new"
        assert (await update("acme", subject="New")).problems == ()
        update.keys["acme"] = "old"
        assert refused_unsent(await update("acme", subject="Newer"))


async def test_a_stored_form_is_remembered_for_the_present_credentials() -> None:
    apollo = ScriptedApollo()

    async def serve(connection: ServerConnection) -> None:
        """Cuts the spaces off each subject."""
        while True:
            head, body = await connection.request()
            await connection.send(apollo.answer(head, body.replace(b" ", b"")))

    async with updates_at(serve) as update:
        for key, calls in (("one", [2, 1]), ("two", [2, 1])):
            update.keys["acme"] = key
            assert [(await update("acme", subject=" New")).provider_calls for _ in range(2)] == calls


def slow(apollo: ScriptedApollo) -> Script:
    async def serve(connection: ServerConnection) -> None:
        while True:
            request = await connection.request()
            await asyncio.sleep(0.25)
            await connection.send(apollo.answer(*request))

    return serve


async def test_short_deadlines_say_nothing_about_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_SLOW_SECONDS", 0.5)
    async with updates_at(slow(ScriptedApollo())) as update:
        for result in await updates_at_once(update, seconds=0.15):
            assert codes(result) == [ErrorCode.GATEWAY_TIMEOUT_ERROR]
        assert (await update("acme", subject="New")).problems == ()
        assert (await update("acme", application=2, subject="New")).problems == ()


async def test_a_long_wait_in_vain_says_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_SLOW_SECONDS", 0.1)
    async with updates_at(slow(ScriptedApollo())) as update:
        await updates_at_once(update, seconds=0.15)
        assert refused_unsent(await update("acme", subject="New"))


async def test_connections_that_are_all_in_use_say_nothing_about_it() -> None:
    limits = HttpLimits(max_connections=1, pool_timeout=0.05)
    async with updates_at(slow(ScriptedApollo()), limits) as update:
        results = await updates_at_once(update, seconds=1)
        assert sum(codes(result) == [ErrorCode.GATEWAY_TIMEOUT_ERROR] for result in results) >= CALLS - 4
        assert (await update("acme", subject="New")).problems == ()


@pytest.mark.parametrize(
    ("status", "body", "opens"),
    [
        (520, "", True),
        (525, "error code: 525", True),
        (403, "<html>Attention Required!</html>", True),
        (502, "", True),
        (422, {"error": "No."}, False),
        (404, {"error": "Record not found."}, False),
    ],
)
async def test_who_answers_for_the_provider_counts_as_its_failure(status: int, body: Any, opens: bool) -> None:  # noqa: FBT001
    async def serve(connection: ServerConnection) -> None:
        while True:
            await connection.request()
            await connection.send(response(status, body))

    async with updates_at(serve) as update:
        await updates_at_once(update)
        assert refused_unsent(await update("acme", subject="New")) is opens


async def test_one_applications_failures_do_not_stop_another() -> None:
    apollo = ScriptedApollo()

    async def serve(connection: ServerConnection) -> None:
        """Breaks off whatever is asked for the customers of the first application."""
        while True:
            head, body = await connection.request()
            if api_key(head).startswith("customer-"):
                connection.reset()
                return
            await connection.send(apollo.answer(head, body))

    async with updates_at(serve) as update:
        await updates_at_once(update)
        [result] = [await update("customer-1", subject="New")]
        assert refused_unsent(result)
        assert codes(result) == [ErrorCode.SERVICE_UNAVAILABLE_ERROR]
        assert (await update("acme", application=2, subject="New")).problems == ()


async def test_each_application_has_repetitions_of_its_own() -> None:
    apollo = ScriptedApollo()
    seen: set[str] = set()

    async def serve(connection: ServerConnection) -> None:
        """Fails once for each customer."""
        while True:
            head, body = await connection.request()
            is_first = api_key(head) not in seen
            seen.add(api_key(head))
            await connection.send(response(503, {"error": "Busy"}) if is_first else apollo.answer(head, body))

    async with updates_at(serve) as update:
        while update.sessions.budgets[1].spend():
            pass
        used_up = await update("one", application=1, subject="New")
        other = await update("two", application=2, subject="New")
        assert (codes(used_up), used_up.provider_calls) == ([ErrorCode.SERVICE_UNAVAILABLE_ERROR], 1)
        assert (codes(other), other.provider_calls) == ([], 3)


async def test_a_request_that_met_a_broken_connection_is_repeated() -> None:
    apollo = ScriptedApollo()
    resets = iter([True])

    async def serve(connection: ServerConnection) -> None:
        while True:
            head, body = await connection.request()
            if next(resets, False):
                connection.reset()
                return
            await connection.send(apollo.answer(head, body))

    async with updates_at(serve) as update:
        result = await update("acme", subject="New")
        assert (codes(result), result.provider_calls) == ([], 3)


async def test_a_window_that_a_good_answer_says_is_used_up_is_remembered() -> None:
    apollo = ScriptedApollo()

    async def serve(connection: ServerConnection) -> None:
        while True:
            head, body = await connection.request()
            answer = apollo.answer(head, body)
            is_last = head.startswith("PUT") and api_key(head) == "acme"
            await connection.send(
                answer.replace(b"\r\n", b"\r\nx-hourly-requests-left: 0\r\n", 1) if is_last else answer
            )

    async with updates_at(serve) as update:
        assert (await update("acme", subject="New")).problems == ()
        result = await update("acme", subject="Newer")
        # Reads have a limit of their own at Apollo, so that only the write is refused.
        assert (codes(result), result.provider_calls) == ([ErrorCode.TOO_MANY_REQUESTS_ERROR], 1)
        assert (await update("other", subject="New")).problems == ()


async def test_repetitions_are_a_fifth_of_the_calls_after_a_first_handful() -> None:
    requests = 0

    async def serve(connection: ServerConnection) -> None:
        nonlocal requests
        while True:
            await connection.request()
            requests += 1
            await connection.send(response(503, {"error": "Service unavailable"}))

    async with updates_at(serve) as update:
        # One customer's alone, which do not open the breaker.
        results = await asyncio.gather(*(update("acme", f"5f{n:022x}", subject="New") for n in range(30)))
        first = requests
        again = await asyncio.gather(*(update("acme", f"5f{n:022x}", subject="New") for n in range(30)))
    assert {code for result in (*results, *again) for code in codes(result)} == {ErrorCode.SERVICE_UNAVAILABLE_ERROR}
    assert 30 + 10 <= first <= 30 + 10 + 6
    assert requests - first <= 30 + 6


@pytest.mark.parametrize("status", [302, 429, 403, 502])
async def test_a_proxy_that_answers_in_the_providers_place_opens_the_breaker(status: int) -> None:
    page = f"HTTP/1.1 {status} X\r\ncontent-type: text/html\r\nlocation: /\r\ncontent-length: 6\r\n\r\n<html>"

    async def serve(connection: ServerConnection) -> None:
        while True:
            await connection.request()
            await connection.send(page.encode())

    async with updates_at(serve) as update:
        await updates_at_once(update)
        assert refused_unsent(await update("customer-1", subject="New"))
        assert update.sessions.open_breakers == 1
