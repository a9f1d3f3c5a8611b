"""The client library and the commands that call the service, against the real service in front of the sandbox."""

import asyncio
import json
import os
import pty
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox import seed
from seqstep_client import (
    AsyncClient,
    CallRefused,
    Client,
    NotApplied,
    OutcomeUnknown,
    PartiallyApplied,
    StepUpdate,
    Unauthenticated,
)
from tests.support.command import Ended, run_here, run_process, without_settings
from tests.support.processes import free_port
from tests.support.service import CUSTOMER, RunningService

SEQUENCE, STEP = str(seed.OUTREACH_SEQUENCE_ENABLED), str(seed.OUTREACH_STEP_PLAIN)
CALL_STEP = str(seed.OUTREACH_STEP_CALL)
HELLO = StepUpdate(sequence_id=SEQUENCE, sequence_step_id=STEP, subject="Hello")


async def call(service: RunningService, update: StepUpdate = HELLO, **more: Any) -> Any:
    given = {"customer_id": CUSTOMER, "provider": "outreach"} | more
    async with AsyncClient(service.app.rpc.address, plaintext=True, api_key=service.key.reveal(), timeout=10) as client:
        return await client.update_step(update, **given)


async def test_a_change_and_then_no_change(service: RunningService) -> None:
    result = await call(service)
    assert [(change.field, change.before, change.after) for change in result.changes] == [
        ("template.subject", "Quick question", "Hello")
    ]
    record = await service.provider_record("outreach", "templates", seed.OUTREACH_TEMPLATE_PLAIN)
    assert record["attributes"]["subject"] == "Hello"
    again = await call(service)
    assert again.changes == ()
    assert "NO_CHANGE" in [warning.problem_type for warning in again.warnings]


async def test_the_blocking_client_does_the_same(service: RunningService) -> None:
    with Client(service.app.rpc.address, plaintext=True, api_key=service.key.reveal()) as client:
        result = await asyncio.to_thread(client.update_step, HELLO, customer_id=CUSTOMER, provider="outreach")
    assert [change.after for change in result.changes] == ["Hello"]


async def test_a_failure_for_the_customer(service: RunningService) -> None:
    with pytest.raises(NotApplied) as raised:
        await call(service, StepUpdate(sequence_id=SEQUENCE, sequence_step_id=CALL_STEP, subject="x"))
    assert (raised.value.code, raised.value.status) == ("UNPROCESSABLE_ENTITY_ERROR", 422)
    assert raised.value.errors[0].application_name == "billing"


async def test_a_rate_limit_says_how_long_to_wait(service: RunningService) -> None:
    service.sandbox.order_fault(
        provider="outreach", method="GET", status=429, headers={"retry-after": "120"}, body="{}"
    )
    with pytest.raises(NotApplied) as raised:
        await call(service)
    assert raised.value.retry_after is not None
    assert 100 < raised.value.retry_after <= 121
    assert raised.value.errors[0].cause is not None
    assert raised.value.errors[0].cause.code == 429


async def test_an_update_that_stops_halfway(service: RunningService) -> None:
    service.sandbox.order_fault(
        provider="outreach", method="PATCH", path="sequenceSteps", status=422, body={"errors": [{"id": "x"}]}
    )
    with pytest.raises(PartiallyApplied) as raised:
        await call(
            service,
            StepUpdate(sequence_id=SEQUENCE, sequence_step_id=STEP, subject="Hello", custom_fields={"interval": 60}),
        )
    assert [change.field for change in raised.value.changes] == ["template.subject"]


async def test_a_write_whose_answer_never_comes(service: RunningService) -> None:
    service.sandbox.order_fault(provider="outreach", method="PATCH", hang=True)
    with pytest.raises(OutcomeUnknown) as raised:
        await call(service, timeout=1.5)
    assert raised.value.code == "GATEWAY_TIMEOUT_ERROR"
    assert raised.value.errors[0].origin == "provider"


async def test_a_call_that_is_wrong_in_itself(service: RunningService) -> None:
    with pytest.raises(CallRefused) as raised:
        await call(service, StepUpdate(sequence_id="../1", sequence_step_id="", subject="a\nb"))
    assert {each.field for each in raised.value.violations} == {
        "sequence_id",
        "sequence_step_id",
        "record.template.subject",
    }
    assert raised.value.status == 400


async def test_a_key_that_is_not_known(service: RunningService) -> None:
    async with AsyncClient(service.app.rpc.address, plaintext=True, api_key="wrong") as client:
        with pytest.raises(Unauthenticated) as raised:
            await client.update_step(HELLO, customer_id=CUSTOMER, provider="outreach")
    assert raised.value.code == "UNAUTHORIZED_ERROR"


async def test_an_etag_is_given_and_taken(service: RunningService) -> None:
    first = await call(service)
    await call(service, replace(HELLO, subject="Theirs"))
    with pytest.raises(NotApplied) as raised:
        await call(service, replace(HELLO, subject="Mine", etag=first.etag))
    failure = raised.value
    assert (failure.code, failure.changes) == ("STEP_CHANGED_ERROR", ())
    conflict = failure.conflicts[0]
    assert (conflict.field, conflict.before, conflict.after) == ("template.subject", "Theirs", "Mine")
    assert (await call(service, replace(HELLO, subject="Mine", etag=failure.etag))).changes


async def test_a_shared_template_is_left_and_a_variant_picked(service: RunningService) -> None:
    shared = StepUpdate(sequence_id=SEQUENCE, sequence_step_id=str(seed.OUTREACH_STEP_SHARED_A), subject="x")
    with pytest.raises(NotApplied, match="also used by step") as raised:
        await call(service, replace(shared, refuse_shared=True))
    assert raised.value.code == "SHARED_TEMPLATE_ERROR"
    variant = str(seed.OUTREACH_TEMPLATE_AB_FIRST)
    tested = StepUpdate(sequence_id=SEQUENCE, sequence_step_id=str(seed.OUTREACH_STEP_AB_TEST), subject="x")
    assert [each.before for each in (await call(service, replace(tested, variant=variant))).changes] == ["Variant A"]


async def test_steps_are_read(service: RunningService) -> None:
    given: Any = {"customer_id": CUSTOMER, "provider": "outreach"}
    async with AsyncClient(service.app.rpc.address, plaintext=True, api_key=service.key.reveal()) as client:
        found = await client.list_steps(SEQUENCE, **given)
        step = await client.get_step(SEQUENCE, STEP, with_bodies=False, **given)
        with pytest.raises(NotApplied) as raised:
            await client.get_step(SEQUENCE, "999", **given)
        with pytest.raises(CallRefused) as refused:
            await client.list_steps("x", **given)
    assert step == found.steps[0]
    assert (raised.value.code, refused.value.violations[0].field) == ("NOT_FOUND_ERROR", "sequence_id")


async def test_the_blocking_client_reads_the_same(service: RunningService) -> None:
    def read() -> tuple[Any, Any]:
        given: Any = {"customer_id": CUSTOMER, "provider": "outreach"}
        with Client(service.app.rpc.address, plaintext=True, api_key=service.key.reveal()) as client:
            return client.list_steps(SEQUENCE, with_bodies=True, **given), client.get_step(SEQUENCE, STEP, **given)

    found, step = await asyncio.to_thread(read)
    assert step == found.steps[0]


async def test_a_read_that_is_not_answered_changed_nothing(service: RunningService) -> None:
    service.sandbox.order_fault(provider="outreach", method="GET", hang=True, times=None)
    async with AsyncClient(service.app.rpc.address, plaintext=True, api_key=service.key.reveal()) as client:
        with pytest.raises(NotApplied):
            await client.get_step(SEQUENCE, STEP, customer_id=CUSTOMER, provider="outreach", timeout=1)


# The command line.


async def update_step(service: RunningService, *arguments: str, **more: Any) -> Ended:
    return await command(service, "update-step", *arguments, **more)


async def command(
    service: RunningService,
    *arguments: str,
    stdin: str = "",
    key: str | None = None,
    run: Callable[..., Ended] = run_here,
) -> Ended:
    environment = {
        "SEQSTEP_API_KEY": service.key.reveal() if key is None else key,
        "SEQSTEP_ADDRESS": service.app.rpc.address,
    }
    options = ("--customer", CUSTOMER, "--provider", "outreach")
    name, *rest = arguments
    return await asyncio.to_thread(run, without_settings() | environment, name, *options, *rest, stdin=stdin)


async def test_a_person_sees_the_steps_of_a_sequence(service: RunningService) -> None:
    ended = await command(service, "steps", SEQUENCE)
    columns, first, *_ = (line.split("\t") for line in ended.out.splitlines())
    assert columns == ["order", "step", "type", "after", "template", "variant", "subject"]
    assert first == ["1", STEP, "auto_email", "3 d", "18", "live, changed by default", "Quick question"]
    as_json = json.loads((await command(service, "steps", SEQUENCE, "--json")).out)
    assert (as_json["sequence"]["enabled"], as_json["steps"][0]["sequenceStepId"]) == (True, STEP)


async def test_a_person_sees_a_step_and_its_etag(service: RunningService) -> None:
    ended = await command(service, "show", SEQUENCE, str(seed.OUTREACH_STEP_SHARED_A), "--sharing")
    assert ended.status == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0] == f"Step {seed.OUTREACH_STEP_SHARED_A} · auto_email · the sequence is on"
    assert f"  also used by step {seed.OUTREACH_STEP_SHARED_B}, {seed.OUTREACH_STEP_DISABLED_SHARED}" in lines
    assert "  subject: Following up" in lines
    [etag] = re.findall(r"  etag: (\S+)", ended.out)
    taken = await update_step(service, SEQUENCE, str(seed.OUTREACH_STEP_SHARED_A), "--subject", "x", "--etag", etag)
    assert taken.status == 0, taken.err
    refused = await update_step(service, SEQUENCE, str(seed.OUTREACH_STEP_SHARED_A), "--subject", "y", "--etag", etag)
    assert (refused.status, "STEP_CHANGED_ERROR (412)" in refused.err) == (1, True)
    assert "  -x\n  +y\n" in refused.err
    missing = await command(service, "show", SEQUENCE, "999")
    assert (missing.status, missing.out, "NOT_FOUND_ERROR (404)" in missing.err) == (1, "", True)


async def test_a_shared_template_is_left_where_a_person_wants_that(service: RunningService) -> None:
    ended = await update_step(service, SEQUENCE, str(seed.OUTREACH_STEP_SHARED_A), "--subject", "x", "--refuse-shared")
    assert (ended.status, "SHARED_TEMPLATE_ERROR (412)" in ended.err) == (1, True)


async def test_a_person_sees_what_changed(service: RunningService) -> None:
    body = "<p>Hi {{first_name}},</p><p>Thursday?</p>"
    ended = await update_step(service, SEQUENCE, STEP, "--subject", "Hello", "--body-file", "-", stdin=body)
    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[:3] == [
        "✓ Changed template.subject, template.body.",
        "  template.subject",
        "  -Quick question",
    ]
    assert "  -<p>Do you have a minute?</p>\n  +<p>Thursday?</p>\n" in ended.out
    assert "! SEQUENCE_ACTIVE: " in ended.out
    assert re.search(r"request id: [0-9a-f-]{36}\n$", ended.out)
    record = await service.provider_record("outreach", "templates", seed.OUTREACH_TEMPLATE_PLAIN)
    assert record["attributes"]["bodyHtml"] == body


async def test_a_dry_run_says_so(service: RunningService) -> None:
    ended = await update_step(service, SEQUENCE, STEP, "--field", "interval=60", "--validate-only")
    assert ended.status == 0
    assert ended.out.startswith("✓ Would change custom_fields.interval. Nothing was written.")
    assert not [each for each in service.provider_calls("outreach") if each.startswith("PATCH")]


async def test_nothing_to_change(service: RunningService) -> None:
    ended = await update_step(service, SEQUENCE, STEP, "--subject", "Quick question")
    assert ended.status == 0
    assert ended.out.startswith("✓ Nothing to change.\n! NO_CHANGE: ")


async def test_an_empty_subject_is_a_value(service: RunningService) -> None:
    ended = await update_step(service, SEQUENCE, STEP, "--subject", "")
    assert ended.status == 0, ended.err
    assert ended.out.startswith("✓ Changed template.subject.")


async def test_programs_get_the_protobuf_json(service: RunningService) -> None:
    ended = await update_step(service, SEQUENCE, STEP, "--subject", "Grüße", "--json")
    assert ended.status == 0
    assert json.loads(ended.out)["changes"] == [
        {"field": "template.subject", "before": "Quick question", "after": "Grüße"}
    ]
    assert "Grüße" in ended.out
    failed = await update_step(service, SEQUENCE, CALL_STEP, "--subject", "x", "--json")
    assert failed.status == 1
    assert json.loads(failed.out)["errors"][0]["code"] == "UNPROCESSABLE_ENTITY_ERROR"


async def test_the_exit_status_tells_the_outcome(service: RunningService) -> None:
    not_applied = await update_step(service, SEQUENCE, CALL_STEP, "--subject", "x")
    assert not_applied.status == 1
    assert not_applied.err.startswith("✗ UNPROCESSABLE_ENTITY_ERROR (422): ")
    assert "outcome: ERROR_OUTCOME_NOT_APPLIED, found by the service" in not_applied.err
    refused = await update_step(service, "..", STEP, "--subject", "x")
    assert refused.status == 5
    assert "sequence_id: Must be a provider's id" in refused.err
    stranger = await update_step(service, SEQUENCE, STEP, "--subject", "x", key="wrong")
    assert stranger.status == 5
    service.sandbox.order_fault(
        provider="outreach", method="PATCH", path="sequenceSteps", status=422, body={"errors": [{"id": "x"}]}
    )
    partial = await update_step(service, SEQUENCE, STEP, "--subject", "x", "--field", "interval=60")
    assert partial.status == 4
    assert "Changed before it failed:\n  template.subject\n" in partial.err
    service.sandbox.order_fault(provider="outreach", method="PATCH", hang=True)
    unknown = await update_step(service, SEQUENCE, STEP, "--subject", "y", "--timeout", "1.5")
    assert unknown.status == 3
    assert "outcome: ERROR_OUTCOME_UNKNOWN, found by the provider" in unknown.err


async def test_a_bug_has_not_the_status_of_an_update(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(AsyncClient, "update_step", broken)
    ended = await update_step(service, SEQUENCE, STEP, "--subject", "x")
    assert ended.status == 3
    assert "RuntimeError: a bug" in ended.err


async def test_a_service_that_is_not_there(service: RunningService) -> None:
    address = f"127.0.0.1:{free_port()}"
    ended = await update_step(service, SEQUENCE, STEP, "--subject", "x", "--address", address, run=run_process)
    assert ended.status == 5
    assert ended.out == ""
    assert f"{address} cannot be reached, so nothing was sent" in ended.err
    as_json = await update_step(service, SEQUENCE, STEP, "--subject", "x", "--address", address, "--json")
    assert as_json.status == 5
    assert json.loads(as_json.out)["errors"][0]["code"] == "SERVICE_UNAVAILABLE_ERROR"


async def test_lines_of_grpc_itself_are_not_shown(service: RunningService) -> None:
    ended = await update_step(service, SEQUENCE, STEP, "--subject", "x", "--tls", run=run_process)
    assert ended.status == 5
    assert ended.err.startswith("✗ SERVICE_UNAVAILABLE_ERROR (503): ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--field", "note=text"), "is not JSON"),
        (("--field", f"note={'[' * 100_000}"), "is not JSON"),
        (("--field", "note"), "is not KEY=JSON"),
        (("--field", "a=1", "--field", "a=2"), "given twice"),
        (("--field", "a=9007199254740993"), "within ±(2^53 - 1)"),
        (("--body-file", "/nowhere/at/all"), "cannot read"),
        (("--api-key-file", "/nowhere/at/all"), "cannot read"),
        (("--tls-cert", "x"), "give both, or neither"),
        (("--plaintext", "--tls-ca", "x"), "no use for certificates"),
        (("--timeout", "0"), "--timeout"),
        (("--request-id", "a\nb"), "x-request-id"),
        (("--customer", "Ärztehaus"), "x-customer-id"),
    ],
)
async def test_wrong_usage_is_explained(service: RunningService, arguments: tuple[str, ...], said: str) -> None:
    ended = await update_step(service, SEQUENCE, STEP, *arguments)
    assert ended.status == 2
    assert said in ended.err
    assert service.provider_calls() == []


async def test_the_key_comes_from_a_file_or_the_environment(service: RunningService, tmp_path: Path) -> None:
    file = tmp_path / "key"
    for around in ("{}\n", "\ufeff{}\r\n"):
        file.write_text(around.format(service.key.reveal()))
        ended = await update_step(service, SEQUENCE, STEP, "--subject", "x", "--api-key-file", str(file), key="wrong")
        assert ended.status == 0, ended.err
    broken = await update_step(service, SEQUENCE, STEP, "--subject", "x", key="two\nlines")
    assert (broken.status, "x-api-key" in broken.err, "two" in broken.err) == (2, True, False)
    none = await update_step(service, SEQUENCE, STEP, "--subject", "x", key="")
    assert none.status == 2
    argument = await update_step(service, SEQUENCE, STEP, "--subject", "x", "--api-key", service.key.reveal())
    assert argument.status == 2


@pytest.mark.parametrize(
    ("data", "body"),
    [
        ("\ufeff<p>Hi</p>\n".encode(), "<p>Hi</p>\n"),
        ("\ufeff".encode(), ""),
        ("<p>\ufeffHi</p>".encode(), "<p>\ufeffHi</p>"),
    ],
)
async def test_a_byte_order_mark_is_no_part_of_a_body(
    service: RunningService, tmp_path: Path, data: bytes, body: str
) -> None:
    file = tmp_path / "body.html"
    file.write_bytes(data)
    ended = await update_step(service, SEQUENCE, STEP, "--body-file", str(file))
    assert ended.status == 0, ended.err
    record = await service.provider_record("outreach", "templates", seed.OUTREACH_TEMPLATE_PLAIN)
    assert record["attributes"]["bodyHtml"] == body


async def test_what_a_provider_holds_cannot_steer_the_terminal(service: RunningService) -> None:
    ended = await update_step(service, SEQUENCE, STEP, "--body-file", "-", stdin="<p>\x1b[2J\x07bye</p>")
    assert ended.status == 0
    assert "\x1b" not in ended.out
    assert r"\x1b[2J\x07bye" in ended.out


async def test_colours_are_for_terminals_only(service: RunningService) -> None:
    """And a call that takes its time shows that it is under way."""
    service.sandbox.order_fault(provider="outreach", method="GET", delay_seconds=1.5)
    environment = without_settings() | {"SEQSTEP_API_KEY": service.key.reveal(), "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    controller, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service.cli", "update-step", "--customer", CUSTOMER, "--provider", "outreach"),
        *("--address", service.app.rpc.address, "--subject", "Hello", SEQUENCE, STEP),
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    seen = await asyncio.to_thread(everything, controller)
    assert await process.wait() == 0
    assert "Waiting for outreach" in seen
    assert "\x1b[31m  -Quick question" in seen
    assert "\x1b[32m  +Hello" in seen


def everything(controller: int) -> str:
    """What a terminal was sent until its other end was closed."""
    seen = b""
    try:
        while piece := os.read(controller, 4096):
            seen += piece
    except OSError:
        # How Linux says that nobody has the terminal open any more.
        pass
    finally:
        os.close(controller)
    return seen.decode()
