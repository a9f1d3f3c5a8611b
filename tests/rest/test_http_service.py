"""The HTTP server of the service as people run it: workers, metrics, stops."""

import asyncio
import contextlib
import json
import os
import platform
import re
import signal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sandbox import seed
from service.domain.credentials import Secret
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, Outcome, Problem
from service.domain.step import Caller, Provider, StepUpdate, UpdateResult
from tests.support.deployment import Deployment, prepared_deployment, service_stub, update_subject
from tests.support.http_server import RunningHttpServer
from tests.support.plain_client import plain_client
from tests.support.processes import child_processes, fails_to_start, free_port, server_process
from tests.support.service import outreach_grant
from tests.support.waiting import until

STEP = f"/sequences/{seed.APOLLO_SEQUENCE_INACTIVE}/sequence_steps/{seed.APOLLO_STEP_INACTIVE_PLAIN}"


def headers(deployment: Deployment) -> dict[str, str]:
    return {"x-customer-id": "acme", "x-provider-name": "apollo", "x-api-key": deployment.api_key}


async def patch(address: str, deployment: Deployment, subject: str) -> httpx.Response:
    async with plain_client(base_url=f"http://{address}", timeout=20) as client:
        body = {"record": {"template": {"subject": subject}}}
        return await client.patch(STEP, headers=headers(deployment), json=body)


Samples = dict[tuple[str, str], float]


def samples(text: str) -> Samples:
    """Each sample by its name and its labels, as `name` and `a=1,b=2`."""
    return {
        (sample.name, ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scrape(address: str) -> Samples:
    async with plain_client() as client:
        response = await client.get(f"http://{address}/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    return samples(response.text)


RPC = "grpc_code=OK,grpc_method=UpdateStep,grpc_service=engagement.v1.SequenceStepService,grpc_type=unary"
HANDLED = ("grpc_server_handled_total", RPC)
HANDLING = ("grpc_server_handling_seconds_count", RPC)
OK_RPC = ("seqstep_calls_total", "code=OK,method=UpdateStep,outcome=succeeded,provider=apollo,server=grpc")
BUILD = f"grpcio={version('grpcio')},python={platform.python_version()},version={version('seqstep')}"
OK = ("seqstep_calls_total", "code=OK,method=UpdateStep,outcome=succeeded,provider=apollo,server=http")


async def test_both_servers_do_the_same_to_the_same_step(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with (
        prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_HTTP_ADDRESS=address) as deployment,
        server_process(tmp_path, deployment.environment) as server,
        service_stub(server.address) as stub,
    ):
        by_http = (await patch(address, deployment, "One")).json()["changes"]
        by_rpc = await update_subject(stub, deployment.api_key, "apollo", "Two")
        again = (await patch(address, deployment, "Two")).json()
        assert [change["after"] for change in by_http] == ["One"]
        assert by_rpc.changes == {"template.subject": ("One", "Two")}
        assert [warning["problem_type"] for warning in again["warnings"]] == ["NO_CHANGE"]
        found = await scrape(address)
        assert found[OK] == 2
        assert (
            found["seqstep_calls_total", "code=OK,method=UpdateStep,outcome=succeeded,provider=apollo,server=grpc"] == 1
        )
        assert found["seqstep_provider_calls_total", "provider=apollo"] == 5
        assert found["seqstep_call_duration_seconds_count", "method=UpdateStep,provider=apollo,server=http"] == 2


async def test_metrics_count_requests_for_tokens(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with (
        prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_HTTP_ADDRESS=address) as deployment,
        server_process(tmp_path, deployment.environment) as server,
        service_stub(server.address) as stub,
    ):
        grant = outreach_grant(expires_at=1.0, client_secret=Secret("wrong"))
        await deployment.connections().set(deployment.application_id, "acme", Provider("outreach"), grant)
        result = await update_subject(stub, deployment.api_key, "outreach", "One")
        assert [error.code for error in result.errors] == ["SERVICE_UNAVAILABLE_ERROR"]
        found = await scrape(address)
        assert found["seqstep_token_refreshes_total", "provider=outreach,result=client_refused"] == 1


async def test_metrics_cover_all_workers_and_outlive_one(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with (
        prepared_deployment(
            f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_HTTP_ADDRESS=address, SEQSTEP_WORKERS="2"
        ) as deployment,
        server_process(tmp_path, deployment.environment) as server,
        contextlib.AsyncExitStack() as streams,
    ):
        workers = child_processes(server.process.pid)
        for number in range(40):
            assert (await patch(address, deployment, f"S{number}")).status_code == 200
        calls = [json.loads(line) for line in server.log.read_text().splitlines()]
        assert {line["worker"] for line in calls if line["event"] == "call"} == {0, 1}
        channels = [await streams.enter_async_context(service_stub(server.address)) for _ in range(4)]
        await asyncio.gather(
            *(
                update_subject(stub, deployment.api_key, "apollo", f"R{number}")
                for stub in channels
                for number in range(10)
            )
        )
        for _ in range(5):
            found = await scrape(address)
            assert (found[OK], found[OK_RPC], found[HANDLED], found[HANDLING]) == (40, 40, 40, 40)
            assert found["seqstep_build_info", BUILD] == 1
            assert {found["process_cpu_seconds_total", f"worker={worker}"] > 0 for worker in (0, 1)} == {True}
            assert {found["process_resident_memory_bytes", f"worker={worker}"] > 0 for worker in (0, 1)} == {True}
        # Any worker serves what all of them have to do.
        deployment.sandbox.order_fault(provider="apollo", method="PUT", delay_seconds=20, times=None)
        running = [asyncio.ensure_future(patch(address, deployment, f"T{number}")) for number in range(8)]
        async with asyncio.timeout(10):
            while (await scrape(address))["seqstep_calls_in_flight", ""] != 8:  # noqa: ASYNC110  # other processes
                await asyncio.sleep(0.05)
        os.kill(workers[0], signal.SIGKILL)
        os.kill(workers[1], signal.SIGKILL)
        for each in running:
            with contextlib.suppress(httpx.HTTPError):
                await each
        deployment.sandbox.reset()
        await until(lambda: len(set(child_processes(server.process.pid)) - set(workers)) == 2, seconds=20)
        await server.ready()
        found = await scrape(address)
        assert (found[OK], found[HANDLED], found["seqstep_calls_in_flight", ""]) == (40, 40, 0)


async def test_metric_labels_are_bounded(server: RunningHttpServer) -> None:
    for number in range(30):
        await server.patch(x_customer_id=f"customer-{number}", x_provider_name=f"nobody-{number}")
        await server.patch(x_customer_id=f"customer-{number}", x_api_key=f"wrong-{number}")
    server.failing(
        Problem(ErrorCode.GATEWAY_TIMEOUT_ERROR, "Slow.", outcome=Outcome.PARTIALLY_APPLIED), provider_calls=3
    )
    await server.patch()
    text = (await server.client.get("/metrics")).text
    found = samples(text)
    assert not re.search(r"customer-|nobody-|wrong-|acme|billing", text)
    assert (
        found[
            "seqstep_calls_total",
            "code=BAD_REQUEST,method=UpdateStep,outcome=ERROR_OUTCOME_NOT_APPLIED,provider=none,server=http",
        ]
        == 30
    )
    assert (
        found[
            "seqstep_calls_total",
            "code=UNAUTHORIZED_ERROR,method=UpdateStep,outcome=ERROR_OUTCOME_NOT_APPLIED,provider=apollo,server=http",
        ]
        == 30
    )
    late = "code=GATEWAY_TIMEOUT_ERROR,method=UpdateStep,outcome=ERROR_OUTCOME_PARTIALLY_APPLIED,provider=apollo,server=http"
    assert found["seqstep_calls_total", late] == 1
    assert found["seqstep_provider_calls_total", "provider=apollo"] == 3


async def test_metrics_have_running_and_cancelled_calls(server: RunningHttpServer) -> None:
    async def wait(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        await asyncio.Event().wait()
        return UpdateResult()

    server.use_case = wait
    running = asyncio.ensure_future(server.patch())
    await until(lambda: server.updates)
    assert samples((await server.client.get("/metrics")).text)["seqstep_calls_in_flight", ""] == 1
    running.cancel()
    await until(lambda: server.records)
    found = samples((await server.client.get("/metrics")).text)
    assert (
        found[
            "seqstep_calls_total",
            "code=CANCELLED,method=UpdateStep,outcome=ERROR_OUTCOME_NOT_APPLIED,provider=apollo,server=http",
        ]
        == 1
    )
    assert found["seqstep_calls_in_flight", ""] == 0


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_stop_lets_running_requests_end(tmp_path: Path, workers: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with (
        prepared_deployment(
            f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_HTTP_ADDRESS=address, SEQSTEP_WORKERS=workers
        ) as deployment,
        server_process(tmp_path, deployment.environment) as server,
    ):
        deployment.sandbox.order_fault(provider="apollo", method="PUT", delay_seconds=1.0)
        running = asyncio.ensure_future(patch(address, deployment, "Slow"))
        await until(lambda: any(each["method"] == "PUT" for each in deployment.sandbox.calls("apollo")))
        stopping = asyncio.ensure_future(server.stop())
        response: Any = await running
        assert (response.status_code, response.headers["connection"]) == (200, "close")
        assert await stopping == 0
    assert "Traceback" not in server.log.read_text()


async def test_a_server_that_cannot_listen_says_why(tmp_path: Path) -> None:
    async with prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3") as deployment:
        for address, message in (
            ("0.0.0.0:0", "SEQSTEP_HTTP_ADDRESS=0.0.0.0:0 is reached by other machines"),
            ("127.0.0.1:x", "cannot listen on 127.0.0.1:x"),
        ):
            status, log = await fails_to_start(tmp_path, deployment.environment | {"SEQSTEP_HTTP_ADDRESS": address})
            assert (status, message in log, "Traceback" in log) == (78, True, False)
