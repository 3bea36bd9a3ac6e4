# Put one event, and read it back from memory.
import asyncio

import pop.hub


async def main() -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start({"internal": {"default": {}}}))
    await hub.evbus.init.join()
    await hub.evbus.broker.put(routing_key="orders", body={"id": 1, "paid": True})
    queue = await hub.ingress.internal.get("orders")
    print("got", await queue.get())
    print(await hub.evbus.init.stop())
    await listener


asyncio.run(main())
