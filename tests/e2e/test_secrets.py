"""Every failure with marked secrets, and then a search for them in everything that was written."""

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from engagement.v1 import sequence_step_service_pb2 as pb
from sqlalchemy import text

from sandbox import seed
from service.connections import Applications
from service.connections.encryption import generate_key
from service.domain.credentials import ApiKeyCredentials, OAuthCredentials, Secret
from service.domain.step import Provider
from tests.support.command import run_here, without_settings
from tests.support.deployment import Deployment, prepared_deployment, service_stub
from tests.support.plain_client import plain_client
from tests.support.processes import fails_to_start, free_port, server_process
from tests.support.service import call_result

MARK = "m4rk3d"


def forms(secret: str) -> set[bytes]:
    """A secret as it stands, URL-encoded, and in base64 at each of the three places that a text can begin at."""
    found = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}
    for shift in range(3):
        encoded = base64.b64encode(b"x" * shift + secret.encode()).decode()
        # The characters at the ends depend on the neighbours.
        found.add(encoded[4 if shift else 0 : -4])
    return {each.encode() for each in found}


class Search:
    """Everything that was written, and what must not be in it."""

    def __init__(self) -> None:
        self.written: list[tuple[str, bytes]] = []
        self.secrets: set[str] = set()
        self.failures = 0

    def wrote(self, where: str, data: bytes | str) -> None:
        self.written.append((where, data.encode() if isinstance(data, str) else data))

    def check(self) -> None:
        for where, data in self.written:
            for secret in self.secrets:
                for form in forms(secret):
                    assert form not in data, f"{where} holds a secret: {form!r}"


def echoes(secret: str) -> list[dict[str, Any]]:
    """Faults in which a provider gives a credential back."""
    encoded = base64.b64encode(secret.encode()).decode()
    return [
        {"status": 401, "body": f"The key {secret} is not known."},
        {"status": 401, "body": {"error": f"bad {secret}", "error_code": "INVALID_ACCESS_TOKEN"}},
        {"status": 403, "body": {"error": secret, "error_code": "API_INACCESSIBLE"}},
        {"status": 403, "body": {"errors": [{"id": "unauthorizedOauthScope", "title": secret, "detail": secret}]}},
        {"status": 422, "body": {"error": f"url ?api_key={quote(secret, safe='')} refused"}},
        {
            "status": 422,
            "body": {"errors": [{"id": "validationError", "detail": encoded, "source": {"pointer": secret}}]},
        },
        {"status": 429, "body": {"message": secret}, "headers": {"x-debug": secret, "retry-after": "900"}},
        {"status": 500, "body": secret * 2000, "headers": {"set-cookie": f"session={secret}", "x-api-key": secret}},
        {"status": 400, "body": {"nested": [{"deep": {secret: encoded}}]}, "headers": {"authorization": secret}},
        {"status": 200, "body": f"<html>{secret}</html>", "headers": {"content-type": f"text/{secret}"}},
        {"status": 200, "body": {"error": secret, "emailer_campaign": secret, "data": secret}},
        {"status": 302, "body": "", "headers": {"location": f"https://x.example/{secret}"}},
    ]


async def step(
    search: Search, deployment: Deployment, address: str, provider: str, customer: str, api_key: str, mode: str
) -> None:
    ids = (seed.APOLLO_SEQUENCE_INACTIVE, seed.APOLLO_STEP_INACTIVE_PLAIN)
    if provider == "outreach":
        ids = (str(seed.OUTREACH_SEQUENCE_DISABLED), str(seed.OUTREACH_STEP_DISABLED_PLAIN))
    request = pb.UpdateStepRequest(sequence_id=ids[0], sequence_step_id=ids[1])
    request.record.template.subject = "New"
    metadata = (
        ("x-customer-id", customer),
        ("x-provider-name", provider),
        ("x-api-key", api_key),
        ("x-error-mode", mode),
    )
    get = pb.GetStepRequest(sequence_id=ids[0], sequence_step_id=ids[1])
    listed = pb.ListStepsRequest(sequence_id=ids[0])
    async with service_stub(address) as stub:
        for method, asked, empty in (
            (stub.UpdateStep, request, pb.UpdateStepResponse()),
            (stub.GetStep, get, pb.GetStepResponse()),
            (stub.ListSteps, listed, pb.ListStepsResponse()),
        ):
            call = method(asked, metadata=metadata, timeout=10)
            answer = await call_result(call, empty)
            search.wrote("envelope", answer.response.SerializeToString())
            search.wrote("trailers", repr(answer.trailers))
            search.wrote("details", repr(await call.details()))
            assert answer.errors, (provider, customer)
            search.failures += 1


async def step_over_http(
    search: Search, deployment: Deployment, address: str, provider: str, customer: str, api_key: str
) -> None:
    """The same over HTTP, by both of its paths and with a body that quotes the key."""
    headers = {"x-customer-id": customer, "x-provider-name": provider, "x-api-key": api_key}
    ids = (seed.APOLLO_SEQUENCE_INACTIVE, seed.APOLLO_STEP_INACTIVE_PLAIN)
    if provider == "outreach":
        ids = (str(seed.OUTREACH_SEQUENCE_DISABLED), str(seed.OUTREACH_STEP_DISABLED_PLAIN))
    path = f"/engagement/v2/sequences/{ids[0]}/sequence_steps/{ids[1]}"
    good = b'{"record": {"template": {"subject": "New"}}}'
    async with plain_client(base_url=f"http://{address}") as client:
        for content in (good, f'{{"record": "{api_key}"}}'.encode(), api_key.encode(), good[:-1]):
            json_headers = {**headers, "content-type": "application/json"}
            answer = await client.patch(path, headers=json_headers, content=content)
            search.wrote("http answer", answer.content)
            search.wrote("http headers", repr(answer.headers.raw))
            assert answer.json()["errors"], (provider, customer)
            search.failures += 1
        for read in (path, f"/sequences/{ids[0]}"):
            answer = await client.get(read, headers=headers)
            search.wrote("http answer", answer.content)
            search.wrote("http headers", repr(answer.headers.raw))
            assert answer.json()["errors"], (provider, customer)
            search.failures += 1


async def scraped(search: Search, address: str) -> None:
    async with plain_client(base_url=f"http://{address}") as client:
        for path in ("/metrics", "/openapi.json", "/nowhere"):
            search.wrote(path, (await client.get(path)).content)


async def run(search: Search, environment: dict[str, str], *arguments: str, given: str = "") -> None:
    ended = await asyncio.to_thread(run_here, without_settings() | environment, *arguments, stdin=given)
    assert ended.status, (arguments, ended)
    search.wrote(" ".join(arguments), ended.out + ended.err)
    search.failures += 1


async def test_no_failure_writes_a_secret(tmp_path: Path) -> None:
    search = Search()
    key, access, refresh, client_secret = (f"{MARK}-{name}/+ =&'\"ü" for name in ("key", "access", "refresh", "client"))
    key, access = key.encode("ascii", "ignore").decode(), access.encode("ascii", "ignore").decode()
    search.secrets |= {key, access, refresh, client_secret}
    http = f"127.0.0.1:{free_port()}"
    environment = {"SEQSTEP_CACHE_SECONDS": "0", "SEQSTEP_HTTP_ADDRESS": http}
    async with prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3", **environment) as deployment:
        connections = deployment.connections()
        search.secrets |= {deployment.api_key, deployment.keys}
        grant = OAuthCredentials(Secret(access), Secret(refresh), None, "client", Secret(client_secret))
        await connections.set(deployment.application_id, "c", Provider("apollo"), ApiKeyCredentials(Secret(key)))
        await connections.set(deployment.application_id, "c", Provider("outreach"), grant)
        async with server_process(tmp_path, deployment.environment) as server:
            # Providers that give the credentials back, in both ways of failing.
            for provider, secret in (("apollo", key), ("outreach", access)):
                for number, fault in enumerate(echoes(secret)):
                    # A connection of its own for each, since its rate limit is remembered.
                    customer = f"{provider}-{number}"
                    credentials = ApiKeyCredentials(Secret(key)) if provider == "apollo" else grant
                    await connections.set(deployment.application_id, customer, Provider(provider), credentials)
                    deployment.sandbox.reset()
                    deployment.sandbox.order_fault(provider=provider, path="/api/", times=None, **fault)
                    mode = "status" if number % 2 else "envelope"
                    await step(search, deployment, server.address, provider, customer, deployment.api_key, mode)
                    await step_over_http(search, deployment, http, provider, customer, deployment.api_key)
            # A token endpoint that gives back what it was sent.
            ended_grant = OAuthCredentials(
                Secret(access), Secret(refresh), time.time() - 1, "client", Secret(client_secret)
            )
            for number, (status, error) in enumerate(
                ((400, "invalid_grant"), (401, "invalid_client"), (500, "x"), (429, "x"))
            ):
                customer = f"token-{number}"
                await connections.set(deployment.application_id, customer, Provider("outreach"), ended_grant)
                deployment.sandbox.reset()
                body = {"error": error, "error_description": f"{refresh} {client_secret} {access}"}
                deployment.sandbox.order_fault(
                    provider="outreach", path="oauth/token", status=status, body=body, times=None
                )
                await step(search, deployment, server.address, "outreach", customer, deployment.api_key, "envelope")
                await step_over_http(search, deployment, http, "outreach", customer, deployment.api_key)
            deployment.sandbox.reset()
            # Wrong callers.
            for api_key in (deployment.api_key[:-1], f"{MARK}-wrong"):
                search.secrets.add(api_key)
                await step(search, deployment, server.address, "apollo", "c", api_key, "status")
                await step_over_http(search, deployment, http, "apollo", "c", api_key)
            # Rows that were damaged, moved, or are under a key that is gone.
            async with deployment.store.begin() as connection:
                await connection.execute(
                    text("UPDATE connections SET ciphertext = x'00' WHERE customer_id = 'apollo-1'")
                )
                await connection.execute(text("UPDATE connections SET key_id = 'gone' WHERE customer_id = 'apollo-2'"))
            await step(search, deployment, server.address, "apollo", "apollo-1", deployment.api_key, "envelope")
            await step(search, deployment, server.address, "apollo", "apollo-2", deployment.api_key, "status")
            async with deployment.store.begin() as connection:
                await connection.execute(text("UPDATE connections SET key_id = 'x' WHERE customer_id = 'apollo-2'"))
                await connection.execute(text("ALTER TABLE connections RENAME TO hidden"))
            await step(search, deployment, server.address, "apollo", "c", deployment.api_key, "status")
            async with deployment.store.begin() as connection:
                await connection.execute(text("ALTER TABLE hidden RENAME TO connections"))
            await scraped(search, http)
        search.wrote("log", server.log.read_bytes())
        await at_the_command_line(search, deployment, tmp_path)
    search_files(search, tmp_path)
    print(f"{search.failures} failures, {len(search.written)} places searched for {len(search.secrets)} secrets")  # noqa: T201
    assert search.failures >= 150
    search.check()


async def test_the_texts_of_a_history_are_in_no_log_metric_or_file(tmp_path: Path) -> None:
    search = Search()
    subject, body, note = (f"{MARK}-{name} text" for name in ("subject", "body", "note"))
    search.secrets |= {subject, body, note}
    ids = {"sequence_id": seed.APOLLO_SEQUENCE_INACTIVE, "sequence_step_id": seed.APOLLO_STEP_INACTIVE_PLAIN}
    http = f"127.0.0.1:{free_port()}"
    environment = {"SEQSTEP_HISTORY_DAYS": "30", "SEQSTEP_HTTP_ADDRESS": http, "SEQSTEP_LOG_LEVEL": "debug"}
    async with prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3", **environment) as deployment:
        headers = {"x-customer-id": "acme", "x-provider-name": "apollo", "x-api-key": deployment.api_key}
        search.secrets |= {deployment.keys}
        async with server_process(tmp_path, deployment.environment) as server, service_stub(server.address) as stub:

            async def call(method: str, **more: Any) -> Any:
                request = getattr(pb, f"{method}Request")(**more)
                made = getattr(stub, method)(request, metadata=tuple(headers.items()), timeout=20)
                answer = await call_result(made, getattr(pb, f"{method}Response")())
                search.wrote("details", repr([error.detail for error in answer.errors]) + repr(await made.details()))
                search.wrote("trailers", repr(answer.trailers) if not answer.changes else "")
                return answer.response

            async def update(text: str, **more: Any) -> Any:
                record = pb.SequenceStepRecord(template=pb.StepTemplate(subject=subject + text, body=f"<p>{body}</p>"))
                record.custom_fields["note"] = note
                return await call("UpdateStep", **ids, record=record, **more)

            made = await update("")
            for fault in ({"status": 422, "body": {"error": "refused"}}, {"status": 500, "body": "", "when": "after"}):
                deployment.sandbox.order_fault(provider="apollo", method="PUT", **fault)
                assert (await update(" again")).errors
            listed = await call("ListStepChanges")
            assert subject in str(listed)
            assert subject in str(await call("GetStepChange", change_id=made.change_id))
            assert (await call("RevertStepChange", change_id=made.change_id)).errors
            assert not (await call("RevertStepChange", change_id=made.change_id, overwrite=True)).errors
            for path in ("/step_changes", f"/step_changes/{made.change_id}"):
                async with plain_client(base_url=f"http://{http}", headers=headers) as client:
                    assert subject in (await client.get(path)).text
            # Rows that cannot be decrypted, and a table that is gone.
            for statement in ("UPDATE step_changes SET key_id = 'gone'", "ALTER TABLE step_changes RENAME TO hidden"):
                async with deployment.store.begin() as connection:
                    await connection.execute(text(statement))
                for method in ("GetStepChange", "RevertStepChange"):
                    assert (await call(method, change_id=made.change_id)).errors
                await update(" at the end")
                await call("ListStepChanges")
            await scraped(search, http)
        search.wrote("log", server.log.read_bytes())
    search_files(search, tmp_path)
    search.check()


def search_files(search: Search, folder: Path) -> None:
    for file in folder.glob("store.sqlite3*"):
        search.wrote(file.name, file.read_bytes())


async def at_the_command_line(search: Search, deployment: Deployment, folder: Path) -> None:
    """Starts and commands that fail."""
    wrong = f"{MARK}{generate_key()[6:]}"
    search.secrets.add(wrong)
    where = ("--app", "billing", "--customer", "c")
    for change in (
        {"SEQSTEP_ENCRYPTION_KEYS": wrong},
        {"SEQSTEP_ENCRYPTION_KEYS": f"{deployment.keys},{wrong}x"},
        {"SEQSTEP_DATABASE_URL": f"postgresql://u:{MARK}-password@127.0.0.1:1/x"},
        {"SEQSTEP_DATABASE_URL": f"mysql://u:{MARK}-password@127.0.0.1/x"},
    ):
        status, log = await fails_to_start(folder, deployment.environment | change)
        assert status
        search.secrets.add(f"{MARK}-password")
        search.wrote("start", log)
        search.failures += 1
        await run(search, deployment.environment | change, "connection", "check", *where, "--provider", "apollo")
    for given in (
        f'{{"api_key": ["{MARK}-in"]}}',
        f'{{"{MARK}-in": 1}}',
        f"{MARK}-in {MARK}-in",
        f'{{"access_token": "{MARK}-in',
    ):
        search.secrets.add(f"{MARK}-in ")
        await run(search, deployment.environment, "connection", "set", *where, "--provider", "outreach", given=given)
    await run(search, deployment.environment, "connection", "check", *where, "--provider", "apollo")
    await run(search, deployment.environment, "connection", "check", *where, "--provider", "outreach")
    assert await Applications(deployment.store, 0).list()


@pytest.mark.parametrize("secret", ["m4rk3d-plain", "m4rk3d/+ ="])
def test_the_search_would_find_them(secret: str) -> None:
    encoded = base64.b64encode(f"zz{secret}zz".encode()).decode()
    for where in (secret, quote(secret, safe=""), encoded, f"a{secret}b"):
        search = Search()
        search.secrets.add(secret)
        search.wrote("log", f"before {where} after")
        with pytest.raises(AssertionError, match="holds a secret"):
            search.check()
