"""What an update does at each provider, through a real channel: the envelope, what the provider holds, and its calls."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from engagement.v1 import envelope_pb2
from sqlalchemy import Engine, event

from sandbox import seed
from service.domain.credentials import ApiKeyCredentials, Secret
from service.domain.step import Provider
from tests.support.service import RunningService, outreach_grant, running_service

NOT_APPLIED = envelope_pb2.ERROR_OUTCOME_NOT_APPLIED
BODY = "<p>Hello {{first_name}},</p><p>Ünïcödé 🚀 &amp; more</p>"


@dataclass(frozen=True)
class Steps:
    """The same situations at both providers, by the ids that each has for them."""

    provider: str
    templates: str
    steps: str
    active: object
    inactive: object
    other_sequence: object
    unknown_sequence: object
    unknown_step: object
    plain: tuple[object, object]
    quiet: tuple[object, object]
    reply: tuple[object, object]
    ab_test: tuple[object, object]
    shared: tuple[object, object]
    shared_with: list[str]
    archived: tuple[object, object]
    call: object
    dangling: object
    body: str
    text_field: str
    field_value: Any
    number_field: str
    read: str
    write: str
    field_write: str
    extra: dict[str, Any] = field(default_factory=dict)


APOLLO = Steps(
    provider="apollo",
    templates="emailer_templates",
    steps="emailer_steps",
    active=seed.APOLLO_SEQUENCE_ACTIVE,
    inactive=seed.APOLLO_SEQUENCE_INACTIVE,
    other_sequence=seed.APOLLO_SEQUENCE_INACTIVE,
    unknown_sequence="5fffffffffffffffffffffff",
    unknown_step="5ffffffffffffffffffffffe",
    plain=(seed.APOLLO_STEP_PLAIN, seed.APOLLO_TEMPLATE_PLAIN),
    quiet=(seed.APOLLO_STEP_INACTIVE_PLAIN, seed.APOLLO_TEMPLATE_INACTIVE_PLAIN),
    reply=(seed.APOLLO_STEP_REPLY, seed.APOLLO_TEMPLATE_REPLY),
    ab_test=(seed.APOLLO_STEP_AB_TEST, seed.APOLLO_TEMPLATE_AB_SECOND),
    shared=(seed.APOLLO_STEP_SHARED_A, seed.APOLLO_TEMPLATE_SHARED),
    shared_with=[seed.APOLLO_STEP_SHARED_B],
    archived=(seed.APOLLO_STEP_ARCHIVED_TEMPLATE, seed.APOLLO_TEMPLATE_ARCHIVED),
    call=seed.APOLLO_STEP_CALL,
    dangling=seed.APOLLO_STEP_DANGLING_TEMPLATE,
    body="body_html",
    text_field="note",
    field_value="Ring twice.",
    number_field="wait_time",
    read="GET /api/v1/emailer_campaigns/",
    write="PUT /api/v1/emailer_templates/",
    field_write="PUT /api/v1/emailer_steps/",
)
OUTREACH = Steps(
    provider="outreach",
    templates="templates",
    steps="sequenceSteps",
    active=seed.OUTREACH_SEQUENCE_ENABLED,
    inactive=seed.OUTREACH_SEQUENCE_DISABLED,
    other_sequence=seed.OUTREACH_SEQUENCE_DISABLED,
    unknown_sequence=987654,
    unknown_step=987655,
    plain=(seed.OUTREACH_STEP_PLAIN, seed.OUTREACH_TEMPLATE_PLAIN),
    quiet=(seed.OUTREACH_STEP_DISABLED_PLAIN, seed.OUTREACH_TEMPLATE_DISABLED_PLAIN),
    reply=(seed.OUTREACH_STEP_REPLY, seed.OUTREACH_TEMPLATE_REPLY),
    ab_test=(seed.OUTREACH_STEP_AB_TEST, seed.OUTREACH_TEMPLATE_AB_SECOND),
    shared=(seed.OUTREACH_STEP_SHARED_A, seed.OUTREACH_TEMPLATE_SHARED),
    shared_with=[str(seed.OUTREACH_STEP_SHARED_B), str(seed.OUTREACH_STEP_DISABLED_SHARED)],
    archived=(seed.OUTREACH_STEP_ARCHIVED_TEMPLATE, seed.OUTREACH_TEMPLATE_ARCHIVED),
    call=seed.OUTREACH_STEP_CALL,
    dangling=seed.OUTREACH_STEP_GONE_TEMPLATE,
    body="bodyHtml",
    text_field="taskNote",
    field_value="Ring twice.",
    number_field="interval",
    read="GET /api/v2/sequenceTemplates",
    write="PATCH /api/v2/templates/",
    field_write="PATCH /api/v2/sequenceSteps/",
)

both = pytest.mark.parametrize("at", [APOLLO, OUTREACH], ids=["apollo", "outreach"])


def attributes(at: Steps, record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = record.get("attributes", record) if at.provider == "outreach" else record
    return found


async def text(service: RunningService, at: Steps, template: object) -> tuple[Any, Any]:
    stored = attributes(at, await service.provider_record(at.provider, at.templates, template))
    return stored["subject"], stored[at.body]


async def step(service: RunningService, at: Steps, sequence_step_id: object) -> dict[str, Any]:
    return attributes(at, await service.provider_record(at.provider, at.steps, sequence_step_id))


def assert_only_read(service: RunningService, provider: str) -> None:
    calls = service.provider_calls(provider)
    assert calls
    assert all(call.startswith("GET ") for call in calls)


@both
async def test_success(service: RunningService, at: Steps) -> None:
    before = await text(service, at, at.quiet[1])
    answer = await service.update(at.provider, at.inactive, at.quiet[0], subject="New", body=BODY)
    assert answer.errors == []
    assert answer.warnings == []
    assert answer.changes == {"template.subject": (before[0], "New"), "template.body": (before[1], BODY)}
    assert await text(service, at, at.quiet[1]) == ("New", BODY)
    read, write = service.provider_calls(at.provider)
    assert read.startswith(at.read)
    assert write.startswith(at.write)


@both
async def test_what_is_not_named_stays(service: RunningService, at: Steps) -> None:
    before = await text(service, at, at.quiet[1])
    answer = await service.update(at.provider, at.inactive, at.quiet[0], subject="New")
    assert list(answer.changes) == ["template.subject"]
    assert await text(service, at, at.quiet[1]) == ("New", before[1])


@both
async def test_validate_only_writes_nothing(service: RunningService, at: Steps) -> None:
    before = await text(service, at, at.plain[1])
    answer = await service.update(at.provider, at.active, at.plain[0], subject="New", validate_only=True)
    assert answer.errors == []
    assert answer.changes == {"template.subject": (before[0], "New")}
    assert "SEQUENCE_ACTIVE" in answer.warnings
    assert await text(service, at, at.plain[1]) == before
    assert_only_read(service, at.provider)


@both
async def test_no_change_costs_one_call(service: RunningService, at: Steps) -> None:
    subject, body = await text(service, at, at.plain[1])
    answer = await service.update(at.provider, at.active, at.plain[0], subject=subject, body=body)
    assert (answer.errors, answer.warnings, answer.changes) == ([], ["NO_CHANGE"], {})
    assert len(service.provider_calls(at.provider)) == 1


@both
async def test_nothing_named_costs_no_call(service: RunningService, at: Steps) -> None:
    answer = await service.update(at.provider, at.active, at.plain[0])
    assert (answer.errors, answer.warnings) == ([], ["NO_CHANGE"])
    assert service.provider_calls() == []


@both
async def test_an_active_sequence_has_a_warning(service: RunningService, at: Steps) -> None:
    answer = await service.update(at.provider, at.active, at.plain[0], subject="New")
    assert (answer.errors, answer.warnings) == ([], ["SEQUENCE_ACTIVE"])
    assert len(service.provider_calls(at.provider)) == 2


@both
async def test_the_first_live_variant_is_changed(service: RunningService, at: Steps) -> None:
    answer = await service.update(at.provider, at.active, at.ab_test[0], subject="New")
    assert "MULTIPLE_VARIANTS" in answer.warnings
    assert (await text(service, at, at.ab_test[1]))[0] == "New"
    assert len(service.provider_calls(at.provider)) == 2


@both
async def test_a_reply_does_not_use_its_subject(service: RunningService, at: Steps) -> None:
    answer = await service.update(at.provider, at.active, at.reply[0], subject="New", body=BODY)
    assert answer.errors == []
    assert "REPLY_SUBJECT_IGNORED" in answer.warnings
    assert (await text(service, at, at.reply[1]))[1] == BODY


@both
async def test_a_shared_template_names_who_else_uses_it(service: RunningService, at: Steps) -> None:
    answer = await service.update(at.provider, at.active, at.shared[0], body=BODY, validate_only=True)
    [detail] = [each.detail for each in answer.response.warnings if each.problem_type == "SHARED_TEMPLATE"]
    for other in at.shared_with:
        assert other in detail
    assert_only_read(service, at.provider)


@both
async def test_a_shared_template_costs_no_call_more_on_the_write_path(service: RunningService, at: Steps) -> None:
    answer = await service.update(at.provider, at.active, at.shared[0], body=BODY)
    assert answer.errors == []
    assert ("SHARED_TEMPLATE" in answer.warnings) == (at.provider == "apollo")
    assert len(service.provider_calls(at.provider)) == 2


@both
async def test_an_archived_template_has_a_warning(service: RunningService, at: Steps) -> None:
    answer = await service.update(at.provider, at.active, at.archived[0], subject="New")
    assert answer.errors == []
    assert "TEMPLATE_ARCHIVED" in answer.warnings


@both
async def test_what_the_provider_cleans_up_is_shown_as_it_holds_it(service: RunningService, at: Steps) -> None:
    answer = await service.update(at.provider, at.inactive, at.quiet[0], body="<p>Hi</p><script>alert(1)</script>")
    assert answer.warnings == ["CONTENT_NORMALIZED"]
    stored = (await text(service, at, at.quiet[1]))[1]
    assert answer.changes["template.body"][1] == stored
    assert "script" not in stored


@both
async def test_a_step_of_another_sequence_is_not_found(service: RunningService, at: Steps) -> None:
    before = await text(service, at, at.plain[1])
    answer = await service.update(at.provider, at.other_sequence, at.plain[0], body=BODY)
    assert (answer.error.code, answer.error.meta.outcome) == ("NOT_FOUND_ERROR", NOT_APPLIED)
    assert answer.changes == {}
    assert await text(service, at, at.plain[1]) == before
    assert len(service.provider_calls(at.provider)) == 1


@both
async def test_an_unknown_step_is_not_found(service: RunningService, at: Steps) -> None:
    answer = await service.update(at.provider, at.active, at.unknown_step, body=BODY)
    assert answer.error.code == "NOT_FOUND_ERROR"
    assert_only_read(service, at.provider)


@both
async def test_an_unknown_sequence_is_not_found(service: RunningService, at: Steps) -> None:
    answer = await service.update(at.provider, at.unknown_sequence, at.plain[0], body=BODY)
    assert answer.error.code == "NOT_FOUND_ERROR"
    assert len(service.provider_calls(at.provider)) == 1


@both
async def test_a_call_step_has_no_template(service: RunningService, at: Steps) -> None:
    answer = await service.update(at.provider, at.active, at.call, body=BODY)
    assert (answer.error.code, answer.error.status) == ("UNPROCESSABLE_ENTITY_ERROR", "422")
    assert "type call" in answer.error.detail
    assert_only_read(service, at.provider)


@both
async def test_a_template_that_cannot_be_read_is_a_failure(service: RunningService, at: Steps) -> None:
    answer = await service.update(at.provider, at.active, at.dangling, body=BODY)
    assert answer.error.code == "BAD_GATEWAY_ERROR"
    assert len(service.provider_calls(at.provider)) == 1


@both
async def test_custom_fields_go_to_the_step(service: RunningService, at: Steps) -> None:
    before = await step(service, at, at.quiet[0])
    answer = await service.update(
        at.provider,
        at.inactive,
        at.quiet[0],
        subject="New",
        custom_fields={at.text_field: at.field_value, at.number_field: 7},
    )
    assert answer.errors == []
    assert answer.changes[f"custom_fields.{at.text_field}"] == (before[at.text_field], at.field_value)
    stored = await step(service, at, at.quiet[0])
    assert stored[at.text_field] == at.field_value
    assert stored[at.number_field] == 7
    assert type(stored[at.number_field]) is int
    _read, _write, fields = service.provider_calls(at.provider)
    assert fields.startswith(at.field_write)


@both
async def test_custom_fields_alone_cost_two_calls_and_one_without_a_difference(
    service: RunningService, at: Steps
) -> None:
    answer = await service.update(at.provider, at.inactive, at.quiet[0], custom_fields={at.text_field: at.field_value})
    assert (answer.errors, answer.warnings) == ([], [])
    assert len(service.provider_calls(at.provider)) == 2
    answer = await service.update(at.provider, at.inactive, at.quiet[0], custom_fields={at.text_field: at.field_value})
    assert answer.warnings == ["NO_CHANGE"]
    assert len(service.provider_calls(at.provider)) == 3


@both
async def test_custom_fields_of_a_step_of_another_sequence_are_not_written(service: RunningService, at: Steps) -> None:
    answer = await service.update(at.provider, at.other_sequence, at.plain[0], custom_fields={at.text_field: "x"})
    assert answer.error.code == "NOT_FOUND_ERROR"
    assert len(service.provider_calls(at.provider)) == 1


@both
async def test_a_refused_custom_field_leaves_the_template_changed_and_says_so(
    service: RunningService, at: Steps
) -> None:
    bad = {"wait_mode": "fortnight"} if at.provider == "apollo" else {"displayName": "x"}
    answer = await service.update(at.provider, at.inactive, at.quiet[0], subject="New", custom_fields=bad)
    assert answer.error.code == "UNPROCESSABLE_ENTITY_ERROR"
    assert answer.error.meta.outcome == envelope_pb2.ERROR_OUTCOME_PARTIALLY_APPLIED
    assert list(answer.changes) == ["template.subject"]
    assert (await text(service, at, at.quiet[1]))[0] == "New"


@both
async def test_bad_credentials(service: RunningService, at: Steps) -> None:
    if at.provider == "apollo":
        await service.connect("bad", Provider("apollo"), ApiKeyCredentials(Secret("wrong")))
    else:
        await service.connect("bad", Provider("outreach"), outreach_grant("wrong", refresh_token=None))
    answer = await service.update(at.provider, at.active, at.plain[0], customer="bad", body=BODY)
    assert (answer.error.code, answer.code) == ("UNAUTHORIZED_ERROR", grpc.StatusCode.OK)
    assert "customer bad" in answer.error.detail
    assert_only_read(service, at.provider)


@both
async def test_no_connection(service: RunningService, at: Steps) -> None:
    answer = await service.update(at.provider, at.active, at.plain[0], customer="stranger", body=BODY)
    assert (answer.error.code, answer.error.meta.origin) == ("NOT_FOUND_ERROR", envelope_pb2.ERROR_ORIGIN_SERVICE)
    assert "stranger" in answer.error.detail
    assert service.provider_calls() == []


async def test_salesloft_is_not_supported_and_needs_no_connection(service: RunningService) -> None:
    answer = await service.update("salesloft", 1, 2, body=BODY)
    assert (answer.error.code, answer.error.status) == ("NOT_IMPLEMENTED_ERROR", "501")
    assert service.provider_calls() == []


async def test_apollo_keys_without_the_right_learn_what_is_missing(service: RunningService) -> None:
    await service.connect("scoped", Provider("apollo"), ApiKeyCredentials(Secret(seed.APOLLO_SCOPED_KEY)))
    answer = await service.update("apollo", APOLLO.active, APOLLO.plain[0], customer="scoped", body=BODY)
    assert answer.error.code == "FORBIDDEN_ERROR"
    assert "master API key" in answer.error.detail
    await service.connect("free", Provider("apollo"), ApiKeyCredentials(Secret(seed.APOLLO_FREE_KEY)))
    answer = await service.update("apollo", APOLLO.active, APOLLO.plain[0], customer="free", body=BODY)
    assert answer.error.code == "PAYMENT_REQUIRED_ERROR", answer.error
    assert answer.error.meta.cause.code == 429
    assert not answer.error.meta.HasField("retry_after")


async def test_outreach_tokens_without_a_scope_learn_which(service: RunningService) -> None:
    await service.connect("reader", Provider("outreach"), outreach_grant(seed.OUTREACH_READONLY_TOKEN))
    answer = await service.update("outreach", OUTREACH.active, OUTREACH.plain[0], customer="reader", body=BODY)
    assert answer.error.code == "FORBIDDEN_ERROR"
    assert "templates.write" in answer.error.detail


async def test_several_provider_errors_come_in_order(service: RunningService) -> None:
    answer = await service.update(
        "outreach", OUTREACH.inactive, OUTREACH.quiet[0], custom_fields={"displayName": "x", "bounceCount": 3}
    )
    assert [error.code for error in answer.errors] == ["UNPROCESSABLE_ENTITY_ERROR"] * 2
    assert "/data/attributes/bounceCount" in answer.errors[0].detail
    assert "/data/attributes/displayName" in answer.errors[1].detail
    assert answer.errors[0].meta.cause.code == 422


async def test_apollo_touches_are_never_written(service: RunningService) -> None:
    for wanted in (APOLLO.plain, APOLLO.ab_test, APOLLO.shared):
        await service.update("apollo", APOLLO.active, wanted[0], body=BODY)
    written = [call for call in service.provider_calls() if not call.startswith("GET ")]
    assert len(written) == 3
    assert all("/emailer_templates/" in call for call in written)


@both
async def test_a_slow_provider_gives_a_typed_answer_before_the_deadline(service: RunningService, at: Steps) -> None:
    service.sandbox.order_fault(provider=at.provider, hang=True, times=None)
    answer = await service.update(at.provider, at.active, at.plain[0], body=BODY, seconds=1)
    assert answer.code is grpc.StatusCode.OK
    assert (answer.error.code, answer.error.meta.outcome) == ("GATEWAY_TIMEOUT_ERROR", NOT_APPLIED)


@both
async def test_a_write_that_stays_unanswered_is_in_doubt_and_repeating_settles_it(
    service: RunningService, at: Steps
) -> None:
    method = at.write.split()[0]
    service.sandbox.order_fault(provider=at.provider, method=method, when="after", hang=True)
    answer = await service.update(at.provider, at.inactive, at.quiet[0], body=BODY, seconds=1)
    assert answer.error.code == "GATEWAY_TIMEOUT_ERROR"
    assert answer.error.meta.outcome == envelope_pb2.ERROR_OUTCOME_UNKNOWN
    assert "repeating the call is safe" in answer.error.detail
    assert (await text(service, at, at.quiet[1]))[1] == BODY
    answer = await service.update(at.provider, at.inactive, at.quiet[0], body=BODY)
    assert (answer.errors, answer.warnings) == ([], ["NO_CHANGE"])


HOSTILE = [
    "..",
    ".",
    "../../users/1",
    "a/b",
    "1?x=y",
    "%2e%2e",
    "1\r\nHost: x",
    "",
    "x" * 300,
    "1#a",
    "1 2",
    "1\x00",
    "é",
]


@both
async def test_an_id_is_one_segment_and_nothing_more(service: RunningService, at: Steps) -> None:
    for hostile in HOSTILE:
        for sequence, sequence_step_id, name in (
            (hostile, at.plain[0], "sequence_id"),
            (at.active, hostile, "sequence_step_id"),
        ):
            answer = await service.update(at.provider, sequence, sequence_step_id, body=BODY)
            assert answer.code is grpc.StatusCode.INVALID_ARGUMENT, hostile
            assert set(answer.violations) == {name}, hostile
    assert service.provider_calls() == []


@both
async def test_a_record_that_breaks_a_rule_is_refused(service: RunningService, at: Steps) -> None:
    records: list[tuple[dict[str, Any], str]] = [
        ({"subject": "a\nb"}, "record.template.subject"),
        ({"subject": "x" * 999}, "record.template.subject"),
        ({"body": "x" * (5 * 1024 * 1024 + 1)}, "record.template.body"),
        ({"custom_fields": {"id": 1}}, "record.custom_fields.id"),
        ({"custom_fields": {"type": "call"}}, "record.custom_fields.type"),
        ({"custom_fields": {"x": "y" * 70_000}}, "record.custom_fields"),
        ({"custom_fields": {"": 1}}, "record.custom_fields."),
    ]
    for record, name in records:
        answer = await service.update(at.provider, at.active, at.plain[0], **record)
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT, name
        assert set(answer.violations) == {name}
    assert service.provider_calls() == []


@both
async def test_a_long_body_goes_through_and_the_answer_stays_small(service: RunningService, at: Steps) -> None:
    body = "<p>" + "ü" * 1_000_000 + "</p>"
    answer = await service.update(at.provider, at.inactive, at.quiet[0], body=body)
    assert (answer.errors, answer.warnings) == ([], [])
    assert answer.changes["template.body"][1].endswith("… [cut]")
    assert (await text(service, at, at.quiet[1]))[1] == body


async def test_a_warm_call_makes_no_query(tmp_path: Path) -> None:
    async with running_service(tmp_path, cache_seconds=60) as service:
        await service.update("outreach", 7, 101, subject="first")
        queries: list[str] = []

        def note(*given: Any) -> None:
            queries.append(given[2])

        event.listen(Engine, "before_cursor_execute", note)
        try:
            await service.update("outreach", 7, 101, subject="second")
            assert queries == []
            await service.update("outreach", 7, 101, subject="second", customer="new")
            assert queries
        finally:
            event.remove(Engine, "before_cursor_execute", note)
