"""Kafka as a source, in several worker processes: who gets an event, and what a rebalance or a kill costs."""

import asyncio
import time

from evbus_like.kafka import internals
from evbus_like.testing import eventually
from tests.integration.records import publish, wait_until_committed
from tests.integration.sources import handler, receiving
from tests.integration.support import create_topic
from tests.integration.workers import Workers

MANY = 200


def profiles(kafka, **options):
    connection = {"bootstrap_servers": kafka.bootstrap}
    return {"kafka": {"default": {"connection": connection, "session_timeout": 3, **options}}}


async def topic_of(kafka, name, partitions=4):
    await create_topic(kafka.bootstrap, f"{name}.events", partitions)
    return f"{name}.events"


async def everything(workers, count):
    await eventually(lambda: len(workers.handled()) == count)


async def test_instances_of_one_service_share_its_events_and_another_service_gets_its_own(kafka, fresh_name, tmp_path):
    topic = await topic_of(kafka, fresh_name)
    async with Workers(tmp_path, profiles(kafka), source=fresh_name) as workers:
        await asyncio.gather(*(workers.start(service=service) for service in ("a", "a", "b")))
        await asyncio.sleep(4)  # until the latest rebalance is over: what it repeats is another test's matter
        await publish(kafka.bootstrap, topic, range(MANY))
        await eventually(lambda: sum(workers.handled().values()) >= 2 * MANY)
        assert workers.handled(worker=0) + workers.handled(worker=1) == dict.fromkeys(range(MANY), 1)
        assert workers.handled(worker=0)
        assert workers.handled(worker=1)
        assert workers.handled(worker=2) == dict.fromkeys(range(MANY), 1)


async def test_of_a_singleton_one_of_all_services_gets_an_event(kafka, fresh_name, tmp_path):
    topic = await topic_of(kafka, fresh_name)
    async with Workers(tmp_path, profiles(kafka), source=fresh_name, delivery="singleton") as workers:
        await asyncio.gather(*(workers.start(service=service) for service in ("a", "b")))
        await asyncio.sleep(4)
        await publish(kafka.bootstrap, topic, range(MANY))
        await everything(workers, MANY)
        assert workers.handled() == dict.fromkeys(range(MANY), 1)


async def test_of_a_broadcast_every_instance_gets_every_event(kafka, fresh_name, tmp_path):
    topic = await topic_of(kafka, fresh_name)
    async with Workers(tmp_path, profiles(kafka), source=fresh_name, delivery="broadcast") as workers:
        await asyncio.gather(
            workers.start(reliable=False),
            workers.start(reliable=False),
            workers.start(broadcast_identifier="one"),
            workers.start(broadcast_identifier="two"),
        )
        await publish(kafka.bootstrap, topic, range(MANY))
        await eventually(lambda: sum(workers.handled().values()) >= 4 * MANY)
        for worker in range(4):
            assert workers.handled(worker=worker) == dict.fromkeys(range(MANY), 1)


async def test_an_event_whose_worker_is_killed_while_it_handles_it_is_handled_by_another(kafka, fresh_name, tmp_path):
    topic = await topic_of(kafka, fresh_name)
    async with Workers(tmp_path, profiles(kafka), source=fresh_name, seconds=0.2) as workers:
        victim = await workers.start()
        await workers.start()
        await publish(kafka.bootstrap, topic, range(MANY))
        await eventually(lambda: len(workers.notes("begun", worker=0)) > 10)
        victim.kill()
        await everything(workers, MANY)
        cut_off = {note["body"] for note in workers.notes("begun", worker=0)} - set(workers.handled(worker=0))
        assert cut_off
        assert cut_off <= set(workers.handled(worker=1))


async def test_workers_come_and_go_while_events_flow_and_none_is_lost(kafka, fresh_name, tmp_path, record_property):
    topic = await topic_of(kafka, fresh_name)
    group = f"evt-{fresh_name}-created--shipping.take"
    async with Workers(tmp_path, profiles(kafka), source=fresh_name, seconds=0.005) as workers:
        first = await workers.start()
        flow = asyncio.create_task(publish(kafka.bootstrap, topic, range(3000), pause=0.003))
        second = await workers.start()
        await asyncio.sleep(1)
        third = await workers.start()
        await asyncio.sleep(1)
        stopped = [await workers.stop(first)]
        await asyncio.sleep(1)
        await workers.start()
        stopped.append(await workers.stop(third))
        second.kill()
        await flow
        await everything(workers, 3000)
        await wait_until_committed(kafka.bootstrap, topic, group, 3000)
        repeats = sum(workers.handled().values()) - 3000
        record_property("costs", f"{repeats} repeats of 3000 events, 4 workers that came, 2 that went, 1 killed")
        assert repeats < 300  # what was under way in the killed one, and not committed within its last moments
        assert all(counts["state"] == "closed" for counts in stopped)


async def test_a_rebalance_waits_for_handlers_under_way_and_repeats_nothing(kafka, fresh_name, tmp_path):
    topic = await topic_of(kafka, fresh_name)
    async with Workers(tmp_path, profiles(kafka), source=fresh_name, seconds=3.0) as workers:
        await workers.start()
        await publish(kafka.bootstrap, topic, range(40))
        await eventually(lambda: len(workers.notes("begun")) == 10)
        await workers.start()
        await everything(workers, 40)
        assert workers.handled() == dict.fromkeys(range(40), 1)
        assert workers.handled(worker=1)


async def test_a_handler_that_outlasts_a_rebalance_does_not_commit_into_anothers_partition(kafka, fresh_name, tmp_path):
    """Its event comes again, in the next generation, and is committed there."""
    topic = await topic_of(kafka, fresh_name)
    async with Workers(tmp_path, profiles(kafka, timeout=4), source=fresh_name, seconds=8.0) as workers:
        await workers.start(max_workers=4)
        await publish(kafka.bootstrap, topic, range(8))
        await eventually(lambda: len(workers.notes("begun")) == 4)
        begun = time.monotonic()
        await workers.start(max_workers=4)
        assert time.monotonic() - begun < 60
        await everything(workers, 8)
        await wait_until_committed(kafka.bootstrap, topic, f"evt-{fresh_name}-created--shipping.take", 8)
        assert max(workers.handled().values()) <= 3


async def test_a_static_member_that_restarts_gets_its_partitions_back_without_a_rebalance(kafka, fresh_name):
    # Given two members with ids of their own
    topic, seen = await topic_of(kafka, fresh_name), []

    def member(name):
        static = profiles(kafka, group_instance_id=name, session_timeout=30)
        return receiving(static, handler(lambda event: seen.append((name, event.body)), fresh_name))

    async with member("first") as stays, member("second") as restarts:
        coordinators = [internals.coordinator_of(group.consumers[0].feed.kafka) for group in (stays, restarts)]
        await eventually(lambda: coordinators[0].generation == coordinators[1].generation)
        before = coordinators[0].generation
        await publish(kafka.bootstrap, topic, range(MANY))
        await eventually(lambda: len(seen) == MANY)
        had = {name: {body for by, body in seen if by == name} for name in ("first", "second")}
        assert all(had.values())
        # When one of them stops, and starts again after events have come for both
        await restarts.stop(10.0)
        seen.clear()
        await publish(kafka.bootstrap, topic, range(MANY))
        await eventually(lambda: len(seen) == len(had["first"]))
        async with member("second"):
            # Then each has the keys that it had before, and the one that stayed has seen no other generation
            await eventually(lambda: len(seen) == MANY)
            assert {name: {body for by, body in seen if by == name} for name in had} == had
            assert coordinators[0].generation == before


async def test_two_members_with_one_id_say_what_is_wrong(kafka, fresh_name, caplog):
    topic, seen = await topic_of(kafka, fresh_name), []
    static = profiles(kafka, group_instance_id="same", session_timeout=6)
    one, other = (handler(seen.append, fresh_name) for _ in range(2))
    async with receiving(static, one), receiving(static, other):
        await eventually(lambda: "another process has the same group_instance_id" in caplog.text)
        await publish(kafka.bootstrap, topic, range(MANY))
        await eventually(lambda: {event.body for event in seen} == set(range(MANY)))
