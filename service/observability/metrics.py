"""Metrics of calls for Prometheus, of one worker or of all of them together."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

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

# prometheus-client reads from this variable in which folder the workers of one service count.
_SHARED_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"

# From a call that is refused by a remembered rate limit to the longest deadline.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# The time when each series began would be as many series again, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

_Key: TypeAlias = tuple[str, int, str, str, str]

_SUCCEEDED: Final = ("OK", "succeeded")


class CallMetrics:
    """Counts calls; a `CallLog`. No label names a customer or an application, so that their number is bounded."""

    def __init__(self, in_flight: Callable[[], int]) -> None:
        """Makes the metrics.

        Args:
            in_flight: How many calls are being served.
        """
        self._registry = CollectorRegistry()
        self._calls = Counter(
            "seqstep_calls",
            "Calls that ended; code is that of the first error, OK without one, CANCELLED if the caller went away.",
            ("server", "provider", "code", "outcome"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "seqstep_call_duration_seconds",
            "How long calls took.",
            ("server", "provider"),
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
        self._count_in_flight = in_flight
        self._shared_folder = os.environ.get(_SHARED_FOLDER)
        if self._shared_folder is None:
            ProcessCollector(registry=self._registry)
            PlatformCollector(registry=self._registry)
        # Looked up once for each set of labels: finding a child by its labels costs more than counting does.
        self._children: dict[_Key, tuple[Counter, Histogram, Counter]] = {}

    def record(self, record: CallRecord) -> None:
        """Counts one call."""
        key = (record.grpc_status, record.http_status, record.provider, record.code, record.outcome)
        found = self._children.get(key)
        if found is None:
            found = self._children[key] = self._new_children(record)
        calls, seconds, provider_calls = found
        calls.inc()
        seconds.observe(record.seconds)
        if record.provider_calls:
            provider_calls.inc(record.provider_calls)

    def _new_children(self, record: CallRecord) -> tuple[Counter, Histogram, Counter]:
        server = "grpc" if record.grpc_status else "http"
        provider = record.provider or "none"
        if record.code:
            code, outcome = record.code, record.outcome
        else:
            gone = record.grpc_status == "CANCELLED" or record.http_status == 499
            code, outcome = ("CANCELLED", record.outcome or "ERROR_OUTCOME_UNKNOWN") if gone else _SUCCEEDED
        return (
            self._calls.labels(server, provider, code, outcome),
            self._seconds.labels(server, provider),
            self._provider_calls.labels(provider),
        )

    def record_token_refresh(self, provider: str, result: str) -> None:
        """Counts one request to a token endpoint.

        Args:
            provider: The provider.
            result: `renewed`, `grant_refused`, `client_refused` or `failed`.
        """
        self._token_refreshes.labels(provider, result).inc()

    def refresh_in_flight(self) -> None:
        """Sets the gauge of calls in flight, which other workers read too."""
        self._in_flight.set(self._count_in_flight())

    def render(self) -> tuple[bytes, str]:
        """The metrics of all workers in Prometheus's text format, and its media type."""
        self.refresh_in_flight()
        if self._shared_folder is None:
            return generate_latest(self._registry), CONTENT_TYPE_LATEST
        all_workers = CollectorRegistry()
        MultiProcessCollector(all_workers, self._shared_folder)  # type: ignore[no-untyped-call]
        return generate_latest(all_workers), CONTENT_TYPE_LATEST


def forget_worker(folder: Path, pid: int) -> None:
    """Removes the calls that a dead worker was serving from the metrics; what it had counted stays."""
    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
