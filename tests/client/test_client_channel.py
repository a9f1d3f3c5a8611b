"""Both clients over real sockets: retries, deadlines, TLS, broken connections."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import grpc
import pytest
import trustme
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1 import sequence_step_service_pb2_grpc as pb_grpc

from seqstep_client import (
    AsyncClient,
    Client,
    Outcome,
    OutcomeUnknown,
    StepUpdate,
    Tls,
    Unavailable,
    UpdateResult,
)
from service.api.admission import Admission
from service.domain.deadline import Deadline
from service.domain.errors import unauthenticated
from service.domain.step import Caller
from tests.support.grpc_server import RunningGrpcServer
from tests.support.processes import ROOT, free_port

STEP = StepUpdate(sequence_id="7", sequence_step_id="101", subject="Hello")


class Blocking:
    """The blocking client with the methods of the asynchronous one."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self._client = Client(*arguments, **more)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._client.close)

    async def update_step(self, update: StepUpdate, **more: Any) -> UpdateResult:
        return await asyncio.to_thread(self._client.update_step, update, **more)


@pytest.fixture(params=[Blocking, AsyncClient], ids=["blocking", "asyncio"])
def client_kind(request: pytest.FixtureRequest) -> Any:
    """Makes a client, without TLS unless it is given."""

    def make(address: str, **more: Any) -> Any:
        return request.param(address, **{"plaintext": "tls" not in more, **more})

    return make


Answering = Callable[[grpc.aio.ServicerContext[Any, Any]], Awaitable[pb.UpdateStepResponse]]


class Servicer(pb_grpc.SequenceStepServiceServicer):
    """Counts calls and answers as the test says."""

    def __init__(self) -> None:
        self.calls = 0
        self.answer: Answering = self.succeed
        self.server: grpc.aio.Server
        self.port = 0

    async def succeed(self, context: grpc.aio.ServicerContext[Any, Any]) -> pb.UpdateStepResponse:
        return pb.UpdateStepResponse()

    async def UpdateStep(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.calls += 1
        return await self.answer(context)


@asynccontextmanager
async def served(credentials: grpc.ServerCredentials | None = None, port: int = 0) -> AsyncIterator[Servicer]:
    servicer = Servicer()  # type: ignore[abstract]  # no test reads
    server = grpc.aio.server()
    pb_grpc.add_SequenceStepServiceServicer_to_server(servicer, server)
    address = f"127.0.0.1:{port}"
    servicer.port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    servicer.server = server
    try:
        yield servicer
    finally:
        await server.stop(0)


async def update(client: Any, **more: Any) -> UpdateResult:
    result: UpdateResult = await client.update_step(STEP, customer_id="acme", provider="outreach", **more)
    return result


async def test_unavailable_is_retried(client_kind: Any) -> None:
    async with served() as servicer:

        async def succeed_at_last(context: Any) -> pb.UpdateStepResponse:
            if servicer.calls < 3:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "starting")
            return pb.UpdateStepResponse()

        servicer.answer = succeed_at_last
        async with client_kind(f"127.0.0.1:{servicer.port}") as client:
            assert (await update(client)).changes == ()
        assert servicer.calls == 3


async def test_other_statuses_are_not_retried(client_kind: Any) -> None:
    async with served() as servicer:

        async def fail(context: Any) -> pb.UpdateStepResponse:
            await context.abort(grpc.StatusCode.INTERNAL, "a bug")
            raise AssertionError

        servicer.answer = fail
        async with client_kind(f"127.0.0.1:{servicer.port}") as client:
            with pytest.raises(OutcomeUnknown, match="a bug"):
                await update(client)
        assert servicer.calls == 1


async def test_a_call_has_the_default_deadline_or_its_own(client_kind: Any) -> None:
    remaining = []
    async with served() as servicer:

        async def note(context: Any) -> pb.UpdateStepResponse:
            remaining.append(context.time_remaining())
            return pb.UpdateStepResponse()

        servicer.answer = note
        async with client_kind(f"127.0.0.1:{servicer.port}") as client:
            await update(client)
            await update(client, timeout=7)
    assert 25 < remaining[0] <= 30.1
    assert 5 < remaining[1] <= 7.1


async def test_a_missing_response_leaves_the_outcome_unknown(client_kind: Any) -> None:
    async with served() as servicer:

        async def hang(context: Any) -> pb.UpdateStepResponse:
            await asyncio.Event().wait()
            raise AssertionError

        servicer.answer = hang
        async with client_kind(f"127.0.0.1:{servicer.port}", timeout=0.5) as client:
            with pytest.raises(OutcomeUnknown) as raised:
                await update(client, request_id="mine")
    assert (raised.value.code, raised.value.status) == ("GATEWAY_TIMEOUT_ERROR", 504)
    assert raised.value.request_id == "mine"


async def test_a_connection_lost_in_an_update_leaves_it_unknown(client_kind: Any) -> None:
    """The retries that follow reach nothing and say so, and yet the update had been sent."""
    begun = asyncio.Event()
    async with served() as servicer:

        async def hang(context: Any) -> pb.UpdateStepResponse:
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

        servicer.answer = hang
        async with client_kind(f"127.0.0.1:{servicer.port}", timeout=10) as client:
            calling = asyncio.create_task(update(client))
            await asyncio.wait_for(begun.wait(), 10)
            await servicer.server.stop(0)
            with pytest.raises(OutcomeUnknown) as raised:
                await calling
            assert raised.value.outcome is Outcome.UNKNOWN
            with pytest.raises(Unavailable):
                await update(client)


def full(server: RunningGrpcServer) -> None:
    server.admission = Admission(0)


def stopping(server: RunningGrpcServer) -> None:
    server.admission.drain()


def with_another_key(server: RunningGrpcServer) -> None:
    server.applications.authenticate = refuse  # type: ignore[method-assign]


async def refuse(api_key: str | None, deadline: Deadline | None = None) -> Caller:
    raise unauthenticated()


@pytest.mark.parametrize("state", [full, stopping, with_another_key])
async def test_a_later_attempt_that_is_refused_leaves_it_unknown(client_kind: Any, state: Any) -> None:
    """The first attempt may have been carried out by the server that died, whatever the next one says."""
    begun = asyncio.Event()
    next_server = RunningGrpcServer()
    state(next_server)
    await next_server.start()
    # No client sends it a call then.
    await next_server.grpc.set_serving(is_serving=False)
    async with served() as servicer:

        async def hang(context: Any) -> pb.UpdateStepResponse:
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

        servicer.answer = hang
        address = f"ipv4:127.0.0.1:{servicer.port},{next_server.grpc.address}"
        async with client_kind(address, api_key="good", timeout=20) as client:
            calling = asyncio.create_task(update(client))
            await asyncio.wait_for(begun.wait(), 20)
            await next_server.grpc.set_serving()
            await servicer.server.stop(0)
            with pytest.raises(OutcomeUnknown, match="An earlier attempt of this call"):
                await calling
    await next_server.stop()
    assert next_server.records[-1].outcome == "ERROR_OUTCOME_UNKNOWN"


async def test_a_service_that_is_not_there_is_unavailable(client_kind: Any) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with client_kind(address) as client:
        with pytest.raises(Unavailable, match="cannot be reached") as raised:
            await update(client)
    assert raised.value.outcome is Outcome.NOT_APPLIED
    assert raised.value.status == 503


async def test_a_service_that_comes_back_is_reached_again(client_kind: Any) -> None:
    port = free_port()
    async with client_kind(f"127.0.0.1:{port}") as client:
        async with served(port=port):
            await update(client)
        with pytest.raises((OutcomeUnknown, Unavailable)):
            await update(client)
        async with served(port=port) as servicer, asyncio.timeout(20):
            while not servicer.calls:
                with contextlib.suppress(Unavailable):
                    await update(client)


async def test_a_server_of_something_else_promises_nothing(client_kind: Any) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with client_kind(f"127.0.0.1:{port}") as client:
        with pytest.raises(OutcomeUnknown, match="UNIMPLEMENTED"):
            await update(client)
    await server.stop(0)


def pem(certificate: trustme.LeafCert) -> tuple[bytes, bytes]:
    return certificate.private_key_pem.bytes(), b"".join(each.bytes() for each in certificate.cert_chain_pems)


async def test_tls_with_a_private_authority(client_kind: Any, authority: trustme.CA) -> None:
    credentials = grpc.ssl_server_credentials([pem(authority.issue_cert("127.0.0.1"))])
    async with served(credentials) as servicer:
        async with client_kind(f"127.0.0.1:{servicer.port}", tls=Tls(authority.cert_pem.bytes())) as client:
            await update(client)
        stranger = Tls(trustme.CA().cert_pem.bytes())
        async with client_kind(f"127.0.0.1:{servicer.port}", tls=stranger) as client:
            with pytest.raises(Unavailable, match=r"(?i)certificate"):
                await update(client)
        assert servicer.calls == 1


async def test_a_client_certificate_is_sent(client_kind: Any, authority: trustme.CA) -> None:
    seen: list[Any] = []
    ca = authority.cert_pem.bytes()
    credentials = grpc.ssl_server_credentials([pem(authority.issue_cert("127.0.0.1"))], ca, require_client_auth=True)
    async with served(credentials) as servicer:

        async def note(context: Any) -> pb.UpdateStepResponse:
            seen.extend(context.auth_context()["x509_subject_alternative_name"])
            return pb.UpdateStepResponse()

        servicer.answer = note
        key, chain = pem(authority.issue_cert("billing.internal"))
        async with client_kind(f"127.0.0.1:{servicer.port}", tls=Tls(ca, chain, key)) as client:
            await update(client)
    assert b"billing.internal" in seen


async def test_secrets_do_not_show() -> None:
    assert "hidden" not in repr(Tls(b"ca", b"certificate", b"hidden"))
    with Client("127.0.0.1:1", api_key="hidden", plaintext=True) as client:
        assert "hidden" not in repr(client)


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[bytes]]:
    """What an HTTP proxy receives that the environment names for everything."""
    received: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readline())
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for name in ("no_grpc_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    yield received
    server.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "dns:///localhost", "ipv4:127.0.0.1"])
async def test_a_service_on_this_machine_needs_no_proxy(proxy: list[bytes], client_kind: Any, host: str) -> None:
    async with served() as servicer, client_kind(f"{host}:{servicer.port}", api_key="secret") as client:
        await update(client)
    assert proxy == []


async def test_a_service_elsewhere_is_called_through_the_proxy(proxy: list[bytes], client_kind: Any) -> None:
    async with client_kind("service.invalid:443") as client:
        with pytest.raises(Unavailable):
            await update(client, timeout=2)
    assert proxy[0].startswith(b"CONNECT service.invalid:443 ")


async def test_importing_the_client_loads_no_server() -> None:
    code = "import sys, seqstep_client; print(*sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    loaded = (await process.communicate())[0].decode().split()
    assert not {
        "service",
        "msgspec",
        "fastapi",
        "httpx",
        "pydantic",
        "pyqwest",
        "sqlalchemy",
        "structlog",
        "uvicorn",
    } & set(loaded)
