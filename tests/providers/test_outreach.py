"""What an update comes to at Outreach: from its answer and the wanted update to a plan, with no server."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from msgspec.structs import replace

from service.domain.credentials import Connection, OAuthCredentials, Secret
from service.domain.errors import ErrorCode, Outcome, Problem, UpdateFailed
from service.domain.sequence import ShownSequence, StepQuery
from service.domain.step import FieldChange, Provider, StepRef, StepUpdate, WarningType
from service.providers.adapter import Plan, ProviderRequest, ProviderResponse, RateWindow, ResponseFailure, Write
from service.providers.outreach import Outreach, decide, show
from tests.support.outreach import SEQUENCE, STEP, TEMPLATE, answer, sequence, step, template, update, variant

ADAPTER = Outreach("https://api.outreach.example")
CONNECTION = Connection(
    1,
    1,
    "acme",
    Provider("outreach"),
    OAuthCredentials(Secret("a-secret"), Secret("r-secret"), None, "client", Secret("c-secret")),
)
REQUEST = ProviderRequest("PATCH", "/templates/18", "templates", "templates.write")


def plan(stored: dict[str, Any], wanted: StepUpdate) -> Plan:
    response = ProviderResponse(200, {}, json.dumps(stored).encode())
    return decide(wanted, response, stored["data"], stored["included"])


def kinds(made: Plan) -> list[WarningType]:
    return [warning.type for warning in (*made.warnings, *made.write_warnings)]


def refusal(stored: dict[str, Any], wanted: StepUpdate) -> Problem:
    with pytest.raises(UpdateFailed) as failure:
        plan(stored, wanted)
    [problem] = failure.value.problems
    return problem


def test_all_named_fields_are_one_patch_with_an_integer_id() -> None:
    [write] = plan(answer(), update(subject="New", body="<p>Old</p>")).writes
    assert (write.request.method, write.request.path) == ("PATCH", f"/templates/{TEMPLATE}")
    assert json.loads(write.request.body or b"") == {
        "data": {"type": "template", "id": TEMPLATE, "attributes": {"subject": "New", "bodyHtml": "<p>Old</p>"}}
    }
    assert [field.field for field in write.fields] == ["template.subject", "template.body"]


def test_a_step_of_another_sequence_is_not_found() -> None:
    problem = refusal(answer(included=[template(), step(55), sequence()]), update(body="x"))
    assert problem.code is ErrorCode.NOT_FOUND_ERROR


@pytest.mark.parametrize("included", [[template()], [template(), step(None)], [], [template(), step() | {"id": 8}]])
def test_a_step_that_is_not_shown_is_not_missing(included: list[dict[str, Any]]) -> None:
    problem = refusal(answer(included=included), update(body="x"))
    assert (problem.code, problem.outcome) == (ErrorCode.BAD_GATEWAY_ERROR, Outcome.NOT_APPLIED)
    assert "does not show" in problem.detail


@pytest.mark.parametrize(
    "odd",
    [
        [template(archived="no"), step(), sequence()],
        [template(), step(stepType=4), sequence()],
        [template(), step(), {"type": "sequence", "id": SEQUENCE, "attributes": 3}],
        [template(), step(), {"type": "user"}, {"id": 5}],
        [{**template(), "id": str(TEMPLATE), "relationships": 4}, step()],
    ],
)
def test_a_member_that_is_not_needed_may_be_odd(odd: list[dict[str, Any]]) -> None:
    assert plan(answer(included=odd), update(body="x")).writes[0].fields[0].before == "<p>Old</p>"


@pytest.mark.parametrize("wrong", [3, [], {"a": 1}, True])
def test_a_member_that_is_needed_and_wrong_is_named(wrong: Any) -> None:
    problem = refusal(answer(included=[template(bodyHtml=wrong), step()]), update(body="x"))
    assert problem.code is ErrorCode.BAD_GATEWAY_ERROR
    assert "`bodyHtml`" in problem.detail


def test_of_the_texts_only_those_that_are_set_are_needed() -> None:
    stored = answer(included=[template(subject=4), step()])
    assert plan(stored, update(body="x")).writes[0].fields == (FieldChange("template.body", "<p>Old</p>", "x"),)
    assert refusal(stored, update(subject="x")).code is ErrorCode.BAD_GATEWAY_ERROR
    stored = answer(included=[template(bodyHtml=4), step()])
    assert plan(stored, update(subject="x")).writes[0].fields == (FieldChange("template.subject", "Old", "x"),)


def test_a_variant_without_its_template_is_a_failure() -> None:
    for stored in (answer(variant(template=None)), answer(included=[step(), sequence()])):
        assert refusal(stored, update(body="x")).code is ErrorCode.BAD_GATEWAY_ERROR


@pytest.mark.parametrize(("enabled", "chosen"), [([False, True, True], 1), ([True, False], 0), ([False, False], 0)])
def test_the_first_live_variant_is_changed_else_the_first(enabled: list[bool], chosen: int) -> None:
    variants = [variant(n, 30 + n, enabled=on) for n, on in enumerate(enabled)]
    templates = [template(30 + n) for n in range(len(enabled))]
    made = plan(answer(*variants, included=[*templates, step(), sequence()]), update(body="x"))
    assert made.writes[0].request.path == f"/templates/{30 + chosen}"
    assert kinds(made) == [WarningType.MULTIPLE_VARIANTS]


class Pages:
    """An Outreach whose collections have so many resources on a page, as it shows them: with a link to the next one."""

    def __init__(self, variants: list[dict[str, Any]], *, page: int, links: str = "path") -> None:
        self.variants = variants
        self.page = page
        self.links = links
        self.paths: list[str] = []

    async def read(self, request: ProviderRequest) -> ProviderResponse:
        self.paths.append(request.path)
        start = int(dict(parse_qsl(urlsplit(request.path).query)).get("page[after]", "0"))
        document: dict[str, Any] = answer(*self.variants[start : start + self.page])
        document["included"] += [template(30 + n) for n in range(len(self.variants))]
        if start + self.page < len(self.variants):
            query = f"filter%5BsequenceStep%5D%5Bid%5D=7&page%5Bafter%5D={start + self.page}"
            url = f"https://api.outreach.example/api/v2/sequenceTemplates?{query}"
            document["links"] = {"next": url if self.links == "path" else {"href": url}}
        return ProviderResponse(200, {}, json.dumps(document).encode())

    def is_needed(self, write: Write) -> bool:
        return bool(write.fields)


def users_of_one_template(steps: int) -> list[dict[str, Any]]:
    own = variant(template=30)
    others = [variant(n, 30) for n in range(1, steps)]
    for n, other in enumerate(others, start=1):
        other["relationships"]["sequenceStep"]["data"]["id"] = 1000 + n
    return [own, *others]


@pytest.mark.parametrize(
    ("of", "live", "page", "links"),
    [(61, 60, 50, "path"), (61, 49, 50, "object"), (120, 119, 50, "path"), (51, 50, 50, "object"), (7, 6, 2, "path")],
)
async def test_all_pages_of_the_variants_are_read(of: int, live: int, page: int, links: str) -> None:
    outreach = Pages([variant(n, 30 + n, enabled=n == live) for n in range(of)], page=page, links=links)
    made = await ADAPTER.plan(update(body="x"), outreach)
    assert made.writes[0].request.path == f"/templates/{30 + live}"
    assert f"with {of} variants" in made.warnings[0].detail
    assert len(outreach.paths) == -(-of // page)
    assert "page%5Bsize%5D=1000" in outreach.paths[0]
    assert {path.partition("?")[0] for path in outreach.paths} == {"/sequenceTemplates"}


@pytest.mark.parametrize(
    ("others", "more"), [(201, " and 181 more"), (60, " and 40 more"), (21, " and 1 more"), (20, "")]
)
async def test_all_steps_that_use_the_template_are_counted(others: int, more: str) -> None:
    outreach = Pages(users_of_one_template(others + 1), page=50)
    own = Pages(outreach.variants[:1], page=50)

    class BothCollections(Pages):
        async def read(self, request: ProviderRequest) -> ProviderResponse:
            return await (own if not own.paths else outreach).read(request)

    made = await ADAPTER.plan(update(body="x", validate_only=True), BothCollections([], page=50))
    [warning] = [each for each in made.write_warnings if each.type is WarningType.SHARED_TEMPLATE]
    assert f"{more}, which change with it" in warning.detail
    assert ("more" in warning.detail) == bool(more)


async def test_what_is_wrong_is_shown_with_the_answer_that_it_is_in() -> None:
    outreach = Scripted(answer(included=[template(subject=4), step(), sequence()]))
    with pytest.raises(UpdateFailed, match="`subject` of template 18 is not a text") as failure:
        await ADAPTER.plan(update(subject="New"), outreach)
    assert failure.value.problems[0].cause is not None


async def test_a_collection_without_an_end_is_given_up() -> None:
    outreach = Pages([variant(n, 30 + n) for n in range(300)], page=1)
    with pytest.raises(UpdateFailed) as failure:
        await ADAPTER.plan(update(body="x"), outreach)
    assert failure.value.problems[0].code is ErrorCode.BAD_GATEWAY_ERROR
    assert len(outreach.paths) == 50


@pytest.mark.parametrize("following", [None, "?page[size]=1", "?page%5Bsize%5D=1", "?a=1"])
async def test_a_page_that_leads_back_is_read_once(following: str | None) -> None:
    class Circle(Pages):
        async def read(self, request: ProviderRequest) -> ProviderResponse:
            self.paths.append(request.path)
            own = "?" + urlsplit(request.path).query
            document = answer() | {"links": {"next": following or own}}
            return ProviderResponse(200, {}, json.dumps(document).encode())

    circle = Circle([], page=1)
    with pytest.raises(UpdateFailed, match="do not end"):
        await ADAPTER.plan(update(body="x"), circle)
    assert len(circle.paths) == len(set(circle.paths)) <= 2


def test_a_sequence_that_is_on_has_a_warning() -> None:
    stored = answer(included=[template(), step(), sequence(enabled=True)])
    assert kinds(plan(stored, update(body="x"))) == [WarningType.SEQUENCE_ACTIVE]


def test_the_subject_of_a_reply_is_not_used() -> None:
    stored = answer(variant(is_reply=True))
    assert kinds(plan(stored, update(subject="New"))) == [WarningType.REPLY_SUBJECT_IGNORED]
    assert kinds(plan(stored, update(body="x"))) == []


def test_an_archived_template_has_a_warning() -> None:
    stored = answer(included=[template(archived=True), step(), sequence()])
    assert kinds(plan(stored, update(body="x"))) == [WarningType.TEMPLATE_ARCHIVED]


def test_template_first_then_custom_fields_with_integers() -> None:
    wanted = update(body="x", custom_fields={"interval": 7200, "taskNote": "a"})
    made = plan(answer(included=[template(), step(taskNote="a"), sequence()]), wanted)
    assert [write.request.path for write in made.writes] == ["/templates/18", "/sequenceSteps/7"]
    assert json.loads(made.writes[1].request.body or b"") == {
        "data": {"type": "sequenceStep", "id": STEP, "attributes": {"interval": 7200, "taskNote": "a"}}
    }


@pytest.mark.parametrize("key", ["id", "type", "stepType", "relationships", "sequence"])
def test_fields_that_would_move_the_step_are_refused(key: str) -> None:
    assert [found.field for found in ADAPTER.violations(update(custom_fields={key: 1}))] == [
        f"record.custom_fields.{key}"
    ]


@pytest.mark.parametrize(("named", "fields"), [("18", []), ("x", ["variant"]), ("", [])])
def test_a_variant_is_named_by_an_id(named: str, fields: list[str]) -> None:
    assert [each.field for each in ADAPTER.violations(update(body="x", variant=named))] == fields


@pytest.mark.parametrize(("etag", "fields"), [("e", ["id", "unknown", "Order"]), ("", ["id"])])
def test_with_an_etag_only_fields_that_it_covers_are_set(etag: str, fields: list[str]) -> None:
    wanted = update(custom_fields=dict.fromkeys(("order", "id", "unknown", "Order"), 1), etag=etag)
    found = [each.field.removeprefix("record.custom_fields.") for each in ADAPTER.violations(wanted)]
    assert [*dict.fromkeys(found)] == fields


@pytest.mark.parametrize(
    ("enabled", "chosen"),
    [([True, False, False, True], "4"), ([True, False, False, False], "2"), ([False, False, True, True], "3")],
)
def test_of_the_variants_with_a_named_template_the_first_live_one_is_changed(enabled: list[bool], chosen: str) -> None:
    ids = [17, 18, 18, 18, 19]
    variants = [variant(n, id, enabled=n > 4 or enabled[n - 1]) for n, id in enumerate(ids, 1)]
    stored = answer(*variants, included=[*(template(id, bodyHtml=str(id)) for id in (17, 19, 18)), step(), sequence()])
    made = plan(stored, update(body="x", variant="18"))
    assert made.warnings[0].facts["variant_id"] == chosen
    assert (made.writes[0].request.path, made.writes[0].fields[0].before) == ("/templates/18", "18")


def test_a_variant_that_is_not_there_is_not_found() -> None:
    problem = refusal(answer(variant(1, 17), variant(2, 19), variant(3, None)), update(body="x", variant="18"))
    assert problem.code is ErrorCode.VARIANT_NOT_FOUND_ERROR
    assert problem.facts["template_ids"] == "17,19"


@pytest.mark.parametrize(("link", "says"), [(None, "has no template"), ("missing", "does not show its template")])
def test_a_variant_without_a_template_is_a_failure(link: Any, says: str) -> None:
    made = variant()
    made["relationships"]["template"] = {"data": link}
    problem = refusal(answer(made), update(body="x"))
    assert (problem.code, says in problem.detail) == (ErrorCode.BAD_GATEWAY_ERROR, True)


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "abc", "01", "9" * 19, "١٢"])
def test_an_id_that_is_no_positive_integer_is_refused(value: str) -> None:
    assert [found.field for found in ADAPTER.violations(update(sequence_step_id=value))] == ["sequence_step_id"]


def response(status: int, body: Any, **headers: str) -> ProviderResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"content-type": "application/vnd.api+json"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    return ProviderResponse(status, named, data, (Secret("a-secret"), Secret("r-secret")))


def failure(status: int, body: Any, **headers: str) -> ResponseFailure | None:
    return ADAPTER.failure(REQUEST, response(status, body, **headers), CONNECTION)


def problems(status: int, body: Any, **headers: str) -> tuple[Problem, ...]:
    found = failure(status, body, **headers)
    return found.problems if found else ()


@pytest.mark.parametrize(("status", "is_good"), [(199, False), (200, True), (299, True), (300, False)])
def test_a_good_answer_has_no_problem(status: int, *, is_good: bool) -> None:
    assert (problems(status, {"data": {}}) == ()) is is_good


def test_several_errors_stay_several_in_order() -> None:
    first, second = problems(
        422,
        {
            "errors": [
                {
                    "id": "validationError",
                    "title": "Validation Error",
                    "detail": "Name can't be blank.",
                    "source": {"pointer": "/data/attributes/name"},
                },
                {
                    "id": "validationError",
                    "details": "Subject is too long.",
                    "source": {"pointer": "/data/attributes/subject"},
                },
            ]
        },
    )
    assert first.code is second.code is ErrorCode.UNPROCESSABLE_ENTITY_ERROR
    assert first.title == "Validation Error"
    assert "/data/attributes/name: Name can't be blank." in first.detail
    assert "/data/attributes/subject: Subject is too long." in second.detail
    assert second.title is None


def test_a_missing_scope_is_named() -> None:
    [problem] = problems(
        403, {"errors": [{"id": "unauthorizedOauthScope", "title": "Forbidden", "detail": "No scope."}]}
    )
    assert problem.code is ErrorCode.FORBIDDEN_ERROR
    assert "scopes templates.write" in problem.advice


@pytest.mark.parametrize(
    ("status", "id", "advice"),
    [
        (401, "unauthorizedOauthScope", "Reconnect"),
        (404, "unauthorizedOauthScope", "Check"),
        (403, "a", "Ask an"),
        (403, "z", "Ask an"),
    ],
)
def test_a_scope_is_missing_only_where_it_is_said(status: int, id: str, advice: str) -> None:
    [problem] = problems(status, {"errors": [{"id": id}]})
    assert problem.advice.startswith(advice)


def test_governance_is_an_administrators_business() -> None:
    [problem] = problems(403, {"errors": [{"id": "unauthorizedRequest", "detail": "Not allowed."}]})
    assert "administrator" in problem.advice


@pytest.mark.parametrize("header", ["retry_after", "x_ratelimit_reset"])
def test_a_used_up_hour_says_when_it_is_over(header: str) -> None:
    [problem] = problems(429, {"errors": [{"id": "rateLimitExceeded"}]}, **{header: "30"})
    assert (problem.code, problem.retry_after) == (ErrorCode.TOO_MANY_REQUESTS_ERROR, 30)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"errors": 3}', b'{"errors": []}', b'{"errors": [{"detail": 5, "source": 1}]}']
)
def test_an_error_of_another_shape_is_still_one_problem(body: bytes) -> None:
    [problem] = problems(503, body)
    assert problem.code is ErrorCode.SERVICE_UNAVAILABLE_ERROR


def test_an_echoed_token_is_taken_out() -> None:
    [problem] = problems(401, {"errors": [{"detail": "bad token a-secret"}]}, x_echo="r-secret")
    assert "a-secret" not in repr(problem)
    assert "r-secret" not in repr(problem)


def test_the_state_after_a_write_is_read_from_the_response() -> None:
    [write] = plan(answer(), update(body="<b>x</b>")).writes
    body = {"data": template(bodyHtml="<b>y</b>")}
    stored = write.stored(ProviderResponse(200, {}, json.dumps(body).encode()))
    assert stored == {"template.body": "<b>y</b>"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"data": null}',
        *(
            json.dumps(each).encode()
            for each in (
                {"data": template(99)},
                {"data": template(1)},
                {"data": {**template(), "type": "user"}},
                {"data": {**template(), "type": "sequenceStep"}},
                {"data": [template()]},
                {"data": template(), "errors": [{"id": "validationError"}]},
                {"data": {**template(), "error": "not saved"}},
                {"errors": [{"id": "x"}], "meta": {}},
                {"meta": 3},
            )
        ),
    ],
)
def test_an_answer_that_confirms_no_write_is_in_doubt(body: bytes) -> None:
    [write] = plan(answer(), update(body="x")).writes
    with pytest.raises(UpdateFailed) as raised:
        write.stored(ProviderResponse(200, {}, body))
    assert raised.value.problems[0].outcome is Outcome.UNKNOWN
    assert raised.value.problems[0].code is ErrorCode.BAD_GATEWAY_ERROR


@pytest.mark.parametrize(("status", "body"), [(204, b""), (200, b'{"meta": {}}'), (200, b'{"meta": {"took": 3}}')])
def test_a_write_may_be_answered_without_a_record(status: int, body: bytes) -> None:
    [write] = plan(answer(), update(body="x")).writes
    assert write.stored(ProviderResponse(status, {}, body)) is None


@pytest.mark.parametrize(("status", "is_done"), [(200, True), (201, True), (202, False), (203, True)])
def test_a_write_that_was_only_accepted_is_in_doubt(status: int, *, is_done: bool) -> None:
    [write] = plan(answer(), update(body="x")).writes
    record = {"data": {"type": "template", "id": TEMPLATE, "attributes": {"bodyHtml": "x"}}}
    response = ProviderResponse(status, {}, json.dumps(record).encode())
    if is_done:
        assert write.stored(response) == {"template.body": "x"}
    else:
        with pytest.raises(UpdateFailed, match="accepted and not carried out yet"):
            write.stored(response)


def test_the_fields_of_a_step_are_needed_where_some_are_set() -> None:
    stored = answer(included=[template(), step() | {"attributes": None}, sequence()])
    assert plan(stored, update(body="x")).writes
    assert "the attributes of the step" in refusal(stored, update(body="x", custom_fields={"order": 1})).detail


def test_a_new_field_may_be_ignored_and_a_known_one_is_shown() -> None:
    _, write = plan(answer(), update(body="x", custom_fields={"interval": 7, "unknown": 1})).writes

    def stored(**attributes: Any) -> Any:
        record = {"data": {"type": "sequenceStep", "id": STEP, "attributes": attributes}}
        return write.stored(ProviderResponse(200, {}, json.dumps(record).encode()))

    assert stored(interval=7) == {"custom_fields.interval": 7, "custom_fields.unknown": None}
    with pytest.raises(UpdateFailed, match="does not show `interval`"):
        stored(unknown=1)


@pytest.mark.parametrize("status", [200, 202, 205])
def test_nothing_but_204_may_be_empty(status: int) -> None:
    [write] = plan(answer(), update(body="x")).writes
    with pytest.raises(UpdateFailed) as failure:
        write.stored(ProviderResponse(status, {}, b""))
    assert failure.value.problems[0].outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(("status", "is_own"), [(400, False), (401, True), (402, False), (403, False)])
def test_an_empty_answer_may_refuse_a_token(status: int, *, is_own: bool) -> None:
    found = failure(status, b"", www_authenticate="Bearer")
    assert found is not None
    assert (found.by_provider, found.credentials_refused) == (is_own, is_own)


@pytest.mark.parametrize("status", [401, 403, 404, 409])
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"<html>no</html>", {"content_type": "text/html"}),
        ({"errors": [{"id": "x"}]}, {"cf_mitigated": "challenge"}),
        ({"message": "no Route matched"}, {"content_type": "application/json"}),
        ({"errors": []}, {}),
        (b"No.", {"content_type": "text/plain"}),
        (b"", {}),
    ],
)
def test_who_is_on_the_way_is_not_outreach(status: int, body: Any, headers: dict[str, str]) -> None:
    found = failure(status, body, **headers)
    assert found is not None
    assert (found.by_provider, found.refused, found.credentials_refused, found.may_pass) == (False, False, False, True)
    assert "acme" not in found.problems[0].detail + found.problems[0].advice


@pytest.mark.parametrize(
    ("status", "is_own"), [(400, True), (401, False), (402, True), (403, False), (404, False), (405, True), (422, True)]
)
def test_errors_of_another_form_blame_nobody(status: int, is_own: bool) -> None:  # noqa: FBT001
    found = failure(status, {"errors": [{"reason": "no Route matched"}]})
    assert found is not None
    assert found.by_provider is is_own


@pytest.mark.parametrize("member", ["id", "status", "code", "title", "detail", "details", "source"])
def test_an_error_of_json_api_is_outreachs(member: str) -> None:
    found = failure(401, {"errors": [{member: "x"}]})
    assert found is not None
    assert (found.by_provider, found.credentials_refused) == (True, True)


@pytest.mark.parametrize(
    ("status", "code", "wait", "advice"),
    [
        (400, ErrorCode.BAD_REQUEST, None, ""),
        (401, ErrorCode.UNAUTHORIZED_ERROR, None, "Reconnect customer acme to Outreach."),
        (402, ErrorCode.PAYMENT_REQUIRED_ERROR, None, ""),
        (403, ErrorCode.FORBIDDEN_ERROR, None, "Ask an Outreach administrator of customer acme"),
        (404, ErrorCode.NOT_FOUND_ERROR, None, "Check the ids"),
        (409, ErrorCode.CONFLICT_ERROR, None, ""),
        (422, ErrorCode.UNPROCESSABLE_ENTITY_ERROR, None, "Correct the value and repeat the call."),
        (429, ErrorCode.TOO_MANY_REQUESTS_ERROR, 7, "The user's hour is used up"),
        (499, ErrorCode.REMOTE_PROVIDER_ERROR, None, ""),
        (500, ErrorCode.BAD_GATEWAY_ERROR, None, "Try again later."),
        (501, ErrorCode.BAD_GATEWAY_ERROR, None, "No retry helps"),
        (502, ErrorCode.BAD_GATEWAY_ERROR, None, "Try again later."),
        (503, ErrorCode.SERVICE_UNAVAILABLE_ERROR, 7, "Outreach is under maintenance"),
        (504, ErrorCode.GATEWAY_TIMEOUT_ERROR, None, "Try again later."),
    ],
)
def test_a_status_has_its_advice(status: int, code: ErrorCode, wait: float | None, advice: str) -> None:
    found = failure(status, {"errors": [{"id": "x", "title": "No"}]}, retry_after="7")
    assert found is not None
    assert found.credentials_refused is (status == 401)
    [problem] = found.problems
    assert (problem.code, problem.retry_after) == (code, wait)
    assert problem.advice.startswith(advice)
    assert bool(problem.advice) is bool(advice)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"detail": " Too \n long "}, ": Too long."),
        ({"detail": "", "details": "In details.", "title": "T"}, ": In details."),
        ({"detail": 7, "title": "In the title"}, ": In the title."),
        ({"id": "x"}, ": no reason given."),
        ({"detail": "x" * 500}, ": " + "x" * 500 + "."),
        ({"detail": "x" * 501}, ": " + "x" * 500 + "."),
        ({"detail": "No.", "source": {"pointer": "/data/id"}}, " at /data/id: No."),
        ({"detail": "No.", "source": {"parameter": "filter"}}, " at filter: No."),
        ({"detail": "No.", "source": {"pointer": "p" * 201}}, " at " + "p" * 200 + ": No."),
        ({"detail": "No.", "source": {"pointer": 7}}, ": No."),
    ],
)
def test_the_providers_own_words_are_said(error: dict[str, Any], words: str) -> None:
    [problem] = problems(422, {"errors": [error]})
    assert problem.detail == f"Outreach answered 422 to templates{words}"


@pytest.mark.parametrize(("title", "shown"), [("T" * 200, "T" * 200), ("T" * 201, "T" * 200), ("", None), (7, None)])
def test_the_providers_title_is_said(title: Any, shown: str | None) -> None:
    [problem] = problems(422, {"errors": [{"title": title}]})
    assert problem.title == shown


def test_maintenance_is_a_refusal() -> None:
    found = failure(503, {"errors": [{"id": "scheduledServerMaintenance"}]}, retry_after="2999-01-01T00:00:00Z")
    assert found is not None
    assert found.refused
    assert found.problems[0].retry_after == 86400
    for status, ids in (
        (503, ["x"]),
        (503, ["a"]),
        (500, ["scheduledServerMaintenance"]),
        (504, ["scheduledServerMaintenance"]),
        (503, ["x", "scheduledServerMaintenance"]),
    ):
        other = failure(status, {"errors": [{"id": each} for each in ids]})
        assert other is not None
        assert not other.refused


@pytest.mark.parametrize("count", [100, 101])
def test_a_hundred_errors_are_shown(count: int) -> None:
    assert len(problems(422, {"errors": [{"id": str(number)} for number in range(count)]})) == 100


@pytest.mark.parametrize(
    ("status", "seconds"), [(428, None), (429, 9), (430, None), (502, None), (503, None), (504, None)]
)
def test_the_end_of_the_hour_is_said_where_it_is_used_up(status: int, seconds: float | None) -> None:
    [problem] = problems(status, {"errors": [{"id": "x"}]}, x_ratelimit_reset="9")
    assert problem.retry_after == seconds


@pytest.mark.parametrize(
    ("id", "facts"),
    [
        ("unauthorizedOauthScope", {"endpoint": "templates", "needs": "templates.write"}),
        ("a", {"endpoint": "templates"}),
        ("x", {"endpoint": "templates"}),
    ],
)
def test_what_a_token_has_to_allow_is_a_fact(id: str, facts: dict[str, str]) -> None:
    assert problems(403, {"errors": [{"id": id}]})[0].facts == facts


@pytest.mark.parametrize(
    ("body", "is_own"),
    [
        ({"error": "No."}, True),
        ({"error": "No.", "data": {}}, False),
        ({"error": ""}, False),
        ({"reason": "No."}, False),
    ],
)
@pytest.mark.parametrize("status", [399, 400, 401, 421, 422, 423])
def test_a_refusal_of_values_may_be_other_json(status: int, body: Any, *, is_own: bool) -> None:
    found = failure(status, body)
    assert found is not None
    assert found.by_provider is (is_own and status in (400, 422))


def test_variants_that_use_one_template_change_together() -> None:
    [warning] = plan(answer(variant(1), variant(2), variant(3, 99), variant(4, 9)), update(body="x")).warnings
    assert "1 other variant uses the same template" in warning.detail
    assert "2 with other templates stay" in warning.detail
    assert warning.facts["variant_id"] == "1"
    [warning] = plan(answer(variant(1, enabled=False), variant(2, 99, enabled=False)), update(body="x")).warnings
    assert "the first one, since none is live" in warning.detail


@pytest.mark.parametrize(("left", "ends_in"), [("5", None), ("0", 30.0)])
def test_the_window_is_an_hour_and_ends_when_it_is_said_to(left: str, ends_in: float | None) -> None:
    headers = {"x_ratelimit_remaining": left, "x_ratelimit_reset": "30"}
    assert list(ADAPTER.rate_windows(response(200, {}, **headers))) == [
        RateWindow("hourly", int(left), 3600.0, ends_in)
    ]
    assert ADAPTER.rate_windows(response(200, {}, x_ratelimit_reset="30")) == ()


# Reading.


@pytest.mark.parametrize(
    ("ids", "fields"),
    [
        (("54", "7"), []),
        (("54", ""), []),
        (("", ""), []),
        (("x", "7"), ["sequence_id"]),
        (("54", "0"), ["sequence_step_id"]),
        (("1.5", "-1"), ["sequence_id", "sequence_step_id"]),
    ],
)
def test_an_id_of_another_form_is_not_asked_for(ids: tuple[str, str], fields: list[str]) -> None:
    assert [each.field for each in ADAPTER.id_violations(StepRef(ADAPTER.provider, "acme", *ids))] == fields


def query(step_id: int | None = None, *, with_sharing: bool = False) -> StepQuery:
    named = str(step_id or "")
    return StepQuery(
        Provider("outreach"), "acme", str(SEQUENCE), named, names_step=bool(named), with_sharing=with_sharing
    )


def step_of(id: Any, sequence: int | None = SEQUENCE, **attributes: Any) -> dict[str, Any]:
    return step(sequence, **attributes) | {"id": id}


def variant_of(step_id: int | None, id: Any, template: int | None, **more: Any) -> dict[str, Any]:
    made = variant(id, template, **more)
    made["relationships"]["sequenceStep"] = {"data": {"type": "sequenceStep", "id": step_id} if step_id else None}
    return made


def shown(*steps: dict[str, Any], included: Sequence[dict[str, Any]] = (), about: Any = None) -> ShownSequence:
    return show(query(), steps, included, about)


class Scripted:
    """An Outreach that answers each read with the next document."""

    def __init__(self, *documents: dict[str, Any]) -> None:
        self._documents = list(documents)
        self.requests: list[ProviderRequest] = []

    async def read(self, request: ProviderRequest) -> ProviderResponse:
        self.requests.append(request)
        return ProviderResponse(200, {}, json.dumps(self._documents.pop(0)).encode())

    def is_needed(self, write: Write) -> bool:
        return bool(write.fields)

    @property
    def paths(self) -> list[str]:
        return [unquote(request.path) for request in self.requests]


SPARSE = (
    "include=template,sequenceStep.sequence&fields[sequenceTemplate]=enabled,isReply,sequenceStep,template"
    "&fields[template]=subject,bodyHtml,archived&fields[sequence]=enabled"
    "&fields[sequenceStep]=stepType,sequence,order,interval,date,taskNote,taskAutoskipDelay&page[size]=1000&count=false"
)


def test_steps_are_shown_in_order_with_their_own_variants() -> None:
    found = shown(
        step_of(9, order=3, stepType="call", interval=None),
        step_of(8, order=2, interval=86_400),
        step_of(7, order=1, interval=0),
        included=[
            variant_of(7, 12, 30, is_reply=True),
            variant_of(8, 21, 30),
            variant_of(7, 11, 31, enabled=False),
            variant_of(7, 2, 32),
            variant_of(None, 22, 30),
            variant_of(8, 23, None),
            template(30, archived=True),
            template(31, subject=None),
            template(32, subject=4),
            sequence(),
            # Of other types, with the relationships of a variant and the ids of templates.
            *(variant_of(7, 30, 30) | {"type": kind} for kind in ("mailing", "task", "user")),
        ],
        about={"attributes": {"name": "Welcome", "enabled": False}},
    )
    assert (found.sequence_id, found.name, found.is_enabled, found.is_archived) == (
        str(SEQUENCE),
        "Welcome",
        False,
        None,
    )
    first, second, third = found.steps
    assert [(each.sequence_step_id, each.type, each.order, each.interval_seconds) for each in found.steps] == [
        ("7", "auto_email", 1, 0),
        ("8", "auto_email", 2, 86_400),
        ("9", "call", 3, None),
    ]
    assert [(each.variant_id, each.template_id, each.sharing) for each in first.variants] == [
        ("2", "32", ()),
        ("11", "31", ()),
        ("12", "30", ("8",)),
    ]
    assert [(each.is_live, each.is_default, each.is_reply, each.is_archived) for each in first.variants] == [
        (True, True, False, False),
        (False, False, False, False),
        (True, False, True, True),
    ]
    assert [each.texts for each in first.variants] == [
        None,
        {"template.subject": None, "template.body": "<p>Old</p>"},
        {"template.subject": "Old", "template.body": "<p>Old</p>"},
    ]
    assert [(each.variant_id, each.template_id, each.texts, each.sharing) for each in second.variants] == [
        ("21", "30", {"template.subject": "Old", "template.body": "<p>Old</p>"}, ("7",)),
        ("23", "", None, ()),
    ]
    assert third.variants == ()
    # What is known of one sequence is not all that uses a template.
    assert not any(each.is_sharing_complete for each in (*first.variants, *second.variants))


def test_steps_that_share_come_by_number() -> None:
    found = shown(
        *(step_of(id, order=id) for id in (7, 9, 10)),
        included=[*(variant_of(id, id, TEMPLATE) for id in (10, 9, 7)), template()],
    )
    assert [each.variants[0].sharing for each in found.steps] == [("9", "10"), ("7", "10"), ("7", "9")]


def test_what_has_no_place_comes_first_and_keeps_its_order() -> None:
    found = shown(step_of(7, order=1), step_of(5, order=0), step_of(9), step_of(8, order="2"), step_of(6, order=-1))
    assert [(each.sequence_step_id, each.order) for each in found.steps] == [
        ("6", -1),
        ("5", 0),
        ("9", None),
        ("8", None),
        ("7", 1),
    ]


def test_without_a_live_variant_the_first_is_the_default() -> None:
    [found] = shown(
        step_of(7), included=[variant_of(7, 12, 30, enabled=False), variant_of(7, 11, 31, enabled=False)]
    ).steps
    assert [(each.variant_id, each.is_live, each.is_default) for each in found.variants] == [
        ("11", False, True),
        ("12", False, False),
    ]


@pytest.mark.parametrize("odd", [None, "x", 7.5])
def test_a_list_with_a_step_without_an_id_is_not_shown(odd: Any) -> None:
    with pytest.raises(UpdateFailed) as failure:
        shown(step_of(7), step_of(odd))
    assert "its steps with all of their variants" in failure.value.problems[0].detail


def test_steps_of_other_sequences_are_left_out() -> None:
    found = shown(step_of(7), step_of(8, SEQUENCE + 1), step_of(9, SEQUENCE - 1), step_of(6, None))
    assert [each.sequence_step_id for each in found.steps] == ["7", "6"]


@pytest.mark.parametrize("about", [None, {}, {"attributes": 3}, {"attributes": {"name": 4, "enabled": "yes"}}])
def test_an_odd_sequence_is_shown_without_what_is_odd(about: Any) -> None:
    found = shown(step_of("7") | {"attributes": None}, about=about)
    assert (found.name, found.is_enabled) == ("", None)
    [only] = found.steps
    assert (only.sequence_step_id, only.type, only.order, only.interval_seconds, only.fields) == (
        "7",
        "",
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (2**31 - 1, 2**31 - 1),
        (2**31, None),
        (1 - 2**31, 1 - 2**31),
        (-(2**31), None),
        (2.0, 2),
        (2.5, None),
        (True, None),
        ("2", None),
    ],
)
def test_a_place_is_a_whole_number(given: Any, kept: int | None) -> None:
    assert shown(step_of(7, order=given)).steps[0].order == kept


@pytest.mark.parametrize(("given", "kept"), [(2**53, 2**53), (2**53 + 1, None), (1e400, None), (0.5, None)])
def test_a_wait_is_a_whole_number_of_seconds(given: Any, kept: int | None) -> None:
    assert shown(step_of(7, interval=given)).steps[0].interval_seconds == kept


def test_an_etag_stands_for_the_fields_that_can_be_set() -> None:
    [found] = shown(step_of(7, order=4, taskNote="Call", unknown=1)).steps
    assert found.fields == {"order": 4, "interval": 3600, "date": None, "taskNote": "Call", "taskAutoskipDelay": None}


async def test_a_step_is_read_with_its_variants_in_one_call() -> None:
    outreach = Scripted(answer(variant(2, TEMPLATE), variant(1, 19, enabled=False)))
    found = await ADAPTER.read(query(STEP), outreach)
    assert outreach.paths == [f"/sequenceTemplates?filter[sequenceStep][id]={STEP}&{SPARSE}"]
    [request] = outreach.requests
    assert (request.method, request.endpoint) == ("GET", "sequenceTemplates")
    assert request.needs == "sequenceTemplates.read, templates.read, sequenceSteps.read and sequences.read"
    assert (found.sequence_id, found.is_enabled) == (str(SEQUENCE), False)
    [only] = found.steps
    # In the provider's order, by which an update chooses.
    assert [(each.variant_id, each.is_default, each.is_sharing_complete) for each in only.variants] == [
        ("2", True, False),
        ("1", False, False),
    ]


async def test_a_step_without_variants_is_read_itself() -> None:
    alone = {"data": step(stepType="call"), "included": [sequence(enabled=True)]}
    outreach = Scripted({"data": []}, alone)
    found = await ADAPTER.read(query(STEP, with_sharing=True), outreach)
    assert outreach.paths[1:] == [f"/sequenceSteps/{STEP}?include=sequence&fields[sequence]=enabled"]
    assert outreach.requests[1].needs == "sequenceSteps.read and sequences.read"
    assert (found.is_enabled, found.steps[0].type, found.steps[0].variants) == (True, "call", ())


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"data": step(SEQUENCE + 1)}, ErrorCode.NOT_FOUND_ERROR),
        ({"data": step(None)}, ErrorCode.BAD_GATEWAY_ERROR),
        ({"data": step_of(STEP + 1)}, ErrorCode.BAD_GATEWAY_ERROR),
        ({"data": step_of(STEP - 1)}, ErrorCode.BAD_GATEWAY_ERROR),
        ({"data": step(SEQUENCE - 1)}, ErrorCode.NOT_FOUND_ERROR),
        ({"data": step() | {"type": "z"}}, ErrorCode.BAD_GATEWAY_ERROR),
        ({"data": step() | {"type": "sequence"}}, ErrorCode.BAD_GATEWAY_ERROR),
        ({"data": None}, ErrorCode.BAD_GATEWAY_ERROR),
    ],
)
async def test_a_step_that_is_not_the_one_is_not_shown(document: dict[str, Any], code: ErrorCode) -> None:
    with pytest.raises(UpdateFailed) as failure:
        await ADAPTER.read(query(STEP), Scripted({"data": []}, document))
    assert [problem.code for problem in failure.value.problems] == [code]


async def test_a_step_of_another_sequence_is_not_shown_with_its_variants() -> None:
    outreach = Scripted(answer(included=[template(), step(SEQUENCE + 1)]))
    with pytest.raises(UpdateFailed) as failure:
        await ADAPTER.read(query(STEP), outreach)
    assert failure.value.problems[0].code is ErrorCode.NOT_FOUND_ERROR


async def test_who_else_uses_its_templates_is_asked_once() -> None:
    variants = [variant(1, 31), variant(2, 30), variant(3, 31), variant(4, None), variant(5, 32)]
    users = [
        variant_of(STEP, 1, 31),
        variant_of(10, 2, 31),
        variant_of(9, 3, 31),
        variant_of(9, 4, 30),
        variant_of(STEP, 7, 30),
        variant_of(None, 5, 30),
        variant_of(8, 6, None),
    ]
    outreach = Scripted(answer(*variants), {"data": users})
    [found] = (await ADAPTER.read(query(STEP, with_sharing=True), outreach)).steps
    assert outreach.paths[1:] == [
        (
            "/sequenceTemplates?filter[template][id]=30,31,32&fields[sequenceTemplate]=sequenceStep,template"
            "&page[size]=1000&count=false"
        )
    ]
    assert outreach.requests[1].needs == "sequenceTemplates.read"
    assert [(each.sharing, each.is_sharing_complete) for each in found.variants] == [
        (("9", "10"), True),
        (("9",), True),
        (("9", "10"), True),
        ((), False),
        ((), False),
    ]


@pytest.mark.parametrize(
    ("users", "is_refused"),
    [
        ([], True),
        ([variant_of(STEP, 1, TEMPLATE)], False),
        ([variant_of(STEP, 1, TEMPLATE), variant_of(None, 2, TEMPLATE)], False),
        ([variant_of(STEP, 1, TEMPLATE), variant_of(9, 2, None)], False),
        ([variant_of(STEP, 1, TEMPLATE), {"type": "sequenceTemplate", "id": 2}], True),
        ([variant_of(STEP, 1, TEMPLATE), {"id": 2}, variant_of(None, 3, TEMPLATE)], True),
        ([variant_of(STEP, 1, TEMPLATE + 1)], True),
    ],
)
async def test_that_nobody_else_uses_a_template_has_to_be_shown(
    users: list[dict[str, Any]], *, is_refused: bool
) -> None:
    wanted = update(body="x", refuse_shared=True)
    if is_refused:
        with pytest.raises(UpdateFailed, match="which steps use the template"):
            await ADAPTER.plan(wanted, Scripted(answer(), {"data": users}))
    else:
        assert (await ADAPTER.plan(wanted, Scripted(answer(), {"data": users}))).sharing == ()
    assert (
        await ADAPTER.plan(
            replace(wanted, refuse_shared=False, validate_only=True), Scripted(answer(), {"data": users})
        )
    ).sharing == ()
    assert (await ADAPTER.plan(replace(wanted, refuse_shared=False), Scripted(answer()))).sharing == ()


async def test_a_step_that_is_not_among_the_users_does_not_share_with_itself() -> None:
    outreach = Scripted(answer(), {"data": [variant_of(9, 1, TEMPLATE)]})
    [found] = (await ADAPTER.read(query(STEP, with_sharing=True), outreach)).steps
    assert [(each.sharing, each.is_sharing_complete) for each in found.variants] == [(("9",), False)]


async def test_a_sequence_is_read_with_its_steps_in_one_call() -> None:
    named = {"type": "sequence", "id": SEQUENCE, "attributes": {"name": "Welcome", "enabled": True}}
    outreach = Scripted({"data": [step()], "included": [named, variant(), template()]})
    found = await ADAPTER.read(query(), outreach)
    assert outreach.paths == [
        (
            f"/sequenceSteps?filter[sequence][id]={SEQUENCE}&include=sequence,sequenceTemplates.template"
            "&fields[sequenceStep]=stepType,sequence,sequenceTemplates,order,interval,date,taskNote,taskAutoskipDelay"
            "&fields[sequenceTemplate]=enabled,isReply,sequenceStep,template&fields[template]=subject,bodyHtml,archived"
            "&fields[sequence]=name,enabled&page[size]=1000&count=false"
        )
    ]
    assert (found.name, found.is_enabled, len(found.steps[0].variants)) == ("Welcome", True, 1)


async def test_a_sequence_without_steps_is_read_itself() -> None:
    named = {"type": "sequence", "id": SEQUENCE, "attributes": {"name": "Empty", "enabled": False}}
    outreach = Scripted({"data": []}, {"data": named})
    found = await ADAPTER.read(query(), outreach)
    assert outreach.paths[1:] == [f"/sequences/{SEQUENCE}?fields[sequence]=name,enabled"]
    assert (outreach.requests[1].method, outreach.requests[1].needs) == ("GET", "sequences.read")
    assert (found.name, found.is_enabled, found.steps) == ("Empty", False, ())
    with pytest.raises(UpdateFailed, match="another one"):
        await ADAPTER.read(query(), Scripted({"data": []}, {"data": named | {"id": SEQUENCE + 1}}))


@pytest.mark.parametrize("own", [[variant_of(STEP, 1, TEMPLATE)], []])
async def test_an_update_that_leaves_shared_templates_names_the_other_steps(own: list[dict[str, Any]]) -> None:
    users = [*own, variant_of(10, 2, TEMPLATE), variant_of(9, 3, TEMPLATE)]
    outreach = Scripted(answer(), {"data": users})
    made = await ADAPTER.plan(update(body="x", refuse_shared=True), outreach)
    assert f"filter[template][id]={TEMPLATE}&" in outreach.paths[1]
    assert made.sharing == ("9", "10")
    assert kinds(made) == [WarningType.SHARED_TEMPLATE]


async def test_whether_others_use_a_template_is_asked_only_where_it_is_written() -> None:
    class HoldsItAlready(Scripted):
        def is_needed(self, write: Write) -> bool:
            return str(write.fields[0].before) != str(write.fields[0].after)

    outreach = HoldsItAlready(answer(), {"data": []})
    wanted = update(body="<p>Old</p>", custom_fields={"taskNote": "New"}, refuse_shared=True)
    made = await ADAPTER.plan(wanted, outreach)
    assert (len(outreach.paths), made.sharing) == (1, ())


@pytest.mark.parametrize("fields", [{}, {"taskNote": "x"}])
async def test_all_fields_of_the_step_are_read_where_some_are_set(fields: dict[str, Any]) -> None:
    outreach = Scripted(answer())
    await ADAPTER.plan(update(body="x", custom_fields=fields), outreach)
    assert ("fields[sequenceStep]=stepType,sequence,order" in outreach.paths[0]) is (not fields)
