"""engine/receiving/keyed_queue.py beside a model of it: feeds are lost, and what is under way keeps its order."""

import asyncio

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from evbus_like.engine.receiving.keyed_queue import KeyedQueue
from evbus_like.engine.receiving.received import ReceivedEvent


def event(number, order=None):
    return ReceivedEvent(b"", id=str(number), order=order)


class Orders(RuleBasedStateMachine):
    """Any number of takers; feeds are lost, events have other turns; what is under way keeps its order."""

    def __init__(self):
        super().__init__()
        self.turns = KeyedQueue()
        self.count = 0
        self.waiting = []  # added and not given, in order
        self.under_way = []
        self.stale = []  # under way, of a feed that is gone

    @rule(orders=st.lists(st.sampled_from([None, "a", "b", "c"]), max_size=4))
    def add(self, orders):
        for order in orders:
            self.count += 1
            self.waiting.append(event(self.count, order))
            self.turns.add(self.waiting[-1])

    def due(self):
        """What may be given now: per order the oldest, where nothing of that order is under way."""
        blocked = {each.order for each in self.under_way + self.stale} - {None}
        found = []
        for each in self.waiting:
            if each.order not in blocked:
                found.append(each)
            if each.order is not None:
                blocked.add(each.order)
        return found

    @precondition(lambda self: self.due())
    @rule()
    def take(self):
        taken = asyncio.run(asyncio.wait_for(self.turns.next(), 5))
        assert taken in self.due()
        self.waiting.remove(taken)
        self.under_way.append(taken)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def finish(self, data):
        each = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(each)
        self.turns.done(each)

    @precondition(lambda self: self.stale)
    @rule()
    def finish_stale(self):
        self.turns.done(self.stale.pop())

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def have_another_turn(self, data):
        each = data.draw(st.sampled_from(self.under_way))
        self.turns.retry(each)
        again = asyncio.run(self.until(each))
        assert again is each

    async def until(self, each):
        """Take till the event comes again, and put the others where they were: they are under way now."""
        while True:
            taken = await asyncio.wait_for(self.turns.next(), 5)
            if taken is each:
                return taken
            self.waiting.remove(taken)
            self.under_way.append(taken)

    @rule()
    def lose_the_feed(self):
        left = self.turns.clear()
        assert sorted(each.id for each in left) == sorted(each.id for each in self.waiting)
        self.stale += self.under_way
        self.waiting, self.under_way = [], []

    @invariant()
    def nothing_is_given_that_is_not_due(self):
        assert set(self.turns._ready) == set(self.due())

    @invariant()
    def no_order_is_remembered_for_ever(self):
        if not (self.under_way or self.waiting or self.stale):
            assert not self.turns._blocked


TestOrders = Orders.TestCase
