"""Middleware: functions that every message passes, and that may change it, answer it or refuse it."""

import asyncio

import pop.hub

from evbus_like.errors import Refused


async def main() -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start({"internal": {"default": None}}))
    await hub.evbus.init.join()
    await hub.evbus.rpc.start()
    await hub.evbus.rpc.join()

    hub.TOKEN = ""
    try:
        await hub.rpc.account.balance("ann")
    except Refused as error:
        print("Refused:", error)

    hub.TOKEN = "secret"
    print("with the token, in cents:", await hub.rpc.account.balance("ann"))
    print("answered on the way:", await hub.rpc.account.balance("bob"))

    await hub.evbus.init.stop()
    await listener


asyncio.run(main())
