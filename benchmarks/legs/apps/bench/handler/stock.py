"""Writes a row for each event, once: with an inbox, or with a mark written by hand, as BENCH_INBOX says."""

import os

import evbus_like.handlers as evbus

MARK = "INSERT INTO marks (handler, event_id) VALUES (%s, %s) ON CONFLICT DO NOTHING"
WORK = "INSERT INTO work (event_id, body) VALUES (%s, %s)"
WAYS = {
    "inbox": evbus.handler("bench", "bench", inbox="shop", prefetch=1000),
    "by hand": evbus.handler("bench", "bench", prefetch=1000),
}
mark = WAYS.get(os.environ.get("BENCH_INBOX", ""), lambda function: function)


@mark
async def work(hub, event):
    values = (event.id, event.raw.decode())
    if os.environ["BENCH_INBOX"] == "inbox":
        await event.transaction.execute(WORK, values)
    else:
        async with hub.POOL.connection() as conn:
            if (await conn.execute(MARK, ("stock.work", event.id))).rowcount:
                await conn.execute(WORK, values)
    counter = hub.COUNTER
    counter.seen += 1
    if counter.seen == counter.wanted:
        counter.done.set()
