"""What each fault of a provider comes to: the data of both the test and the table in docs/faults.md."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypedDict

from service.domain.errors import ErrorCode, Outcome
from service.domain.step import Provider

HTML: Final = "<html><head><title>Oops</title></head><body>The edge is not well.</body></html>"
FAR: Final = "2999-01-01T00:00:00Z"


@dataclass(frozen=True)
class Expected:
    """The response that a caller gets, and what it cost.

    Attributes:
        code: The code of the first error; None for success.
        outcome: What became of the step.
        calls: How often the request was sent.
        origin: Who found fault: the provider, or this service.
        retry_after: Seconds to wait that the response names: a number, or None for none.
        errors: How many errors there are.
    """

    code: ErrorCode | None
    outcome: Outcome | None = Outcome.NOT_APPLIED
    calls: int = 1
    origin: str = "provider"
    retry_after: float | None = None
    errors: int = 1


@dataclass(frozen=True)
class Fault:
    """A fault with what it comes to on a read and on a write.

    Attributes:
        name: What goes wrong, for people.
        order: The fault that the sandbox is asked for.
        read: What it comes to when it meets the read.
        write: What it comes to when it meets a write.
        only: The provider that it is peculiar to.
        deadline: Seconds that the caller gives the call.
    """

    name: str
    order: Mapping[str, Any]
    read: Expected
    write: Expected
    only: Provider | None = None
    deadline: float = 15.0


@dataclass(frozen=True)
class Cell:
    """A fault at one call of one provider."""

    fault: Fault
    provider: Provider
    call: str
    expected: Expected = field(compare=False)

    def __str__(self) -> str:
        return f"{self.provider}-{self.call}-{self.fault.name}"


class OnBoth(TypedDict):
    """What a fault comes to on a read and on a write."""

    read: Expected
    write: Expected


def same(code: ErrorCode, **more: Any) -> OnBoth:
    """The same on reads and writes: refused, nothing changed."""
    return {"read": Expected(code, **more), "write": Expected(code, **more)}


def doubtful(code: ErrorCode, write: ErrorCode | None = None, **more: Any) -> OnBoth:
    """A read has failed; whether a write was carried out is not known."""
    return {"read": Expected(code, **more), "write": Expected(write or code, Outcome.UNKNOWN, **more)}


OWN_FORM: Final = {
    Provider("apollo"): {"error": "No."},
    Provider("outreach"): {"errors": [{"id": "no", "detail": "No."}]},
}
"""An error as each provider gives it."""


def status(number: int, body: Any = None, **headers: str) -> dict[str, Any]:
    """An answer in the place of the provider's; without a body, an error in the provider's own form."""
    order: dict[str, Any] = {"status": number} | ({"body": body} if body is not None else {"own_form": True})
    return order | ({"headers": {name.replace("_", "-"): value for name, value in headers.items()}} if headers else {})


def jsonapi(*errors: dict[str, Any]) -> dict[str, Any]:
    """A body as Outreach gives for errors."""
    return {"errors": list(errors)}


C = ErrorCode
FAULTS: Final = (
    # No connection: `at` is where the request goes in the provider's place.
    Fault("the name does not resolve", {"at": "http://provider.invalid"}, **same(C.SERVICE_UNAVAILABLE_ERROR, calls=3)),
    Fault("connection refused", {"at": "http://127.0.0.1:1"}, **same(C.SERVICE_UNAVAILABLE_ERROR, calls=3)),
    Fault("no TLS on the other side", {"at": "plaintext"}, **same(C.SERVICE_UNAVAILABLE_ERROR)),
    Fault("a certificate of an unknown authority", {"at": "untrusted"}, **same(C.SERVICE_UNAVAILABLE_ERROR)),
    # No answer, or half of one.
    Fault(
        "reset after the request",
        {"cut": "reset"},
        **doubtful(C.SERVICE_UNAVAILABLE_ERROR, C.GATEWAY_TIMEOUT_ERROR, calls=3),
    ),
    Fault(
        "closed before an answer",
        {"cut": "before_headers"},
        **doubtful(C.SERVICE_UNAVAILABLE_ERROR, C.GATEWAY_TIMEOUT_ERROR, calls=3),
    ),
    Fault(
        "cut in the headers",
        {"cut": "mid_headers"},
        **doubtful(C.SERVICE_UNAVAILABLE_ERROR, C.GATEWAY_TIMEOUT_ERROR, calls=3),
    ),
    Fault(
        "cut in the body",
        {"cut": "mid_body"},
        **doubtful(C.SERVICE_UNAVAILABLE_ERROR, C.GATEWAY_TIMEOUT_ERROR, calls=3),
    ),
    Fault("no answer at all", {"hang": True}, **doubtful(C.GATEWAY_TIMEOUT_ERROR), deadline=2.0),
    Fault("one byte a second", {"drip_seconds": 1.0}, **doubtful(C.GATEWAY_TIMEOUT_ERROR), deadline=2.0),
    # Redirects are not followed: they would carry the customer's credentials elsewhere.
    *(
        Fault(
            f"{number} to another host",
            status(number, "", Location="http://other.example/"),
            **doubtful(C.BAD_GATEWAY_ERROR),
        )
        for number in (301, 302, 307)
    ),
    # Refusals.
    Fault("400", status(400), **same(C.BAD_REQUEST)),
    Fault(
        "401, again after a renewed token",
        status(401),
        **same(C.UNAUTHORIZED_ERROR, calls=2),
        only=Provider("outreach"),
    ),
    Fault("401", status(401, "Invalid access credentials."), **same(C.UNAUTHORIZED_ERROR), only=Provider("apollo")),
    Fault("402", status(402), **same(C.PAYMENT_REQUIRED_ERROR)),
    Fault(
        "403 API_INACCESSIBLE",
        status(403, {"error": "No.", "error_code": "API_INACCESSIBLE"}),
        **same(C.FORBIDDEN_ERROR),
        only=Provider("apollo"),
    ),
    Fault(
        "403 unauthorizedOauthScope",
        status(403, jsonapi({"id": "unauthorizedOauthScope"})),
        **same(C.FORBIDDEN_ERROR),
        only=Provider("outreach"),
    ),
    Fault(
        "403 unauthorizedRequest",
        status(403, jsonapi({"id": "unauthorizedRequest"})),
        **same(C.FORBIDDEN_ERROR),
        only=Provider("outreach"),
    ),
    *(
        Fault(
            f"{number} with a page of the edge",
            status(number, HTML, content_type="text/html; charset=UTF-8", cf_mitigated="challenge"),
            **doubtful(C.BAD_GATEWAY_ERROR, calls=3),
        )
        for number in (401, 403, 404)
    ),
    Fault("404", status(404), **same(C.NOT_FOUND_ERROR)),
    Fault("409", status(409), **same(C.CONFLICT_ERROR)),
    Fault("413", status(413), **same(C.REMOTE_PROVIDER_ERROR)),
    Fault("415", status(415), **same(C.REMOTE_PROVIDER_ERROR)),
    Fault("422", status(422), **same(C.UNPROCESSABLE_ENTITY_ERROR)),
    Fault(
        "422 with three errors",
        status(422, jsonapi(*({"id": "validationError", "detail": f"No. {n}."} for n in range(3)))),
        **same(C.UNPROCESSABLE_ENTITY_ERROR, errors=3),
        only=Provider("outreach"),
    ),
    # Rate limits.
    Fault(
        "429, the window is used up",
        status(429, {"message": "The maximum number of api calls allowed"}, retry_after="120"),
        **same(C.TOO_MANY_REQUESTS_ERROR, retry_after=120),
        only=Provider("apollo"),
    ),
    Fault(
        "429, not in the plan",
        status(429, {"error": "Only available to paying teams."}),
        **same(C.PAYMENT_REQUIRED_ERROR),
        only=Provider("apollo"),
    ),
    Fault(
        "429, overlapping writes",
        status(429, {"error": "We are already processing the request for your sequence"}),
        **same(C.CONFLICT_ERROR, calls=3, retry_after=1),
        only=Provider("apollo"),
    ),
    Fault(
        "429 rateLimitExceeded",
        status(429, jsonapi({"id": "rateLimitExceeded"}), retry_after="120"),
        **same(C.TOO_MANY_REQUESTS_ERROR, retry_after=120),
        only=Provider("outreach"),
    ),
    Fault("429 without a time", status(429), **same(C.TOO_MANY_REQUESTS_ERROR)),
    Fault(
        "429 of a proxy",
        status(429, HTML, content_type="text/html", retry_after="120"),
        **doubtful(C.TOO_MANY_REQUESTS_ERROR, retry_after=120),
    ),
    # The provider's own failures.
    Fault("500 with text", status(500, "undefined method '[]' for nil"), **doubtful(C.BAD_GATEWAY_ERROR)),
    Fault("502 with HTML", status(502, HTML, content_type="text/html"), **doubtful(C.BAD_GATEWAY_ERROR, calls=3)),
    Fault(
        "503 with HTML", status(503, HTML, content_type="text/html"), **doubtful(C.SERVICE_UNAVAILABLE_ERROR, calls=3)
    ),
    Fault(
        "503 with a time, from a proxy",
        status(503, "", retry_after="{in_120_seconds}"),
        **doubtful(C.SERVICE_UNAVAILABLE_ERROR, retry_after=120),
    ),
    Fault(
        "503 scheduledServerMaintenance until a moment in ISO 8601",
        status(503, jsonapi({"id": "scheduledServerMaintenance"}), retry_after="{in_120_seconds}"),
        **same(C.SERVICE_UNAVAILABLE_ERROR, retry_after=120),
        only=Provider("outreach"),
    ),
    *(
        Fault(
            f"{number} of the edge",
            status(number, f"error code: {number}", content_type="text/plain; charset=UTF-8"),
            **doubtful(C.BAD_GATEWAY_ERROR, calls=3),
        )
        for number in (520, 525, 530)
    ),
    Fault("504 with HTML", status(504, HTML, content_type="text/html"), **doubtful(C.GATEWAY_TIMEOUT_ERROR, calls=3)),
    # Good statuses with answers that are not good.
    Fault(
        "200 with an error member",
        status(200, {"error": "Wait mode must be valid"}),
        **same(C.UNPROCESSABLE_ENTITY_ERROR),
        only=Provider("apollo"),
    ),
    Fault(
        "200 with an error member",
        status(200, {"error": "No."}),
        **doubtful(C.BAD_GATEWAY_ERROR),
        only=Provider("outreach"),
    ),
    Fault("200 with HTML", status(200, HTML, content_type="text/html"), **doubtful(C.BAD_GATEWAY_ERROR, calls=3)),
    Fault("200 with broken JSON", status(200, '{"data": {"id": '), **doubtful(C.BAD_GATEWAY_ERROR)),
    Fault("200 with another shape", status(200, {"data": 3, "emailer_campaign": "x"}), **doubtful(C.BAD_GATEWAY_ERROR)),
    Fault("200 with nothing", status(200, ""), **doubtful(C.BAD_GATEWAY_ERROR)),
    Fault(
        "200 with another record",
        status(200, {"id": "5f00000000000000000009ff", "data": {"type": "template", "id": 999999, "attributes": {}}}),
        **doubtful(C.BAD_GATEWAY_ERROR),
    ),
    Fault(
        "202 with nothing done yet",
        status(202, {"status": "queued"}),
        **doubtful(C.BAD_GATEWAY_ERROR),
    ),
    Fault(
        "200 with gzip that is none", status(200, "not gzip", content_encoding="gzip"), **doubtful(C.BAD_GATEWAY_ERROR)
    ),
    Fault(
        "200 with 100 MB",
        {"status": 200, "body_repeat": {"text": "x", "bytes": 100_000_000}},
        **doubtful(C.BAD_GATEWAY_ERROR),
    ),
    Fault("200 with JSON 10,000 deep", {"status": 200, "json_depth": 10_000}, **doubtful(C.BAD_GATEWAY_ERROR)),
    Fault(
        "200 in another charset",
        {
            "status": 200,
            "body_base64": "eyJkYXRhIjogIun/In0=",
            "headers": {"content-type": "application/json; charset=iso-8859-1"},
        },
        **doubtful(C.BAD_GATEWAY_ERROR),
    ),
    Fault(
        "another content type, sound otherwise",
        {"headers": {"content-type": "text/plain"}},
        Expected(None, None),
        Expected(None, None),
    ),
)

CALLS: Final = ("read", "write", "fields", "token")
"""The read; the write of the template; the write of custom fields, after that of the template; the renewal of a token."""


def cells() -> Iterator[Cell]:
    """Every fault at every call of every provider."""
    for fault in FAULTS:
        for provider in (Provider("apollo"), Provider("outreach")):
            if fault.only in (None, provider):
                for call in CALLS:
                    yield Cell(fault, provider, call, _expected(fault, call))


def _on_token(fault: Fault) -> Expected:
    """A token is asked for once; a refusal that is not the grant's fault is nobody's but the provider's."""
    refused = fault.order.get("status", 200)
    if fault.read.code is None:
        return fault.read
    if refused == 429:
        return Expected(
            C.TOO_MANY_REQUESTS_ERROR, retry_after=fault.read.retry_after if fault.order.get("headers") else None
        )
    if refused < 500 and fault.order.get("status"):
        return Expected(C.BAD_GATEWAY_ERROR)
    return replace(fault.read, calls=1)


def _expected(fault: Fault, call: str) -> Expected:
    if call == "token":
        return _on_token(fault)
    expected = fault.read if call == "read" else fault.write
    if call == "fields" and expected.code is not None:
        # The template has been written by then, and stays so.
        return Expected(
            expected.code,
            Outcome.PARTIALLY_APPLIED,
            expected.calls,
            expected.origin,
            expected.retry_after,
            expected.errors,
        )
    return expected


def table() -> str:
    """The table of docs/faults.md."""
    lines = [
        "| fault | provider | call | code | outcome | errors | retry after | sent |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for cell in cells():
        expected = cell.expected
        wait = f"{expected.retry_after:.0f} s" if expected.retry_after is not None else ""
        code = f"`{expected.code}`" if expected.code else "success"
        outcome = f"`{expected.outcome.value}`" if expected.outcome else "applied"
        lines.append(
            f"| {cell.fault.name} | {cell.provider.title} | {cell.call} | {code} | {outcome} "
            f"| {expected.errors if expected.code else 0} | {wait} | {expected.calls} |"
        )
    return "\n".join(lines) + "\n"
