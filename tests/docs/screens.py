"""The pictures of the pages; `python -m tests.docs.screens` takes them again, with a real Chromium."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from evbus_like.testing import new_hub
from tests import rpc
from tests.docs.blocks import DOCS
from tests.page.browser import browsing
from tests.page.load import PLUGINS, loaded

PICTURE = DOCS / "status-page.png"
SIZE = {"width": 1000, "height": 1000}
GROWS = 40.0  # seconds until the charts show something
LARGEST = 200_000  # bytes


async def take(folder: Path) -> None:
    """Take a picture of the status page of a bus under load, with one destination that is down."""
    sys.path.insert(0, str(rpc.write(folder / "site", **PLUGINS)))
    async with loaded(new_hub(), folder, "south") as load, browsing(viewport=SIZE, color_scheme="light") as context:
        page = await context.new_page()
        await page.goto(f"{load.url}/")
        await asyncio.sleep(GROWS / 2)
        load.down.add("north")
        await asyncio.sleep(GROWS / 4)
        load.down.clear()
        await asyncio.sleep(GROWS / 4)
        await page.screenshot(path=PICTURE)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as where:
        asyncio.run(take(Path(where)))
    if PICTURE.stat().st_size > LARGEST:
        sys.exit(f"{PICTURE} has more than {LARGEST} bytes: make it smaller")
