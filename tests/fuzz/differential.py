"""`python -m tests.fuzz.differential`: thousands of answers around valid ones, and whether each call says what is so.

A stand-in holds one step, carries writes out or does not, and answers with what it holds, with members left out, of other
types, doubled, nested and renamed, with other statuses, media types and headers, cut off. For each call through the gRPC
server and real sockets: success only if the stand-in holds what was asked for, `not applied` only if it is as before, never
an internal error, and no secret or text in the log.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from engagement.v1 import sequence_step_service_pb2 as pb
from google.protobuf import json_format
from structlog.testing import capture_logs

from service.domain.credentials import ApiKeyCredentials, Credentials, OAuthCredentials, Secret
from service.providers import unsupported
from service.providers.apollo import Apollo
from service.providers.outreach import Outreach
from service.providers.responses import FAULT_MEMBERS
from service.update_step import UpdateStep
from service.upstream import retry
from service.upstream.http import HttpClient
from service.upstream.session import ProviderSessions
from tests.support.grpc_server import RunningGrpcServer
from tests.support.stand_in import FIELDS, READ, WRITE, Edit, Odd, StandIn, Switch, serving
from tests.support.truth import untruths
from tests.support.update_step import FakeConnections

MARK: Final = "s3cr3t-of-the-customer"

_CREDENTIALS: Final[dict[str, Credentials]] = {
    "apollo": ApiKeyCredentials(Secret(MARK)),
    "outreach": OAuthCredentials(Secret(MARK), Secret(MARK), None, "client", Secret(MARK)),
}
_OLD: Final = {"subject": "Old", "body": "<p>Old</p>", "note": "n"}
_NEW: Final = {"subject": "Quick question", "body": "<p>Are you <b>well</b>?</p>", "note": "call back"}
_STATUSES: Final = (
    *(200, 200, 200, 200, 201, 202, 203, 204, 206, 207, 226, 299, 300, 301, 302, 303, 304, 307, 308),
    *(
        400,
        401,
        402,
        403,
        404,
        405,
        406,
        407,
        408,
        409,
        410,
        411,
        412,
        413,
        415,
        418,
        421,
        422,
        423,
        424,
        425,
        426,
        428,
    ),
    *(429, 431, 451, 498, 499, 500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 521, 522, 525, 530, 599),
)
_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 2**53 + 1, 10**30, 1.5, 1e308, "", "loading", "18", "\ud83d", f"key {MARK}"),
    *([], {}, [None], [[]], {"id": None}, ["x", {"a": 1}]),
)
_NAMES: Final = (
    "data",
    "attributes",
    "result",
    "emailer_template",
    "record",
    "value",
    "Id",
    "ID",
    "_id",
    "Subject",
    "meta",
)
_ADDED: Final = {
    "error": ("not saved", {"message": "no"}, ["no"], "", None, False, 0),
    "errors": ([{"detail": "no"}], {"subject": ["is odd"]}, "no", [], {}, None),
    "error_message": ("not saved", ""),
    "error_code": ("API_INACCESSIBLE", "E1", None),
    "message": ("not saved", "ok"),
    "success": (False, True, "false"),
    "status": ("error", "failed", "approved", 422),
    "warnings": ([], ["careful"]),
}
_KINDS: Final = (
    *("application/json", "application/vnd.api+json", "text/plain", "text/html; charset=utf-8", "", None),
    *("application/json; charset=utf-8;", "APPLICATION/JSON", "application/problem+json", "text/json", "image/png"),
)
_HEADERS: Final = {
    "retry-after": (
        "120",
        "0",
        "-5",
        "1795605746",
        "9" * 400,
        "soon",
        "Wed, 21 Oct 2999 07:28:00 GMT",
        "2999-01-01T00:00:00Z",
    ),
    "cf-mitigated": ("challenge",),
    "x-minute-requests-left": ("5", "-1", "9" * 50, "many"),
    "x-ratelimit-remaining": ("5", "-1", "", "٣"),
    "x-ratelimit-reset": ("soon", "1e9", "9" * 30),
    "location": ("https://elsewhere.example/",),
    "www-authenticate": ("Bearer",),
    "content-encoding": ("gzip", "br", "identity"),
    "set-cookie": (f"session={MARK}",),
    "x-echo": (f"Bearer {MARK}",),
}
_BODIES: Final[tuple[Any, ...]] = (
    *(
        "",
        "null",
        "[]",
        "{}",
        "0",
        '"x"',
        "{",
        "not json",
        "<html><body>Attention Required!</body></html>",
        "error code: 1010",
    ),
    *("upstream connect error or disconnect/reset before headers", "\ufeff", "[" * 2000, '{"a":' * 2000, "NaN"),
    *({"ok": True}, {"data": None}, {"data": []}, {"detail": "Not found."}, {"code": 5, "message": "x", "details": []}),
    *(
        {"type": "about:blank", "title": "Bad Gateway", "status": 502},
        {"fault": {"faultstring": "x"}},
        {"emailer_template": None},
    ),
)
_TEXTS: Final = frozenset({"subject", "body_html", "bodyHtml", "note", "taskNote"})
_FIELDS: Final = frozenset({"note", "taskNote"})
_OWN_FORM: Final[dict[str, tuple[Any, ...]]] = {
    "apollo": ({"error": "No."}, {"error": "No.", "error_code": "X"}, {"message": "Too many"}, {"errors": ["no"]}),
    "outreach": ({"errors": [{"id": "x", "detail": "No."}]}, {"errors": [{}]}),
}


@dataclass(frozen=True)
class Case:
    """One call.

    Attributes:
        provider: Its provider.
        wanted: The texts that it sets.
        odd: What is odd about the answers.
        is_dry: Whether it only validates.
    """

    provider: str
    wanted: dict[str, Any]
    odd: tuple[Odd, ...]
    is_dry: bool


@dataclass
class Findings:
    """What came of the calls.

    Attributes:
        outcomes: How often each outcome was said.
        untrue: What was said that is not so, each with its case.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    untrue: list[str] = field(default_factory=list)


class Generator:
    """Makes cases, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def case(self) -> Case:
        """The next case."""
        chance = self._random
        provider = chance.choice(["apollo", "outreach"])
        names = chance.choice(
            [["subject"], ["body"], ["subject", "body"], ["note"], ["subject", "body", "note"], ["body", "note"]]
        )
        wanted = {name: chance.choice([_NEW[name], _NEW[name], _NEW[name], _OLD[name]]) for name in names}
        writes = [WRITE] * ("note" not in names or len(names) > 1) + [FIELDS] * ("note" in names)
        places = chance.choice([[READ], writes[:1], writes[:1], writes[-1:], [READ, *writes]])
        odd = tuple(self._odd(provider, at) for at in places)
        return Case(provider, wanted, odd, is_dry=chance.random() < 0.05)

    def _odd(self, provider: str, at: str) -> Odd:
        chance = self._random
        given: dict[str, Any] = {"at": at, "applies": chance.random() < 0.8, "times": chance.choice([None, None, 1])}
        kind = chance.random()
        if kind < 0.5:
            given["edits"] = tuple(self._edits(provider, at))
        elif kind < 0.6:
            given["status"] = chance.choice(_STATUSES)
            if chance.random() < 0.5:
                given["edits"] = tuple(self._edits(provider, at))
        elif kind < 0.8:
            given["status"], given["body"] = chance.choice(_STATUSES), chance.choice(_BODIES)
            given["headers"] = {"content-type": chance.choice(_KINDS)}
        elif kind < 0.9:
            given["status"], given["body"] = chance.choice(_STATUSES), chance.choice(_OWN_FORM[provider])
            # A refusal in the provider's own words is believed: what refuses and carries out all the same cannot be found out.
            given["applies"] = False
        elif kind < 0.94:
            given["length"] = chance.randrange(200)
        elif kind < 0.96:
            given["closes"] = True
        else:
            given["prefix"] = chance.choice([b"\xef\xbb\xbf", b"\n\n", b")]}',\n", b"\xff\xfe"])
        if chance.random() < 0.2:
            name = chance.choice(list(_HEADERS))
            given["headers"] = given.get("headers", {}) | {name: chance.choice(_HEADERS[name])}
        if chance.random() < 0.15 and "headers" not in given:
            given["headers"] = {"content-type": chance.choice(_KINDS)}
        if chance.random() < 0.1:
            given["stores"] = chance.choice([_wrapped, _upper, _without_bold])
        self._make_honest(given)
        return Odd(**given)

    @staticmethod
    def _make_honest(given: dict[str, Any]) -> None:
        """Takes out what no caller of a provider could find out."""
        edits, body = given.get("edits", ()), given.get("body")
        added = {edit.path.rpartition(".")[2] for edit in edits if edit.what == "set" and edit.value}
        members = body.keys() if isinstance(body, dict) else set()
        if given.get("status", 200) >= 400 and FAULT_MEMBERS & (added | members):
            # A refusal in the provider's own words, by which nothing is carried out.
            given["applies"] = False
        if given.get("headers", {}).get("content-type") == "text/plain":
            # So is one in words.
            given["applies"] = given["applies"] and not 400 <= given.get("status", 200) <= 501
        if given.get("status") == 204 or any(edit.value == "meta" for edit in edits):
            # By these JSON:API says that all is as it was sent.
            given["applies"], given["stores"] = True, None

    def _edits(self, provider: str, at: str) -> Iterator[Edit]:
        chance = self._random
        stand_in = StandIn(provider)
        document = stand_in._document(at, "/sequenceTemplates?")
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            paths = list(_paths(document))
            if not paths:
                return
            path = chance.choice(paths)
            what = chance.choice(["drop", "drop", "set", "set", "rename", "nest", "double", "add"])
            if at == READ and _has_custom_field(path, _at(document, path)):
                # A custom field may be anything, or not be there.
                continue
            if what == "add":
                parents = ["", *(each for each in paths if isinstance(_at(document, each), dict))]
                parent, name = chance.choice(parents), chance.choice(list(_ADDED))
                edit = Edit("set", f"{parent}.{name}".lstrip("."), chance.choice(_ADDED[name]))
            elif what in ("drop", "double"):
                edit = Edit(what, path)
            else:
                edit = Edit(what, path, chance.choice(_VALUES if what == "set" else _NAMES))
                name = path.rpartition(".")[2]
                if name in _TEXTS and (isinstance(edit.value, str) or edit.value is None):
                    # Another text than what is stored is a lie that nobody can tell.
                    continue
            document = edit.apply(document)
            yield edit


def _paths(value: Any, way: str = "") -> Iterator[str]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in items:
        path = f"{way}.{key}".lstrip(".")
        yield path
        yield from _paths(member, path)


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


def _has_custom_field(path: str, value: Any) -> bool:
    inside = value.keys() if isinstance(value, dict) else ()
    return not _FIELDS.isdisjoint({path.rpartition(".")[2], *inside})


def _wrapped(name: str, value: Any, _: Any) -> Any:
    return f"<html><head></head><body>{value}</body></html>" if name == "body" else value


def _upper(name: str, value: Any, _: Any) -> Any:
    return value.upper() if isinstance(value, str) and name == "body" else value


def _without_bold(name: str, value: Any, _: Any) -> Any:
    return value.replace("<b>", "").replace("</b>", "") if isinstance(value, str) and name == "body" else value


class Differential:
    """Runs cases through one server."""

    def __init__(self, server: RunningGrpcServer, http: HttpClient, switch: Switch, url: str) -> None:
        self._server = server
        self._http = http
        self._switch = switch
        self._url = url
        self.findings = Findings()

    async def run(self, case: Case) -> None:
        """Makes the call of a case twice, since the service remembers what a provider made of a text."""
        stand_in = self._switch.current = StandIn(case.provider, *case.odd)
        http: Any = self._http
        sessions = {
            Apollo.provider: ProviderSessions(Apollo(self._url, f"{self._url}/token"), http),
            Outreach.provider: ProviderSessions(Outreach(self._url), http),
        }
        self._server.use_case = UpdateStep(sessions, unsupported(), FakeConnections(_CREDENTIALS[case.provider]))
        for _ in range(2):
            await self._run_once(case, stand_in)

    async def _run_once(self, case: Case, stand_in: StandIn) -> None:
        before = dict(stand_in.stored)
        with capture_logs() as logs:
            response, code = await self._call(case, stand_in)
        now = stand_in.stored
        found: list[str] = []
        if response is not None and not case.is_dry:
            found += untruths(case.provider, response, case.wanted, before, now)
        if response is None:
            found.append(f"the call ended with {code}")
        elif MARK in str(response):
            found.append("the response has a secret")
        if case.is_dry and now != before:
            found.append("a dry run wrote")
        said = json.dumps(logs, default=repr) + repr(self._server.records)
        found += [
            f"the log has {text!r}"
            for text in (MARK, *case.wanted.values(), *before.values())
            if len(text) > 1 and text in said and text != "Old"
        ]
        self._server.records.clear()
        self.findings.outcomes[_outcome(response)] += 1
        if found:
            self.findings.untrue.append(f"{found}\n  {case}\n  {stand_in.requests} {response}")

    async def _call(self, case: Case, stand_in: StandIn) -> tuple[pb.UpdateStepResponse | None, str]:
        sequence, step = stand_in.ids
        body = {
            "sequence_id": sequence,
            "sequence_step_id": step,
            "record": stand_in.record(**case.wanted),
            "validate_only": case.is_dry,
        }
        request = json_format.ParseDict(body, pb.UpdateStepRequest())
        metadata = (("x-customer-id", "acme"), ("x-provider-name", case.provider), ("x-api-key", "good"))
        call = self._server.stub.UpdateStep(request, metadata=metadata, timeout=10)
        code = await call.code()
        return (await call if code.name == "OK" else None), code.name


def _outcome(response: pb.UpdateStepResponse | None) -> str:
    if response is None:
        return "no envelope"
    if not response.errors:
        return "succeeded" if response.changes else "no change"
    return json_format.MessageToDict(response.errors[0].meta)["outcome"].removeprefix("ERROR_OUTCOME_").lower()  # type: ignore[no-any-return]


@asynccontextmanager
async def running_differential() -> AsyncIterator[Differential]:
    """A server, and what it needs, until the end of the block."""
    server, http, switch = RunningGrpcServer(), HttpClient(), Switch()
    await server.start()
    async with serving(switch) as url:
        yield Differential(server, http, switch, url)
    await http.close()
    await server.stop()


def without_waiting() -> None:
    """Lets requests be repeated at once, so that many cases take little time."""
    retry.backoff = lambda attempt: 0.0


async def search(cases: int, seed: int) -> Findings:
    """Runs so many cases."""
    generator = Generator(seed)
    async with running_differential() as differential:
        for _ in range(cases):
            await differential.run(generator.case())
        return differential.findings


def main() -> None:
    """Searches, and prints what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.differential", description=__doc__)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    without_waiting()
    started = time.monotonic()
    findings = asyncio.run(search(options.cases, options.seed))
    for each in findings.untrue[:20]:
        sys.stdout.write(f"{each}\n")
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(findings.outcomes.items()))
    sys.stdout.write(
        f"{options.cases} calls in {time.monotonic() - started:.0f} s: {counts}; {len(findings.untrue)} not so\n"
    )
    sys.exit(1 if findings.untrue else 0)


if __name__ == "__main__":
    main()
