"""What an update comes to at Apollo: from its answer and the wanted update to a plan, with no server."""

import json
from typing import Any

import pytest

from service.domain.credentials import ApiKeyCredentials, Connection, Secret
from service.domain.errors import ErrorCode, Outcome, Problem, UpdateFailed
from service.domain.sequence import ShownSequence, StepQuery
from service.domain.step import FieldChange, Provider, StepRef, StepUpdate, WarningType
from service.providers.adapter import Plan, ProviderRequest, ProviderResponse, RateWindow, ResponseFailure
from service.providers.apollo import Apollo, decide, show
from tests.support.apollo import OTHER, SEQUENCE, STEP, TEMPLATE, answer, template, touch, update

ADAPTER = Apollo("https://api.apollo.example/api/v1", "https://app.apollo.example/oauth/token")
CONNECTION = Connection(1, 1, "acme", Provider("apollo"), ApiKeyCredentials(Secret("k-secret")))
OTHER_TEMPLATE = "5f0000000000000000000399"
REQUEST = ProviderRequest("PUT", "/emailer_templates/1", "emailer_templates/update", "a master API key")


def plan(stored: dict[str, Any], wanted: StepUpdate) -> Plan:
    return decide(wanted, ProviderResponse(200, {}, json.dumps(stored).encode()))


def kinds(made: Plan) -> list[WarningType]:
    return [warning.type for warning in (*made.warnings, *made.write_warnings)]


def refusal(stored: dict[str, Any], wanted: StepUpdate) -> Problem:
    with pytest.raises(UpdateFailed) as failure:
        plan(stored, wanted)
    [problem] = failure.value.problems
    return problem


def test_all_named_fields_are_one_flat_write() -> None:
    [write] = plan(answer(), update(subject="New", body="<p>Old</p>")).writes
    assert (write.request.method, write.request.path) == ("PUT", f"/emailer_templates/{TEMPLATE}")
    assert json.loads(write.request.body or b"") == {"subject": "New", "body_html": "<p>Old</p>"}
    assert write.fields == (
        FieldChange("template.subject", "Old", "New"),
        FieldChange("template.body", "<p>Old</p>", "<p>Old</p>"),
    )


def test_an_empty_string_is_a_value() -> None:
    [write] = plan(answer(), update(body="")).writes
    assert json.loads(write.request.body or b"") == {"body_html": ""}


def test_null_differs_from_an_empty_string() -> None:
    stored = answer(emailer_templates=[template(subject=None)])
    assert plan(stored, update(subject="")).writes[0].fields == (FieldChange("template.subject", None, ""),)


@pytest.mark.parametrize("steps", [None, [], [None, 3, {}, {"id": None}, {"id": 5}]])
def test_a_step_that_is_not_there_is_not_found(steps: Any) -> None:
    assert refusal(answer(emailer_steps=steps), update(body="x")).code is ErrorCode.NOT_FOUND_ERROR


def test_a_step_without_a_template_says_its_type() -> None:
    problem = refusal(answer(), update(sequence_step_id=OTHER, body="x"))
    assert problem.code is ErrorCode.UNPROCESSABLE_ENTITY_ERROR
    assert "type call" in problem.detail


def test_custom_fields_of_a_step_without_a_template_can_be_set() -> None:
    [write] = plan(answer(), update(sequence_step_id=OTHER, custom_fields={"note": "ring twice"})).writes
    assert (write.request.method, write.request.path) == ("PUT", f"/emailer_steps/{OTHER}")
    assert json.loads(write.request.body or b"") == {"note": "ring twice"}


@pytest.mark.parametrize("name", ["emailer_steps", "emailer_touches"])
@pytest.mark.parametrize("value", ["missing", "loading", 3, {}])
def test_what_is_missing_is_not_shown(name: str, value: Any) -> None:
    stored = answer(**{name: value})
    if value == "missing":
        del stored[name]
    problem = refusal(stored, update(body="x"))
    assert (problem.code, problem.outcome) == (ErrorCode.BAD_GATEWAY_ERROR, Outcome.NOT_APPLIED)
    assert f"does not show `{name}`" in problem.detail


@pytest.mark.parametrize(
    "odd",
    [
        {"emailer_campaign": None},
        {"emailer_campaign": {"active": "loading"}},
        {"emailer_campaign": 7},
        {"emailer_touches": [None, "x", {"emailer_step_id": 3}, {k: v for k, v in touch().items() if k != "id"}]},
        {"emailer_touches": [touch(status=4, type={}, bounce_rate=[])]},
        {"emailer_templates": [None, 4, {"id": 5}, template(archived="no", name=7)]},
        {"emailer_steps": [None, {"id": STEP, "type": 9}]},
        {"attachments": "none", "unknown": {"deep": [[[]]]}},
    ],
)
def test_a_member_that_is_not_needed_may_be_odd(odd: dict[str, Any]) -> None:
    [write] = plan(answer(**odd), update(subject="New", body="x")).writes
    assert [field.before for field in write.fields] == ["Old", "<p>Old</p>"]


@pytest.mark.parametrize("wrong", [3, [], {"a": 1}, True])
def test_a_member_that_is_needed_and_wrong_is_named(wrong: Any) -> None:
    problem = refusal(answer(emailer_templates=[template(subject=wrong)]), update(subject="New"))
    assert problem.code is ErrorCode.BAD_GATEWAY_ERROR
    assert "`subject`" in problem.detail
    assert plan(answer(emailer_templates=[template(subject=wrong)]), update(body="x")).writes


def test_another_sequence_in_the_answer_is_not_believed() -> None:
    stored = answer(emailer_campaign={"id": "5f0000000000000000000009"})
    assert refusal(stored, update(body="x")).code is ErrorCode.BAD_GATEWAY_ERROR


def test_ids_in_upper_case_are_the_same_ids() -> None:
    wanted = update(sequence_id=SEQUENCE.upper(), sequence_step_id=STEP.upper(), body="x", custom_fields={"note": "n"})
    template_write, step_write = plan(answer(), wanted).writes
    assert template_write.request.path == f"/emailer_templates/{TEMPLATE}"
    assert step_write.request.path == f"/emailer_steps/{STEP}"


@pytest.mark.parametrize("templates", [None, [], [template("5f0000000000000000000399")]])
def test_a_template_that_is_not_shown_is_a_failure(templates: Any) -> None:
    problem = refusal(answer(emailer_templates=templates), update(body="x"))
    assert problem.code is ErrorCode.BAD_GATEWAY_ERROR
    assert TEMPLATE in problem.detail


@pytest.mark.parametrize("touches", [None, []])
def test_a_mail_step_without_touches_has_no_template(touches: Any) -> None:
    assert refusal(answer(emailer_touches=touches), update(body="x")).code is ErrorCode.UNPROCESSABLE_ENTITY_ERROR


@pytest.mark.parametrize(
    ("statuses", "chosen"),
    [
        (["to_be_reviewed", "approved", "approved"], 1),
        (["approved", "to_be_reviewed"], 0),
        (["to_be_reviewed", "to_be_reviewed"], 0),
        ([None, "approved"], 1),
    ],
)
def test_the_first_live_variant_is_changed_else_the_first(statuses: list[str | None], chosen: int) -> None:
    ids = [f"5f00000000000000000003{n:02}" for n in range(len(statuses))]
    touches = [touch(f"t{n}", template=ids[n], status=status) for n, status in enumerate(statuses)]
    made = plan(answer(emailer_touches=touches, emailer_templates=[template(id) for id in ids]), update(body="x"))
    assert made.writes[0].request.path.endswith(ids[chosen])
    assert WarningType.MULTIPLE_VARIANTS in kinds(made)


@pytest.mark.parametrize(("others", "more"), [(201, " and 181 more"), (21, " and 1 more"), (20, "")])
def test_all_steps_that_share_the_template_are_counted(others: int, more: str) -> None:
    ids = [f"5f{number:022x}" for number in range(0x1000, 0x1000 + others)]
    stored = answer()
    stored["emailer_steps"] += [{"id": each, "type": "auto_email"} for each in ids]
    stored["emailer_touches"] += [touch(f"t{each}", each) for each in ids]
    [warning] = plan(stored, update(body="x")).write_warnings
    assert f"{more}, which change with it" in warning.detail
    assert ("more" in warning.detail) == bool(more)
    assert warning.facts["step_count"] == str(others)


def test_steps_that_share_the_template_are_named() -> None:
    made = plan(answer(emailer_touches=[touch(), touch("t2", OTHER)]), update(body="x"))
    [warning] = made.write_warnings
    assert warning.type is WarningType.SHARED_TEMPLATE
    assert OTHER in warning.detail
    assert STEP not in warning.detail


def test_steps_that_share_the_template_come_in_their_order() -> None:
    ids = [f"5f00000000000000000001{number:02}" for number in (9, 8, 7, 6, 5)]
    steps = [{"id": each.upper(), "type": "auto_email"} for each in (ids[1], STEP, ids[0])]
    touches = [touch(), *(touch(each, each) for each in reversed(ids)), touch("again", step=ids[0]), touch("none", "x")]
    made = plan(answer(emailer_steps=steps, emailer_touches=touches), update(body="x"))
    # What is not shown itself comes last.
    assert made.sharing == (ids[1], ids[0], *sorted(ids[2:]))


@pytest.mark.parametrize(("user", "is_shown"), [("x", False), (None, False), (OTHER, True), (STEP.upper(), True)])
def test_to_leave_a_shared_template_all_its_users_have_to_be_shown(user: Any, *, is_shown: bool) -> None:
    stored = answer(emailer_touches=[touch(), touch("t2", user)])
    assert plan(stored, update(body="x")).writes
    if is_shown:
        assert plan(stored, update(body="x", refuse_shared=True)).sharing == ((OTHER,) if user == OTHER else ())
    else:
        problem = refusal(stored, update(body="x", refuse_shared=True))
        assert (problem.code, "which steps use the template" in problem.detail) == (ErrorCode.BAD_GATEWAY_ERROR, True)


def test_variants_that_use_one_template_change_together() -> None:
    stored = answer(emailer_touches=[touch("t1"), touch("t2"), touch("t3", template=OTHER_TEMPLATE)])
    [warning] = plan(stored, update(body="x")).warnings
    assert "1 other variant uses the same template" in warning.detail
    assert "1 with another template stays" in warning.detail


@pytest.mark.parametrize(
    ("statuses", "chosen"),
    [(["approved", "no", "approved"], "t2"), (["approved", "no", "no"], "t1"), (["no", "approved", "no"], "t1")],
)
def test_of_the_variants_with_a_named_template_the_first_live_one_is_changed(statuses: list[str], chosen: str) -> None:
    templates = [OTHER_TEMPLATE, TEMPLATE, TEMPLATE]
    touches = [touch(f"t{n}", template=templates[n], status=status) for n, status in enumerate(statuses)]
    made = plan(answer(emailer_touches=touches), update(body="x", variant=TEMPLATE.upper()))
    assert made.warnings[0].facts["variant_id"] == chosen
    assert made.content.template_id == TEMPLATE


def test_a_variant_that_is_not_there_is_not_found() -> None:
    stored = answer(emailer_touches=[touch(), touch("t2", template=None), touch("t3", template="x")])
    problem = refusal(stored, update(body="x", variant=OTHER_TEMPLATE))
    assert problem.code is ErrorCode.VARIANT_NOT_FOUND_ERROR
    assert problem.facts["template_ids"] == TEMPLATE


@pytest.mark.parametrize(
    ("template_id", "says"), [(None, "has no template"), ("x/../y", "which template"), (7, "which")]
)
def test_a_variant_without_a_template_that_can_be_named_is_a_failure(template_id: Any, says: str) -> None:
    problem = refusal(answer(emailer_touches=[touch(template=template_id)]), update(body="x"))
    assert (problem.code, says in problem.detail) == (ErrorCode.BAD_GATEWAY_ERROR, True)


def test_a_step_that_hangs_elsewhere_is_not_found() -> None:
    steps = [{"id": STEP, "type": "auto_email", "emailer_campaign_id": OTHER}]
    assert refusal(answer(emailer_steps=steps), update(body="x")).code is ErrorCode.NOT_FOUND_ERROR


@pytest.mark.parametrize(
    ("given", "said"), [("phone_call", "phone_call"), ("a b", "unknown"), (7, "unknown"), ("x" * 21, "unknown")]
)
def test_a_type_is_named_if_it_can_be_one(given: Any, said: str) -> None:
    stored = answer(emailer_steps=[{"id": STEP, "type": given}], emailer_touches=[])
    assert f"is of type {said} and has no template" in refusal(stored, update(body="x")).detail


def test_a_sequence_that_is_on_has_a_warning() -> None:
    assert kinds(plan(answer(emailer_campaign={"active": True}), update(body="x"))) == [WarningType.SEQUENCE_ACTIVE]


def test_the_subject_of_a_reply_is_not_used() -> None:
    stored = answer(emailer_touches=[touch(type="reply_to_thread")], emailer_templates=[template(subject=None)])
    assert WarningType.REPLY_SUBJECT_IGNORED in kinds(plan(stored, update(subject="New")))
    assert kinds(plan(stored, update(body="x"))) == []


def test_an_archived_template_has_a_warning() -> None:
    stored = answer(emailer_templates=[template(archived=True)])
    assert kinds(plan(stored, update(body="x"))) == [WarningType.TEMPLATE_ARCHIVED]


def test_template_first_then_custom_fields() -> None:
    made = plan(answer(), update(body="x", custom_fields={"wait_time": 3, "wait_mode": "day", "note": None}))
    assert [write.request.endpoint for write in made.writes] == ["emailer_templates/update", "emailer_steps/update"]
    # What the step holds already, a null among it, is not sent.
    assert json.loads(made.writes[1].request.body or b"") == {"wait_time": 3, "wait_mode": "day", "note": None}


@pytest.mark.parametrize("key", ["id", "emailer_campaign_id", "type", "emailer_touches"])
def test_fields_that_would_move_the_step_are_refused(key: str) -> None:
    [violation] = ADAPTER.violations(update(custom_fields={key: "x"}))
    assert violation.field == f"record.custom_fields.{key}"


@pytest.mark.parametrize(("named", "fields"), [(TEMPLATE.upper(), []), ("x", ["variant"]), ("", [])])
def test_a_variant_is_named_by_an_id(named: str, fields: list[str]) -> None:
    assert [each.field for each in ADAPTER.violations(update(body="x", variant=named))] == fields


@pytest.mark.parametrize(("etag", "fields"), [("e", ["id", "unknown", "Note"]), ("", ["id"])])
def test_with_an_etag_only_fields_that_it_covers_are_set(etag: str, fields: list[str]) -> None:
    wanted = update(custom_fields=dict.fromkeys(("note", "id", "unknown", "Note"), 1), etag=etag)
    found = [each.field.removeprefix("record.custom_fields.") for each in ADAPTER.violations(wanted)]
    assert [*dict.fromkeys(found)] == fields


@pytest.mark.parametrize(
    "value", ["54", "5f000000000000000000010g", "5f0000000000000000000101 ", "5f00000000000000000001011"]
)
def test_an_id_of_another_form_is_refused(value: str) -> None:
    assert [found.field for found in ADAPTER.violations(update(sequence_id=value, sequence_step_id=STEP))] == [
        "sequence_id"
    ]


def response(status: int, body: Any, **headers: str) -> ProviderResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "text/plain" if isinstance(body, bytes) else "application/json; charset=utf-8"
    named = {"content-type": kind} | {name.replace("_", "-"): value for name, value in headers.items()}
    return ProviderResponse(status, named, data, (Secret("k-secret"),))


def failure(status: int, body: Any, **headers: str) -> ResponseFailure | None:
    return ADAPTER.failure(REQUEST, response(status, body, **headers), CONNECTION)


def problems(status: int, body: Any, **headers: str) -> tuple[Problem, ...]:
    found = failure(status, body, **headers)
    return found.problems if found else ()


def test_a_good_answer_has_no_problem() -> None:
    assert problems(200, {"emailer_template": {"id": TEMPLATE, "name": 'an "error" in a name'}}) == ()


@pytest.mark.parametrize("status", [200, 201, 299])
def test_a_good_status_with_an_error_is_a_refusal(status: int) -> None:
    found = failure(status, {"error": "Wait mode must be valid", "success": False})
    assert found is not None
    assert (found.by_provider, found.refused) == (True, True)
    [problem] = found.problems
    assert problem.code is ErrorCode.UNPROCESSABLE_ENTITY_ERROR
    assert "Wait mode must be valid" in problem.detail
    assert problem.cause is not None
    assert problem.cause.status == status


@pytest.mark.parametrize(
    ("body", "headers", "code", "wait"),
    [
        (
            {
                "message": "The maximum number of api calls allowed for x is 400 times per hour. Please upgrade your plan"
            },
            {"retry_after": "37"},
            ErrorCode.TOO_MANY_REQUESTS_ERROR,
            37,
        ),
        (
            {
                "message": "The maximum number of api calls allowed for x is 50 times per minute. Please upgrade your plan"
            },
            {},
            ErrorCode.TOO_MANY_REQUESTS_ERROR,
            None,
        ),
        ({"error": "Busy", "retry_after_seconds": 4}, {}, ErrorCode.TOO_MANY_REQUESTS_ERROR, 4),
        (
            {"error": "This endpoint is only available to paying teams."},
            {"retry_after": "60"},
            ErrorCode.PAYMENT_REQUIRED_ERROR,
            None,
        ),
        ({"error": "We are already processing the request for your sequence"}, {}, ErrorCode.CONFLICT_ERROR, 1),
        (b"slow down", {}, ErrorCode.TOO_MANY_REQUESTS_ERROR, None),
        ({"error": "Upgrade.", "error_details": "RATE_LIMIT"}, {}, ErrorCode.PAYMENT_REQUIRED_ERROR, None),
        ({"error": "Upgrade.", "error_details": {"code": 7}}, {}, ErrorCode.PAYMENT_REQUIRED_ERROR, None),
        ({"error": "Upgrade.", "error_details": {"code": "PLAN"}}, {}, ErrorCode.PAYMENT_REQUIRED_ERROR, None),
    ],
)
def test_the_three_kinds_of_429_are_distinguished(
    body: Any, headers: dict[str, str], code: ErrorCode, wait: Any
) -> None:
    [problem] = problems(429, body, **headers)
    assert (problem.code, problem.retry_after) == (code, wait)
    assert problem.cause is not None
    assert problem.cause.status == 429


def test_a_text_answer_is_quoted_without_the_key() -> None:
    [problem] = problems(401, b"Invalid access credentials: k-secret")
    assert problem.code is ErrorCode.UNAUTHORIZED_ERROR
    assert "k-secret" not in repr(problem)
    assert "Set a valid Apollo API key for customer acme" in problem.advice


PAGE = b"<!DOCTYPE html><html><title>Just a moment...</title></html>"


@pytest.mark.parametrize("status", [401, 403, 404, 409, 422])
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (PAGE, {"content_type": "text/html; charset=UTF-8"}),
        (PAGE, {"cf_mitigated": "challenge"}),
        (b"error code: 1010", {}),
        (b"\n <html>no</html>", {}),
        ({"error": "No."}, {"cf_mitigated": "challenge"}),
        ({"status": 403, "error_code": 1010, "cloudflare_error": True}, {}),
        (b"", {}),
        ([], {}),
    ],
)
def test_who_is_on_the_way_is_not_apollo(status: int, body: Any, headers: dict[str, str]) -> None:
    found = failure(status, body, **headers) if body != b"" else failure(status, b"", content_type="")
    assert found is not None
    assert (found.by_provider, found.refused, found.credentials_refused, found.may_pass) == (False, False, False, True)
    [problem] = found.problems
    assert problem.code is ErrorCode.BAD_GATEWAY_ERROR
    assert "acme" not in problem.detail + problem.advice


@pytest.mark.parametrize("body", [{"message": "no Route matched"}, {"errors": ["No."]}])
@pytest.mark.parametrize(
    ("status", "is_apollo"), [(400, True), (401, False), (402, True), (403, False), (404, False), (405, True)]
)
def test_a_gateway_that_would_blame_the_customer_is_not_apollo(status: int, is_apollo: bool, body: Any) -> None:  # noqa: FBT001
    found = failure(status, body)
    assert found is not None
    assert found.by_provider is is_apollo


@pytest.mark.parametrize(
    ("status", "is_apollo"), [(400, True), (401, True), (402, True), (403, False), (404, False), (422, True)]
)
def test_a_text_may_be_apollos_where_it_gives_text(status: int, *, is_apollo: bool) -> None:
    found = failure(status, b"No.")
    assert found is not None
    assert found.by_provider is is_apollo


@pytest.mark.parametrize(
    ("status", "body", "headers", "is_apollo"),
    [
        # JSON is JSON, whatever its type is said to be.
        (403, b' {"error": "No."}', {}, True),
        (422, b' {"other": "No."}', {}, False),
        (422, b"[1]", {}, False),
        (422, b"No.", {"content_type": "text/csv"}, False),
        (422, b"No.", {"content_type": "video/mp4"}, False),
        (401, b"", {"content_type": "", "www_authenticate": "Bearer"}, True),
        (401, b"No.", {"content_type": "", "www_authenticate": "Bearer"}, False),
        (401, b"", {"content_type": ""}, False),
    ],
)
def test_an_answer_is_apollos_by_its_form(
    status: int, body: bytes, headers: dict[str, str], *, is_apollo: bool
) -> None:
    found = failure(status, body, **headers)
    assert found is not None
    assert found.by_provider is is_apollo


@pytest.mark.parametrize(("body", "is_page"), [(PAGE, True), (b'{"id": "x"}', False), (b"[]", False), (b"", False)])
def test_a_page_with_a_good_status_is_not_apollos(body: bytes, *, is_page: bool) -> None:
    found = failure(200, body, content_type="text/html")
    assert (found is not None and not found.by_provider) is is_page


@pytest.mark.parametrize("status", [520, 522, 526, 530])
def test_an_edge_without_an_answer_may_pass(status: int) -> None:
    found = failure(status, b"error code: 520")
    assert found is not None
    assert (found.by_provider, found.refused, found.may_pass) == (False, False, True)


@pytest.mark.parametrize("status", [401, 403])
def test_permission_is_not_a_bad_key(status: int) -> None:
    found = failure(status, {"error": "No.", "error_code": "API_INACCESSIBLE"})
    assert found is not None
    assert not found.credentials_refused
    assert found.problems[0].code is ErrorCode.FORBIDDEN_ERROR


@pytest.mark.parametrize(
    ("status", "code", "wait", "advice"),
    [
        (199, ErrorCode.BAD_GATEWAY_ERROR, None, ""),
        (300, ErrorCode.BAD_GATEWAY_ERROR, None, ""),
        (400, ErrorCode.BAD_REQUEST, None, "Correct the value and repeat the call."),
        (401, ErrorCode.UNAUTHORIZED_ERROR, None, "Set a valid Apollo API key for customer acme"),
        (402, ErrorCode.PAYMENT_REQUIRED_ERROR, None, ""),
        (403, ErrorCode.FORBIDDEN_ERROR, None, "Give customer acme a master API key"),
        (404, ErrorCode.NOT_FOUND_ERROR, None, "Check the ids"),
        (409, ErrorCode.CONFLICT_ERROR, None, ""),
        (422, ErrorCode.UNPROCESSABLE_ENTITY_ERROR, None, "Correct the value and repeat the call."),
        (423, ErrorCode.REMOTE_PROVIDER_ERROR, None, ""),
        (499, ErrorCode.REMOTE_PROVIDER_ERROR, None, ""),
        (500, ErrorCode.BAD_GATEWAY_ERROR, None, "Try again later."),
        (501, ErrorCode.BAD_GATEWAY_ERROR, None, "No retry helps"),
        (502, ErrorCode.BAD_GATEWAY_ERROR, None, "Try again later."),
        (503, ErrorCode.SERVICE_UNAVAILABLE_ERROR, 7, "Try again later."),
        (504, ErrorCode.GATEWAY_TIMEOUT_ERROR, None, "Try again later."),
    ],
)
def test_a_status_has_its_advice(status: int, code: ErrorCode, wait: float | None, advice: str) -> None:
    found = failure(status, {"error": "No."}, retry_after="7")
    assert found is not None
    # Only then is a token renewed.
    assert found.credentials_refused is (status == 401)
    [problem] = found.problems
    assert (problem.code, problem.retry_after) == (code, wait)
    assert problem.advice.startswith(advice)
    assert bool(problem.advice) is bool(advice)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": " Too \n long "}, "Too long."),
        ({"error": "Why?", "message": "Other"}, "Why?"),
        ({"error": "", "message": "Stop!"}, "Stop!"),
        ({"error": {"message": "In an object"}}, "In an object."),
        ({"error": {"detail": "In detail."}}, "In detail."),
        ({"errors": [7, "In a list"]}, "In a list."),
        ({"errors": {"message": "In one"}}, "In one."),
        ({"error_message": "By another name"}, "By another name."),
        ({"error": "x" * 500}, "x" * 500 + "."),
        ({"error": "x" * 501}, "x" * 500 + "…"),
        ({"error": 7}, "no reason given."),
    ],
)
def test_the_providers_own_words_are_said(body: Any, words: str) -> None:
    [problem] = problems(422, body)
    assert problem.detail == f"Apollo answered 422 to emailer_templates/update: {words}"


@pytest.mark.parametrize("status", [399, 400, 409, 422, 429, 499, 500])
def test_the_lock_of_a_sequence_is_a_conflict(status: int) -> None:
    error = {"error": "We are already processing the request for your sequence"}
    [problem] = problems(status, error)
    if status in (399, 500):
        assert problem.code is ErrorCode.BAD_GATEWAY_ERROR
        return
    assert (problem.code, problem.retry_after) == (ErrorCode.CONFLICT_ERROR, 1)
    assert problems(status, error, retry_after="3")[0].retry_after == 3


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [(1795605746, 86400), (float("1e300"), 86400), (-5, 0), (10**400, None), ("soon", None), (True, None), ([], None)],
)
def test_a_wait_from_a_body_is_bounded(wait: Any, seconds: float | None) -> None:
    [problem] = problems(429, {"error": "Busy", "retry_after_seconds": wait})
    assert problem.retry_after == seconds


@pytest.mark.parametrize(("wait", "seconds"), [(120, 120), ("120", 120), (" 7.5 ", 7.5), (1.5, 1.5), ("soon", None)])
def test_a_wait_from_a_body_may_be_a_text(wait: Any, seconds: float | None) -> None:
    [problem] = problems(429, {"error": "Busy", "retry_after_seconds": wait})
    assert problem.retry_after == seconds


def test_the_windows_have_their_lengths() -> None:
    left = {"x_minute_requests_left": "1", "x_hourly_requests_left": " 20 ", "x_24_hour_requests_left": "0"}
    assert ADAPTER.rate_windows(response(200, {}, **left)) == [
        RateWindow("minute", 1, 60.0),
        RateWindow("hourly", 20, 3600.0),
        RateWindow("24-hour", 0, 86400.0),
    ]
    assert ADAPTER.rate_windows(response(200, {}, x_minute_requests_left="many")) == []


def test_the_code_of_a_rate_limit_counts_before_the_words() -> None:
    body = {"error": "Upgrade your plan.", "error_details": {"code": "USAGE.RATE_LIMIT.API_RATE_LIMIT_EXCEEDED"}}
    [problem] = problems(429, body, retry_after="30")
    assert (problem.code, problem.retry_after) == (ErrorCode.TOO_MANY_REQUESTS_ERROR, 30)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("status", [200, 201, 203])
def test_the_state_after_a_write_is_read_from_the_response(status: int, wrapped: bool) -> None:  # noqa: FBT001
    [write] = plan(answer(), update(subject="New", body="<b>x</b>")).writes
    record = template(subject="New", body_html="<b>y</b>")
    body = {"emailer_template": record} if wrapped else record
    stored = write.stored(ProviderResponse(status, {}, json.dumps(body).encode()))
    assert stored == {"template.subject": "New", "template.body": "<b>y</b>"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not saved",
        b"[]",
        b"{}",
        b'{"emailer_template": null}',
        *(
            json.dumps(each).encode()
            for each in (
                {"id": "x", "error_message": "not saved"},
                template(OTHER_TEMPLATE, subject="New"),
                {"emailer_template": template(OTHER_TEMPLATE)},
                {"emailer_touch": template()},
                template(error="not saved"),
                template(errors=["no"]),
                template(success=False),
                template(status="failed"),
                {"emailer_template": template(error_message="no")},
                {"emailer_template": template(), "error": {"code": 3}},
                {"emailer_step": template()},
            )
        ),
    ],
)
def test_an_answer_that_confirms_no_write_is_in_doubt(body: bytes) -> None:
    [write] = plan(answer(), update(body="x")).writes
    given = ProviderResponse(200, {"content-type": "application/json"}, body)
    assert ADAPTER.failure(write.request, given, CONNECTION) is None
    with pytest.raises(UpdateFailed) as raised:
        write.stored(given)
    assert raised.value.problems[0].outcome is Outcome.UNKNOWN
    assert raised.value.problems[0].code is ErrorCode.BAD_GATEWAY_ERROR


@pytest.mark.parametrize("empty", ["", None, False, [], {}])
def test_an_empty_error_beside_the_record_says_nothing(empty: Any) -> None:
    [write] = plan(answer(), update(body="x")).writes
    given = response(200, {"emailer_template": template(body_html="x"), "error": empty})
    assert ADAPTER.failure(write.request, given, CONNECTION) is None
    assert (write.stored(given) or {})["template.body"] == "x"


def test_a_new_field_may_be_ignored_and_a_known_one_is_shown() -> None:
    [write] = plan(answer(), update(custom_fields={"wait_time": 7, "unknown": 1})).writes
    assert write.stored(response(200, {"id": STEP, "wait_time": 7})) == {
        "custom_fields.wait_time": 7,
        "custom_fields.unknown": None,
    }
    with pytest.raises(UpdateFailed, match="does not show `wait_time`"):
        write.stored(response(200, {"id": STEP, "unknown": 1}))


def test_a_write_that_was_only_accepted_is_in_doubt() -> None:
    [write] = plan(answer(), update(body="x")).writes
    with pytest.raises(UpdateFailed) as raised:
        write.stored(response(202, template(body_html="x")))
    assert raised.value.problems[0].outcome is Outcome.UNKNOWN


# Reading.


@pytest.mark.parametrize(
    ("ids", "fields"),
    [
        ((SEQUENCE, STEP.upper()), []),
        ((SEQUENCE, ""), []),
        (("", ""), []),
        (("7", STEP), ["sequence_id"]),
        ((SEQUENCE, STEP + "0"), ["sequence_step_id"]),
    ],
)
def test_an_id_of_another_form_is_not_asked_for(ids: tuple[str, str], fields: list[str]) -> None:
    assert [each.field for each in ADAPTER.id_violations(StepRef(ADAPTER.provider, "acme", *ids))] == fields


def shown(stored: dict[str, Any], step: str = "") -> ShownSequence:
    query = StepQuery(Provider("apollo"), "acme", SEQUENCE, step, names_step=bool(step))
    return show(query, ProviderResponse(200, {}, json.dumps(stored).encode()))


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [
        ({"wait_mode": "second", "wait_time": 3}, 3),
        ({"wait_mode": "minute", "wait_time": 3}, 180),
        ({"wait_mode": "hour", "wait_time": 3}, 10_800),
        ({"wait_mode": "day", "wait_time": 3}, 259_200),
        ({"wait_mode": "day", "wait_time": 0}, 0),
        ({"wait_mode": "day", "wait_time": 2**53 // 86400}, 2**53 // 86400 * 86400),
        ({"wait_mode": "day", "wait_time": 2**53 // 86400 + 1}, None),
        ({"wait_mode": "day", "wait_time": 1.5}, None),
        ({"wait_mode": "day"}, None),
        ({"wait_time": 3}, None),
        ({"wait_mode": "moon", "wait_time": 3}, None),
    ],
    ids=str,
)
def test_how_long_a_step_waits(wait: dict[str, Any], seconds: int | None) -> None:
    [step] = shown(answer(emailer_steps=[{"id": STEP, "type": "auto_email", "position": 1, **wait}]), STEP).steps
    assert step.interval_seconds == seconds


def test_steps_come_in_their_order_with_their_variants() -> None:
    third = "5f0000000000000000000103"
    stored = answer(
        emailer_steps=[
            {"id": OTHER, "type": "call", "position": 2},
            {"id": third, "type": "auto_email", "position": 2**31 - 1},
            {"id": STEP, "type": "auto_email", "position": 1},
        ],
        emailer_touches=[
            touch("t0", status="a draft", type="to_nobody"),
            touch("t1", status="inactive", type="reply_to_thread"),
            touch("t2"),
            touch("t3", step=third),
        ],
        emailer_templates=[template(archived=True)],
    )
    found = shown(stored)
    assert [(step.sequence_step_id, step.order, step.type) for step in found.steps] == [
        (STEP, 1, "auto_email"),
        (OTHER, 2, "call"),
        (third, 2**31 - 1, "auto_email"),
    ]
    draft, first, second = found.steps[0].variants
    assert (draft.variant_id, draft.is_live, draft.is_default, draft.is_reply) == ("t0", False, False, False)
    assert (first.variant_id, first.is_live, first.is_default, first.is_reply) == ("t1", False, False, True)
    assert (second.variant_id, second.is_live, second.is_default, second.is_reply) == ("t2", True, True, False)
    assert (first.is_archived, first.sharing, first.template_id) == (True, (third,), TEMPLATE)
    assert found.steps[2].variants[0].sharing == (STEP,)
    assert first.texts == {"template.subject": "Old", "template.body": "<p>Old</p>"}
    assert found.steps[1].variants == ()


def test_only_steps_of_the_sequence_share_a_template() -> None:
    elsewhere = "5f0000000000000000000109"
    touches = [touch(), touch("t2", OTHER), touch("t3", elsewhere), touch("t4", template="x"), touch("t5", "x")]
    found = shown(answer(emailer_touches=touches)).steps
    assert [[(each.template_id, each.sharing) for each in step.variants] for step in found] == [
        [(TEMPLATE, (OTHER,)), ("", ())],
        [(TEMPLATE, (STEP,))],
    ]


@pytest.mark.parametrize("position", [2**31, -(2**31), 1.5, -1.5, True, "1", None])
def test_a_position_that_is_none_is_not_shown(position: object) -> None:
    [step] = shown(answer(emailer_steps=[{"id": STEP, "position": position}]), STEP).steps
    assert step.order is None


def test_what_has_no_position_comes_first_and_keeps_its_place() -> None:
    ids = [f"5f00000000000000000001{number:02}" for number in range(4)]
    steps = [{"id": id, "position": position} for id, position in zip(ids, (1, None, "2", -1), strict=True)]
    found = shown(answer(emailer_steps=steps))
    assert [step.sequence_step_id for step in found.steps] == [ids[3], ids[1], ids[2], ids[0]]


def test_of_a_sequence_that_is_on_the_steps_that_share_come_first() -> None:
    stored = answer(
        emailer_campaign={"id": SEQUENCE, "active": True},
        emailer_touches=[touch(), touch("t2", step=OTHER)],
    )
    made = plan(stored, update(body="x"))
    assert [warning.type for warning in made.write_warnings] == [
        WarningType.SHARED_TEMPLATE,
        WarningType.SEQUENCE_ACTIVE,
    ]


def test_steps_of_other_sequences_are_not_shown() -> None:
    steps = [
        {"id": OTHER, "emailer_campaign_id": TEMPLATE},
        {"id": STEP.upper(), "emailer_campaign_id": SEQUENCE.upper()},
    ]
    assert [step.sequence_step_id for step in shown(answer(emailer_steps=steps)).steps] == [STEP]


@pytest.mark.parametrize("odd", [5, "x", {"id": 5}, {}, {"id": "x/../y", "emailer_campaign_id": SEQUENCE}])
def test_a_list_with_a_step_without_an_id_is_not_shown(odd: Any) -> None:
    with pytest.raises(UpdateFailed) as failure:
        shown(answer(emailer_steps=[odd, {"id": STEP}]))
    assert "all of its steps" in failure.value.problems[0].detail
    assert shown(answer(emailer_steps=[odd, {"id": STEP}]), STEP).steps


def test_of_a_step_that_comes_twice_the_first_is_shown() -> None:
    steps = [{"id": STEP, "position": 4}, {"id": STEP, "position": 5}]
    assert [step.order for step in shown(answer(emailer_steps=steps), STEP).steps] == [4]


@pytest.mark.parametrize(("given", "flag"), [(True, True), (False, False), (None, None), ("yes", None), (1, None)])
def test_whether_a_sequence_is_on_is_shown_if_it_is_said(given: Any, *, flag: bool | None) -> None:
    found = shown(answer(emailer_campaign={"id": SEQUENCE, "active": given, "archived": given, "name": given}))
    assert (found.is_enabled, found.is_archived) == (flag, flag)
    assert found.name == (given if isinstance(given, str) else "")
