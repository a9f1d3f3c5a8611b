"""Admission control."""

from collections import Counter, deque
from contextlib import ExitStack, suppress
from itertools import count, islice, product, repeat
from random import Random

import pytest

from service.api.admission import Admission
from service.domain.errors import CallRefused, ErrorCode
from service.domain.step import Provider

APOLLO, OUTREACH, SALESLOFT = map(Provider, ("apollo", "outreach", "salesloft"))


def refused(admission: Admission, application: int, provider: Provider, customer: str) -> str:
    with pytest.raises(CallRefused) as refusal, admission.call_permit(application, provider, customer):
        pass
    assert refusal.value.problem.code is ErrorCode.TOO_MANY_REQUESTS_ERROR
    assert refusal.value.problem.retry_after == 1
    return refusal.value.problem.detail


@pytest.mark.parametrize("capacity", [4, 256])
def test_a_full_server_refuses_until_a_call_ends(capacity: int) -> None:
    admission = Admission(capacity)
    with ExitStack() as stack:
        # Who has no place gets one as long as there are any.
        for n in range(capacity):
            stack.enter_context(admission.call_permit(n, (APOLLO, OUTREACH)[n % 2], "c"))
        assert f"serves {capacity} calls;" in refused(admission, -1, SALESLOFT, "c")
        # Who calls is still found out, so that strangers learn that they are.
        with admission.authentication_permit():
            assert admission.in_flight == capacity + 1
    with admission.call_permit(9, SALESLOFT, "c"):
        assert admission.in_flight == 1


@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_the_smallest_server_serves_a_call(capacity: int) -> None:
    admission = Admission(capacity)
    with ExitStack() as stack:
        # A provider has half of it, and one at the least.
        stack.enter_context(admission.call_permit(1, APOLLO, "c"))
        refused(admission, 2, APOLLO, "c")
        for n in range(1, capacity):
            stack.enter_context(admission.call_permit(10 + n, Provider(f"p{n}"), "c"))
        assert admission.in_flight == capacity
        assert f"already serves {capacity} calls;" in refused(admission, 9, SALESLOFT, "c")
    with admission.authentication_permit():
        assert admission.in_flight == 1


@pytest.mark.parametrize(("capacity", "alone"), [(7, 3), (8, 4), (16, 8), (64, 30), (250, 118), (256, 120)])
def test_an_application_alone_gets_half_of_what_is_not_reserved(capacity: int, alone: int) -> None:
    admission = Admission(capacity)
    with ExitStack() as stack:
        for number in range(alone):
            provider = (APOLLO, OUTREACH, SALESLOFT)[number % 3]
            stack.enter_context(admission.call_permit(1, provider, f"c{number}"))
        for provider in (APOLLO, OUTREACH, SALESLOFT):
            assert f"{alone} calls of this application;" in refused(admission, 1, provider, "c")


@pytest.mark.parametrize(("capacity", "at_provider", "of_customer"), [(16, 4, 3), (64, 15, 10), (256, 60, 40)])
def test_one_customer_gets_a_third_and_its_application_half(capacity: int, at_provider: int, of_customer: int) -> None:
    """Of what is not reserved at a provider, if nobody else is there."""
    for customers, most, what in (
        (count(), at_provider, "calls of this application to Apollo"),
        (repeat(0), of_customer, "calls for customer 0"),
    ):
        admission = Admission(capacity)
        with ExitStack() as stack:
            for customer in islice(customers, most):
                stack.enter_context(admission.call_permit(1, APOLLO, str(customer)))
            assert f"already serves {most} {what};" in refused(admission, 1, APOLLO, str(next(customers)))


def test_unknown_callers_take_nothing_from_known_ones() -> None:
    admission = Admission(2)
    with admission.authentication_permit(), admission.authentication_permit():
        with pytest.raises(CallRefused) as refusal, admission.authentication_permit():
            pass
        assert refusal.value.problem.code is ErrorCode.TOO_MANY_REQUESTS_ERROR
        assert refusal.value.problem.retry_after
        with admission.call_permit(1, APOLLO, "c"):
            pass


def test_a_stopping_server_sends_calls_elsewhere() -> None:
    admission = Admission(2)
    admission.drain()
    with pytest.raises(CallRefused) as refusal, admission.authentication_permit():
        pass
    assert refusal.value.problem.code is ErrorCode.SERVICE_UNAVAILABLE_ERROR
    # Another server has it at once.
    assert refusal.value.problem.retry_after == 0


def fill(
    admission: Admission, stack: ExitStack, application: int | None, provider: Provider | None, customer: str | None
) -> list[str]:
    """Takes all permits that it can for what is named, with ever new others for what is not; why it ended."""
    numbers, before = count(100), admission.in_flight
    reasons: list[str] = []
    while len(reasons) < 3:
        number = next(numbers)
        try:
            stack.enter_context(
                admission.call_permit(
                    number if application is None else application,
                    (APOLLO, OUTREACH)[number % 2] if provider is None else provider,
                    f"c{number}" if customer is None else customer,
                )
            )
        except CallRefused as refusal:
            reasons.append(refusal.problem.detail)
    assert admission.in_flight > before
    return reasons


@pytest.mark.parametrize("capacity", [8, 16, 256])
@pytest.mark.parametrize(("one_provider", "one_customer"), list(product([True, False], repeat=2)))
def test_a_greedy_application_leaves_permits_everywhere(
    capacity: int, *, one_provider: bool, one_customer: bool
) -> None:
    admission = Admission(capacity)
    with ExitStack() as stack:
        fill(admission, stack, 1, APOLLO if one_provider else None, "c" if one_customer else None)
        for provider in (APOLLO, OUTREACH):
            with admission.call_permit(2, provider, "c"):
                pass


@pytest.mark.parametrize(("capacity", "greedy"), [(16, 2), (64, 4), (256, 2), (256, 10)])
@pytest.mark.parametrize(("one_provider", "one_customer"), list(product([True, False], repeat=2)))
def test_greedy_applications_together_leave_permits(
    capacity: int, greedy: int, *, one_provider: bool, one_customer: bool
) -> None:
    admission = Admission(capacity)
    with ExitStack() as stack:
        for application in range(greedy):
            fill(admission, stack, application, APOLLO if one_provider else None, "c" if one_customer else None)
        for provider in (APOLLO, OUTREACH):
            with admission.call_permit(-1, provider, "c"):
                pass


@pytest.mark.parametrize("greedy", [1, 2, 3])
def test_whoever_comes_after_greedy_applications_finds_places(greedy: int) -> None:
    """Not only for one call, and before any of theirs has ended."""
    admission = Admission(256)
    with ExitStack() as stack:
        for application in range(greedy):
            fill(admission, stack, application, OUTREACH, None)
        for _ in range(5):
            stack.enter_context(admission.call_permit(-1, OUTREACH, "c"))


@pytest.mark.parametrize(("applications", "customers"), list(product([2, 3, 4], [1, 2, 50])))
def test_greedy_callers_come_to_have_the_same(applications: int, customers: int) -> None:
    admission = Admission(256)
    dice = Random(1)
    calls: deque[tuple[int, ExitStack]] = deque()
    served: Counter[tuple[int, int]] = Counter()
    # The first one comes when nobody else is there, and asks for more than all others together.
    for turn in range(20_000):
        application = dice.randrange(1, applications) if turn > 200 and dice.random() < 0.4 else 0
        customer = dice.randrange(customers)
        with suppress(CallRefused), ExitStack() as call:
            call.enter_context(admission.call_permit(application, APOLLO, f"c{customer}"))
            calls.append((application, call.pop_all()))
            served[application, customer] += 1
        if turn % 8 == 0 and turn > 200:
            calls.popleft()[1].close()
    running = Counter(application for application, _ in calls)
    assert max(running.values()) - min(running.values()) <= 6
    # One customer alone leaves its application some for others.
    assert min(running.values()) >= (60 if customers == 1 else 80) // applications
    assert len(served) == applications * customers
    for _, call in calls:
        call.close()


@pytest.mark.parametrize("capacity", [8, 16, 256])
@pytest.mark.parametrize("one_application", [True, False])
def test_a_slow_provider_leaves_permits_at_the_others(capacity: int, *, one_application: bool) -> None:
    admission = Admission(capacity)
    with ExitStack() as stack:
        fill(admission, stack, 1 if one_application else None, APOLLO, None)
        for application in (1, 2):
            with admission.call_permit(application, OUTREACH, "c"):
                pass


@pytest.mark.parametrize("capacity", [8, 16, 256])
@pytest.mark.parametrize("one_provider", [True, False])
def test_a_greedy_customer_leaves_permits_to_the_others(capacity: int, *, one_provider: bool) -> None:
    admission = Admission(capacity)
    with ExitStack() as stack:
        reasons = fill(admission, stack, 1, APOLLO if one_provider else None, "greedy")
        assert "for customer greedy" in reasons[0]
        for application, provider in product((1, 2), (APOLLO, OUTREACH)):
            with admission.call_permit(application, provider, "other"):
                pass


def test_refusals_name_what_is_full() -> None:
    admission = Admission(16)
    with ExitStack() as stack:
        assert "4 calls of this application to Apollo" in fill(admission, stack, 1, APOLLO, None)[0]
        fill(admission, stack, 1, OUTREACH, None)
        assert "8 calls of this application;" in refused(admission, 1, SALESLOFT, "c")
        for application in (2, 3, 4, 5):
            stack.enter_context(admission.call_permit(application, APOLLO, "c"))
        assert "8 calls to Apollo" in refused(admission, 6, APOLLO, "c")


def test_a_failed_call_releases_its_permits() -> None:
    admission = Admission(4)
    for _ in range(10):
        with (
            pytest.raises(ZeroDivisionError),
            admission.authentication_permit(),
            admission.call_permit(1, APOLLO, "c"),
        ):
            raise ZeroDivisionError
    assert admission.in_flight == 0
    assert not admission._permits


def test_calls_in_flight_are_those_of_both_kinds() -> None:
    admission = Admission(16)
    with admission.authentication_permit(), admission.call_permit(1, APOLLO, "c"):
        assert admission.in_flight == 2
        with admission.call_permit(2, APOLLO, "d"), admission.authentication_permit():
            assert admission.in_flight == 4
    assert admission.in_flight == 0
