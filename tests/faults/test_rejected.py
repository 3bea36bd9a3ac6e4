"""One event that RabbitMQ, or something before it, does not take is given up alone, whatever ends the connection."""

import asyncio
import math
from collections import Counter

import pytest

from evbus_like.amqp import encoder, one_by_one
from evbus_like.engine import put as putting
from evbus_like.engine.sending.router import Router
from evbus_like.errors import BadEvent, NotDelivered
from evbus_like.testing import eventually, running
from tests.faults.poison import SORTS as SORTS_OF_POISON
from tests.faults.poison import closing, poison
from tests.faults.proxy import Proxy
from tests.integration.support import DEADLINE, queue, take

QUICK = {"first": 0.02, "max": 0.1}
COUNT, BAD = 11, 5
SORTS = {
    "headers beyond a frame": ({"trace": "x" * 140_000}, "FRAME_ERROR"),
    "not a number": ({"price": math.nan}, "INTERNAL_ERROR"),
    "CC as text": ({"CC": "elsewhere"}, "PRECONDITION_FAILED"),
}


def profile(port: int, **options):
    url = f"amqp://guest:guest@127.0.0.1:{port}/"
    return {"amqp": {"default": {"connection": {"url": url}, "retry": QUICK, **options}}}


async def put(hub, name, headers=None, body="bad"):
    """Put events at once, of which one is bad; returns the outcomes."""
    puts = [
        hub.evbus.broker.put(
            name,
            body if number == BAD else "good",
            headers={"number": number, **((headers or {}) if number == BAD else {})},
            confirm="delivered",
            timeout=DEADLINE,
        )
        for number in range(COUNT)
    ]
    return await asyncio.gather(*puts, return_exceptions=True)


def check(messages, outcomes, said):
    """Check that all but the bad one arrived, in order, and that it was given up with these words."""
    numbers = [message.headers["number"] for message in messages]
    copies = Counter(numbers)
    assert list(dict.fromkeys(numbers)) == [number for number in range(COUNT) if number != BAD]
    assert max(copies[number] for number in range(BAD)) <= 2, "those ahead were in flight once"
    assert max(copies[number] for number in range(BAD + 1, COUNT)) == 1
    assert [number for number, outcome in enumerate(outcomes) if isinstance(outcome, NotDelivered)] == [BAD]
    assert said in str(outcomes[BAD])


@pytest.mark.parametrize(("headers", "said"), SORTS.values(), ids=SORTS)
@pytest.mark.parametrize("options", [{}, {"retry": {**QUICK, "attempts": 3}}, {"batched": False}], ids=str)
async def test_an_event_for_which_rabbitmq_closes_the_connection_is_given_up_alone(
    rabbitmq, fresh_name, monkeypatch, headers, said, options
):
    # Given that nothing refuses the event before it is sent
    monkeypatch.setattr(putting, "check", lambda *_event: 0)
    monkeypatch.setattr(Router, "check_headers", lambda *_headers: None)
    monkeypatch.setattr(encoder, "isfinite", lambda _value: True)
    monkeypatch.setattr(encoder, "SMALLEST_FRAME", 10**9)
    monkeypatch.setattr(one_by_one, "OTHERS", -(10**9))
    # When it is put among others
    async with queue(rabbitmq.url, fresh_name) as made, running(profile(rabbitmq.port, **options)) as hub:
        outcomes = await put(hub, fresh_name, headers)
        # Then it alone is given up, with RabbitMQ's words
        check(await take(made, COUNT - 1), outcomes, said)


@pytest.mark.parametrize("farewell", [closing(541, "INTERNAL_ERROR - badarg"), b""], ids=["in words", "in silence"])
async def test_an_event_that_ends_the_connection_on_its_way_is_given_up_alone(rabbitmq, fresh_name, farewell):
    with Proxy(rabbitmq.port) as proxy:
        proxy.reject({b"never-to-arrive": farewell})
        async with queue(rabbitmq.url, fresh_name) as made, running(profile(proxy.port)) as hub:
            outcomes = await put(hub, fresh_name, body="never-to-arrive")
            check(await take(made, COUNT - 1), outcomes, "badarg" if farewell else "took another event in between")


async def test_closes_that_are_orders_to_go_away_give_nobody_up(rabbitmq, fresh_name):
    with Proxy(rabbitmq.port) as proxy:
        proxy.reject({b"good": closing(320, "CONNECTION_FORCED - closed with reason 'shutdown'")})
        options = {"retry": {**QUICK, "max": 0.02}}
        async with queue(rabbitmq.url, fresh_name) as made, running(profile(proxy.port, **options)) as hub:
            putting_all = asyncio.create_task(put(hub, fresh_name, body="good"))
            await eventually(lambda: proxy.attempts >= 12)
            proxy.heal()
            outcomes = await putting_all
            assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
            assert len({message.headers["number"] for message in await take(made, COUNT)}) == COUNT


@pytest.fixture
def small_frames(rabbitmq):
    """A RabbitMQ that takes frames of 8192 bytes on new connections."""
    rabbitmq.evaluate("application:set_env(rabbit, frame_max, 8192).")
    yield
    rabbitmq.evaluate("application:set_env(rabbit, frame_max, 131072).")


@pytest.mark.usefixtures("small_frames")
async def test_a_broker_with_smaller_frames_gives_up_what_does_not_fit(rabbitmq, fresh_name):
    async with queue(rabbitmq.url, fresh_name) as made, running(profile(rabbitmq.port)) as hub:
        outcomes = await put(hub, fresh_name, {"trace": "x" * 10_000})
        check(await take(made, COUNT - 1), outcomes, "RabbitMQ takes 8184 in one frame")


@pytest.mark.parametrize(("headers", "said"), SORTS.values(), ids=SORTS)
async def test_put_refuses_what_rabbitmq_would_close_the_connection_for(rabbitmq, fresh_name, headers, said):
    async with queue(rabbitmq.url, fresh_name) as made, running(profile(rabbitmq.port)) as hub:
        with pytest.raises(BadEvent, match=next(iter(headers))):
            await hub.evbus.broker.put(fresh_name, 1, headers=headers)
        with pytest.raises(BadEvent, match=next(iter(headers))):
            hub.evbus.broker.put_nowait(fresh_name, 1, headers=headers)
        await hub.evbus.broker.put(fresh_name, 2, confirm="delivered")
        assert [message.body for message in await take(made, 1)] == [b"2"]


async def test_of_poison_events_of_many_sorts_each_says_why_and_every_good_one_arrives(rabbitmq):
    outcome = await poison(rabbitmq.port, good=1000, bad=len(SORTS_OF_POISON), seed=1)
    assert outcome.violations == []
