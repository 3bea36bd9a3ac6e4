"""Rates that machines share through the application's PostgreSQL: here each bus stands for a machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest

from evbus_like.engine.rate import Rate
from evbus_like.engine.shared_rate import SharedBucket, SharedLimit
from evbus_like.postgres import ddl
from evbus_like.postgres.database import Database
from evbus_like.postgres.rates import SharedRates
from evbus_like.testing import eventually, running
from tests.brokers.postgres import PostgreSQL
from tests.integration.sources import handler, on_hub
from tests.integration.support import DEADLINE

RATE = 100


@pytest.fixture
def url(postgres: PostgreSQL) -> str:
    name = postgres.database()
    postgres.sql(ddl.statements(), name)
    return postgres.url(name)


@asynccontextmanager
async def machines(url: str, count: int = 2) -> AsyncIterator[list[SharedRates]]:
    made = [SharedRates(Database("shop", url), f"machine {number}") for number in range(count)]
    yield made
    for each in made:
        await each.close()


async def use(bucket: SharedBucket, count: int) -> list[float]:
    """Take so many places, one after the other, and return when they could be used."""
    times = []
    for _ in range(count):
        if bucket.lacks():
            await bucket.refill()
        await asyncio.sleep(bucket.reserve())
        times.append(monotonic())
    return times


async def use_all(buckets: list[SharedBucket], count: int) -> list[float]:
    """Take so many places from each at the same time."""
    return sorted(each for its in await asyncio.gather(*(use(bucket, count) for bucket in buckets)) for each in its)


def buckets(ledgers: list[SharedRates], rate: Rate) -> list[SharedBucket]:
    return [SharedBucket(rate, SharedLimit(each, "handler shop.ship", None)) for each in ledgers]


async def test_two_machines_together_use_no_more_places_than_the_rate_has_and_ask_a_few_times(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    take = SharedRates.take

    async def counted(self: SharedRates, name: str, seconds: float) -> Any:
        nonlocal asked
        asked += 1
        return await take(self, name, seconds)

    monkeypatch.setattr(SharedRates, "take", counted)
    async with machines(url) as ledgers:
        both = buckets(ledgers, Rate(RATE, 1.0))
        times = await use_all(both, 100)
        assert ledgers[0].status() == {"database": "postgres:shop", "runs": 2, "trouble": ""}
    # With a rate each it would be half of the time; what comes at once is 5 places of each
    assert times[-1] - times[0] >= (200 - 2 * 5 - 2) / RATE
    assert asked <= 60


async def test_a_place_that_is_far_away_is_not_taken_before_its_time(url: str, postgres: PostgreSQL) -> None:
    async with machines(url) as (first, second):
        ours, theirs = buckets([first, second], Rate(1, 3600.0))
        assert len(await use(ours, 1)) == 1
        waiting = asyncio.create_task(use(theirs, 1))
        await asyncio.sleep(0.3)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        # Then somebody sets the clock back: it waits for one place at the most
        sql = "update evbus_rate set used = used + 1e9 returning 1"
        postgres.sql(sql, url.rpartition("/")[2])
        found = await first.take("handler shop.ship", 3600.0)
        assert found is not None
        assert (found.taken, found.wait <= 3601) == (False, True)


async def test_while_the_database_is_away_each_run_keeps_to_its_share_and_then_they_share_again(
    url: str, postgres: PostgreSQL
) -> None:
    async with machines(url) as ledgers:
        both = buckets(ledgers, Rate(RATE, 1.0))
        await asyncio.gather(*(use(each, 10) for each in both))
        await asyncio.gather(*(use(each, 10) for each in both))
        await asyncio.to_thread(postgres.kill)
        try:
            times = await use_all(both, 60)
            assert "keeps to its share of the rates, 1/2" in ledgers[0].status()["trouble"]
        finally:
            await asyncio.to_thread(postgres.start)
        assert times[-1] - times[0] >= (120 - 60) / RATE, "those at hand, and of each run a few at once"
        await eventually(lambda: not ledgers[0].trouble, DEADLINE)
        assert len(await use(both[0], 20)) == 20


async def test_the_rate_of_a_handler_and_that_of_a_profile_hold_for_two_buses(url: str, fresh_name: str) -> None:
    profiles = {"internal": {"default": {"rate": f"{RATE}/s"}}, "postgres": {"shop": {"connection": url}}}
    handled: list[float] = []

    async def take(event: Any) -> None:
        handled.append(monotonic())

    async with running(profiles) as one, running(profiles) as two:
        hubs = (one, two)
        receiving = [on_hub(hub, profiles, handler(take, fresh_name, rate=f"{RATE // 2}/s")) for hub in hubs]
        async with receiving[0], receiving[1]:
            for hub in hubs:
                for number in range(40):
                    hub.evbus.broker.dispatch_nowait(fresh_name, "created", number)
            await eventually(lambda: len(handled) == 80, DEADLINE)
            assert one.evbus.init.status()["rates"] == {"database": "postgres:shop", "runs": 1, "trouble": ""}
            (row,) = list(one.evbus.init.status()["destinations"].values())
            assert row["limited"]
    assert handled[-1] - handled[0] >= (80 - 2 * 3 - 2) / (RATE // 2)


async def test_rates_are_not_shared_where_the_profile_says_so(url: str) -> None:
    profiles = {"internal": {"default": None}, "postgres": {"shop": {"connection": url, "rates": False}}}
    async with running(profiles) as hub:
        assert hub.evbus.init.status()["rates"] is None
