"""A real Chromium, driven by Playwright, which shows the status page."""

from contextlib import asynccontextmanager

from playwright.async_api import async_playwright

from tests.brokers.needs import chromium

SANDBOX = ["--no-sandbox"]  # root, as in a container, may not use it
HANG = 60_000  # milliseconds for anything on a busy machine


@asynccontextmanager
async def browsing(**options):
    """Give a context of a browser: pages with a store of their own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=SANDBOX, timeout=HANG)
        try:
            context = await browser.new_context(**options)
            context.set_default_timeout(HANG)
            yield context
        finally:
            await browser.close()
