"""The channel to the service: TLS, the API key, retries, health checking, keepalive, proxies."""

import importlib.metadata
import ipaddress
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from seqstep_client.contract import API_KEY
from seqstep_client.values import InvalidArgument

CONNECT_TIMEOUT: Final = 5.0
"""Seconds that connecting may take of the time of a call."""

_SERVICE: Final = "engagement.v1.SequenceStepService"

# gRPC repeats a call only while no response has begun. Updates set absolute values, so a second one does no harm.
_SERVICE_CONFIG: Final = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": _SERVICE},
    "methodConfig": [
        {
            "name": [
                {"service": _SERVICE},
                {"service": "engagement.v1.ConnectionService"},
                {"service": "grpc.health.v1.Health"},
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                # A stopping server ends calls that cross its GOAWAY with CANCELLED; repeating any call is safe.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
    # Where most calls fail, repeating them does not help.
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}

_OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    # The longest body with the rest of a request. A longer request than this would not be repeated.
    ("grpc.per_rpc_retry_buffer_size", 7 * 1024 * 1024),
    # A server that was restarted is found again within the time that the retries take.
    ("grpc.initial_reconnect_backoff_ms", 200),
    # How long connecting may take, which crosses an ocean several times for TLS.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # A connection that is dead is noticed while a call waits on it.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.primary_user_agent", f"seqstep-python/{importlib.metadata.version('seqstep-client')}"),
)

# What gRPC lets an address begin with: the name of a resolver, and for DNS an authority.
_RESOLVER: Final = re.compile(r"^(dns:(//[^/]*/)?|ipv[46]:)")


def is_loopback(address: str) -> bool:
    """Whether an address, as gRPC takes it, is on this machine for certain."""
    address = _RESOLVER.sub("", address)
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    return all(map(_is_loopback_host, address.split(",")))


def _is_loopback_host(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def channel_options(address: str) -> tuple[tuple[str, Any], ...]:
    """The options of a channel to an address; a service on this machine is not called through a proxy."""
    if is_loopback(address):
        return (*_OPTIONS, ("grpc.enable_http_proxy", 0))
    return _OPTIONS


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

    @classmethod
    def from_files(
        cls, ca: str | Path | None = None, certificate: str | Path | None = None, private_key: str | Path | None = None
    ) -> "Tls":
        """Reads the files.

        Raises:
            OSError: One of them cannot be read.
        """
        return cls(*(None if path is None else Path(path).read_bytes() for path in (ca, certificate, private_key)))

    def credentials(self) -> grpc.ChannelCredentials:
        """The same as gRPC's credentials."""
        return grpc.ssl_channel_credentials(self.ca, self.private_key, self.certificate)


def open_channel(
    address: str,
    *,
    tls: Tls | None = None,
    plaintext: bool = False,
    interceptors: Sequence[Any] = (),
) -> grpc.Channel:
    """Opens a channel for blocking calls, with all options of this library.

    Args:
        address: Where the service is: HOST:PORT, or any name that gRPC resolves.
        tls: The files of TLS; None for TLS with the authorities that gRPC brings.
        plaintext: Do without TLS.
        interceptors: What sees each call on its way, such as OpenTelemetry's.

    Raises:
        InvalidArgument: There are files of TLS for a plaintext channel.
    """
    credentials = _credentials(tls, plaintext=plaintext)
    options = channel_options(address)
    channel = (
        grpc.insecure_channel(address, options)
        if credentials is None
        else grpc.secure_channel(address, credentials, options)
    )
    return grpc.intercept_channel(channel, *interceptors) if interceptors else channel


def open_aio_channel(
    address: str,
    *,
    tls: Tls | None = None,
    plaintext: bool = False,
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
) -> grpc.aio.Channel:
    """Opens a channel for asyncio, within its event loop; otherwise as `open_channel`."""
    credentials = _credentials(tls, plaintext=plaintext)
    options = channel_options(address)
    if credentials is None:
        return grpc.aio.insecure_channel(address, options, interceptors=interceptors)
    return grpc.aio.secure_channel(address, credentials, options, interceptors=interceptors)


def _credentials(tls: Tls | None, *, plaintext: bool) -> grpc.ChannelCredentials | None:
    if plaintext and tls is not None:
        raise InvalidArgument("tls: A plaintext channel has no use for it.")
    return None if plaintext else (tls or Tls()).credentials()


class _ApiKeyPlugin(grpc.AuthMetadataPlugin):
    def __init__(self, api_key: str) -> None:
        self._metadata = ((API_KEY, api_key),)

    def __call__(self, _context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback) -> None:
        callback(self._metadata, None)


@dataclass(frozen=True, slots=True, repr=False)
class ApiKey:
    """The application's key, as each call carries it.

    Attributes:
        credentials: Of the call; gRPC sends them over TLS only. None on a plaintext channel, or without a key.
        metadata: Of the call; empty where the credentials have the key.
    """

    credentials: grpc.CallCredentials | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, api_key: str | None, address: str, *, plaintext: bool, in_clear: bool = False) -> "ApiKey":
        """Makes it.

        Args:
            api_key: The key; None where a client certificate takes its place.
            address: Where it is sent.
            plaintext: Whether the channel does without TLS.
            in_clear: Whether it may be sent without TLS to another machine.

        Raises:
            InvalidArgument: It would be sent without TLS to another machine.
        """
        if api_key is None:
            return cls()
        if not plaintext:
            return cls(credentials=grpc.metadata_call_credentials(_ApiKeyPlugin(api_key), "api-key"))
        if not in_clear and not is_loopback(address):
            raise InvalidArgument(
                f"{API_KEY}: Would be sent to {address} without TLS. Use TLS, or allow it with key_in_clear."
            )
        return cls(metadata=((API_KEY, api_key),))
