"""An application that is killed: it writes rows and puts an event with each, in one transaction, and relays.

    python -m tests.faults.postgres_app DATABASE_URL AMQP_URL QUEUE WRITERS

With no writers it only relays. Some events are put for later, and some of these cancelled. A transaction that is to be
rolled back notes its event's id in the table `undone` by one of its own, before.
"""

from __future__ import annotations

import asyncio
import random
import sys
from typing import Any

import psycopg

from evbus_like.testing import new_hub

QUICK = {"first": 0.05, "max": 0.5}


async def write(hub: Any, url: str) -> None:
    """Write until this process ends; whatever the database does, begin again."""
    while True:
        try:
            async with asyncio.timeout(10), await psycopg.AsyncConnection.connect(url) as conn:
                while True:
                    await _one(hub, conn)
        except Exception:
            await asyncio.sleep(0.05)


async def _one(hub: Any, conn: Any) -> None:
    key = f"k{random.randrange(40)}"
    await conn.execute("insert into work (key) values (%s)", [key])
    later = {"delay": random.choice([0, 0.3, 2])} if random.random() < 0.3 else {}
    receipt = await hub.evbus.broker.put("work", {"key": key}, within=conn, key=key, **later)
    if later and random.random() < 0.2:
        await hub.evbus.broker.cancel(receipt.schedule_id, within=conn)
        await conn.execute("insert into cancelled values (%s)", [receipt.id])
    await conn.execute("update work set event_id = %s where id = currval('work_id_seq')", [receipt.id])
    await asyncio.sleep(random.choice([0, 0, 0, 0.002, 0.05]))
    if random.random() < 0.2:
        await conn.rollback()
        await conn.execute("insert into undone values (%s)", [receipt.id])
    await conn.commit()


async def main(url: str, amqp: str, queue: str, writers: int) -> None:
    """Run until killed, or until standard input ends."""
    hub = new_hub()
    given = {
        "amqp": {"default": {"connection": {"url": amqp}, "routing_key": queue, "retry": QUICK, "timeout": 3}},
        "postgres": {"shop": {"connection": url, "lease": 2, "timeout": 3}},
    }
    listener = asyncio.create_task(hub.evbus.init.start(given))
    await hub.evbus.init.join()
    tasks = [asyncio.create_task(write(hub, url)) for _ in range(writers)]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await hub.evbus.init.stop(10)
    await listener


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
