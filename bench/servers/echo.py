"""A gRPC server that answers with what it was asked: what `grpc.aio` alone costs."""

import asyncio
from typing import Any

import grpc
import uvloop

from bench.servers.listening import listen


async def _echo(request: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return request


async def main() -> None:
    server = grpc.aio.server()
    method: Any = grpc.unary_unary_rpc_method_handler(_echo)
    handler = grpc.method_handlers_generic_handler("engagement.v1.SequenceStepService", {"UpdateStep": method})
    server.add_generic_rpc_handlers((handler,))
    listen(server)
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
