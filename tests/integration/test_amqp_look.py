"""Looks at RabbitMQ's queues of dead letters: nothing is lost, however often one looks."""

import aio_pika
import pytest

from evbus_like.engine.errors import DeliveryError
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.hub.profiles.sources import Sources
from evbus_like.testing import new_hub
from tests.integration.support import channel


@pytest.fixture
def asked(fresh_name):
    return Subscription(fresh_name, ("placed",), "shipping", "ship")


@pytest.fixture
def source(rabbitmq):
    (made,) = Sources(new_hub(), {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}}).named("default")
    return made


async def fill(opened, name, count, headers=None, **arguments):
    """Declare a queue with messages."""
    await opened.declare_queue(name, durable=True, arguments=arguments)
    for n in range(count):
        message = aio_pika.Message(b"%d" % n, message_id=f"id-{n}", headers=headers, delivery_mode=2)
        await opened.default_exchange.publish(message, name)


async def ids(source, asked):
    """Look at all letters."""
    async with source.dead_letters(asked) as look:
        found = [letter.id async for page in look.pages() for letter in page]
        assert (look.expected, look.unseen) == (len(found), "")
    return found


async def test_a_quorum_queue_that_drops_what_is_given_back_often_keeps_all_letters(rabbitmq, source, asked):
    names = [f"id-{n}" for n in range(230)]
    async with channel(rabbitmq.url) as opened:
        await fill(opened, asked.dead, 230, **{"x-queue-type": "quorum", "x-delivery-limit": 5})
        for _ in range(8):
            assert sorted(await ids(source, asked)) == sorted(names)
            async with source.dead_letters(asked) as look:  # one that ends early
                async for page in look.pages():
                    assert page
                    break
        assert sorted(await ids(source, asked)) == sorted(names)


async def test_a_classic_queue_keeps_its_letters_and_their_order(rabbitmq, source, asked):
    async with channel(rabbitmq.url) as opened:
        await fill(opened, asked.dead, 230)
        for _ in range(5):
            assert await ids(source, asked) == [f"id-{n}" for n in range(230)]


async def test_there_is_nothing_to_look_at_where_nothing_was_ever_given_up(source, asked):
    async with source.dead_letters(asked) as look:
        assert look is None


async def test_a_letter_stays_until_its_event_is_safe(rabbitmq, source, asked):
    async with channel(rabbitmq.url) as opened:
        await fill(opened, asked.dead, 3)
        async with source.dead_letters(asked) as look:
            async for page in look.pages():
                problems = await look.replay(page, "")
        assert ["does not exist: start its handler once" in problem for problem in problems] == [True] * 3
        assert len(await ids(source, asked)) == 3
        await opened.declare_queue(
            asked.queue, durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
        )
        async with source.dead_letters(asked) as look:
            async for page in look.pages():
                problems = await look.replay(page, "")
        assert sorted(bool(problem) for problem in problems) == [False, True, True]
        assert len(await ids(source, asked)) == 2


async def test_a_letter_that_lacks_a_part_is_not_replayed(rabbitmq, source, asked):
    async with channel(rabbitmq.url) as opened:
        await fill(opened, asked.dead, 1, {"evbus-dead-cut": "body 20 -> 0"})
        await opened.declare_queue(asked.queue, durable=True)
        async with source.dead_letters(asked) as look:
            async for page in look.pages():
                problems = await look.replay(page, "")
    assert "not whole (body 20 -> 0)" in problems[0]
    assert await ids(source, asked) == ["id-0"]


async def test_a_second_look_waits_for_the_end_of_the_first(rabbitmq, source, asked):
    async with channel(rabbitmq.url) as opened:
        await fill(opened, asked.dead, 1)
        async with source.dead_letters(asked) as look:
            async for _ in look.pages():
                with pytest.raises(DeliveryError, match="has 1 consumers"):
                    await ids(source, asked)
        assert await ids(source, asked) == ["id-0"]
