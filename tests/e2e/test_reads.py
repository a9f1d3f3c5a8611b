"""What reading steps gives at each provider, through a real channel, and what it costs."""

from typing import Any

import grpc
import pytest
from engagement.v1 import envelope_pb2
from engagement.v1 import sequence_step_service_pb2 as pb
from google.protobuf import json_format

from sandbox import seed
from tests.e2e.test_updates import APOLLO, BODY, OUTREACH, Steps, both, step, text
from tests.support.service import RunningService, call_result

NOT_APPLIED = envelope_pb2.ERROR_OUTCOME_NOT_APPLIED


@both
async def test_a_step_is_read_as_it_is_in_one_call(service: RunningService, at: Steps) -> None:
    subject, body = await text(service, at, at.plain[1])
    answer = await service.get_step(at.provider, at.active, at.plain[0])
    found = answer.response.step
    assert (answer.errors, found.sequence_id, found.sequence_step_id) == ([], str(at.active), str(at.plain[0]))
    assert (found.type, found.order, found.sequence_enabled) == ("auto_email", 1, True)
    [variant] = found.variants
    assert (variant.template_id, variant.subject, variant.body) == (str(at.plain[1]), subject, body)
    assert (variant.live, variant.reply, variant.template_archived, variant.updated_by_default) == (
        True,
        False,
        False,
        True,
    )
    assert variant.etag == found.etag
    stored = await step(service, at, at.plain[0])
    assert {name: stored.get(name) for name in found.custom_fields} == json_format.MessageToDict(found.custom_fields)
    assert at.text_field in found.custom_fields
    assert found.interval_seconds == (stored["wait_time"] * 86400 if at is APOLLO else stored["interval"])
    [call] = service.provider_calls()
    assert call.startswith(at.read)


@both
async def test_its_etag_is_that_of_an_update(service: RunningService, at: Steps) -> None:
    etag = (await service.get_step(at.provider, at.inactive, at.quiet[0])).response.step.etag
    changed = await service.update(at.provider, at.inactive, at.quiet[0], subject="New", body=BODY, etag=etag)
    assert changed.errors == []
    again = (await service.get_step(at.provider, at.inactive, at.quiet[0])).response.step
    assert (again.etag, again.variants[0].body) == (changed.response.etag, BODY)
    assert again.etag != etag


@both
async def test_it_shows_which_variant_an_update_changes(service: RunningService, at: Steps) -> None:
    found = (await service.get_step(at.provider, at.active, at.ab_test[0])).response.step
    assert [each.live for each in found.variants] == [False, True, True]
    assert [each.updated_by_default for each in found.variants] == [False, True, False]
    assert (found.variants[1].template_id, found.variants[1].etag) == (str(at.ab_test[1]), found.etag)
    for variant in found.variants:
        answer = await service.update(
            at.provider, at.active, at.ab_test[0], subject="New", variant=variant.template_id, etag=variant.etag
        )
        assert list(answer.changes) == ["template.subject"]


@both
async def test_it_shows_a_reply_and_an_archived_template(service: RunningService, at: Steps) -> None:
    reply = (await service.get_step(at.provider, at.active, at.reply[0])).response.step
    archived = (await service.get_step(at.provider, at.active, at.archived[0])).response.step
    assert (reply.variants[0].reply, archived.variants[0].template_archived) == (True, True)


@both
async def test_a_step_that_sends_nothing_has_no_variants(service: RunningService, at: Steps) -> None:
    answer = await service.get_step(at.provider, at.active, at.call)
    assert (answer.errors, list(answer.response.step.variants), answer.response.step.type) == ([], [], "call")
    assert len(service.provider_calls()) == (1 if at is APOLLO else 2)
    etag = answer.response.step.etag
    changed = await service.update(at.provider, at.active, at.call, custom_fields={at.text_field: "x"}, etag=etag)
    assert list(changed.changes) == [f"custom_fields.{at.text_field}"]


@both
async def test_a_template_that_is_not_shown_is_left_out(service: RunningService, at: Steps) -> None:
    answer = await service.get_step(at.provider, at.active, at.dangling)
    [variant] = answer.response.step.variants
    assert (variant.HasField("subject"), variant.HasField("body"), variant.etag[:2]) == (False, False, "-.")


@both
async def test_it_names_who_else_uses_a_template(service: RunningService, at: Steps) -> None:
    plain = (await service.get_step(at.provider, at.active, at.shared[0])).response.step.variants[0]
    assert (list(plain.sharing_step_ids), plain.sharing_complete) == (at.shared_with if at is APOLLO else [], False)
    calls = len(service.provider_calls())
    asked = (await service.get_step(at.provider, at.active, at.shared[0], with_sharing=True)).response.step.variants[0]
    assert (list(asked.sharing_step_ids), asked.sharing_complete) == (at.shared_with, at is OUTREACH)
    assert len(service.provider_calls()) - calls == (1 if at is APOLLO else 2)


@both
async def test_bodies_are_left_out_where_they_are_not_wanted(service: RunningService, at: Steps) -> None:
    basic = (await service.get_step(at.provider, at.active, at.plain[0], view=pb.STEP_VIEW_BASIC)).response.step
    full = (await service.get_step(at.provider, at.active, at.plain[0], view=pb.STEP_VIEW_FULL)).response.step
    assert not basic.variants[0].HasField("body")
    full.variants[0].ClearField("body")
    assert basic == full


@both
async def test_a_sequence_is_read_with_its_steps_in_one_call(service: RunningService, at: Steps) -> None:
    answer = await service.list_steps(at.provider, at.active, view=pb.STEP_VIEW_FULL)
    sequence, steps = answer.response.sequence, list(answer.response.steps)
    assert (answer.errors, sequence.sequence_id, sequence.enabled) == ([], str(at.active), True)
    assert sequence.name
    assert [each.order for each in steps] == sorted(each.order for each in steps)
    assert len(service.provider_calls()) == 1
    for each in steps:
        alone = (await service.get_step(at.provider, at.active, each.sequence_step_id)).response.step
        for variant in (*each.variants, *alone.variants):
            # A list knows who else uses a template in the sequence.
            del variant.sharing_step_ids[:]
        assert each == alone


@both
async def test_a_list_is_without_bodies_unless_they_are_wanted(service: RunningService, at: Steps) -> None:
    answer = await service.list_steps(at.provider, at.inactive)
    assert (answer.response.sequence.enabled, len(answer.response.steps) > 0) == (False, True)
    assert {variant.HasField("body") for each in answer.response.steps for variant in each.variants} == {False}


async def test_a_list_follows_the_pages(service: RunningService) -> None:
    answer = await service.list_steps("outreach", seed.OUTREACH_SEQUENCE_LONG)
    assert [each.order for each in answer.response.steps] == list(range(1, seed.OUTREACH_LONG_STEPS + 1))
    assert len(service.provider_calls()) == 1


async def test_null_is_none_and_what_is_missing_is_not_shown(service: RunningService) -> None:
    empty = await service.list_steps("apollo", seed.APOLLO_SEQUENCE_NULL_ARRAYS)
    missing = await service.list_steps("apollo", seed.APOLLO_SEQUENCE_NO_ARRAYS)
    assert (empty.errors, list(empty.response.steps)) == ([], [])
    assert (missing.error.code, missing.error.meta.outcome) == ("BAD_GATEWAY_ERROR", NOT_APPLIED)


async def test_an_archived_sequence_is_shown_as_such(service: RunningService) -> None:
    answer = await service.list_steps("apollo", seed.APOLLO_SEQUENCE_ARCHIVED)
    assert answer.response.sequence.archived
    outreach = await service.list_steps("outreach", seed.OUTREACH_SEQUENCE_ENABLED)
    assert not outreach.response.sequence.HasField("archived")


@both
@pytest.mark.parametrize("mode", ["envelope", "status"])
async def test_what_is_not_there_is_not_found(service: RunningService, at: Steps, mode: str) -> None:
    as_status: Any = {"metadata": (("x-error-mode", mode),)}
    for answer in (
        await service.get_step(at.provider, at.active, at.unknown_step, **as_status),
        await service.get_step(at.provider, at.other_sequence, at.plain[0], **as_status),
        await service.list_steps(at.provider, at.unknown_sequence, **as_status),
    ):
        assert (answer.error.code, answer.error.meta.outcome) == ("NOT_FOUND_ERROR", NOT_APPLIED)
        assert answer.code is (grpc.StatusCode.NOT_FOUND if mode == "status" else grpc.StatusCode.OK)
        assert answer.trailers["x-error-code"] == "NOT_FOUND_ERROR"


@both
async def test_a_read_breaks_the_rules_of_its_request(service: RunningService, at: Steps) -> None:
    for answer, field in (
        (await service.get_step(at.provider, "", at.plain[0]), "sequence_id"),
        (await service.get_step(at.provider, at.active, "../x"), "sequence_step_id"),
        (await service.list_steps(at.provider, "x" * 24), "sequence_id"),
        (await service.list_steps(at.provider, at.active, view=7), "view"),
    ):
        assert (answer.code, list(answer.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
    assert service.provider_calls() == []


async def test_salesloft_is_not_asked(service: RunningService) -> None:
    for answer in (await service.get_step("salesloft", 1, 2), await service.list_steps("salesloft", 1)):
        assert answer.error.code == "NOT_IMPLEMENTED_ERROR"


@both
async def test_texts_that_do_not_fit_are_no_answer_cut_short(service: RunningService, at: Steps) -> None:
    long = f"<p>{'x' * 3_999_990}</p>"
    await service.update(at.provider, at.inactive, at.quiet[0], body=long)
    for answer in (
        await service.get_step(at.provider, at.inactive, at.quiet[0]),
        await service.list_steps(at.provider, at.inactive, view=pb.STEP_VIEW_FULL),
    ):
        assert (answer.error.code, "STEP_VIEW_BASIC" in answer.error.detail) == ("RESPONSE_TOO_LONG_ERROR", True)
        assert answer.trailers["x-error-code"] == "RESPONSE_TOO_LONG_ERROR"
    basic = await service.get_step(at.provider, at.inactive, at.quiet[0], view=pb.STEP_VIEW_BASIC)
    fits = f"<p>{'x' * 3_900_000}</p>"
    answer = await service.update(at.provider, at.inactive, at.quiet[0], body=fits, etag=basic.response.step.etag)
    assert answer.errors == []
    assert (await service.get_step(at.provider, at.inactive, at.quiet[0])).response.step.variants[0].body == fits


@both
async def test_a_retried_read_that_is_refused_changed_nothing(service: RunningService, at: Steps) -> None:
    retried: Any = {"metadata": (("x-envoy-attempt-count", "2"),)}
    answer = await service.get_step(at.provider, at.active, at.unknown_step, **retried)
    assert answer.error.meta.outcome == NOT_APPLIED


@both
async def test_a_retried_read_that_is_refused_for_its_key_changed_nothing(service: RunningService, at: Steps) -> None:
    """Of an update it would be unknown: an earlier attempt may have been carried out under a key that was good."""
    pairs = (
        ("x-api-key", "bad"),
        ("x-customer-id", "acme"),
        ("x-provider-name", at.provider),
        ("x-envoy-attempt-count", "2"),
    )
    request = pb.GetStepRequest(sequence_id=str(at.active), sequence_step_id=str(at.plain[0]))
    answer = await call_result(service.stub.GetStep(request, metadata=pairs, timeout=10), pb.GetStepResponse())
    assert (answer.code, answer.error.meta.outcome) == (grpc.StatusCode.UNAUTHENTICATED, NOT_APPLIED)


@both
async def test_a_read_takes_a_place_and_gives_it_back(service: RunningService, at: Steps) -> None:
    """A caller that leaves a read leaves nothing behind; its line in the log says what became of the step: nothing."""
    service.sandbox.order_fault(provider=at.provider, method="GET", hang=True)
    left = await service.get_step(at.provider, at.active, at.plain[0], seconds=0.5)
    assert left.code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.OK)
    assert (await service.get_step(at.provider, at.active, at.plain[0])).errors == []


async def test_an_application_reads_only_with_its_own_customers(service: RunningService) -> None:
    other = await service.applications.create("other")
    pairs = (("x-api-key", other.reveal()), ("x-customer-id", "acme"), ("x-provider-name", "apollo"))
    request = pb.ListStepsRequest(sequence_id=seed.APOLLO_SEQUENCE_ACTIVE)
    answer = await call_result(service.stub.ListSteps(request, metadata=pairs, timeout=10), pb.ListStepsResponse())
    assert (answer.error.code, answer.error.meta.facts["resource"]) == ("NOT_FOUND_ERROR", "connection")
    assert service.provider_calls() == []
