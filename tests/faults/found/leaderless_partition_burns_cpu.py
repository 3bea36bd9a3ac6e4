"""While a partition with events in flight has no leader, aiokafka asks for the metadata without a pause.

Its sender forces an update each time it sees an unknown leader, and is woken by the answer: six tenths of a processor's
time, and as many requests as the cluster can answer, for as long as it lasts.
"""

import asyncio
import time

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from evbus_like.testing import running
from tests.faults.conftest import *  # noqa: F403 - the fixtures
from tests.faults.second_kafka import NODE
from tests.faults.test_leaderless import kafka_cluster  # noqa: F401 - a fixture


async def test_waiting_for_a_leader_costs_little_time_of_the_processor(kafka_cluster, fresh_name):  # noqa: F811
    first, second = kafka_cluster
    admin = AIOKafkaAdminClient(bootstrap_servers=first.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(fresh_name, -1, -1, replica_assignments={0: [1], 1: [NODE]})])
    finally:
        await admin.close()
    profile = {"connection": {"bootstrap_servers": first.bootstrap}, "topics": [fresh_name]}
    async with running({"kafka": {"default": profile}}) as hub:
        for key in "abcd":
            await hub.evbus.broker.put(key, 1, confirm="delivered")
        await asyncio.to_thread(second.kill)
        for key in "abcd":
            await hub.evbus.broker.put(key, 2)
        await asyncio.sleep(5.0)  # until the cluster has noticed
        busy, real = time.process_time(), time.monotonic()
        await asyncio.sleep(5.0)
        assert time.process_time() - busy < 0.2 * (time.monotonic() - real)
        await hub.evbus.init.stop(1.0)
