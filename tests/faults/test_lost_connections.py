"""The broker dies, or the network does: what was accepted arrives, and the account says so."""

import asyncio

import pytest

from evbus_like.testing import eventually
from tests.faults.book import Book
from tests.faults.proxy import DOWN, UP
from tests.integration.support import DEADLINE

BATCH = 50  # events in flight at most


@pytest.mark.fault(1)
async def test_a_killed_broker_loses_no_event_and_only_events_in_flight_are_repeated(site, carried):
    async def happens(hub):
        await site.kill()
        await site.until(hub, "retrying")
        await site.start()

    await carried(site, happens, at_most=BATCH, batch_events=BATCH)


@pytest.mark.fault(1, 4)
async def test_reset_connections_lose_no_event(site, carried):
    async def happens(hub):
        for _ in range(5):
            site.proxy.reset()
            await site.flows(hub)

    await carried(site, happens, at_most=5 * BATCH, batch_events=BATCH)
    assert site.proxy.tried > 5


@pytest.mark.fault(2)
@pytest.mark.parametrize("connected", [False, True], ids=["from the start", "later"])
async def test_a_broker_that_hangs_up_is_retried_with_pauses(site, costs, connected):
    # Given a broker that hangs up on everybody, from the start or after a while
    book = Book()
    if not connected:
        site.proxy.hang_up()
    async with site.bus(retry={"first": 0.1, "max": 1.0}) as hub:
        if connected:
            await book.put(hub, confirm="delivered")
            site.proxy.hang_up()
        # When events are put, which no put is held up by
        for _ in range(20):
            await asyncio.wait_for(book.put(hub), DEADLINE)
        await site.until(hub, "retrying")
        before = site.proxy.tried
        await asyncio.sleep(2.0)
        tried = site.proxy.tried - before
        # Then it is tried now and then: not never, and not thousands of times as a hot loop would
        assert 1 <= tried <= 100
        # And everything arrives once it answers again
        site.proxy.heal()
        account = await hub.evbus.init.stop(DEADLINE)
    costs(book.check(account, await site.arrived()))
    assert account.complete


@pytest.mark.fault(2)
async def test_a_closed_port_is_retried_with_growing_pauses(site, costs):
    # Given a port that nobody listens on
    book = Book()
    site.proxy.refuse()
    async with site.bus(retry={"first": 0.1, "max": 1.0}) as hub:
        await book.put(hub)
        await eventually(lambda: hub.evbus.init.account().retries >= 1)
        # When one event has waited for a while: each try counts it once
        await asyncio.sleep(2.0)
        assert 1 <= hub.evbus.init.account().retries <= 40
        site.proxy.heal()
        account = await hub.evbus.init.stop(DEADLINE)
    costs(book.check(account, await site.arrived(), at_most=0))
    assert account.complete


@pytest.mark.fault(3)
async def test_a_black_holed_network_is_noticed_at_the_timeout_and_loses_no_event(site, carried):
    async def happens(hub):
        site.proxy.black_hole()
        await site.until(hub, "retrying")
        site.proxy.heal()

    await carried(site, happens, timeout=1.0)


@pytest.mark.fault(3)
@pytest.mark.parametrize("direction", [UP, DOWN])
async def test_a_half_open_connection_is_noticed_at_the_timeout_and_loses_no_event(site, carried, direction):
    async def happens(hub):
        site.proxy.freeze(direction)
        await site.until(hub, "retrying")
        site.proxy.heal()

    await carried(site, happens, timeout=1.0)


@pytest.mark.fault(3)
async def test_a_frozen_rabbitmq_is_noticed_by_the_heartbeat_long_before_the_timeout(rabbit_site, carried):
    # The heartbeat makes aiormq cancel whoever waits for a confirm: a CancelledError that nobody asked for.
    async def happens(hub):
        rabbit_site.broker.pause()
        try:
            await rabbit_site.until(hub, "retrying")
        finally:
            rabbit_site.broker.resume()

    await carried(rabbit_site, happens, connection={"heartbeat": 1}, timeout=600.0)


@pytest.mark.fault(3)
async def test_a_frozen_kafka_is_noticed_at_the_timeout_and_loses_no_event(kafka_site, carried):
    async def happens(hub):
        kafka_site.broker.pause()
        try:
            await kafka_site.until(hub, "retrying")
        finally:
            kafka_site.broker.resume()

    await carried(kafka_site, happens, timeout=1.0)


@pytest.mark.fault(3)
async def test_a_cancellation_by_the_client_library_does_not_end_the_worker(site, costs):
    # Given a client library that cancels the task that calls it
    book = Book()
    async with site.bus() as hub:
        await book.put(hub, confirm="delivered")
        (lane,) = hub.evbus.RUNTIME.bus.lanes
        publish, cancelled = lane.destination.publish, []

        async def cancel_once(events):
            outcome = await publish(events)
            if len(cancelled) < 3:
                cancelled.append(len(events))
                raise asyncio.CancelledError
            return outcome

        lane.destination.publish = cancel_once
        # When events are put
        for _ in range(30):
            await book.put(hub)
        await eventually(lambda: len(cancelled) == 3)
        # Then the worker goes on, and sends again what it cannot know of
        await book.put(hub, confirm="delivered")
        account = await hub.evbus.init.stop(DEADLINE)
    verdict = book.check(account, await site.arrived(), at_most=sum(cancelled))
    costs(verdict)
    assert account.complete
    assert verdict.repeats == sum(cancelled)


@pytest.mark.fault(4)
@pytest.mark.parametrize(("direction", "bytes_"), [(UP, 40_001), (UP, 120_003), (DOWN, 5), (DOWN, 60)])
async def test_a_reset_in_the_middle_of_a_frame_marks_no_undelivered_event_as_delivered(site, costs, direction, bytes_):
    # Given a connection that will be reset in the middle of a batch, or of its confirms
    book = Book()
    async with site.bus(batch_events=100) as hub:
        await book.put(hub, confirm="delivered")
        site.proxy.cut_after(bytes_, direction, hang_up=True)
        # When four batches of 60 kB are sent
        for _ in range(400):
            book.put_nowait(hub, size=500)
        await site.until(hub, "retrying")
        # Then what counts as delivered is there
        assert site.proxy.was_cut.is_set()
        delivered = hub.evbus.init.account().delivered
        assert delivered <= await site.count()
        assert delivered < 401
        # And the rest is sent again, in order
        site.proxy.heal()
        account = await hub.evbus.init.stop(DEADLINE)
    costs(book.check(account, await site.arrived()))
    assert account.complete
