"""The same as update_step.py, for asyncio; what reads the answer is the same too.

SEQSTEP_API_KEY="$(cat var/api-key)" .venv/bin/python clients/python/update_step_aio.py [HOST:PORT [CA.pem]]
"""

import asyncio
import os
import sys
from pathlib import Path

import grpc
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1 import sequence_step_service_pb2_grpc as pb_grpc
from update_step import details_of, show, show_status


def open_channel(target: str, ca: str | None) -> grpc.aio.Channel:
    """A channel with TLS that trusts the authorities in a PEM file, or a plaintext one."""
    if ca is None:
        return grpc.aio.insecure_channel(target)
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(Path(ca).read_bytes()))


async def main(target: str = "127.0.0.1:50051", ca: str | None = None) -> int:
    request = pb.UpdateStepRequest(
        sequence_id="7",
        sequence_step_id="101",
        record=pb.SequenceStepRecord(template=pb.StepTemplate(subject="Hello {{first_name}}")),
    )
    metadata = (
        ("x-api-key", os.environ["SEQSTEP_API_KEY"]),
        ("x-customer-id", "acme"),
        ("x-provider-name", "outreach"),
    )
    async with open_channel(target, ca) as channel:
        stub: pb_grpc.SequenceStepServiceAsyncStub = pb_grpc.SequenceStepServiceStub(channel)
        try:
            response = await stub.UpdateStep(request, metadata=metadata, timeout=10)
        except grpc.aio.AioRpcError as error:
            show_status(error.code(), error.details(), details_of(error))
            return 1
    return 0 if show(response) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
