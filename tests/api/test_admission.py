"""Admission control."""

from contextlib import ExitStack

import pytest

from service.api.admission import Admission
from service.domain.errors import CallRefused, ErrorCode
from service.domain.step import Provider


def refused(admission: Admission, application: int, provider: Provider, customer: str) -> str:
    with pytest.raises(CallRefused) as refusal, admission.caller_permit(application, provider, customer):
        pass
    assert refusal.value.problem.code is ErrorCode.TOO_MANY_REQUESTS_ERROR
    assert refusal.value.problem.retry_after
    return refusal.value.problem.detail


def test_a_full_server_refuses_until_a_call_ends() -> None:
    admission = Admission(2)
    with admission.server_permit(), admission.server_permit():
        with pytest.raises(CallRefused) as refusal, admission.server_permit():
            pass
        assert refusal.value.problem.code is ErrorCode.TOO_MANY_REQUESTS_ERROR
        assert refusal.value.problem.retry_after
    with admission.server_permit():
        assert admission.in_flight == 1


def test_a_stopping_server_sends_calls_elsewhere() -> None:
    admission = Admission(2)
    admission.drain()
    with pytest.raises(CallRefused) as refusal, admission.server_permit():
        pass
    assert refusal.value.problem.code is ErrorCode.SERVICE_UNAVAILABLE_ERROR


def test_one_provider_leaves_permits_for_the_others() -> None:
    admission = Admission(8)
    with ExitStack() as stack:
        for n in range(4):
            stack.enter_context(admission.caller_permit(n, Provider("outreach"), f"c{n}"))
        assert "to Outreach" in refused(admission, 7, Provider("outreach"), "c7")
        stack.enter_context(admission.caller_permit(7, Provider("apollo"), "c7"))


def test_a_slow_provider_leaves_an_application_the_others() -> None:
    admission = Admission(8)
    with ExitStack() as stack:
        for n in range(4):
            stack.enter_context(admission.caller_permit(1, Provider("outreach"), f"c{n}"))
        refused(admission, 1, Provider("outreach"), "c9")
        stack.enter_context(admission.caller_permit(1, Provider("apollo"), "c9"))


def test_one_application_leaves_permits_for_the_others() -> None:
    admission = Admission(8)
    with ExitStack() as stack:
        for n in range(6):
            stack.enter_context(admission.caller_permit(1, Provider(("apollo", "outreach")[n % 2]), f"c{n}"))
        assert "of this application" in refused(admission, 1, Provider("salesloft"), "c9")
        stack.enter_context(admission.caller_permit(2, Provider("apollo"), "c0"))


def test_one_customer_leaves_permits_for_the_others() -> None:
    admission = Admission(8)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(admission.caller_permit(1, Provider("apollo"), "stuck"))
        assert "customer stuck" in refused(admission, 1, Provider("apollo"), "stuck")
        stack.enter_context(admission.caller_permit(1, Provider("apollo"), "other"))


def test_a_failed_call_releases_its_permits() -> None:
    admission = Admission(4)
    for _ in range(10):
        with (
            pytest.raises(ZeroDivisionError),
            admission.server_permit(),
            admission.caller_permit(1, Provider("apollo"), "c"),
        ):
            raise ZeroDivisionError
    assert admission.in_flight == 0
    assert not admission._permits
