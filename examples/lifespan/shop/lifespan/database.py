"""The database of the application: opened before the first event is received, closed after the last."""

import sqlite3


async def start(hub):
    hub.DATABASE = sqlite3.connect(":memory:")
    hub.DATABASE.execute("CREATE TABLE orders (id INTEGER)")
    print("the database is open")


async def stop(hub):
    (count,) = hub.DATABASE.execute("SELECT count(*) FROM orders").fetchone()
    hub.DATABASE.close()
    print("the database is closed, with", count, "orders")
