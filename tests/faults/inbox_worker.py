"""A worker process that adds up amounts in a database, with an inbox: `python -m tests.faults.inbox_worker PLAN`.

The plan is JSON: `profiles`, and the service `source` of the events. Prints "ready"; it is to be killed.
"""

import asyncio
import json
import random
import sys

from evbus_like.testing import running
from tests.integration.sources import handler, on_hub


async def work(plan):
    """Receive until SIGKILL."""
    profiles = plan["profiles"]
    async with running(profiles) as hub:

        async def add(event):
            within = event.transaction
            await within.execute("insert into ledger values (%s, %s)", [event.id, event.body])
            await asyncio.sleep(random.uniform(0, 0.01))
            await within.execute("update account set sum = sum + %s, count = count + 1", [event.body])
            await hub.evbus.broker.put("added", event.body, "added", within=within)
            if random.random() < 0.1:
                raise ValueError("drawn by lot")

        options = {"inbox": "shop", "max_workers": 5, "prefetch": 20, "backoff": 0.01, "attempts": 1000}
        made = handler(add, plan["source"], "placed", service="shop", name="add", **options)
        async with on_hub(hub, profiles, made):
            print("ready", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
