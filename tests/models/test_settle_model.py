"""Settling, whatever an event holds and whatever fails: it ends handled, dead-lettered or given back, and once."""

import asyncio
from types import SimpleNamespace
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from evbus_like.amqp import redelivery
from evbus_like.amqp.confirms import MessageRefused
from evbus_like.amqp.receiver import Receiver
from evbus_like.engine.errors import ConnectionLost, PoisonEvent, TransientError, Unroutable
from evbus_like.engine.receiving import settler
from evbus_like.engine.receiving.disposition import DEAD_LETTER, Disposition
from evbus_like.engine.receiving.keyed_queue import KeyedQueue
from evbus_like.engine.receiving.rules import REQUEUE, RETRY
from evbus_like.engine.receiving.settler import Settler
from evbus_like.engine.receiving.stats import ConsumerStats
from tests.unit.test_amqp_copies import SUBSCRIPTION, anything, received

ACK = "ack"
ROOM = 131_064
TROUBLES = {
    "busy": TransientError("busy"),
    "cut off": ConnectionLost("reset"),
    "refused": MessageRefused("541 INTERNAL_ERROR"),
    "no queue": Unroutable("no queue"),
    "too slow": TimeoutError(),
    "a bug": ValueError("a bug"),
}


class Broker:
    """A RabbitMQ that does what its script says with each copy, and then takes it; the real code sends the copies."""

    name, timeout = "amqp:default", 5.0

    def __init__(self, script):
        self.script = list(script)
        self.copies, self.settled = [], []
        self.subscription = SUBSCRIPTION
        self.receiver = Receiver({})
        republisher = self.receiver._republisher
        republisher.declare_queue = self._declare  # type: ignore[method-assign]
        republisher.connection = SimpleNamespace(another=lambda: None)  # type: ignore[assignment]

    def _trouble(self):
        return self.script.pop(0) if self.script else None

    async def _declare(self, *_, **__):
        if self._trouble() == "busy":
            raise TROUBLES["busy"]

    async def publish(self, _shared, _event, _exchange, queue, form):
        await asyncio.sleep(0)
        try:
            properties, _ = form(ROOM)
        except Exception as error:
            raise PoisonEvent(f"it cannot be encoded: {error}") from error
        assert len(properties) <= ROOM
        trouble = self._trouble()
        if trouble == "confirm lost":
            self.copies.append(queue)
        if trouble:
            raise TROUBLES.get(trouble, TROUBLES["cut off"])
        self.copies.append(queue)

    # what a source has, and its feed

    def ack(self, *args):  # of the feed: ack(events); of the source: ack(feed, events), awaited
        events = args[-1]
        self.settled += [(ACK, event) for event in events]
        return asyncio.sleep(0)

    async def requeue(self, _feed, event):
        if self._trouble():
            raise TROUBLES["busy"]
        self.settled.append((REQUEUE, event))

    async def retry(self, _feed, event, delay):
        await self.receiver.retry(Acking(self), event, delay)

    def redacted(self, text):
        return text

    async def dead(self, _feed, event, reason):
        await self.receiver.dead(Acking(self), event, reason)


class Acking:
    """The feed, as the receiver uses it."""

    def __init__(self, broker):
        self.broker, self.subscription = broker, SUBSCRIPTION

    def ack(self, events):
        self.broker.settled += [(ACK, event) for event in events]


class Unused:
    """A channel of its own for a copy that was refused; `publish` needs none."""

    def __init__(self, _connection):
        pass

    async def close(self):
        pass


class AtOnce:
    """A backoff that does not wait."""

    attempts = 0

    def __init__(self, *_):
        pass

    def next(self):
        return 0.0

    def reset(self):
        pass


EVENT = st.tuples(
    anything(),
    st.binary(max_size=200),
    st.booleans(),
    st.integers(-(2**63), 2**64),
    st.sampled_from([ACK, REQUEUE, RETRY, DEAD_LETTER]),
    st.text(max_size=1500),
)


@settings(max_examples=40)
@given(
    st.lists(EVENT, min_size=1, max_size=6),
    st.lists(st.none() | st.sampled_from([*TROUBLES, "confirm lost"]), max_size=30),
    st.none() | st.integers(0, 40),
)
def test_each_event_ends_handled_dead_lettered_or_given_back_and_only_once(given_events, script, lost_after):
    broker, stats = Broker(script), ConsumerStats()

    async def main():
        settling = Settler(broker, stats, KeyedQueue(lambda: None))
        settling.begin("feed", broker)
        wanted, tasks = {}, []
        for number, (raw, body, redelivered, attempt, kind, reason) in enumerate(given_events):
            event = received(body, f"k{number}", raw, redelivered)
            event.attempt = attempt
            wanted[event] = kind
            settling.add(event)
            if kind == ACK:
                settling.ack(event)
            else:
                tasks.append(asyncio.create_task(settling.settle(event, Disposition(kind, 0.2, reason))))
        if lost_after is not None:
            for _ in range(lost_after):
                await asyncio.sleep(0)
            settling.end()
        else:
            await settling.flush()
        await asyncio.gather(*tasks)
        assert settling.open == 0
        return wanted

    with (
        mock.patch.object(settler, "Backoff", AtOnce),
        mock.patch.object(redelivery, "_publish", broker.publish),
        mock.patch.object(redelivery, "SharedConfirmChannel", Unused),
    ):
        wanted = asyncio.run(asyncio.wait_for(main(), 10))
    for event, kind in wanted.items():
        ends = [verb for verb, each in broker.settled if each is event]
        assert len(ends) <= 1, "settled twice"
        if lost_after is None or ends:
            assert ends == [REQUEUE if kind == REQUEUE else ACK]
    copied = [event for event, kind in wanted.items() if kind in (RETRY, DEAD_LETTER)]
    gone = [event for event in copied if (ACK, event) in broker.settled]
    assert len(broker.copies) >= len(gone), "acknowledged without a copy"
    assert stats.lost + stats.retried + stats.requeued + stats.dead >= len(copied)
