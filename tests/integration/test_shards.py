"""Shards on RabbitMQ: the events of a key are handled one after another, by one worker of all."""

import asyncio
import contextlib
import itertools
import json
import logging
import os

import aio_pika
import pytest

from evbus_like.amqp import bindings, topology
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.errors import HandlerError
from evbus_like.hub.profiles.sources import Sources
from evbus_like.testing import eventually, new_hub, running
from tests import rpc
from tests.integration.commands import evbus, write_credentials
from tests.integration.receiving import RecordingHandler, handle, receiving
from tests.integration.sources import bind_only
from tests.integration.support import DEADLINE, channel, lengths
from tests.integration.workers import Workers

SHARDS = 6


def profile(rabbitmq, **options):
    return {"connection": {"url": rabbitmq.url}, **options}


def reads(*workers):
    """Give the shards that each worker reads."""
    return [worker.group.consumers[0].feed.shards if worker.group.consumers[0].feed else [] for worker in workers]


async def even(shards, *workers):
    """Wait until each shard has a worker, and none has two more than another."""

    def shared():
        has = reads(*workers)
        sizes = [len(each) for each in has]
        return sorted(itertools.chain(*has)) == list(range(shards)) and max(sizes) - min(sizes) <= 1

    await eventually(shared)


def first_handlings(bodies):
    """Give the numbers of each key in the order in which they were first handled."""
    seen = {}
    for key, number in bodies:
        if number not in seen.setdefault(key, []):
            seen[key].append(number)
    return seen


@contextlib.asynccontextmanager
async def publisher(rabbitmq):
    """Give a bus that puts to RabbitMQ."""
    async with running({"amqp": {"default": profile(rabbitmq)}}) as hub:
        yield hub.evbus.broker


async def put(broker, service, keys, numbers):
    """Put a round of events for each number, one of each key."""
    for number in numbers:
        for key in keys:
            broker.dispatch_nowait(service, "created", [key, number], key=key)
    await broker.dispatch(service, "other", 0, confirm="delivered")


async def names(rabbitmq, service):
    """Give the names of the queues of a service's handlers."""
    return sorted(name for name in rabbitmq.queues("messages") if name.startswith(f"evt-{service}-"))


async def test_workers_share_shards_evenly_and_each_key_stays_in_its_order(rabbitmq, fresh_name):
    # Given two workers, and a handler that fails now and then
    failed = set()

    def fail_once(event):
        if event.body[1] % 7 == 3 and tuple(event.body) not in failed:
            failed.add(tuple(event.body))
            raise ValueError("once")

    one, two, three = RecordingHandler(fail_once), RecordingHandler(fail_once), RecordingHandler(fail_once)
    made = [handle(each, fresh_name, "created", shards=SHARDS, backoff=0.05) for each in (one, two, three)]
    keys, log = [f"key-{number}" for number in range(30)], []
    for each in (one, two, three):
        each.events = log  # all write into one list
    async with (
        publisher(rabbitmq) as broker,
        receiving(profile(rabbitmq), made[0]) as first,
        receiving(profile(rabbitmq), made[1]) as second,
    ):
        await even(SHARDS, first, second)
        await put(broker, fresh_name, keys, range(10))
        # When a third one comes while events are handled, and goes again
        async with receiving(profile(rabbitmq), made[2]) as third:
            await even(SHARDS, first, second, third)
            await put(broker, fresh_name, keys, range(10, 20))
            await eventually(lambda: len(log) >= 300)
        await put(broker, fresh_name, keys, range(20, 30))
        await even(SHARDS, first, second)
        wanted = {(key, number) for key in keys for number in range(30)}
        await eventually(lambda: {tuple(event.body) for event in log} == wanted)
    # Then the events of each key were handled in their order, retries included
    assert first_handlings(event.body for event in log) == {key: list(range(30)) for key in keys}
    assert len(failed) == 30 * 4
    assert await names(rabbitmq, fresh_name) == [
        f"evt-{fresh_name}-created--shipping.ship",
        *(f"evt-{fresh_name}-created--shipping.ship.shard.{number}" for number in range(1, SHARDS)),
    ]


async def test_when_a_worker_process_is_killed_the_others_take_its_shards_and_nothing_is_lost(
    rabbitmq, fresh_name, tmp_path
):
    keys = [f"key-{number}" for number in range(200)]
    profiles = {"amqp": {"default": profile(rabbitmq)}}
    options = {"source": fresh_name, "shards": 5, "seconds": 0.002}

    async def handled(enough):
        async with asyncio.timeout(DEADLINE):
            while not enough(workers.notes()):  # noqa: ASYNC110 - the workers are processes
                await asyncio.sleep(0.2)  # it reads long files

    async with Workers(tmp_path, profiles, **options) as workers, publisher(rabbitmq) as broker:
        processes = await asyncio.gather(*(workers.start() for _ in range(3)))
        await put(broker, fresh_name, keys, range(3))
        await handled(lambda notes: len({note["pid"] for note in notes}) == 3)
        # When a worker is killed while it handles events
        await put(broker, fresh_name, keys, range(3, 6))
        await handled(lambda notes: len(notes) > 700)
        processes[1].kill()
        await processes[1].wait()
        await put(broker, fresh_name, keys, range(6, 8))
        await handled(lambda notes: len({tuple(note["body"]) for note in notes}) == 200 * 8)
    begun = sorted(workers.notes("begun"), key=lambda note: note["time"])
    # Then each key was handled in its order, apart from events that were handed out again
    assert first_handlings(note["body"] for note in begun) == {key: list(range(8)) for key in keys}
    repeated = [note for note in begun if note["redelivered"]]
    assert len(begun) - len({tuple(note["body"]) for note in begun}) <= len(repeated)
    # And no worker began with an event of a key before the worker that had it was done with the one before
    for key in keys:
        done = {tuple(note["body"]): note for note in workers.notes() if note["body"][0] == key}
        its = [note for note in begun if note["body"][0] == key]
        for before, after in itertools.pairwise(its):
            if before["pid"] != after["pid"] and before["pid"] != processes[1].pid:
                assert done[tuple(before["body"])]["time"] <= after["time"]


async def test_a_shard_moves_only_when_the_handlers_under_way_are_done(rabbitmq, fresh_name):
    hold, slow, other = asyncio.Event(), RecordingHandler(lambda _: hold.wait()), RecordingHandler()
    async with (
        publisher(rabbitmq) as broker,
        receiving(profile(rabbitmq), handle(slow, fresh_name, "created", shards=2)) as first,
    ):
        await even(2, first)
        await put(broker, fresh_name, list("abcdefgh"), [1, 2])
        await slow.wait_for(8)
        async with receiving(profile(rabbitmq), handle(other, fresh_name, "created", shards=2)) as second:
            await asyncio.sleep(2.5)  # longer than it takes to move a shard
            assert reads(first, second) == [[0, 1], []]
            hold.set()
            await even(2, first, second)
            await eventually(lambda: len(slow.events) + len(other.events) == 16)
    assert first_handlings([*slow.bodies, *other.bodies]) == {key: [1, 2] for key in "abcdefgh"}


async def test_events_without_a_key_all_go_to_one_shard_and_one_type_after_another(rabbitmq, fresh_name):
    handled, most, at_once = [], 0, 0

    async def take(event):
        nonlocal most, at_once
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.005)
        at_once -= 1
        handled.append(event.body)

    async with (
        publisher(rabbitmq) as broker,
        receiving(profile(rabbitmq), handle(take, fresh_name, "created", shards=4)) as worker,
    ):
        await even(4, worker)
        for number in range(20):
            await broker.dispatch(fresh_name, "created", number)
        await eventually(lambda: len(handled) == 20)
    assert (handled, most) == (list(range(20)), 1)


@contextlib.contextmanager
def without_plugin(rabbitmq):
    """Let RabbitMQ not know the type of exchange that the plugin brings."""
    kind = 'exchange, <<"x-consistent-hash">>'
    rabbitmq.evaluate(f"rabbit_registry:unregister({kind}).")
    try:
        yield
    finally:
        rabbitmq.evaluate(f"rabbit_registry:register({kind}, rabbit_exchange_type_consistent_hash).")


async def test_a_broker_without_the_plugin_is_named_with_the_command_that_enables_it(rabbitmq, fresh_name):
    seen, plain = RecordingHandler(), RecordingHandler()
    sharded = handle(seen, fresh_name, "created", name="sharded", shards=2)
    others = handle(plain, fresh_name, "created")
    async with publisher(rabbitmq) as bus:
        with without_plugin(rabbitmq):
            async with receiving(profile(rabbitmq), sharded, others, join=False) as worker:
                assert "rabbitmq-plugins enable rabbitmq_consistent_hash_exchange" in await worker.until("refused")
                await worker.group.consumers[1].subscribed.wait()
                # The other handlers of the profile go on
                await bus.dispatch(fresh_name, "created", 1, confirm="delivered")
                await plain.wait_for(1)
                assert not any("lost" in each.stats.trouble for each in worker.group.consumers)
        # With the plugin, it starts
        async with receiving(profile(rabbitmq), sharded):
            await bus.dispatch(fresh_name, "created", 2, confirm="delivered")
            await seen.wait_for(1)


@pytest.mark.parametrize(("before", "now"), [(None, 2), (2, None)], ids=["with shards", "without shards"])
async def test_a_queue_with_shards_and_one_without_are_refused_beside_each_other_and_lose_nothing(
    rabbitmq, fresh_name, before, now
):
    queue, seen = f"evt-{fresh_name}-created--shipping.ship", RecordingHandler()
    async with publisher(rabbitmq) as broker:
        async with receiving(profile(rabbitmq), handle(seen, fresh_name, "created", shards=before)):
            pass
        async with receiving(profile(rabbitmq), handle(seen, fresh_name, "created", shards=now), join=False) as worker:
            assert "the same delivery, reliable, shards, max_priority and quorum" in await worker.until("refused")
            await put(broker, fresh_name, ["a"], range(3))
        assert seen.events == []
        # The events wait for workers as they were before
        async with receiving(profile(rabbitmq), handle(seen, fresh_name, "created", shards=before)):
            await seen.wait_for(3)
    async with channel(rabbitmq.url) as opened:
        assert await lengths(opened, queue) == [0, 0]


@pytest.mark.parametrize(("before", "now"), [(4, 2), (2, 4)])
async def test_another_number_of_shards_is_reported_and_what_waits_in_the_old_ones_is_handled(
    rabbitmq, fresh_name, caplog, before, now
):
    keys, seen = [f"key-{number}" for number in range(20)], RecordingHandler()
    async with publisher(rabbitmq) as broker:
        async with receiving(profile(rabbitmq), handle(seen, fresh_name, "created", shards=before)):
            pass
        await put(broker, fresh_name, keys, [1])
        asked = Subscription(fresh_name, ("created",), "shipping", "ship", shards=now)
        (source,) = Sources(new_hub(), {"amqp": {"default": profile(rabbitmq)}}).named("default")
        assert f"has {now} shards here, and {before} at RabbitMQ" in (await source.inspect(asked)).advice[0]
        with caplog.at_level(logging.WARNING):
            async with receiving(profile(rabbitmq), handle(seen, fresh_name, "created", shards=now)) as worker:
                await put(broker, fresh_name, keys, [2])
                await seen.wait_for(40)
                await even(4, worker)
    assert sorted(seen.bodies) == sorted([key, number] for key in keys for number in (1, 2))
    assert f"has {now} shards here, and {before} at RabbitMQ: keys move to other shards" in caplog.text
    assert ("shard.3" in caplog.text) == (now < before)
    # New events go to the new shards alone
    async with channel(rabbitmq.url) as opened, publisher(rabbitmq) as broker:
        await put(broker, fresh_name, keys, [3])
        queue = f"evt-{fresh_name}-created--shipping.ship"
        waiting = [(await lengths(opened, queue + suffix))[0] for suffix in ("", ".shard.1", ".shard.2", ".shard.3")]
    assert sum(waiting[:now]) == 20
    assert all(waiting[:now])


async def test_the_shards_are_bound_again_when_an_exchange_was_deleted(rabbitmq, fresh_name, caplog):
    seen, other = RecordingHandler(), RecordingHandler()
    async with receiving(profile(rabbitmq), handle(seen, fresh_name, "created", shards=2)) as worker:
        await even(2, worker)
        async with channel(rabbitmq.url) as opened:
            await opened.exchange_delete(f"{fresh_name}.events")
            for suffix in ("shards", "workers"):
                await opened.exchange_delete(f"evt-{fresh_name}-created--shipping.ship.{suffix}")
        async with publisher(rabbitmq) as broker, asyncio.timeout(30):
            while not seen.events:
                await put(broker, fresh_name, ["a"], [1])
                await asyncio.sleep(0.2)
        # And workers share again
        async with receiving(profile(rabbitmq), handle(other, fresh_name, "created", shards=2)) as another:
            await even(2, worker, another)
    assert "is declared and bound" in caplog.text


async def test_workers_with_different_numbers_of_shards_handle_all_events_between_them(rabbitmq, fresh_name):
    keys, seen = [f"key-{number}" for number in range(30)], RecordingHandler()
    old, new = (handle(seen, fresh_name, "created", shards=number) for number in (2, 4))
    async with publisher(rabbitmq) as broker, receiving(profile(rabbitmq), old) as first:
        await even(2, first)
        await put(broker, fresh_name, keys, [1])
        async with receiving(profile(rabbitmq), new) as second:
            await put(broker, fresh_name, keys, [2])
            await seen.wait_for(60)
            await eventually(lambda: sorted(itertools.chain(*reads(first, second))) == [0, 1, 2, 3])
            await put(broker, fresh_name, keys, [3])
            await seen.wait_for(90)
    assert sorted(seen.bodies) == sorted([key, number] for key in keys for number in (1, 2, 3))


async def test_other_programs_choose_the_shard_by_the_header_evbus_key(rabbitmq, fresh_name):
    seen = RecordingHandler()
    async with receiving(profile(rabbitmq), handle(seen, fresh_name, "created", shards=4)) as worker:
        await even(4, worker)
        async with channel(rabbitmq.url) as opened:
            exchange = await opened.get_exchange(f"{fresh_name}.events")
            for number in range(40):
                await exchange.publish(aio_pika.Message(b"1", headers={"evbus-key": f"key-{number % 8}"}), "created")
        await seen.wait_for(40)
        shards = {}
        for event in seen.events:
            shards.setdefault(event.key, set()).add(event.token.feed.subscription.queue)
    assert len(shards) == 8
    assert all(len(each) == 1 for each in shards.values())
    assert len(set.union(*shards.values())) > 1


@pytest.mark.parametrize("quorum", [False, True], ids=["classic", "quorum"])
async def test_dead_letters_of_all_shards_are_in_one_queue_and_are_replayed_to_the_shards_of_their_keys(
    rabbitmq, fresh_name, quorum
):
    shards = []

    def refuse_once(event):
        shards.append((event.key, event.token.feed.subscription.queue))
        if len(shards) <= 8:
            raise ValueError("not yet")

    asked = Subscription(fresh_name, ("created",), "shipping", "ship", shards=3)
    (source,) = Sources(new_hub(), {"amqp": {"default": profile(rabbitmq)}}).named("default")
    seen = RecordingHandler(refuse_once)
    made = handle(seen, fresh_name, "created", shards=3, on_error="reject")
    async with (
        publisher(rabbitmq) as broker,
        receiving(profile(rabbitmq, quorum=quorum), made),
        channel(rabbitmq.url) as opened,
    ):
        await put(broker, fresh_name, "abcdefgh", [1])
        async with asyncio.timeout(30):
            while await lengths(opened, asked.queue) != [0, 8]:  # noqa: ASYNC110 - the broker tells nobody
                await asyncio.sleep(0.1)
        async with source.dead_letters(asked) as look:
            async for page in look.pages():
                assert not any(await look.replay(page, ""))
        await seen.wait_for(16)
        if quorum:  # RabbitMQ 4 would drop an event of a shard that has moved 20 times; it refuses other arguments
            limit = {"x-queue-type": "quorum", "x-delivery-limit": 10**9, "x-single-active-consumer": True}
            await opened.declare_queue(asked.queue, durable=True, arguments=limit)
    assert sorted(shards[:8]) == sorted(shards[8:])
    assert len({queue for _, queue in shards}) > 1
    assert {(event.routing_key, event.attempt) for event in seen.events} == {("created", 1)}


async def test_the_command_shows_which_worker_reads_which_shards(rabbitmq, fresh_name, tmp_path):
    source = f"""
        @evbus.handler("{fresh_name}", "created", shards=5)
        async def ship(hub, event): ...

        @evbus.handler("{fresh_name}", "created")
        async def other(hub, event): ...
    """
    rpc.write(tmp_path, handler__shipping=source)
    write_credentials(tmp_path, {"amqp": {"default": profile(rabbitmq)}})
    # Without a worker
    code, out, err = await evbus(tmp_path, "handlers", "--workers", "--json")
    assert (code, [row.get("workers") for row in json.loads(out)]) == (0, [None, []]), err
    made = [handle(RecordingHandler(), fresh_name, "created", shards=5) for _ in range(2)]
    async with receiving(profile(rabbitmq), made[0]) as one, receiving(profile(rabbitmq), made[1]) as two:
        await even(5, one, two)
        code, out, err = await evbus(tmp_path, "handlers", "--workers", "--json")
        other, ship = json.loads(out)
        assert code == 0, err
        assert sorted(worker["shards"] for worker in ship["workers"]) == sorted(reads(one, two))
        assert all(worker["worker"].endswith(f"process {os.getpid()}") for worker in ship["workers"])
        assert (ship["shards"], other["shards"], "workers" in other) == (5, 0, False)
        code, out, err = await evbus(tmp_path, "handlers", "--workers")
        assert code == 0, err
        assert f"process {os.getpid()}" in out
    # It leaves nothing behind
    assert not any(".workers" in name for name in await names(rabbitmq, fresh_name))


async def test_kafka_has_partitions_instead(fresh_name):
    profiles = {"kafka": {"default": {"connection": {"bootstrap_servers": "127.0.0.1:1"}}}}
    with pytest.raises(HandlerError, match=r"shards= is for RabbitMQ, and kafka:default has none.*partitions"):
        await bind_only(profiles, handle(RecordingHandler(), fresh_name, "created", shards=2))


async def test_in_memory_the_events_of_a_key_come_one_after_another(fresh_name):
    from tests.integration.sources import on_hub

    seen = RecordingHandler(lambda event: asyncio.sleep(0.002 * (event.body[1] % 3)))
    profiles = {"internal": {"default": None}}
    async with (
        running(profiles) as hub,
        on_hub(hub, profiles, handle(seen, fresh_name, "created", shards=3, max_workers=20)),
    ):
        await put(hub.evbus.broker, fresh_name, "abc", range(10))
        await seen.wait_for(30)
    assert first_handlings(seen.bodies) == {key: list(range(10)) for key in "abc"}


@pytest.mark.parametrize("lost", ["one binding", "the exchange"])
async def test_a_binding_that_is_lost_is_there_again_soon_and_no_shard_is_asked_for_it(
    rabbitmq, fresh_name, monkeypatch, lost
):
    monkeypatch.setattr(bindings, "EVERY", 0.2)
    asked = []
    original = topology.bind_queue
    seen = RecordingHandler()
    queue = f"evt-{fresh_name}-created--shipping.ship"
    async with (
        publisher(rabbitmq) as broker,
        receiving(profile(rabbitmq), handle(seen, fresh_name, "created", shards=SHARDS)) as worker,
    ):
        await even(SHARDS, worker)

        async def counted(*args):
            asked.append(args)
            await original(*args)

        if lost == "one binding":
            monkeypatch.setattr(topology, "bind_queue", counted)
        async with channel(rabbitmq.url) as there:
            if lost == "the exchange":
                await there.exchange_delete(f"{queue}.shards")
            else:
                for number in range(1, SHARDS):
                    await (await there.get_queue(f"{queue}.shard.{number}")).unbind(f"{queue}.shards", "1")
        bound = [f"{queue}.shards\t{queue}{f'.shard.{number}' if number else ''}" for number in range(SHARDS)]

        def all_bound():
            listed = rabbitmq.ctl("list_bindings", "source_name", "destination_name")
            return all(line in listed for line in bound)

        async with asyncio.timeout(DEADLINE):
            while not await asyncio.to_thread(all_bound):  # noqa: ASYNC110 - RabbitMQ is asked
                await asyncio.sleep(0.2)
        keys = [f"key-{number}" for number in range(30)]
        await put(broker, fresh_name, keys, [1])
        await eventually(lambda: {event.body[0] for event in seen.events} == set(keys), DEADLINE)
        assert worker.stats().state == "open"
    assert [exchange for _, _, exchange, _ in asked if exchange == f"{queue}.shards"] == []
