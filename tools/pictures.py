"""Makes the pictures of the documentation, each from a service that really runs.

`python -m tools.pictures api` makes docs/images/api.png, and needs Chromium (Debian: chromium-headless-shell).
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from tests.support.browser import OPERATION, running_browser, try_update
from tests.support.service import CUSTOMER, running_service

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
                clip={"x": 0, "y": 0, "width": _WIDTH, "height": end["y"] + end["height"] + 20},
            )


PICTURES: Final[Mapping[str, Callable[[], Awaitable[None]]]] = {"api": api}


async def main(names: list[str]) -> None:
    """Makes the pictures that are named, or all of them."""
    IMAGES.mkdir(exist_ok=True)
    for name in names or PICTURES:
        await PICTURES[name]()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
