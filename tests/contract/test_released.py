"""Clients of earlier contracts go on working against the present service: what they can ask and read is as it always was."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.rpc import status_pb2

from tests.support.processes import ROOT, server_process
from tests.vectors.environment import VectorEnvironment, running_environment, topics
from tests.vectors.judge import mismatches

FOLDER = Path(__file__).parent / "released"
RELEASED = sorted(path.stem for path in FOLDER.glob("*.binpb"))

# Those that wait for nothing.
TOPICS = ("changes", "custom-fields", "presence", "preconditions", "reads", "text", "validation", "warnings")

# How many vectors an earlier contract can ask, at the least.
LEAST_CALLS = 80


class Contract:
    """The messages of an earlier contract."""

    def __init__(self, name: str) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        files = descriptor_pb2.FileDescriptorSet.FromString((FOLDER / f"{name}.binpb").read_bytes())
        names = [file.name for file in files.file]
        for file in files.file:
            self._pool.Add(file)
        services = [self._pool.FindFileByName(file).services_by_name.values() for file in names]
        self.methods: dict[str, MethodDescriptor] = {
            method.name: method for some in services for service in some for method in service.methods
        }

    def request_of(self, call: dict[str, Any]) -> Message | None:
        """The request of a vector; None if this contract has no method or no field for it."""
        method = self.methods.get(call.get("method", "UpdateStep"))
        if method is None or "repeat" in call:
            return None
        message: Message = message_factory.GetMessageClass(method.input_type)()
        try:
            return json_format.ParseDict(call["request"], message, descriptor_pool=self._pool)
        except json_format.ParseError:
            return None


def readable(expected: Any, message: Descriptor) -> Any:
    """What is expected of a message, without the members and values that it does not have."""
    if (
        not isinstance(expected, dict)
        or message.full_name.startswith("google.protobuf.")
        or any(key.startswith("$") for key in expected)
    ):
        return expected
    return {
        key: readable_field(value, field)
        for key, value in expected.items()
        if (field := message.fields_by_name.get(key)) is not None and knows(value, field)
    }


def readable_field(value: Any, field: FieldDescriptor) -> Any:
    if field.message_type is None or field.message_type.GetOptions().map_entry:
        return value
    if isinstance(value, list):
        return [readable(each, field.message_type) for each in value]
    return readable(value, field.message_type)


def knows(value: Any, field: FieldDescriptor) -> bool:
    return field.enum_type is None or not isinstance(value, str) or value in field.enum_type.values_by_name


@dataclass
class Service:
    """The present service, with its sandbox."""

    environment: VectorEnvironment
    channel: grpc.aio.Channel
    key: str

    async def observe(self, method: MethodDescriptor, call: dict[str, Any], request: Message) -> dict[str, Any]:
        """What a client of the earlier contract sees of a call."""
        path = f"/{method.containing_service.full_name}/{method.name}"
        kind = message_factory.GetMessageClass(method.output_type)
        made: Any = self.channel.unary_unary(path, type(request).SerializeToString, kind.FromString)
        metadata = [(key, value) for key, value in call["metadata"]]
        if not any(key == "x-api-key" for key, _ in metadata):
            metadata.append(("x-api-key", self.key))
        try:
            response, status = await made(request, metadata=metadata, timeout=call.get("deadline_seconds", 10)), "OK"
        except grpc.aio.AioRpcError as error:
            status = error.code().name
            details = dict(error.trailing_metadata())["grpc-status-details-bin"]
            assert isinstance(details, bytes)
            [packed] = [each for each in status_pb2.Status.FromString(details).details if each.Is(method.output_type)]
            response = kind.FromString(packed.value)
        return {
            "status": status,
            "response": json_format.MessageToDict(
                response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            ),
        }


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with (
        running_environment(tmp_path) as environment,
        server_process(tmp_path, dict(environment.settings)) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield Service(environment, channel, await environment.application("earlier"))


@pytest.mark.slow
@pytest.mark.parametrize("name", RELEASED)
async def test_a_client_of_an_earlier_contract_goes_on_working(service: Service, name: str) -> None:
    contract, called, wrong = Contract(name), 0, []
    async with httpx.AsyncClient(base_url=f"{service.environment.sandbox_url}/_sandbox", trust_env=False) as sandbox:
        for vector in (vector for topic in TOPICS for vector in topics()[topic]["vectors"]):
            if "calls" in vector or (request := contract.request_of(vector)) is None:
                continue
            await sandbox.post("/reset")
            for order in vector.get("sandbox", ()):
                await sandbox.request(order["method"], order["path"], json=order.get("body"))
            method = contract.methods[vector.get("method", "UpdateStep")]
            seen = await service.observe(method, vector, request)
            expect = vector["expect"]
            wanted = {"status": expect["status"], "response": readable(expect["response"], method.output_type)}
            called += 1
            wrong += [f"{vector['name']}: {each}" for each in mismatches(wanted, seen, "")]
    assert wrong == []
    assert called >= LEAST_CALLS


def test_what_an_earlier_contract_does_not_have_is_not_expected() -> None:
    first = Contract(RELEASED[0])
    assert set(first.methods) == {"UpdateStep"}
    expected = {
        "errors": [{"code": "X", "brand_new": 1, "meta": {"outcome": "ERROR_OUTCOME_BRAND_NEW", "request_id": "r"}}]
    }
    assert readable(expected, first.methods["UpdateStep"].output_type) == {
        "errors": [{"code": "X", "meta": {"request_id": "r"}}]
    }
    assert first.request_of({"request": {"etag": "e"}}) is None
    assert first.request_of({"method": "GetStep", "request": {}}) is None


def test_every_release_has_its_contract() -> None:
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert {*versions} <= {*RELEASED}
