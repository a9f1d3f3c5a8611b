"""What is made of the answers of token endpoints, however odd they are."""

import json
from typing import Any

import pytest

from service.domain.credentials import Secret
from service.domain.errors import ErrorCode
from service.domain.token_grant import ClientRefused, GrantRefused, RefreshFailed, TokenGrant
from service.upstream.token_response import parse_token_response

ASKED_AT = 1_000_000.0


def parse(body: bytes | str | dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> TokenGrant:
    text = json.dumps(body) if isinstance(body, dict) else body
    return parse_token_response(
        "Outreach", status, headers or {}, text if isinstance(text, bytes) else text.encode(), ASKED_AT
    )


def good(**members: Any) -> dict[str, Any]:
    return {"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 7200} | members


LIFETIMES: list[tuple[str, float | None]] = [
    ("7200", 7200),
    ('"7200"', 7200),
    ('" 7200\\n"', 7200),
    ('"7200.5"', 7200.5),
    ("7.2e3", 7200),
    ("0", None),
    ("-1", None),
    ('"0"', None),
    ("null", None),
    ("true", None),
    ('"soon"', None),
    ('""', None),
    ("1", 1),
    ('"0.5"', 0.5),
    ("[7200]", None),
    ('{"seconds": 7200}', None),
    ("NaN", None),
    ("Infinity", None),
    ("-Infinity", None),
    ('"inf"', None),
    ("1e999", None),
    ("9" * 5000, None),
    ("1e300", 10 * 366 * 86400),
]


@pytest.mark.parametrize(("written", "lifetime"), LIFETIMES, ids=[written[:20] for written, _ in LIFETIMES])
def test_a_token_is_kept_whatever_its_lifetime_says(written: str, lifetime: float | None) -> None:
    grant = parse(f'{{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": {written}}}')
    expires_at = None if lifetime is None else ASKED_AT + lifetime
    assert grant == TokenGrant(Secret("new-access"), Secret("new-refresh"), ASKED_AT, expires_at)


@pytest.mark.parametrize(
    ("scope", "known"),
    [
        pytest.param("sequences.all  templates.all ", "sequences.all templates.all", id="as OAuth writes it"),
        pytest.param(["sequences.all", 7, "templates.all"], "sequences.all templates.all", id="a list"),
        pytest.param("a" * 2048, "a" * 2048, id="as long as may be"),
        pytest.param("a" * 2049, "", id="too long"),
        pytest.param("sequences.all\x07", "", id="a character that no scope has"),
        pytest.param(7, "", id="no text"),
    ],
)
def test_the_scopes_that_an_answer_names_are_known(scope: object, known: str) -> None:
    assert parse(good(scope=scope)).scope == known


ODD_ANSWERS: dict[str, bytes | str | dict[str, Any]] = {
    "other members of other types": good(token_type=None, scope={"a": 1}, created_at="today", id_token={"a": []}),
    "an error beside the tokens": good(error="invalid_grant"),
    "a byte order mark": "\ufeff" + json.dumps(good()),
    "two byte order marks": "\ufeff\ufeff" + json.dumps(good()),
    "UTF-16": json.dumps(good()).encode("utf-16"),
    "UTF-32": json.dumps(good()).encode("utf-32"),
    "white space around": f"\r\n\t {json.dumps(good())} \n\0",
    "text after": json.dumps(good()) + "\n<!-- served by a proxy -->",
    "a prefix against inclusion": ")]}',\n" + json.dumps(good()),
    "a list of one": json.dumps([good()]),
    "bytes that are no text": b'{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 7200, "a": "\xff"}',
    "a control character": '{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 7200, "a": "\t"}',
    "a lone surrogate": '{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 7200, "a": "\\ud800"}',
    "a member twice": '{"access_token": "old", "access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 7200}',
    "a form": "access_token=new-access&refresh_token=new-refresh&expires_in=7200",
    "line breaks around the tokens": good(access_token="new-access\n", refresh_token="\r\nnew-refresh\r\n"),
    "marks around the tokens": good(access_token="\ufeffnew-access\u200b", refresh_token=" new-refresh\u2028"),
}


@pytest.mark.parametrize("body", ODD_ANSWERS.values(), ids=ODD_ANSWERS)
def test_an_odd_answer_with_a_good_token_is_kept(body: bytes | str | dict[str, Any]) -> None:
    expected = TokenGrant(Secret("new-access"), Secret("new-refresh"), ASKED_AT, ASKED_AT + 7200)
    assert parse(body) == expected


BROKEN: list[str] = [
    '{"access_token": "new-access", "refresh_token": "new-refresh",}',
    '{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 72',
    '{"access_token" : "new\\/access" "refresh_token":"new-refresh", "scope": "x',
    '{\'token_type\': \'Bearer\', "access_token":"new-access", "refresh_token":"new-refresh"}',
]


@pytest.mark.parametrize("body", BROKEN)
def test_whole_tokens_of_broken_json_are_kept(body: str) -> None:
    grant = parse(body)
    assert grant.access_token.reveal().replace("/", "-") == "new-access"
    assert grant.refresh_token == Secret("new-refresh")
    assert grant.expires_at is None


def test_a_token_that_is_cut_off_is_not_kept() -> None:
    assert parse('{"access_token": "new-access", "refresh_token": "new-ref').refresh_token is None
    with pytest.raises(GrantRefused):
        parse('{"error": "invalid_grant", "error_descr', 400)


@pytest.mark.parametrize("status", [201, 206, 302, 400, 500, 503])
def test_a_token_is_kept_whatever_the_status(status: int) -> None:
    assert parse(good(error="odd"), status).access_token == Secret("new-access")


@pytest.mark.parametrize("value", [None, "", " \n", 7, False, ["new"], {"value": "new"}, "\ud800", ...])
def test_without_a_new_refresh_token_the_old_one_stays(value: Any) -> None:
    members = good(refresh_token=value)
    if value is ...:
        del members["refresh_token"]
    grant = parse(members)
    assert grant.access_token == Secret("new-access")
    assert grant.refresh_token is None


def test_a_refresh_token_may_have_any_character_within() -> None:
    assert parse(good(refresh_token="a b\nü")).refresh_token == Secret("a b\nü")


UNUSABLE: list[Any] = [None, "", " ", 7, ["a"], "a\nb", "a\r\nset-cookie: x", "schlüssel", "a\0b", "\ud800"]


@pytest.mark.parametrize("value", UNUSABLE, ids=map(ascii, UNUSABLE))
def test_a_new_refresh_token_outlives_an_unusable_access_token(value: Any) -> None:
    with pytest.raises(RefreshFailed) as failure:
        parse(good(access_token=value))
    assert failure.value.code is ErrorCode.BAD_GATEWAY_ERROR
    assert failure.value.refresh_token == Secret("new-refresh")
    assert "new-refresh" not in f"{failure.value!r} {failure.value}"


@pytest.mark.parametrize(
    ("status", "is_good"), [(199, False), (200, True), (201, True), (298, True), (299, True), (300, False)]
)
def test_an_answer_is_good_by_its_status(status: int, *, is_good: bool) -> None:
    """Then a token counts whatever error is beside it, and a refresh token whatever access token."""
    with pytest.raises(RefreshFailed) as failure:
        parse({"refresh_token": "new-refresh"}, status)
    assert (failure.value.refresh_token == Secret("new-refresh")) is is_good
    if is_good:
        assert parse(good(error="invalid_grant"), status).access_token == Secret("new-access")
    else:
        with pytest.raises(GrantRefused):
            parse(good(error="invalid_grant"), status)


REFUSALS: list[tuple[int, Any]] = [
    *((status, {"error": "{}"}) for status in (200, 400, 401, 403, 422, 429, 500)),
    (400, {"error": " {}\n"}),
    (400, {"error": {"code": "{}", "message": "x"}}),
    (400, {"error": {"type": "{}"}}),
    (400, {"error_code": "{}", "error": "Bad request"}),
    (400, {"code": "{}"}),
    (400, {"errors": [{"id": "{}", "title": "x"}]}),
    (400, {"errors": ["{}"]}),
    (200, {"access_token": None, "error": "{}"}),
    (400, {"access_token": "old", "error": "{}"}),
]


@pytest.mark.parametrize(("status", "shape"), REFUSALS, ids=[f"{status} {shape}" for status, shape in REFUSALS])
def test_a_refusal_is_understood_whatever_its_status(status: int, shape: Any) -> None:
    def answer(error: str) -> str:
        return json.dumps(shape).replace("{}", error)

    for spelled in ("invalid_grant", "INVALID_GRANT", "invalidGrant", "invalid-grant"):
        with pytest.raises(GrantRefused):
            parse(answer(spelled), status)
    for spelled, error in (
        ("invalid_client", "invalid_client"),
        ("Invalid Client", "invalid_client"),
        ("unauthorized_client", "unauthorized_client"),
        ("unsupported_grant_type", "unsupported_grant_type"),
    ):
        with pytest.raises(ClientRefused) as refusal:
            parse(answer(spelled), status)
        assert refusal.value.error == error


FAILURES: list[tuple[int, bytes | str, ErrorCode]] = [
    (200, "", ErrorCode.BAD_GATEWAY_ERROR),
    (200, "<html>{}</html>", ErrorCode.BAD_GATEWAY_ERROR),
    (200, '<a href="?a=1&access_token=x">', ErrorCode.BAD_GATEWAY_ERROR),
    (200, '{"access_token": "x', ErrorCode.BAD_GATEWAY_ERROR),
    (200, '<script>a{};b = {"access_token": "x"}</script>', ErrorCode.BAD_GATEWAY_ERROR),
    (200, "[" * 100_000, ErrorCode.BAD_GATEWAY_ERROR),
    (200, '{"a":' * 100_000, ErrorCode.BAD_GATEWAY_ERROR),
    (200, '{"error":' * 900 + '"x"' + "}" * 900, ErrorCode.BAD_GATEWAY_ERROR),
    (200, b"\xff\xfe\x00", ErrorCode.BAD_GATEWAY_ERROR),
    (200, "null", ErrorCode.BAD_GATEWAY_ERROR),
    (204, "", ErrorCode.BAD_GATEWAY_ERROR),
    (302, "", ErrorCode.BAD_GATEWAY_ERROR),
    (400, '{"error": "invalid_request"}', ErrorCode.BAD_GATEWAY_ERROR),
    (401, "<html>", ErrorCode.BAD_GATEWAY_ERROR),
    (403, "error code: 1010", ErrorCode.BAD_GATEWAY_ERROR),
    (429, '{"errors": [{"id": "rateLimitExceeded"}]}', ErrorCode.TOO_MANY_REQUESTS_ERROR),
    (500, "oops", ErrorCode.BAD_GATEWAY_ERROR),
    (503, "", ErrorCode.SERVICE_UNAVAILABLE_ERROR),
    (504, "", ErrorCode.GATEWAY_TIMEOUT_ERROR),
]


@pytest.mark.parametrize(
    ("status", "body", "code"), FAILURES, ids=[f"{status} {body[:30]!r}" for status, body, _ in FAILURES]
)
def test_anything_else_is_a_passing_failure(status: int, body: bytes | str, code: ErrorCode) -> None:
    with pytest.raises(RefreshFailed) as failure:
        parse(body, status)
    assert failure.value.code is code
    assert failure.value.refresh_token is None


@pytest.mark.parametrize(("header", "seconds"), [("42", 42), ("1970-01-12T13:47:22Z", 42), ("x", None)])
def test_the_endpoint_says_when_to_ask_again(header: str, seconds: float | None) -> None:
    for status in (429, 503):
        with pytest.raises(RefreshFailed) as failure:
            parse("", status, {"retry-after": header})
        assert failure.value.retry_after == seconds


@pytest.mark.parametrize(
    ("status", "code", "wait"),
    [
        (302, ErrorCode.BAD_GATEWAY_ERROR, None),
        (428, ErrorCode.BAD_GATEWAY_ERROR, None),
        (429, ErrorCode.TOO_MANY_REQUESTS_ERROR, 7),
        (430, ErrorCode.BAD_GATEWAY_ERROR, None),
        (499, ErrorCode.BAD_GATEWAY_ERROR, None),
        (500, ErrorCode.BAD_GATEWAY_ERROR, 7),
        (503, ErrorCode.SERVICE_UNAVAILABLE_ERROR, 7),
    ],
)
def test_only_what_may_pass_says_when_to_ask_again(status: int, code: ErrorCode, wait: float | None) -> None:
    with pytest.raises(RefreshFailed) as failure:
        parse("{}", status, {"retry-after": "7"})
    assert (failure.value.code, failure.value.retry_after) == (code, wait)
