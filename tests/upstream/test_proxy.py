"""Requests through proxies: which there are, what they get to see, and what their failures come to."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trustme

from service.domain.deadline import Deadline
from service.upstream.http import HttpClient, may_pass, request_was_sent
from service.upstream.proxy import InvalidHttpSettings, Proxies
from tests.support.processes import free_port
from tests.support.proxy_server import ProxyServer, proxy_server
from tests.support.scripted_server import ServerConnection, scripted_server

HOST = "api.provider.test"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
async def proxy() -> AsyncIterator[ProxyServer]:
    async with proxy_server() as server:
        yield server


async def direct(connection: ServerConnection) -> None:
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ndirect")


async def get(url: str, proxies: Proxies, ca_file: Path | None = None) -> httpx.Response:
    client = HttpClient(proxies=proxies, ca_file=ca_file)
    try:
        request = client.build_request("GET", url, {"x-api-key": "s3cr3t-key"})
        return await client.send(request, Deadline.after(10))
    finally:
        await client.close()


# Which.

FIRST, SECOND = "http://first:3128", "http://second:3128"


@pytest.mark.parametrize(
    ("setting", "environment", "http", "https"),
    [
        ("", {}, "", ""),
        ("", {"HTTPS_PROXY": FIRST}, "", FIRST),
        ("", {"http_proxy": FIRST, "https_proxy": SECOND}, FIRST, SECOND),
        ("", {"https_proxy": FIRST, "HTTPS_PROXY": SECOND}, "", FIRST),
        ("", {"ALL_PROXY": FIRST, "HTTPS_PROXY": SECOND}, FIRST, SECOND),
        ("", {"HTTPS_PROXY": "first:3128"}, "", FIRST),
        ("", {"HTTPS_PROXY": FIRST, "NO_PROXY": "*"}, "", ""),
        ("", {"HTTPS_PROXY": " ", "https_proxy": ""}, "", ""),
        (FIRST, {"HTTPS_PROXY": SECOND}, FIRST, FIRST),
        ("socks5://first:1", {"HTTPS_PROXY": SECOND}, "socks5://first:1", "socks5://first:1"),
        ("none", {"HTTPS_PROXY": SECOND}, "", ""),
    ],
)
def test_which_proxies_there_are(setting: str, environment: dict[str, str], http: str, https: str) -> None:
    found = Proxies.find(setting, environment)
    assert (found.http, found.https) == (http, https)


def test_hosts_that_are_excluded() -> None:
    found = Proxies.find(FIRST, {"no_proxy": "corp.example, *.other.example,,10.0.0.0/8"})
    assert found.no_proxy == ("corp.example", "other.example", "10.0.0.0/8")


@pytest.mark.parametrize(
    "url", ["ftp://s3cr3t@proxy", "http://s3cr3t:pass@", "http://proxy:s3cr3t", "http://s3c r3t", "http://s3c:0"]
)
@pytest.mark.parametrize("name", ["SEQSTEP_PROVIDER_PROXY", "https_proxy", "ALL_PROXY"])
def test_what_is_no_proxy_is_named_and_not_shown(name: str, url: str) -> None:
    setting = url if name.startswith("SEQSTEP") else ""
    with pytest.raises(InvalidHttpSettings, match=f"^{name} is not the URL of a proxy") as failure:
        Proxies.find(setting, {name: url})
    assert "s3c" not in str(failure.value)


@pytest.mark.parametrize(
    ("proxies", "shown"),
    [
        (Proxies(), "none"),
        (
            Proxies("http://b:1", "http://a:1", (), ("V",)),
            "http://b:1 for http, http://a:1 for https (by V), not for this machine",
        ),
        (Proxies.find("http://me:s3cr3t@proxy:3128", {}), "http://***@proxy:3128 (by SEQSTEP_PROVIDER_PROXY), "),
        (Proxies.find("", {"HTTPS_PROXY": "https://proxy"}), "https://proxy for https (by HTTPS_PROXY), "),
        (
            Proxies.find("", {"ALL_PROXY": "socks5://a", "no_proxy": "b"}),
            "socks5://a (by ALL_PROXY), not for this machine, b",
        ),
    ],
)
def test_what_people_are_shown(proxies: Proxies, shown: str) -> None:
    assert str(proxies).startswith(shown)
    assert "s3cr3t" not in f"{proxies} {proxies!r}"


# By what way.


async def test_https_goes_through_a_tunnel(proxy: ProxyServer, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(tls)
    async with scripted_server(direct, tls=tls) as provider:
        proxy.places[f"{HOST}:443"] = provider.port
        response = await get(f"https://{HOST}/path", Proxies.find(proxy.url("me:pass@"), {}), tmp_path / "ca.pem")
    assert response.content == b"direct"
    [head] = proxy.heads
    assert head.startswith(f"CONNECT {HOST}:443 HTTP/1.1\r\n")
    assert "proxy-authorization: basic bWU6cGFzcw==".lower() in head.lower()
    assert "s3cr3t-key" not in head


async def test_http_is_forwarded(proxy: ProxyServer) -> None:
    response = await get(f"http://{HOST}/path?a=b", Proxies.find("", {"http_proxy": proxy.url()}))
    assert response.content == b"forwarded"
    assert proxy.heads[0].startswith(f"GET http://{HOST}/path?a=b HTTP/1.1\r\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "127.0.0.9", "[::ffff:127.0.0.1]"])
async def test_this_machine_is_never_asked_through_a_proxy(proxy: ProxyServer, host: str) -> None:
    async with scripted_server(direct, host="0.0.0.0") as server:
        response = await get(f"http://{host}:{server.port}/", Proxies.find(proxy.url(), {}))
    assert response.content == b"direct"
    assert proxy.heads == []


async def test_this_machine_by_ipv6_neither(proxy: ProxyServer) -> None:
    async with scripted_server(direct, host="::1") as server:
        assert (await get(f"http://[::1]:{server.port}/", Proxies.find(proxy.url(), {}))).content == b"direct"
    assert proxy.heads == []


@pytest.mark.parametrize("excluded", [HOST, "provider.test", ".provider.test", "*.provider.test", "*"])
async def test_an_excluded_host_is_asked_directly(proxy: ProxyServer, excluded: str) -> None:
    with pytest.raises(httpx.ConnectError, match="Name or service not known"):
        await get(f"http://{HOST}/", Proxies.find(proxy.url(), {"NO_PROXY": excluded}))
    assert proxy.heads == []


@pytest.mark.parametrize("host", [HOST, "127.0.0.1"])
async def test_only_what_was_found_is_used(proxy: ProxyServer, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES[:3]:
        monkeypatch.setenv(name, proxy.url())
    with pytest.raises(httpx.ConnectError):
        await get(f"http://{host}:{free_port()}/", Proxies())
    assert proxy.heads == []


# What fails.


@pytest.mark.parametrize(
    ("answer", "kind", "said", "passing"),
    [
        (b"HTTP/1.1 407 P\r\nContent-Length: 0\r\n\r\n", httpx.ProxyError, "requires another user or password", False),
        (b"HTTP/1.1 502 B\r\nContent-Length: 0\r\n\r\n", httpx.ConnectError, "the proxy did not make one", True),
        (b"", httpx.ConnectError, "no connection could be made", True),
    ],
    ids=["407", "502", "nothing"],
)
async def test_a_tunnel_that_is_refused(
    proxy: ProxyServer, answer: bytes, kind: type[httpx.HTTPError], said: str, *, passing: bool
) -> None:
    proxy.answer = answer
    with pytest.raises(httpx.HTTPError, match=said) as failure:
        await get(f"https://{HOST}/", Proxies.find(proxy.url("me:s3cr3t@"), {}))
    assert type(failure.value) is kind
    assert not request_was_sent(failure.value)
    assert may_pass(failure.value) is passing
    assert "s3cr3t" not in str(failure.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_down(scheme: str) -> None:
    with pytest.raises(httpx.ConnectError, match="Connection refused") as failure:
        await get(f"{scheme}://{HOST}/", Proxies.find(f"http://127.0.0.1:{free_port()}", {}))
    assert not request_was_sent(failure.value)


async def test_a_forwarding_proxy_answers_for_itself(proxy: ProxyServer) -> None:
    proxy.answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
    assert (await get(f"http://{HOST}/", Proxies.find(proxy.url(), {}))).status_code == 502
