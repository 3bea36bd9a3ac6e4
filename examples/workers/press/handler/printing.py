"""The service printing: its workers share the pages, and each of them hears of new prices."""

import asyncio
import os

import evbus_like.handlers as evbus

WORKER = os.environ.get("WORKER", "worker")


@evbus.handler("editor", "page")
async def print_page(hub, event):
    """One worker gets a page; if it is killed before it has printed, another one gets it."""
    print(f"{WORKER}: page {event.body['number']}{', again' if event.redelivered else ''}", flush=True)
    if event.body["number"] == 1 and not event.redelivered:
        await asyncio.sleep(3600)


@evbus.handler("editor", "prices", delivery=evbus.BROADCAST, reliable=False)
async def note_prices(hub, event):
    """Every worker gets the prices."""
    print(f"{WORKER}: prices {event.body}", flush=True)
