"""A new handler on Kafka begins where it likes: here with the oldest record, long before it was written.

The broker: EVBUS_TEST_KAFKA (host:port), or localhost:9092 where that is not set. It must create topics by itself.
"""

import asyncio
import os
import uuid
from typing import Any

import pop.hub

from evbus_like.testing import eventually

BOOTSTRAP = os.environ.get("EVBUS_TEST_KAFKA", "localhost:9092")
TOPIC = f"evbus-example-{uuid.uuid4().hex[:8]}"  # without it, the topic is bank.events
PROFILES = {"kafka": {"default": {"connection": {"bootstrap_servers": BOOTSTRAP}, "topics": [TOPIC]}}}


async def pay(hub: Any, account: str, amount: int) -> None:
    body = {"account": account, "amount": amount}
    await hub.evbus.broker.dispatch("bank", "paid", body, key=account, confirm="delivered", timeout=30)


async def main() -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start(PROFILES))
    await hub.evbus.init.join()
    for account, amount in (("ann", 5), ("ben", 7), ("ann", 2)):
        await pay(hub, account, amount)

    await hub.evbus.handlers.start()
    await hub.evbus.handlers.join()
    await pay(hub, "ben", 1)
    await eventually(lambda: sum(each["handled"] for each in hub.evbus.handlers.status().values()) == 5, timeout=60)
    print("add_up:", dict(sorted(hub.handler.balance.balance.items())))
    await hub.evbus.init.stop()
    await listener


asyncio.run(main())
