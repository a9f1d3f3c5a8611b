"""The HTTP client of requests to providers, over real sockets."""

import asyncio
import datetime as dt
import gzip
import socket
import ssl
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
import trustme
from structlog.testing import capture_logs

from service.domain.deadline import Deadline
from service.upstream import http as http_module
from service.upstream.http import (
    ConnectionClosed,
    DeadlineExceeded,
    HttpClient,
    HttpLimits,
    ResponseTooLarge,
    TlsFailed,
    may_pass,
    request_was_sent,
)
from service.upstream.kept_connections import KeptConnections
from service.upstream.proxy import InvalidHttpSettings, Proxies
from tests.support.scripted_server import Script, ServerConnection, scripted_server
from tests.support.waiting import until

OK = b"HTTP/1.1 200 OK\r\n"
BODY = OK + b"Content-Length: 4\r\n\r\nbody"
LIMIT = 100_000
LONG = 15 * 1024 * 1024
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@asynccontextmanager
async def http_client(limits: HttpLimits | None = None, *, ca_file: Path | None = None) -> AsyncIterator[HttpClient]:
    client = HttpClient(limits, ca_file=ca_file)
    try:
        yield client
    finally:
        await client.close()


async def get(client: HttpClient, url: str, seconds: float = 20, owner: str | None = "acme") -> httpx.Response:
    return await client.send(client.build_request("GET", url, {}), Deadline.after(seconds), owner)


async def put(client: HttpClient, url: str, body: bytes = b"{}") -> httpx.Response:
    return await client.send(client.build_request("PUT", url, {}, body), Deadline.after(20), "acme")


async def failure_of(client: HttpClient, url: str, seconds: float = 20) -> httpx.HTTPError:
    with pytest.raises(httpx.HTTPError) as failure:
        await get(client, url, seconds)
    return failure.value


def answering(answer: bytes, piece: int = 0) -> Script:
    """A script that answers one request, in pieces of so many bytes."""

    async def follow(connection: ServerConnection) -> None:
        await connection.request()
        size = piece or len(answer) or 1
        await connection.send(*(answer[at : at + size] for at in range(0, len(answer), size)))

    return follow


async def numbered(connection: ServerConnection) -> None:
    """Answers each request with how many there were on its connection."""
    for number in range(1, 1000):
        await connection.request()
        await connection.send(OK + b"Content-Length: 4\r\n\r\n%04d" % number)


async def unanswered(connection: ServerConnection) -> None:
    await connection.until_closed()


# Requests.


async def test_a_request_as_it_is_sent() -> None:
    seen = []

    async def follow(connection: ServerConnection) -> None:
        for _ in range(3):
            seen.append(await connection.request())
            await connection.send(BODY)

    async with scripted_server(follow) as server, http_client() as client:
        for method, body in (("GET", b""), ("PATCH", b'{"a": "\xc3\xa9"}'), ("POST", b"")):
            request = client.build_request(method, f"{server.url}?q=%20a", {"X-Api-Key": "ключ", "Accept": "a/b"}, body)
            await client.send(request, Deadline.after(20), "acme")
    own = f"user-agent: seqstep/{version('seqstep')}\r\nx-api-key: ключ\r\naccept: a/b\r\naccept-encoding: gzip\r\n"
    without_body = own.replace("accept-encoding", "content-length: 0\r\naccept-encoding")
    host = f"host: 127.0.0.1:{server.port}\r\n"
    assert seen == [
        (f"GET /path?q=%20a HTTP/1.1\r\n{own}{host}\r\n", b""),
        (f"PATCH /path?q=%20a HTTP/1.1\r\n{own}{host}content-length: 11\r\n\r\n", b'{"a": "\xc3\xa9"}'),
        (
            f"POST /path?q=%20a HTTP/1.1\r\n{without_body}{host}\r\n",
            b"",
        ),
    ]


@pytest.mark.parametrize("value", ["key\r\nX-Other: y", "key\n", "key\r", "key\0", "key\x7f", "key\ud800"])
async def test_a_header_cannot_break_out_of_its_line(value: str) -> None:
    async with scripted_server(numbered) as server, http_client() as client:
        with pytest.raises(httpx.LocalProtocolError, match="character") as failure:
            await client.send(client.build_request("GET", server.url, {"x-api-key": value}), Deadline.after(20))
        assert not server.connections
    assert "key" not in repr(failure.value)
    assert not request_was_sent(failure.value)


@pytest.mark.parametrize("path", ["a\r\nX: y", "a\0", "a\n"])
async def test_a_url_cannot_break_out_of_its_line(path: str) -> None:
    async with http_client() as client:
        with pytest.raises(httpx.LocalProtocolError, match="character"):
            client.build_request("GET", f"http://127.0.0.1:1/{path}", {})


async def test_a_long_request_arrives_whole() -> None:
    received = b""

    async def follow(connection: ServerConnection) -> None:
        nonlocal received
        _, received = await connection.request()
        await connection.send(BODY)

    body = bytes(range(256)) * (LONG // 256)
    async with scripted_server(follow) as server, http_client() as client:
        assert (await put(client, server.url, body)).content == b"body"
    assert received == body


async def test_a_redirect_is_not_followed_and_no_cookie_kept() -> None:
    heads = []

    async def follow(connection: ServerConnection) -> None:
        for _ in range(2):
            heads.append((await connection.request())[0])
            await connection.send(b"HTTP/1.1 302 F\r\nLocation: /x\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")

    async with scripted_server(follow) as server, http_client() as client:
        assert [(await get(client, server.url)).status_code for _ in range(2)] == [302, 302]
    assert len(heads) == 2
    assert "cookie" not in heads[1].lower()


# Responses.

WHOLE = {
    "a body of known length": (BODY, 200, b"body"),
    "an empty body": (OK + b"Content-Length: 0\r\n\r\n", 200, b""),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n", 200, b"body"),
    "until the end": (OK + b"\r\nbody", 200, b"body"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nbody", 200, b"body"),
    "no body by its status": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "an interim response first": (b"HTTP/1.1 100 Continue\r\nA: 1\r\n\r\n" + BODY, 200, b"body"),
    "something after it": (BODY + b"junk", 200, b"body"),
    "a second response after it": (BODY + BODY.replace(b"body", b"evil"), 200, b"body"),
    "as long as it may be": (OK + b"Content-Length: %d\r\n\r\n" % LIMIT + b"x" * LIMIT, 200, b"x" * LIMIT),
}
BROKEN = {
    "nothing": (b"", ConnectionClosed),
    "half of a status line": (b"HTTP/1.1 20", ConnectionClosed),
    "half of the headers": (OK + b"Content-Le", ConnectionClosed),
    "only an interim response": (b"HTTP/1.1 100 Continue\r\n\r\n", ConnectionClosed),
    "a body that is cut": (OK + b"Content-Length: 5\r\n\r\nbody", httpx.ReadError),
    "chunks that are cut": (OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbo", httpx.ReadError),
    "chunks without an end": (OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n", httpx.ReadError),
    "no HTTP": (b"220 smtp.example ESMTP\r\n", httpx.RemoteProtocolError),
    "another protocol": (b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", httpx.RemoteProtocolError),
    "two lengths": (OK + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody", httpx.RemoteProtocolError),
    "a chunk of no length": (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", httpx.RemoteProtocolError),
    "headers without end": (OK + b"X: %s\r\n" % (b"y" * 5000) * 200, httpx.RemoteProtocolError),
    "a long body": (OK + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000, ResponseTooLarge),
    "a long body in chunks": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"10\r\n0123456789abcdef\r\n" * 20_000,
        ResponseTooLarge,
    ),
}


@pytest.mark.parametrize("in_pieces", [False, True], ids=["at once", "in pieces"])
@pytest.mark.parametrize("name", WHOLE)
async def test_a_whole_response(name: str, *, in_pieces: bool) -> None:
    answer, status, body = WHOLE[name]
    script = answering(answer, max(1, len(answer) // 100) if in_pieces else 0)
    async with scripted_server(script) as server, http_client(HttpLimits(max_response_bytes=LIMIT)) as client:
        response = await get(client, server.url)
    assert (response.status_code, response.content) == (status, body)


@pytest.mark.parametrize("in_pieces", [False, True], ids=["at once", "in pieces"])
@pytest.mark.parametrize("name", BROKEN)
async def test_no_whole_response(name: str, *, in_pieces: bool) -> None:
    answer, kind = BROKEN[name]
    script = answering(answer, max(1, len(answer) // 100) if in_pieces else 0)
    async with scripted_server(script) as server, http_client(HttpLimits(max_response_bytes=LIMIT)) as client:
        failure = await failure_of(client, server.url)
    assert type(failure) is kind, failure
    assert request_was_sent(failure)
    assert may_pass(failure) is isinstance(failure, httpx.NetworkError)
    assert "path" not in str(failure)


@pytest.mark.parametrize(
    ("answer", "kind"), [(b"", ConnectionClosed), (OK + b"\r\nbo", httpx.ReadError)], ids=["before it", "in its body"]
)
async def test_a_reset_is_no_end_of_a_response(answer: bytes, kind: type[httpx.HTTPError]) -> None:
    async def follow(connection: ServerConnection) -> None:
        await connection.request()
        await connection.send(answer)
        connection.reset()

    async with scripted_server(follow) as server, http_client() as client:
        failure = await failure_of(client, server.url)
    assert type(failure) is kind
    assert request_was_sent(failure)


async def test_all_headers_are_shown_but_how_it_was_packed() -> None:
    """A body that the engine cannot unpack is taken as it is."""
    answer = OK + b"CF-Ray: 1\r\nContent-Encoding: other\r\nContent-Length: 4\r\nX-Last: 2\r\n\r\nbody"
    async with scripted_server(answering(answer)) as server, http_client() as client:
        response = await get(client, server.url)
    assert (dict(response.headers), response.content) == (
        {"cf-ray": "1", "content-length": "4", "x-last": "2"},
        b"body",
    )


async def test_headers_are_found_whatever_their_case() -> None:
    head = OK + b"Retry-After: 5\r\nX-NAME: a\r\nContent-Length: 0\r\n\r\n"
    async with scripted_server(answering(head)) as server, http_client() as client:
        headers = (await get(client, server.url)).headers
    assert (headers["RETRY-AFTER"], headers["x-name"]) == ("5", "a")


SHORT = b'{"a": 1}'
PACKED = gzip.compress(SHORT, mtime=0)


@pytest.mark.parametrize(
    ("coding", "sent", "content"),
    [
        ("gzip", PACKED, SHORT),
        (" gzip\t", PACKED, SHORT),
        ("gzip", gzip.compress(b"x" * LIMIT), b"x" * LIMIT),
        ("gzip", b"", b""),
        ("identity", SHORT, SHORT),
        ("", SHORT, SHORT),
        ("utf-8", SHORT, SHORT),
        ("none, nothing", SHORT, SHORT),
        # Nobody asked for these, so that they are not unpacked: a small bomb stays small.
        ("deflate", zlib.compress(bytes(LIMIT * 100)), zlib.compress(bytes(LIMIT * 100))),
        ("br", b"\x1b\xff\xff", b"\x1b\xff\xff"),
        ("zstd", b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd"),
        ("gzip, gzip", gzip.compress(gzip.compress(bytes(LIMIT * 100))), None),
    ],
)
async def test_what_a_content_coding_comes_to(coding: str, sent: bytes, content: bytes | None) -> None:
    head = OK + f"Content-Encoding: {coding}\r\nContent-Length: {len(sent)}\r\n\r\n".encode()
    async with (
        scripted_server(answering(head + sent)) as server,
        http_client(HttpLimits(max_response_bytes=LIMIT)) as client,
    ):
        response = await get(client, server.url)
    assert response.content == (sent if content is None else content)
    # The length of what was packed says nothing about the length of what is read.
    assert response.headers.get("content-length") in (None, str(len(response.content)))


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (PACKED[:-9], httpx.DecodingError),
        (PACKED[:12] + b"\xff" + PACKED[13:], httpx.DecodingError),
        (b"no gzip", httpx.DecodingError),
        (gzip.compress(b"x" * (LIMIT + 1)), ResponseTooLarge),
        (gzip.compress(bytes(200 * 1024 * 1024), 1), ResponseTooLarge),
    ],
    ids=["cut", "broken", "none", "too long", "a bomb"],
)
async def test_what_cannot_be_unpacked(sent: bytes, kind: type[httpx.HTTPError]) -> None:
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(sent)
    async with (
        scripted_server(answering(head + sent)) as server,
        http_client(HttpLimits(max_response_bytes=LIMIT)) as client,
    ):
        failure = await failure_of(client, server.url)
    assert type(failure) is kind
    assert request_was_sent(failure)


async def test_unpacking_leaves_other_calls_their_turn() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    sent = gzip.compress(bytes(8 * 1024 * 1024))
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(sent)
    async with scripted_server(answering(head + sent)) as server, http_client() as client:
        counting = asyncio.create_task(count())
        response = await get(client, server.url)
        counting.cancel()
    assert len(response.content) == 8 * 1024 * 1024
    assert turns > 100


# Connections.


async def test_a_connection_is_used_again() -> None:
    async with scripted_server(numbered) as server, http_client() as client:
        assert [(await get(client, server.url)).content for _ in range(3)] == [b"0001", b"0002", b"0003"]
        assert len(server.connections) == 1


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Connection: close\r\nContent-Length: 4\r\n\r\nbody",
        b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        BODY + b"and more",
        BODY + BODY.replace(b"body", b"evil"),
    ],
    ids=["the server closes", "HTTP/1.0", "bytes too many", "a response too many"],
)
async def test_a_connection_is_not_used_again_after(answer: bytes) -> None:
    async def follow(connection: ServerConnection) -> None:
        await connection.request()
        await connection.send(answer)
        await connection.until_closed()

    async with scripted_server(follow) as server, http_client() as client:
        assert [(await get(client, server.url)).content for _ in range(2)] == [b"body", b"body"]
        assert len(server.connections) == 2
        await asyncio.wait_for(server.connections[0].gone.wait(), 10)


async def test_a_second_response_is_nobodys() -> None:
    """400 requests, each answered twice in one write; in HTTP/1.1 a second one that comes later looks like the next."""

    async def follow(connection: ServerConnection) -> None:
        while True:
            head, _ = await connection.request()
            path = head.split(" ")[1].encode()
            answer = OK + b"Content-Length: %d\r\n\r\n%s" % (len(path), path)
            await connection.send(answer + answer.replace(path, b"E" * len(path)))

    async with scripted_server(follow) as server, http_client() as client:
        for number in range(400):
            path = f"/customer/{number:03}"
            assert (await get(client, server.url.replace("/path", path))).content == path.encode()


async def test_a_connection_is_used_for_one_owner() -> None:
    async with scripted_server(numbered) as server, http_client() as client:
        for answer in (b"0001", b"0002"):
            for owner in ("acme", "other"):
                assert (await get(client, server.url, owner=owner)).content == answer
        assert [(await get(client, server.url, owner=None)).content for _ in range(2)] == [b"0001", b"0001"]
        assert len(server.connections) == 4


async def test_each_of_several_requests_has_a_connection_to_itself() -> None:
    async def follow(connection: ServerConnection) -> None:
        while True:
            await connection.request()
            await asyncio.wait_for(together.wait(), 10)
            await connection.send(BODY)

    async with scripted_server(follow) as server, http_client() as client:
        for _ in range(2):
            together = asyncio.Barrier(8)
            await asyncio.gather(*(get(client, server.url) for _ in range(8)))
        assert len(server.connections) == 8


def thread_count() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


async def test_connections_are_closed_with_the_client() -> None:
    async def follow(connection: ServerConnection) -> None:
        await connection.request()
        await connection.send(BODY)
        await connection.until_closed()

    threads = thread_count()
    async with scripted_server(follow) as server:
        for _ in range(20):
            async with http_client() as client:
                await asyncio.gather(*(get(client, server.url, owner=f"{n}") for n in range(10)))
        assert len(server.connections) == 200
        await asyncio.gather(*(asyncio.wait_for(each.gone.wait(), 10) for each in server.connections))
    # The engine has some of its own for the whole process.
    assert thread_count() < threads + 50


async def test_a_connection_without_requests_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "IDLE_SECONDS", 0.1)

    async def follow(connection: ServerConnection) -> None:
        await connection.request()
        await connection.send(BODY)
        await connection.until_closed()

    async with scripted_server(follow) as server, http_client() as client:
        await asyncio.gather(*(get(client, server.url, owner=f"{n}") for n in range(8)))
        assert len(server.connections) == 8
        await asyncio.gather(*(asyncio.wait_for(each.gone.wait(), 10) for each in server.connections))


async def test_a_closing_server_costs_at_most_the_first_request() -> None:
    """It closes each connection 5 ms after its first answer, without reading on."""
    received = []

    async def follow(connection: ServerConnection) -> None:
        received.append((await connection.request())[1])
        await connection.send(BODY)
        await asyncio.sleep(0.005)

    failures = []
    async with scripted_server(follow) as server, http_client() as client:
        for number in range(40):
            try:
                await put(client, server.url, b"%d" % number)
            except ConnectionClosed as failure:
                failures.append(failure)
    assert [failure.was_kept for failure in failures] in ([], [True])
    assert len(received) == len(set(received)) == 40 - len(failures)


async def test_a_new_connection_that_is_closed_is_no_kept_one() -> None:
    async def follow(connection: ServerConnection) -> None:
        await connection.request()

    async with scripted_server(follow) as server, http_client() as client:
        for owner in ("acme", None):
            with pytest.raises(ConnectionClosed) as failure:
                await get(client, server.url, owner=owner)
            assert not failure.value.was_kept


async def test_kept_connections_are_used_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "_UNKEPT_SECONDS", 0.0)

    async def follow(connection: ServerConnection) -> None:
        if len(server.connections) > 1:
            await numbered(connection)
        await connection.request()

    async with scripted_server(follow) as server, http_client() as client:
        assert isinstance(await failure_of(client, server.url), ConnectionClosed)
        assert [(await get(client, server.url)).content for _ in range(2)] == [b"0001", b"0002"]


def test_a_server_that_closes_kept_connections_gets_new_ones_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    engine = http_module.HttpTransport(HttpLimits(), Proxies(), None, system_authorities=False, keeps_connection=True)
    server = http_module._Server(KeptConnections(lambda: engine, 5), HttpLimits())
    assert server.take("acme") is not None
    assert server.take(None) is None
    server.note_closed()
    assert server.take("acme") is None
    now += 59.9
    assert server.take("acme") is None
    now += 0.1
    assert server.take("acme") is not None


async def test_connections_in_use_are_limited() -> None:
    in_use = most = 0

    async def counting(connection: ServerConnection) -> None:
        nonlocal in_use, most
        for _ in range(1000):
            await connection.request()
            in_use += 1
            most = max(most, in_use)
            # Others have their turn, so that what may be in use at once is.
            await asyncio.sleep(0)
            in_use -= 1
            await connection.send(BODY)

    async with scripted_server(counting) as server, http_client(HttpLimits(max_connections=2)) as client:
        await asyncio.gather(*(get(client, server.url) for _ in range(50)))
    assert most == 2


async def test_a_request_waits_for_a_connection_no_longer_than_it_may() -> None:
    limits = HttpLimits(max_connections=1, pool_timeout=0.1)
    async with scripted_server(unanswered) as server, http_client(limits) as client:
        first = asyncio.create_task(get(client, server.url))
        await until(lambda: server.connections)
        failure = await failure_of(client, server.url)
        assert type(failure) is httpx.PoolTimeout
        assert not request_was_sent(failure)
        assert may_pass(failure)
        failure = await failure_of(client, server.url, seconds=0.05)
        assert type(failure) is DeadlineExceeded
        assert not request_was_sent(failure)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await asyncio.wait_for(server.connections[0].gone.wait(), 10)


@pytest.mark.parametrize("answer", [b"", OK + b"Content-Length: 10\r\n\r\nbo"], ids=["before it", "in its body"])
async def test_a_caller_who_leaves_ends_the_request(answer: bytes) -> None:
    async def follow(connection: ServerConnection) -> None:
        await connection.request()
        await connection.send(answer)
        ready.set()
        await connection.until_closed()

    ready = asyncio.Event()
    async with scripted_server(follow) as server, http_client(HttpLimits(max_connections=1)) as client:
        waiting = asyncio.create_task(get(client, server.url))
        await asyncio.wait_for(ready.wait(), 10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(server.connections[0].gone.wait(), 10)


# Time.


async def test_a_deadline_ends_the_wait_and_the_request() -> None:
    async with scripted_server(unanswered) as server, http_client() as client:
        failure = await failure_of(client, server.url, seconds=0.2)
        assert type(failure) is DeadlineExceeded
        assert request_was_sent(failure)
        assert not may_pass(failure)
        await asyncio.wait_for(server.connections[0].gone.wait(), 10)


@pytest.mark.parametrize("left", [-1.0, 0.0])
async def test_a_deadline_that_is_past_sends_nothing(left: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deadline, "remaining", lambda _: left)
    async with scripted_server(unanswered) as server, http_client() as client:
        failure = await failure_of(client, server.url)
        assert type(failure) is DeadlineExceeded
        assert not request_was_sent(failure)
        assert not server.connections


async def test_a_second_that_is_left_is_used() -> None:
    async with scripted_server(numbered) as server, http_client() as client:
        assert (await get(client, server.url, seconds=0.9)).content == b"0001"


@pytest.mark.parametrize("answer", [b"", OK + b"Content-Length: 10\r\n\r\nbo"], ids=["before it", "in its body"])
async def test_a_server_that_sends_nothing_is_left(answer: bytes) -> None:
    async def follow(connection: ServerConnection) -> None:
        await connection.request()
        await connection.send(answer)
        await connection.until_closed()

    async with scripted_server(follow) as server, http_client(HttpLimits(read_timeout=0.2)) as client:
        failure = await failure_of(client, server.url)
        assert type(failure) is httpx.ReadTimeout
        assert request_was_sent(failure)
        assert may_pass(failure)
        await asyncio.wait_for(server.connections[0].gone.wait(), 10)


async def test_a_body_may_take_longer_than_one_part_of_it() -> None:
    async def follow(connection: ServerConnection) -> None:
        await connection.request()
        await connection.send(OK + b"Content-Length: 40\r\n\r\n")
        for _ in range(40):
            await asyncio.sleep(0.02)
            await connection.send(b"x")

    async with scripted_server(follow) as server, http_client(HttpLimits(read_timeout=0.5)) as client:
        assert (await get(client, server.url)).content == b"x" * 40


# No connection.


async def test_a_name_that_does_not_resolve() -> None:
    async with http_client() as client:
        failure = await failure_of(client, "http://provider.invalid/")
    assert type(failure) is httpx.ConnectError
    assert "Name or service not known" in str(failure)
    assert not request_was_sent(failure)
    assert may_pass(failure)


async def test_a_connection_that_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with http_client() as client:
            failure = await failure_of(client, f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert type(failure) is httpx.ConnectError
    assert "Connection refused" in str(failure)
    assert not request_was_sent(failure)


async def test_a_handshake_that_hangs_is_no_connection() -> None:
    async with scripted_server(unanswered) as server, http_client(HttpLimits(connect_timeout=0.2)) as client:
        failure = await failure_of(client, server.url.replace("http:", "https:"))
    assert type(failure) is httpx.ConnectTimeout
    assert not request_was_sent(failure)
    assert may_pass(failure)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def showing(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


async def test_the_authority_of_a_file_is_trusted(authority: trustme.CA, ca_file: Path) -> None:
    tls = showing(authority.issue_cert("127.0.0.1"))
    async with scripted_server(numbered, tls=tls) as server, http_client(ca_file=ca_file) as client:
        assert [(await get(client, server.url)).content for _ in range(2)] == [b"0001", b"0002"]


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_the_systems_authorities_are_trusted_beside_the_file(
    variable: str, authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the system trusts is looked up as OpenSSL does: a file, or a folder with hashes for names."""
    system, unknown = trustme.CA(), trustme.CA()
    folder = tmp_path / "system"
    folder.mkdir()
    file = folder / "0123abcd.0"
    system.cert_pem.write_to_path(str(file))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv(variable, str(file if variable == "SSL_CERT_FILE" else folder))
    async with AsyncExitStack() as stack:
        urls = {}
        for name, each in (("system", system), ("file", authority), ("unknown", unknown)):
            tls = showing(each.issue_cert("127.0.0.1"))
            urls[name] = (await stack.enter_async_context(scripted_server(numbered, tls=tls))).url
        both = await stack.enter_async_context(http_client(ca_file=ca_file))
        alone = await stack.enter_async_context(http_client())
        assert [(await get(both, urls[name])).content for name in ("system", "file")] == [b"0001"] * 2
        assert (await get(alone, urls["system"])).content == b"0001"
        for client, name in ((alone, "file"), (both, "unknown"), (alone, "unknown")):
            assert type(await failure_of(client, urls[name])) is TlsFailed


@pytest.mark.parametrize(
    "broken",
    [
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        b"# nothing\n",
    ],
)
async def test_an_unusable_certificate_of_the_system_is_passed_over(
    broken: bytes, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system = tmp_path / "system.pem"
    system.write_bytes(authority.cert_pem.bytes() + broken)
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    tls = showing(authority.issue_cert("127.0.0.1"))
    async with scripted_server(numbered, tls=tls) as server, http_client() as client:
        assert [(await get(client, server.url)).content for _ in range(2)] == [b"0001", b"0002"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("unknown authority", "signed by an unknown authority"),
        ("another name", 'not valid for name "127.0.0.1"'),
        ("expired", "certificate expired"),
        ("self-signed", "self-signed"),
        ("no TLS", "does not speak TLS"),
    ],
)
async def test_a_handshake_that_fails_says_why(
    fault: str, reason: str, authority: trustme.CA, ca_file: Path, self_signed: ssl.SSLContext
) -> None:
    async def http_only(connection: ServerConnection) -> None:
        await connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await connection.until_closed()

    contexts = {
        "unknown authority": showing(trustme.CA().issue_cert("127.0.0.1")),
        "another name": showing(authority.issue_cert("example.org")),
        "expired": showing(
            authority.issue_cert("127.0.0.1", not_before=LONG_AGO, not_after=LONG_AGO + dt.timedelta(days=9))
        ),
        "self-signed": self_signed,
    }
    async with (
        scripted_server(http_only, tls=contexts.get(fault)) as server,
        http_client(ca_file=ca_file) as client,
    ):
        failure = await failure_of(client, server.url.replace("http:", "https:"))
    assert type(failure) is TlsFailed
    assert reason in str(failure)
    assert not request_was_sent(failure)
    assert not may_pass(failure)


@pytest.fixture
def self_signed(tmp_path: Path) -> ssl.SSLContext:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    path = tmp_path / "self-signed.pem"
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(
        builder.sign(key, hashes.SHA256()).public_bytes(pem)
        + key.private_bytes(pem, private, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return context


@pytest.mark.parametrize(("content", "reason"), [(None, "cannot read"), (b"junk", "PEM"), (b"", "PEM")])
def test_a_ca_file_that_cannot_be_used_is_named(content: bytes | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "authority.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidHttpSettings, match=reason):
        HttpClient(ca_file=path)


async def test_without_any_authority_plain_http_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "none.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    tls = showing(trustme.CA().issue_cert("127.0.0.1"))
    with capture_logs() as logs:
        async with (
            scripted_server(numbered) as server,
            scripted_server(numbered, tls=tls) as secure,
            http_client() as client,
        ):
            for owner in ("acme", "other", None, None):
                assert (await get(client, server.url, owner=owner)).content == b"0001"
            assert type(await failure_of(client, secure.url)) is TlsFailed
    assert [line["event"] for line in logs] == ["no_certificate_authorities"]
