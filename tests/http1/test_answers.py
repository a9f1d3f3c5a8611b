"""What is taken for an answer, and what is not."""

import socket
import struct

import pytest

from service.http1 import Limits, NoAnswer, Silence
from tests.http1.scripted import Line, Script, exchange, serving

OK = b"HTTP/1.1 200 OK\r\n"
LIMIT = 100_000

WHOLE = {
    "a body of known length": (OK + b"Content-Length: 4\r\n\r\nbody", 200, b"body"),
    "an empty body": (OK + b"Content-Length: 0\r\n\r\n", 200, b""),
    "a body in chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n", 200, b"body"),
    "chunks with a trailer": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nContent-Type: trailer\r\n\r\n",
        200,
        b"body",
    ),
    "a body that ends with the connection": (OK + b"\r\nbody", 200, b"body"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nbody", 200, b"body"),
    "no body by its status": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "an announcement first": (b"HTTP/1.1 100 Continue\r\nA: 1\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nb", 200, b"b"),
    "two announcements first": (
        b"HTTP/1.1 103 Early Hints\r\nContent-Type: hint\r\n\r\n" * 2
        + b"HTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nb",
        404,
        b"b",
    ),
    "something after it": (OK + b"Content-Length: 4\r\n\r\nbodyjunk", 200, b"body"),
    "a second answer after it": ((OK + b"Content-Length: 4\r\n\r\nbody") * 2, 200, b"body"),
    "as long as it may be": (OK + b"Content-Length: %d\r\n\r\n" % LIMIT + b"x" * LIMIT, 200, b"x" * LIMIT),
}
BROKEN = {
    "nothing": (b"", Silence.CUT),
    "half of a status line": (b"HTTP/1.1 20", Silence.CUT),
    "half of the headers": (OK + b"Content-Le", Silence.CUT),
    "a body that is cut": (OK + b"Content-Length: 5\r\n\r\nbody", Silence.CUT),
    "chunks that are cut": (OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbo", Silence.CUT),
    "chunks without an end": (OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n", Silence.CUT),
    "an announcement only": (b"HTTP/1.1 100 Continue\r\n\r\n", Silence.CUT),
    "no HTTP": (b"220 smtp.example ESMTP\r\n", Silence.UNREADABLE),
    "another protocol from here on": (
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        Silence.UNREADABLE,
    ),
    "two lengths": (OK + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody", Silence.UNREADABLE),
    "a length and chunks": (
        OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Silence.UNREADABLE,
    ),
    "a length that is none": (OK + b"Content-Length: four\r\n\r\nbody", Silence.UNREADABLE),
    "a chunk whose length is none": (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", Silence.UNREADABLE),
    "headers without end": (OK + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1000) for n in range(80)), Silence.TOO_LONG),
    "announcements without end": (b"HTTP/1.1 100 Continue\r\n\r\n" * 4000, Silence.TOO_LONG),
    "a long body": (OK + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000, Silence.TOO_LONG),
    "a long body in chunks": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"10\r\n0123456789abcdef\r\n" * 20_000,
        Silence.TOO_LONG,
    ),
}


def script(answer: bytes, piece: int) -> Script:
    async def follow(line: Line) -> None:
        await line.request()
        await line.answer(*(answer[at : at + piece] for at in range(0, len(answer), piece)))

    return follow


@pytest.mark.parametrize("in_pieces", [False, True], ids=["at once", "in pieces"])
@pytest.mark.parametrize("name", WHOLE)
async def test_a_whole_answer(name: str, *, in_pieces: bool) -> None:
    sent, status, body = WHOLE[name]
    piece = max(1, len(sent) // 100) if in_pieces else len(sent)
    async with serving(script(sent, piece)) as server:
        pool = server.pool(Limits(max_answer_bytes=LIMIT))
        answer = await exchange(pool)
        assert (answer.status, answer.body) == (status, body)
        assert answer.headers.get("content-type") is None
        await pool.close()


@pytest.mark.parametrize("in_pieces", [False, True], ids=["at once", "in pieces"])
@pytest.mark.parametrize("name", BROKEN)
async def test_no_whole_answer(name: str, *, in_pieces: bool) -> None:
    sent, why = BROKEN[name]
    piece = max(1, len(sent) // 100) if in_pieces else len(sent) or 1
    async with serving(script(sent, piece)) as server:
        pool = server.pool(Limits(max_answer_bytes=LIMIT))
        with pytest.raises(NoAnswer) as failure:
            await exchange(pool)
        assert failure.value.why is why
        assert failure.value.sent
        await pool.close()


async def test_headers_by_their_names_in_lower_case_the_first_of_each() -> None:
    head = b"Retry-After: 5\r\nRETRY-AFTER: 6\r\nX-Name: \xc3\xa9\xff\r\nContent-Length: 0\r\n\r\n"
    async with serving(script(OK + head, 10_000)) as server:
        pool = server.pool()
        headers = (await exchange(pool)).headers
        await pool.close()
    assert headers == {"retry-after": "5", "x-name": "é\N{REPLACEMENT CHARACTER}", "content-length": "0"}


async def test_a_reset_is_no_end_of_a_body() -> None:
    async def reset(line: Line) -> None:
        await line.request()
        await line.answer(OK + b"\r\nbo")
        at_once = struct.pack("ii", 1, 0)
        line.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)

    async with serving(reset) as server:
        pool = server.pool()
        with pytest.raises(NoAnswer) as failure:
            await exchange(pool)
        assert failure.value.why is Silence.CUT
        await pool.close()
