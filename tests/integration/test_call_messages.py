"""Letters of calls: in memory they do what they do on RabbitMQ, whichever way they go there."""

import asyncio
import uuid
from contextlib import asynccontextmanager

import pytest

from evbus_like.engine.message import Message
from evbus_like.engine.rpc.subscriptions import replies, requests, responses
from evbus_like.errors import Unroutable
from evbus_like.hub.profiles.sources import Sources
from evbus_like.testing import eventually, new_hub

DEADLINE = 60.0  # seconds: only stops a hang
SOURCES = ("in memory", "rabbitmq")


@pytest.fixture(params=SOURCES)
def source(request):
    """A source that sends letters."""
    contexts = {"internal": {"default": None}}
    if request.param != "in memory":
        url = request.getfixturevalue("rabbitmq").url
        contexts = {"amqp": {"default": {"connection": {"url": url}}}}
    (made,) = Sources(new_hub(), contexts).named("default")
    return made


@pytest.fixture
def exchange():
    return f"calls-{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def reading(source, subscription):
    """Read a subscription's queue; gives the feed, and a function that waits for so many events."""
    feed, events = await source.subscribe(subscription), []

    async def arrived(count):
        async with asyncio.timeout(DEADLINE):
            while len(events) < count:
                got = await source.receive(feed)
                await source.ack(feed, got)
                events.extend(got)
        return events

    try:
        yield feed, arrived
    finally:
        await source.unsubscribe(feed)


async def send(source, feed, *letters):
    """Send letters and wait until each is settled; gives the outcomes."""
    outcomes = {}
    for letter in letters:
        letter.on_settled = lambda error, letter=letter: outcomes.update({letter: error})
    await source.send(feed, letters)
    await eventually(lambda: len(outcomes) == len(letters), DEADLINE)
    return [outcomes[letter] for letter in letters]


async def test_a_letter_arrives_with_all_that_it_says(source, exchange):
    headers = {"nameko.call_id_stack": ["a", "b"], "text": "ä", "n": 2**40, "yes": True}
    facts = {"correlation_id": "c-1", "reply_to": "r-1", "headers": headers, "must_arrive": True, "expires": 60.0}
    async with reading(source, requests("world", exchange, 10)) as (feed, arrived):
        assert await send(source, feed, Message(exchange, "world.hello", b'{"x": 1}', "id-1", **facts)) == [None]
        (event,) = await arrived(1)
    assert (event.raw, event.routing_key, event.id) == (b'{"x": 1}', "world.hello", "id-1")
    assert (event.reply_to, event.correlation_id) == ("r-1", "c-1")
    assert (event.content_type, dict(event.headers)) == ("application/json", headers)
    assert (event.redelivered, event.attempt) == (False, 1)


async def test_a_letter_that_nobody_wants_comes_back_if_it_must_arrive(source, exchange):
    async with reading(source, requests("world", exchange, 10)) as (feed, arrived):
        wanted = Message(exchange, "world.hello", b"1", "id-1", must_arrive=True)
        unwanted = Message(exchange, "mars.hello", b"2", "id-2", must_arrive=True)
        whatever = Message(exchange, "mars.hello", b"3", "id-3")
        deeper = Message(exchange, "world.hello.there", b"4", "id-4", must_arrive=True)
        outcomes = await send(source, feed, wanted, unwanted, whatever, deeper)
        assert [type(each) for each in outcomes] == [type(None), Unroutable, type(None), Unroutable]
        assert [event.raw for event in await arrived(1)] == [b"1"]


async def test_letters_of_one_batch_arrive_in_their_order(source, exchange):
    wanted = replies("app", exchange, 1000)
    async with reading(source, wanted) as (feed, arrived):
        letters = [Message(exchange, wanted.identifier, b"%d" % number, f"id-{number}") for number in range(500)]
        assert await send(source, feed, *letters) == [None] * 500
        assert [int(event.raw) for event in await arrived(500)] == list(range(500))


async def test_a_large_letter_arrives_whole(source, exchange):
    body = bytes(range(256)) * 2000
    async with reading(source, requests("world", exchange, 10)) as (feed, arrived):
        assert await send(source, feed, Message(exchange, "world.hello", body, "id-1", must_arrive=True)) == [None]
        (event,) = await arrived(1)
        assert event.raw == body


async def test_a_queue_of_responses_keeps_them_while_nobody_reads(source, exchange):
    wanted = responses(f"app-{exchange}", exchange)
    async with reading(source, requests("world", exchange, 10)) as (feed, _):
        async with reading(source, wanted):
            pass
        assert await send(source, feed, Message(exchange, wanted.queue, b"1", "id-1", must_arrive=True)) == [None]
        async with reading(source, wanted) as (_, arrived):
            assert [event.raw for event in await arrived(1)] == [b"1"]


async def test_what_cannot_be_a_letter_harms_no_other(source, exchange):
    async with reading(source, requests("world", exchange, 10)) as (feed, arrived):
        bad = Message(exchange, "x" * 300, b"1", "id-1")
        good = Message(exchange, "world.hello", b"2", "id-2", must_arrive=True)
        _, outcome = await send(source, feed, bad, good)
        assert outcome is None
        assert [event.raw for event in await arrived(1)] == [b"2"]
