"""What plain aiokafka sees of our records: keys, partitions, topics, headers and compression."""

import time

import pytest

from evbus_like.errors import BadEvent, NotDelivered
from evbus_like.testing import running
from tests.integration.support import QUICK, create_topic, read, until

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}  # the batch attributes of Kafka's record format, version 2


def profile(kafka, connection=None, **options):
    connection = {"bootstrap_servers": kafka.bootstrap, **(connection or {})}
    return {"kafka": {"default": {"connection": connection, **options}}}


async def sent(kafka, topic, profiles, **event):
    """Put one event and give its record and its receipt."""
    async with running(profiles) as hub:
        receipt = await hub.evbus.broker.put(**{"body": {"n": 1}, **event}, confirm="delivered")
    (record,) = await read(kafka.bootstrap, topic, 1)
    return record, receipt


async def test_a_record_says_what_and_when(kafka, fresh_name):
    before = int(time.time() * 1000)
    event = {"routing_key": fresh_name, "headers": {"tenant": "blue", "attempt": 3}}
    record, receipt = await sent(kafka, fresh_name, profile(kafka), **event)
    assert dict(record.headers) == {
        "evbus-id": receipt.id.encode(),
        "content-type": b"application/json",
        "tenant": b"blue",
        "attempt": b"3",
    }
    assert before <= record.timestamp <= time.time() * 1000
    assert record.value == b'{"n":1}'


async def test_a_receipt_says_where_the_record_is(kafka, fresh_name):
    await create_topic(kafka.bootstrap, fresh_name)
    async with running(profile(kafka, topics=[fresh_name], partition=0)) as hub:
        for number in range(3):
            receipt = await hub.evbus.broker.put(body=number, confirm="delivered")
            assert receipt.answers == {"kafka:default": {"topic": fresh_name, "partition": 0, "offset": number}}
            assert receipt.attempts == {"kafka:default": 1}
    records = await read(kafka.bootstrap, fresh_name, 3)
    assert [(record.offset, record.value) for record in records] == [(0, b"0"), (1, b"1"), (2, b"2")]


async def test_the_record_key_is_the_profiles_before_the_events(kafka, fresh_name):
    profiles = profile(kafka, topics=[fresh_name], key="profile's")
    record, _ = await sent(kafka, fresh_name, profiles, routing_key="routing", key="event's")
    assert record.key == b"profile's"


async def test_the_record_key_is_the_events_before_the_routing_key(kafka, fresh_name):
    record, _ = await sent(kafka, fresh_name, profile(kafka, topics=fresh_name), routing_key="routing", key=b"\x00\xff")
    assert record.key == b"\x00\xff"


async def test_the_record_key_is_the_routing_key_where_nobody_gives_another(kafka, fresh_name):
    record, _ = await sent(kafka, fresh_name, profile(kafka, topics=[fresh_name]), routing_key="žába")
    assert record.key == "žába".encode()


async def test_the_profile_can_fix_the_partition(kafka, fresh_name):
    await create_topic(kafka.bootstrap, fresh_name, partitions=3)
    async with running(profile(kafka, topics=[fresh_name], partition=2)) as hub:
        for number in range(20):
            await hub.evbus.broker.put(f"key {number}", number)
    assert {record.partition for record in await read(kafka.bootstrap, fresh_name, 20)} == {2}


async def test_a_partition_that_is_not_there_holds_the_events_and_is_named(kafka, fresh_name):
    await create_topic(kafka.bootstrap, fresh_name, partitions=1)
    async with running(profile(kafka, topics=[fresh_name], partition=7)) as hub:
        await hub.evbus.broker.put(body=1)
        assert f"{fresh_name!r} has no partition 7" in await until(hub, "kafka:default", "refused")
        assert (await hub.evbus.init.stop(5.0)).remaining == 1


@pytest.mark.parametrize("codec", CODECS)
async def test_compressed_events_arrive_whole_and_are_kept_compressed(kafka, fresh_name, codec):
    kafka.needs_tls()  # a broker of our own, whose files can be looked at
    await create_topic(kafka.bootstrap, fresh_name, partitions=1)
    profiles = profile(kafka, {"compression_type": codec})
    record, _ = await sent(kafka, fresh_name, profiles, routing_key=fresh_name, body="a" * 10_000)
    assert record.value == b'"' + b"a" * 10_000 + b'"'
    (log,) = (kafka.scratch / "data" / f"{fresh_name}-0").glob("*.log")
    assert log.read_bytes()[22] & 7 == CODECS[codec]


async def test_every_topic_of_the_profile_gets_every_event(kafka, fresh_name):
    topics = [f"{fresh_name}-{number}" for number in range(3)]
    async with running(profile(kafka, topics=topics)) as hub:
        for number in range(10):
            await hub.evbus.broker.put("key", number)
        account = await hub.evbus.init.stop()
    assert account.delivered == 10
    for topic in topics:
        assert [int(record.value) for record in await read(kafka.bootstrap, topic, 10)] == list(range(10))


async def test_an_empty_routing_key_with_fixed_topics_is_a_record_without_key(kafka, fresh_name):
    record, _ = await sent(kafka, fresh_name, profile(kafka, topics=[fresh_name]), routing_key="")
    assert record.key is None


async def test_events_for_a_missing_topic_of_the_profile_wait_and_arrive_once_it_is_made(strict_kafka, fresh_name):
    async with running(profile(strict_kafka, topics=[fresh_name], retry=QUICK)) as hub:
        for number in range(10):
            await hub.evbus.broker.put("key", number)
        trouble = await until(hub, "kafka:default", "refused")
        assert fresh_name in trouble
        assert "does not exist" in trouble
        await create_topic(strict_kafka.bootstrap, fresh_name)
        await until(hub, "kafka:default", "open")
        account = await hub.evbus.init.stop()
    assert account.complete
    assert [int(record.value) for record in await read(strict_kafka.bootstrap, fresh_name, 10)] == list(range(10))


async def test_an_event_whose_routing_key_is_a_missing_topic_is_given_up_and_the_rest_goes_on(strict_kafka, fresh_name):
    await create_topic(strict_kafka.bootstrap, fresh_name)
    async with running(profile(strict_kafka)) as hub:
        for key in (fresh_name, f"{fresh_name}-missing", fresh_name):
            hub.evbus.broker.put_nowait(key, key)
        with pytest.raises(NotDelivered, match=f"{fresh_name}-missing.*does not exist"):
            await hub.evbus.broker.put(f"{fresh_name}-missing", 1, confirm="delivered")
        account = await hub.evbus.init.stop()
    assert (account.delivered, account.dead_lettered, account.remaining) == (2, 2, 0)
    assert len(await read(strict_kafka.bootstrap, fresh_name, 2)) == 2


async def test_a_missing_topic_among_several_of_the_profile_sends_the_event_to_none(strict_kafka, fresh_name):
    await create_topic(strict_kafka.bootstrap, fresh_name)
    async with running(profile(strict_kafka, topics=[fresh_name, f"{fresh_name}-missing"])) as hub:
        await hub.evbus.broker.put("key", 1)
        assert f"{fresh_name}-missing" in await until(hub, "kafka:default", "refused")
        await hub.evbus.init.stop(5.0)
    assert await read(strict_kafka.bootstrap, fresh_name, 0) == []


@pytest.mark.parametrize("serializer", ["json", "msgpack", "yaml"])
async def test_with_tombstones_a_body_of_none_is_a_record_without_a_value(kafka, fresh_name, serializer):
    await create_topic(kafka.bootstrap, fresh_name, partitions=1)
    profiles = profile(kafka, topics=[fresh_name], tombstones=True, serializer=serializer)
    async with running(profiles) as hub:
        for body in (None, "null", [None], 0):
            await hub.evbus.broker.put("k", body, confirm="delivered")
        with pytest.raises(BadEvent, match="it has none: put"):
            await hub.evbus.broker.put("", None, confirm="delivered")
    records = await read(kafka.bootstrap, fresh_name, 4)
    assert [record.value is None for record in records] == [True, False, False, False]
    assert records[0].key == b"k"


async def test_without_tombstones_a_body_of_none_is_null(kafka, fresh_name):
    record, _ = await sent(kafka, fresh_name, profile(kafka), routing_key=fresh_name, body=None)
    assert record.value == b"null"


async def test_a_tombstone_from_the_outbox_is_one_after_a_restart(kafka, fresh_name, tmp_path, monkeypatch):
    await create_topic(kafka.bootstrap, fresh_name, partitions=1)
    monkeypatch.setenv("EVBUS_OUTBOX", str(tmp_path / "outbox.sqlite"))
    away = {"kafka": {"default": {"connection": {"bootstrap_servers": "127.0.0.1:9"}, "outbox": "always"}}}
    async with running(away) as hub:
        await hub.evbus.broker.put("k", None)
        await hub.evbus.init.stop(0.2)
    there = profile(kafka, topics=[fresh_name], tombstones=True, outbox="always")
    async with running(there):
        (record,) = await read(kafka.bootstrap, fresh_name, 1)
    assert (record.key, record.value) == (b"k", None)
