"""engine/sending/worker.py with faults drawn at random: every event is accounted for, and the order is kept."""

import asyncio
import json
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from evbus_like.engine.errors import DestinationRefused, PoisonEvent, Stalled, TransientError, UnknownOutcome
from tests.unit.fakes import Destination, entry, running
from tests.unit.test_worker import first_seen, numbers, send, settled

ERRORS = [
    lambda: TransientError("t"),
    lambda: PoisonEvent("p"),
    lambda: DestinationRefused("r"),
    lambda: UnknownOutcome("u"),
    lambda: ValueError("v"),
    lambda: asyncio.CancelledError("c"),
    lambda: ConnectionError("o"),
]


def scattered(seed):
    """Outcomes drawn at random for every event of a batch."""
    draw = random.Random(seed)
    kinds = [None, None, None, lambda: Stalled("s"), *(make for make in ERRORS[:5])]
    return lambda events: [make and make() for make in (draw.choice(kinds) for _ in events)]


def failing_tail(count):
    """Outcomes of a connection that was lost after `count` events."""
    return lambda events: [None if n < count else TransientError("tail") for n in range(len(events))]


whole = st.one_of(
    st.none(),
    st.just("hang"),
    st.sampled_from(ERRORS).map(lambda make: make()),
    st.integers(0, 5).map(failing_tail),
)


opens = st.one_of(st.none(), st.just("hang"), st.sampled_from(ERRORS).map(lambda make: make()))


closes = st.one_of(st.none(), st.just("hang"), st.just(ValueError("close")), st.just(asyncio.CancelledError()))


@settings(max_examples=80, deadline=None)
@given(
    publish=st.lists(whole, max_size=12),
    open=st.lists(opens, max_size=4),
    close=st.lists(closes, max_size=4),
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    batch=st.integers(1, 4),
    attempts=st.none() | st.integers(1, 3),
)
async def test_under_any_faults_every_event_is_accounted_for_and_the_order_is_kept(
    publish, open, close, counts, batch, attempts
):
    destination = Destination(publish, open, close)
    put = 0
    async with running(entry(destination, batch_events=batch, attempts=attempts, timeout=0.005)) as bus:
        for count in counts:
            for _ in range(count):
                bus.putter.put_nowait(body=put)
                put += 1
            await asyncio.sleep(0.001)
            assert bus.bus.account().balanced
        await settled(bus)
        destination.script["close"].clear()  # a close that hangs at the end is another test's
        account = await bus.stop()

    final = [f for f in bus.failures if f.final]
    assert account.balanced
    assert (account.put, account.accepted, account.remaining) == (put, put, 0)
    assert account.dead_lettered == len(final) == len({f.event.id for f in final})
    assert len(set(destination.received)) == account.delivered
    assert set(numbers(destination.received)) | {json.loads(f.event.body) for f in final} == set(range(put))
    assert first_seen(destination.received) == sorted(first_seen(destination.received))


@settings(max_examples=80, deadline=None)
@given(seeds=st.lists(st.integers(0, 10**6), max_size=15), count=st.integers(1, 12), batch=st.integers(1, 5))
async def test_under_any_outcomes_no_event_is_lost_or_settled_twice(seeds, count, batch):
    destination = Destination(publish=[scattered(seed) for seed in seeds])

    account, failures = await send(destination, count, batch_events=batch)

    dead = [json.loads(f.event.body) for f in failures if f.final]
    assert account.balanced
    assert sorted(numbers(destination.received) + dead) == list(range(count))
    assert account.delivered + account.dead_lettered == count
