"""Two orders, one of them paid: after half an hour, which a test need not wait for, the other gets a reminder."""

import asyncio
import os
import tempfile

from evbus_like.testing import handling, new_hub


async def main() -> None:
    hub = new_hub()
    hub.UNPAID = {}
    async with handling(hub) as bus:
        for order in (7, 8):
            await bus.dispatch("shop", "ordered", {"order": order})
            await bus.handled("reminders.plan")
        await bus.dispatch("shop", "paid", {"order": 7})
        await bus.handled("reminders.forget")
        print("29 minutes:", await bus.pass_time(29 * 60), "events are due")
        count = await bus.pass_time(30 * 60)
        await bus.handled("reminders.remind")
        print("30 minutes:", count, "event was due")


with tempfile.TemporaryDirectory() as folder:
    os.environ["EVBUS_OUTBOX"] = f"{folder}/outbox.sqlite"  # it holds what is not due; see docs/concepts.md
    asyncio.run(main())
