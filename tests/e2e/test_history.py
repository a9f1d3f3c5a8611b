"""The history of a customer's steps, through a real channel: what is kept of updates, who sees it, and taking it back."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from engagement.v1 import envelope_pb2
from engagement.v1 import sequence_step_service_pb2 as pb
from google.protobuf import json_format
from sqlalchemy import select, text, update

from sandbox import seed
from service.connections import Applications, Store
from service.connections.schema import step_changes
from service.domain.credentials import ApiKeyCredentials, Secret
from service.domain.step import Provider
from service.domain.step_changes import ChangeState
from service.history import History
from service.history.change_id import ChangeIds, least_id
from service.history.change_repository import ChangeRepository
from tests.e2e.test_updates import APOLLO, BODY, OUTREACH, Steps, both, step
from tests.e2e.test_updates import text as texts
from tests.support.plain_client import plain_client
from tests.support.service import CUSTOMER, CallResult, RunningService, call_result, running_service

NOT_APPLIED = envelope_pb2.ERROR_OUTCOME_NOT_APPLIED
UNKNOWN = envelope_pb2.ERROR_OUTCOME_UNKNOWN


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[RunningService]:
    """The service, which keeps a history."""
    async with running_service(tmp_path, history_days=30) as running:
        yield running


def an_id() -> str:
    """The id of a change that nobody made."""
    return str(ChangeIds().next())


def values(change: Any) -> dict[str, tuple[Any, Any]]:
    """The values of a change, by field."""
    shown = json_format.MessageToDict(change)
    return {each["field"]: (each["before"], each["after"]) for each in shown.get("changes", [])}


async def changed(service: RunningService, at: Steps, **record: Any) -> CallResult:
    answer = await service.update(at.provider, at.inactive, at.quiet[0], **record)
    assert answer.errors == []
    return answer


async def listed(service: RunningService, at: Steps, **more: Any) -> list[Any]:
    answer = await service.list_changes(at.provider, **more)
    assert answer.errors == []
    return list(answer.response.step_changes)


# What is kept.


@both
async def test_a_change_is_kept_with_what_was_there_before(kept: RunningService, at: Steps) -> None:
    old, note = await texts(kept, at, at.quiet[1]), (await step(kept, at, at.quiet[0])).get(at.text_field)
    began = time.time()
    answer = await changed(
        kept,
        at,
        subject="New",
        body=BODY,
        custom_fields={at.text_field: "x"},
        metadata=(("x-request-id", "r-1"),),
    )
    [change] = await listed(kept, at)
    assert change.change_id == answer.response.change_id != ""
    assert values(change) == {
        "template.subject": (old[0], "New"),
        "template.body": (old[1], BODY),
        f"custom_fields.{at.text_field}": (note, "x"),
    }
    assert (change.customer_id, change.provider_name, change.application_name) == (CUSTOMER, at.provider, "billing")
    assert (change.sequence_id, change.sequence_step_id) == (str(at.inactive), str(at.quiet[0]))
    assert (change.template_id, change.request_id) == (str(at.quiet[1]), "r-1")
    assert (change.state, change.reverts_change_id) == (pb.STEP_CHANGE_STATE_APPLIED, "")
    assert began - 1 < change.create_time.ToMilliseconds() / 1000 < time.time() + 1
    whole = await kept.get_change(at.provider, change.change_id)
    assert whole.response.step_change == change
    assert len(kept.provider_calls()) == 3


@both
async def test_only_what_became_different_is_kept(kept: RunningService, at: Steps) -> None:
    subject, body = await texts(kept, at, at.quiet[1])
    await changed(kept, at, subject="New", body=body)
    assert (await changed(kept, at, subject="New")).response.change_id == ""
    tried = await changed(kept, at, subject="Other", validate_only=True)
    assert tried.response.change_id == ""
    [change] = await listed(kept, at)
    assert values(change) == {"template.subject": (subject, "New")}


@both
async def test_what_the_provider_made_of_a_text_is_kept(kept: RunningService, at: Steps) -> None:
    answer = await changed(kept, at, body="<p>Hi</p><script>x</script>")
    [change] = await listed(kept, at)
    assert values(change)["template.body"][1] == answer.changes["template.body"][1] == "<p>Hi</p>"


@both
async def test_an_update_that_was_refused_is_not_kept(kept: RunningService, at: Steps) -> None:
    kept.sandbox.order_fault(provider=at.provider, method=at.write.split()[0], status=422, body=REFUSALS[at.provider])
    answer = await kept.update(at.provider, at.inactive, at.quiet[0], subject="New")
    assert (answer.error.meta.outcome, answer.response.change_id) == (NOT_APPLIED, "")
    assert await listed(kept, at) == []


REFUSALS = {
    "apollo": {"error": "Subject is not good"},
    "outreach": {"errors": [{"id": "validationError", "title": "Validation Error", "detail": "Subject is not good"}]},
}


@both
async def test_an_update_whose_end_is_not_known_is_kept_as_such(kept: RunningService, at: Steps) -> None:
    old = await texts(kept, at, at.quiet[1])
    method = at.write.split()[0]
    kept.sandbox.order_fault(provider=at.provider, method=method, status=500, body="", when="after", times=None)
    answer = await kept.update(
        at.provider, at.inactive, at.quiet[0], subject="New", custom_fields={at.text_field: "never sent"}
    )
    assert answer.error.meta.outcome == UNKNOWN
    [change] = await listed(kept, at)
    assert (change.change_id, change.state) == (answer.response.change_id, pb.STEP_CHANGE_STATE_UNKNOWN)
    assert values(change) == {"template.subject": (old[0], "New")}


@both
async def test_a_change_in_part_has_the_part(kept: RunningService, at: Steps) -> None:
    method, path = at.field_write.split()
    path = path.rstrip("/").rpartition("/")[2]
    kept.sandbox.order_fault(provider=at.provider, method=method, path=path, status=422, body=REFUSALS[at.provider])
    answer = await kept.update(
        at.provider, at.inactive, at.quiet[0], subject="New", custom_fields={at.text_field: "refused"}
    )
    [change] = await listed(kept, at)
    assert (change.change_id, change.state) == (answer.response.change_id, pb.STEP_CHANGE_STATE_PARTIALLY_APPLIED)
    assert list(values(change)) == ["template.subject"]


async def test_without_a_history_every_call_says_so(service: RunningService) -> None:
    answer = await service.update("apollo", APOLLO.inactive, APOLLO.quiet[0], subject="New")
    assert answer.response.change_id == ""
    some_id = an_id()
    for refused in (
        await service.list_changes("apollo"),
        await service.get_change("apollo", some_id),
        await service.revert("apollo", some_id),
    ):
        assert (refused.error.code, refused.error.meta.outcome) == ("NOT_IMPLEMENTED_ERROR", NOT_APPLIED)
        assert "SEQSTEP_HISTORY_DAYS" in refused.error.detail


# Lists.


@both
async def test_a_list_is_filtered_and_has_the_newest_first(kept: RunningService, at: Steps) -> None:
    await changed(kept, at, subject="One", metadata=(("x-request-id", "r-1"),))
    middle = time.time()
    await kept.update(at.provider, at.active, at.plain[0], subject="Two", metadata=(("x-request-id", "r-2"),))
    await kept.update(at.provider, at.active, at.archived[0], subject="Three")

    async def subjects(**more: Any) -> list[str]:
        return [values(each)["template.subject"][1] for each in await listed(kept, at, **more)]

    active = str(at.active)
    assert await subjects() == ["Three", "Two", "One"]
    assert await subjects(sequence_id=active.upper()) == ["Three", "Two"]
    assert await subjects(sequence_id=active, sequence_step_id=str(at.plain[0])) == ["Two"]
    assert await subjects(request_id="r-1") == ["One"]
    moment: Any = pb.StepChange().create_time
    moment.FromNanoseconds(int(middle * 1e9))
    assert await subjects(start_time=moment) == ["Three", "Two"]
    assert await subjects(end_time=moment) == ["One"]
    first = (await listed(kept, at))[-1].create_time
    assert await subjects(start_time=first) == ["Three", "Two", "One"]
    assert await subjects(end_time=first) == []


async def test_pages_follow_each_other(kept: RunningService) -> None:
    for number in range(7):
        await changed(kept, APOLLO, subject=f"S{number}")
    seen: list[str] = []
    token, pages = "", 0
    while True:
        page = (await kept.list_changes("apollo", page_size=3, page_token=token)).response
        seen += [values(each)["template.subject"][1] for each in page.step_changes]
        token, pages = page.next_page_token, pages + 1
        if pages == 1:
            await changed(kept, APOLLO, subject="Meanwhile")
        if not token:
            break
    assert (seen, pages) == ([f"S{number}" for number in range(6, -1, -1)], 3)
    full = (await kept.list_changes("apollo", page_size=8)).response
    assert (len(full.step_changes), full.next_page_token) == (8, "")


async def test_long_values_are_cut_in_a_list_and_end_a_page(kept: RunningService) -> None:
    bodies = [f"<p>{number}{'x' * 1_500_000}</p>" for number in range(4)]
    for body in bodies:
        await changed(kept, APOLLO, body=body)
    seen: list[str] = []
    token, pages = "", 0
    while True:
        page = (await kept.list_changes("apollo", page_token=token)).response
        for change in page.step_changes:
            [field] = change.changes
            assert len(field.after.string_value.encode()) == 2048
            assert (field.after.string_value[-7:], field.after_truncated) == ("… [cut]", True)
            seen.append(change.change_id)
        token, pages = page.next_page_token, pages + 1
        if not token:
            break
    assert (len(set(seen)), pages > 1) == (4, True)
    whole = await kept.get_change("apollo", seen[0])
    assert [each.after.string_value for each in whole.response.step_change.changes] == [bodies[-1]]


async def test_a_change_that_is_too_long_to_read_can_be_taken_back(kept: RunningService) -> None:
    old = await texts(kept, APOLLO, APOLLO.quiet[1])
    await changed(kept, APOLLO, body=f"<p>{'x' * 4_500_000}</p>")
    [change] = await listed(kept, APOLLO)
    refused = await kept.get_change("apollo", change.change_id)
    assert refused.error.code == "RESPONSE_TOO_LONG_ERROR"
    assert (await kept.revert("apollo", change.change_id)).errors == []
    assert await texts(kept, APOLLO, APOLLO.quiet[1]) == old


async def test_a_token_is_of_one_list(kept: RunningService) -> None:
    for number in range(2):
        await changed(kept, APOLLO, subject=f"S{number}")
    token = (await kept.list_changes("apollo", page_size=1)).response.next_page_token
    assert token
    for fields in (
        {"page_token": token, "request_id": "r"},
        {"page_token": token, "sequence_id": "x"},
        {"page_token": token, "customer": "other"},
        {"page_token": token[:-3]},
        {"page_token": "no token!"},
    ):
        refused = await kept.list_changes("apollo", **fields)
        assert list(refused.violations) == ["page_token"], fields


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"page_size": -1}, "page_size"),
        ({"sequence_step_id": "7"}, "sequence_id"),
        ({"sequence_id": "a/b"}, "sequence_id"),
        ({"sequence_id": "7", "sequence_step_id": "?"}, "sequence_step_id"),
    ],
)
async def test_a_list_that_cannot_be_asked_for(kept: RunningService, fields: dict[str, Any], named: str) -> None:
    assert list((await kept.list_changes("apollo", **fields)).violations) == [named]


@pytest.mark.parametrize("change_id", ["", "7", "x" * 36, "0" * 36])
async def test_an_id_that_is_none_is_refused(kept: RunningService, change_id: str) -> None:
    for refused in (await kept.get_change("apollo", change_id), await kept.revert("apollo", change_id)):
        assert list(refused.violations) == ["change_id"]


async def test_a_field_that_is_not_known_is_refused(kept: RunningService) -> None:
    for method in ("ListStepChanges", "GetStepChange", "RevertStepChange"):
        request = getattr(pb, f"{method}Request").FromString(b"\xf8\x07\x01")
        pairs = (("x-customer-id", CUSTOMER), ("x-provider-name", "apollo"), ("x-api-key", kept.key.reveal()))
        call = getattr(kept.stub, method)(request, metadata=pairs, timeout=20)
        assert list((await call_result(call)).violations) == ["127"]


# Who sees it.


async def test_nobody_else_sees_or_takes_back_a_change(kept: RunningService) -> None:
    answer = await changed(kept, APOLLO, subject="New")
    mine = answer.response.change_id
    other = (await Applications(kept.store, 0).create("another")).reveal()
    own = kept.key
    for key, more in ((own, {"customer": "other"}), (Secret(other), {})):
        kept.key = key
        assert (await kept.list_changes("apollo", **more)).response.step_changes == []
        for refused in (await kept.get_change("apollo", mine, **more), await kept.revert("apollo", mine, **more)):
            assert (refused.error.code, dict(refused.error.meta.facts)) == (
                "NOT_FOUND_ERROR",
                {"resource": "step_change"},
            )
    kept.key = own
    assert (await kept.get_change("outreach", mine)).error.code == "NOT_FOUND_ERROR"
    assert (await kept.get_change("apollo", mine)).errors == []


async def test_a_change_is_read_for_a_customer_without_a_connection(kept: RunningService) -> None:
    answer = await changed(kept, APOLLO, subject="New")
    caller = await kept.applications.authenticate(kept.key.reveal())
    await kept.connections.delete(caller.application_id, CUSTOMER, Provider("apollo"))
    assert (await kept.get_change("apollo", answer.response.change_id)).errors == []


async def test_nothing_of_a_text_is_in_the_database_as_it_stands(kept: RunningService, tmp_path: Path) -> None:
    await changed(kept, APOLLO, subject="m4rk3d subject", body="<p>m4rk3d body</p>")
    files = list(tmp_path.glob("store.sqlite3*"))  # noqa: ASYNC240  # a folder of the test
    assert files
    assert all(b"m4rk3d" not in file.read_bytes() for file in files)
    [change] = await listed(kept, APOLLO)
    assert values(change)["template.subject"][1] == "m4rk3d subject"


@pytest.mark.parametrize("column", ["customer_id", "sequence_step_id", "template_id", "request_id"])
async def test_values_belong_to_their_row(kept: RunningService, column: str) -> None:
    await changed(kept, APOLLO, subject="New")
    async with kept.store.begin() as db:
        await db.execute(update(step_changes).values({column: "other"}))
    [change] = await listed(kept, APOLLO, customer="other" if column == "customer_id" else CUSTOMER)
    assert values(change) == {}
    customer = {"customer": "other"} if column == "customer_id" else {}
    refused = await kept.get_change("apollo", change.change_id, **customer)
    assert (refused.error.code, "decrypted" in refused.error.detail) == ("INTERNAL_SERVER_ERROR", True)


# How long it is kept.


async def test_what_is_too_old_is_not_shown(tmp_path: Path) -> None:
    async with running_service(tmp_path, history_days=1) as service:
        answer = await changed(service, APOLLO, subject="New")
        assert len(await listed(service, APOLLO)) == 1
        two_days_ago = least_id(time.time() - 2 * 86400)
        async with service.store.begin() as db:
            await db.execute(update(step_changes).values(id=two_days_ago))
        assert await listed(service, APOLLO) == []
        for change_id in (answer.response.change_id, str(uuid.UUID(bytes=two_days_ago))):
            assert (await service.get_change("apollo", change_id)).error.code == "NOT_FOUND_ERROR"


# Taking back.


@both
async def test_a_change_is_taken_back_byte_for_byte(kept: RunningService, at: Steps) -> None:
    old, fields = await texts(kept, at, at.quiet[1]), await step(kept, at, at.quiet[0])
    change_id = (
        await changed(kept, at, subject="New", body=BODY, custom_fields={at.number_field: 77})
    ).response.change_id
    before = len(kept.provider_calls())
    tried = await kept.revert(at.provider, change_id, validate_only=True)
    assert (tried.errors, tried.response.change_id) == ([], "")
    assert tried.changes["template.subject"] == ("New", old[0])
    assert {call.split()[0] for call in kept.provider_calls()[before:]} == {"GET"}
    answer = await kept.revert(at.provider, change_id, metadata=(("x-request-id", "back"),))
    assert answer.errors == []
    assert answer.changes == {
        "template.subject": ("New", old[0]),
        "template.body": (BODY, old[1]),
        f"custom_fields.{at.number_field}": (77, fields[at.number_field]),
    }
    assert await texts(kept, at, at.quiet[1]) == old
    assert (await step(kept, at, at.quiet[0]))[at.number_field] == fields[at.number_field]
    [revert, first] = await listed(kept, at)
    assert (first.change_id, revert.change_id) == (change_id, answer.response.change_id)
    assert (revert.reverts_change_id, revert.request_id) == (change_id, "back")
    # A revert is a change, and is taken back like one.
    assert (await kept.revert(at.provider, revert.change_id)).errors == []
    assert await texts(kept, at, at.quiet[1]) == ("New", BODY)


@both
async def test_a_repeated_revert_writes_nothing(kept: RunningService, at: Steps) -> None:
    change_id = (await changed(kept, at, subject="New")).response.change_id
    assert (await kept.revert(at.provider, change_id)).errors == []
    again = await kept.revert(at.provider, change_id)
    assert (again.errors, again.warnings, again.response.change_id) == ([], ["NO_CHANGE"], "")


@both
async def test_a_change_in_between_is_not_written_over_unless_wanted(kept: RunningService, at: Steps) -> None:
    old = await texts(kept, at, at.quiet[1])
    change_id = (await changed(kept, at, subject="Mine", body=BODY)).response.change_id
    await changed(kept, at, subject="Theirs")
    writes = len(kept.provider_calls())
    for validate_only in (True, False):
        refused = await kept.revert(at.provider, change_id, validate_only=validate_only)
        assert (refused.error.code, refused.error.meta.outcome) == ("STEP_CHANGED_ERROR", NOT_APPLIED)
        assert refused.conflicts == {"template.subject": ("Theirs", old[0])}
        assert change_id in refused.error.detail
    assert {call.split()[0] for call in kept.provider_calls()[writes:]} == {"GET"}
    as_status = await kept.revert(at.provider, change_id, metadata=(("x-error-mode", "status"),))
    assert (as_status.code.name, as_status.error.code) == ("ABORTED", "STEP_CHANGED_ERROR")
    forced = await kept.revert(at.provider, change_id, overwrite=True)
    assert (forced.errors, await texts(kept, at, at.quiet[1])) == ([], old)
    [last, *_] = await listed(kept, at)
    assert values(last)["template.subject"] == ("Theirs", old[0])


@both
async def test_what_is_set_back_already_is_no_change_in_between(kept: RunningService, at: Steps) -> None:
    old = await texts(kept, at, at.quiet[1])
    change = await changed(kept, at, subject="New", body=BODY)
    await changed(kept, at, subject=old[0])
    answer = await kept.revert(at.provider, change.response.change_id)
    assert (answer.errors, list(answer.changes)) == ([], ["template.body"])
    assert await texts(kept, at, at.quiet[1]) == old


@both
async def test_what_the_change_left_alone_is_left_alone(kept: RunningService, at: Steps) -> None:
    old = await texts(kept, at, at.quiet[1])
    change_id = (await changed(kept, at, subject="Mine")).response.change_id
    await changed(kept, at, body=BODY)
    assert (await kept.revert(at.provider, change_id)).errors == []
    assert await texts(kept, at, at.quiet[1]) == (old[0], BODY)


@both
@pytest.mark.parametrize("was_applied", [True, False])
async def test_a_change_whose_end_is_not_known_is_taken_back(
    kept: RunningService, at: Steps, *, was_applied: bool
) -> None:
    old = await texts(kept, at, at.quiet[1])
    method = at.write.split()[0]
    when = "after" if was_applied else "before"
    kept.sandbox.order_fault(provider=at.provider, method=method, status=500, body="", when=when, times=None)
    answer = await kept.update(at.provider, at.inactive, at.quiet[0], subject="New", body=BODY)
    assert answer.error.meta.outcome == UNKNOWN
    kept.sandbox.state.faults.clear()
    reverted = await kept.revert(at.provider, answer.response.change_id)
    assert (reverted.errors, await texts(kept, at, at.quiet[1])) == ([], old)
    assert bool(reverted.response.change_id) == was_applied


@both
async def test_a_change_of_a_named_variant_is_taken_back_there(kept: RunningService, at: Steps) -> None:
    found = (await kept.get_step(at.provider, at.active, at.ab_test[0])).response.step
    last = found.variants[-1]
    answer = await kept.update(at.provider, at.active, at.ab_test[0], subject="New", variant=last.template_id)
    reverted = await kept.revert(at.provider, answer.response.change_id)
    assert (reverted.errors, "MULTIPLE_VARIANTS" in reverted.warnings) == ([], True)
    now = (await kept.get_step(at.provider, at.active, at.ab_test[0])).response.step
    assert [each.subject for each in now.variants] == [each.subject for each in found.variants]


@both
async def test_a_template_that_others_use_is_left_if_wanted(kept: RunningService, at: Steps) -> None:
    answer = await kept.update(at.provider, at.active, at.shared[0], subject="New")
    refused = await kept.revert(at.provider, answer.response.change_id, if_shared=pb.IF_SHARED_REFUSE)
    assert refused.error.code == "SHARED_TEMPLATE_ERROR"
    assert (await kept.revert(at.provider, answer.response.change_id)).errors == []


async def test_a_null_is_set_back(kept: RunningService) -> None:
    at = APOLLO
    await changed(kept, at, custom_fields={at.text_field: None})
    answer = await changed(kept, at, custom_fields={at.text_field: "x"})
    reverted = await kept.revert("apollo", answer.response.change_id)
    assert (reverted.errors, reverted.warnings) == ([], [])
    assert (await step(kept, at, at.quiet[0]))[at.text_field] is None


@pytest.mark.parametrize(("name", "attribute"), [("subject", "subject"), ("body", "bodyHtml")])
async def test_a_text_that_was_null_is_null_again(kept: RunningService, name: str, attribute: str) -> None:
    at = OUTREACH
    template: Any = {"type": "template", "id": at.quiet[1], "attributes": {attribute: None}}
    headers = {
        "authorization": f"Bearer {seed.OUTREACH_ACCESS_TOKEN}",
        "content-type": "application/vnd.api+json",
    }
    async with plain_client() as client:
        url = f"{kept.sandbox.outreach_url}/api/v2/templates/{at.quiet[1]}"
        answer = await client.patch(url, content=json.dumps({"data": template}), headers=headers)
        assert answer.is_success, answer.text
    old = await texts(kept, at, at.quiet[1])
    assert None in old
    change_id = (await changed(kept, at, **{name: "<p>New</p>"})).response.change_id
    tried = await kept.revert(at.provider, change_id, validate_only=True)
    assert (tried.errors, tried.warnings) == ([], [])
    reverted = await kept.revert(at.provider, change_id)
    assert (reverted.errors, reverted.warnings) == ([], [])
    assert reverted.changes == {f"template.{name}": ("<p>New</p>", None)}
    assert await texts(kept, at, at.quiet[1]) == old
    # Once more changes nothing, and taking the revert back sets the text again.
    assert (await kept.revert(at.provider, change_id)).warnings == ["NO_CHANGE"]
    assert (await kept.revert(at.provider, reverted.response.change_id)).errors == []
    assert "<p>New</p>" in await texts(kept, at, at.quiet[1])


# What the database does.


async def test_nothing_is_written_that_cannot_be_kept(kept: RunningService) -> None:
    old = await texts(kept, APOLLO, APOLLO.quiet[1])
    await changed(kept, APOLLO, subject=old[0])
    async with kept.store.begin() as db:
        await db.execute(text("ALTER TABLE step_changes RENAME TO hidden"))
    before = len(kept.provider_calls())
    answer = await kept.update("apollo", APOLLO.inactive, APOLLO.quiet[0], subject="New")
    assert (answer.error.code, answer.error.meta.outcome) == ("SERVICE_UNAVAILABLE_ERROR", NOT_APPLIED)
    assert ("history" in answer.error.detail, "Nothing was changed." in answer.error.detail) == (True, True)
    assert {call.split()[0] for call in kept.provider_calls()[before:]} == {"GET"}
    for refused in (await kept.list_changes("apollo"), await kept.get_change("apollo", an_id())):
        assert refused.error.code == "SERVICE_UNAVAILABLE_ERROR"
    async with kept.store.begin() as db:
        await db.execute(text("ALTER TABLE hidden RENAME TO step_changes"))
    assert (await changed(kept, APOLLO, subject="New")).response.change_id
    assert await texts(kept, APOLLO, APOLLO.quiet[1]) == ("New", old[1])


async def test_a_stop_waits_until_the_end_of_a_change_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is so slow that the answer has not waited for it."""
    monkeypatch.setattr("service.history.change_history._SETTLE_SECONDS", 0.0)
    may_settle = asyncio.Event()
    write, finish = ChangeRepository.write, History.finish

    async def slow_write(self: Any, insertions: Any, settlements: Any) -> None:
        if settlements:
            await may_settle.wait()
        await write(self, insertions, settlements)

    async def finish_settling(self: Any, seconds: float) -> None:
        may_settle.set()
        await finish(self, seconds)

    async with running_service(tmp_path, history_days=30) as running:
        monkeypatch.setattr(ChangeRepository, "write", slow_write)
        assert (await changed(running, APOLLO, subject="New")).response.change_id
        [change] = await listed(running, APOLLO)
        assert change.state == pb.STEP_CHANGE_STATE_UNKNOWN
        monkeypatch.setattr(History, "finish", finish_settling)
    store = Store.open(running.settings.database_url.get_secret_value())
    async with store.begin() as db:
        assert (await db.execute(select(step_changes.c.state))).scalar_one() == ChangeState.APPLIED
    await store.close()


async def test_many_at_once_are_all_kept(kept: RunningService) -> None:
    customers = [f"c{number}" for number in range(20)]
    for customer in customers:
        await kept.connect(customer, Provider("apollo"), ApiKeyCredentials(Secret(seed.APOLLO_UNLIMITED_KEY)))
    answers = await asyncio.gather(
        *(
            kept.update("apollo", APOLLO.inactive, APOLLO.quiet[0], customer=customer, subject=f"{customer} {turn}")
            for customer in customers
            for turn in range(3)
        )
    )
    assert [each.errors for each in answers] == [[]] * 60
    ids = [each.change_id for customer in customers for each in await listed(kept, APOLLO, customer=customer)]
    assert sorted(ids) == sorted(each.response.change_id for each in answers if each.response.change_id)
