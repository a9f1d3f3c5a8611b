"""The floor: a gRPC server that makes the two provider calls with aiohttp, looks at nothing and answers with the request."""

import asyncio
import os
from typing import Any

import aiohttp
import grpc
import uvloop
from yarl import URL

from bench.answers import SEQUENCE_ID, TEMPLATE_ID, WANTED_BODY, WANTED_SUBJECT
from bench.servers.listening import listen


async def main() -> None:
    upstream = os.environ["UPSTREAM"]
    read = URL(f"{upstream}/api/v1/emailer_campaigns/{SEQUENCE_ID}")
    write = URL(f"{upstream}/api/v1/emailer_templates/{TEMPLATE_ID}")
    payload = f'{{"subject":"{WANTED_SUBJECT}","body_html":"{WANTED_BODY}"}}'.encode()
    headers = {"x-api-key": "key-of-the-customer", "content-type": "application/json"}
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), raise_for_status=True
    )

    async def update_step(request: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        async with session.get(read, headers=headers) as answer:
            await answer.read()
        async with session.put(write, data=payload, headers=headers) as answer:
            await answer.read()
        return request

    server = grpc.aio.server()
    method: Any = grpc.unary_unary_rpc_method_handler(update_step)
    handler = grpc.method_handlers_generic_handler("engagement.v1.SequenceStepService", {"UpdateStep": method})
    server.add_generic_rpc_handlers((handler,))
    listen(server)
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
