"""The stand-in for the providers: nginx where it is installed, else a small server on uvloop, which can also be slow.

`python -m bench.upstream PORT [DELAY_SECONDS]` is the small server.
"""

import asyncio
import json
import os
import queue
import shutil
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import uvloop

from bench.answers import Route, routes
from bench.processes import Cores, NotHere, Running, free_port, started, wait_for_port

_COUNTS: Final = "/bench-counts"


@dataclass(frozen=True, slots=True)
class Counts:
    """What the stand-in has seen since it started.

    Attributes:
        connections: Connections that were made to it; with TLS, each is one handshake.
        requests: Requests, those for these counts left out.
        seconds: From the moments that they came to their answers, all together; only the small server knows.
    """

    connections: int
    requests: int
    seconds: float = 0.0

    def since(self, earlier: "Counts") -> "Counts":
        """What came after an earlier look; the look itself was one connection."""
        return Counts(
            self.connections - earlier.connections - 1,
            self.requests - earlier.requests,
            self.seconds - earlier.seconds,
        )


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A certificate of 127.0.0.1 and localhost.

    Attributes:
        certificate: The chain, a PEM file.
        private_key: Its key, a PEM file.
        authority: Who signed it, a PEM file.
    """

    certificate: Path
    private_key: Path
    authority: Path


@dataclass(frozen=True, slots=True)
class UpstreamServer:
    """A running stand-in.

    Attributes:
        software: What it is.
        url: Where it answers, without a path.
        process: Its process.
        counts_url: Where it says what it has seen.
    """

    software: str
    url: str
    process: Running
    counts_url: str

    def counts(self) -> Counts:
        """What it has seen so far."""
        with urllib.request.urlopen(self.counts_url, timeout=5) as answer:
            text = answer.read().decode()
        if text.startswith("{"):
            return Counts(**json.loads(text))
        # nginx's stub_status: a line of labels, then accepted, handled, requests; this look is one of each.
        accepted, _handled, requests = text.splitlines()[2].split()
        return Counts(int(accepted), int(requests) - 1 - self._looks())

    def _looks(self) -> int:
        return _LOOKS.add(self.counts_url)


class _Looks:
    """How often each nginx was asked for its counts, which it counts as requests."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def add(self, url: str) -> int:
        before = self._seen.get(url, 0)
        self._seen[url] = before + 1
        return before


_LOOKS: Final = _Looks()


@contextmanager
def nginx_or_small(folder: Path, cores: Cores, tls: TlsFiles | None = None) -> Iterator[UpstreamServer]:
    """The fastest stand-in that this machine has, until the end of the block."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if nginx is None:
        if tls is not None:
            raise NotHere("TLS on the provider's side needs nginx: apt-get install nginx-light")
        with small(cores) as server:
            yield server
        return
    port = free_port()
    place = folder / f"nginx-{port}"
    place.mkdir()
    (place / "nginx.conf").write_text(_nginx_configuration(place, port, tls))
    for route in routes():
        (place / route.name).write_bytes(route.body)
    command = [nginx, "-p", str(place), "-c", str(place / "nginx.conf"), "-e", str(place / "error.log")]
    with started(command, cores=cores.load) as process:
        wait_for_port(port)
        scheme = "https" if tls else "http"
        yield UpstreamServer("nginx", f"{scheme}://127.0.0.1:{port}", process, f"http://127.0.0.1:{port + 1}{_COUNTS}")


@contextmanager
def small(cores: Cores, delay: float = 0.0) -> Iterator[UpstreamServer]:
    """The small server, which answers after so many seconds, until the end of the block."""
    port = free_port()
    command = [sys.executable, "-m", "bench.upstream", str(port), str(delay)]
    with started(command, cores=cores.load) as process:
        wait_for_port(port)
        url = f"http://127.0.0.1:{port}"
        yield UpstreamServer("a small server on uvloop", url, process, url + _COUNTS)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running sandbox: slower than the other stand-ins, but it keeps what it is sent, counts it, and fails as it is asked to.

    Attributes:
        server: Its process and its address.
        environment: The service's settings that send it there.
        control_url: Where the sandbox itself is looked at and controlled.
    """

    server: UpstreamServer
    environment: dict[str, str]
    control_url: str


@contextmanager
def sandbox(cores: Sequence[int]) -> Iterator[Sandbox]:
    """A sandbox on these cores, until the end of the block."""
    port = free_port()
    with started([sys.executable, "-m", "sandbox", "--port", str(port)], cores=cores) as process:
        wait_for_port(port)
        url = f"http://127.0.0.1:{port}"
        settings = {"SEQSTEP_APOLLO_BASE_URL": f"{url}/apollo/api/v1", "SEQSTEP_OUTREACH_BASE_URL": f"{url}/outreach"}
        yield Sandbox(UpstreamServer("the sandbox", url, process, ""), settings, f"{url}/_sandbox")


def _nginx_configuration(folder: Path, port: int, tls: TlsFiles | None) -> str:
    listen = f"listen 127.0.0.1:{port};"
    if tls is not None:
        listen = (
            f"listen 127.0.0.1:{port} ssl;\n    ssl_certificate {tls.certificate};\n"
            f"    ssl_certificate_key {tls.private_key};"
        )
    locations = "\n".join(_nginx_location(folder, route) for route in routes())
    # Started by root, nginx would become a user who may not read its folder.
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""\
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 10000000;
  keepalive_timeout 300s;
  open_file_cache max=100;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    {listen}
{locations}
  }}
  server {{
    listen 127.0.0.1:{port + 1};
    location = {_COUNTS} {{ stub_status; }}
  }}
}}
"""


def _nginx_location(folder: Path, route: Route) -> str:
    headers = "".join(f' add_header {name} "{value}";' for name, value in route.headers.items())
    if route.method == "GET":
        how = f"rewrite ^ /{route.name} break; root {folder};"
    else:
        # nginx serves files for GET only; `return` answers any method, and reads the request's body.
        how = f"return 200 '{route.body.decode()}';"
    return f"    location {route.prefix} {{ types {{}} default_type {route.media_type};{headers} {how} }}"


class _Later:
    """Calls functions after a time, each at its own moment: event loops count milliseconds, so that answers would come in crowds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._calls: queue.SimpleQueue[tuple[float, Callable[[bytes, float], None], bytes, float]] = queue.SimpleQueue()
        threading.Thread(target=self._run, args=(asyncio.get_running_loop(),), name="later", daemon=True).start()

    def call(self, function: Callable[[bytes, float], None], answer: bytes, now: float) -> None:
        self._calls.put((now + self._seconds, function, answer, now))

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            due, function, answer, arrived = self._calls.get()
            time.sleep(max(0.0, due - time.perf_counter()))
            loop.call_soon_threadsafe(function, answer, arrived)


class _SmallServer(asyncio.Protocol):
    """Speaks as much HTTP/1.1 as its clients here do."""

    connections = 0
    requests = 0
    seconds = 0.0

    def __init__(self, later: "_Later | None") -> None:
        self._later = later
        self._data = b""
        self._answers = {(route.method.encode(), route.prefix.encode()): _answer(route) for route in routes()}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's by type.
        self._transport = cast("asyncio.Transport", transport)
        _SmallServer.connections += 1

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end]
            lower = head.lower()
            at = lower.find(b"content-length:")
            length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._data) < end + 4 + length:
                return
            self._data = self._data[end + 4 + length :]
            self._serve(head)

    def _serve(self, head: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        if path == _COUNTS.encode():
            counts = {"connections": self.connections, "requests": self.requests, "seconds": self.seconds}
            self._transport.write(_message(json.dumps(counts).encode(), "application/json", {}))
            return
        _SmallServer.requests += 1
        answer = next(
            (found for (verb, prefix), found in self._answers.items() if verb == method and path.startswith(prefix)),
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        )
        if self._later is not None:
            self._later.call(self._write, answer, time.perf_counter())
        else:
            self._write(answer, time.perf_counter())

    def _write(self, answer: bytes, arrived: float) -> None:
        _SmallServer.seconds += time.perf_counter() - arrived
        if not self._transport.is_closing():
            self._transport.write(answer)


def _answer(route: Route) -> bytes:
    return _message(route.body, route.media_type, route.headers)


def _message(body: bytes, media_type: str, headers: dict[str, str]) -> bytes:
    fields = {"content-type": media_type, "content-length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode() + body


async def _serve_small(port: int, delay: float) -> None:
    later = _Later(delay) if delay else None
    make: Callable[[], _SmallServer] = lambda: _SmallServer(later)  # noqa: E731  # a factory of protocols
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve_small(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
