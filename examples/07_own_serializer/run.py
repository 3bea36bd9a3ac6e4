"""A serializer of one's own, chosen by one profile; another profile gets the same event as JSON."""

import asyncio
from decimal import Decimal

import pop.hub

from evbus_like.errors import SerializeError


async def main() -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    contexts = {"internal": [{"default": {"routing_key": "json"}}, {"d*": {"routing_key": "csv", "serializer": "csv"}}]}
    listener = asyncio.create_task(hub.evbus.init.start(contexts))
    await hub.evbus.init.join()
    receipt = await hub.evbus.broker.put(body=["ann", 3, Decimal("9.90")])
    print(receipt.destinations)
    for name in ("json", "csv"):
        print(name, await (await hub.ingress.internal.get(name)).get())
    try:
        await hub.evbus.broker.put(body={"no": "list"})
    except SerializeError as error:
        print("refused:", error)
    print(await hub.evbus.init.stop())
    await listener


asyncio.run(main())
