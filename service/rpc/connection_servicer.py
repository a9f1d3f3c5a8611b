"""Serves `engagement.v1.ConnectionService`."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Generic, TypeVar

import grpc
from engagement.v1 import connection_service_pb2 as pb
from engagement.v1.connection_service_pb2_grpc import ConnectionServiceServicer
from google.protobuf.message import Message

from service.api import contract
from service.api.connection_messages import ConnectionMessages
from service.api.management_handler import ManagementCall, ManagementHandler, NamesConnection
from service.domain.errors import CODES, Violation, invalid
from service.rpc.request import InboundGrpcCall, decoder, unknown_fields
from service.rpc.status import details

SERVICE_NAME: Final = pb.DESCRIPTOR.services_by_name["ConnectionService"].full_name

MessageT = TypeVar("MessageT", bound=Message)
RequestT = TypeVar("RequestT", bound=NamesConnection)
T = TypeVar("T")


class ConnectionServicer(ConnectionServiceServicer):
    """Serves the calls on connections, behind `service.rpc.interceptors.UnreadRequestInterceptor`."""

    def __init__(self, handler: ManagementHandler, messages: ConnectionMessages) -> None:
        """Makes the servicer.

        Args:
            handler: What every call passes.
            messages: What the methods do.
        """
        self._handler = handler
        self._messages = messages

    async def SetConnection(self, _: Any, context: Any) -> pb.SetConnectionResponse:  # noqa: N802
        """Stores a customer's credentials."""
        return await self._serve("SetConnection", self._messages.set, context)

    async def GetConnection(self, _: Any, context: Any) -> pb.GetConnectionResponse:  # noqa: N802
        """Reads a connection."""
        return await self._serve("GetConnection", self._messages.get, context)

    async def ListConnections(self, _: Any, context: Any) -> pb.ListConnectionsResponse:  # noqa: N802
        """Lists connections."""
        return await self._serve("ListConnections", self._messages.list, context)

    async def CheckConnection(self, _: Any, context: Any) -> pb.CheckConnectionResponse:  # noqa: N802
        """Tries a connection at its provider."""
        return await self._serve("CheckConnection", self._messages.check, context)

    async def DeleteConnection(self, _: Any, context: Any) -> pb.DeleteConnectionResponse:  # noqa: N802
        """Deletes a connection."""
        return await self._serve("DeleteConnection", self._messages.delete, context)

    async def DeleteStepChanges(self, _: Any, context: Any) -> pb.DeleteStepChangesResponse:  # noqa: N802
        """Deletes the history of a customer."""
        return await self._serve("DeleteStepChanges", self._messages.delete_step_changes, context)

    async def _serve(
        self,
        method: str,
        carry_out: Callable[[ManagementCall, RequestT], Coroutine[Any, Any, T]],
        context: Any,
    ) -> T:
        outcome = await self._handler.handle(SERVICE_NAME, method, _ManagementCall[RequestT](context), carry_out)
        problem = outcome.problem
        request_id = (contract.REQUEST_ID, outcome.request_id)
        if problem is not None:
            spec = CODES[problem.code]
            message, packed = details(spec.grpc_status, problem, outcome.violations)
            await context.abort(
                grpc.StatusCode[spec.grpc_status],
                message,
                (
                    request_id,
                    (contract.ERROR_CODE, problem.code.value),
                    (contract.ERROR_STATUS, str(spec.http_status)),
                    ("grpc-status-details-bin", packed),
                ),
            )
        context.set_trailing_metadata((request_id,))
        return outcome.response  # type: ignore[return-value]  # there is one where there is no problem


class _ManagementCall(InboundGrpcCall, Generic[RequestT]):
    """A call as gRPC brings it."""

    __slots__ = ()

    async def read(self) -> RequestT:
        """Receives and decodes the request.

        Raises:
            CallRefused: It is none, or the call ended without one.
        """
        request: RequestT | None = await self.receive()
        if request is None:
            raise invalid([Violation("request", "Required: the call ended without one.")])
        return request


def _decoder(kind: type[Message]) -> Callable[[bytes], Message]:
    decode = decoder(kind)

    def decode_known(data: bytes) -> Message:
        request = decode(data)
        unknown = _unknown_fields(request)
        if unknown:
            raise invalid(unknown)
        return request

    return decode_known


DECODERS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "SetConnection": _decoder(pb.SetConnectionRequest),
    "GetConnection": _decoder(pb.GetConnectionRequest),
    "ListConnections": _decoder(pb.ListConnectionsRequest),
    "CheckConnection": _decoder(pb.CheckConnectionRequest),
    "DeleteConnection": _decoder(pb.DeleteConnectionRequest),
    "DeleteStepChanges": _decoder(pb.DeleteStepChangesRequest),
}
"""What decodes the requests of each method."""


def _unknown_fields(message: Message, path: str = "") -> list[Violation]:
    """The fields of a message, and of those in it, that this version of the contract does not have."""
    found = unknown_fields(message, path)
    for descriptor, value in message.ListFields():
        if isinstance(value, Message):
            found += _unknown_fields(value, f"{path}{descriptor.name}.")
    return found
