"""Metrics of calls for Prometheus, of one worker or of all of them together."""

import os
import platform
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from service.observability.call_log import CallRecord
from service.observability.sent_requests import SentRequest

# prometheus-client reads from this variable in which folder the workers of one service count.
_SHARED_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"

# From a call that is refused by a remembered rate limit to the longest deadline.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# The time when each series began would be as many series again, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

# Calls that are left in a window of a rate limit: from none to a day's.
_CALLS_LEFT: Final = (0, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)

_WORKER: Final = "SEQSTEP_WORKER_INDEX"

# A status that HTTP does not have is counted as another one, so that nobody can make up labels.
_STATUSES: Final = frozenset(HTTPStatus)

_Key: TypeAlias = tuple[str, str, int, str, str, str, str]

_SUCCEEDED: Final = ("OK", "succeeded")

_GRPC_LABELS: Final = ("grpc_type", "grpc_service", "grpc_method", "grpc_code")

_Children: TypeAlias = tuple[list[Counter], list[Histogram], Counter]


class RateWindow(Protocol):
    """A window of a rate limit; `service.providers.adapter` says what each attribute is."""

    @property
    def name(self) -> str:
        """Which one."""

    @property
    def left(self) -> int:
        """Calls that are left in it."""


class CallMetrics:
    """Counts calls; a `CallLog`. No label names a customer or an application, so that their number is bounded."""

    def __init__(self, in_flight: Callable[[], int], encryption_keys: Sequence[str] = ()) -> None:
        """Makes the metrics.

        Args:
            in_flight: How many calls are being served.
            encryption_keys: The ids of the encryption keys; the first one encrypts.
        """
        self._registry = CollectorRegistry()
        self._calls = Counter(
            "seqstep_calls",
            "Calls that ended; code is that of the first error, OK without one, CANCELLED if the caller went away.",
            ("method", "server", "provider", "code", "outcome"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "seqstep_call_duration_seconds",
            "How long calls took.",
            ("method", "server", "provider"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._provider_calls = Counter(
            "seqstep_provider_calls", "Requests that were sent to providers.", ("provider",), registry=self._registry
        )
        self._in_flight = Gauge(
            "seqstep_calls_in_flight",
            "Calls that are being served; of other workers, as of a second ago at most.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._token_refreshes = Counter(
            "seqstep_token_refreshes",
            "Requests to token endpoints; client_refused means that the OAuth client of an application has to be corrected.",
            ("provider", "result"),
            registry=self._registry,
        )
        self._refusals = Counter(
            "seqstep_refusals",
            "Calls that failed before anything was sent to a provider: by the limit of this service that was reached, or by "
            "the code of the error.",
            ("provider", "reason"),
            registry=self._registry,
        )
        self._handled = Counter(
            "grpc_server_handled",
            "Calls that ended on the gRPC server.",
            _GRPC_LABELS,
            registry=self._registry,
        )
        self._handling = Histogram(
            "grpc_server_handling_seconds",
            "How long calls took on the gRPC server.",
            _GRPC_LABELS,
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._requests = Histogram(
            "http_client_request_duration_seconds",
            "How long requests to providers took; error_type is the failure where no response came.",
            ("provider", "endpoint", "http_request_method", "http_response_status_code", "error_type"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._retries = Counter(
            "seqstep_provider_retries",
            "Requests to providers that were sent again.",
            ("provider", "endpoint"),
            registry=self._registry,
        )
        self._calls_left = Histogram(
            "seqstep_rate_limit_remaining",
            "Calls that were left in a window of a provider's rate limit, as each response said.",
            ("provider", "endpoint", "window"),
            buckets=_CALLS_LEFT,
            registry=self._registry,
        )
        self._open_breakers = Gauge(
            "seqstep_circuit_breakers_open",
            "Circuit breakers that keep requests from a provider.",
            ("provider",),
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._connections = Gauge(
            "seqstep_connections",
            "Customers' connections in the database, as of a minute ago at most.",
            ("provider", "state"),
            registry=self._registry,
            multiprocess_mode="livemostrecent",
        )
        Gauge(
            "seqstep_build_info",
            "1, with the versions of what runs.",
            ("version", "python", "grpcio"),
            registry=self._registry,
            multiprocess_mode="livemax",
        ).labels(version("seqstep"), platform.python_version(), version("grpcio")).set(1)
        keys = Gauge(
            "seqstep_encryption_keys",
            "Encryption keys that the service has: 2 for one that encrypts, 1 for one that only decrypts. During a change of keys "
            "workers may differ; this shows the greatest of them.",
            ("key_id",),
            registry=self._registry,
            multiprocess_mode="max",
        )
        for number, key_id in enumerate(encryption_keys):
            keys.labels(key_id).set(1 if number else 2)
        self._count_in_flight = in_flight
        self._shared_folder = os.environ.get(_SHARED_FOLDER)
        if self._shared_folder is None:
            ProcessCollector(registry=self._registry)
            PlatformCollector(registry=self._registry)
        self._worker = _WorkerProcess(self._registry) if self._shared_folder is not None else None
        # Looked up once for each set of labels: finding a child by its labels costs more than counting does.
        self._children: dict[_Key, _Children] = {}
        self._connections_named: set[tuple[str, str]] = set()
        self._request_children: dict[tuple[str, str, str, int, str], Histogram] = {}
        self._calls_left_children: dict[tuple[str, str, str], Histogram] = {}

    def record(self, record: CallRecord) -> None:
        """Counts one call."""
        key = (
            record.method,
            record.grpc_status,
            record.http_status,
            record.provider,
            record.code,
            record.outcome,
            "" if record.requests else record.refusal or record.code,
        )
        found = self._children.get(key)
        if found is None:
            found = self._children[key] = self._new_children(record, key[-1])
        counters, histograms, provider_calls = found
        for counter in counters:
            counter.inc()
        for histogram in histograms:
            histogram.observe(record.seconds)
        if record.provider_calls:
            provider_calls.inc(record.provider_calls)

    def _new_children(self, record: CallRecord, refusal: str) -> _Children:
        server = "grpc" if record.grpc_status else "http"
        provider = record.provider or "none"
        if record.code:
            code, outcome = record.code, record.outcome
        else:
            gone = record.grpc_status == "CANCELLED" or record.http_status == 499
            code, outcome = ("CANCELLED", record.outcome or "ERROR_OUTCOME_UNKNOWN") if gone else _SUCCEEDED
        counters = [self._calls.labels(record.method, server, provider, code, outcome)]
        histograms = [self._seconds.labels(record.method, server, provider)]
        if refusal:
            counters.append(self._refusals.labels(provider, refusal))
        if record.grpc_status:
            labels = ("unary", record.service, record.method, record.grpc_status)
            counters.append(self._handled.labels(*labels))
            histograms.append(self._handling.labels(*labels))
        return counters, histograms, self._provider_calls.labels(provider)

    def record_request(self, provider: str, request: SentRequest) -> None:
        """Counts one request to a provider that has ended."""
        key = (provider, request.endpoint, request.method, request.status, request.error)
        found = self._request_children.get(key)
        if found is None:
            status = str(request.status) if request.status in _STATUSES else "other" if request.status else ""
            found = self._request_children[key] = self._requests.labels(
                provider, request.endpoint, request.method, status, request.error
            )
        found.observe(request.ms / 1000)
        if request.attempt > 1:
            self._retries.labels(provider, request.endpoint).inc()

    def record_rate_limit(self, provider: str, endpoint: str, window: RateWindow) -> None:
        """Notes how many calls a provider said are left."""
        key = (provider, endpoint, window.name)
        found = self._calls_left_children.get(key)
        if found is None:
            found = self._calls_left_children[key] = self._calls_left.labels(*key)
        found.observe(window.left)

    def record_token_refresh(self, provider: str, result: str) -> None:
        """Counts one request to a token endpoint.

        Args:
            provider: The provider.
            result: `renewed`, `grant_refused`, `client_refused` or `failed`.
        """
        self._token_refreshes.labels(provider, result).inc()

    def set_open_breakers(self, provider: str, count: int) -> None:
        """Says how many circuit breakers keep requests from a provider."""
        self._open_breakers.labels(provider).set(count)

    def set_connections(self, counts: Iterable[tuple[str, str, int]]) -> None:
        """Says how many connections there are, by provider and state; the others of those once named are none."""
        for name in self._connections_named:
            self._connections.labels(*name).set(0)
        for provider, state, count in counts:
            self._connections_named.add((provider, state))
            self._connections.labels(provider, state).set(count)

    def refresh(self) -> None:
        """Brings up to date what other workers read too: calls in flight, and what this process uses."""
        self._in_flight.set(self._count_in_flight())
        if self._worker is not None:
            self._worker.refresh()

    def render(self) -> tuple[bytes, str]:
        """The metrics of all workers in Prometheus's text format, and its media type."""
        self.refresh()
        if self._shared_folder is None:
            return generate_latest(self._registry), CONTENT_TYPE_LATEST
        all_workers = CollectorRegistry()
        MultiProcessCollector(all_workers, self._shared_folder)  # type: ignore[no-untyped-call]
        return generate_latest(all_workers), CONTENT_TYPE_LATEST


class _WorkerProcess:
    """What the process of one worker uses, by the usual names, with the worker as a label."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._index = os.environ.get(_WORKER, "0")
        self._source = ProcessCollector(registry=None)
        self._cpu = Counter(
            "process_cpu_seconds",
            "Total user and system CPU time spent in seconds.",
            ("worker",),
            registry=registry,
        )
        self._cpu_counted = 0.0
        self._gauges: dict[str, Gauge] = {}
        for family in self._source.collect():
            if family.type == "gauge":
                self._gauges[family.name] = Gauge(
                    family.name, family.documentation, ("worker",), registry=registry, multiprocess_mode="livesum"
                )

    def refresh(self) -> None:
        """Reads from the system what the process uses now."""
        for family in self._source.collect():
            value = family.samples[0].value
            if family.type == "gauge":
                self._gauges[family.name].labels(self._index).set(value)
            else:
                self._cpu.labels(self._index).inc(max(0.0, value - self._cpu_counted))
                self._cpu_counted = value


def forget_worker(folder: Path, pid: int) -> None:
    """Removes the calls that a dead worker was serving from the metrics; what it had counted stays."""
    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
