"""Reading providers' answers."""

import base64
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.credentials import ApiKeyCredentials, OAuthCredentials, Secret
from service.domain.errors import ErrorCode, Origin, Outcome, UpdateFailed
from service.domain.json_value import depth, json_equal
from service.domain.step import FieldChange, Provider
from service.providers.adapter import ProviderRequest, ProviderResponse
from service.providers.apollo import Apollo
from service.providers.responses import (
    CUT,
    MAX_CAUSE_BYTES,
    cause,
    code_of,
    decode_object,
    failure_in_between,
    failure_member,
    is_from_edge,
    is_json,
    retry_after,
    secrets_of,
    shown_fields,
    unreadable,
    whole_number,
)
from service.providers.statuses import rule_of

NOW = 1_790_000_000.0
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "value",
    [
        "90",
        "90.0",
        str(int(NOW) + 90),
        format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True),
        datetime.fromtimestamp(NOW + 90, UTC).isoformat(),
        datetime.fromtimestamp(NOW + 90, UTC).isoformat().replace("+00:00", "Z"),
        datetime.fromtimestamp(NOW + 90, UTC).replace(tzinfo=None).isoformat(),
        datetime.fromtimestamp(NOW + 90).astimezone().isoformat(),
        "  90 ",
    ],
)
def test_every_form_of_retry_after_is_read(value: str) -> None:
    assert retry_after({"retry-after": value}, "retry-after", now=NOW) == pytest.approx(90)


@pytest.mark.parametrize(
    "value", ["2500-01-01T00:00:00Z", "999999", "999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"]
)
def test_a_longer_wait_than_a_day_is_a_day(value: str) -> None:
    assert retry_after({"retry-after": value}, "retry-after", now=NOW) == 86400


@pytest.mark.parametrize(
    "value", ["", "soon", "-5", "1e400", "99999999999999999999", "١٢", "9999-12-31T23:59:59-14:00"]
)
def test_what_cannot_be_a_wait_is_no_wait(value: str) -> None:
    assert retry_after({"retry-after": value}, "retry-after", now=NOW) is None


@pytest.mark.parametrize(("number", "seconds"), [(999_999_999, 86400), (1_000_000_000, 0), (int(NOW) - 5, 0)])
def test_a_moment_that_is_past_is_no_wait_at_all(number: int, seconds: float) -> None:
    """From 2001 on a number is a moment."""
    assert retry_after({"retry-after": str(number)}, "retry-after", now=NOW) == seconds


def test_the_first_header_that_can_be_read_counts() -> None:
    headers = {"retry-after": "soon", "x-ratelimit-reset": "7"}
    assert retry_after(headers, "retry-after", "x-ratelimit-reset", now=NOW) == 7


@given(st.text())
def test_no_retry_after_breaks_the_reader(value: str) -> None:
    wait = retry_after({"retry-after": value}, "retry-after", now=NOW)
    assert wait is None or 0 <= wait <= 86400


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (302, ErrorCode.BAD_GATEWAY_ERROR),
        (399, ErrorCode.BAD_GATEWAY_ERROR),
        (400, ErrorCode.BAD_REQUEST),
        (401, ErrorCode.UNAUTHORIZED_ERROR),
        (402, ErrorCode.PAYMENT_REQUIRED_ERROR),
        (403, ErrorCode.FORBIDDEN_ERROR),
        (404, ErrorCode.NOT_FOUND_ERROR),
        (409, ErrorCode.CONFLICT_ERROR),
        (413, ErrorCode.REMOTE_PROVIDER_ERROR),
        (415, ErrorCode.REMOTE_PROVIDER_ERROR),
        (422, ErrorCode.UNPROCESSABLE_ENTITY_ERROR),
        (429, ErrorCode.TOO_MANY_REQUESTS_ERROR),
        (499, ErrorCode.REMOTE_PROVIDER_ERROR),
        (500, ErrorCode.BAD_GATEWAY_ERROR),
        (502, ErrorCode.BAD_GATEWAY_ERROR),
        (503, ErrorCode.SERVICE_UNAVAILABLE_ERROR),
        (504, ErrorCode.GATEWAY_TIMEOUT_ERROR),
        (599, ErrorCode.BAD_GATEWAY_ERROR),
    ],
)
def test_a_status_has_its_code(status: int, code: ErrorCode) -> None:
    assert code_of(status) is code


@pytest.mark.parametrize(
    ("statuses", "may_be_applied", "may_pass"),
    [
        ((100, 299), True, False),
        ((300, 399), True, False),
        ((400, 407), False, False),
        ((408,), True, True),
        ((409, 498), False, False),
        ((499,), True, True),
        ((500,), True, False),
        ((501,), False, False),
        ((502, 504), True, True),
        ((505, 519), True, False),
        ((520, 530), True, True),
        ((531, 599), True, False),
        ((600, 999), True, False),
    ],
)
def test_a_status_says_whether_a_write_may_be_applied(
    statuses: tuple[int, ...], *, may_be_applied: bool, may_pass: bool
) -> None:
    for status in statuses:
        assert (rule_of(status).may_be_applied, rule_of(status).may_pass) == (may_be_applied, may_pass)


@pytest.mark.parametrize(("status", "is_edge"), [(519, False), (520, True), (525, True), (530, True), (531, False)])
def test_a_status_of_the_edge_is_not_the_providers(status: int, *, is_edge: bool) -> None:
    assert is_from_edge(ProviderResponse(status, {"content-type": "application/json"}, b'{"error": "No."}')) is is_edge


@pytest.mark.parametrize(("count", "shown"), [(64, 64), (65, 64)])
def test_so_many_headers_are_shown(count: int, shown: int) -> None:
    headers = {f"h{number}": "v" * (511 + number % 3) for number in range(count)}
    found = cause(ProviderResponse(500, headers, b"")).headers
    assert len(found) == shown
    assert all(value == headers[name][:512] for name, value in found.items())


@pytest.mark.parametrize("more", [0, 1])
def test_a_body_of_16_kibibytes_is_shown_whole(more: int) -> None:
    body = b"x" * (16 * 1024 + more)
    found = cause(ProviderResponse(500, {}, body))
    assert found.body == "x" * 16 * 1024 + CUT * more
    assert found.body_truncated is bool(more)


@pytest.mark.parametrize("levels", [16, 17])
def test_json_of_16_levels_is_shown_as_such(levels: int) -> None:
    found = cause(ProviderResponse(500, {}, b"[" * levels + b"]" * levels)).body
    assert isinstance(found, list if levels == 16 else str)


def test_cookies_and_credentials_are_not_shown() -> None:
    answer = ProviderResponse(
        403,
        {"Set-Cookie": "a=b", "Authorization": "Bearer x", "X-Api-Key": "k", "X-Auth-Token": "t", "CF-Ray": "1"},
        b"{}",
    )
    assert cause(answer).headers == {"cf-ray": "1"}


@pytest.mark.parametrize("encode", [str, lambda s: quote(s, safe=""), lambda s: base64.b64encode(s.encode()).decode()])
def test_an_echoed_credential_is_taken_out(encode: Any) -> None:
    key = "marked/secret+key=1"
    text = f'{{"error": "the key {encode(key)} is wrong"}}'
    shown = cause(ProviderResponse(401, {"x-echo": encode(key)}, text.encode(), (Secret(key),)))
    assert encode(key).rstrip("=") not in repr(shown)
    assert "[redacted]" in shown.body["error"]


def test_a_secret_across_the_cut_is_taken_out_whole() -> None:
    body = b"x" * (MAX_CAUSE_BYTES - 5) + b"marked-secret" + b"y" * 100
    shown = cause(ProviderResponse(500, {}, body, (Secret("marked-secret"),)))
    assert "mark" not in shown.body


def test_a_long_body_is_cut_and_says_so() -> None:
    shown = cause(ProviderResponse(500, {}, b'"' + b"x" * MAX_CAUSE_BYTES * 2 + b'"'))
    assert shown.body.endswith(CUT)
    assert len(shown.body) <= MAX_CAUSE_BYTES + len(CUT)


@pytest.mark.parametrize(
    "text",
    [b"[" * 17 + b"]" * 17, b"[" * 40 + b"]" * 40, b'{"a":' * 17 + b"3" + b"}" * 17, b'[{"a":' * 9 + b"3" + b"}]" * 9],
)
def test_a_body_nested_too_deeply_is_shown_as_text(text: bytes) -> None:
    assert cause(ProviderResponse(500, {}, text)).body == text.decode()


@pytest.mark.parametrize("body", [b"<html>", b"", b"\xff\xfe", b"[" * 10_000 + b"]" * 10_000, b'{"a":', b"gibberish"])
def test_a_body_that_is_not_json_is_shown_as_text(body: bytes) -> None:
    assert isinstance(cause(ProviderResponse(500, {}, body)).body, str)


@pytest.mark.parametrize(
    "body",
    [
        *(b"[]", b"", b"3", b"NaN", b'{"a": "\\ud800"}', b'{"a": NaN, "b": "\\ud800"}', b'{"a": NaN} x', b"\xff\xfe{}"),
        *(b'{"x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", b'{"x": NaN, "y": ' + b"9" * 5000 + b"}"),
    ],
)
def test_a_body_that_is_no_object_is_a_failure(body: bytes) -> None:
    with pytest.raises(UpdateFailed) as failure:
        decode_object(Provider("apollo"), ProviderResponse(200, {"content-type": "text/html"}, body))
    [problem] = failure.value.problems
    assert (problem.code, problem.origin) == (ErrorCode.BAD_GATEWAY_ERROR, Origin.PROVIDER)
    assert "text/html" in problem.detail


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", 7), (" 0 ", 0), ("", None), ("-1", None), ("1.5", None), ("9" * 5000, None), ("١٢", None), ("0x1", None)],
)
def test_a_count_is_read_or_is_none(text: str, number: int | None) -> None:
    assert whole_number(text) == number


@given(JSON)
def test_a_json_value_equals_itself(value: Any) -> None:
    assert json_equal(value, value)


@pytest.mark.parametrize(
    ("left", "right"), [(True, 1), (0, False), ([1], [True]), ({"a": 1}, {"a": 1, "b": None}), ("", None)]
)
def test_values_of_different_types_are_not_equal(left: Any, right: Any) -> None:
    assert not json_equal(left, right)


def test_whole_numbers_are_equal_however_they_are_written() -> None:
    assert json_equal(3, 3.0)


@pytest.mark.parametrize(("value", "levels"), [(1, 0), ({}, 1), ([1], 1), ({"a": [{"b": 1}]}, 3)])
def test_depth_counts_levels(value: Any, levels: int) -> None:
    assert depth(value) == levels


def test_a_page_in_between_is_named_without_secrets() -> None:
    secret = "Secret/+ =;key"
    response = ProviderResponse(403, {"content-type": f"text/{secret}; charset=utf-8"}, b"<html>", (Secret(secret),))
    failure = failure_in_between(Apollo.provider, ProviderRequest("GET", "/", "show", "a key"), response)
    [problem] = failure.problems
    assert "secret" not in problem.detail.lower()
    assert "text/" in problem.detail
    assert "charset" not in problem.detail


@pytest.mark.parametrize(
    ("status", "may_pass", "code", "wait"),
    [
        (200, True, ErrorCode.BAD_GATEWAY_ERROR, None),
        (299, True, ErrorCode.BAD_GATEWAY_ERROR, None),
        (300, False, ErrorCode.BAD_GATEWAY_ERROR, None),
        (399, False, ErrorCode.BAD_GATEWAY_ERROR, None),
        (400, True, ErrorCode.BAD_GATEWAY_ERROR, None),
        (401, True, ErrorCode.BAD_GATEWAY_ERROR, None),
        (428, True, ErrorCode.BAD_GATEWAY_ERROR, None),
        (429, False, ErrorCode.TOO_MANY_REQUESTS_ERROR, 7),
        (430, True, ErrorCode.BAD_GATEWAY_ERROR, None),
        (498, True, ErrorCode.BAD_GATEWAY_ERROR, None),
        (500, False, ErrorCode.BAD_GATEWAY_ERROR, None),
        (502, True, ErrorCode.BAD_GATEWAY_ERROR, None),
        (503, True, ErrorCode.SERVICE_UNAVAILABLE_ERROR, 7),
        (504, True, ErrorCode.GATEWAY_TIMEOUT_ERROR, None),
        (505, False, ErrorCode.BAD_GATEWAY_ERROR, None),
    ],
)
def test_who_is_on_the_way_blames_nobody(status: int, *, may_pass: bool, code: ErrorCode, wait: float | None) -> None:
    response = ProviderResponse(status, {"retry-after": "7"}, b"")
    found = failure_in_between(Apollo.provider, ProviderRequest("GET", "/", "show", "a key"), response)
    assert (found.may_pass, found.by_provider, found.refused) == (may_pass, False, False)
    [problem] = found.problems
    assert (problem.code, problem.retry_after) == (code, wait)


@pytest.mark.parametrize("length", [100, 101])
def test_of_a_type_100_characters_are_said(length: int) -> None:
    response = ProviderResponse(500, {"content-type": "x" * length}, b"")
    [between] = failure_in_between(Apollo.provider, ProviderRequest("GET", "/", "show", "a key"), response).problems
    for problem in (between, unreadable(Apollo.provider, response, "no")):
        assert "x" * 100 in problem.detail
        assert "x" * 101 not in problem.detail


@pytest.mark.parametrize("length", [500, 501])
def test_of_what_cannot_be_read_500_characters_are_said(length: int) -> None:
    detail = unreadable(Apollo.provider, ProviderResponse(200, {}, b""), "x" * length).detail
    assert detail.endswith("(no content type): " + "x" * 500 + ".")


@pytest.mark.parametrize(
    ("body", "is_edge"),
    [
        (b" " * 195 + b"<html", True),
        (b" " * 196 + b"<html", False),
        (b" " * 187 + b"Error code: 1010", True),
        (b" " * 188 + b"error code: 1010", False),
        (b"\xef\xbb\xbf <!DOCTYPE html>", True),
        (b"a <html>", False),
        (b"an error code: 1010", False),
        (b'{"cloudflare_error": true}', True),
    ],
)
def test_a_page_is_known_by_its_beginning(body: bytes, *, is_edge: bool) -> None:
    assert is_from_edge(ProviderResponse(500, {"content-type": "text/plain"}, body)) is is_edge


@pytest.mark.parametrize(
    ("kind", "is_said"),
    [
        ("application/json", True),
        (" Application/JSON ; charset=utf-8", True),
        ("application/vnd.api+json", True),
        ("text/plain", False),
        ("application/jsonp", False),
        ("", False),
    ],
)
def test_json_is_said_to_be_json(kind: str, *, is_said: bool) -> None:
    assert is_json(ProviderResponse(200, {"content-type": kind}, b"")) is is_said


@pytest.mark.parametrize(
    ("field", "before", "sent", "value", "may_be"),
    [
        ("template.subject", "Old", "New", "Cleaned", True),
        ("template.subject", "Old", "New", 3, False),
        ("template.subject", "Old", "New", None, False),
        ("template.subject", "Old", "", None, True),
        ("template.subject", "Old", "<p></p>", None, False),
        ("template.body", "Old", "<p></p>", None, True),
        ("template.body", "Old", "<p>New</p>", None, False),
        ("template.body", "Old", "<p>" * 5000, None, False),
        ("template.body", 3, "New", 3, False),
        ("custom_fields.a", 1, 3, 3.0, True),
        ("custom_fields.a", 1, 3, "3", True),
        ("custom_fields.a", 1, 3, "4", False),
        ("custom_fields.a", 1, 3, 4, True),
        ("custom_fields.a", "x", 3, "x", True),
        ("custom_fields.a", None, 3, None, True),
        ("custom_fields.a", 1, 3, None, False),
        ("custom_fields.a", 1, None, [7], True),
        ("custom_fields.a", 1, True, "TRUE", True),
        ("custom_fields.a", "x", True, 1, False),
        ("custom_fields.a", 1, [3], {"b": 3}, False),
    ],
)
def test_what_a_provider_may_have_made_of_a_value(  # a table
    field: str, before: Any, sent: Any, value: Any, *, may_be: bool
) -> None:
    """A text stays a text, and any other value is the old one, cleaned, or written otherwise; else another field is shown."""
    change = FieldChange(field, before, sent)
    response = ProviderResponse(200, {}, b"{}")
    if may_be:
        assert shown_fields(Apollo.provider, response, {"a": value}, {"a": change}) == {field: value}
        return
    with pytest.raises(UpdateFailed, match="`a` has another type") as failure:
        shown_fields(Apollo.provider, response, {"a": value}, {"a": change})
    assert failure.value.problems[0].outcome is Outcome.UNKNOWN
    assert shown_fields(Apollo.provider, response, {"a": value}, {"a": change}, absent=["a"]) == {field: value}


@pytest.mark.parametrize("record", [{}, None, "a"])
def test_a_value_that_is_not_shown_may_have_been_ignored_where_it_was_new(record: Any) -> None:
    sent = {"a": FieldChange("custom_fields.a", None, 3), "b": FieldChange("custom_fields.b", 1, 1)}
    response = ProviderResponse(200, {}, b"{}")
    with pytest.raises(UpdateFailed, match="it does not show `b`"):
        shown_fields(Apollo.provider, response, record, sent, absent=["a"])
    assert shown_fields(Apollo.provider, response, record, sent, absent=["a", "b"]) == {
        "custom_fields.a": None,
        "custom_fields.b": None,
    }


@pytest.mark.parametrize(
    ("credentials", "secrets"),
    [
        (ApiKeyCredentials(Secret("k")), ["k"]),
        (OAuthCredentials(Secret("a"), Secret("r"), None, "id", Secret("s")), ["a", "s", "r"]),
        (OAuthCredentials(Secret("a"), None, None, "id", Secret("s")), ["a", "s"]),
    ],
)
def test_every_secret_of_credentials_is_one(credentials: Any, secrets: list[str]) -> None:
    assert [each.reveal() for each in secrets_of(credentials)] == secrets


def test_a_failure_is_looked_for_at_two_levels_only() -> None:
    members: dict[str, Any] = {"error": "no"}
    assert failure_member({"meta": members}) == "error"
    for _ in range(2000):
        members = {"meta": members}
    assert failure_member(members) is None


@pytest.mark.parametrize(
    ("members", "member"),
    [
        ({"status": 399}, None),
        ({"status": 400}, "status"),
        ({"status": 422}, "status"),
        ({"status": "active"}, None),
        ({"status": "Failed"}, "status"),
        ({"error": ""}, None),
        ({"errors": ["x"]}, "errors"),
        ({"success": True}, None),
        ({"success": 0}, "success"),
        ({"ok": "no"}, "ok"),
        ({}, None),
    ],
)
def test_what_speaks_of_failure_is_named(members: dict[str, Any], member: str | None) -> None:
    assert failure_member(members) == member
    assert failure_member({"meta": members}) == member


@pytest.mark.parametrize(
    ("text", "count"), [("9" * 15, 10**15 - 1), ("9" * 16, None), ("0", 0), ("", None), ("٣", None)]
)
def test_a_count_has_fifteen_digits_at_the_most(text: str, count: int | None) -> None:
    assert whole_number(text) == count
