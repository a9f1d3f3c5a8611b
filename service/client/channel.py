"""How a client reaches the service: address, TLS, retries, deadlines."""

import json
from dataclasses import dataclass
from typing import Final

import grpc

DEFAULT_TIMEOUT: Final = 30.0
"""Seconds that a call may take; the service's own default too."""

CONNECT_TIMEOUT: Final = 5.0
"""Seconds that reaching the service may take of them."""

# gRPC repeats a call only while no answer has begun. Updates set absolute values, so a second one does no harm.
_SERVICE_CONFIG: Final = {
    "methodConfig": [
        {
            "name": [{"service": "engagement.v1.SequenceStepService"}, {"service": "grpc.health.v1.Health"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                # A stopping server answers calls that cross its farewell with CANCELLED; repeating any call is safe.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ]
}

OPTIONS: Final = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    # A server that was restarted is found again within the time that the retries take.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


@dataclass(frozen=True, slots=True, repr=False)
class Tls:
    """TLS of a channel; everything in PEM.

    Attributes:
        ca: The authorities that may vouch for the service; None means those that gRPC brings.
        certificate: The client's own certificate chain, where the service wants one.
        private_key: The key of that certificate.
    """

    ca: bytes | None = None
    certificate: bytes | None = None
    private_key: bytes | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """The same in gRPC's form."""
        return grpc.ssl_channel_credentials(self.ca, self.private_key, self.certificate)
