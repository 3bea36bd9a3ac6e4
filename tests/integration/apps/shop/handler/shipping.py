"""Handlers of the service shipping."""

import asyncio
import pathlib
import time

import evbus_like.handlers as evbus


@evbus.handler("orders", "order_placed")
async def ship(hub, event):
    await hub.shop.stock.take(event.body["id"])
    await hub.evbus.broker.dispatch("shipping", "shipped", event.body)


@evbus.handler("orders", "order_slow")
async def slow(hub, event):
    """Wait for a file."""
    print("slow has begun", flush=True)
    while not _may_go():  # noqa: ASYNC110 - a file cannot wake us
        await asyncio.sleep(0.02)
    await hub.evbus.broker.dispatch("shipping", "shipped", event.body)


def _may_go():
    return pathlib.Path("go").exists()


@evbus.handler("orders", "order_stuck")
def stuck(hub, event):
    """Never end, in a thread."""
    print("stuck has begun", flush=True)
    time.sleep(600)


@evbus.handler("orders", "order_lost", on_error=evbus.SHUTDOWN)
async def lose(hub, event):
    raise ValueError(f"order {event.body['id']} is lost")
