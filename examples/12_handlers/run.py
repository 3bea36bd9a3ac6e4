"""Two handlers, in memory. In this folder, `evbus handlers` lists and `evbus run` runs them."""

import asyncio

import pop.hub

from evbus_like.testing import eventually


async def main() -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start({"internal": {"default": None}}))
    await hub.evbus.init.join()
    print("handlers:", await hub.evbus.handlers.start())
    await hub.evbus.handlers.join()

    # The service orders says what happened; handlers that want to know are called.
    for number in (1, 2):
        await hub.evbus.broker.dispatch("orders", "order_placed", {"id": number})
    # A program that ends by itself: it waits until all was handled. `evbus run` stays until a signal comes.
    await eventually(lambda: sum(each["handled"] for each in hub.evbus.handlers.status().values()) == 4, timeout=10)
    for each in hub.evbus.handlers.status().values():
        print(each["handler"], "handled", each["handled"], "retried", each["retried"])
    print(await hub.evbus.init.stop())
    await listener


asyncio.run(main())
