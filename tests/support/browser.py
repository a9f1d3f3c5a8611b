"""A real browser without a screen, driven by Playwright."""

import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, async_playwright

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"),
    reason="needs Chromium: apt-get install -y --no-install-recommends chromium-headless-shell",
)


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """The system's Chromium, until the end of the block; Playwright's own would have to be downloaded.

    Pages from elsewhere may call this machine, for which people are asked otherwise.
    """
    async with async_playwright() as playwright:
        # As root, and in a container, Chromium's sandbox cannot be had.
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, chromium_sandbox=False, args=["--disable-features=LocalNetworkAccessChecks"]
        )
        try:
            yield browser
        finally:
            await browser.close()


OPERATION = "#operations-sequence_steps-updateSequenceStep"


async def try_update(page: Page, key: str, parameters: Mapping[str, str], body: str) -> str:
    """Makes a call on the API's page as a person does, and returns the status that the page shows.

    Args:
        page: Shows the API's page.
        key: The API key.
        parameters: Parameters of the operation by their names.
        body: The JSON to send.
    """
    await page.click(".btn.authorize")
    await page.fill(".auth-container input", key)
    await page.click(".auth-btn-wrapper .authorize")
    await page.click(".auth-btn-wrapper .btn-done")
    await page.click(f"{OPERATION} .opblock-summary-control")
    await page.click(f"{OPERATION} .try-out__btn")
    for name, value in parameters.items():
        field = page.locator(f'{OPERATION} tr[data-param-name="{name}"]').locator("input, select").first
        if await field.evaluate("field => field.tagName") == "SELECT":
            await field.select_option(value)
        else:
            await field.fill(value)
    await page.fill(f"{OPERATION} textarea.body-param__text", body)
    await page.click(f"{OPERATION} .btn.execute")
    return (
        await page.locator(f"{OPERATION} .live-responses-table .response .response-col_status").inner_text()
    ).strip()
