"""Health checks: grpcio's servicer with the method that it lacks."""

from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2


class HealthServicer(health.aio.HealthServicer):  # type: ignore[misc]  # has no types
    """Answers `grpc.health.v1.Health`."""

    def __init__(self, service_names: Iterable[str]) -> None:
        """Makes the servicer.

        Args:
            service_names: The services whose states `List` shows.
        """
        super().__init__()
        self._service_names = tuple(service_names)

    async def List(  # noqa: N802
        self, _: health_pb2.HealthListRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> health_pb2.HealthListResponse:
        """The states of all services."""
        requests = {name: health_pb2.HealthCheckRequest(service=name) for name in self._service_names}
        return health_pb2.HealthListResponse(
            statuses={name: await self.Check(request, context) for name, request in requests.items()}
        )
