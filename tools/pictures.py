"""Makes the pictures of the documentation, each from a service that really runs.

`python -m tools.pictures api` makes docs/images/api.png, and needs Chromium (Debian: chromium-headless-shell);
`python -m tools.pictures dashboard` makes docs/images/dashboard.png in five minutes, and needs Prometheus;
`python -m tools.pictures architecture` draws the diagram of docs/architecture.md for the site, and needs Chromium and npm.
"""

import asyncio
import hashlib
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from sandbox import seed
from service import app
from service.domain.credentials import ApiKeyCredentials, Secret
from service.domain.step import Provider
from tests.support.browser import OPERATION, running_browser, try_update
from tests.support.prometheus import running_prometheus
from tests.support.service import CUSTOMER, RunningService, outreach_grant, running_service
from tools import dashboard_picture

IMAGES: Final = Path(__file__).parents[1] / "docs" / "images"

_WIDTH: Final = 1100


async def api() -> None:
    """The page that shows the API, after a call that was made on it."""
    with tempfile.TemporaryDirectory() as folder:
        async with running_service(Path(folder), http_address="127.0.0.1:0") as service, running_browser() as browser:
            assert service.app.rest is not None
            page = await browser.new_page(viewport={"width": _WIDTH, "height": 900})
            await page.goto(f"http://{service.app.rest.address}/docs")
            parameters = {
                "sequence_id": "7",
                "sequence_step_id": "101",
                "x-customer-id": CUSTOMER,
                "x-provider-name": "outreach",
            }
            body = {"record": {"template": {"subject": "Hello {{first_name}}"}}}
            await try_update(page, service.key.reveal(), parameters, json.dumps(body, indent=2))
            await page.locator(f"{OPERATION} textarea").evaluate("body => { body.style.minHeight = '10em' }")
            # The command line that the page shows has the key in it.
            await page.locator(f"{OPERATION} .curl-command").evaluate("shown => shown.remove()")
            await page.evaluate("scrollTo(0, 0)")
            end = await page.locator(f"{OPERATION} .live-responses-table").bounding_box()
            assert end is not None
            await page.screenshot(
                path=IMAGES / "api.png",
                full_page=True,
                clip={"x": 0, "y": 0, "width": _WIDTH, "height": end["y"] + end["height"] + 4},
            )


@dataclass(frozen=True, slots=True)
class _Phase:
    """A part of the run that the dashboard shows.

    Attributes:
        seconds: How long it takes.
        faults: What the providers do in it.
        apollo: Calls for each second at Apollo.
        outreach: Calls for each second at Outreach.
    """

    seconds: float
    faults: Sequence[Mapping[str, Any]] = ()
    apollo: float = 2.0
    outreach: float = 3.0


_PHASES: Final = (
    _Phase(50),
    _Phase(40, [{"provider": "apollo", "status": 503, "probability": 0.7, "delay_seconds": 0.3, "times": None}]),
    _Phase(30),
    _Phase(
        30,
        [
            {"provider": "outreach", "method": "PATCH", "cut": "reset", "probability": 0.5, "times": None},
            {"provider": "outreach", "method": "GET", "delay_seconds": 0.8, "times": None},
        ],
    ),
    _Phase(25),
    # More than Apollo allows.
    _Phase(30, apollo=12.0),
    # More than the service takes of one application at a time.
    _Phase(20, [{"provider": "outreach", "method": "GET", "delay_seconds": 2.0, "times": None}], outreach=15.0),
    _Phase(45),
)


async def dashboard() -> None:
    """The dashboard after minutes with faults, some calls wrong and tokens that soon run out."""
    async with AsyncExitStack() as stack:
        # Connections are counted each minute otherwise.
        stack.enter_context(patch.object(app, "_COUNT_SECONDS", 2.0))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        service = await stack.enter_async_context(
            running_service(folder, http_address="127.0.0.1:0", max_concurrent_calls=24, token_refresh_margin_seconds=5)
        )
        assert service.app.rest is not None
        prometheus = await stack.enter_async_context(running_prometheus(folder, service.app.rest.address))
        accounts = [await _account(service, customer) for customer in _CUSTOMERS]
        start = time.time()
        for number, phase in enumerate(_PHASES):
            for fault in phase.faults:
                service.sandbox.order_fault(**fault)
            if number == 3:
                # A customer takes the access back.
                await service.control_sandbox("PATCH", f"/accounts/{accounts[-1]}", {"revoke_refresh_token": True})
            async with asyncio.TaskGroup() as calls:
                calls.create_task(_calls(service, phase.seconds, "apollo", phase.apollo))
                calls.create_task(_calls(service, phase.seconds, "outreach", phase.outreach))
            service.sandbox.state.faults.clear()
        await dashboard_picture.draw(prometheus, start, time.time(), IMAGES / "dashboard.png")


_CUSTOMERS: Final = ("acme", "globex", "initech")
_STEPS: Final = {
    "apollo": (seed.APOLLO_SEQUENCE_INACTIVE, seed.APOLLO_STEP_INACTIVE_PLAIN),
    "outreach": (seed.OUTREACH_SEQUENCE_DISABLED, seed.OUTREACH_STEP_DISABLED_PLAIN),
}


async def _calls(service: RunningService, seconds: float, provider: str, rate: float) -> None:
    """Makes calls at a rate, one in thirty with a wrong step, and waits for none of them before the next."""
    sequence, step = _STEPS[provider]
    customers = itertools.cycle(_CUSTOMERS)
    async with asyncio.TaskGroup() as running:
        for number in range(int(seconds * rate)):
            which = step if number % 30 else "7777"
            change = {"customer": next(customers), "subject": f"Subject {time.time()}"}
            running.create_task(service.update(provider, sequence, which, **change))
            await asyncio.sleep(1 / rate)


async def _account(service: RunningService, customer: str) -> str:
    """Connects a customer to the Apollo account, and to an Outreach account whose tokens live for twenty seconds."""
    order = {"provider": "outreach", "token_lifetime_seconds": 20}
    made = await service.control_sandbox("POST", "/accounts", order)
    await service.control_sandbox("PATCH", f"/accounts/{made['id']}", {"mint_interval_seconds": 0.1})
    grant = outreach_grant(
        made["access_token"],
        refresh_token=Secret(made["refresh_token"]),
        client_id=made["client_id"],
        client_secret=Secret(made["client_secret"]),
        expires_at=time.time() + 20,
    )
    await service.connect(customer, Provider("apollo"), ApiKeyCredentials(Secret(seed.APOLLO_MASTER_KEY)))
    await service.connect(customer, Provider("outreach"), grant)
    return str(made["id"])


_MERMAID: Final = "mermaid@11.17.2"


async def architecture() -> None:
    """The diagram of the architecture, drawn from the page. Git hosts draw it themselves; the site fetches nothing that could."""
    page_source = (IMAGES.parent / "architecture.md").read_text(encoding="utf-8")
    source = page_source.partition("```mermaid\n")[2].partition("```")[0]
    with tempfile.TemporaryDirectory() as folder:
        install = ("npm", "install", "--loglevel=error", "--prefix", folder, _MERMAID)
        await asyncio.to_thread(subprocess.run, install, check=True)
        async with running_browser() as browser:
            page = await browser.new_page()
            await page.add_script_tag(path=f"{folder}/node_modules/mermaid/dist/mermaid.min.js")
            drawn = await page.evaluate(
                """async source => {
                    const look = {theme: "neutral", htmlLabels: false, flowchart: {htmlLabels: false}};
                    mermaid.initialize({startOnLoad: false, ...look});
                    return (await mermaid.render("architecture", source)).svg;
                }""",
                source,
            )
    digest = hashlib.sha256(source.encode()).hexdigest()
    (IMAGES / "architecture.svg").write_text(f"<!-- drawn from {digest} -->\n{drawn}\n", encoding="utf-8")


PICTURES: Final[Mapping[str, Callable[[], Awaitable[None]]]] = {
    "api": api,
    "architecture": architecture,
    "dashboard": dashboard,
}


async def main(names: list[str]) -> None:
    """Makes the pictures that are named, or all of them."""
    IMAGES.mkdir(exist_ok=True)
    for name in names or PICTURES:
        await PICTURES[name]()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
