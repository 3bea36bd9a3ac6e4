"""The outbox beside a model of it: appends, settles, burials, replays, failing disks, restarts and crashes."""

import asyncio
import itertools
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from evbus_like.engine.outbox import Outbox, OutboxFull, StorageError
from evbus_like.engine.outbox import jobs as settled_module
from evbus_like.engine.outbox import outbox as outbox_module
from tests.unit.fakes import HANG
from tests.unit.outboxes import Disk, append_one, content, make

NAMES = ("a", "b", "c")
MAX_BYTES = 20_000
destinations = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)
sizes = st.integers(0, 1500)
headers = st.none() | st.dictionaries(st.text("ab", min_size=1, max_size=2), st.integers() | st.binary(max_size=3))
STATEMENTS = ("BEGIN", "INSERT INTO segments", "INSERT OR REPLACE INTO done", "DELETE", "COMMIT")
failures = st.sampled_from([(statement,) for statement in STATEMENTS])


class OutboxMachine(RuleBasedStateMachine):
    """`pending` and `dead` are what the file must hold; `events` is what each event must be."""

    seqs = Bundle("seqs")
    letters = Bundle("letters")

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.lives = itertools.count()
        self.disk = Disk()
        self.real = outbox_module.connect, settled_module.LINGER
        outbox_module.connect, settled_module.LINGER = self.disk.connect, 3600.0
        self.pending = {name: {} for name in NAMES}  # seq to event
        self.dead = {}  # number to (destination, event)
        self.delivered = []  # settled and perhaps not yet on the disk
        self.path = self.folder / "0.db"
        self.outbox = Outbox(self.path, MAX_BYTES)
        assert self.outbox.open() is None

    def run(self, awaitable):
        return self.loop.run_until_complete(asyncio.wait_for(awaitable, HANG))

    def teardown(self):
        self.disk.mend()
        self.run(self.outbox.close())
        self.loop.close()
        outbox_module.connect, settled_module.LINGER = self.real
        shutil.rmtree(self.folder)

    def attempt(self, awaitable):
        """Give what came of a call and whether anything did."""
        try:
            result = self.run(awaitable)
        except OutboxFull:
            assert self.outbox.counts().bytes + 2000 * 3 > MAX_BYTES
            return None
        except StorageError:
            assert self.disk.error is not None
            return None
        self.delivered.clear()  # it went with the commit
        return result

    # ---- in

    @rule(target=seqs, names=destinations, size=sizes, headers=headers)
    def append(self, names, size, headers):
        headers = headers and {n: max(-(2**63), min(v, 2**63 - 1)) if type(v) is int else v for n, v in headers.items()}
        event = make(b"x" * size, headers=headers)
        seq = self.attempt(append_one(self.outbox, event, names))
        if seq is None:
            return multiple()
        for name in names:
            self.pending[name][seq] = event
        return seq

    @rule(target=seqs, items=st.lists(st.tuples(destinations, sizes), min_size=1, max_size=3))
    def append_many(self, items):
        events = [(make(b"y" * size), names) for names, size in items]
        found = self.attempt(self.outbox.append(events))
        for seq, (event, names) in zip(found or (), events, strict=found is not None):
            for name in names:
                self.pending[name][seq] = event
        return multiple(*(found or ()))

    @rule(target=seqs, counts=st.lists(destinations, min_size=2, max_size=8))
    def append_at_once(self, counts):
        events = [make(b"z" * 10) for _ in counts]

        async def all_of_them():
            calls = [append_one(self.outbox, event, names) for event, names in zip(events, counts, strict=True)]
            return await asyncio.gather(*calls, return_exceptions=True)

        found = self.run(all_of_them())
        taken = [seq for seq in found if isinstance(seq, int)]
        assert taken == sorted(taken)
        assert len(taken) == len(found) or self.disk.error is not None or self.outbox.counts().bytes > MAX_BYTES - 2000
        if taken:
            self.delivered.clear()
        for seq, event, names in zip(found, events, counts, strict=True):
            if isinstance(seq, int):
                for name in names:
                    self.pending[name][seq] = event
        return multiple(*taken)

    # ---- out

    @rule(name=st.sampled_from(NAMES), some=st.lists(seqs, max_size=6))
    def settle(self, name, some):
        self.outbox.settle(name, some)
        for seq in some:
            event = self.pending[name].pop(seq, None)
            if event is not None:
                self.delivered.append((name, seq, event))

    @rule(target=letters, name=st.sampled_from(NAMES), seq=seqs)
    def dead_letter(self, name, seq):
        if seq not in self.pending[name]:
            return multiple()
        before = set(self.dead)
        try:
            self.run(self.outbox.dead_letter(name, seq, "reason", "poison", 2, 1.0))
        except StorageError:
            assert self.disk.error is not None
            return multiple()
        self.delivered.clear()
        with_failing = self.disk.error
        self.disk.mend()
        [number] = {letter.number for letter in self.run(self.outbox.dead_letters(limit=10_000))} - before
        self.disk.error = with_failing
        self.dead[number] = (name, self.pending[name].pop(seq))
        return number

    @rule(target=letters, name=st.sampled_from(NAMES), size=sizes)
    def bury_event(self, name, size):
        event = make(b"d" * size)
        number = self.attempt(self.outbox.dead_letter_event(name, event, "reason", "poison", 1))
        if number is None:
            return multiple()
        self.dead[number] = (name, event)
        return number

    @rule(target=seqs, some=st.lists(letters, max_size=4))
    def replay(self, some):
        replayed = self.attempt(self.outbox.replay(some))
        if replayed is None:
            return multiple()
        there = sorted({number for number in some if number in self.dead})
        assert len(replayed) == len(there)
        for number, (seq, event, name) in zip(there, replayed, strict=True):
            assert (name, content(event)) == (self.dead[number][0], content(self.dead[number][1]))
            self.pending[name][seq] = self.dead.pop(number)[1]
        return multiple(*(seq for seq, _, _ in replayed))

    @rule(some=st.lists(consumes(letters), max_size=3))
    def purge(self, some):
        purged = self.attempt(self.outbox.purge(some))
        if purged is not None:
            gone = [self.dead.pop(number, None) for number in set(some)]
            assert purged == len([each for each in gone if each is not None])

    # ---- faults

    @rule(at=failures, message=st.sampled_from(["disk I/O error", "database or disk is full"]))
    def disk_fails(self, at, message):
        self.disk.fail(message, at)

    @rule()
    def disk_works(self):
        self.disk.mend()

    @rule()
    def restart(self):
        failing, self.disk.error = self.disk.error, None
        self.run(self.outbox.close())
        self.delivered.clear()
        assert self.outbox.open() is None
        self.disk.error = failing

    @rule()
    def crash(self):
        self.disk.mend()
        self.path = self.folder / f"{next(self.lives) + 1}.db"
        for file in self.folder.glob(f"{self.outbox.path.name}*"):
            if not file.name.endswith((".lock", "-shm")):
                shutil.copy(file, str(file).replace(str(self.outbox.path), str(self.path)))
        self.run(self.outbox.close())
        self.outbox = Outbox(self.path, MAX_BYTES)
        assert self.outbox.open() is None
        for name, seq, event in self.delivered:  # they come again
            self.pending[name][seq] = event
        self.delivered.clear()

    # ---- what must hold

    @invariant()
    def counts_are_right(self):
        counts = self.outbox.counts()
        there = {name: len(events) for name, events in self.pending.items()}
        for name, _, _ in self.delivered:
            there[name] += 1
        assert counts.pending == {name: count for name, count in there.items() if count}
        assert counts.dead == len(self.dead)
        assert 0 <= counts.bytes <= MAX_BYTES + 2000 * len(self.dead)  # a dead letter is never refused
        if not (any(self.pending.values()) or self.delivered or self.dead):
            assert counts.bytes == 0

    @rule(name=st.sampled_from(NAMES), after=st.integers(0, 40))
    def pages_are_right(self, name, after):
        page = self.attempt(self.outbox.page(name, after))
        if page is not None:
            expected = sorted((seq, content(event)) for seq, event in self.pending[name].items() if seq > after)
            assert [(seq, content(event)) for seq, event in page] == expected

    @rule()
    def letters_are_right(self):
        letters = self.attempt(self.outbox.dead_letters(limit=10_000))
        if letters is not None:
            assert [(letter.number, letter.destination, letter.event.id) for letter in letters] == sorted(
                (number, name, event.id) for number, (name, event) in self.dead.items()
            )

    @rule()
    def the_file_counts_as_the_tally_does(self):
        self.disk.mend()
        self.run(self.outbox.close())
        before = replace(self.outbox.counts(), trouble="")  # of the writes before
        self.delivered.clear()
        self.outbox.open()
        assert self.outbox.counts() == before


TestOutboxModel = OutboxMachine.TestCase
TestOutboxModel.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
