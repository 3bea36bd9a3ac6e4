"""What only Kafka does: topics without a place, producers that are fenced, stops that hang."""

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from evbus_like.engine.sending import admission
from evbus_like.testing import eventually, running
from tests.faults.book import Book
from tests.faults.sites import KafkaSite
from tests.integration.conftest import strict_kafka  # noqa: F401 - a fixture
from tests.integration.support import DEADLINE, create_topic, read


@pytest.mark.fault(9)
async def test_only_the_record_over_the_size_limit_of_the_topic_is_dead_lettered(kafka, kafka_proxy, fresh_name, costs):
    # Given a topic that takes less than the profile believes
    site = KafkaSite(kafka, kafka_proxy, fresh_name)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        limited = NewTopic(fresh_name, 1, 1, topic_configs={"max.message.bytes": "20000"})
        await admin.create_topics([limited])
    finally:
        await admin.close()
    book = Book()
    # When a batch has one that is too large in its middle
    async with site.bus() as hub:
        for number in range(61):
            book.put_nowait(hub, size=30_000 if number == 30 else 200)
        account = await hub.evbus.init.stop(DEADLINE)
    # Then it alone is missing
    verdict = book.check(account, await site.arrived())
    costs(verdict)
    assert (account.delivered, account.dead_lettered, account.remaining) == (60, 1, 0)
    assert verdict.missing == 1


@pytest.mark.fault(14)
async def test_a_missing_topic_does_not_block_other_topics(strict_kafka, fresh_name):  # noqa: F811
    # Given a Kafka that makes no topics, and a profile whose events name their topics
    await create_topic(strict_kafka.bootstrap, fresh_name)
    profile = {"connection": {"bootstrap_servers": strict_kafka.bootstrap}}
    async with running({"kafka": {"default": profile}}) as hub:
        # When every other event names one that is missing
        for number in range(20):
            hub.evbus.broker.put_nowait(f"{fresh_name}-missing", number)
            hub.evbus.broker.put_nowait(fresh_name, number)
        account = await hub.evbus.init.stop(DEADLINE)
    # Then the others arrive, and those are dead-lettered
    assert (account.delivered, account.dead_lettered, account.remaining) == (20, 20, 0)
    records = await read(strict_kafka.bootstrap, fresh_name, 20)
    assert sorted(int(record.value) for record in records) == list(range(20))


async def leave_a_gap(_site, manager):
    """Skip numbers of the producer's batches, as a batch that was lost does."""
    for partition in list(manager._sequence_numbers):
        manager._sequence_numbers[partition] += 1000


async def fence(site, manager):
    """Write to every partition under the same producer id with a newer epoch: the older one is fenced from then on."""
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
async def test_a_producer_that_the_broker_refuses_is_replaced_and_its_batch_is_sent_again(kafka_site, carried, spoil):
    async def happens(hub):
        ours = hub.evbus.RUNTIME.bus.lanes[0].destination.ctx.producer
        for _ in range(2):
            refused = ours._producer
            await spoil(kafka_site, refused._txn_manager)
            await eventually(lambda refused=refused: ours._producer not in (refused, None))
            await kafka_site.flows(hub)

    account = await carried(kafka_site, happens, at_most=0)
    assert account.retries


@pytest.mark.fault(18)
async def test_with_a_clock_a_day_ahead_events_are_kept_and_the_error_says_why(kafka_site, monkeypatch, costs):
    # Given a clock further ahead than Kafka takes (message.timestamp.after.max.ms: an hour)
    real, book = admission.time, Book()
    monkeypatch.setattr(admission, "time", lambda: real() + 86_400)
    async with kafka_site.bus() as hub:
        for _ in range(10):
            await book.put(hub)
        # Then the refusal says what to look at, and nothing is given up
        trouble = await kafka_site.until(hub, "refused")
        account = await hub.evbus.init.stop(10.0)
    assert "Check the clocks" in trouble
    assert (account.dead_lettered, account.remaining) == (0, 10)
    costs(book.check(account, await kafka_site.arrived()))
