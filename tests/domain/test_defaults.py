"""What is not said is not so: no permission, no rehearsal, no mark is given by leaving it out."""

import pytest

from service.domain.errors import Cause
from service.domain.sequence import SequenceResult, ShownVariant, StepQuery
from service.domain.step import Caller, FieldChange, Provider, StepUpdate, UpdateResult
from service.domain.step_changes import ChangeRevert, ChangesQuery, ChangesResult

STEP = (Provider("apollo"), "acme", "7", "8")


@pytest.mark.parametrize(
    ("left_out", "members"),
    [
        (Caller(1, "billing"), ["may_manage"]),
        (StepUpdate(*STEP), ["validate_only", "is_retry", "refuse_shared"]),
        (StepQuery(*STEP), ["with_bodies", "with_sharing"]),
        (FieldChange("f", 1, 2), ["before_truncated", "after_truncated", "is_new"]),
        (ShownVariant("1", "2", None, True, True, True), ["is_default", "is_sharing_complete"]),
        (Cause(500, "", {}), ["body_truncated"]),
        (ChangeRevert(STEP[0], "acme", "c"), ["validate_only", "overwrite", "refuse_shared", "is_retry"]),
        (ChangesQuery(*STEP), ["page_size"]),
        (ChangesResult(), ["page_size", "is_cut", "provider_calls"]),
        (SequenceResult(), ["provider_calls"]),
        (UpdateResult(), ["provider_calls"]),
    ],
)
def test_what_is_left_out_is_no_or_none(left_out: object, members: list[str]) -> None:
    assert {name: getattr(left_out, name) for name in members} == dict.fromkeys(members, 0)


def test_a_query_is_of_a_step_unless_it_is_said_to_be_of_all() -> None:
    assert StepQuery(*STEP).names_step
