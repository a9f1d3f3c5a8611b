"""The names of client certificates: by both servers over real TLS, and as people write them."""

import ipaddress
import ssl
from collections.abc import Sequence

import grpc
import httpx
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from service.api.tls import TlsFiles
from service.domain.certificate_names import InvalidName, certificate_names, parse_name
from tests.support.certificates import client_certificate, trusting
from tests.support.grpc_server import RunningGrpcServer
from tests.support.http_server import EMPTY, GOOD, PATH, RunningHttpServer, running_http_server

DNS, URI, MAIL, IP = x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name, x509.IPAddress

# The alternative names, the common names, and what counts.
CERTIFICATES: dict[str, tuple[Sequence[x509.GeneralName] | None, Sequence[str], list[str]]] = {
    "DNS": ([DNS("billing.example")], [], ["billing.example"]),
    "DNS in capitals": ([DNS("Billing.Example"), DNS("billing.example")], [], ["billing.example"]),
    "a wildcard": ([DNS("*.example")], [], ["*.example"]),
    "a zero byte": ([DNS("billing.example\0.evil.example")], ["billing.example"], []),
    "a zero byte amid others": ([DNS("a.example"), DNS("billing.example\0.evil.example")], [], ["a.example"]),
    "a zero byte in a URI": ([URI("spiffe://a\0/b")], [], []),
    "a zero byte in a common name": (None, ["billing.example\0.evil.example"], []),
    "a line break": ([DNS("billing.example\n")], [], []),
    "a space": ([DNS(" billing.example")], [], []),
    "a common name beside an alternative one": ([DNS("a.example")], ["billing.example"], ["a.example"]),
    "a common name beside a URI": ([URI("spiffe://a/b")], ["billing.example"], ["URI:spiffe://a/b"]),
    "a common name beside no alternative name": ([], ["billing.example"], []),
    "a common name beside a name of another kind": (
        [x509.RegisteredID(x509.ObjectIdentifier("1.2.3.4"))],
        ["billing.example"],
        [],
    ),
    "a common name alone": (None, ["Billing.Example"], ["billing.example"]),
    "a common name of words": (None, ["Billing service"], ["billing service"]),
    "two common names": (None, ["a.example", "billing.example"], []),
    "a common name as another type": (None, ["URI:spiffe://a/b"], []),
    "a common name as a URI": (None, ["spiffe://a/b"], []),
    "a common name as an address": (None, ["10.0.0.7"], []),
    "a URI that is a DNS name": ([URI("billing.example")], [], []),
    "a mail name that is a DNS name": ([MAIL("billing.example")], [], []),
    "a DNS name that is a mail name": ([DNS("a@billing.example")], [], []),
    "a DNS name that is a URI": ([DNS("URI:spiffe://a/b")], [], []),
    "a DNS name that is an address": ([DNS("10.0.0.7")], [], []),
    "each type": (
        [URI("spiffe://Prod/Billing"), MAIL("Billing@Example.com"), IP(ipaddress.ip_address("2001:db8::7"))],
        [],
        ["URI:spiffe://Prod/Billing", "email:Billing@example.com", "IP:2001:db8::7"],
    ),
    "no name": (None, [], []),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_certificate_has_these_names(authority: trustme.CA, name: str) -> None:
    alternative, common, expected = CERTIFICATES[name]
    pem = client_certificate(authority, alternative, *common).cert_chain_pems[0].bytes()
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    assert certificate_names(pem) == certificate_names(der) == tuple(expected)


async def test_both_servers_find_the_same_names(mutual_tls_files: TlsFiles, authority: trustme.CA) -> None:
    server = RunningGrpcServer()
    await server.start(mutual_tls_files)
    try:
        async with running_http_server(tls=mutual_tls_files) as http:
            for name, (alternative, common, expected) in CERTIFICATES.items():
                certificate = client_certificate(authority, alternative, *common)
                is_known = "billing.example" in expected
                code = await grpc_code(server, trusting(authority, certificate))
                assert code is (grpc.StatusCode.OK if is_known else grpc.StatusCode.UNAUTHENTICATED), name
                assert await http_status(http, authority, certificate) == (200 if is_known else 401), name
                for applications in (server.applications, http.applications):
                    assert applications.certificate_names == expected, name
                    applications.certificate_names.clear()
    finally:
        await server.stop()


async def grpc_code(server: RunningGrpcServer, credentials: grpc.ChannelCredentials) -> grpc.StatusCode:
    try:
        await server.call_over_tls(credentials)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def http_status(server: RunningHttpServer, authority: trustme.CA, certificate: trustme.LeafCert) -> int:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    certificate.configure_cert(context)
    url = f"https://localhost:{server.http.address.rpartition(':')[2]}"
    async with httpx.AsyncClient(base_url=url, verify=context) as client:
        headers = {name: value for name, value in GOOD.items() if name != "x-api-key"}
        return (await client.patch(PATH, headers=headers, json=EMPTY)).status_code


@pytest.mark.parametrize("data", [b"", b"-----BEGIN CERTIFICATE-----\n", b"\x30\x82", b"gibberish"])
def test_what_is_no_certificate_has_no_names(data: bytes) -> None:
    assert certificate_names(data) == ()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("billing.internal", "billing.internal"),
        ("Billing.Internal.", "billing.internal"),
        ("spiffe://prod/billing", "URI:spiffe://prod/billing"),
        ("uri:spiffe://prod/billing", "URI:spiffe://prod/billing"),
        ("URI:urn:uuid:f81d4fae", "URI:urn:uuid:f81d4fae"),
        ("billing@Example.com", "email:billing@example.com"),
        ("Email:billing@example.com", "email:billing@example.com"),
        ("10.0.0.7", "IP:10.0.0.7"),
        ("2001:DB8:0::7", "IP:2001:db8::7"),
        ("ip:2001:DB8:0::7", "IP:2001:db8::7"),
        ("Billing service", "billing service"),
    ],
)
def test_a_name_has_one_way_to_be_written(text: str, name: str) -> None:
    assert parse_name(text) == name
    assert parse_name(name) == name


@pytest.mark.parametrize(
    "text", ["", " ", "a\0b", "a\nb", "x" * 256, "email:a", "IP:a", "URI:a b", "DNS:a", " a", "a:b"]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidName, match="a DNS name, URI:"):
        parse_name(text)
