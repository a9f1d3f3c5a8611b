"""The HTTP client under the adapters: what it sends, what it unpacks, and that it keeps to its limits."""

import asyncio
import gzip
import socket
import ssl
import time
import zlib

import pytest
import trustme

from sandbox.server import running_sandbox
from service.domain.deadline import Deadline
from service.http1 import Limits, NoAnswer, Silence
from service.providers.adapter import ProviderRequest, ProviderResponse
from service.upstream.old_http import Upstream
from tests.http1.scripted import Line, serving
from tests.support.waiting import until

READ = ProviderRequest("GET", "/emailer_campaigns/search", "search", "a key")
LIMIT = 4 * 1024 * 1024


async def silence(upstream: Upstream, url: str, request: ProviderRequest = READ) -> Silence:
    with pytest.raises(NoAnswer) as failure:
        await upstream.send(url, request, {}, Deadline.after(20))
    return failure.value.why


async def test_a_request_waits_for_a_free_connection_no_longer_than_it_may() -> None:
    upstream = Upstream(Limits(max_connections=1, connect_timeout=0.1, pool_timeout=0.2))
    async with running_sandbox() as sandbox:
        sandbox.order_fault(provider="apollo", hang=True, times=None)
        holding = asyncio.create_task(silence(upstream, sandbox.apollo_url))
        await until(lambda: sandbox.calls("apollo"))
        started = time.monotonic()
        assert await silence(upstream, sandbox.apollo_url) is Silence.CONNECT_TIMEOUT
        assert 0.2 <= time.monotonic() - started < 10
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
    await upstream.close()


async def sent(request: ProviderRequest, base_path: str = "", **headers: str) -> tuple[str, bytes]:
    """What goes over the wire: the head, and what follows it."""
    heads: list[bytes] = []
    rest = b""

    async def follow(line: Line) -> None:
        nonlocal rest
        heads.append(await line.request())
        if request.body:
            rest = await line.reader.readexactly(len(request.body))
        await line.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
        await line.until_closed()

    async with serving(follow) as server:
        upstream = Upstream()
        url = f"http://127.0.0.1:{server.port}{base_path}"
        answer = await upstream.send(url, request, headers, Deadline.after(20))
        assert (answer.status, answer.body) == (204, b"")
        await upstream.close()
        return heads[0].decode().replace(str(server.port), "PORT"), rest


async def test_a_read_as_it_is_sent() -> None:
    head, _ = await sent(READ, "/api/v1", Accept="application/json", key="ключ")
    assert head == (
        "GET /api/v1/emailer_campaigns/search HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nUser-Agent: seqstep\r\n"
        "Accept-Encoding: gzip\r\nAccept: application/json\r\nkey: ключ\r\n\r\n"
    )


async def test_a_write_as_it_is_sent() -> None:
    head, body = await sent(ProviderRequest("PUT", "/x?a=%20b", "x", "a key", b'{"a": "\xc3\xa9"}'))
    assert head == (
        "PUT /x?a=%20b HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nUser-Agent: seqstep\r\nAccept-Encoding: gzip\r\n"
        "Content-Length: 11\r\n\r\n"
    )
    assert body == b'{"a": "\xc3\xa9"}'


async def test_a_read_with_a_body_says_how_long_it_is() -> None:
    head, body = await sent(ProviderRequest("GET", "/x", "x", "a key", b"{}"))
    assert "Content-Length: 2\r\n" in head
    assert body == b"{}"


async def test_a_request_that_could_have_a_body_says_that_it_has_none() -> None:
    head, _ = await sent(ProviderRequest("POST", "", "search", "a key"))
    assert head.startswith("POST / HTTP/1.1\r\n")
    assert "Content-Length: 0\r\n" in head


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/a b", "key"),
        ("/a\r\nX: y", "key"),
        ("/\u00e9", "key"),
        ("/a", "key\r\nX-Other: y"),
        ("/a", "key\n"),
        ("/a", "key\r"),
        ("/a", "key\0"),
        ("/a", "key\x7f"),
        ("/a", "key\ud800"),
    ],
)
async def test_nothing_breaks_out_of_its_place_in_the_head(path: str, value: str) -> None:
    upstream = Upstream()
    request = ProviderRequest("GET", path, "x", "a key")
    with pytest.raises(ValueError, match="character") as failure:
        await upstream.send("http://127.0.0.1:1", request, {"x-api-key": value}, Deadline.after(20))
    assert "key" not in repr(failure.value)
    await upstream.close()


async def answered(body: bytes, encoding: str) -> ProviderResponse:
    """What an answer with such a body comes to."""

    async def follow(line: Line) -> None:
        await line.request()
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
        await line.answer(head.encode() + body)

    async with serving(follow) as server:
        upstream = Upstream(Limits(max_answer_bytes=LIMIT))
        try:
            return await upstream.send(f"http://127.0.0.1:{server.port}", READ, {}, Deadline.after(20))
        finally:
            await upstream.close()


SHORT, LONG = b'{"a": 1}', b"0123456789" * 300_000
PACKED = gzip.compress(SHORT)


@pytest.mark.parametrize(
    ("body", "encoding", "unpacked"),
    [
        (PACKED, "gzip", SHORT),
        (PACKED, " X-GZIP", SHORT),
        (PACKED + gzip.compress(b"more"), "gzip", SHORT + b"more"),
        (gzip.compress(b"x") * 16, "gzip", b"x" * 16),
        (gzip.compress(LONG), "gzip", LONG),
        (gzip.compress(b"x" * LIMIT), "gzip", b"x" * LIMIT),
        (SHORT, "identity", SHORT),
        (PACKED, "gzip\t", SHORT),
        (b"", "gzip", b""),
        (b"", "br", b""),
    ],
    ids=[
        "gzip",
        "x-gzip",
        "two members",
        "many members",
        "long",
        "as long as it may be",
        "identity",
        "a tab after it",
        "empty",
        "nothing of something unknown",
    ],
)
async def test_an_answer_is_unpacked(body: bytes, encoding: str, unpacked: bytes) -> None:
    assert (await answered(body, encoding)).body == unpacked


@pytest.mark.parametrize(
    ("body", "encoding", "why"),
    [
        (PACKED[:-9], "gzip", Silence.UNREADABLE),
        (PACKED + b"junk", "gzip", Silence.UNREADABLE),
        (PACKED[:12] + b"\xff" + PACKED[13:], "gzip", Silence.UNREADABLE),
        (zlib.compress(SHORT), "deflate", Silence.UNREADABLE),
        (PACKED, "br", Silence.UNREADABLE),
        (gzip.compress(b"") * 17, "gzip", Silence.UNREADABLE),
        (gzip.compress(b"") * 20_000, "gzip", Silence.UNREADABLE),
        (gzip.compress(b"x" * (LIMIT + 1)), "gzip", Silence.TOO_LONG),
        (gzip.compress(b"x" * LIMIT) + gzip.compress(b"x"), "gzip", Silence.TOO_LONG),
    ],
    ids=[
        "cut",
        "junk after it",
        "broken",
        "not asked for",
        "unknown",
        "too many members",
        "far too many members",
        "too long",
        "too long together",
    ],
)
async def test_an_answer_that_cannot_be_unpacked_is_none(body: bytes, encoding: str, why: Silence) -> None:
    with pytest.raises(NoAnswer) as failure:
        await answered(body, encoding)
    assert (failure.value.why, failure.value.sent) == (why, True)


async def test_long_answers_are_unpacked_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    in_threads: list[int] = []
    to_thread = asyncio.to_thread

    async def counted(function: object, packed: bytes, limit: int) -> object:
        in_threads.append(len(packed))
        return await to_thread(function, packed, limit)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "to_thread", counted)
    await answered(PACKED, "gzip")
    assert in_threads == []
    await answered(gzip.compress(LONG), "gzip")
    assert in_threads == [len(gzip.compress(LONG))]
    # Much that comes to nothing: 60,000 blocks without content, and the last one.
    of_nothing = gzip.compress(b"")[:10] + bytes.fromhex("000000ffff") * 60_000 + bytes.fromhex("010000ffff") + bytes(8)
    await answered(of_nothing, "gzip")
    assert in_threads[1:] == [len(of_nothing)]
    with pytest.raises(NoAnswer):
        await answered(b"no gzip", "gzip")
    assert len(in_threads) == 2


async def test_base_urls_of_one_server_share_its_connections() -> None:
    async def follow(line: Line) -> None:
        while True:
            await line.request()
            await line.answer(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with serving(follow) as server:
        upstream = Upstream()
        for path in ("/api/v1", "/oauth/token"):
            await upstream.send(f"http://127.0.0.1:{server.port}{path}", READ, {}, Deadline.after(20))
        assert len(server.lines) == 1
        await upstream.close()
        await asyncio.wait_for(server.lines[0].gone.wait(), 10)


async def test_https_is_spoken_where_the_base_url_says_so() -> None:
    async def follow(line: Line) -> None:
        await line.request()
        await line.answer(b"HTTP/1.1 204 No Content\r\n\r\n")

    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(own)
    async with serving(follow, tls=own) as server:
        upstream = Upstream(tls=trusting)
        answer = await upstream.send(f"https://127.0.0.1:{server.port}", READ, {}, Deadline.after(20))
        assert answer.status == 204
        await upstream.close()


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
async def test_the_port_of_a_base_url_without_one(scheme: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    async def nobody(host: str, port: int, **_: object) -> None:
        asked.append((host, port))
        raise socket.gaierror

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nobody)
    upstream = Upstream()
    assert await silence(upstream, f"{scheme}://provider.example/api") is Silence.NAME
    assert asked == [("provider.example", port)]
    await upstream.close()
