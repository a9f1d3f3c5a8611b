"""Who gets which connection, for how long, and what is never taken for an answer."""

import asyncio
import socket
import ssl

import pytest
import trustme

from service.http1 import Limits, NoAnswer, Pool, Silence
from service.http1 import pool as pool_module
from tests.http1.scripted import REQUEST, Line, exchange, serving
from tests.support.waiting import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
LONG = 15 * 1024 * 1024


def post(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def numbered(line: Line) -> None:
    """Answers each request with how many there were on its connection."""
    for number in range(1, 1000):
        await line.request()
        await line.answer(OK + b"%04d" % number)


async def silent(line: Line) -> None:
    """Answers nothing."""
    await line.until_closed()


async def refusal(pool: Pool, request: bytes = REQUEST, seconds: float = 20) -> NoAnswer:
    with pytest.raises(NoAnswer) as failure:
        await exchange(pool, request, seconds)
    return failure.value


# Which connection.


async def test_a_connection_is_used_again_and_waits_for_nothing_to_send() -> None:
    async with serving(numbered) as server:
        pool = server.pool()
        assert [(await exchange(pool)).body for _ in range(3)] == [b"0001", b"0002", b"0003"]
        assert len(server.lines) == 1
        (connection,) = pool._open
        end = connection._transport.get_extra_info("socket")
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await pool.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody",
        b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        OK + b"bodyand more",
        OK + b"body" + OK + b"evil",
    ],
    ids=["the server closes", "HTTP/1.0", "bytes too many", "an answer too many"],
)
async def test_a_connection_is_not_used_again_after(answer: bytes) -> None:
    async def follow(line: Line) -> None:
        await line.request()
        await line.answer(answer)
        await line.until_closed()

    async with serving(follow) as server:
        pool = server.pool()
        assert [(await exchange(pool)).body for _ in range(2)] == [b"body", b"body"]
        assert len(server.lines) == 2
        await asyncio.wait_for(server.lines[0].gone.wait(), 10)
        await pool.close()


async def test_what_comes_unasked_is_not_the_answer_to_the_next_request() -> None:
    async def follow(line: Line) -> None:
        await line.request()
        await line.answer(OK + b"body")
        await asyncio.wait_for(go.wait(), 10)
        await line.answer(OK + b"evil")
        await line.until_closed()

    go = asyncio.Event()
    async with serving(follow) as server:
        pool = server.pool()
        assert (await exchange(pool)).body == b"body"
        go.set()
        await asyncio.wait_for(server.lines[0].gone.wait(), 10)
        assert (await exchange(pool)).body == b"body"
        assert len(server.lines) == 2
        await pool.close()


async def test_the_answer_to_a_request_that_nobody_waits_for_is_not_that_to_the_next() -> None:
    async def follow(line: Line) -> None:
        await line.request()
        if len(server.lines) > 1:
            await line.answer(OK + b"good")
        await line.until_closed()

    async with serving(follow) as server:
        pool = server.pool()
        waiting = asyncio.create_task(exchange(pool))
        await until(lambda: server.lines)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await exchange(pool)).body == b"good"
        await asyncio.wait_for(server.lines[0].gone.wait(), 10)
        await pool.close()


async def test_a_connection_that_the_server_has_closed_is_replaced() -> None:
    async def follow(line: Line) -> None:
        await line.request()
        await line.answer(OK + b"body")

    async with serving(follow) as server:
        pool = server.pool()
        for count in range(1, 4):
            assert (await exchange(pool)).body == b"body"
            assert len(server.lines) == count
            await until(lambda: not pool._open)  # the pool has heard of it
        assert not pool._idle
        await pool.close()


async def test_connections_without_work_are_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_IDLE_SECONDS", 0.2)

    async with serving(numbered) as server:
        pool = server.pool()
        await asyncio.gather(*(exchange(pool) for _ in range(2)))
        for line in server.lines:
            await until(line.reader.at_eof)
        assert len(server.lines) == 2
        await pool.close()


async def test_the_connection_that_was_used_last_is_used_next_so_that_others_grow_old() -> None:
    async with serving(numbered) as server:
        pool = server.pool()
        await asyncio.gather(*(exchange(pool) for _ in range(2)))
        assert [(await exchange(pool)).body for _ in range(3)] == [b"0002", b"0003", b"0004"]
        await pool.close()


async def test_a_connection_that_is_about_to_go_is_not_used() -> None:
    async with serving(numbered) as server:
        pool = server.pool()
        await exchange(pool)
        for connection in pool._open:
            connection.close()
        assert (await exchange(pool)).body == b"0001"
        await pool.close()


async def test_those_who_wait_for_a_connection_get_it_in_turn() -> None:
    async with serving(numbered) as server:
        pool = server.pool(Limits(max_connections=1))
        answers = await asyncio.gather(*(exchange(pool) for _ in range(5)))
        assert [answer.body for answer in answers] == [b"%04d" % number for number in range(1, 6)]
        assert len(server.lines) == 1
        await pool.close()


async def test_who_stops_waiting_for_a_connection_leaves_it_to_others() -> None:
    async def follow(line: Line) -> None:
        await line.request()
        await asyncio.wait_for(go.wait(), 10)
        await line.answer(OK + b"body")
        await numbered(line)

    go = asyncio.Event()
    async with serving(follow) as server:
        pool = server.pool(Limits(max_connections=1))
        first, second, third = (asyncio.create_task(exchange(pool)) for _ in range(3))
        await until(lambda: server.lines)
        second.cancel()
        go.set()
        assert (await first).body == b"body"
        assert (await third).body == b"0001"
        await pool.close()


# How long.


async def test_a_deadline_ends_the_wait() -> None:
    async with serving(silent) as server:
        pool = server.pool()
        failure = await refusal(pool, seconds=0.2)
        assert (failure.why, failure.sent) == (Silence.DEADLINE, True)
        await asyncio.wait_for(server.lines[0].gone.wait(), 10)
        await pool.close()


async def test_silence_ends_the_wait_and_every_byte_breaks_it() -> None:
    async def follow(line: Line) -> None:
        await line.request()
        for byte in OK + b"body":
            await asyncio.sleep(0.02)
            await line.answer(bytes([byte]))
        await silent(line)

    async with serving(follow) as server:
        pool = server.pool(Limits(read_timeout=0.3))
        assert (await exchange(pool)).body == b"body"
        failure = await refusal(pool)
        assert (failure.why, failure.sent) == (Silence.READ_TIMEOUT, True)
        await pool.close()


async def test_a_deadline_that_is_past_sends_nothing() -> None:
    async with serving(silent) as server:
        pool = server.pool()
        failure = await refusal(pool, seconds=-1)
        assert (failure.why, failure.sent) == (Silence.DEADLINE, False)
        await pool.close()


async def test_a_handshake_that_hangs_is_no_connection(tls: ssl.SSLContext) -> None:
    async with serving(silent) as server:
        pool = server.pool(Limits(connect_timeout=0.2), tls=tls)
        failure = await refusal(pool)
        assert (failure.why, failure.sent) == (Silence.CONNECT_TIMEOUT, False)
        failure = await refusal(pool, seconds=0.1)
        assert (failure.why, failure.sent) == (Silence.DEADLINE, False)
        await until(lambda: all(line.gone.is_set() for line in server.lines))
        await pool.close()


# What is sent.


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "TLS"])
async def test_a_long_request_arrives_whole(*, encrypted: bool, tls: ssl.SSLContext, own_tls: ssl.SSLContext) -> None:
    body = bytes(range(256)) * (LONG // 256)
    received = b""

    async def follow(line: Line) -> None:
        nonlocal received
        await line.request()
        received = await line.reader.readexactly(LONG)
        await line.answer(OK + b"body")
        await numbered(line)

    async with serving(follow, tls=own_tls if encrypted else None) as server:
        pool = server.pool(tls=tls if encrypted else None)
        assert (await exchange(pool, post(body))).body == b"body"
        assert received == body
        assert (await exchange(pool)).body == b"0001"
        await pool.close()


async def test_a_server_that_takes_nothing_more_is_silent() -> None:
    async def follow(line: Line) -> None:
        await line.request()
        await asyncio.wait_for(done.wait(), 10)

    done = asyncio.Event()
    async with serving(follow) as server:
        pool = server.pool(Limits(read_timeout=0.3))
        waiting = asyncio.create_task(refusal(pool, post(b"x" * LONG)))
        await until(lambda: server.lines)
        (connection,) = pool._open
        assert 0 < connection._transport.get_write_buffer_size() < LONG / 4
        failure = await waiting
        assert (failure.why, failure.sent) == (Silence.READ_TIMEOUT, True)
        # What was not sent is not waited for.
        await until(lambda: not pool._open, seconds=5)
        done.set()
        await pool.close()


async def test_a_server_that_takes_a_request_slowly_is_not_silent() -> None:
    async def follow(line: Line) -> None:
        await line.request()
        left = LONG
        while left:
            await asyncio.sleep(0.02)
            left -= len(await line.reader.readexactly(min(left, LONG // 40)))
        await line.answer(OK + b"body")

    async with serving(follow) as server:
        pool = server.pool(Limits(read_timeout=0.4))
        assert (await exchange(pool, post(b"x" * LONG))).body == b"body"
        await pool.close()


async def test_an_answer_before_the_request_has_gone_is_one_and_the_connection_ends() -> None:
    async def follow(line: Line) -> None:
        await line.request()
        await line.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nbody")
        await asyncio.wait_for(done.wait(), 10)

    done = asyncio.Event()
    async with serving(follow) as server:
        pool = server.pool()
        assert (await exchange(pool, post(b"x" * LONG))).status == 413
        assert (await exchange(pool)).status == 413
        assert len(server.lines) == 2
        done.set()
        await pool.close()


# No connection.


async def test_a_name_that_does_not_resolve() -> None:
    failure = await refusal(Pool("provider.invalid", 80, Limits()))
    assert (failure.why, failure.sent) == (Silence.NAME, False)


async def test_a_connection_that_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        failure = await refusal(Pool("127.0.0.1", taken.getsockname()[1], Limits()))
    assert (failure.why, failure.sent) == (Silence.REFUSED, False)


@pytest.mark.parametrize("fault", ["an unknown authority", "another name", "no TLS there"])
async def test_a_handshake_that_fails(fault: str, tls: ssl.SSLContext, own_tls: ssl.SSLContext) -> None:
    stranger = ssl.create_default_context()
    context = stranger if fault == "an unknown authority" else tls

    async def follow(line: Line) -> None:
        await line.answer(OK + b"body")

    async with serving(follow, tls=None if fault == "no TLS there" else own_tls) as server:
        pool = server.pool(tls=context, host="localhost" if fault == "another name" else "127.0.0.1")
        failure = await refusal(pool)
        assert (failure.why, failure.sent) == (Silence.TLS, False)
        await pool.close()


async def test_an_address_is_looked_up_once_and_again_after_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(numbered) as server:
        loop = asyncio.get_running_loop()
        pool = Pool("provider.example", server.port, Limits())
        asked: list[str] = []
        addresses = [socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM) for port in (1, server.port)]

        class Names:
            """The loop, with the names of the test."""

            async def getaddrinfo(self, host: str, _port: int, **_: object) -> object:
                asked.append(host)
                await asyncio.sleep(0)
                return addresses[len(asked) - 1]

            def __getattr__(self, name: str) -> object:
                return getattr(loop, name)

        monkeypatch.setattr(pool, "_loop", Names())
        assert (await refusal(pool)).why is Silence.REFUSED
        bodies = [answer.body for answer in await asyncio.gather(*(exchange(pool) for _ in range(3)))]
        assert bodies == [b"0001"] * 3
        assert asked == ["provider.example"] * 2
        await pool.close()


async def test_closing_ends_what_is_under_way() -> None:
    async with serving(silent) as server:
        pool = server.pool()
        waiting = asyncio.create_task(exchange(pool))
        await until(lambda: server.lines)
        await pool.close()
        assert not pool._open
        with pytest.raises(NoAnswer) as failure:
            await waiting
        assert (failure.value.why, failure.value.sent) == (Silence.CUT, True)
        await asyncio.wait_for(server.lines[0].gone.wait(), 10)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """What a client trusts."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def own_tls(authority: trustme.CA) -> ssl.SSLContext:
    """What the server shows: that it is 127.0.0.1."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context
