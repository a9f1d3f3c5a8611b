"""The plain build: what one writes first, with generated stubs, httpx as it comes and dictionaries."""

import asyncio
import os

import grpc
import httpx
import uvloop
from engagement.v1 import sequence_step_service_pb2 as messages
from engagement.v1 import sequence_step_service_pb2_grpc as stubs

from bench.servers.listening import listen


class SequenceStepService(stubs.SequenceStepServiceServicer):
    """Changes a step at Apollo: no authentication, no store, no limits, no errors, no log."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def UpdateStep(  # noqa: N802  # the name is the contract's
        self, request: messages.UpdateStepRequest, _context: "grpc.aio.ServicerContext[object, object]"
    ) -> messages.UpdateStepResponse:
        headers = {"x-api-key": "key-of-the-customer"}
        answer = await self._client.get(f"/emailer_campaigns/{request.sequence_id}", headers=headers)
        answer.raise_for_status()
        sequence = answer.json()
        step = next(each for each in sequence["emailer_steps"] if each["id"] == request.sequence_step_id)
        touch = next(each for each in sequence["emailer_touches"] if each["emailer_step_id"] == step["id"])
        template = next(each for each in sequence["emailer_templates"] if each["id"] == touch["emailer_template_id"])
        wanted = {"subject": request.record.template.subject, "body_html": request.record.template.body}
        answer = await self._client.put(f"/emailer_templates/{template['id']}", json=wanted, headers=headers)
        answer.raise_for_status()
        stored = answer.json()["emailer_template"]
        response = messages.UpdateStepResponse()
        for field, name in (("template.subject", "subject"), ("template.body", "body_html")):
            change = response.changes.add(field=field)
            change.before.string_value = template[name]
            change.after.string_value = stored[name]
        return response


async def main() -> None:
    server = grpc.aio.server()
    client = httpx.AsyncClient(base_url=os.environ["UPSTREAM"] + "/api/v1")
    stubs.add_SequenceStepServiceServicer_to_server(SequenceStepService(client), server)  # type: ignore[abstract]  # it reads nothing
    listen(server)
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
