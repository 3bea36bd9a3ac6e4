"""A RabbitMQ that blocks publishers is said to be "open", then to give no answer, and gets each batch again and again.

RabbitMQ 3 says connection.blocked when a connection publishes during the alarm, so after the batch was written. The
publisher asks whether it is blocked only before it writes. So the batch waits for confirms until the lane's deadline
(30 s, state "open"), fails as an unknown outcome ("no answer in time"), the connection is given up, and a new one
writes the batch again. RabbitMQ reads all those copies once the alarm is over: an alarm of an hour brings a hundred
times the batch, to a broker that is short of memory.
"""

import asyncio

from evbus_like.testing import eventually
from tests.faults.conftest import *  # noqa: F403 - the fixtures
from tests.faults.test_rabbitmq import alarm

BATCH = 10


async def test_an_alarm_pauses_the_lane_that_says_so_and_sends_nothing_twice(rabbit_site, carried):
    async def happens(hub):
        async with alarm(rabbit_site.broker):
            await eventually(lambda: "block" in str(rabbit_site.status(hub)), timeout=20.0)
            # For several deadlines of the lane, the connection stays and nothing is sent again.
            tried, before = rabbit_site.proxy.tried, rabbit_site.delivered(hub)
            await asyncio.sleep(8.0)
            assert rabbit_site.delivered(hub) == before
            assert rabbit_site.proxy.tried == tried
            assert "block" in str(rabbit_site.status(hub))

    await carried(rabbit_site, happens, at_most=BATCH, batch_events=BATCH, timeout=2.0)
