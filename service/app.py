"""The composition root: the only place that knows every part."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from service import providers
from service.api.address import PortInUse, is_loopback
from service.api.admission import Admission
from service.api.call_handler import CallHandler
from service.api.connection_messages import ConnectionMessages
from service.api.deadline_policy import DeadlinePolicy
from service.api.management_handler import ManagementHandler
from service.api.readiness import Readiness
from service.api.tls import TlsError, TlsFiles
from service.api.traced_call_handler import TracedCallHandler
from service.connections import (
    Applications,
    ConnectionAdministration,
    Connections,
    Keyring,
    KeyringError,
    RefreshObserver,
    SchemaMismatch,
    Store,
    StoreMisconfigured,
    StoreUnavailable,
)
from service.domain.deadline import Deadline
from service.domain.step import Provider
from service.history import History, HistoryAdministration
from service.manage_connections import ManageConnections
from service.observability.call_log import StructuredCallLog
from service.observability.metrics import CallMetrics
from service.observability.sent_requests import SentRequestObserver
from service.observability.switches import wants_traces
from service.read_steps import ReadSteps
from service.rpc import server as rpc
from service.rpc.connection_servicer import ConnectionServicer
from service.rpc.servicer import SequenceStepServicer
from service.settings import Settings
from service.step_history import StepHistory
from service.tasks import finish
from service.update_step import UpdateStep
from service.upstream.http import HttpClient, HttpLimits, RequestObserver
from service.upstream.oauth import TokenRefresher
from service.upstream.proxy import InvalidHttpSettings, Proxies
from service.upstream.session import ProviderSessions

if TYPE_CHECKING:
    from service.observability.tracing import Tracing
    from service.rest.server import HttpServer

_REFRESH_SECONDS: Final = 1.0
_WATCH_SECONDS: Final = 1.0
_ANSWER_SECONDS: Final = 3.0
_COUNT_SECONDS: Final = 60.0
# How long it may take at the end to store when credentials were last used.
_LAST_USE_SECONDS: Final = 2.0
# How long a count of the connections, or a deletion of old changes, may take to end when the service stops.
_LAST_COUNT_SECONDS: Final = 1.0
_PURGE_SECONDS: Final = 60.0
_PURGE_PAUSE_SECONDS: Final = 0.1
# How long what became of the last changes may take to be noted.
_LAST_RECORD_SECONDS: Final = 5.0

log: Final = structlog.get_logger("service.app")


class NotAllowed(Exception):
    """The settings ask for something unsafe; the message says what, why, and how to go on."""


class TracingUnavailable(Exception):
    """OpenTelemetry's variables ask for traces that cannot be made; the message says what to do."""


STARTUP_FAILURES: Final = (
    NotAllowed,
    SchemaMismatch,
    KeyringError,
    StoreUnavailable,
    TlsError,
    InvalidHttpSettings,
    PortInUse,
    TracingUnavailable,
)
"""What keeps a service from starting that the people who run it can put right; the messages say how."""


def may_pass(failure: Exception) -> bool:
    """Whether what keeps a service from starting can pass by itself."""
    return isinstance(failure, StoreUnavailable) and not isinstance(failure, StoreMisconfigured)


@dataclass(frozen=True, slots=True)
class App:
    """A running service.

    Attributes:
        rpc: The gRPC server.
        rest: The HTTP server; None if the settings want none.
        admin: The admin server; None if the settings want none.
        readiness: What `/readyz` answers.
        update_step: The use case that both servers call.
        connections: The customers' credentials.
    """

    rpc: rpc.GrpcServer
    rest: "HttpServer | None"
    admin: "HttpServer | None"
    readiness: Readiness
    update_step: UpdateStep
    connections: Connections

    async def drain(self) -> None:
        """Says that the servers stop, and serves on."""
        self.readiness.is_serving = False
        await self.rpc.drain()

    async def stop(self, grace: float) -> None:
        """Lets running calls end, and the writes that nobody waits for, within `grace` seconds.

        A token that was asked for has time of its own to arrive and be stored.
        """
        await self.drain()
        end = Deadline.after(grace)
        servers = [self.rpc.stop(grace)]
        if self.rest is not None:
            servers.append(self.rest.stop(grace))
        await asyncio.gather(*servers)
        await self.update_step.finish(end.remaining())
        await self.connections.finish(end.remaining())


def provider_sessions(settings: Settings, http: HttpClient) -> Mapping[Provider, ProviderSessions]:
    """How every provider is called that can be updated."""
    return {
        provider: ProviderSessions(adapter, http)
        for provider, adapter in providers.adapters(settings.provider_url).items()
    }


def token_endpoints(
    sessions: Mapping[Provider, ProviderSessions], http: HttpClient
) -> Mapping[Provider, TokenRefresher]:
    """Where OAuth tokens are renewed, for every provider."""
    return {provider: TokenRefresher(provider, each.adapter.token_url, http) for provider, each in sessions.items()}


def provider_proxies(settings: Settings) -> Proxies:
    """The proxies of requests to providers, by the settings and the environment.

    Raises:
        InvalidHttpSettings: One of them is no URL of a proxy.
    """
    return Proxies.find(settings.provider_proxy.get_secret_value(), os.environ)


@asynccontextmanager
async def provider_http(settings: Settings, observe: RequestObserver | None = None) -> AsyncIterator[HttpClient]:
    """What sends requests to providers, until the end of the block.

    Args:
        settings: The settings.
        observe: Gets every request when it has ended.

    Raises:
        InvalidHttpSettings: A proxy in the settings or the environment, or the CA file, cannot be used.
    """
    limits = HttpLimits(
        connect_timeout=settings.provider_connect_timeout_seconds,
        pool_timeout=settings.provider_pool_timeout_seconds,
        read_timeout=settings.provider_read_timeout_seconds,
        max_connections=settings.provider_max_connections,
        max_response_bytes=settings.provider_max_answer_bytes,
    )
    client = HttpClient(limits, proxies=provider_proxies(settings), ca_file=settings.provider_ca_file, observe=observe)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def provider_access(
    settings: Settings,
    store: Store,
    observe_refresh: RefreshObserver = lambda _provider, _result: None,
    observe_request: RequestObserver | None = None,
    tracing: "Tracing | None" = None,
) -> AsyncIterator[tuple[Connections, Mapping[Provider, ProviderSessions]]]:
    """Whose credentials are used at each provider, and how it is called, until the end of the block.

    Raises:
        KeyringError: The encryption keys cannot be used.
        InvalidHttpSettings: The CA file or a proxy for requests to providers cannot be used.
    """
    async with provider_http(settings, observe_request) as http:
        sessions = provider_sessions(settings, http)
        endpoints = token_endpoints(sessions, http)
        connections = Connections(
            store,
            Keyring.parse(settings.encryption_keys.get_secret_value()),
            tracing.token_endpoints(endpoints) if tracing is not None else endpoints,
            cache_seconds=settings.cache_seconds,
            refresh_margin_seconds=settings.token_refresh_margin_seconds,
            observe_refresh=observe_refresh,
        )
        for each in sessions.values():
            each.observe_use = connections.observe_use
        try:
            yield connections, sessions
        finally:
            await connections.finish(_LAST_USE_SECONDS)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[App]:
    """A service that listens and says SERVING, until the end of the block.

    Raises:
        NotAllowed: The settings ask for something unsafe.
        SchemaMismatch: The store wants `seqstep db upgrade`.
        KeyringError: The encryption keys cannot be used.
        TlsError: The TLS files cannot be used.
        InvalidHttpSettings: The CA file or a proxy for requests to providers cannot be used.
        PortInUse: An address cannot be listened on.
        TracingUnavailable: What sends traces is not installed.
    """
    tls, shared = _tls(settings), settings.workers > 1
    async with AsyncExitStack() as stack:
        keyring = Keyring.parse(settings.encryption_keys.get_secret_value())
        store = await stack.enter_async_context(_store(settings))
        administration = ConnectionAdministration(store, keyring)
        await administration.check_keys()
        has_metrics = bool(settings.http_address or settings.admin_address)
        admission = Admission(settings.max_concurrent_calls)
        metrics = CallMetrics(lambda: admission.in_flight, keyring.key_ids)
        tracing = _tracing(os.environ, store)
        # Metrics are served over HTTP; without it, nobody reads them.
        recorders: list[CallMetrics | Tracing] = [metrics] if has_metrics else []
        if tracing is not None:
            stack.push_async_callback(tracing.stop)
            recorders.append(tracing)
        observe = SentRequestObserver([each.record_request for each in recorders])
        connections, sessions = await stack.enter_async_context(
            provider_access(settings, store, metrics.record_token_refresh, observe, tracing)
        )
        history = await stack.enter_async_context(_history(settings, store, keyring))
        update_step = UpdateStep(sessions, providers.unsupported(), connections, history)
        manage = ManageConnections(administration, connections, sessions, HistoryAdministration(store, keyring))
        serving = (
            Applications(store, settings.cache_seconds),
            (StructuredCallLog(), *recorders),
            DeadlinePolicy(settings.default_deadline_seconds, settings.max_deadline_seconds),
            admission,
        )
        calls = (partial(TracedCallHandler, tracing.call) if tracing is not None else CallHandler)(
            update_step,
            ReadSteps(sessions, connections),
            StepHistory(history, update_step, _clearing(sessions)),
            *serving,
        )
        readiness, http, admin = Readiness(), None, None
        if settings.admin_address:
            from service.rest import server as rest  # noqa: PLC0415
            from service.rest.admin import create_admin_app  # noqa: PLC0415

            admin = await rest.start(
                create_admin_app(metrics.render, readiness), settings.admin_address, None, shared=shared
            )
            # It stays until everything else has stopped, and says so meanwhile.
            stack.push_async_callback(admin.stop, 0)
        if settings.http_address:
            # A service without the HTTP server loads none of it: FastAPI is a fifth of what there is to load.
            from service.rest import server as rest  # noqa: PLC0415
            from service.rest.app import create_app  # noqa: PLC0415

            http = await rest.start(
                create_app(calls, metrics.render, readiness, shows_api_page=settings.api_page),
                settings.http_address,
                tls,
                shared=shared,
            )
            stack.push_async_callback(http.stop, 0)
        if has_metrics:
            await stack.enter_async_context(_kept_fresh(metrics, sessions, administration))
        app = App(
            await rpc.start(
                SequenceStepServicer(calls),
                settings.grpc_address,
                tls,
                connection_servicer=ConnectionServicer(
                    ManagementHandler(*serving, tracing.call if tracing is not None else None),
                    ConnectionMessages(manage),
                ),
                shared=shared,
                channelz=settings.channelz,
            ),
            http,
            admin,
            readiness,
            update_step,
            connections,
        )
        await app.rpc.set_serving()
        readiness.is_serving = True
        log.info(
            "serving",
            grpc_address=app.rpc.address,
            http_address=http.address if http is not None else "",
            admin_address=admin.address if admin is not None else "",
            tls=tls is not None,
            encryption_keys=keyring.key_ids,
        )
        watching = asyncio.create_task(_watch_store(store, app))
        try:
            yield app
        finally:
            watching.cancel()
            log.info("stopping", drain_seconds=settings.drain_seconds, grace_seconds=settings.stop_grace_seconds)
            await app.drain()
            await asyncio.sleep(settings.drain_seconds)
            await app.stop(settings.stop_grace_seconds)
            log.info("stopped")


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[Store]:
    """The store with its tables, until the end of the block."""
    store = Store.open(
        settings.database_url.get_secret_value(), max_connections=settings.database_max_connections, create=False
    )
    try:
        await store.check_schema()
        yield store
    finally:
        await store.close()


def _tracing(environment: Mapping[str, str], store: Store) -> "Tracing | None":
    if not wants_traces(environment):
        return None
    try:
        from service.observability.tracing import Tracing, exporters  # noqa: PLC0415  # an extra

        tracing = Tracing(exporters(environment))
    except (ImportError, LookupError) as error:
        raise TracingUnavailable(
            f"the OTEL_ variables ask for traces, and {error}. Install seqstep[tracing], or set OTEL_TRACES_EXPORTER=none."
        ) from None
    for engine in store.engines:
        tracing.watch_database(engine)
    return tracing


async def _refresh(metrics: CallMetrics, sessions: Mapping[Provider, ProviderSessions]) -> None:
    """Keeps the gauges fresh which other workers' `/metrics` show too."""
    while True:
        metrics.refresh()
        for provider, each in sessions.items():
            metrics.set_open_breakers(provider, each.open_breakers)
        await asyncio.sleep(_REFRESH_SECONDS)


async def _watch_store(store: Store, app: App) -> None:
    """Says that calls are not welcome while the database is away.

    Health checks fail only if the database's file is another one, since that ends by a restart.
    """
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        await app.rpc.set_serving(is_serving=store.has_its_file())
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await store.check()
            app.readiness.has_database = True
        except (StoreUnavailable, TimeoutError):
            app.readiness.has_database = False


def _clearing(sessions: Mapping[Provider, ProviderSessions]) -> frozenset[Provider]:
    return frozenset(provider for provider, each in sessions.items() if each.adapter.clears_texts)


@asynccontextmanager
async def _history(settings: Settings, store: Store, keyring: Keyring) -> AsyncIterator[History | None]:
    """The history, freed of what is too old, until the end of the block; None if none is kept."""
    if not settings.history_days:
        yield None
        return
    try:
        await HistoryAdministration(store, keyring).check_keys()
    except KeyringError as error:
        # It can be read no more, and all else can be done as ever.
        log.warning("history unreadable", reason=str(error))
    history = History(store, keyring, settings.history_days)
    stopping = asyncio.Event()
    purging = asyncio.create_task(_purge(history, stopping))
    try:
        yield history
    finally:
        stopping.set()
        await finish([purging], _LAST_COUNT_SECONDS)
        await history.finish(_LAST_RECORD_SECONDS)


async def _purge(history: History, stopping: asyncio.Event) -> None:
    """Deletes what is too old, a little at a time, so that nobody waits long for the database."""
    while not stopping.is_set():
        has_more = False
        with contextlib.suppress(StoreUnavailable):
            has_more = await history.purge()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PURGE_PAUSE_SECONDS if has_more else _PURGE_SECONDS):
                await stopping.wait()


@asynccontextmanager
async def _kept_fresh(
    metrics: CallMetrics, sessions: Mapping[Provider, ProviderSessions], administration: ConnectionAdministration
) -> AsyncIterator[None]:
    """Keeps the gauges up to date, and notes what providers say about rate limits, until the end of the block."""
    for provider, each in sessions.items():
        each.limits.observe = partial(metrics.record_rate_limit, provider)
    stopping = asyncio.Event()
    refreshing = asyncio.create_task(_refresh(metrics, sessions))
    counting = asyncio.create_task(_count_connections(metrics, administration, stopping))
    try:
        yield
    finally:
        refreshing.cancel()
        stopping.set()
        await finish([counting], _LAST_COUNT_SECONDS)


async def _count_connections(
    metrics: CallMetrics, administration: ConnectionAdministration, stopping: asyncio.Event
) -> None:
    """Keeps the number of connections fresh; while the database cannot be used, it stays as it was."""
    while not stopping.is_set():
        with contextlib.suppress(StoreUnavailable):
            metrics.set_connections(await administration.count_by_state())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_COUNT_SECONDS):
                await stopping.wait()


def _tls(settings: Settings) -> TlsFiles | None:
    if settings.tls_certificate is not None and settings.tls_private_key is not None:
        return TlsFiles(settings.tls_certificate, settings.tls_private_key, settings.tls_client_ca)
    for name, address in (("GRPC", settings.grpc_address), ("HTTP", settings.http_address)):
        if address and not settings.allow_plaintext and not is_loopback(address):
            raise NotAllowed(
                f"SEQSTEP_{name}_ADDRESS={address} is reached by other machines, and without TLS they would send API keys "
                "in the clear. Set SEQSTEP_TLS_CERTIFICATE and SEQSTEP_TLS_PRIVATE_KEY, or, behind a proxy that does TLS, "
                "SEQSTEP_ALLOW_PLAINTEXT=true."
            )
    return None
