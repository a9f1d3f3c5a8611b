"""Who makes a call: the application of its key, and only without one that of its certificate."""

import pytest

from service.api.authentication import authenticated
from service.api.metadata import gather
from service.domain.deadline import Deadline
from service.domain.errors import CallRefused, ErrorCode
from tests.support.call_handler import FakeApplications

GOOD, OTHER, BAD = ("x-api-key", "good"), ("x-api-key", "other"), ("x-api-key", "bad")


class Call:
    def __init__(self, *names: str) -> None:
        self._names = names

    def certificate_names(self) -> tuple[str, ...]:
        return self._names


@pytest.mark.parametrize(
    ("pairs", "names", "caller"),
    [
        ([GOOD], (), "billing"),
        ([GOOD], ("billing.example",), "billing"),
        ([], ("billing.example",), "billing-by-certificate"),
        # What else is wrong with the metadata is refused later, by its name.
        ([("x-customer-id", "é")], ("billing.example",), "billing-by-certificate"),
        ([("x-customer-id", "é"), GOOD], ("billing.example",), "billing"),
        ([], ("another.example",), None),
        ([], (), None),
        ([BAD], ("billing.example",), None),
        ([GOOD, OTHER], ("billing.example",), None),
        ([GOOD, OTHER, ("x-customer-id", "é")], ("billing.example",), None),
        ([("x-api-key", "ключ")], ("billing.example",), None),
    ],
)
async def test_the_key_counts_before_the_certificate(
    pairs: list[tuple[str, str]], names: tuple[str, ...], caller: str | None
) -> None:
    values, violations = gather(pairs)
    arguments = (FakeApplications(), Call(*names), values, violations, Deadline.after(10))
    if caller is not None:
        assert (await authenticated(*arguments)).application_name == caller
        return
    with pytest.raises(CallRefused) as refusal:
        await authenticated(*arguments)
    assert refusal.value.problem.code is ErrorCode.UNAUTHORIZED_ERROR
