"""The server of HTTP: addresses, TLS, bytes that are no request, and its end."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trustme
from structlog.testing import capture_logs

from service.api.address import PortInUse
from service.api.tls import TlsError, TlsFiles
from service.domain.deadline import Deadline
from service.domain.step import Caller, StepUpdate, UpdateResult
from service.rest import protocol
from tests.support.certificates import replace_files
from tests.support.http_server import EMPTY, GOOD, PATH, RunningHttpServer, error_of, exchange, running_http_server
from tests.support.plain_client import plain_client
from tests.support.waiting import until


@asynccontextmanager
async def trusting(
    server: RunningHttpServer, authority: trustme.CA, certificate: trustme.LeafCert | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    url = f"https://localhost:{server.http.address.rpartition(':')[2]}"
    async with httpx.AsyncClient(base_url=url, verify=context) as client:
        yield client


async def call(client: httpx.AsyncClient, **headers: Any) -> httpx.Response:
    return await client.patch(PATH, headers=GOOD | headers, json=EMPTY)


async def test_tls_with_the_certificate_of_the_settings(tls_files: TlsFiles, authority: trustme.CA) -> None:
    async with running_http_server(tls=tls_files) as server:
        async with trusting(server, authority) as client:
            assert (await call(client)).status_code == 200
        async with trusting(server, trustme.CA()) as stranger:
            with pytest.raises(httpx.ConnectError):
                await call(stranger)
        with pytest.raises(httpx.HTTPError):
            await server.patch()


async def test_a_client_certificate_stands_for_an_application(
    mutual_tls_files: TlsFiles, authority: trustme.CA
) -> None:
    async with running_http_server(tls=mutual_tls_files) as server:
        async with trusting(server, authority, authority.issue_cert("billing.example")) as client:
            given = {key: value for key, value in GOOD.items() if key != "x-api-key"}
            assert (await client.patch(PATH, headers=given, json=EMPTY)).status_code == 200
            # A key goes before a certificate.
            assert (await call(client)).status_code == 200
        assert [caller.application_name for caller in server.callers] == ["billing-by-certificate", "billing"]
        async with trusting(server, authority, authority.issue_cert("other.example")) as client:
            response = await client.patch(PATH, headers=given, json=EMPTY)
            assert error_of(response)["code"] == "UNAUTHORIZED_ERROR"


async def test_clients_of_another_authority_are_refused(mutual_tls_files: TlsFiles, authority: trustme.CA) -> None:
    async with running_http_server(tls=mutual_tls_files) as server:
        for certificate in (None, trustme.CA().issue_cert("billing.example")):
            async with trusting(server, authority, certificate) as client:
                with pytest.raises(httpx.HTTPError):
                    await call(client)
        assert server.callers == []


async def test_a_new_certificate_is_shown_without_a_restart(tls_files: TlsFiles, authority: trustme.CA) -> None:
    other = trustme.CA()
    async with running_http_server(tls=tls_files) as server:
        async with trusting(server, authority) as old:
            assert (await call(old)).status_code == 200
            replace_files(other.issue_cert("localhost"), tls_files.certificate.parent)
            async with trusting(server, other) as new:
                assert (await call(new)).status_code == 200
            # A connection that is open stays so.
            assert (await call(old)).status_code == 200
        async with trusting(server, authority) as late:
            with pytest.raises(httpx.ConnectError):
                await call(late)


async def test_a_new_authority_of_clients_counts_without_a_restart(
    mutual_tls_files: TlsFiles, authority: trustme.CA
) -> None:
    other = trustme.CA()
    both = mutual_tls_files
    async with running_http_server(tls=both) as server:
        assert both.client_ca is not None
        other.cert_pem.write_to_path(str(both.client_ca))
        async with trusting(server, authority, other.issue_cert("billing.example")) as client:
            assert (await call(client)).status_code == 200
        async with trusting(server, authority, authority.issue_cert("billing.example")) as client:
            with pytest.raises(httpx.HTTPError):
                await call(client)


async def test_a_certificate_without_its_key_leaves_the_last_good_pair(
    tls_files: TlsFiles, authority: trustme.CA
) -> None:
    async with running_http_server(tls=tls_files) as server:
        authority.issue_cert("localhost").cert_chain_pems[0].write_to_path(str(tls_files.certificate))
        async with trusting(server, authority) as client:
            assert (await call(client)).status_code == 200


async def test_unusable_tls_files_fail_the_start(tls_files: TlsFiles) -> None:
    tls_files.private_key.unlink()
    with pytest.raises(TlsError, match="cannot read"):
        async with running_http_server(tls=tls_files):
            pass


async def test_two_servers_share_an_address_and_others_do_not() -> None:
    async with (
        running_http_server(shared=True) as first,
        running_http_server(address=first.http.address, shared=True) as second,
    ):
        for _ in range(200):
            async with plain_client(base_url=f"http://{first.http.address}") as client:
                assert (await call(client)).status_code == 200
            if first.updates and second.updates:
                break
        assert first.updates
        assert second.updates
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(PortInUse, match="something else"):
            async with running_http_server(address=f"127.0.0.1:{other.getsockname()[1]}"):
                pass
    for wrong in ("other", "127.0.0.1:x", "127.0.0.1:99999", ":"):
        with pytest.raises(PortInUse):
            async with running_http_server(address=wrong):
                pass


@pytest.mark.parametrize(
    "sent",
    [
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nx-a: " + b"x" * 20_000,
        b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a:b\r\n" * 4_000 + b"\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n",
        b"GET / HTTP/2.0\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"BREW / HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
async def test_bytes_that_are_no_request_get_an_envelope(server: RunningHttpServer, sent: bytes) -> None:
    with capture_logs() as logs:
        response = await exchange(server.http.address, sent)
    assert [(line["event"], line["code"], line["limited"]) for line in logs] == [("refused", "BAD_REQUEST", True)]
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in head
    assert b'"code":"BAD_REQUEST","status":"400"' in body
    assert (await server.patch()).status_code == 200


HEAD = f"PATCH {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" + "".join(
    f"{name}: {value}\r\n" for name, value in GOOD.items()
)


# As Java's own client sends it, body and all, unless it is set to HTTP/1.1.
OFFER = "connection: Upgrade, HTTP2-Settings\r\nhttp2-settings: AAEAAEAAAAIAAAAA\r\nupgrade: h2c\r\n"
LENGTH = "content-length: 13\r\n\r\n"
BODY = '{"record":{}}'


@pytest.mark.parametrize("piece", [1, 10_000])
@pytest.mark.parametrize("offer", [OFFER, "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n"])
async def test_an_offer_of_an_upgrade_is_served_over_http1(server: RunningHttpServer, offer: str, piece: int) -> None:
    chunked = "transfer-encoding: chunked\r\n\r\n" + chunks(BODY.encode(), 13).decode()
    last = offer.replace("connection: ", "connection: close, ")
    # Sent apart from the request, it could meet a connection that has ended.
    after = "" if piece == 1 else "GET"
    requests = (f"{HEAD}{offer}{LENGTH}{BODY}", f"{HEAD}{offer}{chunked}", f"{HEAD}{last}{LENGTH}{BODY}{after}")
    host, _, port = server.http.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(5):
        for request in requests:
            for start in range(0, len(request), piece):
                writer.write(request[start : start + piece].encode())
                await asyncio.sleep(0)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        assert await reader.read() == b""
    writer.close()
    assert len(server.updates) == 3


async def test_a_second_request_before_the_response_ends_the_connection(server: RunningHttpServer) -> None:
    released = asyncio.Event()

    async def wait(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        await released.wait()
        return UpdateResult()

    server.use_case = wait
    request = f"{HEAD}{LENGTH}{BODY}".encode()
    answering = asyncio.ensure_future(exchange(server.http.address, request * 2, request * 1000))
    await until(lambda: server.updates)
    released.set()
    response = await answering
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in response
    assert response.count(b"HTTP/1.1 ") == 1
    assert len(server.updates) == 1


@pytest.mark.parametrize(("length", "status"), [(16 * 1024, 200), (16 * 1024 + 1, 400)])
async def test_a_head_has_sixteen_kibibytes(server: RunningHttpServer, length: int, status: int) -> None:
    head = f"{HEAD}connection: close\r\n{LENGTH}"
    filled = head.replace("host: x", "host: x\r\nx-a: " + "x" * (length - len(head) - len("\r\nx-a: ")))
    assert len(filled) == length
    response = await exchange(server.http.address, filled.encode(), BODY.encode() if status == 200 else b"")
    assert response.startswith(b"HTTP/1.1 %d " % status)


async def test_white_space_after_a_header_is_no_part_of_it(server: RunningHttpServer) -> None:
    head = HEAD.replace("x-api-key: good", "x-api-key: \t good \t ")
    response = await exchange(server.http.address, f"{head}connection: close\r\n{LENGTH}{BODY}".encode())
    assert response.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "endless", [b"1;" + b"x" * 20_000, b"0\r\na: " + b"x" * 20_000, b"0\r\n" + b"a: b\r\n" * 4_000]
)
async def test_what_is_no_body_is_as_limited_as_the_head(server: RunningHttpServer, endless: bytes) -> None:
    host, _, port = server.http.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{HEAD}transfer-encoding: chunked\r\n\r\n1\r\n{{\r\n".encode())
    await until(lambda: server.admission.in_flight)
    writer.write(endless)
    async with asyncio.timeout(5):
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    assert server.updates == []


async def test_a_request_has_one_response_whatever_its_body(server: RunningHttpServer) -> None:
    host, _, port = server.http.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(5):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"1\r\nx\r\n" * 515)
        assert await reader.read() == b""
    writer.close()


def chunks(body: bytes, size: int) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


async def test_a_body_may_come_in_short_chunks(server: RunningHttpServer) -> None:
    head = f"{HEAD}connection: close\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    for size, length in ((1, 400), (100, 400), (100, 60_000), (512, 1_000_000)):
        body = b'{"record": {"template": {"body": "' + b"x" * length + b'"}}}'
        assert (await exchange(server.http.address, head, chunks(body, size))).startswith(b"HTTP/1.1 200 ")
    assert [len(update.body or "") for update in server.updates] == [400, 400, 60_000, 1_000_000]


async def test_a_body_in_as_many_short_chunks_as_there_may_be_is_served(server: RunningHttpServer) -> None:
    # Of one byte, since a longer one may be read in two pieces.
    head = f"{HEAD}connection: close\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    sent = chunks(b'{"record":{}}'.ljust(513), 1)
    assert (await exchange(server.http.address, head, sent)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("size", "most"), [(1, 513), (64, 585), (256, 1024)])
async def test_a_body_in_too_many_short_chunks_is_refused(size: int, most: int, server: RunningHttpServer) -> None:
    head = f"{HEAD}transfer-encoding: chunked\r\n\r\n".encode()
    # Not to its end: what the client has still to send when the connection ends would reset it.
    sent = chunks(b"x" * size * (most + 1), size).removesuffix(b"0\r\n\r\n")
    response = await exchange(server.http.address, head, sent)
    assert response.startswith(b"HTTP/1.1 400 ")
    assert b"at most 16 KiB before the body and at most 512 chunks, beside one for each 512 bytes" in response
    assert server.updates == []
    assert (await server.patch()).status_code == 200


async def test_short_bodies_of_many_requests_are_served(
    server: RunningHttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_PIECES", 2)
    for _ in range(4):
        assert (await server.patch()).status_code == 200


async def test_a_head_that_does_not_come_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    async with running_http_server() as server:
        for sent in (b"", b"PATCH / HTTP/1.1\r\nhost:"):
            assert await exchange(server.http.address, sent, seconds=5) == b""
        # The time for the head is not the time for the response.
        slow = asyncio.Event()

        async def wait(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
            await asyncio.wait_for(slow.wait(), 10)
            return UpdateResult()

        server.use_case = wait
        running = asyncio.ensure_future(server.patch())
        await until(lambda: server.updates)
        assert await exchange(server.http.address, seconds=5) == b""
        slow.set()
        assert (await running).status_code == 200


async def test_a_new_connection_takes_the_place_of_the_one_idle_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "max_connections", lambda: 3)
    async with running_http_server() as server:
        host, _, port = server.http.address.rpartition(":")
        slow = Slow(server)
        await until(lambda: server.updates)
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
        assert (await exchange(server.http.address, b"GET /healthz HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        async with asyncio.timeout(5):
            assert await idle[0][0].read() == b""
            idle[1][1].write(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert (await idle[1][0].read()).startswith(b"HTTP/1.1 200 ")
        slow.release()
        assert (await slow.running).status_code == 200
        for _, writer in idle:
            writer.close()


async def test_connections_that_are_all_busy_are_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "max_connections", lambda: 1)
    async with running_http_server() as server:
        slow = Slow(server)
        await until(lambda: server.updates)
        assert await exchange(server.http.address) == b""
        slow.release()
        assert (await slow.running).status_code == 200


class Slow:
    """A call that goes on until it is released."""

    def __init__(self, server: RunningHttpServer) -> None:
        self._release = asyncio.Event()
        server.use_case = self._wait
        self.running = asyncio.ensure_future(server.patch())

    async def _wait(self, caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        await self._release.wait()
        return UpdateResult()

    def release(self) -> None:
        self._release.set()


async def test_a_stop_lets_running_calls_end_and_turns_not_ready(server: RunningHttpServer) -> None:
    async with plain_client(base_url=f"http://{server.http.address}") as other:
        assert (await other.get("/readyz")).status_code == 200
        slow = Slow(server)
        await until(lambda: server.updates)
        server.readiness.is_serving = False
        stopping = asyncio.ensure_future(server.http.stop(10))
        # The open connection learns that this is its last response; new ones are refused.
        response = await other.get("/readyz")
        assert (response.status_code, response.headers["connection"]) == (503, "close")
        with pytest.raises(httpx.ConnectError):
            await other.get("/readyz")
        slow.release()
        response = await slow.running
        assert (response.status_code, response.headers.get("connection")) == (200, "close")
        async with asyncio.timeout(5):
            await stopping


async def test_an_idle_connection_does_not_hold_up_the_stop(server: RunningHttpServer) -> None:
    await server.patch()
    async with asyncio.timeout(3):
        await server.http.stop(30)


async def test_a_call_that_outlasts_the_grace_is_unknown(server: RunningHttpServer) -> None:
    slow = Slow(server)
    await until(lambda: server.updates)
    async with asyncio.timeout(5):
        await server.http.stop(0.1)
        error = error_of(await slow.running)
    assert (error["code"], error["meta"]["outcome"]) == ("SERVICE_UNAVAILABLE_ERROR", "ERROR_OUTCOME_UNKNOWN")
    assert error["detail"].startswith("This server stopped")


async def test_who_calls_is_the_other_end_of_the_connection(server: RunningHttpServer) -> None:
    """What a client says about it is not believed, and what serves here is not said."""
    response = await server.patch(x_forwarded_for="203.0.113.9", x_forwarded_proto="https")
    assert response.status_code == 200
    assert "server" not in response.headers
    assert server.records[-1].peer.startswith("127.0.0.1:")
