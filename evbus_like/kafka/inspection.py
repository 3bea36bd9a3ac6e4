"""Inspection: what Kafka has of a subscription. No group is joined, no offset committed, no topic made."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from contextlib import suppress
from dataclasses import replace

import aiokafka
from aiokafka import errors as kafka

from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.source import Inspection
from evbus_like.engine.receiving.subscription import BROADCAST, Subscription
from evbus_like.kafka import closing, failures, internals
from evbus_like.kafka.dead_letters import topic_name
from evbus_like.kafka.feed import Feed
from evbus_like.kafka.settings import Settings
from evbus_like.kafka.topics import TopicRules

SAMPLES = 50  # of the latest records of all partitions, about
SAMPLE_WAIT = 3.0  # seconds for them


async def inspect(settings: Settings, asked: Subscription, largest: int | None) -> Inspection:
    """Return advice about the topics, and their latest events; `largest` is the profile's max_event_bytes.

    Raises a DeliveryError.
    """
    known, dead = await topics(settings), topic_name(asked.dead)
    wanted = settings.topics or (asked.exchange,)
    create = f"at Kafka {settings.address}, or this user may not see it: kafka-topics.sh --create --topic"
    advice = [f"topic {name!r} does not exist {create} {name}" for name in wanted if name not in known]
    if dead not in known:
        advice.append(f"topic {dead!r} for its dead letters does not exist {create} {dead}")
    there = tuple(name for name in wanted if name in known)
    if not there:
        return Inspection(advice)
    samples, limits = await _latest(replace(settings, topics=there, states={}, reported_missing=set()), asked)
    advice += [
        f"topic {name!r} takes records of {limit} bytes (max.message.bytes), and max_event_bytes of the profile is"
        f" {largest}: larger ones become dead letters undecoded"
        for name, limit in limits.items()
        if largest and limit and largest < limit
    ]
    return Inspection(advice, samples)


async def topics(settings: Settings) -> Set[str]:
    """Return the names of all topics: to ask for one might make it."""
    consumer = aiokafka.AIOKafkaConsumer(**settings.consumer(None))
    try:
        await consumer.start()
        return set(await consumer.topics())
    except (kafka.KafkaError, OSError) as error:
        raise await failures.connecting(error, settings.address, internals.client_of(consumer)) from error
    finally:
        await closing.leave(consumer)


async def _latest(settings: Settings, asked: Subscription) -> tuple[list[ReceivedEvent], dict[str, int | None]]:
    """Return the latest events of the topics that the subscription wants, and the limits of the topics."""
    feed = Feed(settings, replace(asked, delivery=BROADCAST, reliable=False, since=None, prefetch=SAMPLES))
    await feed.open()
    try:
        rules = TopicRules()
        await rules.ask(feed.client, feed.topics)
        return await _read(feed), {name: rules.of(name).max_bytes for name in feed.topics}
    finally:
        await feed.close()


async def _read(feed: Feed) -> list[ReceivedEvent]:
    reader, places, samples = feed.kafka, feed.places(), list[ReceivedEvent]()
    with suppress(TimeoutError):  # the rest is unwanted, or there are gaps
        async with asyncio.timeout(SAMPLE_WAIT):
            begins, ends = await reader.beginning_offsets(places), await reader.end_offsets(places)
            for place in places:
                reader.seek(place, max(begins[place], ends[place] - max(1, SAMPLES // len(places))))
            while [place for place in places if await reader.position(place) < ends[place]]:
                samples += await feed.receive()
    return samples
