"""Faults of Kafka alone: size limits, missing topics, fenced producers, timestamps that are refused."""

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from evbus_like.engine.sending import admission
from evbus_like.kafka import failures
from evbus_like.testing import eventually, running
from tests.faults.sender import Sender
from tests.faults.sites import KafkaSite
from tests.integration.conftest import strict_kafka  # noqa: F401 - a fixture
from tests.integration.support import DEADLINE, create_topic, read


@pytest.mark.fault(9)
async def test_only_the_record_over_the_size_limit_of_the_topic_is_dead_lettered(
    kafka, kafka_proxy, fresh_name, report_costs
):
    # Given a topic with a lower limit than the profile assumes
    site = KafkaSite(kafka, kafka_proxy, fresh_name)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        limited = NewTopic(fresh_name, 1, 1, topic_configs={"max.message.bytes": "20000"})
        await admin.create_topics([limited])
    finally:
        await admin.close()
    sender = Sender()
    # When a record in the middle of a batch is too large
    async with site.bus() as hub:
        for number in range(61):
            sender.put_nowait(hub, size=30_000 if number == 30 else 200)
        account = await hub.evbus.init.stop(DEADLINE)
    # Then only that one is missing
    costs = sender.check(account, await site.arrived())
    report_costs(costs)
    assert (account.delivered, account.dead_lettered, account.remaining) == (60, 1, 0)
    assert costs.missing == 1


@pytest.mark.fault(14)
async def test_a_missing_topic_does_not_block_other_topics(strict_kafka, fresh_name):  # noqa: F811
    # Given a Kafka that creates no topics, and a profile whose events name their topics
    await create_topic(strict_kafka.bootstrap, fresh_name)
    profile = {"connection": {"bootstrap_servers": strict_kafka.bootstrap}}
    async with running({"kafka": {"default": profile}}) as hub:
        # When every other event names one that is missing
        for number in range(20):
            hub.evbus.broker.put_nowait(f"{fresh_name}-missing", number)
            hub.evbus.broker.put_nowait(fresh_name, number)
        account = await hub.evbus.init.stop(DEADLINE)
    # Then those are dead-lettered and the others arrive
    assert (account.delivered, account.dead_lettered, account.remaining) == (20, 20, 0)
    records = await read(strict_kafka.bootstrap, fresh_name, 20)
    assert sorted(int(record.value) for record in records) == list(range(20))


async def leave_a_gap(_site, manager):
    """Skip sequence numbers of the producer, as a lost batch does."""
    for partition in list(manager._sequence_numbers):
        manager._sequence_numbers[partition] += 1000


async def fence(site, manager):
    """Write to every partition under the same producer id with a newer epoch: which fences the older one."""
    usurper = AIOKafkaProducer(bootstrap_servers=site.broker.bootstrap, acks="all", enable_idempotence=True)
    await usurper.start()
    try:
        usurper._txn_manager._pid_and_epoch = manager._pid_and_epoch._replace(epoch=manager.producer_epoch + 1)
        for partition in range(2):
            await usurper.send_and_wait(site.name, value=None, key=b"usurper", partition=partition)
    finally:
        await usurper.stop()


@pytest.mark.fault(17)
@pytest.mark.parametrize("spoil", [leave_a_gap, fence])
async def test_a_producer_that_the_broker_refuses_is_replaced_and_its_batch_is_sent_again(
    kafka_site, stream_through, spoil
):
    async def fault(hub):
        ours = hub.evbus.RUNTIME.bus.lanes[0].destination.ctx.producer
        for _ in range(2):
            refused = ours._producer
            await spoil(kafka_site, refused._txn_manager)
            await eventually(lambda refused=refused: ours._producer not in (refused, None))
            await kafka_site.flows(hub)

    account = await stream_through(kafka_site, fault, at_most=0)
    assert account.retries


@pytest.mark.fault(18)
async def test_with_a_clock_a_day_ahead_events_are_kept_and_the_error_says_why(kafka_site, monkeypatch, report_costs):
    # Given a clock further ahead than Kafka takes (message.timestamp.after.max.ms: an hour)
    real, sender = admission.time, Sender()
    for clock in (admission, failures):
        monkeypatch.setattr(clock, "time", lambda: real() + 86_400)
    async with kafka_site.bus() as hub:
        for _ in range(10):
            await sender.put(hub)
        # Then the error says what to check, and no event is dead-lettered
        trouble = await kafka_site.until(hub, "refused")
        account = await hub.evbus.init.stop(10.0)
    assert "Check the clocks" in trouble
    assert (account.dead_lettered, account.remaining) == (0, 10)
    report_costs(sender.check(account, await kafka_site.arrived()))
