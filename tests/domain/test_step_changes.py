"""Ids of changes, as texts."""

import uuid

import pytest

from service.domain.step import Provider
from service.domain.step_changes import ChangesQuery, is_change_id

ID = str(uuid.UUID(int=0xABCDEF))


@pytest.mark.parametrize(
    ("text", "is_one"),
    [(ID, True), (ID.upper(), False), (ID.replace("-", ""), False), (f"{ID}\n", False), (ID[:-1], False), ("", False)],
)
def test_an_id_of_a_change_is_a_uuid_in_lower_case(text: str, is_one: bool) -> None:  # noqa: FBT001
    assert is_change_id(text) is is_one


@pytest.mark.parametrize(("step", "is_named"), [("7", True), ("", False)])
def test_a_query_names_a_step_or_none(step: str, is_named: bool) -> None:  # noqa: FBT001
    assert ChangesQuery(Provider("apollo"), "acme", "1", step).names_step is is_named
