"""RabbitMQ as a source, when RabbitMQ, the network or a worker fails: every event is handled, at least once."""

import asyncio
import json
import os
import signal
import sys
import textwrap
from contextlib import asynccontextmanager

import aio_pika
import pytest

from evbus_like.amqp import bindings
from evbus_like.handlers import REJECT
from evbus_like.testing import eventually, running
from tests.faults.proxy import Proxy
from tests.integration.receiving import RecordingHandler, handle, receiving
from tests.integration.support import DEADLINE, channel
from tests.integration.test_amqp_source import publishing


@pytest.fixture
def proxy(rabbitmq):
    with Proxy(rabbitmq.port) as made:
        yield made


def through(proxy, **connection):
    """Give a profile that leads through the proxy."""
    address = {"host": "127.0.0.1", "port": proxy.port, "timeout": 2.0}
    return {"connection": {**address, **connection}, "timeout": 3.0}


async def publish_all(url, service, numbers):
    """Publish numbers, confirmed."""
    async with publishing(url, service) as publish:
        for number in numbers:
            await publish("placed", number)


async def test_a_broker_killed_in_mid_handling_gives_the_event_again_and_handling_goes_on(rabbitmq, fresh_name):
    # Given a handler that has begun with an event
    go_on = asyncio.Event()
    seen = RecordingHandler(lambda event: go_on.wait())
    profile = {"connection": {"url": rabbitmq.url}}
    async with receiving(profile, handle(seen, fresh_name, "placed")) as worker:
        await publish_all(rabbitmq.url, fresh_name, [1])
        await seen.wait_for(1)
        # When RabbitMQ is killed and comes back
        await asyncio.to_thread(rabbitmq.kill)
        await worker.until("retrying")
        go_on.set()
        await asyncio.to_thread(rabbitmq.start)
        await worker.until("open")
        # Then the event comes again, as one that came before, and later ones come too
        await seen.wait_for(2)
        await publish_all(rabbitmq.url, fresh_name, range(2, 20))
        await eventually(lambda: set(seen.bodies) == set(range(1, 20)))
    assert seen.bodies[:2] == [1, 1]
    assert seen.events[1].redelivered


async def test_a_broker_that_is_restarted_in_a_stream_costs_no_event(rabbitmq, fresh_name):
    seen = RecordingHandler()
    async with receiving({"connection": {"url": rabbitmq.url}}, handle(seen, fresh_name, "placed")) as worker:
        await publish_all(rabbitmq.url, fresh_name, range(200))
        await asyncio.to_thread(rabbitmq.restart)
        await publish_all(rabbitmq.url, fresh_name, range(200, 400))
        await eventually(lambda: set(seen.bodies) == set(range(400)))
        assert worker.stats().state == "open"


async def test_a_connection_that_is_reset_is_noticed_at_once_and_made_again(rabbitmq, proxy, fresh_name):
    seen = RecordingHandler()
    async with receiving(through(proxy), handle(seen, fresh_name, "placed")):
        for round in range(5):
            await publish_all(rabbitmq.url, fresh_name, range(round * 100, round * 100 + 100))
            proxy.reset()
            # far below any heartbeat
            await eventually(lambda least=round + 2: proxy.attempts >= least, timeout=10.0)
            await eventually(lambda wanted=set(range(round * 100 + 100)): set(seen.bodies) == wanted)


async def test_a_connection_that_answers_nothing_any_more_is_given_up_after_its_heartbeats(rabbitmq, proxy, fresh_name):
    seen = RecordingHandler()
    async with receiving(through(proxy, heartbeat=1), handle(seen, fresh_name, "placed")) as worker:
        await publish_all(rabbitmq.url, fresh_name, range(10))
        await seen.wait_for(10)
        proxy.black_hole()
        await publish_all(rabbitmq.url, fresh_name, range(10, 20))
        await worker.until("retrying")
        proxy.heal()
        await eventually(lambda: set(seen.bodies) == set(range(20)))


async def test_a_stream_of_deliveries_alone_keeps_a_connection_alive(rabbitmq, fresh_name):
    # RabbitMQ sends no heartbeats while it sends messages, and aiormq sees none of those
    seen = RecordingHandler()
    profile = {"connection": {"url": f"{rabbitmq.url}?heartbeat=1"}}
    async with (
        receiving(profile, handle(seen, fresh_name, "placed")) as worker,
        publishing(rabbitmq.url, fresh_name) as publish,
    ):
        async with asyncio.timeout(DEADLINE):
            loop = asyncio.get_running_loop()
            until = loop.time() + 9.0  # aiormq gives up after 6 seconds of silence
            number = 0
            while loop.time() < until:
                await publish("placed", number)
                number += 1
                await asyncio.sleep(0.02)
        await seen.wait_for(number)
        assert worker.stats().lost == 0
    assert seen.bodies == list(range(number))


async def test_a_broker_that_is_absent_at_the_start_is_waited_for(rabbitmq, proxy, fresh_name):
    proxy.refuse()
    seen = RecordingHandler()
    async with receiving(through(proxy), handle(seen, fresh_name, "placed"), join=False) as worker:
        said = await worker.until("retrying")
        assert f"cannot connect to RabbitMQ at 127.0.0.1:{proxy.port}" in said
        proxy.heal()
        await worker.join()
        await publish_all(rabbitmq.url, fresh_name, [1])
        await seen.wait_for(1)


async def test_many_handlers_of_a_profile_share_one_connection_also_after_a_loss(rabbitmq, proxy, fresh_name):
    seen = RecordingHandler()
    handlers = [handle(seen, fresh_name, "placed", name=f"ship{number}") for number in range(10)]
    async with receiving(through(proxy), *handlers):
        await publish_all(rabbitmq.url, fresh_name, [1])
        await seen.wait_for(10)
        assert proxy.open == 1
        proxy.reset()
        await publish_all(rabbitmq.url, fresh_name, [2])
        await eventually(lambda: seen.bodies.count(2) == 10)
        assert proxy.open == 1


@pytest.mark.parametrize("trouble", ["black_hole", "refuse", "hang_up"])
async def test_a_stop_ends_whatever_the_network_does(rabbitmq, proxy, fresh_name, trouble):
    async with asyncio.timeout(DEADLINE):
        async with receiving(through(proxy), handle(RecordingHandler(), fresh_name, "placed"), timeout=20.0):
            getattr(proxy, trouble)()


async def test_a_queue_that_is_deleted_under_its_handler_is_made_again(rabbitmq, fresh_name):
    seen = RecordingHandler()
    profile = {"connection": {"url": rabbitmq.url}}
    async with receiving(profile, handle(seen, fresh_name, "placed")) as worker:
        rabbitmq.ctl("delete_queue", f"evt-{fresh_name}-placed--shipping.ship")
        said = await worker.until("retrying")
        assert "was deleted" in said
        await worker.until("open")
        await publish_all(rabbitmq.url, fresh_name, [1])
        await seen.wait_for(1)


@pytest.mark.parametrize("again", [False, True], ids=["deleted", "deleted and declared by somebody else"])
async def test_a_handler_whose_exchange_is_deleted_gets_the_events_that_are_put_later(
    rabbitmq, fresh_name, monkeypatch, again
):
    monkeypatch.setattr(bindings, "EVERY", 0.2)
    seen = RecordingHandler(lambda event: asyncio.sleep(0.05))
    profile = {"connection": {"url": rabbitmq.url}}
    handlers = (handle(seen, fresh_name, "placed"), handle(seen, fresh_name, ("paid", "sent.*"), name="bill"))
    async with receiving(profile, *handlers) as worker, running({"amqp": {"default": profile}}) as hub:
        # When the exchange is deleted, and with it its bindings
        async with channel(rabbitmq.url) as there:
            await there.exchange_delete(f"{fresh_name}.events")
            if again:
                await there.declare_exchange(f"{fresh_name}.events", "topic", durable=True)

        # Then later events arrive, and nothing was read anew for it
        async def arrives(event_type: str) -> None:
            while event_type not in {event.routing_key for event in seen.events}:
                await hub.evbus.broker.dispatch(fresh_name, event_type, 1)
                await asyncio.sleep(0.1)

        async with asyncio.timeout(DEADLINE):
            for event_type in ("placed", "paid", "sent.today"):
                await arrives(event_type)
        assert worker.stats().state == worker.stats(1).state == "open"
        assert not any(event.redelivered for event in seen.events)


async def test_a_flood_is_bounded_by_the_prefetch(rabbitmq, fresh_name):
    # Given a queue of 50,000 events
    total, prefetch = 50_000, 100
    queue = f"evt-{fresh_name}-placed--shipping.ship"
    profile = {"connection": {"url": rabbitmq.url}}
    async with receiving(profile, handle(RecordingHandler(), fresh_name, "placed")):
        pass
    await flood(rabbitmq, fresh_name, total)
    await eventually(lambda: messages(rabbitmq, queue, "messages_ready") == total)
    # When a handler takes them, which does not go on at first
    go_on, open_at_most = asyncio.Event(), 0

    async def look(event):
        nonlocal open_at_most
        await go_on.wait()
        open_at_most = max(open_at_most, worker.group.consumers[0].pool.settler.open)

    seen = RecordingHandler(look)
    async with receiving(profile, handle(seen, fresh_name, "placed", prefetch=prefetch, max_workers=20)) as worker:
        await eventually(lambda: worker.stats().received >= prefetch)
        await asyncio.sleep(0.5)
        # Then no more than the prefetch was sent ahead
        assert worker.stats().received == prefetch
        assert unacknowledged(rabbitmq, queue) == prefetch
        go_on.set()
        await eventually(lambda: len(seen.events) >= total, timeout=120.0)
        await eventually(lambda: unacknowledged(rabbitmq, queue) == 0)
    assert sorted(event.body for event in seen.events) == list(range(total))
    assert open_at_most <= prefetch


async def flood(rabbitmq, service, total):
    """Publish numbers, without confirms."""
    async with channel(rabbitmq.url) as opened:
        fast = await opened._connection.channel(publisher_confirms=False)
        exchange = await fast.get_exchange(f"{service}.events")
        for number in range(total):
            message = aio_pika.Message(str(number).encode(), content_type="application/json")
            await exchange.publish(message, "placed")


def messages(rabbitmq, queue, what):
    """Say how many messages of a queue are in some state."""
    return rabbitmq.queues(what)[queue][what]


def unacknowledged(rabbitmq, queue):
    """Say how many messages of a queue were sent and not settled."""
    return messages(rabbitmq, queue, "messages_unacknowledged")


async def test_while_an_alarm_blocks_dead_letters_other_events_are_handled_and_acknowledged(rabbitmq, fresh_name):
    # Given a handler that rejects one event while RabbitMQ's memory alarm is on, so that nothing can be published
    def fail_zero(event):
        if event.body == 0:
            raise ValueError("rejected")

    seen = RecordingHandler(fail_zero)
    queue = f"evt-{fresh_name}-placed--shipping.ship"
    profile = {"connection": {"url": rabbitmq.url}, "timeout": 2.0}
    async with receiving(profile, handle(seen, fresh_name, "placed", on_error=REJECT)):
        pass
    await publish_all(rabbitmq.url, fresh_name, range(30))
    rabbitmq.ctl("set_vm_memory_high_watermark", "0.0000001")
    try:
        async with receiving(profile, handle(seen, fresh_name, "placed", on_error=REJECT)) as worker:
            await seen.wait_for(30)
            await eventually(lambda: unacknowledged(rabbitmq, queue) == 1)
            assert worker.stats().dead == 0
            # Then the letter goes its way when the alarm is over
            rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")
            await eventually(lambda: worker.stats().dead == 1)
    finally:
        rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")


WORKER = """
    import asyncio, json, sys
    from evbus_like.testing import new_hub, running

    async def main():
        hub = new_hub()
        hub.log_file = open(sys.argv[2], "a")
        async with running(json.loads(sys.argv[1]), hub):
            await hub.evbus.handlers.start()
            await hub.evbus.handlers.join()
            print("ready", file=hub.log_file, flush=True)
            await hub.evbus.handlers.ended()

    asyncio.run(main())
"""
HANDLER = """
    import asyncio
    import evbus_like.handlers as evbus

    @evbus.handler("SERVICE", "placed", prefetch=5)
    async def ship(hub, event):
        print(event.body, int(event.redelivered), file=hub.log_file, flush=True)
        await asyncio.sleep(60.0 if event.body == 13 and not event.redelivered else 0.01)
"""


@asynccontextmanager
async def process(folder, profiles, log):
    """Run the app of a folder in a process of its own, and kill it at the end."""
    log.touch()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    command = (sys.executable, str(folder / "worker.py"), json.dumps(profiles), str(log))
    started = await asyncio.create_subprocess_exec(*command, env=environment, cwd=folder)
    try:
        await eventually(lambda: "ready" in log.read_text())
        yield started
    finally:
        if started.returncode is None:
            started.send_signal(signal.SIGKILL)
        await started.wait()


async def test_what_a_killed_worker_was_handling_is_handled_by_another(rabbitmq, tmp_path, fresh_name):
    # Given an application whose handler is in two processes
    app = tmp_path / "shop"
    (app / "handler").mkdir(parents=True)
    (app / "conf.py").write_text('DYNE = {"handler": ["handler"]}\n')
    (app / "handler" / "shipping.py").write_text(textwrap.dedent(HANDLER).replace("SERVICE", fresh_name))
    (tmp_path / "worker.py").write_text(textwrap.dedent(WORKER))
    profiles = {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}}
    first, second = tmp_path / "first.log", tmp_path / "second.log"

    def handled(log):
        return [line.split() for line in log.read_text().splitlines() if line != "ready"]

    async with process(tmp_path, profiles, first) as one:
        await publish_all(rabbitmq.url, fresh_name, range(20))
        # When the first is killed in the middle of an event
        await eventually(lambda: ["13", "0"] in handled(first))
        await eventually(lambda: len(handled(first)) == 20)
        one.send_signal(signal.SIGKILL)
        await one.wait()
        async with process(tmp_path, profiles, second):
            # Then the other has that event, marked, and no event is missing
            await eventually(lambda: ["13", "1"] in handled(second))
            await publish_all(rabbitmq.url, fresh_name, [99])
            await eventually(lambda: ["99", "0"] in handled(second))
    assert {int(body) for body, _ in handled(first) + handled(second)} == {*range(20), 99}
