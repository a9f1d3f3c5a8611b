"""The gRPC server over real sockets, in front of a use case that does as the test says."""

from typing import Any

import grpc
import pytest
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1 import sequence_step_service_pb2_grpc
from google.rpc import error_details_pb2, status_pb2

from service.api.tls import TlsFiles
from service.rpc import server
from service.rpc.servicer import SequenceStepServicer
from tests.support.call_handler import FakeService

METHOD = "/engagement.v1.SequenceStepService/UpdateStep"
CUSTOMER = (("x-customer-id", "acme"), ("x-provider-name", "apollo"))
GOOD = (*CUSTOMER, ("x-api-key", "good"))
EMPTY = pb.UpdateStepRequest(record=pb.SequenceStepRecord())


class RunningGrpcServer(FakeService):
    """A server with one use case, and a channel to it."""

    async def start(self, tls: TlsFiles | None = None) -> None:
        address = "localhost:0" if tls else "127.0.0.1:0"
        self.grpc = await server.start(self.servicer(), address, tls)
        await self.grpc.set_serving()
        self.channel = grpc.aio.insecure_channel(self.grpc.address)
        self.stub = sequence_step_service_pb2_grpc.SequenceStepServiceStub(self.channel)

    def servicer(self) -> SequenceStepServicer:
        """What serves the calls."""
        return SequenceStepServicer(self.call_handler())

    async def stop(self) -> None:
        await self.channel.close()
        await self.grpc.stop(0)

    async def call(self, *metadata: tuple[str, str | bytes], request: Any = EMPTY, seconds: float = 5) -> Any:
        """Makes a call; returns the response and the trailers."""
        call = self.stub.UpdateStep(request, metadata=metadata or GOOD, timeout=seconds)
        return await call, dict(await call.trailing_metadata())

    async def refused(self, *metadata: tuple[str, str | bytes], **more: Any) -> "RefusedCall":
        """Makes a call that ends with a non-OK status."""
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.call(*metadata, **more)
        return RefusedCall(error.value)

    def call_with_bytes(self, data: bytes, *metadata: tuple[str, str | bytes]) -> Any:
        """Begins a call with whatever bytes as its request."""
        method: Any = self.channel.unary_unary(METHOD)
        return method(data, metadata=metadata or GOOD, timeout=5)

    def open(self, *metadata: tuple[str, str | bytes], seconds: float = 5) -> Any:
        """Opens a call without a request, which the test can send as bytes."""
        return self.channel.stream_unary(METHOD)(metadata=metadata or GOOD, timeout=seconds)

    async def call_over_tls(self, credentials: grpc.ChannelCredentials, *metadata: tuple[str, str]) -> None:
        """Makes a call over a connection of its own."""
        async with grpc.aio.secure_channel(self.grpc.address, credentials) as channel:
            stub = sequence_step_service_pb2_grpc.SequenceStepServiceStub(channel)
            await stub.UpdateStep(EMPTY, metadata=(*CUSTOMER, *metadata), timeout=5)


async def refusal_of(call: Any) -> "RefusedCall":
    """The refusal that an opened call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return RefusedCall(error.value)


class RefusedCall:
    """A non-OK status with its details."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        self.message = error.details() or ""
        self.trailers = dict(error.trailing_metadata())
        status = status_pb2.Status.FromString(self.trailers["grpc-status-details-bin"])
        assert status.code == self.code.value[0]
        assert status.message == self.message
        self._details = status.details

    def __getitem__(self, kind: Any) -> Any:
        message = kind()
        [packed] = [detail for detail in self._details if detail.Is(kind.DESCRIPTOR)]
        packed.Unpack(message)
        return message

    @property
    def envelope(self) -> Any:
        return self[pb.UpdateStepResponse]

    @property
    def violations(self) -> dict[str, str]:
        return {v.field: v.description for v in self[error_details_pb2.BadRequest].field_violations}
