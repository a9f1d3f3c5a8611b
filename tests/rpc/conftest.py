"""A gRPC server for each test, and certificates."""

from collections.abc import AsyncIterator

import pytest

from tests.support.certificates import authority, mutual_tls_files, tls_files
from tests.support.grpc_server import RunningGrpcServer

__all__ = ["authority", "mutual_tls_files", "server", "tls_files"]


@pytest.fixture
async def server() -> AsyncIterator[RunningGrpcServer]:
    """A gRPC server that listens in plaintext."""
    running = RunningGrpcServer()
    await running.start()
    yield running
    await running.stop()
