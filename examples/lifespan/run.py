"""Start and stop: an application opens its database before the first event, and closes it after the last."""

import asyncio

import pop.hub

from evbus_like.testing import eventually


async def main() -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start({"internal": {"default": None}}))
    await hub.evbus.init.join()
    await hub.evbus.handlers.start()
    await hub.evbus.handlers.join()

    for number in (1, 2):
        await hub.evbus.broker.dispatch("shop", "sold", {"id": number})
    await eventually(lambda: sum(each["handled"] for each in hub.evbus.handlers.status().values()) == 2, timeout=10)

    await hub.evbus.init.stop()
    await listener


asyncio.run(main())
