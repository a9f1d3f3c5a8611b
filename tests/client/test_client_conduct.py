"""How both clients carry themselves: TLS and the key, health, tracing, cancellation, and answers that nobody should send."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from engagement.v1 import envelope_pb2
from engagement.v1 import sequence_step_service_pb2 as pb

from seqstep_client import (
    ApiKey,
    AsyncClient,
    CallRefused,
    Cancellation,
    Client,
    InvalidArgument,
    NotApplied,
    Outcome,
    OutcomeUnknown,
    StepUpdate,
    Tls,
    UpdateFailed,
    UpdateResult,
    answers,
    channel,
)
from tests.peer.script import Script
from tests.peer.server import Peer, running_peer
from tests.support.grpc_server import RunningGrpcServer
from tests.support.processes import ROOT, free_port
from tests.support.waiting import until

STEP = StepUpdate(sequence_id="7", sequence_step_id="101", subject="Hello")
PAGE = ROOT / "clients" / "python" / "update_step.py"
CLIENTS = pytest.mark.parametrize("kind", [Client, AsyncClient], ids=["blocking", "asyncio"])


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[Peer]:
    async with running_peer(tmp_path) as running:
        yield running


@asynccontextmanager
async def updating(kind: Any, address: str, **more: Any) -> AsyncIterator[Callable[[], Any]]:
    """Makes a client, and gives what makes an update with it."""
    if kind is AsyncClient:
        async with AsyncClient(address, **more) as client:
            yield lambda: client.update_step(STEP, customer_id="acme", provider="outreach", timeout=10)
    else:
        with Client(address, **more) as blocking:
            yield lambda: asyncio.to_thread(
                blocking.update_step, STEP, customer_id="acme", provider="outreach", timeout=10
            )


def tls_of(peer: Peer) -> Tls:
    return Tls.from_files(peer.files["ca"], peer.files["certificate"], peer.files["key"])


@CLIENTS
async def test_the_key_travels_as_credentials_over_tls(peer: Peer, kind: Any) -> None:
    async with updating(kind, peer.mutual, api_key="secret", tls=tls_of(peer)) as update:
        assert isinstance(await update(), UpdateResult)
    [attempt] = peer.attempts
    assert attempt["x-api-key"] == "secret"
    assert attempt["user-agent"].startswith("seqstep-python/")


@CLIENTS
async def test_tls_is_the_default(peer: Peer, kind: Any) -> None:
    async with updating(kind, peer.plaintext, api_key="secret") as update:
        with pytest.raises(UpdateFailed):
            await update()
    assert peer.attempts == []


async def test_credentials_are_not_sent_without_tls(peer: Peer) -> None:
    key = ApiKey.of("secret", peer.plaintext, plaintext=False)
    async with channel.open_aio_channel(peer.plaintext, plaintext=True) as plain:
        method: Any = plain.unary_unary("/engagement.v1.SequenceStepService/UpdateStep")
        with pytest.raises(grpc.aio.UsageError, match="secure channels"):
            await method(b"", credentials=key.credentials, timeout=5)
    assert peer.attempts == []


@CLIENTS
@pytest.mark.parametrize("address", ["service.example:50051", "10.0.0.1:50051", "ipv4:127.0.0.1:1,10.0.0.1:1"])
def test_the_key_goes_nowhere_else_in_the_clear(kind: Any, address: str) -> None:
    with pytest.raises(InvalidArgument, match="without TLS"):
        kind(address, api_key="secret", plaintext=True)


async def test_the_key_goes_elsewhere_where_that_is_asked_for() -> None:
    with Client("service.example:50051", api_key="secret", plaintext=True, key_in_clear=True):
        pass
    with Client("ipv4:127.0.0.1:1,127.0.0.1:2", api_key="secret", plaintext=True):
        pass


@CLIENTS
def test_plaintext_has_no_use_for_files_of_tls(kind: Any) -> None:
    with pytest.raises(InvalidArgument, match="no use"):
        kind("127.0.0.1:1", plaintext=True, tls=Tls(b"ca"))


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Tls.from_files(tmp_path / "no-such-file.pem")


NOT_APPLIED = {"errors": [{"code": "NOT_FOUND_ERROR", "meta": {"outcome": "ERROR_OUTCOME_NOT_APPLIED"}}]}


@CLIENTS
@pytest.mark.parametrize(
    "attempt",
    [
        {"message": None},
        {"message_hex": "0aff"},
        {"trailers_only": True, "status": "NOT_FOUND"},
        {"trailers_only": True, "status": "NOT_FOUND", "details_hex": "ff01ff"},
        {
            "trailers_only": True,
            "status": "NOT_FOUND",
            "details": [{"type": "engagement.v1.UpdateStepResponse", "hex": "0aff"}],
        },
        {
            "trailers_only": True,
            "status": "NOT_FOUND",
            "details": [{"type": "engagement.v1.GetStepResponse", "value": NOT_APPLIED}],
        },
        {
            "trailers_only": True,
            "status": "INTERNAL",
            "details_code": "NOT_FOUND",
            "details": [{"type": "engagement.v1.UpdateStepResponse", "value": NOT_APPLIED}],
        },
        {
            "headers": [[":status", "502"], ["content-type", "text/html"]],
            "status": None,
            "text": "<html>",
            "no_trailers": True,
        },
    ],
    ids=[
        "no message",
        "no response",
        "no details",
        "odd details",
        "odd envelope",
        "another method's",
        "another code",
        "502",
    ],
)
async def test_what_is_not_understood_is_unknown(peer: Peer, kind: Any, attempt: Any) -> None:
    peer.script = msgspec.convert({"attempts": [attempt]}, Script)
    async with updating(kind, peer.plaintext, plaintext=True) as update:
        with pytest.raises(OutcomeUnknown):
            await update()


@CLIENTS
async def test_a_message_in_other_words_does_not_hide_the_details(peer: Peer, kind: Any) -> None:
    envelope = {"type": "engagement.v1.UpdateStepResponse", "value": NOT_APPLIED}
    attempt = {
        "trailers_only": True,
        "status": "NOT_FOUND",
        "details": [envelope],
        "trailers": [["grpc-message", "other"]],
    }
    peer.script = msgspec.convert({"attempts": [attempt]}, Script)
    async with updating(kind, peer.plaintext, plaintext=True) as update:
        with pytest.raises(CallRefused):
            await update()


@pytest.mark.parametrize("outcome", [0, 2, 97])
def test_one_outcome_that_is_not_certain_is_that_of_all(outcome: int) -> None:
    errors = [envelope_pb2.Error(meta=envelope_pb2.ErrorMeta(outcome=each)) for each in (1, 3, outcome)]  # type: ignore[arg-type]  # such as a newer service has
    assert answers.outcome_of(pb.UpdateStepResponse(errors=errors)) is Outcome.UNKNOWN
    assert answers.outcome_of(pb.UpdateStepResponse(errors=errors[:2])) is Outcome.PARTIALLY_APPLIED
    assert answers.outcome_of(pb.UpdateStepResponse(errors=errors[:1])) is Outcome.NOT_APPLIED
    assert answers.outcome_of(pb.UpdateStepResponse()) is Outcome.APPLIED
    assert answers.outcome_of(None) is Outcome.UNKNOWN


@CLIENTS
async def test_a_replica_that_is_not_well_is_not_called(kind: Any) -> None:
    servers = [RunningGrpcServer(), RunningGrpcServer()]
    for server in servers:
        await server.start()
    await servers[0].grpc.set_serving(is_serving=False)
    address = f"ipv4:{','.join(server.grpc.address for server in servers)}"
    async with updating(kind, address, api_key="good", plaintext=True) as update:
        for _ in range(6):
            with contextlib.suppress(UpdateFailed):
                await update()
    counts = [len(server.records) for server in servers]
    for server in servers:
        await server.stop()
    assert counts == [0, 6]


@CLIENTS
async def test_replicas_are_called_in_turn(kind: Any) -> None:
    servers = [RunningGrpcServer(), RunningGrpcServer()]
    for server in servers:
        await server.start()
    address = f"ipv4:{','.join(server.grpc.address for server in servers)}"
    async with updating(kind, address, api_key="good", plaintext=True) as update, asyncio.timeout(20):
        while not all(server.records for server in servers):
            with contextlib.suppress(UpdateFailed):
                await update()
    for server in servers:
        await server.stop()


class Seeing(grpc.UnaryUnaryClientInterceptor):
    def __init__(self) -> None:
        self.methods: list[str] = []

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        self.methods.append(details.method)
        return continuation(details, request)


class SeeingAio(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self) -> None:
        self.methods: list[str] = []

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        self.methods.append(details.method if isinstance(details.method, str) else details.method.decode())
        return await continuation(details, request)


@pytest.mark.parametrize(
    ("kind", "interceptor"), [(Client, Seeing), (AsyncClient, SeeingAio)], ids=["blocking", "asyncio"]
)
async def test_interceptors_see_the_calls(peer: Peer, kind: Any, interceptor: Any) -> None:
    seeing = interceptor()
    async with updating(kind, peer.plaintext, plaintext=True, interceptors=[seeing]) as update:
        await update()
    assert seeing.methods[-1] == "/engagement.v1.SequenceStepService/UpdateStep"


async def test_cancelling_a_task_cancels_its_call() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(_request: Any, _context: Any) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    server = grpc.aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(hang)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("engagement.v1.SequenceStepService", {"UpdateStep": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with updating(AsyncClient, f"127.0.0.1:{port}", plaintext=True) as update, asyncio.timeout(20):
        task = asyncio.create_task(update())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await cancelled.wait()
    await server.stop(0)


def update_with(client: Client, cancellation: Cancellation, **more: Any) -> Any:
    return asyncio.to_thread(
        client.update_step, STEP, customer_id="acme", provider="outreach", timeout=30, cancellation=cancellation, **more
    )


async def test_another_thread_cancels_calls_that_block(peer: Peer) -> None:
    peer.script = msgspec.convert({"attempts": [{"hang": True}]}, Script)
    cancellation = Cancellation()
    with Client(peer.plaintext, plaintext=True, interceptors=[Seeing()]) as client:
        async with asyncio.timeout(20):
            calls = [asyncio.create_task(update_with(client, cancellation)) for _ in range(2)]
            await until(lambda: len(peer.attempts) == 2)
            cancellation.cancel()
            failures = await asyncio.gather(*calls, return_exceptions=True)
        for failure in failures:
            assert isinstance(failure, OutcomeUnknown)
            assert failure.failure.grpc_status is grpc.StatusCode.CANCELLED
            assert str(failure).startswith("The call was cancelled. The update may have been carried out")
        # Neither sent again, nor in the way of the next one.
        assert len(peer.attempts) == 2
        peer.reset()
        assert isinstance(await update_with(client, Cancellation()), UpdateResult)


async def test_a_call_that_was_cancelled_before_is_not_sent(peer: Peer) -> None:
    cancellation = Cancellation()
    assert not cancellation.is_cancelled
    cancellation.cancel()
    assert cancellation.is_cancelled
    with Client(peer.plaintext, plaintext=True) as client, pytest.raises(NotApplied, match="before it was sent"):
        await update_with(client, cancellation)
    assert peer.attempts == []


async def test_cancelling_while_it_connects_keeps_an_update_from_being_sent() -> None:
    # It takes connections, and says nothing.
    connections: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _reader, writer: connections.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    cancellation = Cancellation()
    with Client(f"127.0.0.1:{port}", plaintext=True) as client:
        async with asyncio.timeout(4):
            call = asyncio.create_task(update_with(client, cancellation))
            await until(lambda: connections)
            cancellation.cancel()
            with pytest.raises(NotApplied, match="before it was sent"):
                await call
    for connection in connections:
        connection.close()
    server.close()


async def test_a_read_that_is_cancelled_changed_nothing(peer: Peer) -> None:
    peer.script = msgspec.convert({"attempts": [{"hang": True}]}, Script)
    cancellation = Cancellation()
    with Client(peer.plaintext, plaintext=True) as client:
        call = asyncio.create_task(
            asyncio.to_thread(
                client.get_step, "7", "101", customer_id="acme", provider="outreach", cancellation=cancellation
            )
        )
        await until(lambda: peer.attempts)
        cancellation.cancel()
        with pytest.raises(NotApplied, match="Nothing was changed"):
            await call


async def run_page(*arguments: str, key: str = "secret") -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PAGE), *arguments),
        env={"PYTHONPATH": "clients/python/src", "SEQSTEP_API_KEY": key},
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


def with_errors(*outcomes: str) -> dict[str, Any]:
    return {
        "message": {"errors": [{"code": "X_ERROR", "meta": {"outcome": f"ERROR_OUTCOME_{each}"}} for each in outcomes]}
    }


@pytest.mark.parametrize(
    ("attempt", "status", "output"),
    [
        (
            {"message": {"changes": [{"field": "template.subject", "after": "Hello"}]}},
            0,
            "template.subject is now 'Hello'",
        ),
        (with_errors("NOT_APPLIED"), 1, "NOT_APPLIED"),
        (with_errors("PARTIALLY_APPLIED"), 4, "PARTIALLY_APPLIED"),
        (with_errors("UNKNOWN"), 3, "UNKNOWN"),
        ({"trailers_only": True, "status": "NOT_FOUND"}, 3, "UNKNOWN"),
        ({"trailers_only": True, "status": "NOT_FOUND", "details_hex": "ff01ff"}, 3, "UNKNOWN"),
    ],
)
async def test_the_exit_status_of_the_page(peer: Peer, attempt: Any, status: int, output: str) -> None:
    read = {"message": {"step": {"etag": "e"}}}
    peer.script = msgspec.convert({"attempts": [read, attempt]}, Script)
    ended = await run_page(peer.plaintext, "--plaintext")
    assert ended[0] == status
    assert output in ended[1]


async def test_the_page_refuses_wrong_usage(peer: Peer) -> None:
    for arguments in (["--ca", "/no/such/file.pem"], ["service.example:1", "--plaintext"]):
        assert (await run_page(*arguments))[0] == 2
    assert (await run_page(f"127.0.0.1:{free_port()}", "--plaintext"))[0] == 5
    assert peer.attempts == []


async def test_an_error_in_the_page_is_not_that_of_an_update(peer: Peer) -> None:
    peer.script = msgspec.convert({"attempts": [{"message": {"step": {}}, "trailers": [["x-odd", "1"]]}]}, Script)
    code = (
        "import runpy, sys, seqstep_client\n"
        "def broken(*_, **__): raise RuntimeError('a bug')\n"
        "seqstep_client.Client.update_step = broken\n"
        f"sys.argv = ['page', {peer.plaintext!r}, '--plaintext']\n"
        f"runpy.run_path({str(PAGE)!r}, run_name='__main__')\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code),
        env={"PYTHONPATH": "clients/python/src", "SEQSTEP_API_KEY": "secret"},
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode == 3
    assert b"a bug" in err


async def test_the_connection_is_closed_with_the_client(peer: Peer) -> None:
    async with updating(AsyncClient, peer.plaintext, plaintext=True) as update:
        await update()
        assert peer.connections
    await until(lambda: not peer.connections)


@CLIENTS
async def test_a_service_far_away_is_reached(peer: Peer, kind: Any) -> None:
    """Each answer takes 0.4 s, and a connection several of them."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await asyncio.sleep(seconds)
                writer.write(data)
        writer.transport.abort()

    relays: list[asyncio.Task[Any]] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = peer.mutual.rsplit(":", 1)
        their_reader, their_writer = await asyncio.open_connection(host, int(port))
        both = asyncio.gather(pass_on(reader, their_writer, 0), pass_on(their_reader, writer, 0.4))
        relays.append(asyncio.ensure_future(both))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        address = f"localhost:{server.sockets[0].getsockname()[1]}"
        async with updating(kind, address, api_key="secret", tls=tls_of(peer)) as update:
            assert isinstance(await update(), UpdateResult)
        async with asyncio.timeout(10):
            await asyncio.gather(*relays)
