"""Faults of our own process: stops that hang, clocks that jump, threads, cancellations, a blocked event loop."""

import asyncio
import itertools
import logging
import random
import subprocess
import sys
import threading
import time

import pytest

from evbus_like.hub.log_handler import BusHandler
from evbus_like.testing import eventually, new_hub, running
from tests.faults.sender import Sender, in_order
from tests.integration.support import DEADLINE


@pytest.mark.fault(16)
@pytest.mark.parametrize("how", ["refuse", "black_hole"])
async def test_stop_returns_without_the_broker_and_counts_the_remaining_events(site, report_costs, how):
    # Given events in flight to a broker that is no longer there
    sender = Sender()
    async with site.bus(timeout=60.0) as hub:
        await sender.put(hub, confirm="delivered")
        getattr(site.proxy, how)()
        for _ in range(50):
            await sender.put(hub)
        # When the bus is stopped
        async with asyncio.timeout(DEADLINE):
            account = await hub.evbus.init.stop(1.0)
    # Then it ends, even if a client library waits forever, and every event is in the account
    report_costs(sender.check(account, await site.arrived()))
    assert account.accepted == 51
    assert account.remaining > 0


@pytest.mark.fault(18)
async def test_clock_jumps_lose_no_event_and_keep_the_order(site, stream_through, monkeypatch):
    # Given a clock that jumps back by a day or ahead by half an hour each time it is read
    real, jumps = time.time, itertools.cycle([0.0, -86_400.0, 1_800.0])

    def jumping():
        return real() + next(jumps)

    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith(("evbus_like", "aio", "pamqp")):
            for name, value in list(vars(module).items()):
                if value is real:
                    monkeypatch.setattr(module, name, jumping)
    monkeypatch.setattr(time, "time", jumping)

    # When the connection is lost and comes back
    async def fault(hub):
        for _ in range(3):
            site.proxy.reset()
            await site.flows(hub)
        site.proxy.black_hole()
        await site.until(hub, "retrying")
        site.proxy.heal()

    # Then everything arrives nevertheless
    await stream_through(site, fault, timeout=1.0)


@pytest.mark.fault(22)
async def test_the_event_of_a_cancelled_put_reaches_every_destination_or_none(rabbit_site, kafka_site):
    # Given two destinations with little room, whose connections break all the time
    narrow = {"max_events": 20, "batch_events": 5}
    profiles = {"amqp": {"default": rabbit_site.profile(**narrow)}, "kafka": {"default": kafka_site.profile(**narrow)}}
    choose = random.Random(22)
    returned, cancelled = set(), set()
    async with running(profiles) as hub:

        async def put(number):
            body = {"key": "key", "number": number}
            confirm = choose.choice(["queued", "accepted", "delivered"])
            try:
                await hub.evbus.broker.put("key", body, confirm=confirm)
            except asyncio.CancelledError:
                cancelled.add(number)
                raise
            returned.add(number)

        # When puts are cancelled at random moments
        for number in range(0, 1000, 20):
            tasks = [asyncio.create_task(put(count)) for count in range(number, number + 20)]
            for _ in range(choose.randrange(5)):
                await asyncio.sleep(0)
            if choose.random() < 0.5:
                await asyncio.sleep(0.005)
            for task in tasks:
                if choose.random() < 0.5:
                    task.cancel()
            if number % 200 == 0:
                rabbit_site.proxy.reset()
                kafka_site.proxy.reset()
            await asyncio.gather(*tasks, return_exceptions=True)
        account = await hub.evbus.init.stop(DEADLINE)
    # Then both destinations have the same events: all whose put returned, and some of the others
    at_rabbitmq = {message.number for message in await rabbit_site.arrived()}
    at_kafka = {message.number for message in await kafka_site.arrived()}
    assert account.complete
    assert at_rabbitmq == at_kafka
    assert returned <= at_rabbitmq
    assert at_rabbitmq <= returned | cancelled
    assert len(at_rabbitmq) == account.put
    assert cancelled
    assert cancelled - at_rabbitmq


@pytest.mark.fault(29)
async def test_events_from_threads_other_loops_and_callbacks_survive_a_lost_connection(site, report_costs):
    # Given events put before the bus runs
    hub, sender, lock = new_hub(), Sender(), threading.Lock()
    numbers = {}

    def put_nowait(key, count):
        for number in range(count):
            event_id = hub.evbus.broker.put_nowait(key, {"key": key, "number": number})
            with lock:
                sender.note(event_id, key, number)

    async def put(key, count):
        for number in range(count):
            receipt = await hub.evbus.broker.put(key, {"key": key, "number": number})
            with lock:
                sender.note(receipt.id, key, number)

    async def called_back(data):
        number = numbers["callback"] = numbers.get("callback", -1) + 1
        put_one = hub.evbus.broker.put_nowait("callback", {"key": "callback", "number": number})
        with lock:
            sender.note(put_one, "callback", number)

    put_nowait("before", 100)
    async with site.bus(hub) as hub:
        hub.evbus.RUNTIME.reporter._look_up = {"called.back": called_back}.__getitem__
        hub.evbus.RUNTIME.reporter.start("called.back")
        # When threads, another loop, this loop and the error callback put, and the connection breaks meanwhile
        threads = [
            asyncio.create_task(asyncio.to_thread(put_nowait, "thread 1", 300)),
            asyncio.create_task(asyncio.to_thread(put_nowait, "thread 2", 300)),
            asyncio.create_task(asyncio.to_thread(asyncio.run, put("loop 2", 300))),
            asyncio.create_task(put("loop 1", 300)),
        ]
        for _ in range(20):
            hub.evbus.broker.put_nowait("key", {object()})  # cannot be serialized: the callback is called
            await asyncio.sleep(0.005)
        site.proxy.reset()
        await asyncio.gather(*threads)
        await eventually(lambda: numbers.get("callback") == 19)
        account = await hub.evbus.init.stop(DEADLINE)
    # Then all events arrive, in the order of each source
    assert account.rejected == 20
    account.put -= account.rejected
    costs = sender.check(account, await site.arrived())
    report_costs(costs)
    assert (costs.put, costs.missing) == (1320, 0)


@pytest.mark.fault(30)
async def test_an_event_loop_blocked_for_ten_seconds_loses_no_event(rabbit_site, kafka_site, report_costs):
    # Given a heartbeat of two seconds, and events in flight
    senders = {"amqp": Sender(), "kafka": Sender()}
    sites = {"amqp": rabbit_site, "kafka": kafka_site}
    profiles = {
        "amqp": {"amqp": rabbit_site.profile(connection={"heartbeat": 2}, timeout=30.0)},
        "kafka": {"kafka": kafka_site.profile(timeout=30.0)},
    }
    async with running(profiles) as hub:
        for name, sender in senders.items():
            await sender.put(hub, profile=name, confirm="delivered")
            for _ in range(2000):
                sender.put_nowait(hub, profile=name)
        await asyncio.sleep(0)
        tried = rabbit_site.proxy.attempts
        # When the event loop is blocked for ten seconds
        time.sleep(10.0)  # noqa: ASYNC251 - blocks the loop on purpose
        # Then the bus reconnects, and all events arrive
        for name, sender in senders.items():
            for _ in range(100):
                await sender.put(hub, profile=name)
            await sender.put(hub, profile=name, confirm="delivered", timeout=DEADLINE)
        account = await hub.evbus.init.stop(DEADLINE)
    assert rabbit_site.proxy.attempts > tried
    assert account.complete
    for name, sender in senders.items():
        arrived = await sites[name].arrived()
        assert {message.id for message in arrived} == set(sender.events)
        in_order(arrived)


@pytest.mark.fault(31)
async def test_ten_thousand_profiles_are_matched_once_per_name_and_not_once_per_event():
    # Given 10,000 profiles with patterns
    profiles = {"internal": {f"shop-{number}-*": {"routing_key": "one"} for number in range(10_000)}}
    async with running(profiles) as hub:
        tried_count = 0
        for entry in hub.evbus.RUNTIME.bus.admission.router.entries:
            matches = entry.matches

            def counted(name, matches=matches):
                nonlocal tried_count
                tried_count += 1
                return matches(name)

            object.__setattr__(entry, "matches", counted)
        # When a thousand events of three names are put, in two ways
        for number in range(500):
            await hub.evbus.broker.put("key", number, f"shop-{number % 3}-eu")
            hub.evbus.broker.put_nowait("key", number, f"shop-{number % 3}-eu")
        account = await hub.evbus.init.stop(DEADLINE)
    # Then each pattern was tried three times
    assert tried_count == 30_000
    assert (account.put, account.delivered) == (1000, 1000)


ENDLESS = """
import asyncio
from evbus_like.testing import new_hub, running

async def main():
    hub = new_hub()
    hub.match.PLUGIN = "regex"
    async with running({"internal": {"(a|a)*[bc]": None, "fine": None}}, hub) as hub:
        for _ in range(1000):
            try:
                await hub.evbus.broker.put("key", 1, "a" * 60)
            except Exception as error:
                message = str(error)
        hub.evbus.broker.put_nowait("key", 1, "a" * 60)
        await hub.evbus.broker.put("key", 2, "fine", confirm="delivered")
        account = await hub.evbus.init.stop()
        print(account.delivered, account.rejected, account.unmatched, account.balanced)
        print(message)

asyncio.run(main())
"""


@pytest.mark.fault(32)
def test_an_endless_regex_rejects_its_events_with_a_clear_error_and_other_events_pass():
    # When a thousand events have a name on which the regular expression of a profile takes too long
    ran = subprocess.run([sys.executable, "-c", ENDLESS], capture_output=True, text=True, timeout=DEADLINE)
    # Then each put raises, the one by put_nowait is counted, and events with other names are delivered
    assert ran.returncode == 0, ran.stderr
    counts, message = ran.stdout.splitlines()
    assert counts == "1 1001 0 True"
    assert "internal:(a|a)*[bc] cannot say whether it matches 'aaaa" in message
    assert "simplify it" in message
    assert "internal:(a|a)*[bc]" in ran.stderr


@pytest.mark.fault(33)
async def test_a_failing_destination_of_log_records_creates_no_further_records(rabbit_site, report_costs):
    # Given a log that is sent to a destination that is not there
    rabbit_site.proxy.refuse()
    log = logging.getLogger()
    async with rabbit_site.bus(retry={"first": 0.01, "max": 0.05}) as hub:
        handler = BusHandler(hub, "default", "log")
        handler.setFormatter(logging.Formatter("%(asctime)s"))
        level = log.level
        log.setLevel(logging.DEBUG)
        log.addHandler(handler)
        try:
            # When records are logged, and the destination fails many times
            for number in range(10):
                logging.getLogger("app").warning("line %d", number)
            await eventually(lambda: hub.evbus.init.account().retries >= 200)
            put = hub.evbus.init.account().put
        finally:
            log.removeHandler(handler)
            log.setLevel(level)
        # Then only those records have become events, and they arrive in the end
        assert put == 10
        rabbit_site.proxy.heal()
        account = await hub.evbus.init.stop(DEADLINE)
    assert account.complete
    assert await rabbit_site.count() == 10
