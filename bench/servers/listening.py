"""Where the servers of this folder listen."""

import os
from pathlib import Path

import grpc


def listen(server: grpc.aio.Server) -> None:
    """Adds the port `PORT`, inside TLS if `TLS_CERTIFICATE` and `TLS_PRIVATE_KEY` name PEM files."""
    address = f"127.0.0.1:{os.environ['PORT']}"
    certificate, key = (os.environ.get(name) for name in ("TLS_CERTIFICATE", "TLS_PRIVATE_KEY"))
    if certificate and key:
        pair = (Path(key).read_bytes(), Path(certificate).read_bytes())
        server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    else:
        server.add_insecure_port(address)
