"""A sender whose clock is more than an hour ahead of Kafka's gives every event up.

Records carry the time of acceptance; Kafka 4 refuses one that is further ahead than message.timestamp.after.max.ms (an
hour) with InvalidTimestampError, which counts as a poison event: each is dead-lettered, and for now that means gone.
A clock can be put right, so this is a refusal to hold events for; or the record can go without our timestamp.
"""

from evbus_like.engine import bus
from tests.faults.book import Book
from tests.faults.conftest import *  # noqa: F403 - the fixtures


async def test_a_clock_that_is_a_day_ahead_costs_no_event(kafka_site, monkeypatch):
    real, book = bus.time, Book()
    monkeypatch.setattr(bus, "time", lambda: real() + 86_400)
    async with kafka_site.bus() as hub:
        for _ in range(10):
            await book.put(hub)
        account = await hub.evbus.init.stop(10.0)
    assert account.dead_lettered == 0
