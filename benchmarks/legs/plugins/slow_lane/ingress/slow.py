"""A destination that takes its time: `delay` seconds a batch."""

import asyncio

ACCT = ["slow"]


async def publish_batch(hub, ctx, events):
    """Wait, and call the batch delivered."""
    await asyncio.sleep(ctx.acct.delay)
