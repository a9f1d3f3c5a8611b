"""Server reflection v1 and v1alpha, from the descriptor set that comes with the stubs.

grpcio-reflection answers from the descriptors in Python's memory, which have no comments, and does not know methods and
fields by their names, which today's tools ask for.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc
from engagement.v1 import sequence_step_service_pb2
from google.protobuf import any_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

_V1ALPHA: Final = "grpc.reflection.v1alpha"
_V1: Final = "grpc.reflection.v1"
_SERVICE: Final = "ServerReflection"
_METHOD: Final = "ServerReflectionInfo"

_DESCRIPTOR_SET: Final = Path(sequence_step_service_pb2.__file__).with_name("descriptors.binpb")

# Beside the contract: what the details of a status are made of, and the other services of the server.
_MORE_FILES: Final = (any_pb2, error_details_pb2, status_pb2, health_pb2, reflection_pb2)

Request: TypeAlias = Any
Response: TypeAlias = Any


def add_reflection(server: grpc.aio.Server, *service_names: str) -> None:
    """Adds reflection of the services, and of itself, to a server."""
    services = (*service_names, f"{_V1}.{_SERVICE}", f"{_V1ALPHA}.{_SERVICE}")
    reflection = _Reflection(Descriptors(_files()), sorted(services))
    # The messages of the two versions are the same on the wire.
    method: Any = grpc.stream_stream_rpc_method_handler(
        reflection.answer,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(
            grpc.method_handlers_generic_handler(f"{version}.{_SERVICE}", {_METHOD: method})
            for version in (_V1, _V1ALPHA)
        )
    )


class Descriptors:
    """Files of a contract, found by their own names, by the names of what is in them, and by extensions."""

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self._files = {file.name: file for file in files}
        self._file_of_symbol: dict[str, str] = {}
        self._file_of_extension: dict[tuple[str, int], str] = {}
        self._messages: set[str] = set()
        for file in self._files.values():
            self._add_scope(file, file.package, file.name)
            for service in file.service:
                names = (service.name, *(f"{service.name}.{method.name}" for method in service.method))
                self._add(names, file.package, file.name)

    def by_name(self, name: str) -> list[bytes] | None:
        """A file, and after it all that it needs; None if there is none of that name."""
        if name not in self._files:
            return None
        found = [name]
        for each in found:
            found += (needed for needed in self._files[each].dependency if needed not in found)
        return [self._files[each].SerializeToString() for each in found]

    def by_symbol(self, symbol: str) -> list[bytes] | None:
        """The file with a message, field, enum, value, service, method or extension, and all that it needs."""
        return self.by_name(self._file_of_symbol.get(symbol.removeprefix("."), ""))

    def by_extension(self, message: str, number: int) -> list[bytes] | None:
        """The file with an extension of a message, and all that it needs."""
        return self.by_name(self._file_of_extension.get((message.removeprefix("."), number), ""))

    def extension_numbers(self, message: str) -> list[int] | None:
        """The numbers of all extensions of a message; None if there is no such message."""
        if message not in self._messages:
            return None
        return sorted(number for extended, number in self._file_of_extension if extended == message)

    def _add(self, names: Iterable[str], scope: str, file: str) -> None:
        self._file_of_symbol.update((f"{scope}.{name}".removeprefix("."), file) for name in names)

    def _add_scope(self, found: FileDescriptorProto | DescriptorProto, scope: str, file: str) -> None:
        """Adds what is in a file or a message; the values of an enum are in the scope that the enum itself is in."""
        messages = found.message_type if isinstance(found, FileDescriptorProto) else found.nested_type
        for named in (messages, found.enum_type, found.extension):
            self._add((each.name for each in named), scope, file)
        self._add((value.name for enum in found.enum_type for value in enum.value), scope, file)
        for extension in found.extension:
            self._file_of_extension[extension.extendee.removeprefix("."), extension.number] = file
        for message in messages:
            name = f"{scope}.{message.name}".removeprefix(".")
            self._messages.add(name)
            self._add((field.name for field in message.field), name, file)
            self._add((oneof.name for oneof in message.oneof_decl), name, file)
            self._add_scope(message, name, file)


class _Reflection:
    """Answers the questions of one stream after the other."""

    def __init__(self, descriptors: Descriptors, service_names: list[str]) -> None:
        self._descriptors = descriptors
        services = [reflection_pb2.ServiceResponse(name=name) for name in service_names]
        self._services = reflection_pb2.ListServiceResponse(service=services)

    async def answer(self, requests: AsyncIterator[Request], _: object) -> AsyncIterator[Response]:
        """Answers each request of a stream."""
        async for request in requests:
            response = self._response(request)
            response.valid_host = request.host
            response.original_request.CopyFrom(request)
            yield response

    def _response(self, request: Request) -> Response:
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            return reflection_pb2.ServerReflectionResponse(list_services_response=self._services)
        if kind is None:
            return _error(grpc.StatusCode.INVALID_ARGUMENT, "the request asks for nothing")
        asked = getattr(request, kind)
        if kind == "all_extension_numbers_of_type":
            numbers = self._descriptors.extension_numbers(asked)
            if numbers is None:
                return _error(grpc.StatusCode.NOT_FOUND, "there is no such message")
            found = reflection_pb2.ExtensionNumberResponse(base_type_name=asked, extension_number=numbers)
            return reflection_pb2.ServerReflectionResponse(all_extension_numbers_response=found)
        find: dict[str, Callable[[], list[bytes] | None]] = {
            "file_by_filename": partial(self._descriptors.by_name, asked),
            "file_containing_symbol": partial(self._descriptors.by_symbol, asked),
            "file_containing_extension": lambda: self._descriptors.by_extension(
                asked.containing_type, asked.extension_number
            ),
        }
        files = find[kind]()
        if files is None:
            return _error(grpc.StatusCode.NOT_FOUND, "there is no such file, symbol or extension")
        return reflection_pb2.ServerReflectionResponse(
            file_descriptor_response=reflection_pb2.FileDescriptorResponse(file_descriptor_proto=files)
        )


def _error(code: grpc.StatusCode, message: str) -> Response:
    error = reflection_pb2.ErrorResponse(error_code=code.value[0], error_message=message)
    return reflection_pb2.ServerReflectionResponse(error_response=error)


def _files() -> Iterable[FileDescriptorProto]:
    contract = FileDescriptorSet.FromString(_DESCRIPTOR_SET.read_bytes())
    loaded = [FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb) for module in _MORE_FILES]
    # Files that both have come with their comments.
    return (*loaded, _v1(loaded[-1]), *contract.file)


def _v1(v1alpha: FileDescriptorProto) -> FileDescriptorProto:
    """The file of reflection v1, which differs from v1alpha's in its names only."""
    file = FileDescriptorProto()
    file.CopyFrom(v1alpha)
    file.name = "grpc/reflection/v1/reflection.proto"
    file.package = _V1
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(_V1ALPHA, _V1)
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(_V1ALPHA, _V1)
            method.output_type = method.output_type.replace(_V1ALPHA, _V1)
    return file
