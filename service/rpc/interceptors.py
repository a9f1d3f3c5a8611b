"""What happens to a gRPC call before its method runs."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc


class UnreadRequestInterceptor(grpc.aio.ServerInterceptor):
    """Lets a unary method run before its request is received, so that callers can be refused before anything is decoded.

    gRPC would receive and decode the request of a unary method first, also for unknown callers. Here it is received and
    decoded when the method asks its context for it.
    """

    def __init__(self, service_name: str, decoders: Mapping[str, Callable[[bytes], Any]]) -> None:
        """Makes the interceptor.

        Args:
            service_name: The full name of the service whose unary methods are served so.
            decoders: Decode their requests, by the names of the methods; what they raise reaches the method.
        """
        self._prefix = f"/{service_name}/"
        self._decoders = decoders
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The handler of a call: gRPC's own for other services and methods that do not exist."""
        method = handler_call_details.method
        made = self._handlers.get(method)
        if made is not None:
            return made
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None or not method.startswith(self._prefix):
            return handler  # type: ignore[no-any-return]  # the stubs do not know its attributes
        decode = self._decoders[method.removeprefix(self._prefix)]
        made = grpc.stream_unary_rpc_method_handler(handler.unary_unary, decode, handler.response_serializer)
        self._handlers[method] = made
        return made
