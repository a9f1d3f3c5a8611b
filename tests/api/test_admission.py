"""Who is served when there is more to do than one worker can."""

from contextlib import ExitStack

import pytest

from service.api.admission import Admission
from service.domain.errors import CallRefused, ErrorCode
from service.domain.step import Provider


def refused(admission: Admission, application: int, provider: Provider, customer: str) -> str:
    with pytest.raises(CallRefused) as refusal, admission.share(application, provider, customer):
        pass
    assert refusal.value.problem.code is ErrorCode.TOO_MANY_REQUESTS_ERROR
    assert refusal.value.problem.retry_after
    return refusal.value.problem.detail


def test_a_full_server_refuses_and_has_room_again() -> None:
    admission = Admission(2)
    with admission.call(), admission.call():
        with pytest.raises(CallRefused) as refusal, admission.call():
            pass
        assert refusal.value.problem.code is ErrorCode.TOO_MANY_REQUESTS_ERROR
        assert refusal.value.problem.retry_after
    with admission.call():
        assert admission.running == 1


def test_a_stopping_server_sends_calls_elsewhere() -> None:
    admission = Admission(2)
    admission.drain()
    with pytest.raises(CallRefused) as refusal, admission.call():
        pass
    assert refusal.value.problem.code is ErrorCode.SERVICE_UNAVAILABLE_ERROR


def test_one_provider_leaves_room_for_the_others() -> None:
    admission = Admission(8)
    with ExitStack() as stack:
        for n in range(4):
            stack.enter_context(admission.share(n, Provider("outreach"), f"c{n}"))
        assert "to Outreach" in refused(admission, 7, Provider("outreach"), "c7")
        stack.enter_context(admission.share(7, Provider("apollo"), "c7"))


def test_a_provider_that_holds_an_applications_calls_leaves_it_room_for_another() -> None:
    admission = Admission(8)
    with ExitStack() as stack:
        for n in range(4):
            stack.enter_context(admission.share(1, Provider("outreach"), f"c{n}"))
        refused(admission, 1, Provider("outreach"), "c9")
        stack.enter_context(admission.share(1, Provider("apollo"), "c9"))


def test_one_application_leaves_room_for_the_others() -> None:
    admission = Admission(8)
    with ExitStack() as stack:
        for n in range(6):
            stack.enter_context(admission.share(1, Provider(("apollo", "outreach")[n % 2]), f"c{n}"))
        assert "of this application" in refused(admission, 1, Provider("salesloft"), "c9")
        stack.enter_context(admission.share(2, Provider("apollo"), "c0"))


def test_one_customer_leaves_room_for_the_others() -> None:
    admission = Admission(8)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(admission.share(1, Provider("apollo"), "stuck"))
        assert "customer stuck" in refused(admission, 1, Provider("apollo"), "stuck")
        stack.enter_context(admission.share(1, Provider("apollo"), "other"))


def test_room_is_given_back_when_a_call_fails() -> None:
    admission = Admission(4)
    for _ in range(10):
        with pytest.raises(ZeroDivisionError), admission.call(), admission.share(1, Provider("apollo"), "c"):
            raise ZeroDivisionError
    assert admission.running == 0
    assert not admission._held
