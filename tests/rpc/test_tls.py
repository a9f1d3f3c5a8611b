"""TLS and client certificates over gRPC, and their renewal without a restart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import trustme

from service.api.admission import Admission
from service.api.tls import TlsFiles
from tests.support.certificates import replace_files, trusting
from tests.support.grpc_server import CUSTOMER, METHOD, RunningGrpcServer, refusal_of

KEY = ("x-api-key", "good")


@asynccontextmanager
async def running(files: TlsFiles) -> AsyncIterator[RunningGrpcServer]:
    server = RunningGrpcServer()
    server.admission = Admission(100)
    await server.start(files)
    yield server
    await server.stop()


@pytest.fixture
async def mutual(mutual_tls_files: TlsFiles) -> AsyncIterator[RunningGrpcServer]:
    async with running(mutual_tls_files) as server:
        yield server


async def test_an_api_key_is_accepted_over_tls(tls_files: TlsFiles, authority: trustme.CA) -> None:
    async with running(tls_files) as server:
        await server.call_over_tls(trusting(authority), KEY)
        assert server.caller_names == ["billing"]


async def test_a_client_certificate_stands_for_an_application(mutual: RunningGrpcServer, authority: trustme.CA) -> None:
    await mutual.call_over_tls(trusting(authority, authority.issue_cert("billing.example", common_name="billing")))
    assert mutual.caller_names == ["billing-by-certificate"]
    assert mutual.applications.certificate_names == ["billing.example"]


async def test_an_unknown_certificate_is_refused_before_its_request(
    mutual: RunningGrpcServer, authority: trustme.CA
) -> None:
    credentials = trusting(authority, authority.issue_cert("stranger.example"))
    async with grpc.aio.secure_channel(mutual.grpc.address, credentials) as channel:
        call: Any = channel.stream_unary(METHOD)(metadata=CUSTOMER, timeout=5)
        assert (await refusal_of(call)).code is grpc.StatusCode.UNAUTHENTICATED
    assert mutual.applications.certificate_names[0] == "stranger.example"


async def test_a_key_counts_before_a_certificate(mutual: RunningGrpcServer, authority: trustme.CA) -> None:
    await mutual.call_over_tls(trusting(authority, authority.issue_cert("billing.example")), KEY)
    assert mutual.caller_names == ["billing"]


@pytest.mark.parametrize("has_certificate", [False, True])
async def test_a_client_of_no_known_authority_gets_no_connection(
    mutual: RunningGrpcServer,
    authority: trustme.CA,
    *,
    has_certificate: bool,
) -> None:
    certificate = trustme.CA().issue_cert("billing.example") if has_certificate else None
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await mutual.call_over_tls(trusting(authority, certificate))
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert mutual.caller_names == []


async def test_a_new_certificate_is_used_without_a_failed_call(tls_files: TlsFiles, authority: trustme.CA) -> None:
    other = trustme.CA()
    both = grpc.ssl_channel_credentials(authority.cert_pem.bytes() + other.cert_pem.bytes())
    async with running(tls_files) as server:
        await server.call_over_tls(trusting(authority), KEY)
        calls = [asyncio.ensure_future(server.call_over_tls(both, KEY)) for _ in range(20)]
        replace_files(other.issue_cert("localhost"), tls_files.certificate.parent)
        calls += [asyncio.ensure_future(server.call_over_tls(both, KEY)) for _ in range(20)]
        await asyncio.gather(*calls)
        await server.call_over_tls(trusting(other), KEY)
        with pytest.raises(grpc.aio.AioRpcError):
            await server.call_over_tls(trusting(authority), KEY)
        assert len(server.callers) == 42


async def test_a_certificate_without_its_key_is_not_used_yet(tls_files: TlsFiles, authority: trustme.CA) -> None:
    async with running(tls_files) as server:
        authority.issue_cert("localhost").cert_chain_pems[0].write_to_path(str(tls_files.certificate))
        await server.call_over_tls(trusting(authority), KEY)
        tls_files.certificate.unlink()
        await server.call_over_tls(trusting(authority), KEY)
