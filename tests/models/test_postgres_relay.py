"""The relay of the application's outbox against a model of PostgreSQL whose transactions commit in any order.

The model gives ids and transaction numbers as PostgreSQL does: an id at the insert, never given again, also after a
rollback; a row is seen when its transaction commits. A transaction that writes to a key holds the lock of its aggregate
to its end, so that for each key ids and commits have the same order.
"""

import asyncio
from collections import Counter
from types import SimpleNamespace
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from evbus_like.engine.receipt import DELIVERED
from evbus_like.postgres import held, progress
from evbus_like.postgres.database import Database
from evbus_like.postgres.relay import Relay
from evbus_like.postgres.rows import BODY, Late

PARTS, KEYS, BATCH = 3, 6, 4


class Lost(Exception):
    """The connection broke."""


class Server:
    """PostgreSQL: rows that are committed, transactions that are not, and leases."""

    def __init__(self):
        self.rows, self.open = {}, {}
        self.next_id = self.next_xid = 1
        self.owners, self.floors = dict.fromkeys(range(PARTS)), dict.fromkeys(range(PARTS), 0)
        self.deleted = Counter()
        self.scheduled, self.due = [], set()  # rows that are to be sent later, and the names of those that are due

    def insert(self, transaction, key, later=False):
        if transaction not in self.open:
            self.open[transaction] = (self.next_xid, [])
            self.next_xid += 1
        row = self.row(key % PARTS, f"e{self.next_id}", b"later" if later else b"%d" % key)
        self.open[transaction][1].append(row)

    def row(self, part, name, body):
        self.next_id += 1
        return (part, self.next_id - 1, name, "p", None, "r", None, None, "t", body, 0.0)

    def locked(self):
        return {row[BODY] for _, rows in self.open.values() for row in rows} - {b"later"}

    def end(self, transaction, commit):
        _, rows = self.open.pop(transaction)
        if commit:
            self.rows.update({row[:2]: row for row in rows if row[BODY] != b"later"})
            self.scheduled += [row for row in rows if row[BODY] == b"later"]
        return rows if commit else []

    def fire(self, parts):
        """Give rows that are due ids of their own, as a transaction does that nobody has seen in part."""
        fired = [row for row in self.scheduled if row[2] in self.due and row[0] in parts]
        self.scheduled = [row for row in self.scheduled if row not in fired]
        for row in fired:
            made = self.row(row[0], row[2], row[BODY])
            self.rows[made[:2]] = made
        return len(fired)


class Table:
    """What a relay sees of the server, through a connection that may break before or after its next work."""

    share, quiet = PARTS, False

    def __init__(self, server):
        self.server = server
        self.breaks, self.after = None, 0  # how many works go well before that

    async def open(self): ...

    async def close(self): ...

    def _broken(self, when):
        if self.breaks == when:
            if not self.after:
                self.breaks = None
                raise Lost
            self.after -= 1

    async def lease(self, owner, give_up, floors):
        self._broken("before")
        self.server.floors.update(floors)
        for part, holder in self.server.owners.items():
            if holder is None:
                self.server.owners[part] = owner
        return {part: self.server.floors[part] for part, holder in self.server.owners.items() if holder == owner}

    async def release(self, owner): ...

    async def count(self, parts):
        return len(self.server.rows), 0.0

    async def count_later(self, parts):
        return len(self.server.scheduled)

    async def fire(self, parts):
        self._broken("before")
        fired = self.server.fire([*parts])
        self._broken("after")
        return fired, 0.0 if fired else float("inf")

    async def read(self, lasts):
        self._broken("before")
        found = []
        for part, last in lasts.items():
            places = sorted(place for place in self.server.rows if place[0] == part and place[1] > last)
            found += [self.server.rows[place] for place in places[:BATCH]]
        self.quiet = not self.server.open
        return found

    async def late(self, floors, lasts, most):
        self._broken("before")
        running = [xid for xid, _ in self.server.open.values()]
        keys = []
        for part, last in lasts.items():
            ids = sorted(id_ for of, id_ in self.server.rows if of == part and floors.get(part, 0) < id_ <= last)
            keys += [self.server.rows[part, id_][:3] for id_ in ids[:most]]
        return Late(min(running, default=self.server.next_xid), self.server.next_xid, keys)

    async def fetch(self, keys):
        self._broken("before")
        return [self.server.rows[key[:2]] for key in keys if key[:2] in self.server.rows]

    async def delete(self, delivered, dead, others):
        self._broken("before")
        for part, id_ in [(part, id_) for part, (ids, _) in delivered.items() for id_ in ids]:
            if (row := self.server.rows.pop((part, id_), None)) is not None:
                self.server.deleted[row[2]] += 1
        self._broken("after")


class Lane:
    """A destination; `delivers` is whether it settles at once, and it may be full."""

    name, state = "lane", "open"

    def __init__(self, received):
        self.received, self.queue, self.full = received, [], False

    def extend(self, events, size):
        for event in events:
            self.received.append(event)
            self.queue.append(event)

    def settle(self, count):
        for event in self.queue[:count]:
            event.receipt.settle("lane", DELIVERED)
        del self.queue[:count]


class RelayMachine(RuleBasedStateMachine):
    """Transactions, a relay, its crashes and its lost connections, in any order."""

    @initialize()
    def begin(self):
        # Without the look at everything that there is every minute: it would make good what the floor does wrong.
        self.never = mock.patch.object(progress.Progress, "begin_look", lambda self, now: dict(self.floors))
        self.never.start()
        self.runner = asyncio.Runner()
        self.server, self.received, self.now = Server(), [], 100.0
        self.committed, self.disturbed = [], False
        self.relay = None
        self.new_relay()

    def new_relay(self):
        """Start a relay; the parts of the one before are taken over."""
        self.server.owners = dict.fromkeys(range(PARTS))
        self.table, self.lane = Table(self.server), Lane(self.received)
        serializer = SimpleNamespace(content_type="t")
        route = SimpleNamespace(lanes=(self.lane,), groups=((serializer, (self.lane,)),), gives_options=False)
        admission = SimpleNamespace(router=SimpleNamespace(route=lambda _: route), taken=0)
        bus = SimpleNamespace(admission=admission, deliver_due=lambda: None, lanes=(self.lane,))
        self.relay = Relay(bus, Database("shop", "", lease=1e9), self.table, None)
        self.relay._count_due = 1e12
        self.runner.run(self.relay._lease(self.now))

    def loop(self):
        return SimpleNamespace(time=lambda: self.now)

    def step(self, coroutine):
        try:
            self.runner.run(coroutine)
        except Lost:  # as the relay's task does
            self.disturbed = True
            self.runner.run(self.relay._end_tasks())
            self.relay.progress.restart()
            self.table.breaks = None
            self.runner.run(self.relay._lease(self.now))

    @rule(transaction=st.integers(0, 1), key=st.integers(0, KEYS - 1))
    def insert(self, transaction, key):
        mine = {row[BODY] for row in self.server.open.get(transaction, (0, ()))[1]}
        if b"%d" % key in self.server.locked() - mine:
            return  # it would wait for the lock
        self.server.insert(transaction, key)

    @rule(transaction=st.integers(0, 1), key=st.integers(0, KEYS - 1))
    def insert_for_later(self, transaction, key):
        self.server.insert(transaction, key, later=True)

    @rule(parts=st.sets(st.integers(0, PARTS - 1)))
    def time_passes(self, parts):
        self.server.due |= {row[2] for row in self.server.scheduled if row[0] in parts}

    @rule()
    def fire(self):
        self.step(self.relay._fire(self.loop()))

    @rule(transaction=st.integers(0, 1), commit=st.sampled_from([True, True, False]))
    def end(self, transaction, commit):
        if transaction in self.server.open:
            self.committed += self.server.end(transaction, commit)

    @rule()
    def read(self):
        if self.relay._may_read():
            self.step(self.relay._read(self.loop()))

    @rule()
    def renew_the_leases(self):
        self.step(self.relay._lease(self.now))

    @rule(looks=st.integers(1, 4))
    def look_for_late_ones(self, looks):
        for _ in range(looks):
            self.now += 0.6
            self.step(self.relay._late(self.loop()))

    @rule(count=st.integers(1, 10))
    def deliver(self, count):
        self.lane.settle(count)

    @rule()
    def delete(self):
        self.step(self.relay._delete())

    @rule()
    def fill_up(self):
        self.lane.full = True

    @rule()
    def have_room(self):
        self.lane.full = False
        self.step(self.relay._again())

    @rule(trouble=st.sampled_from(["none", "none", "none", "before", "after", "crash"]), after=st.integers(0, 2))
    def have_trouble(self, trouble, after=0):
        if trouble == "crash":
            self.disturbed = True
            self.runner.run(self.relay._end_tasks())
            self.new_relay()
        elif trouble != "none":
            self.table.breaks, self.table.after = trouble, after

    @invariant()
    def nothing_is_deleted_that_was_not_received(self):
        if self.relay is not None:
            assert self.server.deleted.keys() <= {event.id for event in self.received}

    @invariant()
    def nothing_comes_before_it_is_due(self):
        if self.relay is not None:
            assert {event.id for event in self.received if event.body == b"later"} <= self.server.due

    def teardown(self):
        if self.relay is None:
            return
        try:
            self.all_is_well_at_the_end()
        finally:
            self.never.stop()
            self.runner.run(self.relay._end_tasks())
            self.runner.close()

    def all_is_well_at_the_end(self):
        for transaction in list(self.server.open):
            self.committed += self.server.end(transaction, True)
        self.lane.full, self.table.breaks = False, None
        self.time_passes({*range(PARTS)})
        for _ in range(100):
            self.now += 0.3
            self.step(self.relay._again())
            self.step(self.relay._fire(self.loop()))
            self.step(self.relay._read(self.loop()))
            self.step(self.relay._late(self.loop()))
            self.lane.settle(1000)
            self.step(self.relay._delete())
            if not self.server.rows:
                break
        ids = Counter(event.id for event in self.received)
        wanted = {row[2] for row in self.committed}
        assert ids.keys() == wanted
        assert not self.server.rows
        assert not self.relay.progress.known
        if not self.disturbed:
            assert set(ids.values()) <= {1}
        for key in range(KEYS):
            order = [event.id for event in self.received if event.body == b"%d" % key]
            assert list(dict.fromkeys(order)) == sorted(dict.fromkeys(order), key=lambda each: int(each[1:]))


def test_whatever_the_order_of_commits_each_event_comes_and_those_of_a_key_in_the_order_of_their_ids():
    run_state_machine_as_test(RelayMachine, settings=settings(stateful_step_count=60))


def test_a_transaction_that_goes_on_for_long_is_still_seen_when_it_commits():
    machine = RelayMachine()
    machine.begin()
    machine.insert(0, 0)
    machine.insert(1, PARTS)  # of the same part
    machine.end(1, True)
    machine.read()
    for _ in range(5):
        machine.look_for_late_ones(4)
    machine.teardown()


def test_a_relay_that_takes_over_begins_with_the_rows_that_the_lanes_of_the_dead_one_had():
    machine = RelayMachine()
    machine.begin()
    machine.insert(0, 0)
    machine.end(0, True)
    machine.read()
    for _ in range(5):
        machine.look_for_late_ones(4)
    machine.renew_the_leases()
    machine.have_trouble("crash")
    machine.received.clear()
    machine.teardown()


def test_an_event_is_delivered_if_the_connection_is_lost_in_the_look_for_late_ones_after_it_was_read():
    machine = RelayMachine()
    machine.begin()
    machine.insert(0, 0)
    machine.insert(1, PARTS)
    machine.end(0, True)
    machine.have_trouble("before", after=1)
    machine.read()
    machine.teardown()


def test_an_event_that_is_held_is_delivered_if_the_connection_is_lost_when_it_is_read_again():
    machine = RelayMachine()
    machine.begin()
    machine.fill_up()
    for _ in range(3):
        machine.insert(0, 0)
    machine.end(0, True)
    with mock.patch.object(held, "ROWS", 1):
        machine.read()
        machine.have_trouble("before")
        machine.have_room()
        machine.have_room()
    machine.teardown()


def test_an_event_does_not_overtake_one_that_is_held_because_its_destination_was_full():
    machine = RelayMachine()
    machine.begin()
    for full in (True, False):
        machine.insert(0, 0)
        machine.end(0, True)
        machine.lane.full = full
        machine.step(machine.relay._read(machine.loop()))
    machine.teardown()


def test_an_event_that_was_committed_late_comes_before_a_later_one_of_its_key():
    machine = RelayMachine()
    machine.begin()
    machine.insert(0, 1)
    machine.insert(1, 1 + PARTS)  # of the same part
    machine.end(1, True)
    machine.insert(0, 1)
    machine.read()
    machine.teardown()
