"""What is measured: this service with everything on, and what it is measured beside."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sqlalchemy import insert, select

from bench.load import Load
from bench.processes import ROOT, Cores, Running, free_port, started, wait_for_port
from bench.upstream import TlsFiles, UpstreamServer
from service.connections import Applications, ConnectionAdministration, Keyring, Store
from service.connections.encryption import generate_key
from service.connections.migrations.upgrade import upgrade
from service.connections.schema import applications, connections
from service.domain.credentials import ApiKeyCredentials, ConnectionKey, Credentials, OAuthCredentials, Secret
from service.domain.step import Provider

_NODE: Final = ROOT / "bench" / "node"
_BATCH: Final = 10_000


@dataclass(frozen=True, slots=True)
class Variant:
    """One server that can be measured.

    Attributes:
        name: What the tables call it.
        title: What it is, in a few words.
        command: What runs it.
        load: How it is called; its port and processes are filled in when it runs.
    """

    name: str
    title: str
    command: tuple[str, ...]
    load: Load


_GRPC: Final = Load(port=0, server_pid=0, upstream_pid=0)


def _python(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module)


ECHO: Final = Variant("echo", "bare grpc.aio, no calls", _python("bench.servers.echo"), replace(_GRPC, answer="echo"))
FLOOR: Final = Variant(
    "floor", "grpc.aio + two raw aiohttp calls", _python("bench.servers.floor"), replace(_GRPC, answer="echo")
)
FLOOR_AS_BATCH: Final = replace(
    FLOOR, name="floor, as a batch", title="the same by SCHED_BATCH", command=("chrt", "--batch", "0", *FLOOR.command)
)
PLAIN: Final = Variant("plain", "grpc.aio + httpx as it comes", _python("bench.servers.plain"), _GRPC)
NODE: Final = Variant(
    "node", "Express + openapi-fetch (REST)", ("node", str(_NODE / "server.js")), replace(_GRPC, protocol="http")
)


def without_node() -> str | None:
    """Why the Node peer cannot run, or None if it can; installs its packages when that is all that is missing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node: skipped, since Node is not installed (apt-get install nodejs npm)"
    if not (_NODE / "node_modules").is_dir():
        done = subprocess.run(["npm", "ci", "--loglevel=error"], cwd=_NODE, check=False, capture_output=True, text=True)
        if done.returncode:
            return f"node: skipped, since `npm ci` in bench/node failed: {done.stderr.strip()[-200:]}"
    return None


@contextmanager
def running(variant: Variant, upstream: UpstreamServer, cores: Cores, tls: TlsFiles | None = None) -> Iterator[Load]:
    """A variant that listens, until the end of the block; gives how to call it."""
    port = free_port()
    given = {"PORT": str(port), "UPSTREAM": upstream.url, "NODE_ENV": "production"}
    if tls is not None:
        given |= {
            "TLS_CERTIFICATE": str(tls.certificate),
            "TLS_PRIVATE_KEY": str(tls.private_key),
            "SSL_CERT_FILE": str(tls.authority),
            "NODE_EXTRA_CA_CERTS": str(tls.authority),
        }
    with started(variant.command, cores=cores.server, environment=given) as process:
        wait_for_port(port)
        yield replace(
            variant.load,
            port=port,
            server_pid=process.pid,
            upstream_pid=upstream.process.pid,
            authority=str(tls.authority) if tls else "",
        )


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer with a connection to one provider."""

    name: str
    provider: Provider
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Service:
    """This service, set up as people set it up, with authentication, cache, log, metrics and limits.

    Attributes:
        environment: Its settings.
        api_key: The key of the application that calls.
        folder: Where its database and its logs are.
    """

    environment: dict[str, str]
    api_key: str
    folder: Path

    def log(self, port: int) -> Path:
        """The file that the process at this port logs to."""
        return self.folder / f"service-{port}.log"

    @contextmanager
    def process(
        self,
        upstream: UpstreamServer,
        cores: Cores,
        *,
        workers: int = 1,
        tls: TlsFiles | None = None,
        environment: dict[str, str] | None = None,
    ) -> Iterator[tuple[Running, int, float]]:
        """The service until the end of the block: its process, its port, and when it was started."""
        port = free_port()
        given = {
            "SEQSTEP_GRPC_ADDRESS": f"127.0.0.1:{port}",
            "SEQSTEP_HTTP_ADDRESS": f"127.0.0.1:{port + 1}",
            "SEQSTEP_APOLLO_BASE_URL": f"{upstream.url}/api/v1",
            "SEQSTEP_OUTREACH_BASE_URL": upstream.url,
            "SEQSTEP_WORKERS": str(workers),
            **self.environment,
        }
        if tls is not None:
            given |= {
                "SEQSTEP_TLS_CERTIFICATE": str(tls.certificate),
                "SEQSTEP_TLS_PRIVATE_KEY": str(tls.private_key),
                "SSL_CERT_FILE": str(tls.authority),
            }
        given |= environment or {}
        begun = time.monotonic()
        command = [*_python("service.cli"), "serve"]
        with started(command, cores=cores.server, environment=given, log=self.log(port)) as process:
            yield process, port, begun

    @contextmanager
    def running(
        self,
        upstream: UpstreamServer,
        cores: Cores,
        *,
        workers: int = 1,
        tls: TlsFiles | None = None,
        environment: dict[str, str] | None = None,
    ) -> Iterator[Load]:
        """The service, listening, until the end of the block; gives how to call it."""
        running = self.process(upstream, cores, workers=workers, tls=tls, environment=environment)
        with running as (process, port, _):
            wait_for_port(port)
            if workers > 1:
                self._wait_for_workers(port, workers)
            yield replace(
                _GRPC,
                port=port,
                server_pid=process.pid,
                upstream_pid=upstream.process.pid,
                api_key=self.api_key,
                authority=str(tls.authority) if tls else "",
            )

    def _wait_for_workers(self, port: int, workers: int) -> None:
        """The port is open when the first worker is ready; connections are shared out among those that listen."""
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            if self.log(port).read_text().count('"event":"serving"') >= workers:
                return
            time.sleep(0.02)
        raise TimeoutError("not all workers are ready after 30 s")


@contextmanager
def service(count: int = 100, database_url: str | None = None, applications_count: int = 1) -> Iterator[Service]:
    """The service's set-up with so many connections in its store.

    Args:
        count: Customers, each with a connection to Apollo; the first hundred have one to Outreach too.
        database_url: An empty database; a SQLite file by default.
        applications_count: Applications that the customers are shared out among; the first one, which calls, has the
            first half of the customers, and the first hundred at the least.
    """
    with _made(lambda store, keyring: _fill(store, keyring, count, applications_count), database_url) as made:
        yield made


@contextmanager
def service_of(customers: Sequence[Customer], database_url: str | None = None) -> Iterator[Service]:
    """The service's set-up with these customers, in an empty database; in a SQLite file by default."""

    async def fill(store: Store, keyring: Keyring) -> str:
        caller_key = await Applications(store, 0).create("bench")
        caller = await Applications(store, 0).authenticate(caller_key.reveal())
        administration = ConnectionAdministration(store, keyring)
        for each in customers:
            await administration.set(caller.application_id, each.name, each.provider, each.credentials)
        return caller_key.reveal()

    with _made(fill, database_url) as made:
        yield made


@contextmanager
def _made(fill: Callable[[Store, Keyring], Awaitable[str]], database_url: str | None) -> Iterator[Service]:
    """A service whose store has been filled; `fill` returns the key of the application that calls."""
    with tempfile.TemporaryDirectory(prefix="seqstep-bench-") as name:
        folder = Path(name)
        url = database_url or f"sqlite:///{folder}/store.sqlite3"
        key = generate_key()

        async def make() -> str:
            store = Store.open(url)
            try:
                await upgrade(store)
                return await fill(store, Keyring.parse(key))
            finally:
                await store.close()

        yield Service({"SEQSTEP_DATABASE_URL": url, "SEQSTEP_ENCRYPTION_KEYS": key}, asyncio.run(make()), folder)


async def _fill(store: Store, keyring: Keyring, count: int, applications_count: int) -> str:
    api_key = await Applications(store, 0).create("bench")
    await _add_applications(store, applications_count - 1)
    async with store.begin() as connection:
        owners = (await connection.execute(select(applications.c.id).order_by(applications.c.id))).scalars().all()
    apollo = ApiKeyCredentials(Secret("key-of-the-customer"))
    outreach = OAuthCredentials(Secret("token"), Secret("refresh"), time.time() + 86400, "client", Secret("secret"))
    wanted: list[tuple[Provider, int, Credentials]] = [
        *((Provider("apollo"), number, apollo) for number in range(count)),
        *((Provider("outreach"), number, outreach) for number in range(min(count, 100))),
    ]
    for first in range(0, len(wanted), _BATCH):
        rows = [
            _row(keyring, owners[0] if number < max(count // 2, 100) else owners[number % len(owners)], each)
            for each in wanted[first : first + _BATCH]
            for number in (each[1],)
        ]
        async with store.begin() as connection:
            await connection.execute(insert(connections), rows)
    return api_key.reveal()


async def _add_applications(store: Store, count: int) -> None:
    if count > 0:
        rows = [{"name": f"app-{number}", "created_at": time.time()} for number in range(count)]
        async with store.begin() as connection:
            await connection.execute(insert(applications), rows)


def _row(keyring: Keyring, application_id: int, what: tuple[Provider, int, Credentials]) -> dict[str, object]:
    provider, number, credentials = what
    customer = f"customer-{number}"
    sealed = keyring.seal(credentials, ConnectionKey(application_id, customer, provider))
    now = time.time()
    return {
        "application_id": application_id,
        "customer_id": customer,
        "provider": provider,
        "ciphertext": sealed.ciphertext,
        "key_id": sealed.key_id,
        "revision": 1,
        "state": "active",
        "state_reason": "connected",
        "state_since": now,
        "created_at": now,
        "updated_at": now,
    }


def versions() -> Sequence[str]:
    """What a result depends on: the machine and the versions of what runs on it."""
    import platform  # noqa: PLC0415
    from importlib.metadata import version  # noqa: PLC0415

    lines = [
        f"{os.cpu_count()} cores ({_processor()}), Linux {platform.release()}, Python {platform.python_version()}",
        ", ".join(
            f"{name} {version(name)}" for name in ("grpcio", "pyqwest", "httpx", "aiohttp", "uvloop", "protobuf")
        ),
    ]
    if shutil.which("node"):
        node = subprocess.run(["node", "--version"], check=False, capture_output=True, text=True).stdout.strip()
        lines.append(f"Node {node}")
    return lines


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"
