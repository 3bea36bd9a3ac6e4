"""A destination that takes nothing until `hub.ingress.gate.OPEN` is set, and then everything, unless it is `DOWN`."""

import asyncio

from evbus_like.errors import TransientError

ACCT = ["gate"]


def __init__(hub):
    hub.ingress.gate.OPEN = asyncio.Event()
    hub.ingress.gate.DOWN = False


async def publish_batch(hub, ctx, events):
    """Wait until it is open, and call the batch delivered."""
    await hub.ingress.gate.OPEN.wait()
    if hub.ingress.gate.DOWN:
        raise TransientError("it is down")
    await asyncio.sleep(0)
