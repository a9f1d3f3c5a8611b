"""Odd answers of providers, and what comes of each: the data of both the tests and the table in docs/odd-answers.md.

To add one, add a row: which request is answered how, what the caller learns, what the provider then has, how many requests
were sent.
"""

from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from tests.support import apollo, outreach
from tests.support.stand_in import FIELDS, READ, SHARING, TOKEN, WRITE, Edit, Odd

NEW: Final = {"subject": "Quick question", "body": "<p>Are you well?</p>", "note": "call back"}

OK: Final = "success"
APOLLO: Final = "apollo"
OUTREACH: Final = "outreach"
PAGE: Final = "<html><head><title>Attention Required!</title></head><body>Cloudflare</body></html>"


@dataclass(frozen=True)
class Row:
    """An odd answer with what comes of it.

    Attributes:
        about: What kind of oddity it is.
        what: What is answered, for people.
        provider: Whose answer it is.
        sets: Which texts the update names: `subject`, `body`, `note`; a mapping says their values.
        odd: What is odd.
        result: `success`, or the code of the error.
        outcome: What became of the step, of an error.
        changes: The texts that are listed as changed.
        warnings: The kinds of warnings.
        says: Words of the detail of the error or of a warning.
        never: Words that are in neither.
        has: What the provider has in the end, of the texts that are named: `new`, `old`, or their values.
        sent: What was sent to the provider, in order.
        origin: Who found fault.
        again: How often the call was made before, with the same answers.
        dry: Whether it only validates.
        dry_last: Whether the last of several calls only validates.
        had: What the provider had before, beside the usual.
        grant: What is odd about the customer's grant: `ended`, `no refresh token`, `ends soon`.
        connection: The state of the connection in the end.
        credentials: Which refresh token is kept in the end: `old` or `new`.
        with_etag: Whether the update has the etag of a read before it, which was as it should be.
        meanwhile: What somebody else stores between that read and the update.
        refuse_shared: Whether it leaves a template that other steps use.
    """

    about: str
    what: str
    provider: str
    sets: Mapping[str, Any] | Sequence[str]
    odd: Sequence[Odd]
    result: str
    outcome: str = "not applied"
    changes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    says: str = ""
    never: str = "bug"
    has: str | Mapping[str, Any] = "old"
    sent: Sequence[str] = (READ, WRITE)
    origin: str = "provider"
    again: int = 0
    dry: bool = False
    dry_last: bool = False
    had: Mapping[str, Any] = field(default_factory=dict)
    grant: str = ""
    connection: str = "active"
    credentials: str = ""
    with_etag: bool = False
    meanwhile: Mapping[str, Any] = field(default_factory=dict)
    refuse_shared: bool = False

    def __str__(self) -> str:
        return f"{self.about}-{self.what}-{self.provider}"

    @property
    def wanted(self) -> Mapping[str, Any]:
        """The texts that the update names."""
        return self.sets if isinstance(self.sets, Mapping) else {name: NEW[name] for name in self.sets}


def unknown(about: str, what: str, provider: str, *odd: Odd, code: str = "BAD_GATEWAY_ERROR", **more: Any) -> Row:
    """A write of the subject after which nobody knows."""
    given: dict[str, Any] = {
        "sets": ["subject"],
        "outcome": "unknown",
        "has": "new",
        "says": "may have been carried out",
    }
    return Row(about, what, provider, odd=odd, result=code, **(given | more))


def success(about: str, what: str, provider: str, *odd: Odd, **more: Any) -> Row:
    """An update of the subject that succeeds."""
    given: dict[str, Any] = {"sets": ["subject"], "changes": ["subject"], "has": "new", "outcome": ""}
    return Row(about, what, provider, odd=odd, result=OK, **(given | more))


def refused(about: str, what: str, provider: str, *odd: Odd, code: str, **more: Any) -> Row:
    """An update of the subject that changes nothing."""
    given: dict[str, Any] = {"sets": ["subject"], "sent": (READ,)}
    return Row(about, what, provider, odd=odd, result=code, **(given | more))


def wrapped(name: str, value: Any, _: Any) -> Any:
    """Apollo's way of storing a body."""
    return f"<html><head></head><body>{value}</body></html>" if name == "body" else value


def without_script(name: str, value: Any, _: Any) -> Any:
    """A provider that cleans a body."""
    head, mark, rest = str(value).partition("<script>")
    return head + rest.partition("</script>")[2] if name == "body" and mark else value


def upper(name: str, value: Any, _: Any) -> Any:
    """A provider that rewrites the tags of a body."""
    return str(value).replace("<p>", '<p class="x">') if name == "body" else value


def constant(stored: Any, _name: str, _value: Any, _old: Any) -> Any:
    """A provider that stores this, whatever it is sent."""
    return stored


def ignored(_name: str, _value: Any, stored: Any) -> Any:
    """A provider that drops a write."""
    return stored


def put(path: str, value: Any) -> Edit:
    """A member that is set."""
    return Edit("set", path, value)


def drop(path: str) -> Edit:
    """A member that is left out."""
    return Edit("drop", path)


def _other_record() -> Iterator[Row]:
    about = "the answer is about something else"
    for what, edits in (
        ("the record 99", [put("data.id", 99)]),
        ("a record of another type", [put("data.type", "sequenceStep")]),
        ("a record without an id", [drop("data.id")]),
        ("a list of records", [Edit("double", "data")]),
        ("no record, and no meta", [drop("data")]),
        ("the record beside `errors`", [put("errors", [{"detail": "not saved"}])]),
        ("a record without the text", [drop("data.attributes.subject")]),
        ("a number in the place of the text", [put("data.attributes.subject", 3)]),
        ("a record without attributes", [put("data.attributes", None)]),
        ("the record beside `errors` in `meta`", [put("meta", {"errors": [{"detail": "not saved"}]})]),
        ("the record, in whose `meta` is `saved: false`", [put("data.meta", {"saved": False})]),
    ):
        yield unknown(about, f"200 with {what}", OUTREACH, Odd(WRITE, edits=edits))
    for what, edits in (
        ("another id", [put("id", "5f00000000000000000003ff")]),
        ("an `error_message`", [put("error_message", "not saved")]),
        ("`success: false`", [put("success", False)]),
        ("`success: 0`", [put("success", 0)]),
        ("`ok` as the text `false`", [put("ok", "false")]),
        ("`failed: true`", [put("failed", True)]),
        ("`status: 422`", [put("status", 422)]),
        ("`status: error`", [put("status", "error")]),
        ("a record without the text", [drop("subject")]),
        ("null in the place of the text", [put("subject", None)]),
        ("a nested record of another id", [Edit("nest", "id", "emailer_template")]),
    ):
        yield unknown(about, f"200 with {what}", APOLLO, Odd(WRITE, edits=edits))
    yield unknown(
        about,
        "200 with an id and an `error_message` only",
        APOLLO,
        Odd(WRITE, body={"id": "x", "error_message": "not saved"}),
    )
    for what, meta in (("`errors`", {"errors": ["not saved"]}), ("`success: false`", {"success": False})):
        yield unknown(
            about, f"200 with a `meta` of {what}", OUTREACH, Odd(WRITE, body={"meta": meta}, applies=False), has="old"
        )
    for provider in (APOLLO, OUTREACH):
        yield unknown(
            about, "202, accepted and not carried out yet", provider, Odd(WRITE, status=202, applies=False), has="old"
        )
    yield success(
        about, "200 with the id in upper case", APOLLO, Odd(WRITE, edits=[put("id", apollo.TEMPLATE.upper())])
    )
    yield success(
        about, "200 with the id as a string", OUTREACH, Odd(WRITE, edits=[put("data.id", str(outreach.TEMPLATE))])
    )


def _dropped_writes() -> Iterator[Row]:
    about = "nothing became different"
    for provider in (APOLLO, OUTREACH):
        for name in ("subject", "body"):
            yield unknown(
                about,
                f"200 with the old {name}",
                provider,
                Odd(WRITE, applies=False),
                sets=[name],
                has="old",
                says="it kept the old text",
            )
            yield unknown(
                about,
                f"200 with the old {name}, for the second time",
                provider,
                Odd(WRITE, applies=False),
                sets=[name],
                has="old",
                says="it kept the old text",
                sent=(READ, WRITE, READ, WRITE),
                again=1,
            )
            yield success(
                about,
                f"200 with the old {name} once, and then it is taken",
                provider,
                Odd(WRITE, applies=False, times=1),
                sets=[name],
                changes=[name],
                sent=(READ, WRITE, READ, WRITE),
                again=1,
            )
        yield Row(
            about,
            "200 with the new subject and the old body",
            provider,
            ["subject", "body"],
            [Odd(WRITE, stores=lambda name, value, stored: stored if name == "body" else value)],
            "BAD_GATEWAY_ERROR",
            "partially applied",
            changes=["subject"],
            says="it kept the old text",
            has={"subject": NEW["subject"], "body": "<p>Old</p>"},
        )


def _wrapped_in_one_answer() -> Iterator[Row]:
    about = "nothing became different"
    for provider, path in ((APOLLO, "body_html"), (OUTREACH, "data.attributes.bodyHtml")):
        for what, had, shown in (
            ("without its wrapper", wrapped("body", "<p>Old</p>", None), "<p>Old</p>"),
            ("in a wrapper", "<p>Old</p>", wrapped("body", "<p>Old</p>", None)),
            ("in a doctype", wrapped("body", "<p>Old</p>", None), "<!doctype html><p>Old</p>"),
        ):
            yield unknown(
                about,
                f"200 with the old body {what}",
                provider,
                Odd(WRITE, applies=False, edits=[put(path, shown)]),
                sets=["body"],
                had={"body": had},
                has="old",
                says="it kept the old text",
            )


def _ignored_fields() -> Iterator[Row]:
    about = "`changes` has only what became different"
    for provider in (APOLLO, OUTREACH):
        yield success(
            about,
            "a custom field is as before",
            provider,
            Odd(FIELDS, stores=ignored),
            sets=["note"],
            changes=[],
            warnings=["CONTENT_NORMALIZED"],
            has="old",
            sent=(READ, FIELDS),
        )
        yield success(
            about,
            "a custom field is as before, for the second time",
            provider,
            Odd(FIELDS, stores=ignored),
            sets=["note"],
            changes=[],
            warnings=["NO_CHANGE"],
            has="old",
            says="what it makes of the value of custom_fields.",
            sent=(READ, FIELDS, READ),
            again=1,
        )
        spellings: Sequence[tuple[str, Any, Any]] = (
            ("3 as 3.0", 3, 3.0),
            ("true as a text", True, "true"),
            ("3 as a text", 3, "3"),
        )
        for what, sent, stored in spellings:
            yield success(
                about,
                f"a custom field answers {what}",
                provider,
                Odd(FIELDS, stores=partial(constant, stored)),
                sets={"note": sent},
                changes=["note"],
                warnings=[] if stored == sent else ["CONTENT_NORMALIZED"],
                has={"note": stored},
                sent=(READ, FIELDS),
            )
        yield success(
            about,
            "the values are there already",
            provider,
            sets={"subject": "Old", "body": "<p>Old</p>", "note": "n"},
            changes=[],
            warnings=["NO_CHANGE"],
            sent=(READ,),
        )
        yield success(
            about,
            "one of two texts is there already",
            provider,
            sets={"subject": "Old", "body": NEW["body"]},
            changes=["body"],
        )
        yield unknown(
            about,
            "a custom field is not shown",
            provider,
            Odd(FIELDS, edits=[drop("note" if provider == APOLLO else "data.attributes.taskNote")]),
            sets=["note"],
            sent=(READ, FIELDS),
        )


def _normalised_texts() -> Iterator[Row]:
    about = "a text that is stored differently settles"
    body = "<p>Are you well?</p><script>x()</script>"
    for provider in (APOLLO, OUTREACH):
        for what, stores, sent_body in (
            ("wrapped", wrapped, NEW["body"]),
            ("cleaned", without_script, body),
            ("rewritten", upper, NEW["body"]),
        ):
            yield success(
                about,
                f"the body is {what}",
                provider,
                Odd(WRITE, stores=stores),
                sets={"body": sent_body},
                changes=["body"],
                warnings=["CONTENT_NORMALIZED"],
                has={"body": stores("body", sent_body, None)},
            )
            yield success(
                about,
                f"the body is {what}, for the third time",
                provider,
                Odd(WRITE, stores=stores),
                sets={"body": sent_body},
                changes=[],
                warnings=["NO_CHANGE"],
                has={"body": stores("body", sent_body, None)},
                sent=(READ, WRITE, READ, READ),
                again=2,
            )
        for what, around in (
            ("a wrapper", "<html><head></head><body>{}</body></html>"),
            ("a doctype and a wrapper", "<!DOCTYPE html>\n<html>\n<head></head><body>{}</body></html>\n"),
            ("half a wrapper", "<body>{}"),
        ):
            yield success(
                about,
                f"the body is there already, in {what}",
                provider,
                sets={"body": NEW["body"]},
                had={"body": around.format(NEW["body"])},
                changes=[],
                warnings=["NO_CHANGE"],
                has={"body": around.format(NEW["body"])},
                says="what it makes of the value of template.body",
                sent=(READ,),
            )
        for what, times in (("", 0), (", for the third time", 2)):
            yield success(
                about,
                f"the body is cleaned to what was there{what}",
                provider,
                Odd(WRITE, stores=without_script),
                sets={"body": "<p>Old</p><script>x()</script>"},
                changes=[],
                warnings=["NO_CHANGE" if times else "CONTENT_NORMALIZED"],
                has="old",
                sent=(READ, WRITE, *[READ] * times),
                again=times,
            )
        yield success(
            about,
            "the body is there already in a wrapper, beside a new custom field",
            provider,
            sets={"subject": "Old", "body": NEW["body"], "note": "new"},
            had={"body": wrapped("body", NEW["body"], None)},
            changes=["note"],
            warnings=["CONTENT_NORMALIZED"],
            has={"subject": "Old", "body": wrapped("body", NEW["body"], None), "note": "new"},
            says="already holds what it makes of the value of template.body",
            sent=(READ, FIELDS),
        )
        yield success(
            about,
            "the body is cleaned, to validate it after that",
            provider,
            Odd(WRITE, stores=without_script),
            sets={"body": body},
            changes=[],
            warnings=["NO_CHANGE"],
            has={"body": NEW["body"]},
            sent=(READ, WRITE, READ),
            again=1,
            dry_last=True,
        )
        yield success(
            about,
            "nothing is left of the body, which is null then",
            provider,
            Odd(WRITE, stores=partial(constant, None)),
            sets={"body": "<script>x()</script>"},
            changes=["body"],
            warnings=["CONTENT_NORMALIZED"],
            has={"body": None},
        )


def _statuses() -> Iterator[Row]:
    about = "a status that does not mean refusal"
    own = {APOLLO: {"error": "No."}, OUTREACH: {"errors": [{"id": "no", "detail": "No."}]}}
    for provider in (APOLLO, OUTREACH):
        for status, code, times in (
            (302, "BAD_GATEWAY_ERROR", 1),
            (303, "BAD_GATEWAY_ERROR", 1),
            (408, "REMOTE_PROVIDER_ERROR", 3),
            (499, "REMOTE_PROVIDER_ERROR", 3),
            (500, "BAD_GATEWAY_ERROR", 1),
            (599, "BAD_GATEWAY_ERROR", 1),
        ):
            yield unknown(
                about,
                f"{status} in the provider's form",
                provider,
                Odd(WRITE, status=status, body=own[provider]),
                code=code,
                sent=(READ, *[WRITE] * times),
            )
        yield unknown(
            about,
            "503 with `retry-after: 120` of a proxy",
            provider,
            Odd(WRITE, status=503, body="", headers={"retry-after": "120", "content-type": None}),
            code="SERVICE_UNAVAILABLE_ERROR",
        )
        for status, code in ((404, "NOT_FOUND_ERROR"), (422, "UNPROCESSABLE_ENTITY_ERROR"), (501, "BAD_GATEWAY_ERROR")):
            yield refused(
                about,
                f"{status} in the provider's form, which is a refusal",
                provider,
                Odd(WRITE, status=status, body=own[provider], applies=False),
                code=code,
                sent=(READ, WRITE),
            )
        yield unknown(
            about,
            "502, and then 422 to the repetition",
            provider,
            Odd(WRITE, status=502, body=PAGE, headers={"content-type": "text/html"}, times=1),
            Odd(WRITE, status=422, body=own[provider], applies=False),
            code="UNPROCESSABLE_ENTITY_ERROR",
            sent=(READ, WRITE, WRITE),
        )
        yield unknown(about, "the record with 422", provider, Odd(WRITE, status=422), sent=(READ, WRITE, WRITE, WRITE))


def _error_members() -> Iterator[Row]:
    about = "an error beside the record"
    for what, edits in (
        ("`error` beside the record", [put("error", "not saved")]),
        ("`error` beside a record without id", [drop("id"), put("error", "not saved")]),
        ("`error_code` beside the record", [put("error_code", "E1")]),
        (
            "`error` in a nested record",
            [Edit("rename", "id", "x"), put("emailer_template", {"id": apollo.TEMPLATE, "error": "no"})],
        ),
    ):
        yield unknown(about, f"200 with {what}", APOLLO, Odd(WRITE, edits=edits))
    for what, value in (("an empty `error`", ""), ("`error: null`", None), ("`errors: []`", [])):
        name = "errors" if value == [] else "error"
        yield success(about, f"200 with {what} beside the record", APOLLO, Odd(WRITE, edits=[put(name, value)]))
    for what, body in (
        ("`error_message`", {"error_message": "The subject is too long"}),
        ("an object", {"error": {"message": "The subject is too long"}}),
        ("a list", {"errors": ["The subject is too long"]}),
    ):
        yield refused(
            about,
            f"422 with its words in {what}, which is a refusal",
            APOLLO,
            Odd(WRITE, status=422, body=body, applies=False),
            code="UNPROCESSABLE_ENTITY_ERROR",
            sent=(READ, WRITE),
            says="The subject is too long.",
        )
    yield refused(
        about,
        "200 with an `error` alone",
        APOLLO,
        Odd(WRITE, body={"error": "Wait mode must be valid"}, applies=False),
        code="UNPROCESSABLE_ENTITY_ERROR",
        sent=(READ, WRITE),
        says="Wait mode must be valid",
    )


def _true_words() -> Iterator[Row]:
    about = "words that fit what happened"
    unauthorized = {"errors": [{"id": "unauthorized", "detail": "Expired."}]}
    yield refused(
        about,
        "401, and there is no refresh token",
        OUTREACH,
        Odd(READ, status=401, body=unauthorized),
        code="UNAUTHORIZED_ERROR",
        says="Nothing was changed.",
        never="no request",
        grant="no refresh token",
    )
    yield Row(
        about,
        "401 to the second write, and there is no refresh token",
        OUTREACH,
        ["subject", "note"],
        [Odd(FIELDS, status=401, body=unauthorized, applies=False)],
        "UNAUTHORIZED_ERROR",
        "partially applied",
        changes=["subject"],
        says="Before that, template.subject had been changed.",
        never="no request",
        has={"subject": NEW["subject"], "note": "n"},
        sent=(READ, WRITE, FIELDS),
        grant="no refresh token",
    )
    refusals: Sequence[tuple[str, dict[str, Any], str, int]] = (
        ("the token endpoint is out of order", {"status": 500, "body": "oops"}, "BAD_GATEWAY_ERROR", 1),
        ("the client is refused", {"status": 401, "body": {"error": "invalid_client"}}, "SERVICE_UNAVAILABLE_ERROR", 1),
        ("the grant is void", {"status": 400, "body": {"error": "invalid_grant"}}, "UNAUTHORIZED_ERROR", 2),
    )
    for what, refusal, code, mints in refusals:
        yield refused(
            about,
            f"401, and {what}",
            OUTREACH,
            Odd(READ, status=401, body=unauthorized),
            Odd(TOKEN, **refusal),
            code=code,
            sent=(READ, *[TOKEN] * mints),
            says="Nothing was changed.",
            never="no request",
            connection="needs_reauth" if mints == 2 else "active",
        )
        yield Row(
            about,
            f"401 to the second write, and {what}",
            OUTREACH,
            ["subject", "note"],
            [Odd(FIELDS, status=401, body=unauthorized, applies=False), Odd(TOKEN, **refusal)],
            code,
            "partially applied",
            changes=["subject"],
            says="Before that, template.subject had been changed.",
            never="no request",
            has={"subject": NEW["subject"], "note": "n"},
            sent=(READ, WRITE, FIELDS, *[TOKEN] * mints),
            connection="needs_reauth" if mints == 2 else "active",
        )
    yield Row(
        about,
        "the limit is used up before the second write",
        OUTREACH,
        ["subject", "note"],
        [Odd(WRITE, headers={"x-ratelimit-remaining": "0", "x-ratelimit-reset": "3000"})],
        "TOO_MANY_REQUESTS_ERROR",
        "partially applied",
        changes=["subject"],
        says="Before that, template.subject had been changed. Repeat the call in ",
        never="Nothing was changed",
        has={"subject": NEW["subject"], "note": "n"},
        origin="service",
    )
    for provider, own in ((APOLLO, {"error": "No."}), (OUTREACH, {"errors": [{"detail": "No."}]})):
        for status, code in (
            (422, "UNPROCESSABLE_ENTITY_ERROR"),
            (403, "FORBIDDEN_ERROR"),
            (404, "NOT_FOUND_ERROR"),
            (501, "BAD_GATEWAY_ERROR"),
        ):
            yield Row(
                about,
                f"{status} to the second write, which repeating does not cure",
                provider,
                ["subject", "note"],
                [Odd(FIELDS, status=status, body=own, applies=False)],
                code,
                "partially applied",
                changes=["subject"],
                says="Before that, template.subject had been changed.",
                never="Repeating the call",
                has={"subject": NEW["subject"], "note": "n"},
                sent=(READ, WRITE, FIELDS),
            )


def _variants() -> Iterator[Row]:
    about = "which variant is changed"
    second = apollo.touch(id="t2", status="approved")
    unreviewed = [apollo.touch(status="to_be_reviewed"), apollo.touch(id="t2", status="to_be_reviewed")]
    for what, touches, says, never in (
        ("none of two variants is live", unreviewed, "since none is live", "stay as they are"),
        ("two live variants with one template", [apollo.touch(), second], "changes with it", "stays as they are"),
        (
            "only the second variant is live",
            [apollo.touch(template="5f00000000000000000003ff", status="to_be_reviewed"), second],
            "the first one that is live",
            "none is live",
        ),
    ):
        yield success(
            about,
            what,
            APOLLO,
            Odd(READ, edits=[put("emailer_touches", touches)]),
            warnings=["MULTIPLE_VARIANTS"],
            says=says,
            never=never,
        )
    two = [outreach.variant(enabled=False), outreach.variant(2, enabled=False)]
    yield success(
        about,
        "none of two variants is live",
        OUTREACH,
        Odd(READ, edits=[put("data", two)]),
        warnings=["MULTIPLE_VARIANTS"],
        says="since none is live",
        never="stay as they are",
    )


def _someone_in_between() -> Iterator[Row]:
    about = "an answer that is not the provider's"
    challenge = {"content-type": "text/html; charset=UTF-8", "cf-mitigated": "challenge"}
    for provider in (APOLLO, OUTREACH):
        for status in (401, 403, 404):
            yield refused(
                about,
                f"{status} with a page of the edge, to the read",
                provider,
                Odd(READ, status=status, body=PAGE, headers=challenge),
                code="BAD_GATEWAY_ERROR",
                sent=(READ, READ, READ),
                never="Give customer",
            )
        yield unknown(
            about,
            "403 with a page of the edge, to the write",
            provider,
            Odd(WRITE, status=403, body=PAGE, headers=challenge),
            sent=(READ, WRITE, WRITE, WRITE),
            never="Give customer",
        )
        for what, body, kind in (
            ("`error code: 1010`", "error code: 1010", "text/plain"),
            ("the JSON of a gateway", {"message": "Forbidden"}, "application/json"),
            (
                "problem details",
                {"type": "about:blank", "title": "Forbidden", "status": 403},
                "application/problem+json",
            ),
            ("XML", "<?xml version='1.0'?><Error/>", "application/xml"),
            (
                "Cloudflare's problem in JSON",
                {"title": "Error 1010", "status": 403, "error_code": 1010, "cloudflare_error": True},
                "application/json",
            ),
            ("JSON of another API's errors", {"errors": [{"message": "Forbidden"}]}, "application/json"),
            ("nothing", "", None),
        ):
            yield refused(
                about,
                f"403 with {what}, to the read",
                provider,
                Odd(READ, status=403, body=body, headers={"content-type": kind}),
                code="BAD_GATEWAY_ERROR",
                sent=(READ, READ, READ),
                never="customer",
            )
        yield success(
            about,
            "403 with a page of the edge, once",
            provider,
            Odd(READ, status=403, body=PAGE, headers=challenge, times=1),
            sent=(READ, READ, WRITE),
        )
    yield refused(
        about,
        "401 with another API's errors, which costs no token",
        OUTREACH,
        Odd(READ, status=401, body={"errors": [{"message": "Unauthorized"}]}),
        code="BAD_GATEWAY_ERROR",
        sent=(READ, READ, READ),
        never="Reconnect",
    )
    for provider in (APOLLO, OUTREACH):
        for what, body, headers in (
            ("a page of the edge", PAGE, challenge),
            ("a page to log in at a network", "<!DOCTYPE html><html>Log in</html>", {}),
            ("`error code: 1010`", "error code: 1010", {"content-type": "text/plain"}),
        ):
            yield refused(
                about,
                f"200 with {what}, to the read",
                provider,
                Odd(READ, body=body, headers=headers),
                code="BAD_GATEWAY_ERROR",
                sent=(READ, READ, READ),
                says="by a proxy or an edge",
            )
            yield success(
                about,
                f"200 with {what} once, to the write",
                provider,
                Odd(WRITE, body=body, headers=headers, applies=False, times=1),
                sent=(READ, WRITE, WRITE),
            )
    yield refused(
        about,
        "404 in plain words",
        APOLLO,
        Odd(READ, status=404, body="404 page not found", headers={"content-type": "text/plain"}),
        code="BAD_GATEWAY_ERROR",
        sent=(READ, READ, READ),
        never="Check the ids",
    )
    yield refused(
        about,
        "401 in plain words, which is Apollo's own",
        APOLLO,
        Odd(READ, status=401, body="Invalid access credentials.", headers={"content-type": "text/plain"}),
        code="UNAUTHORIZED_ERROR",
        says="Invalid access credentials.",
    )


def _not_shown() -> Iterator[Row]:
    about = "what is not shown is not absent"
    for name in ("emailer_touches", "emailer_steps"):
        for what, edit in (
            ("left out", drop(name)),
            ("a number", put(name, 3)),
            ("an object", Edit("nest", name, "items")),
        ):
            yield refused(
                about,
                f"`{name}` is {what}",
                APOLLO,
                Odd(READ, edits=[edit]),
                code="BAD_GATEWAY_ERROR",
                says=f"does not show `{name}`",
                never="has no template",
            )
    for what, edit, says in (
        ("`emailer_templates` is left out", drop("emailer_templates"), "does not show `emailer_templates`"),
        (
            "the touch's template is left out",
            drop("emailer_touches.0.emailer_template_id"),
            "does not show which template",
        ),
        ("the touch's template is a number", put("emailer_touches.0.emailer_template_id", 7), "does not show which"),
        ("the template is not in the list", put("emailer_templates", []), "which Apollo does not show"),
    ):
        yield refused(
            about,
            what,
            APOLLO,
            Odd(READ, edits=[edit]),
            code="BAD_GATEWAY_ERROR",
            says=says,
            never="Give",
        )
    yield refused(
        about,
        "the touch's template is null, which is none",
        APOLLO,
        Odd(READ, edits=[put("emailer_touches.0.emailer_template_id", None)]),
        code="BAD_GATEWAY_ERROR",
        says="has no template at Apollo",
    )
    yield refused(
        about,
        "the variant's template is null, which is none",
        OUTREACH,
        Odd(READ, edits=[put("data.0.relationships.template.data", None)]),
        code="BAD_GATEWAY_ERROR",
        says="has no template at Outreach",
    )
    yield refused(
        about,
        "`emailer_touches` is null, which is empty",
        APOLLO,
        Odd(READ, edits=[put("emailer_touches", None)]),
        code="UNPROCESSABLE_ENTITY_ERROR",
        says="has no template",
        origin="service",
    )
    for what, edit in (
        ("the template is left out", drop("included.0")),
        ("the variant's template is left out", drop("data.0.relationships.template")),
        ("the variant's relationships are left out", drop("data.0.relationships")),
        ("the step is left out", drop("included.1")),
        ("the step's sequence is left out", drop("included.1.relationships.sequence")),
        ("the text is left out", drop("included.0.attributes.subject")),
        ("the text is a list", Edit("double", "included.0.attributes.subject")),
        ("`data` is null", put("data", None)),
    ):
        yield refused(about, what, OUTREACH, Odd(READ, edits=[edit]), code="BAD_GATEWAY_ERROR", never="has no template")
    yield refused(
        about,
        "the attributes of the step are left out",
        OUTREACH,
        Odd(READ, edits=[drop("data.attributes")]),
        code="BAD_GATEWAY_ERROR",
        sets=["note"],
        says="does not show the attributes of the step",
    )


def _tokens() -> Iterator[Row]:
    about = "a token answer"
    for what, odd in (
        ("`expires_in` as a string", Odd(TOKEN, edits=[put("expires_in", "7200")])),
        ("`expires_in` of another type", Odd(TOKEN, edits=[put("expires_in", {"seconds": 7200})])),
        ("`expires_in: 0`", Odd(TOKEN, edits=[put("expires_in", 0)])),
        ("`expires_in: -7200`", Odd(TOKEN, edits=[put("expires_in", -7200)])),
        ("`expires_in: 120`, less than the margin", Odd(TOKEN, edits=[put("expires_in", 120)])),
        ("`expires_in` left out", Odd(TOKEN, edits=[drop("expires_in")])),
        ("`token_type` and `scope` of other types", Odd(TOKEN, edits=[put("token_type", 5), put("scope", [{}])])),
        ("a byte order mark", Odd(TOKEN, prefix=b"\xef\xbb\xbf")),
        ("a line break around the token", Odd(TOKEN, edits=[put("access_token", " access-1\r\n")])),
        ("text/html as its type", Odd(TOKEN, headers={"content-type": "text/html"})),
        ("status 201", Odd(TOKEN, status=201)),
        ("an empty `error` beside the token", Odd(TOKEN, edits=[put("error", None)])),
    ):
        yield success(about, f"with {what}", OUTREACH, odd, sent=(TOKEN, READ, WRITE), grant="ended", credentials="new")
    for what, odd in (
        ("`refresh_token` left out", Odd(TOKEN, edits=[drop("refresh_token")])),
        ("`refresh_token: null`", Odd(TOKEN, edits=[put("refresh_token", None)])),
        ("`refresh_token` of another type", Odd(TOKEN, edits=[put("refresh_token", 7)])),
    ):
        yield success(about, f"with {what}", OUTREACH, odd, sent=(TOKEN, READ, WRITE), grant="ended", credentials="old")
    for status in (200, 400, 401, 500):
        yield refused(
            "the application is refused, not the customer",
            f"`invalid_client` with status {status}",
            OUTREACH,
            Odd(TOKEN, status=status, body={"error": "invalid_client"}),
            code="SERVICE_UNAVAILABLE_ERROR",
            sent=(TOKEN,),
            grant="ended",
            credentials="old",
            never="Reconnect",
        )
    for status in (200, 400, 403):
        yield refused(
            "a grant is given up when it was refused twice",
            f"`invalid_grant` with status {status}, twice",
            OUTREACH,
            Odd(TOKEN, status=status, body={"error": "invalid_grant"}),
            code="UNAUTHORIZED_ERROR",
            sent=(TOKEN, TOKEN),
            grant="ended",
            origin="service",
            connection="needs_reauth",
            credentials="old",
        )
    yield success(
        "a grant is given up when it was refused twice",
        "`invalid_grant` once",
        OUTREACH,
        Odd(TOKEN, status=400, body={"error": "invalid_grant"}, times=1),
        sent=(TOKEN, TOKEN, READ, WRITE),
        grant="ended",
        credentials="new",
    )
    yield success(
        "a grant is given up when it was refused twice",
        "`invalid_grant` while the token is good for a while",
        OUTREACH,
        Odd(TOKEN, status=400, body={"error": "invalid_grant"}),
        sent=(TOKEN, READ, WRITE),
        grant="ends soon",
        credentials="old",
    )


def _without_content() -> Iterator[Row]:
    about = "a good answer without a record"
    for what, odd in (
        ("204", Odd(WRITE, status=204)),
        ("200 with `meta` only", Odd(WRITE, body={"meta": {"took": 3}})),
        ("200 with `meta` and `jsonapi`", Odd(WRITE, body={"jsonapi": {"version": "1.0"}, "meta": {}})),
    ):
        yield success(about, what, OUTREACH, odd)
    yield success(
        about,
        "204 to custom fields",
        OUTREACH,
        Odd(FIELDS, status=204),
        sets=["note"],
        changes=["note"],
        sent=(READ, FIELDS),
    )
    for status, body in ((204, None), (200, ""), (200, {})):
        yield unknown(
            about,
            f"{status} with {'nothing' if not body and body != {} else 'no members'}, which Apollo does not do",
            APOLLO,
            Odd(WRITE, status=status, body=body),
        )
    yield unknown(about, "200 with an empty body", OUTREACH, Odd(WRITE, body=""))


def _passing() -> Iterator[Row]:
    about = "a passing status of an edge or a proxy"
    for provider in (APOLLO, OUTREACH):
        for status in (520, 522, 525, 530, 502, 504):
            body = f"error code: {status}"
            yield success(
                about,
                f"{status} once, to the read",
                provider,
                Odd(READ, status=status, body=body, headers={"content-type": "text/plain"}, times=1),
                sent=(READ, READ, WRITE),
            )
        yield success(
            about,
            "520 once, to the write",
            provider,
            Odd(WRITE, status=520, body="", applies=False, times=1),
            sent=(READ, WRITE, WRITE),
        )


def _tolerated() -> Iterator[Row]:
    about = "a member that is not needed"
    for what, edits in (
        ("a touch without id", [drop("emailer_touches.0.id")]),
        ("`active: loading`", [put("emailer_campaign.active", "loading")]),
        ("the campaign is null", [put("emailer_campaign", None)]),
        ("the campaign's id is null", [put("emailer_campaign.id", None)]),
        ("the step's campaign is null", [put("emailer_steps.0.emailer_campaign_id", None)]),
        ("the step's campaign is `loading`", [put("emailer_steps.0.emailer_campaign_id", "loading")]),
        ("a number of 400 digits on the template", [put("emailer_templates.0.n", 10**399)]),
        ("the sequence's id in upper case", [put("emailer_campaign.id", apollo.SEQUENCE.upper())]),
        ("the step's id in upper case", [put("emailer_steps.0.id", apollo.STEP.upper())]),
        ("the touch's ids in upper case", [put("emailer_touches.0", apollo.touch(template=apollo.TEMPLATE.upper()))]),
        ("NaN on the template", [put("emailer_templates.0.n", float("nan"))]),
        ("Infinity on the template", [put("emailer_templates.0.n", float("inf"))]),
        ("400 levels on the template", [put("emailer_templates.0.n", deep(400))]),
        ("null among the steps and touches", [put("emailer_touches", [None, apollo.touch()])]),
        ("`archived: loading` on the template", [put("emailer_templates.0.archived", "loading")]),
        ("the body is a number while only the subject is set", [put("emailer_templates.0.body_html", 5)]),
        ("a template of another shape in the list", [put("emailer_templates", [3, {"id": 4}, apollo.template()])]),
    ):
        yield success(about, what, APOLLO, Odd(READ, edits=edits))
    for what, edits in (
        ("`enabled` is left out", [drop("data.0.attributes.enabled")]),
        ("NaN among the statistics", [put("data.0.attributes.openRate", float("nan"))]),
        ("the variant has no id", [drop("data.0.id")]),
        ("the sequence is left out", [drop("included.2")]),
        ("`isReply` is a text", [put("data.0.attributes.isReply", "no")]),
        ("ids are strings", [put("included.0.id", str(outreach.TEMPLATE)), put("included.1.id", str(outreach.STEP))]),
        ("`links` is a list", [put("links", [])]),
        ("ids are written as 18.0", [put("included.0.id", float(outreach.TEMPLATE))]),
    ):
        yield success(about, what, OUTREACH, Odd(READ, edits=edits))
    for provider in (APOLLO, OUTREACH):
        for at in (READ, WRITE):
            yield success(about, f"a byte order mark before the answer to the {at}", provider, Odd(at, prefix=BOM_UTF8))
    yield refused(
        about,
        "the text that is needed is a number",
        APOLLO,
        Odd(READ, edits=[put("emailer_templates.0.subject", 5)]),
        code="BAD_GATEWAY_ERROR",
        says="`subject` of template",
    )


def _numbers() -> Iterator[Row]:
    about = "a number from outside"
    for what, value in (
        ("a wait of 56 years", "1795605746000"),
        ("a wait of 400 digits", "9" * 400),
        ("a negative wait", "-5"),
        ("a moment in the year 9999", "9999-12-31T23:59:59Z"),
    ):
        for provider, own in ((APOLLO, {"error": "Slow down."}), (OUTREACH, {"errors": [{"id": "rateLimitExceeded"}]})):
            yield refused(
                about,
                f"429 with {what}",
                provider,
                Odd(READ, status=429, body=own, headers={"retry-after": value}),
                code="TOO_MANY_REQUESTS_ERROR",
            )
    yield refused(
        about,
        "429 with `retry_after_seconds: 1795605746`",
        APOLLO,
        Odd(READ, status=429, body={"error": "Slow down.", "retry_after_seconds": 1795605746}),
        code="TOO_MANY_REQUESTS_ERROR",
    )
    for what, wait in (
        ("the text 120", '"120"'),
        ("a moment", '"2999-01-01T00:00:00Z"'),
        ("1e400", "1e400"),
        ("NaN", "NaN"),
        ("a list", "[1]"),
    ):
        yield refused(
            about,
            f"429 with `retry_after_seconds` as {what}",
            APOLLO,
            Odd(READ, status=429, body=f'{{"error": "Slow down.", "retry_after_seconds": {wait}}}'),
            code="TOO_MANY_REQUESTS_ERROR",
            says="Slow down.",
        )
    for name, value in (
        ("x-minute-requests-left", "9" * 50),
        ("x-minute-requests-left", "٣"),
        ("x-hourly-requests-left", "-1"),
        ("x-ratelimit-remaining", "many"),
        ("x-ratelimit-remaining", ""),
    ):
        provider = OUTREACH if "ratelimit" in name else APOLLO
        shown = value if len(value) < 10 else f"{value[:3]}… of {len(value)} digits"
        yield success(about, f"`{name}: {shown}`", provider, Odd(READ, headers={name: value}))


def deep(levels: int) -> Any:
    """Arrays in each other."""
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


def _deep_values() -> Iterator[Row]:
    about = "a value that is nested deeply"
    for provider, path in ((APOLLO, "note"), (OUTREACH, "data.attributes.taskNote")):
        for levels in (60, 500):
            yield unknown(
                about,
                f"a custom field {levels} levels deep",
                provider,
                Odd(FIELDS, edits=[put(path, deep(levels))]),
                sets=["note"],
                sent=(READ, FIELDS),
            )
    for provider in (APOLLO, OUTREACH):
        yield success(
            about,
            "a custom field that was 60 levels deep",
            provider,
            sets=["note"],
            had={"note": deep(60)},
            changes=["note"],
            sent=(READ, FIELDS),
        )


def _preconditions() -> Iterator[Row]:
    about = "only over what was seen"
    hidden = {APOLLO: "emailer_templates.0.{}", OUTREACH: "included.0.attributes.{}"}
    names = {APOLLO: ("subject", "body_html"), OUTREACH: ("subject", "bodyHtml")}
    for provider in (APOLLO, OUTREACH):
        yield success(about, "as it was seen", provider, with_etag=True)
        yield refused(
            about,
            "the body is another one by now",
            provider,
            with_etag=True,
            meanwhile={"body": "<p>Mine</p>"},
            code="STEP_CHANGED_ERROR",
            origin="service",
        )
        for name, wanted in zip(reversed(names[provider]), ("subject", "body"), strict=True):
            yield refused(
                about,
                f"the text beside the {wanted} is not shown",
                provider,
                Odd(READ, edits=[drop(hidden[provider].format(name))]),
                sets=[wanted],
                with_etag=True,
                code="BAD_GATEWAY_ERROR",
                says="does not show",
            )
    yield refused(
        about,
        "the attributes of the step are not shown",
        OUTREACH,
        Odd(READ, edits=[put("data.attributes", [])]),
        sets=["note"],
        with_etag=True,
        code="BAD_GATEWAY_ERROR",
    )


def _shared_templates() -> Iterator[Row]:
    about = "not where others use the template"
    other = outreach.variant(2) | {"relationships": {"sequenceStep": outreach.link("sequenceStep", 8)}}
    other["relationships"]["template"] = outreach.link("template", outreach.TEMPLATE)
    for what, body in (
        ("nobody", {"data": []}),
        ("a use without its step", {"data": [outreach.variant(), drop("relationships.sequenceStep").apply(other)]}),
        ("a use without its template", {"data": [outreach.variant(), drop("relationships.template").apply(other)]}),
        ("no list", {"data": outreach.variant()}),
        ("an empty object", {}),
    ):
        yield refused(
            about,
            f"the uses are {what}",
            OUTREACH,
            Odd(SHARING, body=body),
            refuse_shared=True,
            code="BAD_GATEWAY_ERROR",
            sent=(READ, SHARING),
        )
    for what, own in (("another step", [outreach.variant()]), ("another step, and not this one", [])):
        yield refused(
            about,
            what,
            OUTREACH,
            Odd(SHARING, body={"data": [*own, other]}),
            refuse_shared=True,
            code="SHARED_TEMPLATE_ERROR",
            says="8",
            origin="service",
            sent=(READ, SHARING),
        )
    yield success(about, "nobody else", OUTREACH, refuse_shared=True, sent=(READ, SHARING, WRITE))
    yield success(about, "nobody else", APOLLO, refuse_shared=True)
    uses = [apollo.touch(), apollo.touch("t2", apollo.OTHER)]
    hidden = [apollo.touch(), apollo.touch("t2", "5f00000000000000000001ff")]
    for what, touches in (("another step", uses), ("a step that is not shown itself", hidden)):
        yield refused(
            about,
            what,
            APOLLO,
            Odd(READ, edits=[put("emailer_touches", touches)]),
            refuse_shared=True,
            code="SHARED_TEMPLATE_ERROR",
            says=touches[1]["emailer_step_id"],
            origin="service",
        )
    yield refused(
        about,
        "a use without its step",
        APOLLO,
        Odd(READ, edits=[put("emailer_touches", [apollo.touch(), drop("emailer_step_id").apply(apollo.touch("t2"))])]),
        refuse_shared=True,
        code="BAD_GATEWAY_ERROR",
    )


ROWS: Final[Sequence[Row]] = (
    *_other_record(),
    *_dropped_writes(),
    *_wrapped_in_one_answer(),
    *_ignored_fields(),
    *_normalised_texts(),
    *_statuses(),
    *_error_members(),
    *_true_words(),
    *_variants(),
    *_someone_in_between(),
    *_not_shown(),
    *_tokens(),
    *_without_content(),
    *_passing(),
    *_tolerated(),
    *_numbers(),
    *_deep_values(),
    *_preconditions(),
    *_shared_templates(),
)


def rows() -> Iterator[tuple[str, ...]]:
    """The rows of the table of docs/odd-answers.md."""
    yield ("About", "Provider", "Answer", "Result", "Listed as changed", "Warnings", "At the provider", "Requests")
    for row in ROWS:
        result = "success" if row.result == OK else f"`{row.result}`, {row.outcome}"
        has = (
            row.has
            if isinstance(row.has, str)
            else "new and old"
            if row.outcome == "partially applied"
            else "new, as stored"
        )
        yield (
            row.about,
            row.provider.capitalize(),
            row.what,
            result,
            ", ".join(row.changes),
            ", ".join(f"`{kind}`" for kind in row.warnings),
            has,
            str(len(row.sent)),
        )
