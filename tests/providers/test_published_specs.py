"""Every request of the adapters keeps to what the providers publish."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema
import pytest

from service.domain.errors import UpdateFailed
from service.domain.step import StepUpdate
from service.providers import supported
from service.providers.adapter import ProviderAdapter, ProviderRequest, ProviderResponse, Write
from service.providers.apollo import Apollo
from service.providers.outreach import Outreach
from tests.support import apollo, outreach

SPECS = Path(__file__).parents[3] / "shared" / "provider-specs"

pytestmark = pytest.mark.skipif(not SPECS.is_dir(), reason="the providers' published documents are not here")


class Recorder:
    """Answers reads with what it is given, and keeps every request."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.requests: list[ProviderRequest] = []
        self._answers: Iterator[dict[str, Any]] = iter(answers)

    async def read(self, request: ProviderRequest) -> ProviderResponse:
        self.requests.append(request)
        return ProviderResponse(200, {}, json.dumps(next(self._answers)).encode())

    def is_needed(self, write: Write) -> bool:
        return True


async def requests(adapter: ProviderAdapter, update: StepUpdate, *answers: dict[str, Any]) -> list[ProviderRequest]:
    recorder = Recorder(*answers)
    try:
        plan = await adapter.plan(update, recorder)
    except UpdateFailed:
        return recorder.requests
    return recorder.requests + [write.request for write in plan.writes]


def spec(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SPECS / f"{name}.openapi.json").read_text())
    return document


def operation(document: dict[str, Any], request: ProviderRequest) -> dict[str, Any] | None:
    path = urlsplit(request.path).path
    for template, operations in document["paths"].items():
        pattern = re.sub(r"\{\w+\}", r"[^/]+", template.removeprefix("/v1"))
        if re.fullmatch(pattern, path) and request.method.lower() in operations:
            found: dict[str, Any] = operations[request.method.lower()]
            return found
    return None


def check_body(document: dict[str, Any], schema: dict[str, Any], body: Any) -> None:
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(body)


STEP = {"data": outreach.step(), "included": [outreach.sequence()]}
OUTREACH = [
    (outreach.update(subject="S", body="B"), [outreach.answer()]),
    (outreach.update(body="B", validate_only=True), [outreach.answer(), {"data": [outreach.variant()]}]),
    (outreach.update(body="B", custom_fields={"interval": 60, "taskNote": "x"}), [outreach.answer()]),
    (outreach.update(custom_fields={"interval": 60}), [STEP]),
    (outreach.update(body="B"), [{"data": []}, STEP]),
]


@pytest.mark.parametrize(("update", "answers"), OUTREACH)
async def test_what_outreach_is_sent_is_published(update: StepUpdate, answers: list[dict[str, Any]]) -> None:
    document = spec("outreach")
    sent = await requests(Outreach("https://api.outreach.example"), update, *answers)
    assert sent
    for request in sent:
        found = operation(document, request)
        assert found is not None, f"{request.method} {request.path} is not published"
        check_query(document, request)
        if request.body is not None:
            content = found["requestBody"]["content"]["application/vnd.api+json"]["schema"]
            body = json.loads(request.body)
            check_body(document, content, body)
            attributes = document["components"]["schemas"][body["data"]["type"]]["properties"]
            for name in body["data"]["attributes"]:
                assert name in attributes, f"{name} is not published"
                assert not attributes[name].get("readOnly"), f"{name} is read-only"


def check_query(document: dict[str, Any], request: ProviderRequest) -> None:
    schemas = document["components"]["schemas"]
    parts = urlsplit(request.path)
    resource = parts.path.split("/")[1].removesuffix("s")
    for name, value in parse_qsl(parts.query):
        if name == "include":
            for chain in value.split(","):
                here = resource
                for relation in chain.split("."):
                    assert relation in schemas[f"{here}Relationships"]["properties"]
                    here = relation
        elif match := re.fullmatch(r"filter\[(\w+)\]\[id\]", name):
            assert match[1] in schemas[f"{resource}Relationships"]["properties"]
            assert value.isdecimal()
        elif match := re.fullmatch(r"fields\[(\w+)\]", name):
            kind = match[1]
            known = schemas[kind]["properties"].keys() | schemas[f"{kind}Relationships"]["properties"].keys()
            assert set(value.split(",")) <= known
        else:
            assert (name, value) in (("count", "false"), ("page[size]", "1000"))


APOLLO = [
    apollo.update(subject="S", body="B"),
    apollo.update(custom_fields={"wait_time": 2, "wait_mode": "hour", "note": "x"}),
]


@pytest.mark.parametrize("update", APOLLO)
async def test_what_apollo_is_sent_is_as_observed(update: StepUpdate) -> None:
    """Writes of templates and steps are observed only, so their members are compared with the observed resources."""
    document = spec("apollo-observed")
    schemas = document["components"]["schemas"]
    read, *writes = await requests(
        Apollo("https://api.apollo.example", "https://app.apollo.example"), update, apollo.answer()
    )
    assert operation(document, read) is not None
    assert read.body is None
    assert writes
    for write in writes:
        assert write.method == "PUT"
        resource = {"emailer_templates": "emailer_template", "emailer_steps": "emailer_step"}[write.path.split("/")[1]]
        published = schemas[resource]["properties"]
        body = json.loads(write.body or b"")
        assert body.keys() <= published.keys()
        check_body(document, {"type": "object", "properties": published}, body)


def test_every_provider_that_can_be_called_is_checked_here() -> None:
    assert set(supported()) == {Apollo.provider, Outreach.provider}
