import asyncio

import pop.hub


async def main():
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    contexts = {"shout": {"orders*": {"prefix": "heard"}}}
    # or: contexts = await hub.evbus.acct.profiles(acct_file="credentials.yml")
    running = asyncio.create_task(hub.evbus.init.start(contexts))
    await hub.evbus.init.join()
    await hub.evbus.broker.put("one", 1, profile="orders-eu", confirm="delivered")
    await hub.evbus.init.stop()
    await running


asyncio.run(main())
