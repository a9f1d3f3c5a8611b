"""grpc.channelz.v1, behind its setting."""

from pathlib import Path

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc

from tests.observability.conftest import update
from tests.support.service import RunningService, running_service


async def test_channelz_shows_the_server_and_its_calls(tmp_path: Path) -> None:
    async with running_service(tmp_path, channelz=True) as service:
        await update(service, "r-1")
        stub = channelz_pb2_grpc.ChannelzStub(service.channel)
        servers = (await stub.GetServers(channelz_pb2.GetServersRequest(), timeout=10)).server
        assert max(server.data.calls_started for server in servers) >= 1


async def test_channelz_is_not_served_without_the_setting(service: RunningService) -> None:
    stub = channelz_pb2_grpc.ChannelzStub(service.channel)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.GetServers(channelz_pb2.GetServersRequest(), timeout=10)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
