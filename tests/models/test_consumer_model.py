"""A consumer on a source that fails at random: nothing is lost, and nothing is settled before its time."""

import asyncio
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evbus_like.engine.receiving import consumer as consumers
from evbus_like.engine.receiving import settler
from evbus_like.handlers import ACK_AND_LOG, REJECT, REQUEUE, RETRY
from tests.unit.fakes import until
from tests.unit.sources import Source, consuming

EVENTS = 40


class Unsteady(Source):
    """Every verb but close fails now and then, some after a while; feeds are lost."""

    def __init__(self, draw, retries, batch, trouble):
        super().__init__(retries, batch)
        self.draw = draw
        self.trouble = trouble
        self.timeout = 0.5
        self.under_way = set()

    async def _step(self, verb):
        await super()._step(verb)
        if self.draw.random() < 0.3:
            await asyncio.sleep(self.draw.random() * 0.002)
        if verb not in ("close", "unsubscribe") and self.draw.random() < self.trouble:
            raise self.draw.choice([OSError("reset"), TimeoutError()])

    async def ack(self, feed, events):
        assert not {event.id for event in events if event in self.under_way}, "acknowledged while it is handled"
        if self.draw.random() < self.trouble:  # lost on its way
            self.lose()
            raise OSError("reset")
        await super().ack(feed, events)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(consumers, "RETRY_CAP", 0.002)
    monkeypatch.setattr(settler, "REQUEUE_CAP", 0.002)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    retries=st.booleans(),
    policy=st.sampled_from([RETRY, REQUEUE, ACK_AND_LOG, REJECT]),
    workers=st.integers(1, 5),
    prefetch=st.integers(1, 12),
    batch=st.integers(1, 6),
    orders=st.sampled_from([0, 1, 3]),
    trouble=st.sampled_from([0.0, 0.05, 0.2]),
)
def test_every_event_is_handled_and_settled_whatever_fails(
    seed, retries, policy, workers, prefetch, batch, orders, trouble
):
    draw = random.Random(seed)
    source = Unsteady.__new__(Unsteady)
    calls, busy = Counter(), Counter()

    async def handle(event):
        calls[event.id] += 1
        source.under_way.add(event)
        busy[event.order] += 1
        assert event.order is None or busy[event.order] == 1 or wrong.append(f"two of {event.order} at once")
        try:
            await asyncio.sleep(draw.choice([0, 0, 0.001]))
            if draw.random() < 0.2:
                raise ValueError("no")
        finally:
            busy[event.order] -= 1
            source.under_way.discard(event)

    wrong = []

    async def main():
        source.__init__(draw, retries, batch, trouble)
        options = {"on_error": policy, "attempts": 3, "backoff": 0.001, "max_backoff": 0.002}
        async with consuming(source, handle, max_workers=workers, prefetch=prefetch, **options) as consumer:
            for number in range(EVENTS):
                source.put(number, order=number % orders if orders else None)
                if draw.random() < 0.2:
                    await asyncio.sleep(0.001)
                if draw.random() < trouble / 2:
                    source.lose()
            async with asyncio.timeout(30):
                while len({each for verb, each in source.settled if verb in ("ack", "dead")}) < EVENTS:
                    if wrong:
                        break
                    await asyncio.sleep(0.001)
            assert not wrong, wrong
            assert source.most_given <= prefetch + batch - 1
            assert consumer.stats.state in ("open", "retrying")
        assert not source.given
        assert set(calls) == {str(number) for number in range(EVENTS)}
        final = Counter(each for verb, each in source.settled if verb in ("ack", "dead"))
        assert set(final.values()) == {1}

    asyncio.run(main())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    retries=st.booleans(),
    policy=st.sampled_from([RETRY, REQUEUE, ACK_AND_LOG, REJECT]),
    workers=st.integers(1, 3),
    size=st.integers(1, 12),
    linger=st.sampled_from([0, 0.001, 0.01]),
    orders=st.sampled_from([0, 1, 3]),
    dedup=st.sampled_from([0, 100]),
    trouble=st.sampled_from([0.0, 0.05]),
)
def test_batches_lose_no_event_and_keep_the_order_of_keys_whatever_fails(
    seed, retries, policy, workers, size, linger, orders, dedup, trouble
):
    draw = random.Random(seed)
    source = Unsteady.__new__(Unsteady)
    busy, wrong, done = Counter(), [], []
    bad = {str(number) for number in range(EVENTS) if draw.random() < 0.1}  # the first time, in whatever batch

    async def handle(events):
        if len(events) > size:
            wrong.append(f"{len(events)} events at once")
        keys = {event.order for event in events} - {None}
        busy.update(keys)
        source.under_way.update(events)
        if any(busy[key] > 1 for key in keys):
            wrong.append("a key in two calls at once")
        try:
            await asyncio.sleep(draw.choice([0, 0, 0.001]))
            if draw.random() < 0.05 or any(event.id in bad and event.attempt == 1 for event in events):
                raise ValueError("no")
            # With keys, a handler that calls one event done and an earlier one not has left the order itself
            outcomes = [ValueError("no") if not orders and draw.random() < 0.05 else None for _ in events]
            done.extend(event for event, error in zip(events, outcomes, strict=True) if error is None)
            return outcomes
        finally:
            busy.subtract(keys)
            source.under_way.difference_update(events)

    async def main():
        source.__init__(draw, retries, 5, trouble)
        options = {"on_error": policy, "attempts": 3, "backoff": 0.001, "max_backoff": 0.002, "dedup": dedup}
        async with consuming(source, handle, max_workers=workers, batch=size, linger=linger, **options):
            for number in range(EVENTS):
                source.put(number, order=number % orders if orders else None)
                if draw.random() < 0.2:
                    await asyncio.sleep(0.001)
                if draw.random() < trouble / 2:
                    source.lose()
            ended = {"ack", "dead"}
            await until(lambda: wrong or len({each for verb, each in source.settled if verb in ended}) == EVENTS)
            assert not wrong, wrong
        assert not source.given
        final = Counter(each for verb, each in source.settled if verb in ("ack", "dead"))
        assert set(final.values()) == {1}

    asyncio.run(main())
    if orders and not trouble:
        for key in range(orders):
            numbers = [int(event.id) for event in done if event.order == key]
            assert all(earlier < later for earlier, later in pairwise(numbers)), numbers
