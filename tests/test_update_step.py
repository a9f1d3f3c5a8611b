"""The use case itself: what is written, what the caller learns, and what is true of the step, with scripted responses."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from service.domain.credentials import Connection, OAuthCredentials, Secret
from service.domain.deadline import Deadline
from service.domain.errors import CallRefused, ErrorCode, Origin, Outcome, failed
from service.domain.etag import StepEtag
from service.domain.step import Provider, StepUpdate, WarningType
from service.domain.step_changes import ChangeState
from service.update_step import UpdateAbandoned
from tests.support import apollo, outreach
from tests.support.update_step import ApolloFake, FakeLog, kinds, made, run, the, use_case
from tests.support.waiting import until


async def test_a_change_is_one_read_and_one_write() -> None:
    update_step, http, _ = use_case(ApolloFake())
    result = await run(update_step, apollo.update(subject="New", body="<p>Old</p>"))
    assert [(change.field, change.before, change.after) for change in result.changes] == [
        ("template.subject", "Old", "New")
    ]
    assert (result.provider_calls, len(http.requests)) == (2, 2)
    assert kinds(result) == [WarningType.SEQUENCE_ACTIVE]


@pytest.mark.parametrize("validate_only", [True, False])
async def test_what_is_stored_already_is_not_written(validate_only: bool) -> None:  # noqa: FBT001
    update_step, http, _ = use_case(ApolloFake())
    wanted = apollo.update(subject="Old", custom_fields={"note": "n", "absent": None}, validate_only=validate_only)
    result = await run(update_step, wanted)
    assert (kinds(result), result.changes, len(http.requests)) == ([WarningType.NO_CHANGE], (), 1)


def wrapped(name: str, value: Any) -> Any:
    return f"<html><head></head><body>{value}</body></html>" if name == "body_html" else value


def without_scripts(name: str, value: Any) -> Any:
    head, _, rest = str(value).partition("<script>")
    return head + rest.partition("</script>")[2]


@pytest.mark.parametrize("clean", [wrapped, without_scripts, lambda _, value: str(value).upper()])
async def test_a_text_that_the_provider_changes_settles(clean: Callable[[str, Any], Any]) -> None:
    provider = ApolloFake(clean)
    update_step, _, _ = use_case(provider)
    wanted = apollo.update(body="<p>New <b>text</b></p><script>x()</script>")
    first = await run(update_step, wanted)
    assert kinds(first) == [WarningType.SEQUENCE_ACTIVE, WarningType.CONTENT_NORMALIZED]
    assert first.changes[0].after == provider.template["body_html"]
    dry = await run(update_step, apollo.update(body=wanted.body, validate_only=True))
    second = await run(update_step, wanted)
    for result in (dry, second):
        assert (kinds(result), result.changes) == ([WarningType.NO_CHANGE], ())
    assert len(provider.writes) == 1


@pytest.mark.parametrize("body", ["<p>Old</p>", "<html><head></head><body><p>Old</p></body></html>"])
async def test_a_document_that_is_sent_as_it_was_and_wrapped_is_a_change(body: str) -> None:
    provider = ApolloFake(lambda name, value: f"<html><body>{value}" if name == "body_html" else value)
    update_step, _, _ = use_case(provider)
    result = await run(update_step, apollo.update(subject="New", body=body))
    changes = {change.field: change.after for change in result.changes}
    assert changes == {"template.subject": "New", "template.body": provider.template["body_html"]}
    assert WarningType.CONTENT_NORMALIZED in kinds(result)


@pytest.mark.parametrize(
    ("wanted", "is_written"),
    [
        ({"body": wrapped("body_html", "<p>Old</p>")}, False),
        ({"body": wrapped("body_html", "<p>Other</p>")}, True),
        ({"subject": "<html>Old"}, True),
        ({"custom_fields": {"note": "<html>n"}}, True),
    ],
)
async def test_only_a_body_is_the_same_in_a_wrapper(wanted: dict[str, Any], *, is_written: bool) -> None:
    provider = ApolloFake()
    provider.template["subject"], provider.step["note"] = "<html><body>Old", "<html><body>n"
    update_step, _, _ = use_case(provider)
    assert (await run(update_step, apollo.update(**wanted))).problems == ()
    assert bool(provider.writes) is is_written


async def test_a_body_that_is_cleaned_to_the_old_one_settles() -> None:
    provider = ApolloFake(without_scripts)
    update_step, _, _ = use_case(provider)
    wanted = apollo.update(body="<p>Old</p><script>x()</script>")
    first = await run(update_step, wanted)
    assert (kinds(first), first.changes, first.problems) == ([WarningType.CONTENT_NORMALIZED], (), ())
    assert kinds(await run(update_step, wanted)) == [WarningType.NO_CHANGE]
    assert len(provider.writes) == 1


async def test_another_text_is_written_after_a_learned_one() -> None:
    provider = ApolloFake(wrapped)
    update_step, _, _ = use_case(provider)
    await run(update_step, apollo.update(body="<p>A</p>"))
    provider.template["body_html"] = "<p>Somebody else's</p>"
    assert (await run(update_step, apollo.update(body="<p>A</p>"))).changes
    assert len(provider.writes) == 2


@pytest.mark.parametrize(
    "wanted", [{"subject": "New"}, {"body": "<p>New</p>"}, {"subject": "New", "body": "<p>New</p>"}]
)
async def test_a_text_that_the_provider_kept_is_no_success(wanted: dict[str, str]) -> None:
    stored = apollo.template()
    update_step, _, _ = use_case(
        lambda request: made(200, apollo.answer() if request.method == "GET" else stored),
    )
    result = await run(update_step, apollo.update(**wanted))
    problem = the(result)
    assert (problem.code, problem.outcome) == (ErrorCode.BAD_GATEWAY_ERROR, Outcome.UNKNOWN)
    assert "kept the old text" in problem.detail
    assert result.changes == ()
    assert kinds(result) == []


@pytest.mark.parametrize("body", ["! other", "<p>New</p>", "~ other", "<html><body><p>New</p></body></html>"])
async def test_a_body_that_is_kept_and_comes_back_in_a_wrapper_is_no_success(body: str) -> None:
    provider = ApolloFake(lambda name, value: wrapped(name, "<p>Old</p>" if name == "body_html" else value))
    update_step, _, _ = use_case(provider)
    result = await run(update_step, apollo.update(body=body))
    assert (the(result).outcome, result.changes) == (Outcome.UNKNOWN, ())
    assert "kept the old text" in the(result).detail


@pytest.mark.parametrize("wanted", [{"body": "<p></p>"}, {"subject": ""}])
async def test_nothing_that_stays_nothing_is_no_success(wanted: dict[str, str]) -> None:
    provider = ApolloFake(lambda _, __: None)
    provider.template |= {"body_html": None, "subject": None}
    update_step, _, _ = use_case(provider)
    result = await run(update_step, apollo.update(**wanted))
    assert (the(result).outcome, result.changes) == (Outcome.UNKNOWN, ())


async def test_a_subject_that_is_kept_is_no_success_though_it_reads_the_same() -> None:
    """A subject is no HTML, and nobody cleans it."""
    update_step, _, _ = use_case(ApolloFake(lambda name, value: "Old" if name == "subject" else value))
    result = await run(update_step, apollo.update(subject="<b>Old</b>"))
    assert (the(result).outcome, result.changes) == (Outcome.UNKNOWN, ())


async def test_a_text_kept_beside_one_that_changed_is_partial() -> None:
    provider = ApolloFake()
    provider.clean = lambda name, value: provider.template["body_html"] if name == "body_html" else value
    update_step, _, _ = use_case(provider)
    result = await run(update_step, apollo.update(subject="New", body="<p>New</p>"))
    assert the(result).outcome is Outcome.PARTIALLY_APPLIED
    assert [change.field for change in result.changes] == ["template.subject"]


@pytest.mark.parametrize("fields", [{"body_text": "zz"}, {"mood": {"a": 1}}, {"x": 0, "y": [None]}])
async def test_an_ignored_custom_field_is_a_warning(fields: dict[str, Any]) -> None:
    provider = ApolloFake()
    update_step, _, _ = use_case(provider)
    first = await run(update_step, apollo.update(custom_fields=fields))
    assert (kinds(first), first.changes) == ([WarningType.CONTENT_NORMALIZED], ())
    assert kinds(await run(update_step, apollo.update(custom_fields=fields))) == [WarningType.NO_CHANGE]
    assert len(provider.writes) == 1


@pytest.mark.parametrize("absent", [["mood"], ["body_text", "mood"], ["Note"]])
async def test_a_null_for_what_is_not_there_is_not_written(absent: list[str]) -> None:
    provider = ApolloFake()
    update_step, _, _ = use_case(provider)
    result = await run(update_step, apollo.update(custom_fields={"note": "x"} | dict.fromkeys(absent)))
    assert (result.problems, [change.field for change in result.changes]) == ((), ["custom_fields.note"])
    assert provider.writes == [{"note": "x"}]


@pytest.mark.parametrize(("status", "body"), [(204, b""), (200, {"meta": {}})])
async def test_an_answer_without_a_record_is_as_sent(status: int, body: Any) -> None:
    update_step, _, _ = use_case(
        lambda request: made(200, outreach.answer()) if request.method == "GET" else made(status, body)
    )
    result = await run(update_step, outreach.update(subject="New", custom_fields={"taskNote": "x"}))
    assert {change.field: change.after for change in result.changes} == {
        "template.subject": "New",
        "custom_fields.taskNote": "x",
    }


@pytest.mark.parametrize("clean", [wrapped, without_scripts])
async def test_a_text_that_is_changed_and_not_shown_settles(clean: Callable[[str, Any], Any]) -> None:
    """The read of the next update shows what the provider made of it, and from then on nothing else counts as that."""
    stored: dict[str, Any] = {"bodyHtml": "<p>Old</p>"}

    def respond(request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH":
            sent = json.loads(request.content)["data"]["attributes"]["bodyHtml"]
            stored["bodyHtml"] = clean("bodyHtml", sent)
            return made(204, b"")
        return made(200, outreach.answer(included=[outreach.template(**stored), outreach.step(), outreach.sequence()]))

    update_step, http, _ = use_case(respond)
    wanted = outreach.update(body="<p>New <b>text</b></p><script>x()</script>")
    assert [change.after for change in (await run(update_step, wanted)).changes] == [wanted.body]
    for again in (replace(wanted, validate_only=True), wanted, wanted):
        result = await run(update_step, again)
        assert (kinds(result), result.changes) == ([WarningType.NO_CHANGE], ())
    # Somebody else has made something else of it that reads the same.
    stored["bodyHtml"] = "<div>New text</div>"
    assert len((await run(update_step, wanted)).changes) == 1
    assert sum(request.method == "PATCH" for request in http.requests) == 2


@pytest.mark.parametrize("second", ["not shown", "shown", "refused"])
async def test_of_two_texts_that_read_the_same_the_provider_holds_the_last(second: str) -> None:
    """That a body reads the same says only of the one that was written last that the provider made this of it."""
    stored: dict[str, Any] = {"bodyHtml": "<p>Old</p>"}

    def respond(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return made(
                200, outreach.answer(included=[outreach.template(**stored), outreach.step(), outreach.sequence()])
            )
        sent = json.loads(request.content)["data"]["attributes"]["bodyHtml"]
        stored["bodyHtml"] = sent
        if sent == "<p>New text</p>" and second != "not shown":
            shown = {"data": {"type": "template", "id": outreach.TEMPLATE, "attributes": stored}}
            return made(200, shown) if second == "shown" else made(500, {"errors": [{"id": "internal"}]})
        return made(204, b"")

    update_step, _, _ = use_case(respond)
    for body in ("<p>New <b>text</b></p>", "<p>New text</p>", "<p>New <b>text</b></p>"):
        await run(update_step, outreach.update(body=body), seconds=1)
        assert stored["bodyHtml"] == body


async def test_a_text_that_is_dropped_and_not_shown_is_written_again() -> None:
    update_step, http, _ = use_case(
        lambda request: made(200, outreach.answer()) if request.method == "GET" else made(204, b"")
    )
    for _ in range(2):
        assert len((await run(update_step, outreach.update(body="<p>New</p>"))).changes) == 1
    assert sum(request.method == "PATCH" for request in http.requests) == 2


@pytest.mark.parametrize(
    ("status", "kind", "outcome"),
    [
        (302, "text/html", Outcome.UNKNOWN),
        (303, "application/json", Outcome.UNKNOWN),
        (307, "text/plain", Outcome.UNKNOWN),
        (403, "text/html", Outcome.UNKNOWN),
        (408, "application/json", Outcome.UNKNOWN),
        (422, "application/json", Outcome.NOT_APPLIED),
        (404, "application/json", Outcome.NOT_APPLIED),
        (500, "application/json", Outcome.UNKNOWN),
        (501, "application/json", Outcome.NOT_APPLIED),
        (503, "application/json", Outcome.UNKNOWN),
        (520, "text/html", Outcome.UNKNOWN),
        (599, "application/json", Outcome.UNKNOWN),
    ],
)
async def test_not_applied_needs_a_refusal(status: int, kind: str, outcome: Outcome) -> None:
    body = {"error": "No."} if kind == "application/json" else b"<html>no</html>"
    update_step, _, _ = use_case(
        lambda request: made(200, apollo.answer()) if request.method == "GET" else made(status, body, kind)
    )
    problem = the(await run(update_step, apollo.update(body="x"), seconds=1))
    assert problem.outcome is outcome
    assert ("Nothing was changed." in problem.detail) == (outcome is Outcome.NOT_APPLIED)
    assert ("may have been carried out" in problem.detail) == (outcome is Outcome.UNKNOWN)


@pytest.mark.parametrize("failing", ["GET", "PUT"])
async def test_a_request_is_sent_three_times_at_most(failing: str) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        busy = made(503, {"error": "Busy"})
        busy.headers["retry-after"] = "0"
        return busy if request.method == failing else made(200, apollo.answer())

    update_step, http, _ = use_case(respond)
    result = await run(update_step, apollo.update(body="x"))
    assert the(result).code is ErrorCode.SERVICE_UNAVAILABLE_ERROR
    assert sum(request.method == failing for request in http.requests) == 3


@pytest.mark.parametrize(
    ("error", "read", "write", "outcome"),
    [
        (httpx.ConnectError, "SERVICE_UNAVAILABLE_ERROR", "SERVICE_UNAVAILABLE_ERROR", Outcome.NOT_APPLIED),
        (httpx.ReadError, "SERVICE_UNAVAILABLE_ERROR", "GATEWAY_TIMEOUT_ERROR", Outcome.UNKNOWN),
        (httpx.ReadTimeout, "GATEWAY_TIMEOUT_ERROR", "GATEWAY_TIMEOUT_ERROR", Outcome.UNKNOWN),
        (httpx.RemoteProtocolError, "BAD_GATEWAY_ERROR", "BAD_GATEWAY_ERROR", Outcome.UNKNOWN),
        (httpx.LocalProtocolError, "BAD_GATEWAY_ERROR", "BAD_GATEWAY_ERROR", Outcome.NOT_APPLIED),
    ],
)
async def test_a_request_without_an_answer_says_what_it_may_have_done(
    error: type[httpx.TransportError], read: str, write: str, outcome: Outcome
) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        if request.method == failing:
            raise error("gone")
        return made(200, apollo.answer())

    for failing, code in (("GET", read), ("PUT", write)):
        update_step, _, _ = use_case(respond)
        problem = the(await run(update_step, apollo.update(body="x"), seconds=0.25))
        assert (problem.code.value, problem.origin) == (code, Origin.PROVIDER)
        assert problem.outcome is (outcome if failing == "PUT" else Outcome.NOT_APPLIED)
        assert ("Try again later." in problem.detail) is (problem.outcome is Outcome.NOT_APPLIED)


async def test_a_refusal_after_a_doubtful_attempt_stays_unknown() -> None:
    statuses = iter([502, 422])
    update_step, http, _ = use_case(
        lambda request: (
            made(200, apollo.answer()) if request.method == "GET" else made(next(statuses), {"error": "No."})
        )
    )
    problem = the(await run(update_step, apollo.update(body="x")))
    assert (problem.code, problem.outcome) == (ErrorCode.UNPROCESSABLE_ENTITY_ERROR, Outcome.UNKNOWN)
    assert len(http.requests) == 3


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        (422, "Before that, template.subject had been changed. Correct the value"),
        (503, "whether the rest was is not known. Repeating the call is safe"),
    ],
)
async def test_a_failure_of_the_second_write_says_what_was_done(second: int, sentence: str) -> None:
    provider = ApolloFake()

    def respond(request: httpx.Request) -> httpx.Response:
        if "emailer_steps" in str(request.url):
            return made(second, {"error": "No."})
        return provider(request)

    update_step, _, _ = use_case(respond)
    result = await run(update_step, apollo.update(subject="New", custom_fields={"note": "x"}), seconds=1)
    assert the(result).outcome is Outcome.PARTIALLY_APPLIED
    assert sentence in the(result).detail
    assert [change.field for change in result.changes] == ["template.subject"]


@pytest.mark.parametrize("left", [0.0, -1.0])
async def test_no_request_is_sent_when_there_is_no_time_left(left: float, monkeypatch: pytest.MonkeyPatch) -> None:
    update_step, http, _ = use_case(ApolloFake())
    monkeypatch.setattr(Deadline, "remaining", lambda _: left)
    result = await run(update_step, apollo.update(body="x"))
    assert (the(result).code, result.provider_calls) == (ErrorCode.GATEWAY_TIMEOUT_ERROR, 0)
    assert "no request for it was sent to Apollo" in the(result).detail
    assert http.requests == []


async def test_a_failure_before_any_request_says_so() -> None:
    update_step, http, connections = use_case(ApolloFake())
    connections.failure = failed(ErrorCode.UNAUTHORIZED_ERROR, "Reconnect customer acme.")
    problem = the(await run(update_step, apollo.update(body="x")))
    assert problem.detail == "Reconnect customer acme. Nothing was changed: no request for it was sent to Apollo."
    assert http.requests == []


async def test_a_refused_token_names_the_providers_answer() -> None:
    grant = OAuthCredentials(Secret("a"), None, None, "c", Secret("s"))
    update_step, _, connections = use_case(
        lambda _: made(401, {"errors": [{"id": "unauthorized"}]}, "application/vnd.api+json"), grant
    )
    connections.refusal = failed(ErrorCode.UNAUTHORIZED_ERROR, "Reconnect customer acme: there is no refresh token.")
    problem = the(await run(update_step, outreach.update(body="x")))
    assert problem.origin is Origin.PROVIDER
    assert problem.cause is not None
    assert problem.cause.status == 401
    assert "no request" not in problem.detail
    assert problem.detail.endswith("Nothing was changed.")


async def test_what_is_learned_after_a_renewal_is_about_the_new_token() -> None:
    grant = OAuthCredentials(Secret("old"), Secret("r"), None, "c", Secret("s"))

    def respond(request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] == "Bearer old":
            return made(401, {"errors": [{"id": "unauthorized"}]}, "application/vnd.api+json")
        return made(429, {"errors": [{"id": "rateLimited"}]}, "application/vnd.api+json", ("retry-after", "3600"))

    update_step, http, connections = use_case(respond, grant)
    old = connections.connection
    connections.renewal = new = replace(old, credentials=replace(grant, access_token=Secret("new")))
    asked = []
    for present in (old, new, old):
        connections.connection = present
        problem = the(await run(update_step, outreach.update(body="x")))
        assert problem.code is ErrorCode.TOO_MANY_REQUESTS_ERROR
        asked.append(len(http.requests))
    # Asked again with the old token, which is refused again and renewed; with the new one it is known to be of no use.
    assert asked == [2, 2, 3]


async def test_a_page_on_the_way_renews_no_token() -> None:
    grant = OAuthCredentials(Secret("a"), Secret("r"), None, "c", Secret("s"))
    update_step, _, connections = use_case(lambda _: made(401, b"<html>", "text/html"), grant)
    connections.refusal = failed(ErrorCode.INTERNAL_SERVER_ERROR, "renewed")
    problem = the(await run(update_step, outreach.update(body="x"), seconds=1))
    assert problem.code is ErrorCode.BAD_GATEWAY_ERROR


@pytest.mark.parametrize("status", [429, 404, 401, 503])
async def test_a_retry_that_read_nothing_is_in_doubt(status: int) -> None:
    update_step, _, _ = use_case(lambda _: made(status, {"error": "No."}))
    problem = the(await run(update_step, apollo.update(body="x", is_retry=True), seconds=1))
    assert problem.outcome is Outcome.UNKNOWN
    assert "An earlier attempt of this call may have been carried out" in problem.detail
    dry = the(await run(update_step, apollo.update(body="x", is_retry=True, validate_only=True), seconds=1))
    assert dry.outcome is Outcome.NOT_APPLIED


async def test_a_retry_that_saw_the_present_state_may_be_sure() -> None:
    provider = ApolloFake()
    provider.write_status = 422
    update_step, _, _ = use_case(provider)
    problem = the(await run(update_step, apollo.update(body="x", is_retry=True)))
    assert problem.outcome is Outcome.NOT_APPLIED


async def test_a_retry_that_finds_half_of_it_done_is_in_doubt() -> None:
    provider = ApolloFake()

    def respond(request: httpx.Request) -> httpx.Response:
        return made(422, {"error": "No."}) if "emailer_steps" in str(request.url) else provider(request)

    update_step, _, _ = use_case(respond)
    wanted = apollo.update(subject="Old", custom_fields={"note": "x"})
    assert the(await run(update_step, wanted)).outcome is Outcome.NOT_APPLIED
    problem = the(await run(update_step, replace(wanted, is_retry=True)))
    assert problem.outcome is Outcome.UNKNOWN
    assert "An earlier attempt" in problem.detail


async def test_an_unsupported_provider_needs_no_connection() -> None:
    update_step, _, connections = use_case(ApolloFake())
    connections.failure = failed(ErrorCode.NOT_FOUND_ERROR, "no connection")
    problem = the(await run(update_step, StepUpdate(Provider("salesloft"), "acme", "1", "2", subject="x")))
    assert problem.code is ErrorCode.NOT_IMPLEMENTED_ERROR


async def test_a_rule_that_is_broken_is_refused_before_all_else() -> None:
    update_step, http, _ = use_case(ApolloFake())
    with pytest.raises(CallRefused):
        await run(update_step, apollo.update(sequence_id="no", subject="x"))
    assert http.requests == []


async def test_a_write_is_finished_though_its_caller_left() -> None:
    provider = ApolloFake()
    may_write = asyncio.Event()
    update_step, http, _ = use_case(provider)
    send = http.send

    async def slow(request: httpx.Request, *_: object) -> httpx.Response:
        if request.method == "PUT":
            http.requests.append(request)
            await may_write.wait()
        return await send(request)

    http.send = slow  # type: ignore[method-assign]
    call = asyncio.create_task(run(update_step, apollo.update(subject="New")))
    await until(lambda: http.requests and http.requests[-1].method == "PUT")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert provider.writes == []
    may_write.set()
    await update_step.finish(5)
    assert provider.template["subject"] == "New"


async def test_a_caller_that_leaves_before_any_request_has_sent_none() -> None:
    update_step, http, connections = use_case(ApolloFake())
    waiting = asyncio.Event()

    async def usable(*_: object) -> Connection:
        waiting.set()
        await asyncio.Event().wait()
        return connections.connection

    connections.usable = usable  # type: ignore[method-assign,assignment]
    call = asyncio.create_task(run(update_step, apollo.update(subject="New")))
    await waiting.wait()
    call.cancel()
    with pytest.raises(UpdateAbandoned) as abandoned:
        await call
    assert (abandoned.value.requests_sent, abandoned.value.writing, http.requests) == (0, None, [])


@pytest.mark.parametrize("ends", ["refused", "cancelled", "unreachable"])
async def test_an_update_that_ends_before_its_write_lets_the_next_one_begin(ends: str) -> None:
    """The lock of the sequence is free again as soon as the one before has ended, however it did."""
    provider = ApolloFake()
    may_answer = asyncio.Event()
    update_step, http, _ = use_case(provider)
    send = http.send

    async def slow(request: httpx.Request, *_: object) -> httpx.Response:
        if not may_answer.is_set():
            http.requests.append(request)
            await may_answer.wait()
            if ends == "unreachable":
                raise httpx.ProxyError("no way")
            return made(403, {"error": "No."})
        return await send(request)

    http.send = slow  # type: ignore[method-assign]
    first = asyncio.create_task(run(update_step, apollo.update(subject="First")))
    await until(lambda: http.requests)
    second = asyncio.create_task(run(update_step, apollo.update(subject="Second"), seconds=30))
    await asyncio.sleep(0)
    assert len(http.requests) == 1
    if ends == "cancelled":
        first.cancel()
    may_answer.set()
    done, _ = await asyncio.wait([first, second], timeout=10)
    assert done == {first, second}
    assert provider.template["subject"] == "Second"
    assert (await second).problems == ()


class Wrapping(ApolloFake):
    """A provider that puts a wrapper around a body in what it answers to a read, and not to a write."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        stored = self.template["body_html"]
        if request.method == "GET":
            self.template["body_html"] = wrapped("body_html", stored)
        answer = super().__call__(request)
        if request.method == "GET":
            self.template["body_html"] = stored
        return answer


@pytest.mark.parametrize("provider", [Wrapping(), ApolloFake(wrapped)])
async def test_an_etag_holds_whatever_a_provider_shows_around_a_body(provider: ApolloFake) -> None:
    update_step, _, _ = use_case(provider)
    first = await run(update_step, apollo.update(body="<p>New</p>"))
    second = await run(update_step, apollo.update(body="<p>Newer</p>", etag=first.etag))
    third = await run(update_step, apollo.update(subject="New", etag=second.etag))
    assert (first.problems, second.problems, third.problems) == ((), (), ())
    assert len(provider.writes) == 3


async def test_an_etag_needs_texts_that_are_shown() -> None:
    """Without one, what is not named may be missing."""
    bodiless = {name: value for name, value in apollo.template().items() if name != "body_html"}
    update_step, _, _ = use_case(lambda request: made(200, apollo.answer(emailer_templates=[bodiless])))
    etag = f"{'a' * 32}.{'a' * 32}"
    problem = the(await run(update_step, apollo.update(subject="New", etag=etag)))
    assert (problem.code, problem.outcome) == (ErrorCode.BAD_GATEWAY_ERROR, Outcome.NOT_APPLIED)
    shown = await run(update_step, apollo.update(subject="New", validate_only=True))
    assert shown.etag.startswith("-.")


async def test_statistics_and_unknown_members_change_no_etag() -> None:
    provider = ApolloFake()
    update_step, _, _ = use_case(provider)
    first = await run(update_step, apollo.update(subject="New"))
    provider.step |= {"counts": {"active": 7}, "mood": "good"}
    provider.template |= {"body_text": "x", "unknown": [1]}
    assert (await run(update_step, apollo.update(subject="Newer", etag=first.etag))).problems == ()


async def test_an_etag_and_a_lost_answer_settle_by_repeating() -> None:
    """The provider carries the write out and answers 500: whether it did is not known, and the same call finds it."""
    provider = ApolloFake()
    update_step, _, _ = use_case(provider)
    seen = (await run(update_step, apollo.update(subject="Old"))).etag
    lost = True

    def answer(request: httpx.Request) -> httpx.Response:
        response = provider(request)
        return made(500, {"error": "Oops."}) if lost and request.method == "PUT" else response

    doubtful, _, _ = use_case(answer)
    assert the(await run(doubtful, apollo.update(subject="New", etag=seen), 0.19)).outcome is Outcome.UNKNOWN
    lost = False
    again = await run(doubtful, apollo.update(subject="New", etag=seen))
    assert (again.problems, kinds(again)) == ((), [WarningType.NO_CHANGE])


async def test_an_update_waits_for_the_one_before_and_sees_it() -> None:
    provider = ApolloFake()
    update_step, _, _ = use_case(provider)
    seen = (await run(update_step, apollo.update(subject="Old"))).etag
    results = await asyncio.gather(
        *(run(update_step, apollo.update(subject=subject, etag=seen)) for subject in ("A", "B", "C"))
    )
    assert [bool(result.problems) for result in results] == [False, True, True]
    assert {the(result).code for result in results[1:]} == {ErrorCode.STEP_CHANGED_ERROR}
    assert provider.template["subject"] == "A"


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (429, {"error": "We are already processing the request for your sequence"}, ErrorCode.CONFLICT_ERROR),
        (503, {"error": "No."}, ErrorCode.SERVICE_UNAVAILABLE_ERROR),
        (
            429,
            {"message": "The maximum number of api calls", "retry_after_seconds": 1},
            ErrorCode.TOO_MANY_REQUESTS_ERROR,
        ),
    ],
)
async def test_a_write_over_what_was_seen_is_not_repeated_later(status: int, body: Any, code: ErrorCode) -> None:
    """Somebody may have written meanwhile; without an etag it is repeated, whatever is there."""
    provider = ApolloFake()
    update_step, http, _ = use_case(
        lambda request: provider(request) if request.method == "GET" else made(status, body)
    )
    seen = (await run(update_step, apollo.update(subject="Old"))).etag
    problem = the(await run(update_step, apollo.update(subject="New", etag=seen)))
    assert (problem.code, [request.method for request in http.requests]) == (code, ["GET", "GET", "PUT"])
    problem = the(await run(update_step, apollo.update(subject="Newer", etag=seen)))
    if code is ErrorCode.TOO_MANY_REQUESTS_ERROR:
        # It is known now that the write would be refused, so that it is not sent.
        assert [request.method for request in http.requests[3:]] == ["GET"]
        assert (problem.code, problem.outcome) == (code, Outcome.NOT_APPLIED)


SUBJECT, NOTE = "template.subject=New", "custom_fields.note=x"
BOTH = {"subject": "New", "custom_fields": {"note": "x"}}


@pytest.mark.parametrize(
    ("wanted", "statuses", "template_id", "settled"),
    [
        ({"subject": "New"}, [], apollo.TEMPLATE, (ChangeState.APPLIED, None)),
        ({"custom_fields": {"note": "x"}}, [], "", (ChangeState.APPLIED, None)),
        (BOTH, [], apollo.TEMPLATE, (ChangeState.APPLIED, None)),
        (BOTH | {"subject": "Old"}, [], "", (ChangeState.APPLIED, None)),
        ({"subject": "clean"}, [], apollo.TEMPLATE, (ChangeState.APPLIED, ["template.subject=CLEAN"])),
        ({"custom_fields": {"unknown": 1}}, [], "", (None, [])),
        ({"subject": "New"}, [422], apollo.TEMPLATE, (None, [])),
        ({"subject": "New"}, [500], apollo.TEMPLATE, (ChangeState.UNKNOWN, None)),
        ({"subject": "New", "body": "<p>Old</p>"}, [500], apollo.TEMPLATE, (ChangeState.UNKNOWN, None)),
        (BOTH, [422], apollo.TEMPLATE, (None, [])),
        (BOTH, [500], apollo.TEMPLATE, (ChangeState.UNKNOWN, [SUBJECT])),
        (BOTH, [200, 422], apollo.TEMPLATE, (ChangeState.PARTIALLY_APPLIED, [SUBJECT])),
        (BOTH, [200, 500], apollo.TEMPLATE, (ChangeState.PARTIALLY_APPLIED, None)),
    ],
)
async def test_the_history_has_what_was_changed_or_may_have_been(
    wanted: dict[str, Any], statuses: list[int], template_id: str, settled: Any
) -> None:
    """`None` for values says that they are as recorded; a change that was not made is not kept, and has no id."""
    provider = ApolloFake(lambda _, value: "CLEAN" if value == "clean" else value)
    left = iter(statuses)

    def respond(request: httpx.Request) -> httpx.Response:
        provider.write_status = next(left, 200) if request.method == "PUT" else 200
        return provider(request)

    log = FakeLog()
    update_step, _, _ = use_case(respond, history=log)
    result = await run(update_step, apollo.update(**wanted))
    [(recorded_id, fields)] = log.recorded
    assert (recorded_id, log.settled) == (template_id, [settled])
    assert [each.field for each in fields if each.before == each.after] == []
    assert result.change_id == ("c-1" if settled[0] else "")
    assert bool(result.problems) == any(status != 200 for status in statuses)


@pytest.mark.parametrize("wanted", [{"subject": "New", "validate_only": True}, {"subject": "Old"}])
async def test_what_writes_nothing_is_not_recorded(wanted: dict[str, Any]) -> None:
    log = FakeLog()
    update_step, _, _ = use_case(ApolloFake(), history=log)
    assert (await run(update_step, apollo.update(**wanted))).change_id == ""
    assert log.recorded == []


async def test_what_cannot_be_recorded_is_not_written_and_keeps_nobody_waiting() -> None:
    provider, log = ApolloFake(), FakeLog()
    update_step, _, _ = use_case(provider, history=log)
    log.failure = failed(ErrorCode.SERVICE_UNAVAILABLE_ERROR, "No database.")
    result = await run(update_step, apollo.update(subject="New"))
    assert (the(result).outcome, result.change_id, provider.writes) == (Outcome.NOT_APPLIED, "", [])
    log.failure = None
    assert (await run(update_step, apollo.update(subject="New"))).change_id == "c-1"


A, B = "0" * 32, "f" * 32


@pytest.mark.parametrize(
    ("template", "fields", "wanted", "conflicts"),
    [
        ("now", "now", BOTH, []),
        ("now", A, BOTH, ["custom_fields"]),
        (A, "now", BOTH, ["template"]),
        (A, B, BOTH, ["template", "custom_fields"]),
        (B, A, BOTH, ["template", "custom_fields"]),
        (A, B, {"subject": "New"}, ["template"]),
        (A, B, {"custom_fields": {"note": "x"}}, ["custom_fields"]),
        # What the provider holds already is not written, so that nobody's work is lost.
        (A, B, {"subject": "Old", "custom_fields": {"note": "x"}}, ["custom_fields"]),
        (A, B, {"subject": "Old", "custom_fields": {"note": "n"}}, []),
        ("-", "now", {"custom_fields": {"note": "x"}}, []),
        ("now", "-", {"subject": "New"}, []),
    ],
)
@pytest.mark.parametrize("validate_only", [True, False])
async def test_only_what_was_seen_is_written_over(
    template: str,
    fields: str,
    wanted: dict[str, Any],
    conflicts: list[str],
    validate_only: bool,  # noqa: FBT001
) -> None:
    """The etag of a refusal stands for what it shows: the parts in conflict as they are now, the other one as it was given."""
    provider = ApolloFake()
    update_step, _, _ = use_case(provider)
    now = StepEtag.parse((await run(update_step, apollo.update(**BOTH, validate_only=True))).etag)
    assert now is not None
    given = StepEtag(now.template if template == "now" else template, now.fields if fields == "now" else fields)
    result = await run(update_step, apollo.update(**wanted, etag=str(given), validate_only=validate_only))
    assert [*dict.fromkeys(each.field.partition(".")[0] for each in result.conflicts)] == conflicts
    if not conflicts:
        assert result.problems == ()
        return
    assert (the(result).code, the(result).outcome) == (ErrorCode.STEP_CHANGED_ERROR, Outcome.NOT_APPLIED)
    assert provider.writes == []
    assert StepEtag.parse(result.etag) == StepEtag(
        given.template if "template" not in conflicts else now.template,
        given.fields if "custom_fields" not in conflicts else now.fields,
    )


async def test_a_conflict_shows_all_that_is_covered_with_what_it_would_become() -> None:
    update_step, _, _ = use_case(ApolloFake())
    result = await run(update_step, apollo.update(**BOTH, etag=f"{A}.{A}"))
    shown = {each.field: (each.before, each.after) for each in result.conflicts}
    assert shown["template.subject"] == ("Old", "New")
    assert shown["template.body"] == ("<p>Old</p>", "<p>Old</p>")
    assert shown["custom_fields.note"] == ("n", "x")
    assert shown["custom_fields.position"] == (None, None)


@pytest.mark.parametrize(
    ("wanted", "parts"),
    [
        ({"subject": "New"}, "template"),
        ({"subject": "New", "body": "<p>New</p>"}, "template"),
        ({"subject": "Old", "body": "<p>Old</p>"}, "template"),
        ({"subject": "Old"}, ""),
        ({"custom_fields": {"note": "x"}}, "fields"),
        ({"custom_fields": {"note": "n"}}, ""),
        (BOTH, "template fields"),
    ],
)
async def test_an_etag_moves_on_with_what_was_compared_or_set_whole(wanted: dict[str, Any], parts: str) -> None:
    provider = ApolloFake()
    update_step, _, _ = use_case(provider)
    before = StepEtag.parse((await run(update_step, apollo.update(**BOTH, validate_only=True))).etag)
    assert before is not None
    # Of what is not compared, the caller has seen something else.
    given = StepEtag(before.template if "subject" in wanted else A, before.fields if "custom_fields" in wanted else A)
    if not parts or wanted.get("subject") == "Old":
        given = StepEtag(A, A)
    result = await run(update_step, apollo.update(**wanted, etag=str(given)))
    assert result.problems == ()
    after = StepEtag.parse((await run(update_step, apollo.update(**BOTH, validate_only=True))).etag)
    assert after is not None
    assert result.etag == str(
        StepEtag(
            after.template if "template" in parts else given.template,
            after.fields if "fields" in parts else given.fields,
        )
    )


@pytest.mark.parametrize(
    ("present", "wanted", "is_taken_back"),
    [
        ({}, {"subject": "Before"}, True),
        ({"subject": "Before"}, {"subject": "Before"}, True),
        ({"subject": "Somebody's"}, {"subject": "Before"}, False),
        ({"body_html": "<html><head></head><body><p>Old</p></body></html>"}, {"body": "<p>Before</p>"}, True),
        ({"body_html": "<p>Somebody's</p>"}, {"body": "<p>Before</p>"}, False),
        ({"body_html": None}, {"body": "<p>Before</p>"}, False),
        # Nothing but a body is HTML.
        ({"subject": "<html>Old"}, {"subject": "Before"}, False),
        ({"note": "<html>n"}, {"custom_fields": {"note": "b"}}, False),
        ({}, {"subject": "Before", "custom_fields": {"note": "b"}}, True),
    ],
)
async def test_a_change_is_taken_back_where_it_is_still_there(
    present: dict[str, Any],
    wanted: dict[str, Any],
    is_taken_back: bool,  # noqa: FBT001
) -> None:
    provider = ApolloFake()
    for name, value in present.items():
        (provider.step if name == "note" else provider.template)[name] = value
    left = {"template.subject": "Old", "template.body": "<p>Old</p>", "custom_fields.note": "n"}
    update_step, _, _ = use_case(provider)
    result = await run(update_step, apollo.update(**wanted, reverts="c-1", only_over=left))
    if is_taken_back:
        assert result.problems == ()
    else:
        assert the(result).code is ErrorCode.STEP_CHANGED_ERROR
        assert provider.writes == []
        assert len(result.conflicts) == 1
        assert result.etag


@pytest.mark.parametrize(
    ("wanted", "is_left"),
    [
        ({"subject": "New"}, True),
        (BOTH, True),
        (BOTH | {"subject": "Old"}, False),
        ({"subject": "Old"}, False),
        ({"custom_fields": {"note": "x"}}, False),
    ],
)
async def test_a_template_that_others_use_is_left_where_it_would_be_written(
    wanted: dict[str, Any], *, is_left: bool
) -> None:
    provider = ApolloFake()
    touches = [apollo.touch(), apollo.touch("t2", apollo.OTHER)]

    def respond(request: httpx.Request) -> httpx.Response:
        answer = provider(request)
        return made(200, answer.json() | {"emailer_touches": touches}) if request.method == "GET" else answer

    update_step, _, _ = use_case(respond)
    for validate_only in (True, False):
        asked = apollo.update(**wanted, refuse_shared=True, validate_only=validate_only)
        codes = [problem.code for problem in (await run(update_step, asked)).problems]
        assert codes == [ErrorCode.SHARED_TEMPLATE_ERROR] * is_left
    assert (provider.writes == []) is (is_left or wanted == {"subject": "Old"})
    touches.pop()
    assert (await run(update_step, apollo.update(**wanted, refuse_shared=True))).problems == ()
