"""What requests ask for over HTTP, by their path, query, headers and body."""

from typing import Any

import pytest

from service.domain.sequence import StepQuery
from service.domain.step import Provider, StepUpdate
from service.domain.step_changes import ChangeRef, ChangeRevert, ChangesQuery
from service.rest.request import change_ref, change_revert, changes_query, step_query, step_update, steps_query
from service.rest.schemas import parse_body

APOLLO = Provider("apollo")
WHO: dict[str, Any] = {"x_customer_id": "acme", "x_provider_name": APOLLO}
STEP: dict[str, Any] = {"sequence_id": "1", "sequence_step_id": "2"}


@pytest.mark.parametrize(
    ("read", "given", "asked"),
    [
        (step_query, STEP, StepQuery(APOLLO, "acme", "1", "2", with_bodies=True)),
        (step_query, STEP | {"view": "STEP_VIEW_FULL"}, StepQuery(APOLLO, "acme", "1", "2", with_bodies=True)),
        (
            step_query,
            STEP | {"view": "STEP_VIEW_BASIC", "with_sharing": True},
            StepQuery(APOLLO, "acme", "1", "2", with_bodies=False, with_sharing=True),
        ),
        (steps_query, {"sequence_id": "1"}, StepQuery(APOLLO, "acme", "1", "", names_step=False)),
        (
            steps_query,
            {"sequence_id": "1", "view": "STEP_VIEW_BASIC"},
            StepQuery(APOLLO, "acme", "1", "", names_step=False),
        ),
        (
            steps_query,
            {"sequence_id": "1", "view": "STEP_VIEW_FULL"},
            StepQuery(APOLLO, "acme", "1", "", names_step=False, with_bodies=True),
        ),
        (changes_query, {}, ChangesQuery(APOLLO, "acme", "", "")),
        (
            changes_query,
            STEP | {"request_id": "r", "start_time": 5.0, "end_time": 7.0, "page_size": 3, "page_token": "t"},
            ChangesQuery(
                APOLLO, "acme", "1", "2", request_id="r", start_at=5.0, end_at=7.0, page_size=3, page_token="t"
            ),
        ),
        (change_ref, {"change_id": "c"}, ChangeRef(APOLLO, "acme", "c")),
        (change_revert, {"change_id": "c"}, ChangeRevert(APOLLO, "acme", "c")),
        (
            change_revert,
            {"change_id": "c", "validate_only": True, "if_shared": "IF_SHARED_CHANGE"},
            ChangeRevert(APOLLO, "acme", "c", validate_only=True),
        ),
        (
            change_revert,
            {"change_id": "c", "overwrite": True, "if_shared": "IF_SHARED_REFUSE"},
            ChangeRevert(APOLLO, "acme", "c", overwrite=True, refuse_shared=True),
        ),
    ],
)
def test_what_a_request_asks_for(read: Any, given: dict[str, Any], asked: object) -> None:
    assert read(**WHO, **given) == asked


@pytest.mark.parametrize(
    ("body", "given", "asked"),
    [
        (b'{"record":{}}', {}, StepUpdate(APOLLO, "acme", "1", "2")),
        (
            b'{"record":{"template":{"subject":"S"}}}',
            {"if_shared": "IF_SHARED_CHANGE", "etag": "e", "variant": "v"},
            StepUpdate(APOLLO, "acme", "1", "2", "S", etag="e", variant="v"),
        ),
        (
            b'{"record":{"template":{"body":"B"},"custom_fields":{"a":1}}}',
            {"if_shared": "IF_SHARED_REFUSE", "validate_only": True},
            StepUpdate(APOLLO, "acme", "1", "2", None, "B", {"a": 1}, validate_only=True, refuse_shared=True),
        ),
    ],
)
def test_what_an_update_asks_for(body: bytes, given: dict[str, Any], asked: StepUpdate) -> None:
    assert step_update(**WHO, **STEP, **given, body=parse_body(body)) == asked
