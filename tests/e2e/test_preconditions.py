"""Updates that say when not to write, through a real channel: over what was not seen, where others use it, another variant."""

import asyncio
from typing import Any

import grpc
import pytest
from engagement.v1 import envelope_pb2
from engagement.v1 import sequence_step_service_pb2 as pb

from sandbox import seed
from service.domain.credentials import ApiKeyCredentials, Secret
from service.domain.step import Provider
from tests.e2e.test_updates import APOLLO, BODY, Steps, both, step, text
from tests.support.service import CallResult, RunningService, call_result

NOT_APPLIED = envelope_pb2.ERROR_OUTCOME_NOT_APPLIED


async def etag_of(service: RunningService, at: Steps, which: tuple[object, object] | None = None) -> str:
    """The etag of a step as it is, by an update that writes nothing."""
    subject, body = await text(service, at, (which or at.quiet)[1])
    sequence = at.inactive if which is None else at.active
    answer = await service.update(at.provider, sequence, (which or at.quiet)[0], subject=subject, body=body)
    assert answer.warnings[-1] == "NO_CHANGE"
    return str(answer.response.etag)


def writes(service: RunningService, at: Steps) -> list[str]:
    return [call for call in service.provider_calls(at.provider) if not call.startswith("GET ")]


@both
async def test_an_etag_leads_from_one_update_to_the_next(service: RunningService, at: Steps) -> None:
    etag = await etag_of(service, at)
    for number in range(3):
        more: Any = {"custom_fields": {at.text_field: f"note {number}"}} if number == 1 else {}
        answer = await service.update(at.provider, at.inactive, at.quiet[0], etag=etag, subject=f"S{number}", **more)
        assert answer.errors == []
        assert answer.response.etag not in ("", etag)
        etag = answer.response.etag
    assert etag == await etag_of(service, at)


@both
async def test_what_changed_meanwhile_is_not_written_over(service: RunningService, at: Steps) -> None:
    etag, old = await etag_of(service, at), await text(service, at, at.quiet[1])
    await service.update(at.provider, at.inactive, at.quiet[0], body=BODY)
    written = writes(service, at)
    for validate_only in (True, False):
        answer = await service.update(
            at.provider, at.inactive, at.quiet[0], subject="Mine", etag=etag, validate_only=validate_only
        )
        error = answer.error
        assert (error.code, error.status, error.meta.outcome) == ("STEP_CHANGED_ERROR", "412", NOT_APPLIED)
        assert answer.conflicts == {"template.subject": (old[0], "Mine"), "template.body": (BODY, BODY)}
        assert answer.changes == {}
    assert writes(service, at) == written
    assert BODY not in error.detail
    again = await service.update(at.provider, at.inactive, at.quiet[0], subject="Mine", etag=answer.response.etag)
    assert again.changes == {"template.subject": (old[0], "Mine")}


@both
async def test_as_a_status_it_is_aborted_with_the_present_values(service: RunningService, at: Steps) -> None:
    etag = await etag_of(service, at)
    await service.update(at.provider, at.inactive, at.quiet[0], subject="Theirs")
    answer = await service.update(
        *(at.provider, at.inactive, at.quiet[0]), subject="Mine", etag=etag, metadata=(("x-error-mode", "status"),)
    )
    assert answer.code is grpc.StatusCode.ABORTED
    assert answer.conflicts["template.subject"] == ("Theirs", "Mine")


@both
@pytest.mark.parametrize("retry", [(), (("x-envoy-attempt-count", "2"),)], ids=["by hand", "by Envoy"])
async def test_a_repeated_call_is_not_refused_for_its_own_work(
    service: RunningService, at: Steps, retry: tuple[tuple[str, str], ...]
) -> None:
    etag = await etag_of(service, at)
    wanted: Any = {"subject": "Mine", "custom_fields": {at.text_field: "mine"}, "etag": etag}
    first = await service.update(at.provider, at.inactive, at.quiet[0], **wanted)
    again = await service.update(at.provider, at.inactive, at.quiet[0], metadata=retry, **wanted)
    assert (again.errors, again.warnings, again.changes) == ([], ["NO_CHANGE"], {})
    # What of it the caller cannot have seen is not vouched for, so that the next update is refused rather than blind.
    following = await service.update(at.provider, at.inactive, at.quiet[0], subject="Next", etag=again.response.etag)
    assert following.error.code == "STEP_CHANGED_ERROR"
    assert not (
        await service.update(at.provider, at.inactive, at.quiet[0], subject="Next", etag=first.response.etag)
    ).errors


@both
async def test_a_repeated_call_that_names_the_whole_template_goes_on(service: RunningService, at: Steps) -> None:
    wanted: Any = {"subject": "Mine", "body": BODY, "etag": await etag_of(service, at)}
    await service.update(at.provider, at.inactive, at.quiet[0], **wanted)
    again = await service.update(at.provider, at.inactive, at.quiet[0], **wanted)
    assert not (
        await service.update(at.provider, at.inactive, at.quiet[0], subject="Next", etag=again.response.etag)
    ).errors


@both
async def test_a_repeated_call_does_the_rest(service: RunningService, at: Steps) -> None:
    etag = await etag_of(service, at)
    wanted: Any = {"subject": "Mine", "custom_fields": {at.text_field: "mine"}, "etag": etag}
    method, path = at.field_write.split(" ")
    service.sandbox.order_fault(
        provider=at.provider, method=method, path=path + "*", status=422, body={"error": "No."}, times=1
    )
    first = await service.update(at.provider, at.inactive, at.quiet[0], **wanted)
    assert first.error.meta.outcome == envelope_pb2.ERROR_OUTCOME_PARTIALLY_APPLIED
    again = await service.update(at.provider, at.inactive, at.quiet[0], **wanted)
    assert (again.errors, list(again.changes)) == ([], [f"custom_fields.{at.text_field}"])


@both
async def test_each_update_looks_at_what_it_writes(service: RunningService, at: Steps) -> None:
    etag = await etag_of(service, at)
    await service.update(at.provider, at.inactive, at.quiet[0], custom_fields={at.text_field: "theirs"})
    answer = await service.update(at.provider, at.inactive, at.quiet[0], subject="Mine", etag=etag)
    assert answer.errors == []
    # And it vouches for no more than that.
    refused = await service.update(
        at.provider, at.inactive, at.quiet[0], custom_fields={at.text_field: "mine"}, etag=answer.response.etag
    )
    assert refused.error.code == "STEP_CHANGED_ERROR"
    assert refused.conflicts[f"custom_fields.{at.text_field}"] == ("theirs", "mine")
    assert "template.subject" not in refused.conflicts
    assert not (
        await service.update(
            at.provider, at.inactive, at.quiet[0], custom_fields={at.text_field: "mine"}, etag=refused.response.etag
        )
    ).errors
    assert (await step(service, at, at.quiet[0]))[at.text_field] == "mine"


@both
async def test_no_call_to_the_provider_is_added(service: RunningService, at: Steps) -> None:
    etag = await etag_of(service, at)
    for wanted in ({"subject": "Mine"}, {"custom_fields": {at.text_field: "mine"}}):
        before = len(service.provider_calls(at.provider))
        assert not (await service.update(at.provider, at.inactive, at.quiet[0], etag=etag, **wanted)).errors
        assert len(service.provider_calls(at.provider)) - before == 2


@both
@pytest.mark.parametrize("etag", ["nothing", "a.b", '"-.-"'])
async def test_what_is_no_etag_is_refused(service: RunningService, at: Steps, etag: str) -> None:
    answer = await service.update(at.provider, at.inactive, at.quiet[0], subject="Mine", etag=etag)
    assert list(answer.violations) == ["etag"]
    assert service.provider_calls() == []


@both
async def test_a_field_that_an_etag_does_not_cover_is_refused(service: RunningService, at: Steps) -> None:
    etag = await etag_of(service, at)
    answer = await service.update(at.provider, at.inactive, at.quiet[0], custom_fields={"mood": "good"}, etag=etag)
    assert list(answer.violations) == ["record.custom_fields.mood"]


@both
async def test_an_etag_of_fields_says_nothing_about_the_template(service: RunningService, at: Steps) -> None:
    first = await service.update(at.provider, at.inactive, at.quiet[0], custom_fields={at.text_field: "mine"})
    answer = await service.update(at.provider, at.inactive, at.quiet[0], subject="Mine", etag=first.response.etag)
    assert list(answer.violations) == ["etag"]
    assert not (
        await service.update(
            at.provider, at.inactive, at.quiet[0], custom_fields={at.text_field: "again"}, etag=first.response.etag
        )
    ).errors


@both
@pytest.mark.parametrize("validate_only", [True, False])
async def test_a_template_that_others_use_is_left(service: RunningService, at: Steps, validate_only: bool) -> None:  # noqa: FBT001
    before = await text(service, at, at.shared[1])
    wanted: Any = {"body": BODY, "if_shared": "IF_SHARED_REFUSE", "validate_only": validate_only}
    answer = await service.update(at.provider, at.active, at.shared[0], **wanted)
    error = answer.error
    assert (error.code, error.status, error.meta.outcome) == ("SHARED_TEMPLATE_ERROR", "412", NOT_APPLIED)
    assert error.meta.facts["step_ids"].split(",") == at.shared_with
    assert await text(service, at, at.shared[1]) == before
    assert writes(service, at) == []
    alone = await service.update(at.provider, at.active, at.plain[0], **(wanted | {"validate_only": False}))
    assert (alone.errors, list(alone.changes)) == ([], ["template.body"])


@both
async def test_what_is_there_already_is_no_reason_to_refuse(service: RunningService, at: Steps) -> None:
    subject, body = await text(service, at, at.shared[1])
    answer = await service.update(
        at.provider, at.active, at.shared[0], subject=subject, body=body, if_shared="IF_SHARED_REFUSE"
    )
    assert (answer.errors, answer.warnings) == ([], ["NO_CHANGE"])
    assert len(service.provider_calls(at.provider)) == 1


@both
async def test_a_variant_is_picked_by_its_template(service: RunningService, at: Steps) -> None:
    apollo = at is APOLLO
    first = seed.APOLLO_TEMPLATE_AB_FIRST if apollo else seed.OUTREACH_TEMPLATE_AB_FIRST
    old = await text(service, at, at.ab_test[1])
    answer = await service.update(at.provider, at.active, at.ab_test[0], subject="New", variant=first)
    assert answer.errors == []
    [warning] = [each for each in answer.response.warnings if each.problem_type == "MULTIPLE_VARIANTS"]
    assert (warning.facts["template_id"], "the one that the call names" in warning.detail) == (str(first), True)
    assert (await text(service, at, first))[0] == "New"
    assert await text(service, at, at.ab_test[1]) == old


@both
async def test_the_etag_of_one_variant_is_not_that_of_another(service: RunningService, at: Steps) -> None:
    etag = await etag_of(service, at, at.ab_test)
    first = seed.APOLLO_TEMPLATE_AB_FIRST if at is APOLLO else seed.OUTREACH_TEMPLATE_AB_FIRST
    answer = await service.update(at.provider, at.active, at.ab_test[0], subject="New", variant=first, etag=etag)
    assert answer.error.code == "STEP_CHANGED_ERROR"


@both
async def test_a_variant_that_is_not_there_is_not_found(service: RunningService, at: Steps) -> None:
    answer = await service.update(at.provider, at.active, at.ab_test[0], subject="New", variant=at.plain[1])
    assert (answer.error.code, answer.error.status) == ("VARIANT_NOT_FOUND_ERROR", "404")
    assert str(at.ab_test[1]) in answer.error.meta.facts["template_ids"].split(",")
    assert writes(service, at) == []


@both
async def test_a_variant_has_the_form_of_an_id_and_a_template_to_change(service: RunningService, at: Steps) -> None:
    malformed = await service.update(at.provider, at.active, at.ab_test[0], subject="New", variant="../x")
    aimless = await service.update(
        at.provider, at.active, at.ab_test[0], custom_fields={at.text_field: "x"}, variant=at.ab_test[1]
    )
    assert list(malformed.violations) == list(aimless.violations) == ["variant"]


@both
async def test_a_retry_does_not_say_that_nothing_was_changed(service: RunningService, at: Steps) -> None:
    """Its own earlier attempt may have been carried out, and been written over since."""
    etag = await etag_of(service, at)
    await service.update(at.provider, at.inactive, at.quiet[0], subject="Theirs")
    answer = await service.update(
        *(at.provider, at.inactive, at.quiet[0]),
        subject="Mine",
        etag=etag,
        metadata=(("x-envoy-attempt-count", "2"),),
    )
    assert answer.error.code == "STEP_CHANGED_ERROR"
    assert answer.error.meta.outcome == envelope_pb2.ERROR_OUTCOME_UNKNOWN


@both
async def test_an_unknown_field_or_value_is_refused(service: RunningService, at: Steps) -> None:
    """An older version that ignored what keeps an update from writing would write."""
    request = pb.UpdateStepRequest(sequence_id=str(at.inactive), sequence_step_id=str(at.quiet[0]))
    request.record.template.subject = "New"
    pairs = (("x-customer-id", "acme"), ("x-provider-name", at.provider), ("x-api-key", service.key.reveal()))
    plain = request.SerializeToString()
    template = b"\n\x03New"
    inner = template + b"\x92\x06\x01A"
    nested = plain.replace(b"\x1a\x07\n\x05" + template, bytes([0x1A, 2 + len(inner), 0x0A, len(inner)]) + inner)
    assert nested != plain
    for unknown, field in (
        (plain + b"\x92\x06\x01A", "98"),
        (plain + b"0\x07", "if_shared"),
        (nested, "record.template.98"),
    ):
        method: Any = service.channel.unary_unary(
            "/engagement.v1.SequenceStepService/UpdateStep", None, pb.UpdateStepResponse.FromString
        )
        answer = await call_result(method(unknown, metadata=pairs, timeout=20))
        assert (answer.code, list(answer.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
    assert service.provider_calls() == []


class Counter:
    """Writers that each add one to the number in the subject, to what they have seen."""

    def __init__(self, at: Steps, customer: str, first: CallResult) -> None:
        self._place = (at.provider, str(at.inactive), str(at.quiet[0]))
        self._customer = customer
        self._etag = first.response.etag
        self.refused = 0

    async def count(self, service: RunningService, name: str, times: int) -> None:
        etag, number, done = self._etag, 0, 0
        while done < times:
            answer = await service.update(
                *self._place,
                customer=self._customer,
                subject=f"{number + 1}",
                body=f"<p>{name} {number + 1}</p>",
                etag=etag,
            )
            if answer.errors:
                assert answer.error.code == "STEP_CHANGED_ERROR", answer.error
                self.refused += 1
                number = int(answer.conflicts["template.subject"][0])
            else:
                done, number = done + 1, number + 1
            etag = answer.response.etag


@both
@pytest.mark.parametrize("times", [50, pytest.param(500, marks=pytest.mark.slow)])
async def test_two_writers_with_etags_lose_no_update(service: RunningService, at: Steps, times: int) -> None:
    customer = "acme"
    if at is APOLLO:
        customer = "counting"
        await service.connect(customer, Provider("apollo"), ApiKeyCredentials(Secret(seed.APOLLO_UNLIMITED_KEY)))
    else:
        await service.control_sandbox("PATCH", f"/accounts/{seed.OUTREACH_ACCOUNT}", {"rate_limits": {"hour": 10**8}})
    first = await service.update(at.provider, at.inactive, at.quiet[0], subject="0", body="<p>0</p>", customer=customer)
    counter = Counter(at, customer, first)
    await asyncio.gather(*(counter.count(service, name, times) for name in ("A", "B")))
    last = await service.update(
        at.provider, at.inactive, at.quiet[0], subject="?", validate_only=True, customer=customer
    )
    assert last.changes["template.subject"][0] == str(2 * times)
    assert counter.refused
