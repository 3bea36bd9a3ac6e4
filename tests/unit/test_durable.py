"""The bus with an outbox: what is on the disk, when, and what a restart makes of it."""

import asyncio
import json

import pytest

from evbus_like.engine.errors import (
    Dropped,
    EventTooLarge,
    NotDelivered,
    PoisonEvent,
    PutTimeout,
    QueueFull,
    StorageError,
    TransientError,
)
from evbus_like.engine.event import quietly
from evbus_like.engine.outbox import Outbox
from evbus_like.engine.sending import commits as engine_commits
from tests.unit.fakes import Destination, entry, running, until

DURABLE = {"durable": True}
SPILL = {"when_full": "spill", "max_events": 3}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.sqlite"


def opened(path, **options):
    outbox = Outbox(path, **options)
    outbox.open()
    return outbox


def numbers(destination):
    return [json.loads(body) for body in destination.received]


async def left(path):
    """What a later process finds in the outbox: the numbers that wait for each destination."""
    outbox = opened(path)
    try:
        names = outbox.counts().pending
        return {name: [json.loads(event.body) for _, event in await outbox.page(name)] for name in names}
    finally:
        await outbox.close()


def away():
    return Destination(open=[TransientError("away")] * 1000)


@pytest.mark.parametrize("names", [(), ("fake:memory",)], ids=["alone", "beside-memory"])
async def test_what_put_has_accepted_is_on_the_disk_and_a_restart_sends_it_in_order_with_its_ids(path, names):
    ids = []
    others = [entry(Destination(), name) for name in names]  # an event of several lanes is stored in another way
    async with running(entry(away(), **DURABLE), *others, outbox=opened(path)) as bus:
        for number in range(20):
            ids.append((await bus.putter.put("k", number, headers={"n": number}, key="x")).id)
            assert bus.bus.outbox.counts().pending == {"fake:default": number + 1}
        account = await bus.stop(0.2)
    assert (account.spilled, account.remaining, account.balanced) == (20, 0, True)

    destination = Destination()
    async with running(entry(destination, **DURABLE), outbox=opened(path)) as bus:
        await until(lambda: len(destination.received) == 20)
        account = await bus.stop()
    assert numbers(destination) == list(range(20))
    assert [event.id for event in destination.events] == ids
    assert [event.headers for event in destination.events] == [{"n": number} for number in range(20)]
    assert (account.accepted, account.delivered, account.balanced) == (20, 20, True)
    assert await left(path) == {}


async def test_what_a_restart_finds_goes_before_what_is_put_after_it(path):
    async with running(entry(away(), **DURABLE), outbox=opened(path)) as bus:
        for number in range(20):
            await bus.putter.put(body=number)
        await bus.stop(0.2)

    destination = Destination()
    async with running(entry(destination, batch_events=3, **DURABLE), outbox=opened(path)) as bus:
        for number in range(20, 40):
            await bus.putter.put(body=number)
        await bus.stop()

    assert numbers(destination) == list(range(40))


async def test_what_was_delivered_is_not_sent_again(path):
    destination = Destination()
    async with running(entry(destination, **DURABLE), outbox=opened(path)) as bus:
        for number in range(50):
            bus.putter.put_nowait("k", number)
        await until(lambda: len(destination.received) == 50)
    assert await left(path) == {}


async def test_events_of_tasks_and_of_put_nowait_keep_each_caller_s_order(path):
    destination = Destination()
    async with running(entry(destination, **DURABLE), outbox=opened(path)) as bus:

        async def put(task):
            for number in range(20):
                await bus.putter.put("k", [task, number])

        for number in range(20):
            bus.putter.put_nowait("k", ["nowait", number])
        await asyncio.gather(*(put(task) for task in range(10)))
        await until(lambda: len(destination.received) == 220)
    for task in ("nowait", *range(10)):
        assert [n for each, n in numbers(destination) if each == task] == list(range(20))


async def test_a_lane_of_memory_keeps_its_order_where_a_durable_lane_shares_events_with_it(path):
    durable, memory = Destination(), Destination()
    entries = [
        entry(durable, "fake:durable", lambda profile: profile == "both", **DURABLE),
        entry(memory, "fake:memory"),
    ]
    async with running(*entries, outbox=opened(path)) as bus:
        for number in range(100):
            bus.putter.put_nowait("k", number, "both" if number % 3 else "memory")
        await until(lambda: len(memory.received) == 100)
    assert numbers(memory) == list(range(100))
    assert numbers(durable) == [number for number in range(100) if number % 3]


@pytest.mark.parametrize("policy", ["block", "drop_new", "drop_old", "spill"])
async def test_events_for_memory_alone_do_not_wait_for_a_disk_that_is_stuck(path, monkeypatch, policy):
    outbox = opened(path)
    stuck = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(outbox, "submit_packed", lambda items: stuck)
    durable, memory = Destination(), Destination()
    entries = [
        entry(durable, "fake:durable", lambda profile: profile == "durable", **DURABLE),
        entry(memory, "fake:memory", lambda profile: profile == "memory", when_full=policy),
    ]
    async with running(*entries, outbox=outbox) as bus:
        bus.putter.put_nowait("k", 1, "durable")
        await bus.putter.put("k", 2, "memory")
        await until(lambda: memory.received)
        assert durable.received == []
        with pytest.raises(PutTimeout, match="not known"):
            await bus.putter.put("k", 3, "durable", timeout=0.05)
        stuck.set_result([1])


async def test_a_disk_that_fails_makes_put_raise_and_no_lane_has_the_event(path, monkeypatch):
    outbox = opened(path)
    durable, memory = Destination(), Destination()

    def fail(items):
        future = asyncio.get_running_loop().create_future()
        future.set_exception(StorageError("the disk is full"))
        return future

    async with running(entry(durable, "fake:durable", **DURABLE), entry(memory, "fake:memory"), outbox=outbox) as bus:
        submit, outbox.submit_packed = outbox.submit_packed, fail
        with pytest.raises(StorageError, match="disk is full"):
            await bus.putter.put("k", 1)
        bus.putter.put_nowait("k", 2)
        await until(lambda: bus.failures)
        outbox.submit_packed = submit
        await bus.putter.put("k", 3)
        await until(lambda: durable.received and memory.received)
        account = await bus.stop()
    assert numbers(durable) == numbers(memory) == [3]
    assert [failure.event.body for failure in bus.failures] == [b"2"]
    assert (account.put, account.rejected, account.balanced) == (3, 2, True)


async def test_a_put_that_the_disk_does_not_answer_says_that_its_outcome_is_not_known(path, monkeypatch):
    outbox, destination = opened(path), Destination()
    stuck = asyncio.get_running_loop().create_future()
    async with running(entry(destination, **DURABLE), outbox=outbox) as bus:
        monkeypatch.setattr(outbox, "submit_packed", lambda items: stuck)
        with pytest.raises(PutTimeout, match="whether the event is stored is not known; if it is, it will be"):
            await bus.putter.put("k", 1, timeout=0.05)
        assert destination.received == []

        stuck.set_result([1])
        await until(lambda: destination.received)
        account = await bus.stop()
    assert numbers(destination) == [1]
    assert account.complete


async def test_a_put_that_took_its_turn_and_waits_for_the_disk_says_so_too(path, monkeypatch):
    outbox, destination = opened(path), Destination()
    stuck = asyncio.get_running_loop().create_future()
    entries = [
        entry(destination, "fake:durable", lambda profile: profile == "durable", **DURABLE),
        entry(name="fake:memory", matches=lambda profile: profile == "memory"),
    ]
    async with running(*entries, outbox=outbox) as bus:
        monkeypatch.setattr(outbox, "submit_packed", lambda items: stuck)
        for number in range(3000):  # more than the listener does in one turn
            bus.putter.put_nowait("k", number, "memory")
        with pytest.raises(PutTimeout, match="whether the event is stored is not known; if it is, it will be"):
            await bus.putter.put("k", 1, "durable", timeout=0.5)

        stuck.set_result([1])
        await until(lambda: destination.received)
    assert numbers(destination) == [1]


@pytest.mark.parametrize("options", [DURABLE, SPILL], ids=["always", "spill"])
async def test_a_full_outbox_makes_put_wait_and_put_nowait_raise(path, options):
    destination = away()
    outbox = opened(path, max_bytes=2000)
    async with running(entry(destination, **options), outbox=outbox) as bus:
        with pytest.raises(PutTimeout, match="no room"):  # noqa: PT012 - nobody can say which put is the one
            for number in range(100):
                await bus.putter.put("k", number, timeout=1.0)  # a commit may be slow
        stored = sum(outbox.counts().pending.values())
        assert 5 < stored < 20
        with pytest.raises(QueueFull, match="outbox"):
            bus.putter.put_nowait("k", 1)
        waiting = asyncio.create_task(bus.putter.put("k", "late", timeout=5))
        destination.script["open"].clear()
        await waiting
        await until(lambda: b'"late"' in destination.received)


@pytest.mark.parametrize("policy", ["drop_new", "drop_old"])
async def test_a_full_outbox_drops_the_new_event_and_counts_it_where_the_profile_says_to_drop(path, policy):
    outbox = opened(path, max_bytes=2000)
    async with running(entry(away(), when_full=policy, **DURABLE), outbox=outbox) as bus:
        for number in range(30):
            await bus.putter.put("k", number)
        account, stored = bus.bus.account(), outbox.counts().pending["fake:default"]

    assert 5 < stored < 20
    assert (account.accepted, account.remaining, account.dropped) == (30, stored, 30 - stored)
    assert account.balanced


async def test_spill_keeps_on_disk_what_has_no_room_and_sends_it_in_order(path):
    destination = away()
    outbox = opened(path)
    async with running(entry(destination, **SPILL), outbox=outbox) as bus:
        for number in range(10):
            await bus.putter.put("k", number)
        for number in range(10, 20):
            bus.putter.put_nowait("k", number)
        await until(lambda: outbox.counts().pending.get("fake:default") == 17)
        await until(lambda: bus.bus.account().remaining == 20)  # the answer to the last commit is on its way
        destination.script["open"].clear()
        await until(lambda: len(destination.received) == 20)
        await bus.putter.put("k", 20)
        await until(lambda: len(destination.received) == 21)
        account = await bus.stop()
    assert numbers(destination) == list(range(21))
    assert (account.delivered, account.balanced) == (21, True)
    assert await left(path) == {}


async def test_a_stop_spills_what_is_left_in_memory(path):
    async with running(entry(away(), **SPILL), outbox=opened(path)) as bus:
        for number in range(2):
            await bus.putter.put("k", number)
        account = await bus.stop(0.2)
    assert (account.spilled, account.remaining) == (2, 0)
    assert await left(path) == {"fake:default": [0, 1]}


async def test_two_lanes_that_spill_the_same_event_each_keep_it(path):
    entries = [entry(away(), "fake:one", **SPILL), entry(away(), "fake:two", **SPILL)]
    async with running(*entries, outbox=opened(path)) as bus:
        for number in range(2):
            await bus.putter.put("k", number)
        await bus.stop(0.2)
    assert await left(path) == {"fake:one": [0, 1], "fake:two": [0, 1]}


@pytest.mark.parametrize(("policy", "kept"), [("drop_new", [0, 1, 2]), ("drop_old", [7, 8, 9])])
async def test_a_lane_that_drops_counts_what_it_drops_and_keeps_its_bounds(policy, kept, caplog):
    destination = away()
    async with running(entry(destination, when_full=policy, max_events=3)) as bus:
        for number in range(10):
            bus.putter.put_nowait("k", number)
        await until(lambda: bus.bus.account().accepted == 10)
        account = bus.bus.account()
        assert (account.dropped, account.remaining, account.balanced) == (7, 3, True)
        assert account.lanes[0].drops == {policy: 7}
        destination.script["open"].clear()
        await until(lambda: len(destination.received) == 3)
    assert numbers(destination) == kept
    assert sum("is full and drops" in record.getMessage() for record in caplog.records) == 1


async def test_drops_of_one_lane_leave_the_other_lanes_of_an_event_alone():
    dropping, other = away(), Destination()
    entries = [entry(dropping, "fake:dropping", when_full="drop_new", max_events=1), entry(other, "fake:other")]
    async with running(*entries) as bus:
        await bus.putter.put("k", 1)
        with pytest.raises(NotDelivered) as caught:
            await bus.putter.put("k", 2, confirm="delivered", timeout=5)
        await until(lambda: len(other.received) == 2)
    outcomes = caught.value.receipt.outcomes
    assert outcomes["fake:other"] == "delivered"
    assert isinstance(outcomes["fake:dropping"], Dropped)


async def test_what_is_on_its_way_is_not_dropped_as_old():
    destination = Destination(publish=["hang"])
    async with running(entry(destination, when_full="drop_old", max_events=2, timeout=0.3)) as bus:
        await bus.putter.put("k", 0)
        await until(lambda: destination.calls["publish"] == 1)
        for number in (1, 2, 3):
            await bus.putter.put("k", number)
        await until(lambda: len(destination.received) == 2)
    assert numbers(destination) == [0, 3]


@pytest.mark.parametrize("options", [DURABLE, {}], ids=["durable", "memory"])
async def test_a_dead_letter_is_on_the_disk_before_the_event_is_let_go(path, options):
    destination = Destination(publish=[None, [PoisonEvent("no queue wants it")]])
    outbox = opened(path)
    seen = []
    async with running(entry(destination, **options), outbox=outbox) as bus:
        bus.lanes[0].report = lambda failure: seen.append(outbox.counts().dead)
        await bus.putter.put("orders", 0, confirm="delivered")
        for number in (1, 2):
            bus.putter.put_nowait("orders", number, headers={"n": number})
        await until(lambda: bus.bus.account().dead_lettered == 1)
        (letter,) = await outbox.dead_letters()
        letter = await outbox.read_dead_letter(letter.number)
    assert seen == [1]
    assert (letter.destination, letter.reason, letter.kind) == ("fake:default", "no queue wants it", "PoisonEvent")
    assert (letter.event.routing_key, letter.event.body, letter.event.headers) == ("orders", b"1", {"n": 1})
    assert letter.attempts == 1
    assert numbers(destination) == [0, 2]


async def test_an_event_whose_dead_letter_cannot_be_written_stays_and_is_tried_again(path, monkeypatch):
    destination = Destination(publish=[[PoisonEvent("never")]] * 3)
    outbox = opened(path)
    write_dead_letter, failures = outbox.dead_letter_event, [StorageError("disk full"), StorageError("disk full")]

    async def sometimes(*args):
        if failures:
            raise failures.pop()
        return await write_dead_letter(*args)

    outbox.dead_letter_event = sometimes
    async with running(entry(destination), outbox=outbox) as bus:
        await bus.putter.put("k", 1)
        await until(lambda: bus.bus.account().dead_lettered == 1)
        account = await bus.stop()
    assert destination.calls["publish"] == 3
    assert account.balanced


async def test_a_delivery_of_a_spilled_event_settles_the_receipt_of_its_put(path):
    destination = away()
    async with running(entry(destination, **SPILL), outbox=opened(path)) as bus:
        puts = [asyncio.create_task(bus.putter.put("k", n, confirm="delivered", timeout=5)) for n in range(8)]
        await until(lambda: bus.bus.account().accepted == 8)
        destination.script["open"].clear()
        receipts = await asyncio.gather(*puts)
    assert all(receipt.delivered for receipt in receipts)


async def test_an_event_is_given_up_when_its_time_is_over():
    destination = Destination(publish=[[TransientError("busy")]] * 1000)
    async with running(entry(destination, retry_deadline=0.05)) as bus:
        await bus.putter.put("k", 1)
        await until(lambda: bus.bus.account().dead_lettered == 1)
        account = await bus.stop()
    assert account.balanced
    assert destination.calls["publish"] > 1


async def test_a_dead_letter_goes_to_the_profile_that_is_named_for_it_with_its_body_untouched():
    failing, graveyard = Destination(publish=[[PoisonEvent("no queue wants it")]]), Destination()
    entries = [
        entry(failing, "fake:orders", lambda profile: profile == "orders", dead_letter="failed"),
        entry(graveyard, "fake:failed", lambda profile: profile == "failed"),
    ]
    async with running(*entries) as bus:
        receipt = await bus.putter.put("k", {"n": 1}, "orders", headers={"tenant": "blue"})
        await until(lambda: graveyard.events)
        account = await bus.stop()
    (letter,) = graveyard.events
    assert (letter.id, letter.body, letter.routing_key) == (receipt.id, b'{"n":1}', "k")
    assert letter.headers["tenant"] == "blue"
    assert letter.headers["evbus-dead-destination"] == "fake:orders"
    assert letter.headers["evbus-dead-reason"] == "no queue wants it"
    assert (account.put, account.dead_lettered, account.delivered, account.balanced) == (1, 1, 1, True)


@pytest.mark.parametrize("quiet", [False, True])
async def test_a_stored_event_that_was_given_up_does_not_come_back(path, quiet):
    failing, letters = Destination(publish=[PoisonEvent("never")]), Destination()
    entries = [
        entry(failing, "fake:failing", lambda profile: profile == "default", dead_letter="dead", **DURABLE),
        entry(letters, "fake:letters", lambda profile: profile == "dead" and not quiet),
    ]
    token = quietly.set(quiet)
    try:
        async with running(*entries, outbox=opened(path)) as bus:
            await bus.putter.put("k", 1)
            await until(lambda: bus.bus.account().dead_lettered == 1)
            account = await bus.stop()
    finally:
        quietly.reset(token)
    assert account.balanced
    assert numbers(letters) == [1] * (not quiet)
    assert await left(path) == {}


async def test_a_stored_event_that_is_dropped_does_not_come_back(path):
    async with running(entry(away(), **DURABLE), outbox=opened(path)) as bus:
        for number in range(3):
            await bus.putter.put("k", number)
        await bus.stop(0.2)

    async with running(entry(away(), when_full="drop_old", max_events=3), outbox=opened(path)) as bus:
        await until(lambda: len(bus.lanes[0].queue) == 3)
        for number in range(3, 5):
            await bus.putter.put("k", number)
        account = await bus.stop(0.2)
    assert (account.accepted, account.dropped, account.spilled, account.remaining) == (5, 2, 1, 2)
    assert await left(path) == {"fake:default": [2]}


async def test_a_dead_letter_that_dies_again_goes_round_no_circle(path):
    failing = Destination(publish=[[PoisonEvent("never")]] * 10)
    outbox = opened(path)
    async with running(entry(failing, dead_letter="anything"), outbox=outbox) as bus:
        await bus.putter.put("k", 1)
        await until(lambda: bus.bus.account().dead_lettered == 2)
        assert outbox.counts().dead == 1
        account = await bus.stop()
    assert account.balanced
    assert failing.calls["publish"] == 2


async def test_a_dead_letter_whose_profile_matches_nothing_is_kept_in_the_outbox(path):
    failing = Destination(publish=[[PoisonEvent("never")]])
    outbox = opened(path)
    async with running(
        entry(failing, matches=lambda profile: profile == "default", dead_letter="nobody"), outbox=outbox
    ) as bus:
        await bus.putter.put("k", 1)
        await until(lambda: bus.bus.account().dead_lettered == 1)
        assert outbox.counts().dead == 1


async def test_a_dead_letter_whose_route_cannot_be_found_is_kept_in_the_outbox_and_counts_as_no_event(path, caplog):
    def matches(profile):
        if profile == "failed":
            raise TimeoutError("stopped")
        return True

    outbox = opened(path)
    failing = Destination(publish=[[PoisonEvent("never")]])
    async with running(entry(failing, matches=matches, dead_letter="failed"), outbox=outbox) as bus:
        await bus.putter.put("k", 1)
        await until(lambda: outbox.counts().dead == 1)
        await until(lambda: bus.bus.account().dead_lettered == 1)
        assert (bus.bus.account().put, bus.bus.account().rejected) == (1, 0)
    assert "cannot say whether it matches 'failed'" in caplog.text


async def test_a_backlog_for_a_destination_that_need_not_wait_is_sent_at_the_start(path):
    async with running(entry(away(), **DURABLE), outbox=opened(path)) as bus:
        for number in range(5):
            await bus.putter.put("k", number)
        await bus.stop(0.2)

    destination = Destination()
    destination.is_open = True
    destination.publish_now = lambda events: destination.received.extend(event.body for event in events) or len(events)
    async with running(entry(destination, **DURABLE), outbox=opened(path)) as bus:
        await until(lambda: len(destination.received) == 5)
        await bus.putter.put("k", 5)
        await until(lambda: len(destination.received) == 6)
    assert numbers(destination) == list(range(6))


async def test_tries_count_for_a_backlog_too_while_nothing_can_be_reached(path):
    async with running(entry(away(), **DURABLE), outbox=opened(path)) as bus:
        await bus.putter.put("k", 1)
        await bus.stop(0.2)
    async with running(entry(away(), attempts=3, **DURABLE), outbox=opened(path)) as bus:
        await until(lambda: bus.bus.account().dead_lettered == 1)
        account = await bus.stop()
    assert account.balanced


async def test_puts_that_come_together_share_a_commit_and_one_job_of_the_outbox(path, monkeypatch):
    outbox, groups = opened(path), []
    submit = outbox.submit_packed
    monkeypatch.setattr(outbox, "submit_packed", lambda packed: groups.append(len(packed)) or submit(packed))
    async with running(entry(Destination(), **DURABLE), outbox=outbox) as bus:
        await asyncio.gather(*(bus.putter.put("k", number) for number in range(100)))
        before = outbox._writer.commits
        await asyncio.gather(*(bus.putter.put("k", number) for number in range(100)))
        commits = outbox._writer.commits - before
        await bus.stop()
    assert groups == [1, 99, 100]  # the first has nobody to wait for
    assert commits <= 3  # with one or two that strike off what was delivered


async def test_an_event_whose_delivery_nobody_waits_for_carries_no_receipt_to_its_destination(path):
    destination = Destination()
    async with running(entry(destination, **DURABLE), outbox=opened(path)) as bus:
        await bus.putter.put("k", 1)
        await bus.putter.put("k", 2, confirm="delivered")
        await until(lambda: len(destination.events) == 2)
    assert [event.receipt is None for event in destination.events] == [True, False]


async def test_an_event_that_is_larger_than_the_whole_outbox_is_refused_and_counted(path):
    async with running(entry(Destination(), **DURABLE), outbox=opened(path, max_bytes=2000)) as bus:
        with pytest.raises(EventTooLarge, match="never fit"):
            await bus.putter.put("k", "x" * 3000)
        account = await bus.stop()
    assert (account.put, account.rejected, account.balanced) == (1, 1, True)


async def test_put_nowait_does_not_run_ahead_of_a_disk_that_does_not_answer_for_ever(path, monkeypatch):
    monkeypatch.setattr(engine_commits, "MAX_WAITING", 50)
    outbox = opened(path)
    stuck = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(outbox, "submit_packed", lambda packed: stuck)
    async with running(entry(Destination(), **DURABLE), outbox=outbox) as bus:
        with pytest.raises(QueueFull, match="too slow"):  # noqa: PT012 - nobody can say which put is the one
            for number in range(1000):
                bus.putter.put_nowait("k", number)
                await asyncio.sleep(0)
        stuck.set_exception(StorageError("gone"))
        await asyncio.sleep(0.01)
