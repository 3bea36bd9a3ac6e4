"""engine/outbox/store.py and its segments: whatever is appended and settled, the file is as a list of each would be."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from evbus_like.engine.outbox import settlement
from evbus_like.engine.outbox.connection import connect, connect_readonly
from evbus_like.engine.outbox.page import read_page
from evbus_like.engine.outbox.record import pack, size
from evbus_like.engine.outbox.store import Store
from evbus_like.engine.outbox.usage import OutboxUsage, measure
from tests.unit.outboxes import content, make

NAMES = ("a", "b", "c")


MOST_SEGMENTS = settlement.MOST_SEGMENTS


routes = st.sampled_from([("a",), ("a",), ("b",), ("a", "b"), ("b", "a"), ("a", "b", "c")])


runs = st.lists(st.tuples(routes, st.integers(1, 90), st.sampled_from([0, 50, 1500, 6000])), min_size=1, max_size=3)


class StoreMachine(RuleBasedStateMachine):
    """`waiting` is what each destination must get, by seq; `events` is what they are."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        settlement.MOST_SEGMENTS = 8
        self.waiting = {name: {} for name in NAMES}
        self.store = self.open()

    def open(self):
        return Store(lambda: connect(self.folder / "outbox.db"), "outbox.db", OutboxUsage(2**40, "outbox.db"))

    def teardown(self):
        settlement.MOST_SEGMENTS = MOST_SEGMENTS
        self.store.close()
        shutil.rmtree(self.folder)

    @rule(runs=runs)
    def append(self, runs):
        events = [(make(b"x" * length), names) for names, count, length in runs for _ in range(count)]
        parcels = [(pack(event), names) for event, names in events]
        first = self.store.next_seq
        self.store.begin()
        self.store.append(parcels)
        self.store.change.bytes += sum(size(record) for record, _ in parcels)
        self.store.commit()
        assert self.store.next_seq == first + len(events)
        for seq, (event, names) in enumerate(events, first):
            for name in names:
                self.waiting[name][seq] = event

    @rule(name=st.sampled_from(NAMES), count=st.integers(0, 200) | st.just(10_000))
    def settle_the_oldest(self, name, count):
        self.settle(name, sorted(self.waiting[name])[:count])

    @rule(name=st.sampled_from(NAMES), step=st.integers(1, 50), skip=st.integers(0, 300))
    def settle_some(self, name, step, skip):
        self.settle(name, [*range(skip, self.store.next_seq, step)][::-1])

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 99), other=st.sampled_from(NAMES), after=st.integers(0, 99))
    def settle_two_at_once_and_append(self, name, count, other, after):
        first, second = sorted(self.waiting[name])[:count], sorted(self.waiting[other])[after : after + count]
        event = make(b"new")
        self.store.begin()
        self.store.settle(name, first)
        self.store.settle(other, second)
        self.store.append([(pack(event), (name,))])
        self.store.change.bytes += size(pack(event))
        self.store.commit()
        for each, seqs in ((name, first), (other, second)):
            for seq in seqs:
                self.waiting[each].pop(seq, None)
        self.waiting[name][self.store.next_seq - 1] = event

    def settle(self, name, seqs):
        self.store.begin()
        self.store.settle(name, seqs)
        self.store.commit()
        for seq in seqs:
            self.waiting[name].pop(seq, None)

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 99), early=st.booleans())
    def undo(self, name, count, early):
        self.store.begin()
        self.store.settle(name, sorted(self.waiting[name])[:count])
        self.store.append([(pack(make(b"never")), (name, "d"))])
        if early:
            self.store.run()
        self.store.rollback(suspect=early)

    @rule()
    def restart(self):
        self.store.close()
        self.store = self.open()

    @rule(name=st.sampled_from(NAMES), after=st.integers(0, 600), limit=st.integers(1, 300))
    def pages_are_right(self, name, after, limit):
        self.store.begin()
        page, damaged = read_page(
            self.store.connection, self.store.routes.of(name), name, after, limit, limit_bytes=10**9
        )
        expected = sorted((seq, content(event)) for seq, event in self.waiting[name].items() if seq > after)[:limit]
        assert [(seq, content(event)) for seq, event in page] == expected
        assert damaged == []

    @invariant()
    def the_file_and_the_tally_agree(self):
        pending = {name: len(its) for name, its in self.waiting.items() if its}
        counts = self.store.usage.counts()
        connection = connect_readonly(self.folder / "outbox.db")
        found = measure(connection)
        assert (counts.pending, counts.bytes) == (pending, found.bytes)
        assert dict(found.pending) == pending
        if not pending:
            assert connection.execute("SELECT count(*) FROM segments").fetchone() == (0,)
            assert connection.execute("SELECT count(*) FROM done").fetchone() == (0,)
        connection.close()


TestSegments = StoreMachine.TestCase


TestSegments.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
