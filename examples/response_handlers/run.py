"""Ask, and have the answer go to a handler: nobody waits, and the asker may have restarted meanwhile."""

import asyncio

import pop.hub

from evbus_like.testing import eventually


async def main() -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start({"internal": {"default": None}}))
    await hub.evbus.init.join()
    await hub.evbus.rpc.start()

    # The answers wait in a queue of the application, so the handlers may begin later, elsewhere, after a restart.
    hub.ASKED = [await hub.rpc.press.print_book.ask(title=title) for title in ("alice", "war and peace")]
    print("asked for", len(hub.ASKED), "books")
    print("handlers:", await hub.evbus.handlers.start())
    await eventually(lambda: sum(each["handled"] for each in hub.evbus.handlers.status().values()) == 2, timeout=10)

    await hub.evbus.init.stop()
    await listener


asyncio.run(main())
