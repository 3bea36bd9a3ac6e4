"""A batch that one event has spoilt is sent again one by one, and the account's `retries` does not count it.

A message beyond RabbitMQ's max_message_size closes the channel with PRECONDITION_FAILED. `Worker._failed` then sets
`_singles` and returns without `lane.retried`: what stood before the poison in the batch arrives twice (up to
batch_events - 1 events), and the account says that nothing was sent again.
"""

import asyncio

from tests.faults.book import Book
from tests.faults.conftest import *  # noqa: F403 - the fixtures
from tests.integration.support import DEADLINE

LIMIT = "application:{}_env(rabbit, max_message_size{})."


async def test_repeats_after_a_poisoned_batch_are_counted_as_retries(rabbit_site):
    ctl = rabbit_site.broker.ctl
    before = (await asyncio.to_thread(ctl, "eval", LIMIT.format("get", ""))).strip().removeprefix("{ok,").rstrip("}")
    await asyncio.to_thread(ctl, "eval", LIMIT.format("set", ", 50000"))
    book = Book()
    try:
        async with rabbit_site.bus() as hub:
            for number in range(101):
                book.put_nowait(hub, size=60_000 if number == 50 else 0)
            account = await hub.evbus.init.stop(DEADLINE)
    finally:
        await asyncio.to_thread(ctl, "eval", LIMIT.format("set", f", {before}"))
    book.check(account, await rabbit_site.arrived())
