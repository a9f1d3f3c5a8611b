"""The server below the HTTP door: addresses, TLS, heads that make no sense, and the end."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from service.api.address import PortInUse
from service.api.tls import TlsError, TlsFiles
from service.domain.deadline import Deadline
from service.domain.step import Caller, StepUpdate, UpdateResult
from service.rest import protocol
from tests.rest.servers import EMPTY, GOOD, PATH, HttpDoor, error_of, exchange, open_door
from tests.support.waiting import until


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> TlsFiles:
    write(authority.issue_cert("localhost"), tmp_path)
    return TlsFiles(tmp_path / "chain.pem", tmp_path / "key.pem")


def write(certificate: trustme.LeafCert, folder: Path) -> None:
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "chain.pem"))


def mutual(files: TlsFiles, authority: trustme.CA) -> TlsFiles:
    path = files.certificate.with_name("ca.pem")
    authority.cert_pem.write_to_path(str(path))
    return TlsFiles(files.certificate, files.private_key, path)


@asynccontextmanager
async def trusting(
    door: HttpDoor, authority: trustme.CA, certificate: trustme.LeafCert | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    url = f"https://localhost:{door.http.address.rpartition(':')[2]}"
    async with httpx.AsyncClient(base_url=url, verify=context) as client:
        yield client


async def call(client: httpx.AsyncClient, **headers: Any) -> httpx.Response:
    return await client.patch(PATH, headers=GOOD | headers, json=EMPTY)


async def test_tls_with_the_certificate_of_the_settings(files: TlsFiles, authority: trustme.CA) -> None:
    async with open_door(tls=files) as door:
        async with trusting(door, authority) as client:
            assert (await call(client)).status_code == 200
        async with trusting(door, trustme.CA()) as stranger:
            with pytest.raises(httpx.ConnectError):
                await call(stranger)
        with pytest.raises(httpx.HTTPError):
            await door.patch()


async def test_a_client_certificate_stands_for_an_application(files: TlsFiles, authority: trustme.CA) -> None:
    async with open_door(tls=mutual(files, authority)) as door:
        async with trusting(door, authority, authority.issue_cert("billing.example")) as client:
            given = {key: value for key, value in GOOD.items() if key != "x-api-key"}
            assert (await client.patch(PATH, headers=given, json=EMPTY)).status_code == 200
            # A key goes before a certificate.
            assert (await call(client)).status_code == 200
        assert [caller.application_name for caller in door.callers] == ["billing-by-certificate", "billing"]
        async with trusting(door, authority, authority.issue_cert("other.example")) as client:
            answer = await client.patch(PATH, headers=given, json=EMPTY)
            assert error_of(answer)["code"] == "UNAUTHORIZED_ERROR"


async def test_clients_of_another_authority_are_turned_away(files: TlsFiles, authority: trustme.CA) -> None:
    async with open_door(tls=mutual(files, authority)) as door:
        for certificate in (None, trustme.CA().issue_cert("billing.example")):
            async with trusting(door, authority, certificate) as client:
                with pytest.raises(httpx.HTTPError):
                    await call(client)
        assert door.callers == []


async def test_a_new_certificate_is_shown_without_a_restart(files: TlsFiles, authority: trustme.CA) -> None:
    other = trustme.CA()
    async with open_door(tls=files) as door:
        async with trusting(door, authority) as old:
            assert (await call(old)).status_code == 200
            write(other.issue_cert("localhost"), files.certificate.parent)
            async with trusting(door, other) as new:
                assert (await call(new)).status_code == 200
            # A connection that is open stays so.
            assert (await call(old)).status_code == 200
        async with trusting(door, authority) as late:
            with pytest.raises(httpx.ConnectError):
                await call(late)


async def test_a_new_authority_of_clients_counts_without_a_restart(files: TlsFiles, authority: trustme.CA) -> None:
    other = trustme.CA()
    both = mutual(files, authority)
    async with open_door(tls=both) as door:
        assert both.client_ca is not None
        other.cert_pem.write_to_path(str(both.client_ca))
        async with trusting(door, authority, other.issue_cert("billing.example")) as client:
            assert (await call(client)).status_code == 200
        async with trusting(door, authority, authority.issue_cert("billing.example")) as client:
            with pytest.raises(httpx.HTTPError):
                await call(client)


async def test_a_certificate_without_its_key_leaves_the_last_good_pair(files: TlsFiles, authority: trustme.CA) -> None:
    async with open_door(tls=files) as door:
        authority.issue_cert("localhost").cert_chain_pems[0].write_to_path(str(files.certificate))
        async with trusting(door, authority) as client:
            assert (await call(client)).status_code == 200


async def test_files_that_cannot_be_used_are_told_at_the_start(files: TlsFiles) -> None:
    files.private_key.unlink()
    with pytest.raises(TlsError, match="cannot read"):
        async with open_door(tls=files):
            pass


async def test_two_servers_share_an_address_and_others_do_not() -> None:
    async with open_door() as first, open_door(address=first.http.address) as second:
        for _ in range(200):
            async with httpx.AsyncClient(base_url=f"http://{first.http.address}") as client:
                assert (await call(client)).status_code == 200
            if first.updates and second.updates:
                break
        assert first.updates
        assert second.updates
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(PortInUse, match="something else"):
            async with open_door(address=f"127.0.0.1:{other.getsockname()[1]}"):
                pass
    for wrong in ("nonsense", "127.0.0.1:x", "127.0.0.1:99999", ":"):
        with pytest.raises(PortInUse):
            async with open_door(address=wrong):
                pass


@pytest.mark.parametrize(
    "sent",
    [
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nx-a: " + b"x" * 20_000,
    ],
)
async def test_what_is_no_request_is_told_in_the_envelope(door: HttpDoor, sent: bytes) -> None:
    answer = await exchange(door.http.address, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in head
    assert b'"code":"BAD_REQUEST","status":"400"' in body
    assert (await door.patch()).status_code == 200


async def test_a_head_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    async with open_door() as door:
        for sent in (b"", b"PATCH / HTTP/1.1\r\nhost:"):
            assert await exchange(door.http.address, sent, seconds=5) == b""
        # The time for the head is not the time for the answer.
        slow = asyncio.Event()

        async def wait(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
            await asyncio.wait_for(slow.wait(), 10)
            return UpdateResult()

        door.use_case = wait
        running = asyncio.ensure_future(door.patch())
        await until(lambda: door.updates)
        assert await exchange(door.http.address, seconds=5) == b""
        slow.set()
        assert (await running).status_code == 200


class Slow:
    """A call that goes on until it is released."""

    def __init__(self, door: HttpDoor) -> None:
        self._release = asyncio.Event()
        door.use_case = self._wait
        self.running = asyncio.ensure_future(door.patch())

    async def _wait(self, caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        await self._release.wait()
        return UpdateResult()

    def release(self) -> None:
        self._release.set()


async def test_a_stop_lets_running_calls_end_and_turns_not_ready(door: HttpDoor) -> None:
    async with httpx.AsyncClient(base_url=f"http://{door.http.address}") as other:
        assert (await other.get("/readyz")).status_code == 200
        slow = Slow(door)
        await until(lambda: door.updates)
        stopping = asyncio.ensure_future(door.http.stop(10))
        # The open connection hears that this is its last answer; new ones find nobody.
        answer = await other.get("/readyz")
        assert (answer.status_code, answer.headers["connection"]) == (503, "close")
        with pytest.raises(httpx.ConnectError):
            await other.get("/readyz")
        slow.release()
        answer = await slow.running
        assert (answer.status_code, answer.headers.get("connection")) == (200, "close")
        async with asyncio.timeout(5):
            await stopping


async def test_an_idle_connection_does_not_hold_up_the_stop(door: HttpDoor) -> None:
    await door.patch()
    async with asyncio.timeout(3):
        await door.http.stop(30)


async def test_a_call_that_outlasts_the_grace_is_told_so(door: HttpDoor) -> None:
    slow = Slow(door)
    await until(lambda: door.updates)
    async with asyncio.timeout(5):
        await door.http.stop(0.1)
        error = error_of(await slow.running)
    assert (error["code"], error["meta"]["outcome"]) == ("SERVICE_UNAVAILABLE_ERROR", "unknown")
    assert error["detail"].startswith("This server stopped")
