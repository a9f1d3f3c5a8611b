"""A provider that exists for one test: its adapter, and the command line with it in the registry.

`python -m tests.support.toy_provider ARGUMENTS` is `seqstep ARGUMENTS` in a service that knows it.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from service import providers
from service.domain.credentials import ApiKeyCredentials, Connection, Credentials
from service.domain.errors import ErrorCode, Origin, Outcome, Problem, UpdateFailed, Violation
from service.domain.json_value import JsonValue
from service.domain.sequence import ShownSequence, ShownStep, StepQuery
from service.domain.step import SUBJECT, FieldChange, Provider, StepRef, StepUpdate
from service.providers.adapter import (
    Plan,
    ProviderRequest,
    ProviderResponse,
    RateWindow,
    Reader,
    ResponseFailure,
    UrlSetting,
    UrlSettings,
    Write,
)
from service.providers.planning import StepNotFound
from service.providers.responses import decode_object, encode, is_json, response_failure, unreadable


class Toy:
    """The adapter for Toy, whose steps are records with a title: `GET` and `PUT /steps/{id}`."""

    provider: ClassVar[Provider] = Provider("toy", "ToyMail")
    credential_kinds: ClassVar[tuple[type[Credentials], ...]] = (ApiKeyCredentials,)
    urls: ClassVar[UrlSettings] = {"base_url": UrlSetting("https://toy.example", "Where Toy is.", "ToyMail")}
    unsupported: ClassVar[str] = ""
    clears_texts: ClassVar[bool] = False
    token_url = ""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def violations(self, update: StepUpdate) -> Sequence[Violation]:
        return [] if update.body is None else [Violation("record.template.body", "ToyMail has no bodies.")]

    def id_violations(self, step: StepRef) -> Sequence[Violation]:
        return ()

    async def read(self, query: StepQuery, reader: Reader) -> ShownSequence:
        path = f"/steps/{query.sequence_step_id}"
        record = decode_object(self.provider, await reader.read(ProviderRequest("GET", path, "steps", "a key")))
        if record.get("sequence") != query.sequence_id:
            raise StepNotFound(query)
        step = ShownStep(query.sequence_step_id, "title", None, None, (), {"title": record.get("title")})
        return ShownSequence(query.sequence_id, "", None, None, (step,))

    def headers(self, credentials: Credentials) -> Mapping[str, str]:
        assert isinstance(credentials, ApiKeyCredentials)
        return {"x-toy-key": credentials.api_key.reveal()}

    def failure(
        self, request: ProviderRequest, response: ProviderResponse, connection: Connection
    ) -> ResponseFailure | None:
        if response.status == 200 and is_json(response):
            return None
        problem = Problem(ErrorCode.FORBIDDEN_ERROR, f"ToyMail answered {response.status}.", origin=Origin.PROVIDER)
        return response_failure([problem], response)

    def rate_scope(self, request: ProviderRequest) -> str:
        return "all"

    def rate_windows(self, response: ProviderResponse) -> Sequence[RateWindow]:
        return ()

    async def plan(self, update: StepUpdate, reader: Reader) -> Plan:
        path = f"/steps/{update.sequence_step_id}"
        step = decode_object(self.provider, await reader.read(ProviderRequest("GET", path, "steps", "a key")))
        if step.get("sequence") != update.sequence_id:
            raise StepNotFound(update)
        request = ProviderRequest("PUT", path, "steps", "a key", encode({"title": update.subject}))
        fields = (FieldChange(SUBJECT, step.get("title"), update.subject),)

        def stored(response: ProviderResponse) -> Mapping[str, JsonValue]:
            record = decode_object(self.provider, response, Outcome.UNKNOWN)
            if record.get("id") != update.sequence_step_id:
                raise UpdateFailed(unreadable(self.provider, response, "another step", Outcome.UNKNOWN))
            return {SUBJECT: record.get("title")}

        return Plan((Write(request, fields, stored),))

    def probe(self) -> ProviderRequest:
        return ProviderRequest("GET", "/steps/7", "steps", "a key")


if __name__ == "__main__":
    # The one line in the registry, before anything has read it.
    providers.REGISTRY = (*providers.REGISTRY, Toy)  # type: ignore[misc]  # what the checklist has people do by hand
    from service.cli import main

    main()
