"""Records that a real Kafka refuses: each is given up alone with Kafka's words, and its neighbours arrive once."""

import asyncio
import time

import pytest

from evbus_like import errors
from evbus_like.engine.sending import admission
from evbus_like.kafka import topics
from evbus_like.testing import running
from tests.integration.support import alter_topic, create_topic, eventually, read


def profile(kafka, connection=None, **options):
    given = {"bootstrap_servers": kafka.bootstrap, **(connection or {})}
    return {"kafka": {"default": {"connection": given, "retry": {"attempts": 3}, **options}}}


async def account_of(kafka, events, **options):
    """Put events, a mapping of `put`'s arguments each, as one batch; gives the account."""
    async with running(profile(kafka, **options)) as hub:
        for event in events:
            hub.evbus.broker.put_nowait(**event)
        return await hub.evbus.init.stop(30.0)


@pytest.fixture(params=["what Kafka says of the topic", None])
def asked(request, monkeypatch):
    """Let the producer ask for the rules of topics, or not, as where the user may not."""
    if request.param is None:
        monkeypatch.setattr(topics, "ASK_WITHIN", 0.0)
    return request.param


async def test_events_without_a_key_for_a_compacted_topic_are_given_up_and_their_neighbours_arrive_once(
    kafka, fresh_name, caplog, asked
):
    await create_topic(kafka.bootstrap, fresh_name, partitions=1, cleanup_policy="compact")
    events = [{"body": number, "key": None if number % 10 == 7 else "k"} for number in range(200)]
    account = await account_of(kafka, events, topics=[fresh_name])
    assert (account.delivered, account.dead_lettered, account.remaining) == (180, 20, 0)
    arrived = [int(record.value) for record in await read(kafka.bootstrap, fresh_name, 180)]
    assert arrived == [number for number in range(200) if number % 10 != 7]
    assert ("INVALID_RECORD (87)" if asked is None else "is compacted: its events need a key") in caplog.text


@pytest.mark.parametrize("acks", ["all", 1])
async def test_a_topic_with_a_small_max_message_bytes_takes_what_fits_and_gives_up_the_rest(
    kafka, fresh_name, caplog, acks, asked
):
    small, other = f"{fresh_name}-small", f"{fresh_name}-other"
    await create_topic(kafka.bootstrap, small, partitions=1, max_message_bytes="20000")
    await create_topic(kafka.bootstrap, other, partitions=1)
    events = []
    for number in range(60):
        events.append({"routing_key": small, "body": f"{number}".ljust(50_000 if number % 20 == 5 else 1000)})
        events.append({"routing_key": other, "body": number})
    account = await account_of(kafka, events, connection={"acks": acks})
    assert (account.delivered, account.dead_lettered, account.remaining) == (117, 3, 0)
    arrived = [int(record.value.strip(b' "')) for record in await read(kafka.bootstrap, small, 57)]
    assert arrived == [number for number in range(60) if number % 20 != 5]
    assert len(await read(kafka.bootstrap, other, 60)) == 60
    assert ("MESSAGE_TOO_LARGE (10)" if asked is None else "is 50") in caplog.text
    assert "max.message.bytes" in caplog.text


async def test_an_event_that_is_too_old_for_its_topic_is_given_up_alone(kafka, fresh_name, caplog, monkeypatch):
    await create_topic(kafka.bootstrap, fresh_name, partitions=1, message_timestamp_before_max_ms="3600000")
    now = time.time
    count = iter(range(1000))
    monkeypatch.setattr(admission, "time", lambda: now() - (86_400 if next(count) % 10 == 3 else 0))
    async with running(profile(kafka, topics=[fresh_name])) as hub:
        for number in range(30):
            await hub.evbus.broker.put("k", number)
        account = await hub.evbus.init.stop(30.0)
    assert (account.delivered, account.dead_lettered, account.remaining) == (27, 3, 0)
    assert len(await read(kafka.bootstrap, fresh_name, 27)) == 27
    assert "INVALID_TIMESTAMP (32)" in caplog.text


async def test_names_that_no_topic_can_have_are_refused_and_the_others_arrive(kafka, fresh_name):
    names = ["..", ".", "a b", "x" * 250, "é"]
    events = [{"routing_key": name, "body": 1} for name in names] + [{"routing_key": fresh_name, "body": 2}] * 3
    account = await account_of(kafka, events)
    assert (account.delivered, account.rejected, account.dead_lettered, account.remaining) == (3, len(names), 0, 0)


async def learnt(hub):
    """Return once the connection has asked Kafka about the topics of the profile."""
    (lane,) = hub.evbus.RUNTIME.bus.lanes
    await eventually(lambda: lane.asks is not None and lane.asks.above < 1_000_000)


@pytest.mark.parametrize(
    ("rules", "bad", "reason"),
    [
        ({"cleanup_policy": "compact"}, {"body": 1}, "is compacted: its events need a key"),
        ({"max_message_bytes": "20000"}, {"body": "x" * 20_000, "key": "k"}, "max.message.bytes of topic .* is 20000"),
        (
            {"max_message_bytes": "20000"},
            {"body": "x", "key": "k", "headers": {"a": "x" * 30_000}},
            "the record is 30... bytes with its key and headers",
        ),
    ],
    ids=["no key for a compacted topic", "too large a body", "too large headers"],
)
async def test_what_kafka_has_said_of_a_topic_is_refused_at_put_and_dispatch(kafka, fresh_name, rules, bad, reason):
    await create_topic(kafka.bootstrap, fresh_name, partitions=1, **rules)
    async with running(profile(kafka, topics=[fresh_name])) as hub:
        await learnt(hub)
        with pytest.raises(errors.BadEvent, match=f"kafka:default does not take the event: .*{reason}"):
            await hub.evbus.broker.put(**bad)
        if "key" in bad:  # an event of a service has its type as its key
            with pytest.raises(errors.BadEvent, match=reason):
                await hub.evbus.broker.dispatch("shop", "sold", **bad)
        await hub.evbus.broker.put(body=2, key="k", confirm="delivered")
        account = await hub.evbus.init.stop(30.0)
    assert (account.delivered, account.dead_lettered) == (1, 0)


async def test_a_limit_that_is_raised_is_learnt_without_a_restart(kafka, fresh_name, monkeypatch):
    monkeypatch.setattr(topics, "ASK_EVERY", 0.2)
    await create_topic(kafka.bootstrap, fresh_name, partitions=1, max_message_bytes="20000")
    async with running(profile(kafka, topics=[fresh_name])) as hub:
        await learnt(hub)
        with pytest.raises(errors.BadEvent, match="of topic"):
            await hub.evbus.broker.put("k", "x" * 30_000)
        await alter_topic(kafka.bootstrap, fresh_name, max_message_bytes="50000")
        async with asyncio.timeout(30.0):
            while True:
                try:
                    await hub.evbus.broker.put("k", "x" * 30_000, confirm="delivered")
                    break
                except errors.BadEvent:
                    await asyncio.sleep(0.05)
