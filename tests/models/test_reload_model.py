"""engine/sending/reload.py: over any reloads, every event arrives once and in order."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from evbus_like.engine.errors import DestinationRefused, TransientError
from evbus_like.engine.outbox import Outbox
from tests.unit.fakes import FAST, HANG, Destination, entry, running, until
from tests.unit.test_reload import change

OPTIONS = [{}, {"durable": True}, {"durable": True, "max_events": 2}]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 20)),
        st.tuples(st.just("put_nowait"), st.integers(1, 20)),
        st.tuples(st.just("turn"), st.integers(1, 5)),
        st.tuples(
            st.sampled_from(["reload", "reload some", "reload in no time"]),
            st.dictionaries(st.sampled_from("abc"), st.sampled_from(OPTIONS)),
        ),
    ),
    max_size=20,
)


class Broker:
    """What each of the names has received, whatever connection it came by."""

    def __init__(self, trouble):
        self.received = {name: [] for name in "abc"}
        self.trouble = iter(trouble)

    def connection(self, name, **options):
        broker = self

        class Connection(Destination):
            async def open(self):
                await super().open()
                if next(broker.trouble, False):
                    raise DestinationRefused("no")

            async def publish(self, events):
                await asyncio.sleep(0)
                if next(broker.trouble, False):
                    raise TransientError("lost before it was sent")
                broker.received[name] += [int(event.body) for event in events]
                return await super().publish(events)

        return entry(Connection(), name, **{**FAST, "batch_events": 4, **options})


class Story:
    """Goes through the steps, and remembers what each profile should have got."""

    def __init__(self, run, broker):
        self.run, self.broker = run, broker
        self.there = {"a"}
        self.expected = {name: [] for name in "abc"}
        self.count = 0

    async def put(self, step, count):
        for number in range(self.count, self.count + count):
            if step == "put":
                await self.run.putter.put("k", number)
            else:
                self.run.putter.put_nowait("k", number)
        self.run.bus.admit_queued()
        for name in self.there:
            self.expected[name] += range(self.count, self.count + count)
        self.count += count

    async def reload(self, step, wanted):
        running = {each.lane.name: each for each in self.run.bus.admission.router.entries}
        same = [name for name in wanted if step == "reload some" and name in running and name != "a"]
        new = [self.broker.connection(name, **wanted[name]) for name in wanted.keys() - same]
        await change(
            self.run, *(running[name] for name in same), *new, timeout=0.0 if step == "reload in no time" else HANG
        )
        self.there = set(wanted)

    async def go(self, step, value):
        if step == "turn":
            for _ in range(value):
                await asyncio.sleep(0)
        else:
            await (self.put if step.startswith("put") else self.reload)(step, value)
        assert self.run.bus.account().balanced


@settings(max_examples=60)
@given(steps=STEPS, trouble=st.lists(st.booleans(), max_size=30))
async def test_over_any_reloads_every_event_arrives_once_and_in_order_where_its_profile_was(steps, trouble):
    broker = Broker(trouble)
    with tempfile.TemporaryDirectory() as folder:
        box = Outbox(Path(folder) / "outbox.sqlite")
        box.open()
        async with running(broker.connection("a"), outbox=box) as run:
            story = Story(run, broker)
            for step, value in steps:
                await story.go(step, value)
            await story.reload("reload", {name: {} for name in "abc"})
            await until(lambda: run.bus.account().remaining == 0 and not run.bus.admission.commits)
            account = await run.stop()
    assert (account.balanced, account.spilled, len(account.lanes)) == (True, 0, 3)
    for lane in account.lanes:
        received, expected = broker.received[lane.destination], story.expected[lane.destination]
        missing = set(expected) - set(received)
        assert received == [number for number in expected if number not in missing]
        assert (lane.dropped, lane.delivered) == (len(missing), len(received))
