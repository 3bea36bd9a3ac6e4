"""A process that takes orders and crashes on purpose: `python shop.py URL "crash after the commit"`."""

import asyncio
import os
import sys

import pop.hub
import psycopg


async def main(url: str, what: str) -> None:
    """Write an order and its event in one transaction, and end it as the command line says."""
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    # This process stores events and relays none: another one does.
    profiles = {"postgres": {"shop": {"connection": url, "relay": False}}}
    listener = asyncio.create_task(hub.evbus.init.start(profiles))
    await hub.evbus.init.join()

    conn = await psycopg.AsyncConnection.connect(url)
    await conn.execute("INSERT INTO orders (what) VALUES (%s)", [what])
    await hub.evbus.broker.dispatch("orders", "placed", {"what": what}, within=conn)
    if what == "crash before the commit":
        os.kill(os.getpid(), 9)
    if what == "rollback":
        await conn.rollback()
    await conn.commit()
    if what == "crash after the commit":
        os.kill(os.getpid(), 9)

    await conn.close()
    await hub.evbus.init.stop()
    await listener


asyncio.run(main(sys.argv[1], sys.argv[2]))
