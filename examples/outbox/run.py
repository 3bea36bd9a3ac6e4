"""An order and its event are stored in one transaction, by a process that crashes on purpose."""

import asyncio
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pop.hub
import psycopg

SERVER = os.environ.get("EVBUS_TEST_POSTGRES", "postgresql://postgres@localhost/postgres")
SHOP = Path(__file__).with_name("shop.py")


def new_database() -> str:
    """Create a database with the tables of the outbox and one of our own, and return its URL."""
    name = f"evbus_example_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(SERVER, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
    url = SERVER.rpartition("/")[0] + f"/{name}"
    sql = subprocess.run(["evbus", "db", "schema"], capture_output=True, text=True, check=True).stdout
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql)
        conn.execute("CREATE TABLE orders (what text)")
    return url


async def main() -> None:
    """Let the shop crash, then relay what it has committed."""
    url = new_database()
    for what in ("commit", "rollback", "crash before the commit", "crash after the commit"):
        shop = await asyncio.create_subprocess_exec(sys.executable, str(SHOP), url, what)
        print(f"{what}: exit code {await shop.wait()}")
    with psycopg.connect(url) as conn:
        print("orders:", [what for (what,) in conn.execute("SELECT what FROM orders")])

    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    profiles = {"internal": {"default": {"routing_key": "all"}}, "postgres": {"shop": {"connection": url}}}
    listener = asyncio.create_task(hub.evbus.init.start(profiles))
    await hub.evbus.init.join()
    queue = await hub.ingress.internal.get("all")
    events = sorted([await queue.get() for _ in range(2)])
    print("events:", events)
    await hub.evbus.init.stop()
    await listener
    with psycopg.connect(url) as conn:
        print("waiting:", conn.execute("SELECT count(*) FROM evbus_outbox").fetchone()[0])


asyncio.run(main())
