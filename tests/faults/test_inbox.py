"""A worker with an inbox is killed again and again: what its handler adds up is exact, to the unit."""

import asyncio
import json
import random
from contextlib import suppress

import pytest

from evbus_like.postgres import ddl
from evbus_like.testing import eventually, running
from tests import launcher
from tests.brokers.process import BrokerError
from tests.integration.support import DEADLINE

EVENTS = 400
KILLS = 4
LONG = 3 * DEADLINE  # a worker that a broker refuses while it starts tries again after up to 30 s
OWN = "create table account (sum bigint, count int); insert into account values (0, 0);"
OWN += "create table ledger (event_id text, amount int)"


@pytest.fixture(params=["rabbitmq", "kafka"])
def source_profile(request):
    """A broker, the provider and the data of a profile."""
    broker = request.getfixturevalue(request.param)
    if request.param == "rabbitmq":
        return broker, "amqp", {"connection": broker.url}
    return broker, "kafka", {"connection": {"bootstrap_servers": broker.bootstrap}, "session_timeout": 3}


async def begun(plan):
    """Start a worker, and return it once it receives."""
    process = await launcher.start_reading("tests.faults.inbox_worker", [json.dumps(plan)])
    async with asyncio.timeout(DEADLINE):
        assert await process.stdout.readline() == b"ready\n"
    return process


async def test_the_sum_of_an_inbox_is_exact_however_often_worker_database_and_broker_are_killed(
    source_profile, postgres, fresh_name
):
    # Given a handler that adds up amounts, and puts an event for each, in the transaction of its inbox
    shop = postgres.database()
    postgres.sql(ddl.statements() + OWN, shop)
    broker, provider, data = source_profile
    profiles = {
        provider: {"default": data},
        "internal": {"added": {"routing_key": "added", "max_events": 10 * EVENTS, "when_full": "drop_new"}},
        "postgres": {"shop": {"connection": postgres.url(shop), "lease": 1.0, "timeout": 3.0}},
    }
    plan = {"profiles": profiles, "source": f"orders_{fresh_name}"}
    workers = [await begun(plan)]

    def handled():
        with suppress(BrokerError):
            return int(postgres.sql("select count from account", shop))
        return 0

    # When events come, some of them twice, and worker, database and broker are killed or restarted at random moments
    amounts = [random.randint(1, 1000) for _ in range(EVENTS)]
    try:
        async with running({provider: {"default": data}}) as hub:
            for number, amount in enumerate(amounts):
                event_id = (await hub.evbus.broker.dispatch(plan["source"], "placed", amount, key=str(number))).id
                if number % 5 == 0:
                    again = hub.evbus.RUNTIME.putter._event(
                        "placed", amount, "default", {"evbus-service": plan["source"]}, str(number)
                    )
                    again.id = event_id
                    await hub.evbus.RUNTIME.bus.intake.put(again)
        for kill in range(KILLS):
            until = EVENTS * (kill + 1) // (KILLS + 1)
            await eventually(lambda until=until: handled() >= until, LONG)
            await asyncio.sleep(random.uniform(0, 0.1))
            if kill == 0:
                await asyncio.to_thread(broker.restart)
            workers[-1].kill()
            await workers[-1].wait()
            if kill == 1:
                await asyncio.to_thread(postgres.kill)
                await asyncio.to_thread(postgres.start)
            workers.append(await begun(plan))
            if kill == 2:
                await asyncio.to_thread(postgres.kill)
                await asyncio.to_thread(postgres.start)
                await asyncio.to_thread(broker.kill)
                await asyncio.to_thread(broker.start)
        await eventually(lambda: handled() >= EVENTS, LONG)
        marks = "select count(*) from evbus_inbox where handler = 'shop.add'"
        added = "select (select sum(delivered + dead_lettered) from evbus_part) + (select count(*) from evbus_outbox)"
        await asyncio.sleep(1.0)  # repeats that are still to come

        # Then the sum, the marks and the events that were put are those of each event once
        assert postgres.sql("select sum, count from account", shop) == f"{sum(amounts)}|{EVENTS}\n"
        assert postgres.sql("select sum(amount), count(distinct event_id), count(*) from ledger", shop) == (
            f"{sum(amounts)}|{EVENTS}|{EVENTS}\n"
        )
        assert postgres.sql(marks, shop) == f"{EVENTS}\n"
        assert postgres.sql(added, shop) == f"{EVENTS}\n"
    finally:
        for process in workers:
            if process.returncode is None:
                process.kill()
            await process.wait()
