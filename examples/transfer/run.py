"""A chain of calls: front calls stock, and hands the request on to billing, which answers the first caller."""

import asyncio

import pop.hub


async def main() -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start({"internal": {"default": None}}))
    await hub.evbus.init.join()
    await hub.evbus.rpc.start()
    await hub.evbus.rpc.join()

    # What is called nameko.* goes along the whole chain, and so does the correlation id.
    headers = {"nameko.tenant": "north", "correlation-id": "order-7"}
    print(await hub.evbus.rpc.call("front", "order", kwargs={"item": "tea", "customer": "ann"}, headers=headers))

    await hub.evbus.init.stop()
    await listener


asyncio.run(main())
