"""The page that shows the API: what it is made of, and that it works in a browser."""

import json
import re
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import ConsoleMessage

from sandbox import seed
from service.api.admission import Admission
from service.rest.api_page import routes
from tests.support.browser import needs_chromium, running_browser, try_update
from tests.support.http_server import GOOD, RunningHttpServer
from tests.support.plain_client import plain_client
from tests.support.service import CUSTOMER, running_service

PATHS = [route.path for route in routes()]


async def test_all_that_the_page_loads_is_served(server: RunningHttpServer) -> None:
    page = (await server.client.get("/docs")).text
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert {f"/{each}" for each in loaded if not each.startswith("data:")} == {*PATHS, "/openapi.json"} - {"/docs"}
    for path in PATHS:
        response = await server.client.get(path)
        assert response.status_code == 200, path
        assert response.content
        assert (await server.client.head(path)).headers["content-length"] == str(len(response.content))


async def test_the_page_may_load_nothing_from_elsewhere(server: RunningHttpServer) -> None:
    for path in PATHS:
        headers = (await server.client.get(path)).headers
        policy = dict(each.split(" ", 1) for each in headers["content-security-policy"].split("; "))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "data:",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        assert headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" not in (await server.client.get("/openapi.json")).headers


async def test_the_page_is_no_call(server: RunningHttpServer) -> None:
    for path in PATHS:
        await server.client.get(path)
    assert server.records == []
    assert b"seqstep_calls_total{" not in server.metrics.render()[0]
    assert (await server.client.patch("/docs", headers=GOOD)).json()["errors"][0]["code"] == "METHOD_NOT_ALLOWED_ERROR"


async def test_the_page_is_served_when_no_call_is(server: RunningHttpServer) -> None:
    server.admission = Admission(0)
    await server.stop()
    await server.start()
    assert (await server.client.get("/docs")).status_code == 200
    # What the page sends has the same limits as any call.
    assert (await server.patch()).status_code == 429


async def test_the_page_can_be_switched_off(tmp_path: Path) -> None:
    async with running_service(tmp_path, http_address="127.0.0.1:0", api_page=False) as service:
        assert service.app.rest is not None
        async with plain_client(base_url=f"http://{service.app.rest.address}") as client:
            for path in PATHS:
                assert (await client.get(path)).status_code == 404
            assert (await client.get("/openapi.json")).status_code == 200


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_call_made_on_the_page_changes_the_step(tmp_path: Path, scheme: Literal["light", "dark"]) -> None:
    said: list[str] = []
    asked: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        said.append(message.text)

    async with running_service(tmp_path, http_address="127.0.0.1:0") as service, running_browser() as browser:
        assert service.app.rest is not None
        origin = f"http://{service.app.rest.address}/"
        page = await browser.new_page(color_scheme=scheme)
        page.on("console", hear)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(f"{origin}docs")
        parameters = {
            "sequence_id": str(seed.OUTREACH_SEQUENCE_DISABLED),
            "sequence_step_id": str(seed.OUTREACH_STEP_DISABLED_PLAIN),
            "x-customer-id": CUSTOMER,
            "x-provider-name": "outreach",
        }
        body = {"record": {"template": {"subject": f"Seen in the {scheme}"}}}
        assert await try_update(page, service.key.reveal(), parameters, json.dumps(body)) == "200"
        template = await service.provider_record("outreach", "templates", seed.OUTREACH_TEMPLATE_DISABLED_PLAIN)
        assert template["attributes"]["subject"] == f"Seen in the {scheme}"
        background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        bright = sum(map(int, re.findall(r"\d+", background)[:3])) > 3 * 128
        assert bright == (scheme == "light")
        # A key is kept by nobody.
        assert await page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    assert said == []
    # Pictures within the style sheet are asked for nowhere.
    assert [url for url in asked if not url.startswith((origin, "data:"))] == []
    assert any("/sequence_steps/" in url for url in asked)
