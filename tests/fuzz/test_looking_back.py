"""Whatever is asked of the history, and whatever it holds: no crash, and an answer that every client can read."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.methods import (
    GET_STEP_CHANGE,
    LIST_STEP_CHANGES,
    MAX_READ_BYTES,
    REVERT_STEP_CHANGE,
    Method,
)
from service.connections import Keyring
from service.connections.encryption import generate_key
from service.domain.deadline import Deadline
from service.domain.errors import CallRefused
from service.domain.step import Caller, FieldChange, Provider, StepUpdate, UpdateResult
from service.domain.step_changes import ChangeState, StepChange
from service.history.change_id import ChangeIds
from service.history.sealed_fields import RowKey, seal, unseal
from service.rpc.request import DECODERS, change_ref, change_revert, changes_query
from service.step_history import StepHistory
from tests.fuzz.test_hostile_input import JSON, TEXT

APOLLO = Provider("apollo")
CALLER = Caller(1, "fuzz")
KEYRING = Keyring.parse(generate_key())
FIELDS = st.lists(
    st.builds(
        FieldChange,
        st.sampled_from(["template.subject", "template.body", "custom_fields.a.b"]) | TEXT,
        JSON | st.sampled_from(["", "x" * 3_000_000]),
        JSON | st.sampled_from(["", "é" * 1_000_000]),
        is_new=st.booleans(),
    ),
    max_size=4,
)
PARSERS: dict[str, Any] = {
    LIST_STEP_CHANGES.name: changes_query,
    GET_STEP_CHANGE.name: change_ref,
    REVERT_STEP_CHANGE.name: change_revert,
}
METHODS = st.sampled_from([LIST_STEP_CHANGES, GET_STEP_CHANGE, REVERT_STEP_CHANGE])


class FakeChanges:
    """A history that has the same change again and again."""

    def __init__(self, fields: Sequence[FieldChange]) -> None:
        self.change = StepChange(
            APOLLO,
            "acme",
            "7",
            "8",
            change_id=str(ChangeIds().next()),
            created_at=1.0,
            template_id="9",
            request_id="r",
            state=ChangeState.UNKNOWN,
            fields=fields,
        )

    async def page(self, _application: int, _query: object, limit: int, *_: object) -> tuple[list[StepChange], bool]:
        return [self.change] * limit, False

    async def find(self, *_: object) -> StepChange:
        return self.change


async def update_step(_caller: Caller, update: StepUpdate, _deadline: Deadline) -> UpdateResult:
    assert update.reverts
    return UpdateResult()


async def answered(method: Method, request: bytes, fields: Sequence[FieldChange]) -> Any:
    history = StepHistory(FakeChanges(fields), update_step)
    work: Any = {LIST_STEP_CHANGES: history.list, GET_STEP_CHANGE: history.get, REVERT_STEP_CHANGE: history.revert}
    try:
        asked = PARSERS[method.name](DECODERS[method.name](request), APOLLO, "acme")
        result = await work[method](CALLER, asked, Deadline.after(5))
    except CallRefused as refused:
        assert refused.violations  # noqa: PT017  # not always refused
        return None
    response, _ = method.respond(result, "fuzz", "r")
    assert len(response.SerializeToString()) < MAX_READ_BYTES
    return response


@settings(max_examples=100, deadline=None)
@given(METHODS, st.binary(max_size=100))
def test_any_bytes_are_a_request_or_refused(method: Method, request: bytes) -> None:
    asyncio.run(answered(method, request, ()))


@settings(max_examples=12, deadline=None)
@given(FIELDS)
def test_whatever_is_kept_is_listed_read_and_taken_back(fields: list[FieldChange]) -> None:
    change_id = str(ChangeIds().next()).encode()
    listed = asyncio.run(answered(LIST_STEP_CHANGES, b"\x30\x03", fields))
    assert (len(listed.step_changes), bool(listed.next_page_token)) == (3, True)
    for method in (GET_STEP_CHANGE, REVERT_STEP_CHANGE):
        assert asyncio.run(answered(method, b"\x0a\x24" + change_id, fields)) is not None


@settings(max_examples=40, deadline=None)
@given(FIELDS)
def test_what_is_sealed_is_what_was_kept(fields: list[FieldChange]) -> None:
    key = RowKey(b"1" * 16, 1, "acme", "apollo", "7", "8", "9", "r", None)
    found = unseal(KEYRING, key, seal(KEYRING, key, fields))
    # JSON has no NaN and no infinity, which providers are not sent and hardly show.
    kept = [each for each in fields if "nan" not in repr(each) and "inf" not in repr(each)]
    if len(kept) == len(fields):
        assert found == fields
    with pytest.raises(Exception, match="belongs elsewhere"):
        unseal(KEYRING, RowKey(b"2" * 16, 1, "acme", "apollo", "7", "8", "9", "r", None), seal(KEYRING, key, fields))
