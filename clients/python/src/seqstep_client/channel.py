"""The channel to the service: TLS, retries, proxies."""

import ipaddress
import json
import re
from dataclasses import dataclass
from typing import Any, Final

import grpc

CONNECT_TIMEOUT: Final = 5.0
"""Seconds that connecting may take of the time of a call."""

# gRPC repeats a call only while no response has begun. Updates set absolute values, so a second one does no harm.
_SERVICE_CONFIG: Final = {
    "methodConfig": [
        {
            "name": [{"service": "engagement.v1.SequenceStepService"}, {"service": "grpc.health.v1.Health"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                # A stopping server ends calls that cross its GOAWAY with CANCELLED; repeating any call is safe.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ]
}

_OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    # A server that was restarted is found again within the time that the retries take.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)

# What gRPC lets an address begin with: the name of a resolver, and for DNS an authority.
_RESOLVER: Final = re.compile(r"^(dns:(//[^/]*/)?|ipv[46]:)")


def channel_options(address: str) -> tuple[tuple[str, Any], ...]:
    """The options of a channel to an address; a service on this machine is not called through a proxy."""
    if _is_loopback(_RESOLVER.sub("", address)):
        return (*_OPTIONS, ("grpc.enable_http_proxy", 0))
    return _OPTIONS


def _is_loopback(address: str) -> bool:
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, repr=False)
class Tls:
    """TLS of a channel; everything in PEM.

    Attributes:
        ca: The authorities that the service's certificate may come from; None means those that gRPC brings.
        certificate: The client's own certificate chain, where the service requires one.
        private_key: The key of that certificate.
    """

    ca: bytes | None = None
    certificate: bytes | None = None
    private_key: bytes | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """The same as gRPC's credentials."""
        return grpc.ssl_channel_credentials(self.ca, self.private_key, self.certificate)
