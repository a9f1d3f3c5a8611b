"""A gRPC server for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.support.grpc_server import RunningGrpcServer


@pytest.fixture
async def server() -> AsyncIterator[RunningGrpcServer]:
    """A gRPC server that listens in plaintext."""
    running = RunningGrpcServer()
    await running.start()
    yield running
    await running.stop()
