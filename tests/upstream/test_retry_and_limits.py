"""Rate limits remembered, retries within a budget, a breaker, and writes that do not overlap; the clock is the test's."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from service.domain.credentials import ApiKeyCredentials, Connection, Secret
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, Origin, UpdateFailed
from service.providers.adapter import RateWindow
from service.providers.apollo import Apollo
from service.upstream import retry as retries
from service.upstream import session
from service.upstream.http import DeadlineExceeded
from service.upstream.rate_limits import RateLimits
from service.upstream.retry import CircuitBreaker, RetryBudget, backoff, wait_before_retry
from service.upstream.session import ProviderSessions
from tests.support.update_step import ScriptedHttp, made

Advance = Callable[[float], None]
ACME = (1, b"key of acme")
OTHER = (2, b"another key")


def shared() -> ProviderSessions:
    """The sessions with Apollo, with nothing that could be called."""
    http: Any = None
    return ProviderSessions(Apollo("", ""), http)


@pytest.fixture
def advance(monkeypatch: pytest.MonkeyPatch) -> Advance:
    now = [1.0]  # less than any wait, so that a remainder is no difference
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def test_a_refusal_is_remembered_until_it_is_over(advance: Advance) -> None:
    limits = RateLimits()
    limits.refused(ACME, "show", 30)
    assert limits.wait(ACME, "show") == 30
    advance(29)
    assert limits.wait(ACME, "show") == 1
    advance(1)
    assert limits.wait(ACME, "show") == 0


def test_other_connections_and_endpoints_are_not_touched(advance: Advance) -> None:
    limits = RateLimits()
    limits.refused(ACME, "show", 30)
    assert limits.wait(OTHER, "show") == 0
    assert limits.wait(ACME, "update") == 0


def test_a_shorter_refusal_does_not_shorten_a_longer_one(advance: Advance) -> None:
    limits = RateLimits()
    limits.refused(ACME, "show", 30)
    limits.refused(ACME, "show", 5)
    assert limits.wait(ACME, "show") == 30


def test_an_empty_window_blocks_until_its_stated_end(advance: Advance) -> None:
    limits = RateLimits()
    limits.learn(ACME, "api", [RateWindow("hourly", 0, 3600, ends_in=1200)])
    assert limits.wait(ACME, "api") == 1200


@pytest.mark.parametrize(("length", "ends_in"), [(3600, 86400), (60, 3601), (86400, 1e9)])
def test_a_window_ends_after_its_length_whatever_is_stated(advance: Advance, length: float, ends_in: float) -> None:
    limits = RateLimits()
    limits.learn(ACME, "api", [RateWindow("any", 0, length, ends_in=ends_in)])
    assert limits.wait(ACME, "api") == length


def test_an_empty_window_ends_its_length_after_the_first_call_seen_in_it(advance: Advance) -> None:
    limits = RateLimits()
    limits.learn(ACME, "show", [RateWindow("minute", 1, 60)])
    advance(20)
    limits.learn(ACME, "show", [RateWindow("minute", 0, 60)])
    assert limits.wait(ACME, "show") == 40


def test_a_window_that_filled_up_again_is_a_new_one(advance: Advance) -> None:
    limits = RateLimits()
    limits.learn(ACME, "show", [RateWindow("minute", 1, 60)])
    advance(50)
    limits.learn(ACME, "show", [RateWindow("minute", 49, 60)])
    advance(5)
    limits.learn(ACME, "show", [RateWindow("minute", 0, 60)])
    assert limits.wait(ACME, "show") == 55


def test_a_window_that_is_as_full_as_before_is_the_same_one(advance: Advance) -> None:
    limits = RateLimits()
    limits.learn(ACME, "show", [RateWindow("minute", 5, 60)])
    advance(20)
    limits.learn(ACME, "show", [RateWindow("minute", 5, 60)])
    advance(10)
    limits.learn(ACME, "show", [RateWindow("minute", 0, 60)])
    assert limits.wait(ACME, "show") == 30


def test_the_longest_of_several_windows_counts(advance: Advance) -> None:
    limits = RateLimits()
    limits.learn(ACME, "show", [RateWindow("hourly", 0, 3600, ends_in=1200), RateWindow("minute", 0, 60)])
    assert limits.wait(ACME, "show") == 1200
    limits.learn(ACME, "show", [RateWindow("minute", -1, 60, ends_in=5)])
    assert limits.wait(ACME, "show") == 1200
    limits.learn(OTHER, "show", [RateWindow("minute", 1, 60), RateWindow("hourly", 0, 3600, ends_in=1200)])
    assert limits.wait(OTHER, "show") == 1200


def test_a_long_window_without_an_end_is_asked_again_after_a_minute(advance: Advance) -> None:
    limits = RateLimits()
    limits.learn(ACME, "show", [RateWindow("24-hour", 0, 86400)])
    assert limits.wait(ACME, "show") == 60


def test_a_window_with_calls_left_blocks_nothing(advance: Advance) -> None:
    limits = RateLimits()
    limits.learn(ACME, "show", [RateWindow("minute", 1, 60), RateWindow("hourly", 100, 3600)])
    assert limits.wait(ACME, "show") == 0


def test_memory_is_bounded() -> None:
    limits = RateLimits()
    for connection in range(20_000):
        limits.refused((connection, b""), "show", 60)
    assert len(limits._scopes) == 10_000
    assert limits.wait((19_999, b""), "show") > 0


def test_what_was_learned_last_stays() -> None:
    limits = RateLimits()
    limits.refused(ACME, "show", 60)
    for connection in range(9_999):
        limits.refused((connection, b""), "show", 60)
    limits.refused(ACME, "show", 60)
    limits.refused(OTHER, "show", 60)
    assert limits.wait(ACME, "show") > 0
    assert limits.wait((0, b""), "show") == 0


def test_retries_are_a_fifth_of_the_calls_after_a_first_handful() -> None:
    budget = RetryBudget()
    spent = 0
    for _ in range(1000):
        budget.earn()
        spent += budget.spend()
        spent += budget.spend()
    assert 200 <= spent <= 211


def test_ten_are_saved_up_and_five_calls_earn_one() -> None:
    budget = RetryBudget()
    budget.earn()
    assert [budget.spend() for _ in range(11)] == [True] * 10 + [False]
    earned = []
    for _ in range(10):
        budget.earn()
        earned.append(budget.spend())
    assert earned == [False, False, False, False, True] * 2


def test_backoff_is_jittered_and_bounded() -> None:
    for attempt in (1, 2, 3, 10):
        waits = [backoff(attempt) for _ in range(200)]
        longest = min(2.0, 0.1 * 2 ** (attempt - 1))
        assert 0 <= min(waits) < longest / 4
        assert longest * 3 / 4 < max(waits) <= longest


@pytest.mark.parametrize(
    ("attempt", "asked", "remaining", "expected"),
    [
        (1, 1.0, 10.0, 1.0),
        (1, 1.0, 1.1, None),
        (1, 1.0, 1.2, 1.0),
        (2, 1.0, 10.0, 1.0),
        (1, 10.0, 20.0, 10.0),
        (1, 10.1, 20.0, None),
        (1, 60.0, 120.0, None),
        (retries.MAX_ATTEMPTS, 0.0, 10.0, None),
        (1, 0.0, 10.0, 0.0),
    ],
)
def test_a_retry_waits_as_asked_within_the_deadline(
    attempt: int, asked: float, remaining: float, expected: float | None
) -> None:
    assert wait_before_retry(attempt, asked, remaining) == expected


def trip(breaker: CircuitBreaker) -> None:
    for n in range(20):
        breaker.failed(str(n % 2))


def test_the_breaker_opens_when_most_calls_of_several_customers_fail(advance: Advance) -> None:
    breaker = CircuitBreaker()
    for n in range(19):
        breaker.failed(str(n % 2))
        assert breaker.wait() == 0
    breaker.failed("1")
    assert breaker.wait() == 5


def test_one_customer_alone_does_not_open_it(advance: Advance) -> None:
    breaker = CircuitBreaker()
    for _ in range(100):
        breaker.failed("1")
    assert breaker.wait() == 0


def test_a_minority_of_failures_does_not_open_it(advance: Advance) -> None:
    breaker = CircuitBreaker()
    for n in range(200):
        breaker.succeeded(str(n))
        breaker.succeeded(str(n))
        breaker.failed(str(n))
    assert breaker.wait() == 0


def test_half_of_all_calls_open_it(advance: Advance) -> None:
    breaker = CircuitBreaker()
    for n in range(20):
        breaker.succeeded(str(n))
        assert breaker.wait() == 0
        breaker.failed(str(n))
    assert breaker.wait() == 5


def test_a_burst_takes_no_more_memory_than_2000_calls(advance: Advance) -> None:
    breaker = CircuitBreaker()
    for _ in range(3000):
        breaker.failed("1")
    assert len(breaker._events) == breaker._failures == 2000
    # Those that were dropped count no more: two of three are no failures now.
    for n in range(1334):
        breaker.succeeded(str(n))
    breaker.failed("2")
    assert breaker.wait() == 0


def test_old_failures_are_forgotten(advance: Advance) -> None:
    breaker = CircuitBreaker()
    for n in range(19):
        breaker.failed(str(n))
    advance(11)
    breaker.failed("1")
    assert breaker.wait() == 0


def test_failures_count_for_ten_seconds(advance: Advance) -> None:
    breaker = CircuitBreaker()
    assert not breaker.is_open
    for n in range(19):
        breaker.failed(str(n))
    advance(10)
    breaker.failed("1")
    assert breaker.wait() == 5
    assert breaker.is_open


def test_one_call_at_a_time_tries_an_open_breaker(advance: Advance) -> None:
    breaker = CircuitBreaker()
    trip(breaker)
    assert breaker.is_open
    advance(4)
    assert breaker.wait() == 1
    advance(1)
    assert breaker.wait() == 0
    assert breaker.wait() == 5
    advance(2)
    assert breaker.wait() == 3


def test_success_closes_it(advance: Advance) -> None:
    breaker = CircuitBreaker()
    trip(breaker)
    advance(5)
    assert breaker.wait() == 0
    breaker.succeeded("1")
    assert breaker.wait() == 0
    assert not breaker.is_open
    breaker.failed("2")
    assert breaker.wait() == 0
    assert not breaker.is_open


def test_what_failed_before_it_closed_does_not_open_it_again(advance: Advance) -> None:
    breaker = CircuitBreaker()
    trip(breaker)
    advance(5)
    assert breaker.wait() == 0
    breaker.succeeded("1")
    for n in range(19):
        breaker.failed(str(n % 2))
        assert not breaker.is_open
    breaker.failed("1")
    assert breaker.is_open


def test_failure_opens_it_again(advance: Advance) -> None:
    breaker = CircuitBreaker()
    trip(breaker)
    advance(5)
    assert breaker.wait() == 0
    breaker.failed("1")
    assert breaker.wait() == 5


def test_a_probe_that_never_ends_does_not_keep_it_open_for_ever(advance: Advance) -> None:
    breaker = CircuitBreaker()
    trip(breaker)
    advance(5)
    assert breaker.wait() == 0
    advance(5)
    assert breaker.wait() == 0


async def test_a_call_that_would_be_refused_is_refused_here() -> None:
    sessions = shared()
    sessions.limits.refused(ACME, "emailer_campaigns/show", 300)
    with pytest.raises(UpdateFailed) as failure:
        await sessions.admit(1, ACME, "emailer_campaigns/show", Deadline.after(60))
    [problem] = failure.value.problems
    assert (problem.code, problem.origin) == (ErrorCode.TOO_MANY_REQUESTS_ERROR, Origin.SERVICE)
    assert problem.retry_after == pytest.approx(300, abs=1)


async def test_a_short_wait_is_waited_out() -> None:
    sessions = shared()
    sessions.limits.refused(ACME, "x", 0.05)
    await sessions.admit(1, ACME, "x", Deadline.after(5))
    assert sessions.limits.wait(ACME, "x") == 0


async def test_a_short_wait_that_does_not_fit_the_deadline_is_named() -> None:
    sessions = shared()
    sessions.limits.refused(ACME, "x", 2)
    with pytest.raises(UpdateFailed):
        await sessions.admit(1, ACME, "x", Deadline.after(1))


@pytest.mark.parametrize(
    ("asked", "remaining", "waits"), [(10, 20, True), (10.1, 20, False), (2, 2.25, True), (2, 2.125, False)]
)
async def test_a_rate_limit_is_waited_for_ten_seconds_within_the_deadline(
    advance: Advance, monkeypatch: pytest.MonkeyPatch, *, asked: float, remaining: float, waits: bool
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(session, "asyncio", SimpleNamespace(sleep=sleep))
    sessions = shared()
    sessions.limits.refused(ACME, "x", asked)
    admitted = sessions.admit(1, ACME, "x", Deadline.after(remaining))
    if waits:
        await admitted
        assert slept == [asked]
    else:
        with pytest.raises(UpdateFailed):
            await admitted
        assert slept == []


async def test_an_open_breaker_refuses_with_a_time() -> None:
    sessions = shared()
    trip(sessions.breakers[9])
    with pytest.raises(UpdateFailed) as failure:
        await sessions.admit(9, ACME, "x", Deadline.after(60))
    [problem] = failure.value.problems
    assert problem.code is ErrorCode.SERVICE_UNAVAILABLE_ERROR
    assert problem.retry_after == pytest.approx(5, abs=0.5)


@pytest.mark.parametrize(("seconds", "counts"), [(4.9, False), (5.0, True), (5.1, True)])
async def test_a_provider_that_lets_five_seconds_pass_is_in_trouble(
    advance: Advance, seconds: float, *, counts: bool
) -> None:
    """A call with less time than that says nothing about it."""

    class Slow(ScriptedHttp):
        async def send(self, *_: object) -> httpx.Response:
            advance(seconds)
            raise DeadlineExceeded(request_was_sent=True)

    http: Any = Slow(lambda _: made(200, {}))
    sessions = ProviderSessions(Apollo("http://apollo.example", ""), http)
    key = Connection(1, 1, "acme", Apollo.provider, ApiKeyCredentials(Secret("k")))
    reading = sessions.open(key, None, Deadline.after(60))  # type: ignore[arg-type]  # nothing is renewed
    with pytest.raises(UpdateFailed):
        await reading.read(sessions.adapter.probe())
    assert sessions.breakers[1]._failures == counts
