"""`database`: what a replica asks of PostgreSQL, by the server's own log, and how many connections it has."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
from engagement.v1 import sequence_step_service_pb2 as messages
from engagement.v1 import sequence_step_service_pb2_grpc as stubs

from bench.parts.scale import postgresql
from bench.processes import Cores
from bench.report import Row, Section, Table
from bench.stage import Stage
from bench.upstream import sandbox
from bench.variants import Customer, Service, service_of
from sandbox import seed
from service.domain.credentials import ApiKeyCredentials, OAuthCredentials, Secret
from service.domain.step import Provider

_CALLS: Final = 50
# Calls of one customer share what they ask of the store.
_CUSTOMERS: Final = 64
_IDLE_SECONDS: Final = 20.0
_NO_CACHE: Final = {"SEQSTEP_CACHE_SECONDS": "0", "SEQSTEP_MAX_CONCURRENT_CALLS": "1000"}
_LONGEST_CACHE: Final = {"SEQSTEP_CACHE_SECONDS": "60"}

_APOLLO: Final = [
    Customer(f"acme-{number}", Provider("apollo"), ApiKeyCredentials(Secret(seed.APOLLO_UNLIMITED_KEY)))
    for number in range(_CUSTOMERS)
]
_IDS: Final = {
    "apollo": (seed.APOLLO_SEQUENCE_INACTIVE, seed.APOLLO_STEP_INACTIVE_PLAIN),
    "outreach": (str(seed.OUTREACH_SEQUENCE_DISABLED), str(seed.OUTREACH_STEP_DISABLED_PLAIN)),
}
# What goes on without calls: each second whether the database answers, each minute how many connections there are.
_WATCHING: Final = re.compile(r"SELECT \$1::INTEGER AS|count\(")
_AROUND: Final = re.compile(r"(BEGIN|COMMIT|ROLLBACK)\b")
_STATEMENT: Final = re.compile(r"LOG:  (?:execute [^:]*|statement): (.*)")


def _expired() -> list[Customer]:
    """A customer whose access token has ended."""
    credentials = OAuthCredentials(
        Secret(seed.OUTREACH_EXPIRED_TOKEN),
        Secret(seed.OUTREACH_REFRESH_TOKEN),
        1.0,
        seed.OUTREACH_CLIENT_ID,
        Secret(seed.OUTREACH_CLIENT_SECRET),
        seed.REDIRECT_URI,
    )
    return [Customer("acme-0", Provider("outreach"), credentials)]


class _Log:
    """The queries that PostgreSQL was asked for, without what begins and ends transactions."""

    def __init__(self, server: Any) -> None:
        self._path: Path = server.log
        self._read = 0
        server.psql("ALTER SYSTEM SET log_statement = 'all'")
        server.psql("SELECT pg_reload_conf()")

    def queries(self) -> list[str]:
        """Those since the last time."""
        written = self._path.read_text(encoding="utf-8", errors="replace")
        new, self._read = written[self._read :], len(written)
        return [statement for statement in _STATEMENT.findall(new) if not _AROUND.match(statement)]

    def of_calls(self) -> list[str]:
        """Those since the last time that calls asked for."""
        return [query for query in self.queries() if not _WATCHING.search(query)]


class _Callers:
    def __init__(self, port: int, key: str) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)])
        self._stub = stubs.SequenceStepServiceStub(self._channel)
        self._key = key

    def call(self, provider: str, times: int = 1, customers: int = 1) -> None:
        """Makes calls, for so many customers at a time."""
        sequence, step = _IDS[provider]
        request = messages.UpdateStepRequest(sequence_id=sequence, sequence_step_id=step, validate_only=True)
        request.record.template.subject = "subject"

        def one(number: int) -> None:
            customer = ("x-customer-id", f"acme-{number % customers}")
            metadata = (("x-api-key", self._key), customer, ("x-provider-name", provider))
            answer = self._stub.UpdateStep(request, metadata=metadata, timeout=60)
            if answer.errors:
                raise RuntimeError(answer.errors[0].detail)

        with ThreadPoolExecutor(customers) as threads:
            list(threads.map(one, range(times)))


@contextmanager
def _running(
    server: Any, name: str, customers: list[Customer], cores: Cores, environment: dict[str, str], workers: int = 1
) -> Iterator[tuple[Service, _Callers, str]]:
    server.psql(f"CREATE DATABASE {name}")
    with (
        service_of(customers, server.get_uri(name)) as ours,
        sandbox(cores.load) as stand_in,
        ours.running(stand_in.server, cores, environment=stand_in.environment | environment, workers=workers) as load,
    ):
        yield ours, _Callers(load.port, ours.api_key), name


def _connections(server: Any, name: str) -> int:
    """Connections that a database has at the moment."""
    found = server.psql(f"SELECT 'n=' || count(*) FROM pg_stat_activity WHERE datname = '{name}'")
    return int(re.search(r"n=(\d+)", found)[1])  # type: ignore[index]


def _most_connections(server: Any, name: str) -> int:
    """The most connections that a database has in the next seconds."""
    most = 0
    for _ in range(60):
        most = max(most, _connections(server, name))
        time.sleep(0.05)
    return most


def run(stage: Stage) -> Section:
    """Queries for a call, for a renewal and for nothing, and connections to PostgreSQL with one worker and two."""
    cores = Cores.apart()
    rows: list[Row] = []
    pools: list[Row] = []
    with postgresql() as server, stage.doing("Counting …"):
        log = _Log(server)
        for title, environment in (
            ("cached: the first call", _LONGEST_CACHE),
            ("not cached (SEQSTEP_CACHE_SECONDS=0)", _NO_CACHE),
        ):
            with _running(server, f"calls_{len(rows)}", _APOLLO, cores, environment) as (_, callers, _name):
                log.queries()
                if environment == _NO_CACHE:
                    callers.call("apollo", _CALLS)
                    rows.append((f"a call, {title}", f"{len(log.of_calls()) / _CALLS:.3g}"))
                    continue
                callers.call("apollo")
                rows.append((f"a call, {title}", f"{len(log.of_calls()):.3g}"))
                callers.call("apollo", _CALLS)
                rows.append(("a call, cached: each further one", f"{len(log.of_calls()) / _CALLS:.3g}"))
                time.sleep(_IDLE_SECONDS)
                rows.append(("a worker without calls, each second", f"{len(log.queries()) / _IDLE_SECONDS:.2g}"))
        with _running(server, "renewal", _expired(), cores, _NO_CACHE) as (_, callers, _name):
            log.queries()
            callers.call("outreach")
            renewing = len(log.of_calls())
            callers.call("outreach")
            rows.append(("a renewal of a token, beside its call", str(renewing - len(log.of_calls()))))
        for workers in (1, 2):
            running = _running(server, f"pools_{workers}", _APOLLO, cores, _NO_CACHE, workers)
            with running as (ours, _, name), ThreadPoolExecutor(1) as watching:
                idle = _connections(server, name)
                port = int(next(ours.folder.glob("service-*.log")).stem.rpartition("-")[2])
                # A worker gets the calls of some of these.
                callers_of_both = [_Callers(port, ours.api_key) for _ in range(4 * workers)]
                most = watching.submit(_most_connections, server, name)
                for each in callers_of_both:
                    each.call("apollo", 2 * _CUSTOMERS, _CUSTOMERS)
                pools.append((str(workers), str(idle), str(most.result())))
    return Section(
        [
            Table("Queries to PostgreSQL", ("", "queries"), rows),
            Table("Connections to PostgreSQL of one replica", ("workers", "after the start", "under load"), pools),
        ],
        [],
        [
            (
                "Counted in PostgreSQL's own log and in `pg_stat_activity`. A look-up is one round trip, after three that test "
                "its connection. Under load, calls of 64 customers at a time, without the cache, and "
                "`SEQSTEP_DATABASE_MAX_CONNECTIONS` as it is by default, 10. Connections that were opened stay."
            )
        ],
        {"queries": rows, "connections": pools},
    )
