"""What tools ask a gRPC server about itself."""

from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from service.rpc.reflection import Descriptors
from service.rpc.server import SERVICE_NAME
from tests.support.grpc_server import RunningGrpcServer

CONNECTION_SERVICE = "engagement.v1.ConnectionService"


async def test_health_follows_the_servers_state(server: RunningGrpcServer) -> None:
    health = health_pb2_grpc.HealthStub(server.channel)
    for name in ("", SERVICE_NAME, CONNECTION_SERVICE):
        response = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert response.status == health_pb2.HealthCheckResponse.SERVING
    await server.grpc.health.enter_graceful_shutdown()
    response = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE_NAME))
    assert response.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_health_lists_what_it_knows(server: RunningGrpcServer) -> None:
    health = health_pb2_grpc.HealthStub(server.channel)
    for status in (health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING):
        listed = (await health.List(health_pb2.HealthListRequest())).statuses
        assert {name: response.status for name, response in listed.items()} == {
            "": status,
            SERVICE_NAME: status,
            CONNECTION_SERVICE: status,
        }
        await server.grpc.health.enter_graceful_shutdown()


class Reflection:
    """Asks a server about itself."""

    def __init__(self, server: RunningGrpcServer, version: str = "v1") -> None:
        self._reflect = server.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )

    async def ask(self, *requests: Any) -> list[Any]:
        responses = [response async for response in self._reflect(iter(requests), timeout=10)]
        assert [response.original_request for response in responses] == list(requests)
        return responses

    async def files(self, **asked: Any) -> dict[str, FileDescriptorProto]:
        """The files that answer a question, by name."""
        [response] = await self.ask(reflection_pb2.ServerReflectionRequest(**asked))
        found = response.file_descriptor_response.file_descriptor_proto
        return {file.name: file for file in map(FileDescriptorProto.FromString, found)}

    async def error(self, **asked: Any) -> grpc.StatusCode:
        [response] = await self.ask(reflection_pb2.ServerReflectionRequest(**asked))
        [code] = [code for code in grpc.StatusCode if code.value[0] == response.error_response.error_code]
        return code


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_works_by_both_of_its_names(server: RunningGrpcServer, version: str) -> None:
    reflection = Reflection(server, version)
    [response] = await reflection.ask(reflection_pb2.ServerReflectionRequest(list_services=""))
    names = {service.name for service in response.list_services_response.service}
    assert names == {
        SERVICE_NAME,
        CONNECTION_SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    for name in names:
        files = await reflection.files(file_containing_symbol=name)
        assert next(iter(files.values())).package == name.rpartition(".")[0]


@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        (SERVICE_NAME, "sequence_step_service.proto"),
        (f"{CONNECTION_SERVICE}.SetConnection", "connection_service.proto"),
        (f"{SERVICE_NAME}.UpdateStep", "sequence_step_service.proto"),
        (f".{SERVICE_NAME}.UpdateStep", "sequence_step_service.proto"),
        ("engagement.v1.UpdateStepRequest", "sequence_step_service.proto"),
        ("engagement.v1.UpdateStepRequest.record", "sequence_step_service.proto"),
        ("engagement.v1.ErrorOutcome", "envelope.proto"),
        ("engagement.v1.ERROR_OUTCOME_UNKNOWN", "envelope.proto"),
        ("google.protobuf.Value.kind", "struct.proto"),
        ("google.protobuf.Struct.FieldsEntry.value", "struct.proto"),
        ("google.protobuf.NULL_VALUE", "struct.proto"),
        ("google.rpc.BadRequest", "error_details.proto"),
        ("google.rpc.BadRequest.FieldViolation.description", "error_details.proto"),
        ("google.rpc.Status", "status.proto"),
        ("grpc.health.v1.Health.Watch", "health.proto"),
        ("grpc.health.v1.HealthCheckResponse.SERVING", "health.proto"),
        ("grpc.reflection.v1.ServerReflectionRequest.host", "grpc/reflection/v1/reflection.proto"),
    ],
)
async def test_every_symbol_is_found_with_all_that_it_needs(server: RunningGrpcServer, symbol: str, file: str) -> None:
    files = await Reflection(server).files(file_containing_symbol=symbol)
    assert next(iter(files)).endswith(file)
    assert {name for each in files.values() for name in each.dependency} <= set(files)
    # A pool takes them only if each is sound.
    pool = DescriptorPool()
    for each in reversed(files.values()):
        pool.Add(each)


async def test_the_contracts_comments_are_shown(server: RunningGrpcServer) -> None:
    files = await Reflection(server).files(file_by_filename="engagement/v1/sequence_step_service.proto")
    assert list(files)[0] == "engagement/v1/sequence_step_service.proto"  # noqa: RUF015
    comments = [location.leading_comments for file in files.values() for location in file.source_code_info.location]
    for words in (
        "Changes the template (subject, HTML body)",
        "The values to set. Required.",
        "What became of the step",
    ):
        assert any(words in comment for comment in comments), words


def test_extensions_are_those_of_one_message() -> None:
    file = FileDescriptorProto(name="x.proto", package="p")
    for number, name in enumerate("ABC", 100):
        file.message_type.add(name=name)
        file.extension.add(name=f"of_{name}", extendee=f".p.{name}", number=number)
        file.extension.add(name=f"also_of_{name}", extendee=f".p.{name}", number=number - 50)
    found = Descriptors([file])
    assert found.extension_numbers("p.B") == [51, 101]
    assert found.by_extension(".p.B", 101) == [file.SerializeToString()]
    assert found.by_extension("p.B", 100) is None
    assert found.extension_numbers("p.D") is None


async def test_what_reflection_does_not_know_is_said(server: RunningGrpcServer) -> None:
    reflection = Reflection(server)
    for asked in (
        {"file_containing_symbol": "engagement.v1.None"},
        {"file_containing_symbol": ""},
        {"file_by_filename": "none.proto"},
        {"all_extension_numbers_of_type": "engagement.v1.None"},
        {
            "file_containing_extension": reflection_pb2.ExtensionRequest(
                containing_type=SERVICE_NAME, extension_number=1
            )
        },
    ):
        assert await reflection.error(**asked) is grpc.StatusCode.NOT_FOUND
    assert await reflection.error() is grpc.StatusCode.INVALID_ARGUMENT
    request = reflection_pb2.ServerReflectionRequest(all_extension_numbers_of_type="engagement.v1.UpdateStepRequest")
    [response] = await reflection.ask(request)
    assert response.all_extension_numbers_response.base_type_name == "engagement.v1.UpdateStepRequest"
    assert list(response.all_extension_numbers_response.extension_number) == []


def test_extensions_are_found() -> None:
    file = FileDescriptorProto(name="a.proto", package="a", syntax="proto2")
    file.message_type.add(name="Extended").extension_range.add(start=100, end=200)
    inner = file.message_type.add(name="Inner")
    field = FieldDescriptorProto(
        name="e",
        number=101,
        label=FieldDescriptorProto.LABEL_OPTIONAL,
        type=FieldDescriptorProto.TYPE_INT32,
        extendee=".a.Extended",
    )
    file.extension.append(field)
    field.number = 100
    inner.extension.append(field)
    descriptors = Descriptors([file])
    assert descriptors.extension_numbers("a.Extended") == [100, 101]
    for found in (
        descriptors.by_extension("a.Extended", 100),
        descriptors.by_symbol("a.e"),
        descriptors.by_symbol("a.Inner.e"),
    ):
        assert found == [file.SerializeToString()]
    assert descriptors.by_extension("a.Extended", 102) is None


async def test_channelz_is_not_served_unless_it_is_wanted(server: RunningGrpcServer) -> None:
    method: Any = server.channel.unary_unary("/grpc.channelz.v1.Channelz/GetServers")
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await method(b"", timeout=5)
    assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED
