"""Runs the whole service for a test: sandbox, store and gRPC server over real sockets, and a channel to it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1 import sequence_step_service_pb2_grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from pydantic import SecretStr

from sandbox import seed
from sandbox.server import running_sandbox
from service import app
from service.connections import Applications, ConnectionAdministration, Keyring, Store
from service.connections.encryption import generate_key
from service.domain.credentials import ApiKeyCredentials, Credentials, OAuthCredentials, Secret
from service.domain.step import Provider
from service.settings import Settings
from tests.support.certificates import one_authority
from tests.support.databases import make_tables
from tests.support.plain_client import plain_client

CUSTOMER = "acme"


def outreach_grant(access_token: str = seed.OUTREACH_ACCESS_TOKEN, **more: Any) -> OAuthCredentials:
    """The seeded grant of the main Outreach account."""
    given: dict[str, Any] = {
        "access_token": Secret(access_token),
        "refresh_token": Secret(seed.OUTREACH_REFRESH_TOKEN),
        "expires_at": None,
        "client_id": seed.OUTREACH_CLIENT_ID,
        "client_secret": Secret(seed.OUTREACH_CLIENT_SECRET),
        "redirect_uri": seed.REDIRECT_URI,
    }
    return OAuthCredentials(**(given | more))


@dataclass
class CallResult:
    """The response, status and trailing metadata of one call."""

    response: Any
    code: grpc.StatusCode
    trailers: dict[str, Any]
    violations: dict[str, str]

    @property
    def errors(self) -> list[Any]:
        return list(self.response.errors)

    @property
    def error(self) -> Any:
        [error] = self.response.errors
        return error

    @property
    def warnings(self) -> list[str]:
        return [warning.problem_type for warning in self.response.warnings]

    @property
    def changes(self) -> dict[str, tuple[Any, Any]]:
        return self._before_and_after("changes")

    @property
    def conflicts(self) -> dict[str, tuple[Any, Any]]:
        return self._before_and_after("conflicts")

    def _before_and_after(self, kind: str) -> dict[str, tuple[Any, Any]]:
        shown = json_format.MessageToDict(self.response)
        return {each["field"]: (each["before"], each["after"]) for each in shown.get(kind, [])}


class RunningService:
    """The service and its sandbox while they run, and what a test does with them."""

    def __init__(self, sandbox: Any, running: app.App, store: Store, settings: Settings, key: Secret) -> None:
        self.sandbox = sandbox
        self.app = running
        self.store = store
        self.settings = settings
        self.key = key
        self.applications = Applications(store, 0)
        keyring = Keyring.parse(settings.encryption_keys.get_secret_value())
        self.connections = ConnectionAdministration(store, keyring)
        self.channel = grpc.aio.insecure_channel(running.rpc.address)
        self.stub = sequence_step_service_pb2_grpc.SequenceStepServiceStub(self.channel)

    async def connect(self, customer: str, provider: Provider, credentials: Credentials) -> None:
        caller = await self.applications.authenticate(self.key.reveal())
        await self.connections.set(caller.application_id, customer, provider, credentials)

    async def update(self, provider: str, sequence: object, step: object, **more: Any) -> CallResult:
        """Makes an update, as `start_update` does, and waits for its end."""
        return await call_result(self.start_update(provider, sequence, step, **more))

    def start_update(
        self,
        provider: str,
        sequence: object,
        step: object,
        *,
        customer: str = CUSTOMER,
        metadata: tuple[tuple[str, str], ...] = (),
        validate_only: bool = False,
        etag: str = "",
        if_shared: str = "IF_SHARED_UNSPECIFIED",
        variant: object = "",
        seconds: float = 20,
        **record: Any,
    ) -> Any:
        """Starts an update; `record` is its subject, body and custom_fields."""
        template = {name: record[name] for name in ("subject", "body") if name in record}
        body: dict[str, Any] = {"template": template} if template else {}
        if "custom_fields" in record:
            body["custom_fields"] = record["custom_fields"]
        request = json_format.ParseDict(
            {
                "sequence_id": str(sequence),
                "sequence_step_id": str(step),
                "record": body,
                "validate_only": validate_only,
                "etag": etag,
                "if_shared": if_shared,
                "variant": str(variant),
            },
            pb.UpdateStepRequest(),
        )
        pairs = self._pairs(provider, metadata, customer)
        return self.stub.UpdateStep(request, metadata=pairs, timeout=seconds)

    async def get_step(self, provider: str, sequence: object, step: object, **more: Any) -> CallResult:
        """Reads a step; `more` is of the request, or `metadata` and `seconds`."""
        metadata, seconds = more.pop("metadata", ()), more.pop("seconds", 20)
        pairs = self._pairs(provider, metadata, more.pop("customer", CUSTOMER))
        request = pb.GetStepRequest(sequence_id=str(sequence), sequence_step_id=str(step), **more)
        call = self.stub.GetStep(request, metadata=pairs, timeout=seconds)
        return await call_result(call, pb.GetStepResponse())

    async def list_steps(self, provider: str, sequence: object, **more: Any) -> CallResult:
        """Reads a sequence; `more` is of the request, or `metadata` and `seconds`."""
        metadata, seconds = more.pop("metadata", ()), more.pop("seconds", 20)
        pairs = self._pairs(provider, metadata, more.pop("customer", CUSTOMER))
        request = pb.ListStepsRequest(sequence_id=str(sequence), **more)
        call = self.stub.ListSteps(request, metadata=pairs, timeout=seconds)
        return await call_result(call, pb.ListStepsResponse())

    async def list_changes(self, provider: str, **more: Any) -> CallResult:
        """Lists changes; `more` is of the request, or `metadata`, `customer` and `seconds`."""
        return await self._look_back("ListStepChanges", provider, **more)

    async def get_change(self, provider: str, change_id: str, **more: Any) -> CallResult:
        """Reads a change; `more` as for `list_changes`."""
        return await self._look_back("GetStepChange", provider, change_id=change_id, **more)

    async def revert(self, provider: str, change_id: str, **more: Any) -> CallResult:
        """Takes a change back; `more` as for `list_changes`."""
        return await self._look_back("RevertStepChange", provider, change_id=change_id, **more)

    async def _look_back(self, method: str, provider: str, **more: Any) -> CallResult:
        metadata, customer, seconds = (
            more.pop("metadata", ()),
            more.pop("customer", CUSTOMER),
            more.pop("seconds", 20),
        )
        request = getattr(pb, f"{method}Request")(**more)
        call = getattr(self.stub, method)(request, metadata=self._pairs(provider, metadata, customer), timeout=seconds)
        return await call_result(call, getattr(pb, f"{method}Response")())

    def _pairs(
        self, provider: str, more: tuple[tuple[str, str], ...], customer: str = CUSTOMER
    ) -> tuple[tuple[str, str], ...]:
        return (
            ("x-customer-id", customer),
            ("x-provider-name", provider),
            ("x-api-key", self.key.reveal()),
            *more,
        )

    async def stored_grant(self, customer: str) -> OAuthCredentials:
        """Returns a customer's grant at Outreach as it is stored."""
        caller = await self.applications.authenticate(self.key.reveal())
        async for batch in self.connections._batches(caller.application_id, Provider("outreach")):
            for each in batch.readable:
                credentials = each.connection.credentials
                if each.key.customer_id == customer and isinstance(credentials, OAuthCredentials):
                    return credentials
        raise AssertionError(f"{customer} has no grant at Outreach")

    def provider_calls(self, provider: str | None = None) -> list[str]:
        """Returns the requests that the sandbox received, as `METHOD /path`."""
        return [f"{call['method']} {call['path']}" for call in self.sandbox.calls(provider)]

    async def provider_record(self, provider: str, collection: str, record_id: object) -> dict[str, Any]:
        """Returns a record as it is at the provider now."""
        async with plain_client() as client:
            answer = await client.get(f"{self.sandbox.url}/_sandbox/{provider}/{collection}/{record_id}")
            answer.raise_for_status()
            record: dict[str, Any] = answer.json()
            return record

    async def control_sandbox(self, method: str, path: str, body: Any = None) -> Any:
        """Calls the sandbox's control API."""
        async with plain_client() as client:
            answer = await client.request(method, f"{self.sandbox.url}/_sandbox{path}", json=body)
            assert answer.is_success, answer.text
            return answer.json() if answer.content else None


async def call_result(call: Any, empty: Any = None) -> CallResult:
    """Waits for the end of a call, whether it succeeds or fails."""
    code = await call.code()
    trailers = dict(await call.trailing_metadata())
    if code is grpc.StatusCode.OK:
        return CallResult(await call, code, trailers, {})
    response, violations = pb.UpdateStepResponse() if empty is None else empty, {}
    if "grpc-status-details-bin" in trailers:
        bad = error_details_pb2.BadRequest()
        for detail in status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details:
            detail.Unpack(response)
            if detail.Unpack(bad):
                violations = {each.field: each.description for each in bad.field_violations}
    return CallResult(response, code, trailers, violations)


def settings_for(sandbox: Any, folder: Path, **more: Any) -> Settings:
    """Settings of a service in front of a sandbox, on a free port, with a store of its own."""
    given: dict[str, Any] = {
        "grpc_address": "127.0.0.1:0",
        "http_address": "",
        "database_url": SecretStr(f"sqlite:///{folder}/store.sqlite3"),
        "encryption_keys": SecretStr(generate_key()),
        "apollo_base_url": sandbox.apollo_url,
        "apollo_token_url": sandbox.apollo_token_url,
        "outreach_base_url": sandbox.outreach_url,
        "cache_seconds": 1.0,
        "drain_seconds": 0.0,
        "stop_grace_seconds": 1.0,
        "_env_file": None,
    }
    return Settings(**(given | more))


@asynccontextmanager
async def running_service(folder: Path, **more: Any) -> AsyncIterator[RunningService]:
    """Runs the service with one application and the seeded accounts of both providers connected."""
    async with running_sandbox() as sandbox:
        settings = settings_for(sandbox, folder, **more)
        url = settings.database_url.get_secret_value()
        await make_tables(url)
        store = Store.open(url)
        key = await Applications(store, 0).create("billing")
        async with AsyncExitStack() as stack:
            with one_authority():
                running = await stack.enter_async_context(app.running(settings))
            service = RunningService(sandbox, running, store, settings, key)
            await service.connect(CUSTOMER, Provider("apollo"), ApiKeyCredentials(Secret(seed.APOLLO_MASTER_KEY)))
            await service.connect(CUSTOMER, Provider("outreach"), outreach_grant())
            try:
                yield service
            finally:
                await service.channel.close()
                await store.close()


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[RunningService]:
    """The service with its sandbox, for one test."""
    async with running_service(tmp_path) as running:
        yield running
