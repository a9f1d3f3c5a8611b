"""What tools ask a gRPC server about itself."""

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from service.rpc.server import SERVICE_NAME
from tests.support.grpc_server import RunningGrpcServer


async def test_health_follows_the_servers_state(server: RunningGrpcServer) -> None:
    health = health_pb2_grpc.HealthStub(server.channel)
    for name in ("", SERVICE_NAME):
        response = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert response.status == health_pb2.HealthCheckResponse.SERVING
    await server.grpc.health.enter_graceful_shutdown()
    response = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE_NAME))
    assert response.status == health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_works_by_both_of_its_names(server: RunningGrpcServer, version: str) -> None:
    reflect = server.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        *(
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
            for symbol in (
                SERVICE_NAME,
                "google.rpc.BadRequest",
                "google.rpc.RetryInfo",
                "grpc.reflection.v1.ServerReflection",
                "grpc.health.v1.Health",
            )
        ),
    ]
    responses = [response async for response in reflect(iter(requests))]
    names = {service.name for service in responses[0].list_services_response.service}
    assert names == {
        SERVICE_NAME,
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    for response in responses[1:]:
        assert response.file_descriptor_response.file_descriptor_proto, response
