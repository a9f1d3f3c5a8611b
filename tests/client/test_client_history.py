"""Looking back by the client library and the command line, against the real service in front of the sandbox."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from seqstep_client import AsyncClient, CallRefused, Client, InvalidArgument, NotApplied, OutcomeUnknown
from tests.client.test_client_service import HELLO, SEQUENCE, STEP, command, update_step
from tests.support.command import run_here, without_settings
from tests.support.service import CUSTOMER, RunningService, running_service


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[RunningService]:
    """The service, which keeps a history."""
    async with running_service(tmp_path, history_days=30) as running:
        yield running


async def test_changes_are_listed_read_and_taken_back(kept: RunningService) -> None:
    given: Any = {"customer_id": CUSTOMER, "provider": "outreach"}
    began = datetime.now(UTC)
    async with AsyncClient(kept.app.rpc.address, api_key=kept.key.reveal(), plaintext=True) as client:
        made = await client.update_step(HELLO, request_id="r-1", **given)
        listed = await client.list_step_changes(
            sequence_id=SEQUENCE, sequence_step_id=STEP, of_request_id="r-1", start=began - timedelta(hours=1), **given
        )
        change = await client.get_step_change(made.change_id, **given)
        earlier = await client.list_step_changes(end=began - timedelta(hours=1), **given)
        tried = await client.revert_step_change(made.change_id, validate_only=True, **given)
        await client.update_step(replace(HELLO, subject="Theirs"), **given)
        with pytest.raises(NotApplied) as raised:
            await client.revert_step_change(made.change_id, **given)
        forced = await client.revert_step_change(made.change_id, overwrite=True, refuse_shared=True, **given)
        with pytest.raises(NotApplied) as missing:
            await client.get_step_change(made.change_id, customer_id="other", provider="outreach")
        with pytest.raises(CallRefused) as refused:
            await client.revert_step_change("x", **given)
        for wrong in ({"start": began.replace(tzinfo=None)}, {"page_size": 2**40}):  # without a zone
            with pytest.raises(InvalidArgument):
                await client.list_step_changes(**wrong, **given)
    assert list(listed.step_changes) == [change]
    assert (change.change_id, list(earlier.step_changes), tried.change_id) == (made.change_id, [], "")
    [conflict] = raised.value.conflicts
    assert (raised.value.code, conflict.before, conflict.after) == ("STEP_CHANGED_ERROR", "Theirs", "Quick question")
    assert [(each.before, each.after) for each in forced.changes] == [("Theirs", "Quick question")]
    assert (missing.value.code, refused.value.violations[0].field) == ("NOT_FOUND_ERROR", "change_id")


async def test_the_blocking_client_takes_back_the_same(kept: RunningService) -> None:
    def work() -> tuple[Any, ...]:
        given: Any = {"customer_id": CUSTOMER, "provider": "outreach"}
        with Client(kept.app.rpc.address, api_key=kept.key.reveal(), plaintext=True) as client:
            made = client.update_step(HELLO, **given)
            [change] = client.list_step_changes(**given).step_changes
            return (
                made,
                change,
                client.get_step_change(made.change_id, **given),
                client.revert_step_change(made.change_id, **given),
            )

    made, listed, change, reverted = await asyncio.to_thread(work)
    assert listed == change
    assert (change.change_id, reverted.changes[0].after) == (made.change_id, "Quick question")


async def test_a_revert_that_is_not_answered_is_unknown(kept: RunningService) -> None:
    given: Any = {"customer_id": CUSTOMER, "provider": "outreach"}
    async with AsyncClient(kept.app.rpc.address, api_key=kept.key.reveal(), plaintext=True) as client:
        made = await client.update_step(HELLO, **given)
        kept.sandbox.order_fault(provider="outreach", method="PATCH", hang=True, times=None)
        with pytest.raises(OutcomeUnknown):
            await client.revert_step_change(made.change_id, timeout=0.3, **given)
        assert (await client.revert_step_change(made.change_id, validate_only=True, **given)).changes


async def test_a_person_sees_who_changed_what_and_takes_it_back(kept: RunningService) -> None:
    body = f"<p>{'x' * 3000}</p>"
    updated = await update_step(
        kept, SEQUENCE, STEP, "--subject", "Hello", "--body-file", "-", "--request-id", "r-1", stdin=body
    )
    [change] = re.findall(r"change: (\S+)", updated.out)
    table = await command(kept, "history")
    columns, row = (line.split("\t") for line in table.out.splitlines())
    assert columns == ["change", "time", "sequence", "step", "template", "state", "changed", "request id", "reverts"]
    assert (row[0], *row[2:]) == (
        *(change, SEQUENCE, STEP, "18", "applied", "template.subject, template.body", "r-1", "-"),
    )
    diffs: Any = (("--diff",), ("--change", change), ("--diff", "--by-request", "r-1", "--since", "1h"))
    for options in diffs:
        shown = (await command(kept, "history", *options)).out
        assert f"{change} · " in shown, options
        assert "  template.subject\n  -Quick question\n  +Hello\n" in shown
        assert f"+<p>{'x' * 3000}" in shown
    for options in (("--until", "2026-01-01"), ("--by-request", "r-2"), ("--sequence", SEQUENCE, "--step", "1")):
        assert len((await command(kept, "history", *options)).out.splitlines()) == 1, options
    tried = await command(kept, "revert", change, "--validate-only")
    assert (tried.status, "Would change template.subject, template.body" in tried.out) == (0, True)
    await update_step(kept, SEQUENCE, STEP, "--subject", "Theirs")
    refused = await command(kept, "revert", change)
    assert (refused.status, "STEP_CHANGED_ERROR (412)" in refused.err) == (1, True)
    assert "  -Theirs\n  +Quick question\n" in refused.err
    forced = await command(kept, "revert", change, "--force", "--json")
    assert json.loads(forced.out)["changes"][0]["after"] == "Quick question"
    listed = json.loads((await command(kept, "history", "--json", "--limit", "2")).out)
    assert [each.get("revertsChangeId") for each in listed["stepChanges"]] == [change, None]
    missing = await command(kept, "history", "--change", change.replace("7", "0"))
    assert (missing.status, missing.out) == (1, "")
    for wrong in (("--since", "yesterday"), ("--limit", "0")):
        assert (await command(kept, "history", *wrong)).status == 2, wrong


async def test_pages_are_followed_to_the_limit(kept: RunningService) -> None:
    for number in range(4):
        await update_step(kept, SEQUENCE, STEP, "--body-file", "-", stdin=f"<p>{number}{'x' * 1_500_000}</p>")
    lines = (await command(kept, "history")).out.splitlines()
    assert len(lines) == 5
    assert len((await command(kept, "history", "--limit", "3")).out.splitlines()) == 4


async def test_the_history_of_a_customer_is_deleted(kept: RunningService) -> None:
    await update_step(kept, SEQUENCE, STEP, "--subject", "Hello")
    settings = kept.settings
    environment = without_settings() | {
        "SEQSTEP_DATABASE_URL": settings.database_url.get_secret_value(),
        "SEQSTEP_ENCRYPTION_KEYS": settings.encryption_keys.get_secret_value(),
    }
    delete = ("history", "delete", "--app", "billing", "--customer", CUSTOMER)
    ended = await asyncio.to_thread(run_here, environment, *delete, "--provider", "apollo")
    assert (ended.status, ended.out) == (0, f"0 changes of {CUSTOMER} deleted\n")
    ended = await asyncio.to_thread(run_here, environment, *delete)
    assert (ended.status, ended.out) == (0, f"1 changes of {CUSTOMER} deleted\n")
    assert len((await command(kept, "history")).out.splitlines()) == 1


async def test_a_service_deletes_the_history_for_who_may_manage(kept: RunningService) -> None:
    await update_step(kept, SEQUENCE, STEP, "--subject", "Hello")
    environment = without_settings() | {"SEQSTEP_API_KEY": kept.key.reveal()}
    command_line = ("history", "--address", kept.app.rpc.address, "delete", "--customer", CUSTOMER)
    refused = await asyncio.to_thread(run_here, environment, *command_line)
    assert (refused.status, refused.out) == (1, "")
    both = await asyncio.to_thread(run_here, environment, *command_line, "--app", "billing")
    assert (both.status, both.out) == (2, "")
    key = await kept.applications.rotate_key("billing", None, may_manage=True)
    environment["SEQSTEP_API_KEY"] = key.reveal()
    for provider, count in (("apollo", 0), ("outreach", 1), ("outreach", 0)):
        ended = await asyncio.to_thread(run_here, environment, *command_line, "--provider", provider)
        assert (ended.status, ended.out) == (0, f"{count} changes of {CUSTOMER} deleted\n"), ended.err
