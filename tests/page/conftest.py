"""A page in a browser that notes what it should not do: errors in its console, and requests to other hosts."""

import pytest

from tests.brokers.needs import chromium, chromium_missing, in_ci
from tests.page import browser


class Noted:
    """What a page did."""

    def __init__(self):
        self.errors = []
        self.asked = set()  # URLs

    def watch(self, page):
        """Note what this page does from now on."""
        page.on("console", lambda message: message.type in ("error", "warning") and self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", lambda dialog: self.errors.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: self.asked.add(request.url))


@pytest.fixture
async def page():
    """A page of a real Chromium; without one the test is skipped, and fails in CI."""
    if chromium() is None:
        (pytest.fail if in_ci() else pytest.skip)(chromium_missing())
    async with browser.browsing() as context:
        yield await context.new_page()


@pytest.fixture
def noted(page):
    """What the page did."""
    made = Noted()
    made.watch(page)
    return made
