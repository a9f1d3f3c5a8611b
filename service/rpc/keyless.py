"""Limits calls that need no key, of health and reflection: how many wait for a request, how many stay, and how long."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc

# A request of these services is short and comes with the call, so that few wait at a time, and not for long. gRPC holds as
# much of a request that has not ended as a message may have.
MAX_WAITING: Final = 16
WAITING_SECONDS: Final = 5.0

# `Health/Watch` and reflection stay open. A balancer watches once for each of its connections.
MAX_STREAMS: Final = 512
MAX_STREAMS_OF_CONNECTION: Final = 16
STREAM_SECONDS: Final = 1800.0


class _Limit:
    """So many at a time, for so long; one more ends the oldest of the connection that has the most."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._running: dict[asyncio.Timeout, str] = {}

    def end(self) -> None:
        """Ends all, and from now on each new one at once."""
        self._seconds = 0.0
        for timeout in self._running:
            timeout.reschedule(asyncio.get_running_loop().time())

    def count(self, peer: str) -> int:
        """How many a connection has."""
        return sum(each == peer for each in self._running.values())

    @asynccontextmanager
    async def one(self, peer: str) -> AsyncIterator[None]:
        """Counts one until the end of the block.

        Raises:
            TimeoutError: Its time is over, or others needed its place.
        """
        async with asyncio.timeout(self._seconds) as timeout:
            if len(self._running) >= self._limit:
                [(most, _)] = Counter(self._running.values()).most_common(1)
                oldest = next(each for each, owner in self._running.items() if owner == most)
                oldest.reschedule(asyncio.get_running_loop().time())
                del self._running[oldest]
            self._running[timeout] = peer
            try:
                yield
            finally:
                self._running.pop(timeout, None)


class KeylessInterceptor(grpc.aio.ServerInterceptor):
    """Serves the methods of all services but some within limits, their requests read one at a time."""

    def __init__(self, *service_names: str) -> None:
        """Makes the interceptor.

        Args:
            service_names: The full names of the services that are left alone, since their callers have keys.
        """
        self._prefixes = tuple(f"/{name}/" for name in service_names)
        self._waiting = _Limit(MAX_WAITING, WAITING_SECONDS)
        self._streams = _Limit(MAX_STREAMS, STREAM_SECONDS)

    def end_streams(self) -> None:
        """Ends streams, which have no end of their own, when the server stops."""
        self._streams.end()

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The handler of a call, limited; gRPC's own for services with keys and for methods that do not exist."""
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(self._prefixes):
            return handler  # type: ignore[no-any-return]  # the stubs do not know its attributes
        codecs = handler.request_deserializer, handler.response_serializer
        if handler.unary_unary is not None:
            return grpc.stream_unary_rpc_method_handler(self._unary(handler.unary_unary), *codecs)
        return grpc.stream_stream_rpc_method_handler(
            self._stream(handler.stream_stream or handler.unary_stream, is_watch=handler.stream_stream is None), *codecs
        )

    def _unary(self, method: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def limited(requests: AsyncIterator[Any], context: Any) -> Any:
            async for request in self._requests(requests, context):
                return await method(request, context)
            return await context.abort(grpc.StatusCode.CANCELLED, "The call ended without a request.")

        return limited

    def _stream(self, method: Callable[[Any, Any], Any], *, is_watch: bool) -> Callable[[Any, Any], Awaitable[None]]:
        async def limited(requests: AsyncIterator[Any], context: Any) -> None:
            peer = context.peer()
            if self._streams.count(peer) >= MAX_STREAMS_OF_CONNECTION:
                await context.abort(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"A connection may have {MAX_STREAMS_OF_CONNECTION} such streams at a time.",
                )
            try:
                async with self._streams.one(peer):
                    if is_watch:
                        async for request in self._requests(requests, context):
                            await method(request, context)
                    else:
                        async for response in method(self._requests(requests, context), context):
                            await context.write(response)
            except TimeoutError:
                await context.abort(
                    grpc.StatusCode.UNAVAILABLE, "The stream was open for long, or the server stops; open it again."
                )

        return limited

    async def _requests(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """The requests of a call, each of which has to come soon."""
        while True:
            try:
                async with self._waiting.one(context.peer()):
                    request = await anext(requests)
            except StopAsyncIteration:
                return
            except TimeoutError:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "The request did not come with the call.")
            yield request
