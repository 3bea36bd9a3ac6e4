"""Looks at Kafka's topics of dead letters: which letters are left, and what is never replayed."""

import asyncio
import json

import aiokafka
import pytest

from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.handlers import REJECT
from evbus_like.hub.profiles.sources import Sources
from evbus_like.testing import new_hub
from tests.integration.receiving import RecordingHandler, handle
from tests.integration.sources import receiving
from tests.integration.support import create_topic


@pytest.fixture
def asked(fresh_name):
    return Subscription(fresh_name, ("placed",), "shipping", "ship")


@pytest.fixture
def profiles(kafka):
    return {"kafka": {"default": {"connection": {"bootstrap_servers": kafka.bootstrap}}}}


@pytest.fixture
def source(profiles):
    (made,) = Sources(new_hub(), profiles).named("default")
    return made


async def topics(kafka):
    admin = aiokafka.AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        return await admin.topics()
    finally:
        await admin.stop()


async def ids(source, asked):
    async with source.dead_letters(asked) as look:
        found = [letter.id async for page in look.pages() for letter in page]
        assert look.expected == len(found)
    return found


async def replay_all(source, asked, to=""):
    async with source.dead_letters(asked) as look:
        return [problem async for page in look.pages() for problem in await look.replay(page, to)]


async def wait_for_letter(source, asked):
    async with asyncio.timeout(60):
        while True:
            async with source.dead_letters(asked) as look:
                if look is not None and look.expected:
                    return
            await asyncio.sleep(0.2)


async def test_there_is_nothing_to_look_at_where_nothing_was_ever_given_up_and_no_topic_is_made(kafka, source, asked):
    async with source.dead_letters(asked) as look:
        assert look is None
    assert asked.dead not in await topics(kafka)


async def test_letters_that_cannot_be_replayed_as_they_were_stay_and_strange_notes_hide_none(kafka, source, asked):
    topic = f"{asked.source}.events"
    await create_topic(kafka.bootstrap, topic, partitions=1)
    await create_topic(kafka.bootstrap, asked.dead, partitions=1)

    async def letter(producer, id, **added):
        headers = [("evbus-id", id.encode()), *((f"evbus-dead-{name}", value) for name, value in added.items())]
        await producer.send_and_wait(asked.dead, b"1", headers=headers)

    async with aiokafka.AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        await letter(producer, "cut", topic=topic.encode(), cut=b"body 20 -> 0")
        await letter(producer, "elsewhere", topic=b"payments")
        await letter(producer, "nowhere")
        await letter(producer, "good", topic=topic.encode(), partition=b"77", timestamp=b"x")
        for note in (b"", b"[", b"[1]", b'{"x": [0]}', b'{"0": 7}', b'{"0": ["0", 99, null]}'):
            await producer.send_and_wait(asked.dead, note, headers=[("evbus-dead-settled", b"1")])
    problems = await replay_all(source, asked)
    assert ["not whole" in problems[0], "'payments'" in problems[1], "''" in problems[2], problems[3]] == [
        *(True, True, True),
        "",
    ]
    assert await ids(source, asked) == ["cut", "elsewhere", "nowhere"]


async def test_an_event_that_fails_again_is_one_letter_more_and_can_be_replayed_once_more(
    kafka, profiles, source, asked, fresh_name
):
    topic = f"{fresh_name}.events"
    await create_topic(kafka.bootstrap, topic, partitions=1)

    def fail(event):
        raise ValueError("not today")

    failing, other = RecordingHandler(fail), RecordingHandler()
    ship = handle(failing, fresh_name, "placed", on_error=REJECT)
    async with receiving(profiles, ship, handle(other, fresh_name, "other", name="audit")):
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            headers = [("evbus-id", b"one"), ("evbus-routing-key", b"placed"), ("evbus-dead-reason", b"its own")]
            await producer.send_and_wait(topic, json.dumps(1).encode(), headers=headers)
        for count in (1, 2):
            await failing.wait_for(count)
            await wait_for_letter(source, asked)
            assert await replay_all(source, asked) == [""]
        await failing.wait_for(3)
        await wait_for_letter(source, asked)
        assert await replay_all(source, asked, to=f"evt-{fresh_name}-other--shipping.audit") == [""]
        await other.wait_for(1)
    assert [event.headers for event in failing.events] == [{"evbus-dead-reason": "its own"}] * 3
    assert [(event.id, event.routing_key) for event in other.events] == [("one", "placed")]
    assert await ids(source, asked) == []
