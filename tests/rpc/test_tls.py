"""TLS and client certificates at the gRPC door, and their renewal without a restart."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
import trustme
from engagement.v1 import sequence_step_service_pb2, sequence_step_service_pb2_grpc

from service.api.address import is_loopback
from service.api.admission import Admission
from service.api.call_handler import CallHandler
from service.api.deadline_policy import DeadlinePolicy
from service.api.tls import TlsError, TlsFiles
from service.domain.deadline import Deadline
from service.domain.errors import unauthenticated
from service.domain.step import Caller, StepUpdate, UpdateResult
from service.observability.call_log import CallRecord
from service.rpc import server
from service.rpc.servicer import SequenceStepServicer

METADATA = (("x-customer-id", "acme"), ("x-provider-name", "apollo"))
EMPTY = sequence_step_service_pb2.UpdateStepRequest(record=sequence_step_service_pb2.SequenceStepRecord())


class Identities:
    """Knows one certificate and one key."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def authenticate(self, api_key: str | None) -> Caller:
        if api_key != "good":
            raise unauthenticated()
        return Caller(1, "by-key")

    async def by_certificate(self, identities: Sequence[str]) -> Caller:
        self.seen.extend(identities)
        if "billing.internal" not in identities:
            raise unauthenticated()
        return Caller(2, "by-certificate")


class Callers(list[str]):
    """The names of the callers that got through."""

    async def __call__(self, caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        self.append(caller.application_name)
        return UpdateResult()

    def record(self, record: CallRecord) -> None:
        pass


def write(certificate: trustme.LeafCert, folder: Path) -> None:
    """Replaces the files as deployment tools do: each by a rename."""
    for name, blob in (("tls.crt", certificate.cert_chain_pems[0]), ("tls.key", certificate.private_key_pem)):
        fresh = folder / f"{name}.new"
        blob.write_to_path(str(fresh))
        os.replace(fresh, folder / name)  # noqa: PTH105


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> TlsFiles:
    write(authority.issue_cert("localhost"), tmp_path)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    return TlsFiles(tmp_path / "tls.crt", tmp_path / "tls.key")


@pytest.fixture
async def mutual(files: TlsFiles, tmp_path: Path) -> AsyncIterator[Any]:
    async with listening(TlsFiles(files.certificate, files.private_key, tmp_path / "ca.crt")) as door:
        yield door


class listening:  # noqa: N801  # reads as a phrase
    """A door with TLS for the length of a block."""

    def __init__(self, files: TlsFiles) -> None:
        self.files = files
        self.identities = Identities()
        self.callers = Callers()

    async def __aenter__(self) -> Self:
        servicer = SequenceStepServicer(
            CallHandler(self.callers, self.identities, self.callers, DeadlinePolicy(), Admission(8))
        )
        self.rpc = await server.start(servicer, "localhost:0", self.files)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.rpc.stop(0)

    async def call(self, credentials: grpc.ChannelCredentials, *metadata: tuple[str, str]) -> None:
        async with grpc.aio.secure_channel(self.rpc.address, credentials) as channel:
            stub = sequence_step_service_pb2_grpc.SequenceStepServiceStub(channel)
            await stub.UpdateStep(EMPTY, metadata=(*METADATA, *metadata), timeout=5)


def trusting(authority: trustme.CA, client: trustme.LeafCert | None = None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        authority.cert_pem.bytes(),
        client.private_key_pem.bytes() if client else None,
        client.cert_chain_pems[0].bytes() if client else None,
    )


async def test_a_key_over_tls(files: TlsFiles, authority: trustme.CA) -> None:
    async with listening(files) as door:
        await door.call(trusting(authority), ("x-api-key", "good"))
        assert door.callers == ["by-key"]


async def test_a_client_certificate_stands_for_an_application(mutual: Any, authority: trustme.CA) -> None:
    await mutual.call(trusting(authority, authority.issue_cert("billing.internal", common_name="billing")))
    assert mutual.callers == ["by-certificate"]
    assert mutual.identities.seen == ["billing.internal", "billing"]


async def test_a_certificate_of_nobody_is_refused(mutual: Any, authority: trustme.CA) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await mutual.call(trusting(authority, authority.issue_cert("stranger.internal")))
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_key_counts_before_a_certificate(mutual: Any, authority: trustme.CA) -> None:
    await mutual.call(trusting(authority, authority.issue_cert("billing.internal")), ("x-api-key", "good"))
    assert mutual.callers == ["by-key"]


@pytest.mark.parametrize("client", [None, "stranger"])
async def test_a_client_of_no_known_authority_gets_no_connection(
    mutual: Any, authority: trustme.CA, client: Any
) -> None:
    stranger = trustme.CA().issue_cert("billing.internal") if client else None
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await mutual.call(trusting(authority, stranger))
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert mutual.callers == []


async def test_a_new_certificate_is_shown_without_a_restart_and_without_a_failed_call(
    files: TlsFiles, authority: trustme.CA
) -> None:
    other = trustme.CA()
    both = grpc.ssl_channel_credentials(authority.cert_pem.bytes() + other.cert_pem.bytes())
    async with listening(files) as door:
        await door.call(trusting(authority), ("x-api-key", "good"))
        calls = [asyncio.ensure_future(door.call(both, ("x-api-key", "good"))) for _ in range(20)]
        write(other.issue_cert("localhost"), files.certificate.parent)
        calls += [asyncio.ensure_future(door.call(both, ("x-api-key", "good"))) for _ in range(20)]
        await asyncio.gather(*calls)
        await door.call(trusting(other), ("x-api-key", "good"))
        with pytest.raises(grpc.aio.AioRpcError):
            await door.call(trusting(authority), ("x-api-key", "good"))
        assert len(door.callers) == 42


async def test_a_certificate_without_its_key_leaves_the_last_good_pair(files: TlsFiles, authority: trustme.CA) -> None:
    async with listening(files) as door:
        authority.issue_cert("localhost").cert_chain_pems[0].write_to_path(str(files.certificate))
        await door.call(trusting(authority), ("x-api-key", "good"))
        files.certificate.unlink()
        await door.call(trusting(authority), ("x-api-key", "good"))


def test_files_that_cannot_be_used_are_named_at_the_start(files: TlsFiles, authority: trustme.CA) -> None:
    for path, content, message in (
        (files.certificate, b"nonsense", "no PEM certificate"),
        (files.private_key, b"nonsense", "no unencrypted PEM private key"),
        (files.private_key, authority.issue_cert("x").private_key_pem.bytes(), "is not the key of the certificate"),
    ):
        before = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(TlsError, match=message):
            files.read()
        path.write_bytes(before)
    files.private_key.unlink()
    with pytest.raises(TlsError, match="cannot read"):
        files.read()


def test_material_does_not_show_the_key(files: TlsFiles) -> None:
    assert "PRIVATE" not in repr(files.read())


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/run/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("example.com:1", False),
        (":1", False),
    ],
)
def test_what_only_this_machine_reaches(address: str, loopback: bool) -> None:  # noqa: FBT001
    assert is_loopback(address) is loopback
