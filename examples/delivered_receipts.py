"""Wait until every destination has confirmed an event, and see what happens when one cannot."""

import asyncio

import pop.hub

from evbus_like.errors import NotDelivered

PROFILES = {
    "internal": {"orders": {}, "order?": {"routing_key": "copy"}},
    "amqp": {"far away": {"connection": "amqp://127.0.0.1:1/"}},  # nobody listens there
}


async def main() -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start(PROFILES))  # an absent broker does not stop the bus
    await hub.evbus.init.join()

    receipt = await hub.evbus.broker.put("paid", {"id": 1}, profile="orders", confirm="delivered")
    print("delivered:", receipt.outcomes)
    for profile in ("nobody", "far away"):
        try:
            await hub.evbus.broker.put("paid", {"id": 2}, profile=profile, confirm="delivered", timeout=1)
        except NotDelivered as error:
            print(f"{type(error).__name__}: {error}")
            print("  still pending:", error.receipt.pending)
    account = await hub.evbus.init.stop(timeout=1)
    print(account)
    await listener


asyncio.run(main())
